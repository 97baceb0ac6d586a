//! Tests of the supervisor and its providers, on real files and a tiny listener.

use super::*;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn supervisor(registry: &Registry) -> Supervisor {
    let metrics = Arc::new(SdMetrics::new(registry));
    let options = SupervisorOptions { update_interval: Duration::from_millis(200), ..Default::default() };
    Supervisor::start("scrape", registry, metrics, options)
}

fn jobs(list: &[(&str, &str)]) -> BTreeMap<String, SdConfigs> {
    list.iter().map(|(job, text)| ((*job).to_owned(), yaml::from_str(text).expect("reads"))).collect()
}

/// `job: labels labels|job: …`, sorted.
fn shown(sets: &TargetSets) -> String {
    let job = |(job, groups): (&String, &Vec<Arc<TargetGroup>>)| {
        let mut targets: Vec<String> = groups
            .iter()
            .flat_map(|g| g.targets.iter().map(|t| format!("{}{}", t.value("__address__"), g.labels)))
            .collect();
        targets.sort();
        format!("{job}: {}", targets.join(" "))
    };
    sets.iter().map(job).collect::<Vec<_>>().join("|")
}

async fn eventually(updates: &mut watch::Receiver<Arc<TargetSets>>, want: &str) {
    let waiting = updates.wait_for(|sets| shown(sets) == want);
    if tokio::time::timeout(Duration::from_secs(20), waiting).await.is_err() {
        panic!("want {want}, have {}", shown(&updates.borrow()));
    }
}

#[tokio::test]
async fn lists_are_there_at_once_and_reload_replaces_them() {
    let registry = Registry::new();
    let supervisor = supervisor(&registry);
    let updates = supervisor.updates();
    let one = "static_configs: [{targets: [a:1, b:2], labels: {env: x}}]";
    supervisor.apply(jobs(&[("one", one), ("two", "static_configs: [{targets: []}]")])).await;
    assert_eq!(shown(&updates.borrow()), "one: a:1{env=\"x\"} b:2{env=\"x\"}|two: ");
    let points = |name: &str| {
        let families = registry.snapshot();
        let family = families.iter().find(|f| f.name == name).expect("family");
        family.points.iter().map(|p| (p.labels[0].1.clone(), p.value)).collect::<Vec<_>>()
    };
    assert_eq!(points("prometheus_sd_discovered_targets"), [("one".into(), 2.0), ("two".into(), 0.0)]);
    supervisor.apply(jobs(&[("three", one)])).await;
    assert_eq!(shown(&updates.borrow()), "three: a:1{env=\"x\"} b:2{env=\"x\"}");
    assert_eq!(points("prometheus_sd_discovered_targets"), [("three".into(), 2.0)]);
    supervisor.shutdown().await;
}

fn write(path: &Path, text: &str) {
    disk::atomic::write(&disk::OsDisk, path, text.as_bytes()).expect("writes");
}

#[tokio::test]
async fn files_come_change_break_and_go() {
    let dir = tempfile::tempdir().expect("dir");
    let (a, b) = (dir.path().join("a.json"), dir.path().join("b.yml"));
    write(&a, r#"[{"targets": ["a:1"], "labels": {"n": "1"}}, {"targets": ["a:2"]}]"#);
    let text = format!(
        "file_sd_configs: [{{files: ['{}/*.json', '{}'], refresh_interval: 150ms}}]",
        dir.path().display(),
        b.display()
    );
    let registry = Registry::new();
    let supervisor = supervisor(&registry);
    let mut updates = supervisor.updates();
    supervisor.apply(jobs(&[("f", &text), ("g", &text)])).await;
    let labels = |path: &Path| format!("__meta_filepath=\"{}\"", path.display());
    let (in_a, in_b) = (labels(&a), labels(&b));
    let first = format!("a:1{{{in_a}, n=\"1\"}} a:2{{{in_a}}}");
    eventually(&mut updates, &format!("f: {first}|g: {first}")).await;
    write(&b, "- targets: [b:1]\n");
    eventually(&mut updates, &format!("f: {first} b:1{{{in_b}}}|g: {first} b:1{{{in_b}}}")).await;
    // A broken file keeps what it had.
    write(&b, "- targets: [b:1\n");
    write(&a, r#"[{"targets": ["a:3"]}]"#);
    let now = format!("a:3{{{in_a}}} b:1{{{in_b}}}");
    eventually(&mut updates, &format!("f: {now}|g: {now}")).await;
    disk::Disk::remove_file(&disk::OsDisk, &a).expect("removes");
    eventually(&mut updates, &format!("f: b:1{{{in_b}}}|g: b:1{{{in_b}}}")).await;
    supervisor.shutdown().await;
}

#[tokio::test]
async fn endpoints_are_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}/sd", listener.local_addr().expect("address"));
    let answers = [
        ("200 OK", "application/json", r#"[{"targets":["a:1"]},{"targets":["b:1"],"labels":{"x":"y"}}]"#),
        ("200 OK", "text/html", "[]"),
        ("500 Oops", "application/json", "[]"),
        ("200 OK", "application/json; charset=utf-8", r#"[{"targets":["c:1"]}]"#),
    ];
    let server = tokio::spawn(async move {
        let mut heads = Vec::new();
        for (status, kind, body) in answers {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("reads"));
            }
            heads.push(String::from_utf8(head).expect("text").to_lowercase());
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await.expect("writes");
        }
        heads
    });
    let registry = Registry::new();
    let supervisor = supervisor(&registry);
    let mut updates = supervisor.updates();
    supervisor
        .apply(jobs(&[("h", &format!("http_sd_configs: [{{url: '{url}', refresh_interval: 300ms}}]"))]))
        .await;
    let meta = format!("__meta_url=\"{url}\"");
    eventually(&mut updates, &format!("h: a:1{{{meta}}} b:1{{{meta}, x=\"y\"}}")).await;
    eventually(&mut updates, &format!("h: c:1{{{meta}}}")).await;
    let heads = server.await.expect("served");
    assert!(heads[0].contains("x-prometheus-refresh-interval-seconds: 0.3\r\n"), "{}", heads[0]);
    assert!(heads[0].contains("accept: application/json\r\n") && heads[0].contains("user-agent: pyrrha/"));
    let families = registry.snapshot();
    let failures =
        families.iter().find(|f| f.name == "prometheus_sd_refresh_failures_total").expect("family");
    assert!(failures.points[0].value >= 2.0);
    supervisor.shutdown().await;
}
