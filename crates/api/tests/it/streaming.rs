//! Long answers leave while they are written, and nobody keeps what has been written.

use crate::door::Door;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use model::Labels;
use std::io::Read;
use std::time::{Duration, Instant};
use testkit::MemStore;

const SERIES: usize = 1000;
const STEPS: i64 = 200;
const EVERY: usize = 25;
const PATH: &str = "/api/v1/query_range?query=x&start=0&end=1990&step=10&stats=all";

fn door() -> Door {
    let store = MemStore::new();
    for i in 0..SERIES {
        let labels = Labels::from_pairs([("__name__", "x"), ("i", &format!("{i:04}"))]);
        // Filled up by the look-back: adding samples to this store is slow.
        for t in (0..STEPS).step_by(EVERY) {
            store.add(&labels, t * 10_000, i as f64 + t as f64 / 7.0);
        }
    }
    Door::over(store, query::EngineOptions::default(), |_| {})
}

async fn ask(door: &Door, path: &str, encoding: &str) -> Response<Body> {
    let request = Request::builder().uri(path).header("accept-encoding", encoding);
    door.reply(request.body(Body::empty()).expect("request")).await
}

async fn frame(body: &mut Body) -> Option<Bytes> {
    let frame = body.frame().await?.expect("no error");
    Some(frame.into_data().expect("data"))
}

#[tokio::test]
async fn a_long_answer_is_never_held_as_a_whole() {
    let door = door();
    let memory = door.engine.memory().clone();
    let response = ask(&door, PATH, "").await;
    assert_eq!(response.status(), 200);
    assert!(response.headers().get("content-length").is_none());
    let mut body = response.into_body();
    let first = frame(&mut body).await.expect("a piece");
    let (mut all, mut held) = (first.to_vec(), memory.held());
    // What is sent is gone: all but some first pieces is still there as numbers.
    let columns = SERIES * STEPS as usize * 8;
    assert!(held > columns / 2 && first.len() < columns / 4, "{held} of {columns}, {}", first.len());
    let mut pieces = 1;
    while let Some(piece) = frame(&mut body).await {
        assert!(memory.held() <= held, "{} > {held}", memory.held());
        held = memory.held();
        all.extend_from_slice(&piece);
        pieces += 1;
    }
    assert!(pieces > 10, "{pieces}");
    assert_eq!(memory.held(), 0);
    let json: serde_json::Value = serde_json::from_slice(&all).expect("JSON");
    let result = json["data"]["result"].as_array().expect("list");
    assert_eq!(result.len(), SERIES);
    for (i, series) in result.iter().enumerate() {
        assert_eq!(series["metric"]["i"], format!("{i:04}"));
        let values = series["values"].as_array().expect("points");
        assert_eq!(values.len(), STEPS as usize);
        for (t, point) in values.iter().enumerate() {
            let v = i as f64 + (t / EVERY * EVERY) as f64 / 7.0;
            assert_eq!(point[0].as_f64(), Some(t as f64 * 10.0));
            assert_eq!(point[1].as_str().and_then(|v| v.parse().ok()), Some(v));
        }
    }
    assert!(json["data"]["stats"]["samples"]["peakSamples"].is_u64());
    // One series alone may be longer than a piece.
    let long = format!("{PATH}&step=1").replace("query=x", "query=avg(x)%20or%20x").replace("&step=10", "");
    let mut body = ask(&door, &long, "").await.into_body();
    let mut whole = Vec::new();
    while let Some(piece) = frame(&mut body).await {
        assert!(piece.len() < 512 << 10);
        whole.extend_from_slice(&piece);
    }
    let json: serde_json::Value = serde_json::from_slice(&whole).expect("JSON");
    assert_eq!(json["data"]["result"][1]["values"].as_array().map(Vec::len), Some(1991));
}

#[tokio::test]
async fn long_lists_leave_in_pieces() {
    let store = MemStore::new();
    let pad = "p".repeat(200);
    for i in 0..4000 {
        store.add(&Labels::from_pairs([("__name__", "x"), ("i", &format!("{pad}{i:05}"))]), 0, 1.0);
    }
    let door = Door::over(store, query::EngineOptions::default(), |_| {});
    for path in ["/api/v1/series?match[]=x", "/api/v1/label/i/values", "/api/v1/label/i/values?limit=3999"] {
        let response = ask(&door, path, "").await;
        assert!(response.headers().get("content-length").is_none(), "{path}");
        let mut body = response.into_body();
        let (mut all, mut pieces) = (Vec::new(), 0);
        while let Some(piece) = frame(&mut body).await {
            assert!(piece.len() < 300 << 10);
            all.extend_from_slice(&piece);
            pieces += 1;
        }
        assert!(pieces > 2, "{path}: {pieces}");
        let json: serde_json::Value = serde_json::from_slice(&all).expect("JSON");
        let list = json["data"].as_array().expect("list");
        let cut = path.contains("limit");
        assert_eq!(list.len(), if cut { 3999 } else { 4000 });
        assert_eq!(json["warnings"][0].is_string(), cut);
        for (i, one) in list.iter().enumerate() {
            let value = if path.contains("series") { &one["i"] } else { one };
            assert_eq!(value.as_str(), Some(format!("{pad}{i:05}").as_str()));
        }
    }
}

#[tokio::test]
async fn compressed_answers_are_the_same() {
    let door = door();
    let plain_path = PATH.replace("&stats=all", "");
    let plain = ask(&door, &plain_path, "").await.into_body().collect().await.expect("body").to_bytes();
    for encoding in ["gzip", "deflate"] {
        let response = ask(&door, &plain_path, encoding).await;
        assert_eq!(response.headers()["content-encoding"], encoding);
        let packed = response.into_body().collect().await.expect("body").to_bytes();
        let mut text = Vec::new();
        match encoding {
            "gzip" => flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut text),
            _ => flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut text),
        }
        .expect("whole");
        assert!(text == plain, "{encoding}");
    }
}

#[tokio::test]
async fn a_client_that_goes_ends_the_writing() {
    let door = door();
    let memory = door.engine.memory().clone();
    let mut body = ask(&door, PATH, "").await.into_body();
    frame(&mut body).await.expect("a piece");
    assert!(memory.held() > 0);
    drop(body);
    // The piece that is being made is finished first.
    let begun = Instant::now();
    while memory.held() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} bytes stay", memory.held());
        tokio::task::yield_now().await;
    }
}
