//! Tests of the listener: limit, deadlines, stop.

use super::*;
use crate::client::{ClientOptions, HttpClient};
use crate::config::HttpClientConfig;
use crate::testing::{serve_with, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

const SOON: Duration = Duration::from_secs(20);

fn client() -> HttpClient {
    HttpClient::new(&HttpClientConfig::default(), ClientOptions::default()).expect("builds")
}

#[tokio::test]
async fn stop_waits_for_running_requests() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, go) = (Arc::clone(&entered), Arc::clone(&leave));
    let mut server = serve_with(ListenOptions::default(), move |_| {
        let (inside, go) = (Arc::clone(&inside), Arc::clone(&go));
        Box::pin(async move {
            inside.notify_one();
            go.notified().await;
            text(200, "done")
        })
    })
    .await;
    let url = format!("http://{}/", server.address);
    let asking = tokio::spawn(async move { client().get(&url, SOON).await });
    entered.notified().await;
    server.stop.cancel();
    leave.notify_one();
    let answer = asking.await.expect("asked").expect("answers");
    assert_eq!(&answer.read_body(10).await.expect("body")[..], b"done");
    (&mut server.task).await.expect("ends");
    let error = client().get(&format!("http://{}/", server.address), SOON).await.expect_err("closed");
    assert!(error.to_string().contains("connection refused"), "{error}");
}

#[tokio::test]
async fn slow_senders_are_cut_off() {
    let options = ListenOptions { read_timeout: Duration::from_millis(100), ..ListenOptions::default() };
    let server = serve_with(options, |_| Box::pin(async { text(200, "whole") })).await;
    for (sent, want) in [
        (&b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"[..], "408"),
        (&b"POST / HTTP/1.1\r\nHost"[..], ""),
    ] {
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        stream.write_all(sent).await.expect("writes");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
        read.expect("ends").expect("reads");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(want), "{answer}");
        assert!(!answer.contains("whole"), "{answer}");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let options = ListenOptions { connections: Arc::new(Semaphore::new(1)), ..ListenOptions::default() };
    let server = serve_with(options, |_| Box::pin(async { text(200, "x") })).await;
    let first = TcpStream::connect(server.address).await.expect("connects");
    let mut second = TcpStream::connect(server.address).await.expect("connects");
    second.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("writes");
    let mut byte = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(100), second.read(&mut byte)).await;
    assert!(early.is_err(), "served beyond the limit");
    drop(first);
    let mut answer = String::new();
    tokio::time::timeout(SOON, second.read_to_string(&mut answer)).await.expect("ends").expect("reads");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_taken_address_reads_as_in_go() {
    let first = Listener::bind("127.0.0.1:0", ListenOptions::default()).await.expect("binds");
    let address = first.local_addr().expect("address").to_string();
    let error = Listener::bind(&address, ListenOptions::default()).await.err().expect("taken");
    assert_eq!(error.to_string(), format!("listen tcp {address}: bind: address already in use"));
    assert!(Listener::bind(":0", ListenOptions::default()).await.is_ok());
}

#[tokio::test]
async fn giant_heads_are_refused_and_long_ones_served() {
    let server = serve_with(ListenOptions::default(), |_| Box::pin(async { text(200, "x") })).await;
    for (bytes, want) in [(100 << 10, 200), (600 << 10, 431)] {
        let url = format!("http://{}/", server.address);
        let request = Request::get(url).header("x-long", "x".repeat(bytes)).body(Full::default());
        let answer = client().request(request.expect("legal"), SOON).await;
        // A refusal may come as a broken connection, for the head is not read to its end.
        let status = answer.map_or(431, |a| a.status.as_u16());
        assert_eq!(status, want, "{bytes}");
    }
}

#[tokio::test]
async fn long_urls_and_many_headers_are_refused() {
    let server = serve_with(ListenOptions::default(), |_| Box::pin(async { text(200, "x") })).await;
    let url = |bytes: usize| {
        format!("GET /?{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "x".repeat(bytes))
    };
    let headers = |count: usize| {
        let more: String = (0..count - 2).map(|n| format!("x-{n}: y\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n")
    };
    for (asked, want) in
        [(url(60 << 10), "200"), (url(70 << 10), "414"), (headers(100), "200"), (headers(101), "431")]
    {
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        stream.write_all(asked.as_bytes()).await.expect("writes");
        let mut answer = Vec::new();
        // What is not read to its end may be answered by a reset behind the status.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {want} ")), "wanted {want}: {answer}");
    }
}

#[tokio::test]
async fn quotes_in_the_query_are_served() {
    let server = serve_with(ListenOptions::default(), |request| {
        let query = request.uri().query().unwrap_or("").to_owned();
        Box::pin(async move { text(200, &query) })
    })
    .await;
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let asked = b"GET /?query=up{job=\"x\"}>1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(asked).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    assert!(answer.ends_with("query=up{job=%22x%22}%3E1"), "{answer}");
}
