//! Remote write: the sender.
//!
//! Room: `remote`. A [`Supervisor`] runs one queue per destination; a queue reads the log from its durable
//! position and sends it in order per series, over as many concurrent requests as it needs. What is not
//! acknowledged stays in the log. Nothing here knows the store behind the feed.

mod batch;
mod client;
mod metrics;
mod position;
mod queue;
mod reader;
mod schedule;
mod send;
mod series;
#[cfg(test)]
mod tests;

use crate::config::{self, RemoteWriteConfig};
use client::Target;
use disk::Disk;
use http::{HeaderMap, HeaderName, HeaderValue};
use metrics::Families;
use model::relabel::NameValidation;
use model::{Labels, Metadata};
use net::client::{ClientError, ClientOptions, HttpClient};
use parking_lot::Mutex;
use queue::{Fixed, Live, Patience, Queue};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use storage::feed::{Feed, Position};
use tokio::task::JoinSet;

/// Gives metadata of all metric families that are known now, for remote write 1.0.
pub type MetadataSource = Arc<dyn Fn() -> Vec<(String, Metadata)> + Send + Sync>;

/// What the supervisor is told once.
pub struct Environment {
    pub disk: Arc<dyn Disk>,
    /// The storage path; positions are kept below it, in `remote_write/`.
    pub storage_dir: PathBuf,
    pub metadata: MetadataSource,
    pub registry: meter::Registry,
    pub runtime: tokio::runtime::Handle,
    /// How long a destination that is removed by a reload may still send what it has.
    pub flush_deadline: Duration,
}

/// Why a configuration was not applied; the running queues go on.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{0}")]
    Config(#[from] config::Invalid),
    #[error("remote write {name}: {why}")]
    Relabel { name: String, why: String },
    #[error("remote write {name}: {why}")]
    Client { name: String, why: ClientError },
    #[error("remote write {name}: bad URL {url}")]
    Url { name: String, url: String },
}

/// How one destination is doing.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub name: String,
    /// Without its password.
    pub url: String,
    pub protobuf_message: &'static str,
    pub segment: u32,
    pub offset: u64,
    /// Bytes of the log that are not delivered.
    pub backlog_bytes: u64,
    pub pending_samples: usize,
    pub shards: usize,
    /// Times of the newest sample read and delivered, seconds since the epoch; 0 before the first.
    pub highest_timestamp_seconds: f64,
    pub highest_sent_timestamp_seconds: f64,
    /// What went wrong last, until something is delivered.
    pub last_error: Option<String>,
    pub uptime_seconds: f64,
}

struct Running {
    queue: Arc<Queue>,
    fixed_as_written: RemoteWriteConfig,
    external: Labels,
}

/// Runs the queues.
pub struct Supervisor {
    environment: Arc<Environment>,
    families: Arc<Families>,
    running: Arc<Mutex<BTreeMap<String, Running>>>,
    /// Ends of queues that were replaced or removed.
    ending: Mutex<JoinSet<()>>,
}

impl Supervisor {
    pub fn new(environment: Environment) -> Self {
        let families = Arc::new(Families::new(&environment.registry));
        Supervisor {
            environment: Arc::new(environment),
            families,
            running: Arc::default(),
            ending: Mutex::new(JoinSet::new()),
        }
    }

    /// Makes the running queues those of the configuration. Destinations are known by name: one that stays
    /// goes on sending, at once with the new settings; only when what is sent changes (labels, relabelling,
    /// message type) it starts again at its position. Returns soon, whatever the destinations do. On an
    /// error nothing changes.
    pub fn apply(
        &self,
        configs: &[RemoteWriteConfig],
        external: &Labels,
        feed: &Arc<dyn Feed>,
    ) -> Result<(), ApplyError> {
        config::validate_all(configs)?;
        let mut wanted = Vec::with_capacity(configs.len());
        for config in configs {
            wanted.push((config.clone(), build(config, external)?));
        }
        let names: Vec<String> = wanted.iter().map(|(_, (fixed, _))| fixed.name.clone()).collect();
        let mut running = self.running.lock();
        let first = running.is_empty();
        let removed: Vec<String> = running.keys().filter(|n| !names.contains(n)).cloned().collect();
        for name in removed {
            if let Some(old) = running.remove(&name) {
                self.end(old, feed);
            }
        }
        if first {
            let dir = position::dir(&self.environment.storage_dir);
            position::forget_others(&*self.environment.disk, &dir, &names);
        }
        for (config, (fixed, live)) in wanted {
            let name = fixed.name.clone();
            let same = running
                .get(&name)
                .is_some_and(|old| old.external == *external && same_sending(&old.fixed_as_written, &config));
            if same {
                if let Some(old) = running.get_mut(&name) {
                    old.queue.shared.set_live(live);
                    old.fixed_as_written = config;
                }
                continue;
            }
            let old = running.remove(&name);
            let queue = self.begin(old, fixed, live, feed);
            running.insert(name, Running { queue, fixed_as_written: config, external: external.clone() });
        }
        for (at, running) in running.values().enumerate() {
            running.queue.shared.counts_incoming.store(at == 0, Relaxed);
        }
        Ok(())
    }

