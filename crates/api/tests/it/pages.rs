//! Pages, readiness, lifecycle, methods, prefixes, own metrics.

use crate::door::Door;
use api::{Command, Ready};

#[tokio::test]
async fn readiness() {
    let door = Door::open();
    Door::check(&door.get("/-/ready").await, 200, "Prometheus Server is Ready.\n", "ready");
    door.api.set_ready(Ready::Stopping);
    let answer = door.get("/api/v1/query?query=up").await;
    Door::check(&answer, 503, "Service Unavailable", "stopping");
    assert_eq!(answer.header("x-prometheus-stopping"), "true");
    door.api.set_ready(Ready::NotReady);
    assert_eq!(door.get("/-/ready").await.header("x-prometheus-stopping"), "false");
    Door::check(&door.get("/-/healthy").await, 200, "Prometheus Server is Healthy.\n", "healthy");
    assert_eq!(door.get("/api/v1/status/walreplay").await.status, 200);
}

#[tokio::test]
async fn methods() {
    let door = Door::open();
    for (method, path, status, allow) in [
        ("DELETE", "/api/v1/query", 405, "GET, OPTIONS, POST"),
        ("POST", "/metrics", 405, "GET, OPTIONS"),
        ("GET", "/api/v1/write", 405, "OPTIONS, POST"),
        ("HEAD", "/metrics", 405, "GET, OPTIONS"),
        ("GET", "/-/reload", 405, ""),
        ("OPTIONS", "/api/v1/query", 204, ""),
        ("OPTIONS", "/api/v1/nope", 204, ""),
        ("OPTIONS", "/-/ready", 200, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/metrics", 200, "GET, OPTIONS"),
        ("OPTIONS", "/nope", 404, ""),
        ("GET", "/api/v1/nope", 404, ""),
        ("GET", "/nope", 404, ""),
    ] {
        let answer = door.ask(method, path).await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
    }
    Door::check(&door.get("/nope").await, 404, "404 page not found\n", "nope");
    let off = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n";
    Door::check(&door.ask("POST", "/api/v1/write").await, 404, off, "write");
}

#[tokio::test]
async fn lifecycle() {
    let mut door = Door::open();
    {
        // The request waits for its answer, so it is only started here.
        let mut reload = Box::pin(door.ask("POST", "/-/reload"));
        assert!(futures_util::poll!(reload.as_mut()).is_pending());
    }
    let asked = door.commands.try_recv();
    assert!(matches!(asked, Ok(Command::Reload(_))));
    Door::check(&door.ask("PUT", "/-/quit").await, 200, "Requesting termination... Goodbye!", "quit");
    Door::check(&door.ask("PUT", "/-/quit").await, 200, "Termination already in progress.", "quit");
    let off = Door::with(|o| o.enable_lifecycle = false);
    Door::check(&off.ask("POST", "/-/reload").await, 403, "Lifecycle API is not enabled.", "reload");
    Door::check(&off.get("/-/quit").await, 405, "Only POST or PUT requests allowed", "quit");
}

#[tokio::test]
async fn prefixes_and_pages() {
    let door = Door::with(|o| {
        o.route_prefix = "/p".into();
        o.external_path = "/p".into();
    });
    let odd = Door::with(|o| o.route_prefix = "/:p/*{x}".into());
    assert_eq!(odd.get("/:p/*%7Bx%7D/-/ready").await.status, 404);
    assert_eq!(odd.get("/:p/*{x}/-/ready").await.status, 200);
    assert_eq!(door.get("/").await.header("location"), "/p");
    assert_eq!(door.get("/p").await.header("location"), "/p/");
    assert_eq!(door.get("/p/").await.header("location"), "/p/query");
    assert_eq!(door.get("/p/graph?a=b").await.header("location"), "/p/query?a=b");
    assert_eq!(door.get("/p/-/ready").await.status, 200);
    assert_eq!(door.get("/-/ready").await.status, 404);
    let page = door.get("/p/query").await;
    assert!(page.body.contains("<title>Title &lt;x&gt;</title>") && page.body.contains("\"/p\""));
}

#[tokio::test]
async fn each_mode_has_its_pages() {
    let (server, agent) = (Door::open(), Door::with(|o| o.agent = true));
    for (path, on_server, on_agent) in
        [("/query", 200, 404), ("/agent", 404, 200), ("/targets", 200, 200), ("/tsdb-status", 200, 404)]
    {
        let got = (server.get(path).await.status, agent.get(path).await.status);
        assert_eq!(got, (on_server, on_agent), "{path}");
    }
    assert!(agent.get("/agent").await.body.contains("Prometheus Agent 3.14.0"));
}

#[tokio::test]
async fn own_metrics() {
    let door = Door::open();
    door.get("/api/v1/query?query=up(").await;
    let answer = door.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    );
    for line in [
        "prometheus_http_requests_total{code=\"400\",handler=\"/api/v1/query\"} 1\n",
        "prometheus_http_requests_total{code=\"200\",handler=\"/api/v1/label/:name/values\"} 0\n",
        "prometheus_ready 1\n",
        "prometheus_engine_queries_concurrent_max 4\n",
        "# TYPE prometheus_engine_query_duration_seconds summary\n",
    ] {
        assert!(answer.body.contains(line), "{line} in {}", answer.body);
    }
}

#[tokio::test]
async fn paths_that_are_nearly_right() {
    let door = Door::open();
    for (method, path, status, to) in [
        ("GET", "//api/v1/query?query=1&time=0", 307, "/api/v1/query?query=1&time=0"),
        ("POST", "/api//v1/query", 307, "/api/v1/query"),
        ("GET", "/api/v1/../v1/labels", 307, "/api/v1/labels"),
        ("GET", "/api/v1/label/../labels", 307, "/api/v1/labels"),
        ("GET", "//nope", 307, "/nope"),
        ("GET", "/api/v1", 307, "/api/v1/"),
        ("GET", "/metrics/", 301, "/metrics"),
        ("GET", "/METRICS", 301, "/metrics"),
        ("GET", "/api/v1/query/?query=1", 301, "/api/v1/query?query=1"),
        ("POST", "/api/v1/query/", 307, "/api/v1/query"),
        ("HEAD", "/-/ready/", 307, "/-/ready"),
        ("POST", "/metrics/", 404, ""),
        ("GET", "/api/v1/label/a%2fb/values", 404, ""),
    ] {
        let answer = door.ask(method, path).await;
        assert_eq!((answer.status, answer.header("location")), (status, to), "{method} {path}");
        assert_eq!(answer.header("content-type").is_empty(), method == "POST" && status == 307, "{path}");
    }
}

#[tokio::test]
async fn metrics_by_name() {
    let door = Door::open();
    let answer = door.get("/metrics?name[]=prometheus_engine_queries").await;
    assert_eq!(answer.body.lines().count(), 3, "{}", answer.body);
    for accept in ["application/openmetrics-text;version=1.0.0", "text/plain;version=1.0.0"] {
        let request = http::Request::get("/metrics").header("accept", accept);
        let answer = door.send(request.body(axum::body::Body::empty()).expect("request")).await;
        let kind = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
        assert_eq!(answer.header("content-type"), kind, "{accept}");
    }
}
