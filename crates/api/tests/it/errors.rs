//! Refusals: status, type and text.

use crate::door::Door;

const CASES: &[(&str, u16, &str, &str)] = &[
    (
        "/api/v1/query",
        400,
        "bad_data",
        r#"invalid parameter \"query\": unknown position: parse error: no expression found in input"#,
    ),
    (
        "/api/v1/query?query=bad(",
        400,
        "bad_data",
        r#"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"#,
    ),
    (
        "/api/v1/query?query=up&time=x",
        400,
        "bad_data",
        r#"invalid parameter \"time\": invalid time value for 'time': cannot parse \"x\" to a valid timestamp"#,
    ),
    (
        "/api/v1/query?query=up&timeout=x",
        400,
        "bad_data",
        r#"invalid parameter \"timeout\": cannot parse \"x\" to a valid duration"#,
    ),
    (
        "/api/v1/query?query=up&lookback_delta=x",
        400,
        "bad_data",
        r#"error parsing lookback delta duration: cannot parse \"x\" to a valid duration"#,
    ),
    (
        "/api/v1/query?query=up&limit=-1",
        400,
        "bad_data",
        r#"invalid parameter \"limit\": limit must be non-negative"#,
    ),
    (
        "/api/v1/query_range",
        400,
        "bad_data",
        r#"invalid parameter \"start\": cannot parse \"\" to a valid timestamp"#,
    ),
    (
        "/api/v1/query_range?query=up&start=2&end=1&step=1",
        400,
        "bad_data",
        r#"invalid parameter \"end\": end timestamp must not be before start time"#,
    ),
    (
        "/api/v1/query_range?query=up&start=1&end=2&step=0",
        400,
        "bad_data",
        r#"invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
    ),
    (
        "/api/v1/query_range?query=up&start=0&end=11001&step=1",
        400,
        "bad_data",
        "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
    ),
    (
        "/api/v1/query_range?query=%22a%22&start=1&end=2&step=1",
        400,
        "bad_data",
        r#"invalid parameter \"query\": invalid expression type \"string\" for range query, must be Scalar or instant Vector"#,
    ),
    ("/api/v1/series", 400, "bad_data", "no match[] parameter provided"),
    (
        "/api/v1/series?match[]=rate(up[5m])",
        400,
        "bad_data",
        r#"invalid parameter \"match[]\": 1:5: parse error: unexpected \"(\""#,
    ),
    (
        "/api/v1/series?match[]=%7Ba=%22%22%7D",
        400,
        "bad_data",
        r#"invalid parameter \"match[]\": match[] must contain at least one non-empty matcher"#,
    ),
    (
        "/api/v1/labels?match[]=%7Ba=%22%22%7D",
        400,
        "bad_data",
        "match[] must contain at least one non-empty matcher",
    ),
    (
        "/api/v1/labels?limit=x",
        400,
        "bad_data",
        r#"invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax"#,
    ),
    ("/api/v1/metadata?limit=x", 400, "bad_data", "limit must be a number"),
    ("/api/v1/targets/metadata?limit=x", 400, "bad_data", "limit must be a number"),
    ("/api/v1/scrape_pools/config", 400, "bad_data", "no scrapePool parameter provided"),
    (
        "/api/v1/scrape_pools/config?scrapePool=x",
        400,
        "bad_data",
        r#"error retrieving scrape config: scrape pool \"x\" not found"#,
    ),
    ("/api/v1/status/tsdb?limit=0", 400, "bad_data", "limit must be a positive number"),
    ("/api/v1/status/tsdb?limit=10001", 400, "bad_data", "limit must not exceed 10000"),
    (
        "/api/v1/query_exemplars",
        400,
        "bad_data",
        "unknown position: parse error: no expression found in input",
    ),
    (
        "/api/v1/query_exemplars?query=up&start=2&end=1",
        400,
        "bad_data",
        "end timestamp must not be before start timestamp",
    ),
    (
        "/api/v1/format_query?query=(",
        400,
        "bad_data",
        r#"invalid parameter \"query\": 1:2: parse error: unclosed left parenthesis"#,
    ),
    ("/api/v1/rules?type=x", 400, "bad_data", r#"invalid parameter \"type\": not supported value \"x\""#),
    (
        "/api/v1/rules?group_limit=0",
        400,
        "bad_data",
        r#"invalid parameter \"group_limit\": group_limit needs to be greater than 0"#,
    ),
    ("/api/v1/search/label_names", 500, "unavailable", "search API disabled"),
    ("/api/v1/label/U__/values", 400, "bad_data", r#"invalid label name: \"\""#),
    ("/api/v1/label/%ff/values", 400, "bad_data", r#"invalid label name: \"\\xff\""#),
];

#[tokio::test]
async fn bad_parameters() {
    let door = Door::open();
    for (path, status, kind, text) in CASES {
        let want = format!(r#"{{"status":"error","errorType":"{kind}","error":"{text}"}}"#);
        let answer = door.get(path).await;
        Door::check(&answer, *status, &want, path);
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
    }
}

#[tokio::test]
async fn agents_cannot_be_queried() {
    let door = Door::with(|o| o.agent = true);
    let want = r#"{"status":"error","errorType":"execution","error":"unavailable with Prometheus Agent"}"#;
    for path in ["/api/v1/query?query=up", "/api/v1/labels", "/api/v1/rules", "/api/v1/status/tsdb"] {
        Door::check(&door.get(path).await, 422, want, path);
    }
    assert_eq!(door.get("/api/v1/targets").await.status, 200);
    assert_eq!(door.get("/-/ready").await.body, "Prometheus Agent is Ready.\n");
    assert_eq!(door.get("/").await.header("location"), "/agent");
}

#[tokio::test]
async fn nothing_named_deletes_nothing() {
    let path = "/api/v1/admin/tsdb/delete_series?match[]=%7B%7D";
    Door::check(&Door::with(|o| o.enable_admin = true).ask("POST", path).await, 204, "", path);
}

#[tokio::test]
async fn admin_needs_its_flag() {
    let door = Door::with(|o| o.enable_admin = false);
    let want = r#"{"status":"error","errorType":"unavailable","error":"admin APIs disabled"}"#;
    for path in ["delete_series", "clean_tombstones", "snapshot"] {
        let path = format!("/api/v1/admin/tsdb/{path}");
        Door::check(&door.ask("POST", &path).await, 500, want, &path);
    }
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let door = Door::with(|options| {
        options.flags.insert("web.enable-otlp-receiver".into(), "true".into());
    });
    for (method, path, status, body) in [
        ("GET", "/federate", 501, "federation is not built into this version\n"),
        ("POST", "/api/v1/read", 501, "remote read is not built into this version\n"),
        ("POST", "/api/v1/otlp/v1/metrics", 501, "the OTLP receiver is not built into this version\n"),
        ("GET", "/api/v1/notifications", 200, r#"{"status":"success","data":[]}"#),
        ("GET", "/api/v1/notifications/live", 204, ""),
        ("GET", "/consoles/x", 404, "404 page not found\n"),
        ("GET", "/user/x", 404, "404 page not found\n"),
        ("GET", "/debug/pprof/", 404, "404 page not found\n"),
    ] {
        Door::check(&door.ask(method, path).await, status, body, path);
    }
    for path in ["/api/v1/status/self_metrics", "/api/v1/openapi.yaml"] {
        let answer = door.get(path).await;
        assert!(
            answer.status == 501 && answer.body.contains(r#""errorType":"not_implemented""#),
            "{}",
            answer.body
        );
    }
    let text = "otlp write receiver needs to be enabled with --web.enable-otlp-receiver\n";
    Door::check(&Door::open().ask("POST", "/api/v1/otlp/v1/metrics").await, 404, text, "without the flag");
}
