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
