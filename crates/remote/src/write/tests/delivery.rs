//! What becomes of batches, answer by answer.

use super::fakes::*;
use model::Labels;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

const V2: &str = r#","protobuf_message":"io.prometheus.write.v2.Request""#;

/// Starts an agent on an empty log, then writes `rows` samples of `series` series.
async fn deliver(
    script: impl FnMut(&Got) -> Answer + Send + 'static,
    queue: &str,
    more: &str,
    series: u64,
    rows: i64,
) -> (Server, Agent, Arc<Log>, tempfile::TempDir) {
    let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Log::default()));
    let server = Server::start(script).await;
    let agent = Agent::start(dir.path(), &log);
    agent.apply(&[config(&server.url, queue, more)]);
    log.series(series);
    for row in 1..=rows {
        log.samples(series, row * 1000, row as f64);
    }
    (server, agent, log, dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_keep_their_order_over_many_lanes() {
    for more in ["", V2] {
        // Every third request fails at first.
        let mut n = 0;
        let script = move |got: &Got| {
            n += 1;
            if n % 3 == 0 { Answer(503, Vec::new(), "later") } else { ok(got) }
        };
        let queue = r#","min_shards":7,"max_samples_per_send":10,"capacity":100"#;
        let (server, agent, _, _dir) = deliver(script, queue, more, 40, 50).await;
        server.wait_rows(2000).await;
        server.assert_complete(40, 50);
        agent.settled().await;
        assert!(agent.metric("samples_retried_total") > 0.0);
        assert_eq!(agent.metric("samples_failed_total"), 0.0);
        assert_eq!(agent.metric("samples_pending"), 0.0);
        assert_eq!(agent.metric("queue_highest_sent_timestamp_seconds"), 50.0);
        assert_eq!(agent.metric("samples_in_total"), 2000.0);
        agent.supervisor.shutdown(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_say_so_and_wait_as_told() {
    let attempts = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = attempts.clone();
    let script = move |got: &Got| {
        let mut seen = seen.lock();
        seen.push((got.header("retry-attempt").to_owned(), Instant::now()));
        match seen.len() {
            1 => Answer(500, Vec::new(), "no"),
            2 => Answer(503, vec![("Retry-After", "1".into())], "wait"),
            _ => ok(got),
        }
    };
    let (server, agent, _, _dir) = deliver(script, "", "", 1, 1).await;
    server.wait_rows(1).await;
    let seen = attempts.lock().clone();
    let headers: Vec<&str> = seen.iter().map(|(h, _)| h.as_str()).collect();
    assert_eq!(headers, ["", "1", "2"]);
    assert!(seen[2].1 - seen[1].1 >= Duration::from_secs(1));
    agent.settled().await;
    assert_eq!(agent.metric("samples_total"), 3.0);
    assert_eq!(agent.metric("samples_retried_total"), 2.0);
    agent.supervisor.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_too_large_are_split() {
    for more in ["", V2] {
        let script = |got: &Got| if got.rows.len() > 3 { Answer(413, Vec::new(), "big") } else { ok(got) };
        let (server, agent, _, _dir) = deliver(script, "", more, 20, 5).await;
        server.wait_rows(100).await;
        server.assert_complete(20, 5);
        agent.settled().await;
        assert_eq!(agent.metric("samples_failed_total"), 0.0);
        agent.supervisor.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_bounded_by_bytes() {
    let (server, agent, _, _dir) = deliver(ok, r#","max_bytes_per_send":"100B""#, "", 20, 5).await;
    server.wait_rows(100).await;
    server.assert_complete(20, 5);
    assert!(server.stored.lock().requests >= 10);
    agent.supervisor.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_receivers_get_the_old_protocol() {
    // One says so; one takes it for something else and answers 204.
    for refusal in [415, 204] {
        let script = move |got: &Got| {
            if got.is_v2() { Answer(refusal, Vec::new(), "what?") } else { ok(got) }
        };
        let more = format!(r#"{V2},"send_exemplars":true"#);
        let (server, agent, log, _dir) = deliver(script, "", &more, 10, 1).await;
        log.exemplar(3, 1500);
        let v1_rows = |stored: &Stored| {
            let rows: HashSet<String> = stored.rows.iter().map(|r| format!("{r:?}")).collect();
            rows.len() >= 11
        };
        server.wait("rows", v1_rows).await;
        agent.settled().await;
        let before = server.stored.lock().requests;
        log.samples(10, 2000, 2.0);
        agent.settled().await;
        let status = agent.supervisor.status();
        assert_eq!(status[0].protobuf_message, "prometheus.WriteRequest");
        // No further request is wasted on the new one.
        assert_eq!(server.stored.lock().requests, before + 1);
        assert_eq!(agent.metric("samples_failed_total"), 0.0);
        agent.supervisor.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_sample_does_not_spoil_its_batch() {
    let script = |got: &Got| {
        let poisoned = got.rows.iter().any(|r| r.labels.metric_name() == "m13" && r.t == 2000);
        if poisoned { Answer(400, Vec::new(), "out of order sample") } else { ok(got) }
    };
    let (server, agent, _, _dir) = deliver(script, "", "", 100, 3).await;
    server.wait_rows(299).await;
    agent.settled().await;
    assert_eq!(server.stored.lock().rows.len(), 299);
    assert_eq!(agent.metric("samples_failed_total"), 1.0);
    agent.supervisor.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_success_needs_no_search() {
    for more in ["", V2] {
        let script = |got: &Got| {
            let exemplars = got.rows.iter().filter(|r| r.exemplar).count();
            written(400, got.rows.len() - exemplars - 1, exemplars)
        };
        let (server, agent, _, _dir) = deliver(script, "", more, 100, 1).await;
        agent.settled().await;
        assert_eq!((server.stored.lock().requests, agent.metric("samples_failed_total")), (1, 1.0));
        agent.supervisor.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_refuses_everything_is_not_flooded() {
    for (status, most) in [(400, 30), (404, 1), (429, 1)] {
        let (server, agent, _, _dir) =
            deliver(move |_| Answer(status, Vec::new(), "no"), "", "", 500, 1).await;
        agent.settled().await;
        assert_eq!(agent.metric("samples_failed_total"), 500.0, "{status}");
        assert!(server.stored.lock().requests <= most, "{}", server.stored.lock().requests);
        assert!(agent.supervisor.status()[0].last_error.as_deref().is_some_and(|e| e.ends_with(": no")));
        agent.supervisor.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_are_tried_again_when_told_so() {
    let mut n = 0;
    let script = move |got: &Got| {
        n += 1;
        if n == 1 { Answer(429, Vec::new(), "slow down") } else { ok(got) }
    };
    let (server, agent, _, _dir) = deliver(script, r#","retry_on_http_429":true"#, "", 5, 1).await;
    server.wait_rows(5).await;
    agent.supervisor.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_are_added_and_rules_applied() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Log::default()));
    let server = Server::start(ok).await;
    let agent = Agent::start(dir.path(), &log);
    let rules = r#","headers":{"X-Scope-OrgID":"1"},"write_relabel_configs":[{"action":"drop","source_labels":["__name__"],"regex":"m[1-9]"}]"#;
    let external = Labels::from_pairs([("cluster", "c"), ("job", "other")]);
    let config = config(&server.url, "", rules);
    agent.supervisor.apply(&[config], &external, &agent.feed).unwrap();
    log.series(10);
    log.samples(10, 1000, 1.0);
    log.samples(11, 2000, 1.0);
    server.wait_rows(2).await;
    agent.settled().await;
    let want = Labels::from_pairs([("__name__", "m0"), ("cluster", "c"), ("job", "x")]);
    assert!(server.stored.lock().rows.iter().all(|r| r.labels == want));
    // Nine by rule twice, and one that no series record told of.
    assert_eq!(agent.metric("samples_dropped_total"), 19.0);
    agent.supervisor.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_samples_are_dropped_when_told_so() {
    let (server, agent, log, _dir) = deliver(ok, r#","sample_age_limit":"1h""#, "", 5, 1).await;
    let now = crate::write::reader::now();
    log.samples(5, now, 1.0);
    server.wait_rows(5).await;
    agent.settled().await;
    assert!(server.stored.lock().rows.iter().all(|r| r.t == now));
    assert_eq!(agent.metric("samples_dropped_total"), 5.0);
    agent.supervisor.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_is_sent_at_its_interval() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Arc::new(Log::default()));
    let server = Server::start(ok).await;
    let agent = Agent::start(dir.path(), &log);
    let mut config = config(&server.url, "", "");
    config.metadata_config.send = true;
    config.metadata_config.send_interval = model::duration::DurationMs(20);
    agent.apply(&[config]);
    server.wait("metadata", |stored| !stored.metadata.is_empty()).await;
    let got = server.stored.lock().metadata[0].clone();
    assert_eq!(got, ("m0".to_owned(), model::MetricType::Gauge, "help of m0".to_owned()));
    agent.supervisor.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_protocol_carries_metadata_with_series() {
    let (server, agent, log, _dir) = deliver(ok, "", V2, 2, 1).await;
    server.wait_rows(2).await;
    log.samples(1, 2000, 1.0);
    let want = ("m0".to_owned(), model::MetricType::Gauge, "help of m0".to_owned());
    server.wait("metadata", |stored| stored.metadata.contains(&want)).await;
    agent.supervisor.shutdown(Duration::ZERO).await;
}
