//! A server that is reloaded, well and badly, and told to quit.

use crate::run::Running;

fn config(job: &str) -> String {
    format!("scrape_configs:\n  - job_name: {job}\n    static_configs:\n      - targets: [\"127.0.0.1:1\"]\n")
}

#[test]
fn reload_and_quit() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("prometheus.yml");
    std::fs::write(&file, config("first")).expect("written");
    let server = Running::start(&[
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", dir.path().join("data").display()),
        "--web.enable-lifecycle".into(),
    ]);
    let pools = |server: &Running| server.ask("GET", "/api/v1/scrape_pools").map(|(_, body)| body);
    assert_eq!(pools(&server).as_deref(), Some(r#"{"status":"success","data":{"scrapePools":["first"]}}"#));

    std::fs::write(&file, "nope: 1\n").expect("written");
    let (status, body) = server.ask("POST", "/-/reload").expect("answer");
    assert_eq!(status, 500);
    assert!(
        body.starts_with("failed to reload config: couldn't load configuration (--config.file="),
        "{body}"
    );
    assert!(pools(&server).is_some_and(|p| p.contains("first")));
    let (_, metrics) = server.ask("GET", "/metrics").expect("answer");
    assert!(metrics.contains("\nprometheus_config_last_reload_successful 0\n"));

    std::fs::write(&file, config("second")).expect("written");
    assert_eq!(server.ask("POST", "/-/reload").map(|a| a.0), Some(200));
    assert!(pools(&server).is_some_and(|p| p.contains("second")));

    assert_eq!(server.ask("POST", "/-/quit").map(|a| a.0), Some(200));
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn queries_are_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let (config, log) = (dir.path().join("prometheus.yml"), dir.path().join("queries.log"));
    std::fs::write(&config, "global: {query_log_file: queries.log}\n").unwrap();
    let data = dir.path().join("data");
    // What was left of a run that ended badly is told, and forgotten.
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("queries.active"), b"[{\"query\":\"left\",\"timestamp_sec\":1},\0\0").unwrap();
    let running = Running::start(&[
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", data.display()),
        "--query.max-concurrency=3".into(),
        "--web.enable-lifecycle".into(),
    ]);
    let ask = |path: &str| running.ask("GET", path).unwrap();
    assert_eq!(ask("/api/v1/query?query=up&time=1700000000.5").0, 200);
    assert_eq!(ask("/api/v1/query_range?query=up&start=1700000000&end=1700000100&step=15.5").0, 200);
    assert_eq!(ask("/api/v1/query?query=label_replace(up,%22a%22,%22b%22,%22c%22,%22(%22)&time=1").0, 422);
    assert_eq!(ask("/api/v1/query?query=up%2B").0, 400);
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0]["params"]["start"], "2023-11-14T22:13:20.500Z");
    assert_eq!(lines[1]["params"]["step"], 15);
    assert_eq!(lines[2]["error"], "invalid regular expression in label_replace(): (");
    assert_eq!(lines[1]["httpRequest"]["path"], "/api/v1/query_range");
    assert_eq!(lines[1]["httpRequest"]["clientIP"], "127.0.0.1");
    assert!(lines[0]["stats"]["samples"]["peakSamples"].is_number());
    assert!(ask("/metrics").1.contains("prometheus_engine_query_log_enabled 1"));
    let active = std::fs::read(data.join("queries.active")).unwrap();
    assert_eq!((active.len(), active.iter().filter(|b| **b != 0).count()), (3001, 1));
    // Without a file there is no log.
    std::fs::write(&config, "{}\n").unwrap();
    assert_eq!(running.ask("POST", "/-/reload").unwrap().0, 200);
    assert_eq!(ask("/api/v1/query?query=up").0, 200);
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 3);
    assert!(ask("/metrics").1.contains("prometheus_engine_query_log_enabled 0"));
}