    /// Starts a queue; one that it replaces is ended first, without flushing: its position carries over.
    fn begin(&self, old: Option<Running>, fixed: Fixed, live: Live, feed: &Arc<dyn Feed>) -> Arc<Queue> {
        if let Some(old) = old {
            // Quick: requests are cancelled, the reader stops within a quarter of a second.
            let (sender, receiver) = std::sync::mpsc::channel();
            let (families, url) = (self.families.clone(), fixed.url.clone());
            self.environment.runtime.spawn(async move {
                old.queue.stop(None, Patience::WhileItAnswers).await;
                let before = &old.queue.shared.fixed;
                if before.url != url {
                    families.forget(&before.name, &before.url);
                }
                let _ = sender.send(());
            });
            let wait = || receiver.recv_timeout(Duration::from_secs(5));
            // On a worker of the runtime its other tasks must go on meanwhile.
            let _ = match tokio::runtime::Handle::try_current().map(|h| h.runtime_flavor()) {
                Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
                _ => wait(),
            };
        }
        let (environment, families) = (self.environment.clone(), self.families.clone());
        Arc::new(Queue::start(environment, families, feed.clone(), fixed, live))
    }

    /// Ends a destination that is no longer configured: what it has goes out while there is time.
    fn end(&self, old: Running, feed: &Arc<dyn Feed>) {
        let (environment, families, feed) = (self.environment.clone(), self.families.clone(), feed.clone());
        let running = self.running.clone();
        let ended = async move {
            old.queue.stop(Some(environment.flush_deadline), Patience::UntilDeadline).await;
            let fixed = &old.queue.shared.fixed;
            if running.lock().contains_key(&fixed.name) {
                // It came back meanwhile: hold, metrics and position are those of its new queue.
                return;
            }
            feed.release(&fixed.name);
            families.forget(&fixed.name, &fixed.url);
            let (disk, dir) = (environment.disk.clone(), position::dir(&environment.storage_dir));
            let name = fixed.name.clone();
            let _ = tokio::task::spawn_blocking(move || position::forget(&*disk, &dir, &name)).await;
        };
        let mut ending = self.ending.lock();
        while ending.try_join_next().is_some() {}
        ending.spawn_on(ended, &self.environment.runtime);
    }

    /// Stops all queues: what is in the log is sent first, at most until the deadline and as long as the
    /// destination answers. Positions are saved: the next start goes on from there.
    pub async fn shutdown(&self, flush_deadline: Duration) {
        let running = std::mem::take(&mut *self.running.lock());
        let mut ending = std::mem::take(&mut *self.ending.lock());
        for old in running.into_values() {
            let stop = async move { old.queue.stop(Some(flush_deadline), Patience::WhileItAnswers).await };
            ending.spawn_on(stop, &self.environment.runtime);
        }
        while ending.join_next().await.is_some() {}
    }

    /// How the destinations are doing, by name.
    pub fn status(&self) -> Vec<Status> {
        let running = self.running.lock();
        running.values().map(|running| status(&running.queue)).collect()
    }

    /// Earliest position that some destination still needs; `None` without destinations.
    pub fn lowest_position(&self) -> Option<Position> {
        let running = self.running.lock();
        running.values().map(|r| r.queue.shared.schedule.lock().done()).min()
    }
}

fn status(queue: &Queue) -> Status {
    let shared = &queue.shared;
    let (done, rows) = {
        let schedule = shared.schedule.lock();
        (schedule.done(), schedule.rows())
    };
    Status {
        name: shared.fixed.name.clone(),
        url: shared.fixed.url.clone(),
        protobuf_message: shared.message().name(),
        segment: done.segment,
        offset: done.offset,
        backlog_bytes: shared.feed.backlog_bytes(done),
        pending_samples: rows,
        shards: shared.concurrency(),
        highest_timestamp_seconds: shared.metrics.highest_timestamp.get(),
        highest_sent_timestamp_seconds: shared.metrics.highest_sent.get(),
        last_error: shared.last_error.lock().clone(),
        uptime_seconds: queue.started.elapsed().as_secs_f64(),
    }
}

/// Whether two sections send the same, so that a running queue can take over the rest.
fn same_sending(a: &RemoteWriteConfig, b: &RemoteWriteConfig) -> bool {
    let url = |c: &RemoteWriteConfig| c.url.as_ref().map(net::config::ConfigUrl::redacted);
    // The URL is a label of the metrics.
    url(a) == url(b)
        && a.write_relabel_configs == b.write_relabel_configs
        && a.protobuf_message == b.protobuf_message
        && a.send_exemplars == b.send_exemplars
        && a.send_native_histograms == b.send_native_histograms
}

fn build(config: &RemoteWriteConfig, external: &Labels) -> Result<(Fixed, Live), ApplyError> {
    let name = config.identity();
    let rules = model::relabel::compile(&config.write_relabel_configs, NameValidation::default())
        .map_err(|why| ApplyError::Relabel { name: name.clone(), why: why.to_string() })?;
    let Some(url) = &config.url else {
        return Err(config::Invalid("url for remote_write is empty".into()).into());
    };
    let uri = url
        .0
        .as_str()
        .split('#')
        .next()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ApplyError::Url { name: name.clone(), url: url.redacted() })?;
    let options =
        ClientOptions { http2: false, round_robin_dns: config.round_robin_dns, ..ClientOptions::default() };
    let client = HttpClient::new(&config.http, options)
        .map_err(|why| ApplyError::Client { name: name.clone(), why })?;
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            headers.insert(name, value);
        }
    }
    let target = Target {
        client,
        uri,
        headers,
        timeout: config.remote_timeout.std(),
        retry_429: config.queue_config.retry_on_http_429,
    };
    let live = Live {
        target,
        queue: config.queue_config.clone(),
        metadata: config.metadata_config.clone(),
        log_requests: config.failed_request_logging,
    };
    let fixed = Fixed {
        name,
        url: url.redacted(),
        message: config.protobuf_message,
        external: external.clone(),
        rules: rules.into(),
        send_exemplars: config.send_exemplars,
        send_histograms: config.send_native_histograms,
    };
    Ok((fixed, live))
}
