//! Restarts and reloads: positions carry over, nothing is lost.

use super::fakes::*;
use model::Labels;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

fn distinct(stored: &Stored) -> BTreeSet<(String, i64)> {
    stored.rows.iter().map(|r| (r.labels.to_string(), r.t)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_delivery_ended() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Log::default()));
    let server = Server::start(ok).await;
    let first = Agent::start(dir.path(), &log);
    // What was there before the destination is not sent.
    log.series(10);
    log.samples(10, 1, 0.0);
    first.apply(&[config(&server.url, "", "")]);
    log.samples(10, 1000, 1.0);
    server.wait_rows(10).await;
    first.settled().await;
    // The receiver goes away; the agent stops with samples in the log.
    server.script(|_| Answer(503, Vec::new(), "down"));
    log.samples(10, 2000, 2.0);
    server.wait("refusals", |stored| stored.requests >= 3).await;
    first.supervisor.shutdown(Duration::from_secs(20)).await;
    log.samples(10, 3000, 3.0);
    // Nothing tells the second agent but the position file and the log.
    server.script(ok);
    let second = Agent::start(dir.path(), &log);
    second.apply(&[config(&server.url, "", "")]);
    server.wait_rows(30).await;
    server.assert_complete(10, 3);
    second.settled().await;
    second.supervisor.shutdown(Duration::ZERO).await;
    assert_eq!(log.held("dest"), Some(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loses_nothing() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Log::default()));
    let server = Server::start(|_| Answer(503, Vec::new(), "down")).await;
    let first = Agent::start(dir.path(), &log);
    log.series(10);
    first.apply(&[config(&server.url, "", "")]);
    log.samples(10, 1000, 1.0);
    server.wait("refusals", |stored| stored.requests >= 2).await;
    // Never shut down, only forgotten: as far as the disk knows, it was killed.
    let second = Agent::start(dir.path(), &log);
    server.script(ok);
    second.apply(&[config(&server.url, "", "")]);
    log.samples(10, 2000, 1.0);
    server.wait("rows", |stored| distinct(stored).len() == 20).await;
    second.supervisor.shutdown(Duration::ZERO).await;
    first.supervisor.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_sends_what_is_in_the_log() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Log::default()));
    let server = Server::start(ok).await;
    let agent = Agent::start(dir.path(), &log);
    let mut config = config(&server.url, "", "");
    config.queue_config.batch_send_deadline = model::duration::DurationMs(3_600_000);
    agent.apply(&[config]);
    log.series(10);
    log.samples(10, 1000, 1.0);
    agent.supervisor.shutdown(Duration::from_secs(20)).await;
    server.assert_complete(10, 1);
    assert_eq!(log.held("dest"), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_what_stays() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Log::default()));
    let server = Server::start(ok).await;
    let agent = Agent::start(dir.path(), &log);
    let mut config = config(&server.url, "", "");
    agent.apply(std::slice::from_ref(&config));
    log.series(10);
    log.samples(10, 1000, 1.0);
    server.wait_rows(10).await;
    agent.settled().await;
    // Tuning: the queue goes on.
    config.queue_config.min_shards = 4;
    agent.apply(std::slice::from_ref(&config));
    assert_eq!(agent.supervisor.status()[0].shards, 4);
    log.samples(10, 2000, 1.0);
    server.wait_rows(20).await;
    server.assert_complete(10, 2);
    agent.settled().await;
    // Other labels: it starts again at its position.
    let external = Labels::from_pairs([("cluster", "c")]);
    agent.supervisor.apply(std::slice::from_ref(&config), &external, &agent.feed).unwrap();
    log.samples(10, 3000, 1.0);
    server.wait_rows(30).await;
    let stored = server.stored.lock().rows.clone();
    assert!(stored[20..].iter().all(|r| r.t == 3000 && r.labels.value("cluster") == "c"));
    agent.supervisor.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_is_removed_is_flushed_and_forgotten() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Log::default()));
    let server = Server::start(ok).await;
    let agent = Agent::start(dir.path(), &log);
    agent.apply(&[config(&server.url, "", "")]);
    log.series(10);
    log.samples(10, 1000, 1.0);
    agent.apply(&[]);
    agent.supervisor.shutdown(Duration::ZERO).await;
    server.assert_complete(10, 1);
    assert_eq!(log.held("dest"), None);
    assert!(!dir.path().join("remote_write/dest.json").exists());
    assert!(agent.registry.snapshot().iter().all(|f| f.name != "prometheus_remote_storage_shards"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_do_not_wait_for_destinations() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Log::default()));
    let server = Server::start(|_| Answer(503, vec![("Retry-After", "3600".into())], "down")).await;
    let agent = Agent::start(dir.path(), &log);
    agent.apply(&[config(&server.url, "", "")]);
    log.series(10);
    log.samples(10, 1000, 1.0);
    server.wait("refusals", |stored| stored.requests >= 1).await;
    let begin = std::time::Instant::now();
    agent.apply(&[config(&server.url, "", r#","send_exemplars":true"#)]);
    agent.apply(&[]);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    agent.supervisor.shutdown(Duration::from_secs(60)).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_comes_back_keeps_its_place() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Log::default()));
    let server = Server::start(|_| Answer(503, Vec::new(), "down")).await;
    let agent = Agent::start(dir.path(), &log);
    let config = config(&server.url, "", "");
    agent.apply(std::slice::from_ref(&config));
    log.series(10);
    log.samples(10, 1000, 1.0);
    server.wait("refusals", |stored| stored.requests >= 1).await;
    // Gone, and back before its old queue has ended.
    agent.apply(&[]);
    agent.apply(std::slice::from_ref(&config));
    server.script(ok);
    log.samples(10, 2000, 1.0);
    server.wait("rows", |stored| distinct(stored).len() == 20).await;
    agent.settled().await;
    agent.supervisor.shutdown(Duration::from_secs(5)).await;
    assert_eq!(log.held("dest"), Some(3));
    assert!(dir.path().join("remote_write/dest.json").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_url_takes_over_the_position() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Log::default()));
    let down = Server::start(|_| Answer(503, Vec::new(), "down")).await;
    let server = Server::start(ok).await;
    let agent = Agent::start(dir.path(), &log);
    agent.apply(&[config(&down.url, "", "")]);
    log.series(10);
    log.samples(10, 1000, 1.0);
    down.wait("refusals", |stored| stored.requests >= 1).await;
    agent.apply(&[config(&server.url, "", "")]);
    server.wait_rows(10).await;
    server.assert_complete(10, 1);
    let shards = agent.registry.snapshot();
    let shards = shards.iter().find(|f| f.name == "prometheus_remote_storage_shards").unwrap();
    assert_eq!(shards.points.len(), 1);
    agent.supervisor.shutdown(Duration::from_secs(5)).await;
}
