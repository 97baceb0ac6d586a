//! Answers of the JSON API.

use crate::door::Door;
use axum::body::Body;
use http::Request;

const CASES: &[(&str, &str)] = &[
    (
        "/api/v1/query?query=up&time=20",
        r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"a","job":"x"},"value":[20,"2"]},{"metric":{"__name__":"up","instance":"b\"","job":"x"},"value":[20,"1.5"]}]}"#,
    ),
    (
        "/api/v1/query?query=sum(up)&time=20.5",
        r#"{"resultType":"vector","result":[{"metric":{},"value":[20.500,"3.5"]}]}"#,
    ),
    ("/api/v1/query?query=1%2B1&time=1", r#"{"resultType":"scalar","result":[1,"2"]}"#),
    ("/api/v1/query?query=%22a%3Cb%22&time=1", r#"{"resultType":"string","result":[1,"a\u003cb"]}"#),
    ("/api/v1/query?query=1e-7&time=0.5", r#"{"resultType":"scalar","result":[0.5,"0.0000001"]}"#),
    ("/api/v1/query?query=nope&time=1", r#"{"resultType":"vector","result":[]}"#),
    (
        "/api/v1/query?query=up%7Binstance=%22a%22%7D[1m]&time=20",
        r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","instance":"a","job":"x"},"values":[[10,"1"],[20,"2"]]}]}"#,
    ),
    (
        "/api/v1/query_range?query=up%7Binstance=%22a%22%7D&start=0&end=30&step=10",
        r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","instance":"a","job":"x"},"values":[[10,"1"],[20,"2"],[30,"2"]]}]}"#,
    ),
    ("/api/v1/labels", r#"["__name__","instance","job"]"#),
    ("/api/v1/label/job/values", r#"["x"]"#),
    ("/api/v1/label/U__j_6f_b/values", r#"["x"]"#),
    ("/api/v1/label/nope/values", "[]"),
    (
        "/api/v1/series?match[]=up%7Binstance=%22a%22%7D&match[]=up%7Bjob=%22x%22,instance=%22a%22%7D",
        r#"[{"__name__":"up","instance":"a","job":"x"}]"#,
    ),
    ("/api/v1/format_query?query=sum(up)by(job)", r#""sum by (job) (up)""#),
    (
        "/api/v1/query_exemplars?query=up",
        r#"[{"seriesLabels":{"__name__":"up"},"exemplars":[{"labels":{"trace_id":"<x>"},"value":"1.5","timestamp":1.500}]}]"#,
    ),
    ("/api/v1/query_exemplars?query=down", "[]"),
    ("/api/v1/alerts", r#"{"alerts":[]}"#),
    ("/api/v1/rules", r#"{"groups":[]}"#),
    ("/api/v1/alertmanagers", r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#),
    ("/api/v1/features", r#"{"promql_operators":{">=":true}}"#),
    ("/api/v1/status/flags", r#"{"config.file":"a\u0026b"}"#),
    ("/api/v1/status/walreplay", r#"{"min":0,"max":0,"current":0}"#),
    (
        "/api/v1/status/tsdb?limit=3",
        r#"{"headStats":{"numSeries":2,"numLabelPairs":0,"chunkCount":0,"minTime":0,"maxTime":0},"seriesCountByMetricName":[],"labelValueCountByLabelName":[{"name":"__name__","value":3}],"memoryInBytesByLabelName":[],"seriesCountByLabelValuePair":[]}"#,
    ),
    ("/api/v1/status/tsdb/blocks", r#"{"blocks":[{"ulid":"a b"}]}"#),
    (
        "/api/v1/targets?state=active",
        r#"{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":null}"#,
    ),
    ("/api/v1/scrape_pools", r#"{"scrapePools":[]}"#),
    ("/api/v1/metadata", "{}"),
];

#[tokio::test]
async fn data() {
    let door = Door::open();
    for (path, data) in CASES {
        let want = format!(r#"{{"status":"success","data":{data}}}"#);
        Door::check(&door.get(path).await, 200, &want, path);
    }
}

#[tokio::test]
async fn limits_warn() {
    let door = Door::open();
    for (path, data) in [
        ("/api/v1/labels?limit=1", r#"["__name__"]"#),
        ("/api/v1/series?match[]=up&limit=1", r#"[{"__name__":"up","instance":"a","job":"x"}]"#),
        (
            "/api/v1/query?query=up&time=20&limit=1",
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"a","job":"x"},"value":[20,"2"]}]}"#,
        ),
    ] {
        let want =
            format!(r#"{{"status":"success","data":{data},"warnings":["results truncated due to limit"]}}"#);
        Door::check(&door.get(path).await, 200, &want, path);
    }
    assert_eq!(door.get("/api/v1/query_exemplars?query=1").await.status, 204);
}

#[tokio::test]
async fn forms_compression_and_cors() {
    let door = Door::open();
    let request = |query: &'static str| {
        Request::post("/api/v1/query?query=down&time=20")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept-encoding", "br, gzip")
            .header("origin", "http://x")
            .body(Body::from(query))
            .expect("request")
    };
    let answer = door.send(request("query=sum%28up%29")).await;
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert_eq!(answer.header("access-control-allow-origin"), "http://x");
    let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept-Encoding", "Origin"]);
    assert!(answer.body.starts_with('\u{1f}'));
}

#[tokio::test]
async fn statistics_on_request() {
    let door = Door::open();
    let answer = door.get("/api/v1/query?query=up&time=20&stats=x").await;
    assert!(
        answer.body.contains(r#""samples":{"totalQueryableSamples":2,"samplesRead":2,"peakSamples":2}}"#)
    );
    assert!(answer.body.ends_with(
        r#""warnings":["value \"x\" for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\""]}"#
    ), "{}", answer.body);
}

/// Windows that must be sorted at each of many steps keep the engine busy for seconds.
const LONG: &str =
    "/api/v1/query_range?start=0&end=11000&step=1&query=quantile_over_time(0.5,vector(time())[3h:1s])";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_stops_its_query() {
    let door = Door::with(|o| o.max_concurrency = 1);
    {
        let mut long = Box::pin(door.get(LONG));
        // Past the gate: the only place is taken.
        while door.api.free_places() > 0 {
            assert!(futures_util::poll!(long.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
    }
    let answer = door.get("/api/v1/query?query=1&time=1&timeout=30").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_time_out_running_and_waiting() {
    let door = Door::with(|o| o.max_concurrency = 1);
    let long = format!("{LONG}&timeout=0.5");
    let (running, waiting) = tokio::join!(door.get(&long), async {
        while door.api.free_places() > 0 {
            tokio::task::yield_now().await;
        }
        door.get("/api/v1/query?query=1&timeout=0.05").await
    });
    for (answer, place) in [(running, "expression evaluation"), (waiting, "query queue")] {
        let want =
            format!(r#"{{"status":"error","errorType":"timeout","error":"query timed out in {place}"}}"#);
        Door::check(&answer, 503, &want, place);
    }
}

#[tokio::test]
async fn relabelling_step_by_step() {
    let door = Door::open();
    let rule = |action, regex: Option<&str>| model::relabel::RelabelConfig {
        source_labels: Some(vec!["a".into()]),
        target_label: "b".into(),
        regex: regex.map(str::to_owned),
        action,
        ..model::relabel::RelabelConfig::default()
    };
    use model::relabel::Action::{Drop, Replace};
    let relabel = vec![rule(Replace, None), rule(Drop, Some("1")), rule(Replace, None)];
    let pool = api::PoolConfig { yaml: "job_name: x\n".into(), relabel, ..api::PoolConfig::default() };
    door.api.set_running(api::Running { pools: [("x".to_owned(), pool)].into(), ..api::Running::default() });
    let answer = door.get("/api/v1/scrape_pools/config?scrapePool=x").await;
    Door::check(&answer, 200, r#"{"status":"success","data":{"yaml":"job_name: x\n"}}"#, "config");
    let answer = door.get("/api/v1/targets/relabel_steps?scrapePool=x&labels=%7B%22a%22:%221%22%7D").await;
    let step = |action, regex, output, keep| {
        format!(
            r#"{{"rule":{{"source_labels":["a"],"separator":";","regex":"{regex}","target_label":"b","replacement":"$1","action":"{action}"}},"output":{output},"keep":{keep}}}"#
        )
    };
    let want = format!(
        r#"{{"status":"success","data":{{"steps":[{},{},{}]}}}}"#,
        step("replace", "(.*)", r#"{"a":"1","b":"1"}"#, true),
        step("drop", "1", "{}", false),
        step("replace", "(.*)", "{}", false),
    );
    Door::check(&answer, 200, &want, "steps");
}

#[tokio::test]
async fn plans_and_costs() {
    let door = Door::open();
    let answer = door.get("/api/v1/explain?query=sum(up)&time=20").await;
    let want = r#"{"status":"success","data":{"text":"aggregate sum\n  instant fetch 0\nfetch 0: {__name__=\"up\"} from -279999 to 20000, labels __name__, __type__, __unit__\n","plan":{"kind":"aggregate","what":"sum","start":0,"end":7,"children":[{"kind":"instant","what":"fetch 0","start":4,"end":6,"children":[]}]},"fetches":[{"selector":"{__name__=\"up\"}","start":-279.999,"end":20,"labels":["__name__","__type__","__unit__"]}]}}"#;
    Door::check(&answer, 200, want, "plan");
    let answer = door.get("/api/v1/explain?query=sum(up)&start=0&end=20&step=10&analyze=true").await;
    assert!(
        answer.body.contains(r#""kind":"instant","what":"fetch 0","start":4,"end":6,"seconds":"#),
        "{}",
        answer.body
    );
    assert!(answer.body.contains(r#""series":2,"samples":"#), "{}", answer.body);
    let answer = door.get("/api/v1/explain?query=sum(&time=20").await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn forms_in_parts() {
    let door = Door::open();
    let body = "--x\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nup * 2\r\n--x\r\n\
                Content-Disposition: form-data; name=\"time\"\r\n\r\n10\r\n--x--\r\n";
    for (url, want) in [("", r#"[10,"2"]"#), ("?query=1", r#""result":[10,"1"]"#)] {
        let request = http::Request::post(format!("/api/v1/query{url}"));
        let request = request.header("content-type", "multipart/form-data; boundary=x");
        let answer = door.send(request.body(axum::body::Body::from(body)).expect("request")).await;
        assert!(answer.status == 200 && answer.body.contains(want), "{}", answer.body);
    }
    let body =
        "--x\r\nContent-Disposition: form-data; name=\"match[]\"\r\n\r\nup{instance=\"a\"}\r\n--x--\r\n";
    let request =
        http::Request::post("/api/v1/series").header("content-type", "multipart/form-data; boundary=x");
    let answer = door.send(request.body(axum::body::Body::from(body)).expect("request")).await;
    let want = r#"{"status":"success","data":[{"__name__":"up","instance":"a","job":"x"}]}"#;
    assert_eq!((answer.status, answer.body.as_str()), (200, want));
    let answer = door.get("/api/v1/series?match[]=up&x=%zz").await;
    let want = r#"{"status":"error","errorType":"bad_data","error":"error parsing form values: invalid URL escape \"%zz\""}"#;
    assert_eq!((answer.status, answer.body.as_str()), (400, want));
}
