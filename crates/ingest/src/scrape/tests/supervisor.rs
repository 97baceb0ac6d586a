//! The whole way from discovery to the append door, over a small server on loopback.

use super::FakeStore;
use crate::scrape::config::{Globals, Job, ScrapeConfig};
use crate::scrape::{Options, Supervisor};
use crate::status::{Health, PoolStatus, ScrapeStatus};
use discovery::{TargetGroup, TargetSets};
use meter::Registry;
use model::Labels;
use model::duration::DurationMs;
use model::relabel::{Action, RelabelConfig};
use model::size::ByteSize;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers every request with the same reply; keeps the heads of requests.
struct Server {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut out =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

fn text(body: &str) -> Vec<u8> {
    reply("200 OK", "Content-Type: text/plain; version=0.0.4\r\n", body.as_bytes())
}

impl Server {
    /// An empty reply means that requests are never answered.
    async fn start(first: Vec<u8>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (reply, heads) = (Arc::new(first), Arc::new(Mutex::new(Vec::new())));
        let server = Server { address, heads: Arc::clone(&heads) };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (reply, heads) = (Arc::clone(&reply), Arc::clone(&heads));
                tokio::spawn(async move {
                    let mut got = Vec::new();
                    let mut buffer = [0; 4096];
                    loop {
                        match stream.read(&mut buffer).await {
                            Ok(n) if n > 0 => got.extend_from_slice(&buffer[..n]),
                            _ => return,
                        }
                        if got.ends_with(b"\r\n\r\n") {
                            heads.lock().push(String::from_utf8_lossy(&got).into_owned());
                            got.clear();
                            if reply.is_empty() {
                                std::future::pending::<()>().await;
                            }
                            if stream.write_all(&reply).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        server
    }
}

fn job(edit: impl FnOnce(&mut ScrapeConfig)) -> Job {
    let mut config = ScrapeConfig {
        job_name: "j".into(),
        scrape_interval: DurationMs(50),
        scrape_timeout: DurationMs(50),
        ..ScrapeConfig::default()
    };
    edit(&mut config);
    config.resolve(&Globals::default()).unwrap()
}

fn sets(addresses: &[&str]) -> Arc<TargetSets> {
    let targets = addresses.iter().map(|a| Labels::from_pairs([("__address__", *a)])).collect();
    let group = TargetGroup { source: "0".into(), targets, labels: Labels::from_pairs([("__meta_x", "y")]) };
    Arc::new(TargetSets::from([("j".to_owned(), vec![Arc::new(group)])]))
}

struct House {
    store: FakeStore,
    registry: Registry,
    supervisor: Supervisor,
    seen: Vec<String>,
}

impl House {
    fn new(options: Options) -> House {
        let (store, registry) = (FakeStore::default(), Registry::new());
        let supervisor = Supervisor::new(Arc::new(store.clone()), &registry, options);
        House { store, registry, supervisor, seen: Vec::new() }
    }

    /// Waits for a stored line with these parts.
    async fn wait_line(&mut self, parts: &[&str]) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            self.seen.extend(self.store.take(true));
            if let Some(at) = self.seen.iter().position(|l| parts.iter().all(|p| l.contains(p))) {
                self.seen.drain(..=at);
                return;
            }
            assert!(Instant::now() < end, "no line with {parts:?} in {:?}", self.seen);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn wait_status(&self, want: impl Fn(&PoolStatus) -> bool) -> PoolStatus {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let pools = self.supervisor.pools();
            if let Some(pool) = pools.iter().find(|p| want(p)) {
                return pool.clone();
            }
            assert!(Instant::now() < end, "{pools:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn one(reply: Vec<u8>, edit: impl FnOnce(&mut ScrapeConfig)) -> (Server, House) {
    let server = Server::start(reply).await;
    let house = House::new(Options::default());
    house.supervisor.apply_config(vec![job(edit)]).await.unwrap();
    house.supervisor.sync(sets(&[&server.address])).await;
    (server, house)
}

#[tokio::test]
async fn a_target_is_scraped_and_shown() {
    let (server, mut house) = one(text("# HELP m Help.\n# TYPE m gauge\nm 1\n"), |_| ()).await;
    house.wait_line(&["m{instance=", "} 1 @"]).await;
    house.wait_line(&["up{", "} 1 @"]).await;
    let head = server.heads.lock()[0].to_lowercase();
    assert!(head.starts_with("get /metrics http/1.1\r\n"), "{head}");
    assert!(head.contains("accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"));
    assert!(head.contains("accept-encoding: gzip\r\n"), "{head}");
    assert!(head.contains("user-agent: pyrrha/"), "{head}");
    assert!(head.contains("x-prometheus-scrape-timeout-seconds: 0.05\r\n"), "{head}");
    let pool = house.wait_status(|p| p.active[0].health == Health::Up).await;
    let target = &pool.active[0];
    assert_eq!(target.scrape_url, format!("http://{}/metrics", server.address));
    assert_eq!(target.discovered_labels.value("__meta_x"), "y");
    assert_eq!(target.labels.value("job"), "j");
    assert_eq!((target.scrape_interval.as_str(), target.scrape_timeout.as_str()), ("50ms", "50ms"));
    assert!(target.last_scrape_ms.is_some() && target.last_error.is_empty());
    let metadata = house.supervisor.metadata();
    assert_eq!(metadata[0].families[0].help, "Help.");
    house.supervisor.shutdown().await;
}

#[tokio::test]
async fn compressed_bodies_are_read() {
    let body = wire::cap::gzip(b"zipped 7\n");
    let headers = "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n";
    let (_server, mut house) = one(reply("200 OK", headers, &body), |_| ()).await;
    house.wait_line(&["zipped{", "} 7 @"]).await;
    house.supervisor.shutdown().await;
}

#[tokio::test]
async fn failures_are_told() {
    for (reply, edit, want) in [
        (reply("404 Not Found", "", b""), None, "server returned HTTP status 404 Not Found"),
        (text("m 1\n"), Some(4), "body size limit exceeded"),
        (
            text("m one\n"),
            None,
            "strconv.ParseFloat: parsing \"one\": invalid syntax while parsing: \"m one\"",
        ),
        (Vec::new(), None, "context deadline exceeded"),
    ] {
        let (_server, mut house) =
            one(reply, |c| c.body_size_limit = ByteSize(edit.unwrap_or_default())).await;
        house.wait_line(&["up{", "} 0 @"]).await;
        let pool = house.wait_status(|p| p.active[0].health == Health::Down).await;
        assert!(pool.active[0].last_error.ends_with(want), "{}", pool.active[0].last_error);
        house.supervisor.shutdown().await;
    }
}

#[tokio::test]
async fn vanished_targets_are_marked_after_two_intervals() {
    let (server, mut house) = one(text("m 1\n"), |_| ()).await;
    house.wait_line(&["m{", "} 1 @"]).await;
    house.supervisor.sync(sets(&[])).await;
    house.wait_line(&["m{", "} stale @"]).await;
    house.wait_line(&["up{", "} stale @"]).await;
    assert!(house.supervisor.pools()[0].active.is_empty());
    // A job that is gone retires its targets, too.
    house.supervisor.sync(sets(&[&server.address])).await;
    house.wait_line(&["m{", "} 1 @"]).await;
    house.supervisor.apply_config(Vec::new()).await.unwrap();
    house.wait_line(&["m{", "} stale @"]).await;
    assert!(house.supervisor.pool_names().is_empty());
    house.supervisor.shutdown().await;
}

#[tokio::test]
async fn relabelling_drops_and_limits_refuse() {
    let server = Server::start(text("m 1\n")).await;
    let mut house = House::new(Options::default());
    let rule = RelabelConfig {
        source_labels: Some(vec!["__address__".into()]),
        regex: Some("drop.*".into()),
        action: Action::Drop,
        ..RelabelConfig::default()
    };
    let with = |limit| {
        job(|c| {
            c.relabel_configs = vec![rule.clone()];
            c.keep_dropped_targets = 1;
            c.target_limit = limit;
        })
    };
    house.supervisor.apply_config(vec![with(1)]).await.unwrap();
    house.supervisor.sync(sets(&["drop:1", "drop:2", &server.address, "a/b", "127.0.0.1:1"])).await;
    let pool = house.wait_status(|p| p.active.iter().all(|t| t.health == Health::Down)).await;
    assert_eq!((pool.active.len(), pool.dropped.len(), pool.dropped_count), (2, 1, 2));
    let text = "target_limit exceeded (number of targets: 2, limit: 1)";
    assert!(pool.active.iter().all(|t| t.last_error == text));
    assert!(server.heads.lock().is_empty());
    // A reload lifts the limit; the targets that discovery gave are known.
    house.supervisor.apply_config(vec![with(0)]).await.unwrap();
    house.wait_line(&["m{", "} 1 @"]).await;
    let families = house.registry.snapshot();
    let value = |name: &str| families.iter().find(|f| f.name == name).unwrap().points[0].value;
    assert_eq!(value("prometheus_target_scrape_pool_exceeded_target_limit_total"), 1.0);
    assert!(value("prometheus_target_sync_failed_total") >= 1.0);
    assert_eq!(value("prometheus_target_scrape_pool_targets"), 2.0);
    house.supervisor.shutdown().await;
}

#[tokio::test]
async fn reloads_keep_caches_where_series_stay_the_same() {
    let (_server, mut house) = one(text("m 1\n"), |_| ()).await;
    house.wait_line(&["scrape_series_added{", "} 1 @"]).await;
    house.supervisor.apply_config(vec![job(|c| c.sample_limit = 7)]).await.unwrap();
    house.seen.clear();
    house.store.take(true);
    house.wait_line(&["scrape_series_added{", "} 0 @"]).await;
    house.supervisor.apply_config(vec![job(|c| c.honor_labels = true)]).await.unwrap();
    house.wait_line(&["scrape_series_added{", "} 1 @"]).await;
    assert!(!house.seen.iter().any(|l| l.contains("stale")));
    house.supervisor.shutdown().await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_replies() {
    let (server, house) = one(Vec::new(), |c| {
        c.scrape_interval = DurationMs(30_000);
        c.scrape_timeout = DurationMs(30_000);
        c.job_name = "j".into();
    })
    .await;
    // The first scrape may be up to one interval away; a target that waits has to stop at once as well.
    let start = Instant::now();
    house.supervisor.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(5));
    drop(server);
    let (server, house) = one(Vec::new(), |c| {
        c.scrape_interval = DurationMs(60);
        c.scrape_timeout = DurationMs(60);
    })
    .await;
    while server.heads.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    house.supervisor.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_good_end_marks_series_stale_when_asked() {
    let server = Server::start(text("m 1\n")).await;
    let mut house = House::new(Options { stale_on_shutdown: true, ..Options::default() });
    house.supervisor.apply_config(vec![job(|_| ())]).await.unwrap();
    house.supervisor.sync(sets(&[&server.address])).await;
    house.wait_line(&["m{", "} 1 @"]).await;
    house.supervisor.shutdown().await;
    house.wait_line(&["m{", "} stale @"]).await;
}
