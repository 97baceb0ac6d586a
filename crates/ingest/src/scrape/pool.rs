//! The targets of one job: which are there, which have come, which are gone.

use super::config::Job;
use super::engine::Engine;
use super::state::{JobRuntime, TargetState};
use super::target::{discovered, populate};
use super::worker::{Order, Shared, Worker};
use crate::status::{DroppedTarget, MetadataOfTarget, PoolStatus, TargetMetadata};
use discovery::TargetGroup;
use model::Labels;
use net::client::HttpClient;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Dropped targets kept for the API where `keep_dropped_targets` sets no limit, so that memory has a bound.
const MOST_DROPPED: usize = 100_000;

struct Running {
    state: Arc<TargetState>,
    orders: watch::Sender<Order>,
    task: JoinHandle<Option<Box<Engine>>>,
}

/// What the API reads; replaced after each sync.
#[derive(Default)]
struct View {
    job: Option<Arc<JobRuntime>>,
    active: Vec<Arc<TargetState>>,
    dropped: Vec<(Labels, Labels)>,
    dropped_count: usize,
}

/// Shared with the API.
#[derive(Default)]
pub(super) struct PoolView(Mutex<View>);

pub(super) struct Pool {
    job: Arc<JobRuntime>,
    client: HttpClient,
    shared: Arc<Shared>,
    running: HashMap<u64, Running>,
    /// Tasks of targets that are gone and wait to be marked stale.
    retired: TaskTracker,
    retired_orders: Vec<watch::Sender<Order>>,
    view: Arc<PoolView>,
}

impl Pool {
    pub(super) fn new(job: Arc<JobRuntime>, client: HttpClient, shared: Arc<Shared>) -> Self {
        job.meters.target_limit.with(&[&job.job.name]).set(job.job.target_limit as f64);
        let pool = Pool {
            job,
            client,
            shared,
            running: HashMap::new(),
            retired: TaskTracker::new(),
            retired_orders: Vec::new(),
            view: Arc::default(),
        };
        pool.view.0.lock().job = Some(Arc::clone(&pool.job));
        pool
    }

    pub(super) fn view(&self) -> Arc<PoolView> {
        Arc::clone(&self.view)
    }

    pub(super) fn job(&self) -> &Job {
        &self.job.job
    }

    /// Takes over a complete set of groups.
    pub(super) async fn sync(&mut self, groups: &[Arc<TargetGroup>]) {
        let start = Instant::now();
        let job = Arc::clone(&self.job);
        let mut wanted: HashMap<u64, TargetState> = HashMap::new();
        let (mut dropped, mut dropped_count, mut failed) = (Vec::new(), 0usize, 0u64);
        let most = match usize::try_from(job.job.keep_dropped_targets).unwrap_or(usize::MAX) {
            0 => MOST_DROPPED,
            limit => limit.min(MOST_DROPPED),
        };
        for group in groups {
            for (i, own) in group.targets.iter().enumerate() {
                match populate(&job.job, &job.rules, own, &group.labels) {
                    Ok(Some(target)) => {
                        let identity = target.identity;
                        let state = TargetState::new(target, own.clone(), group.labels.clone());
                        wanted.insert(identity, state);
                    }
                    Ok(None) => {
                        dropped_count += 1;
                        if dropped.len() < most {
                            dropped.push((own.clone(), group.labels.clone()));
                        }
                    }
                    Err(e) => {
                        failed += 1;
                        tracing::error!(component = "scrape manager", scrape_pool = %job.job.name, err = %format!("instance {i} in group {}: {e}", group.source), "Creating target failed");
                    }
                }
            }
        }
        job.meters.sync_failed.with(&[&job.job.name]).add(failed);
        self.apply(wanted).await;
        {
            let mut view = self.view.0.lock();
            view.dropped = dropped;
            view.dropped_count = dropped_count;
        }
        let name = &[job.job.name.as_str()];
        let seconds = start.elapsed().as_secs_f64();
        job.meters.sync_length.with(name).observe(seconds);
        job.meters.sync_length_histogram.with(name).observe(seconds);
        job.meters.syncs.with(name).inc();
    }

    async fn apply(&mut self, wanted: HashMap<u64, TargetState>) {
        let gone: Vec<u64> = self.running.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in gone {
            if let Some(running) = self.running.remove(&id) {
                self.retire(running);
            }
        }
        self.retired_orders.retain(|orders| !orders.is_closed());
        let count = wanted.len();
        let mut fresh = Vec::new();
        for (id, state) in wanted {
            match self.running.get(&id) {
                Some(running) => running.state.rediscovered_as(&state),
                None => fresh.push((id, Arc::new(state))),
            }
        }
        let error = self.limit_error(count);
        for running in self.running.values() {
            running.state.forced_error.lock().clone_from(&error);
        }
        for (id, state) in fresh {
            *state.forced_error.lock() = error.clone();
            let writer = self.shared.writers.writer();
            let engine = Engine::new(Arc::clone(&self.job), Arc::clone(&state), writer);
            self.start(id, state, Box::new(engine));
        }
        self.job.meters.targets.with(&[&self.job.job.name]).set(count as f64);
        self.show();
    }

    fn limit_error(&self, count: usize) -> Option<String> {
        let limit = self.job.job.target_limit;
        if limit == 0 || count as u64 <= limit {
            return None;
        }
        self.job.meters.exceeded_target_limit.inc();
        Some(format!("target_limit exceeded (number of targets: {count}, limit: {limit})"))
    }

    fn start(&mut self, id: u64, state: Arc<TargetState>, engine: Box<Engine>) {
        let (orders, inbox) = watch::channel(Order::Run);
        let worker = Worker {
            shared: Arc::clone(&self.shared),
            job: Arc::clone(&self.job),
            client: self.client.clone(),
            state: Arc::clone(&state),
            engine: Some(engine),
            orders: inbox,
        };
        let task = tokio::spawn(worker.run());
        self.running.insert(id, Running { state, orders, task });
    }

    fn retire(&mut self, running: Running) {
        running.orders.send_replace(Order::Retire);
        self.retired_orders.push(running.orders);
        let task = running.task;
        self.retired.spawn(async move {
            if let Err(e) = task.await {
                tracing::error!(component = "scrape manager", err = %e, "Scrape loop ended abnormally");
            }
        });
    }

    fn show(&self) {
        let mut active: Vec<_> = self.running.values().map(|r| Arc::clone(&r.state)).collect();
        active.sort_by(|a, b| a.target.url.cmp(&b.target.url));
        self.view.0.lock().active = active;
    }

    /// Takes over changed settings. Targets stay as they are until the next sync; their loops start anew, and
    /// keep their caches when the change does not touch what series look like.
    pub(super) async fn reload(&mut self, job: Arc<JobRuntime>, client: HttpClient) {
        let reuse = same_series(&self.job.job, &job.job);
        job.meters.target_limit.with(&[&job.job.name]).set(job.job.target_limit as f64);
        self.job = job;
        self.client = client;
        let running = std::mem::take(&mut self.running);
        if !reuse {
            for (id, old) in running {
                let state = Arc::clone(&old.state);
                self.retire(old);
                let writer = self.shared.writers.writer();
                let engine = Engine::new(Arc::clone(&self.job), Arc::clone(&state), writer);
                self.start(id, state, Box::new(engine));
            }
        } else {
            for old in running.values() {
                old.orders.send_replace(Order::HandOver);
            }
            for (id, old) in running {
                let engine = match old.task.await {
                    Ok(engine) => engine,
                    Err(e) => {
                        tracing::error!(component = "scrape manager", err = %e, "Scrape loop ended abnormally");
                        None
                    }
                };
                let state = old.state;
                let engine = match engine {
                    Some(engine) => engine.rejoin(Arc::clone(&self.job), Arc::clone(&state)),
                    None => {
                        let writer = self.shared.writers.writer();
                        Engine::new(Arc::clone(&self.job), Arc::clone(&state), writer)
                    }
                };
                self.start(id, state, Box::new(engine));
            }
        }
        self.view.0.lock().job = Some(Arc::clone(&self.job));
        let interval = model::duration::format_duration(self.job.job.interval.0);
        self.job.meters.reloads.inc();
        self.job.meters.reload_length.with(&[&interval]).observe(0.0);
    }

    /// The job is gone: its targets are retired. The pool has to be kept until its tasks are done, or shut down.
    pub(super) fn close(&mut self) {
        let running = std::mem::take(&mut self.running);
        for (_, running) in running {
            self.retire(running);
        }
        self.job.meters.forget_pool(&self.job.job.name);
        self.show();
    }

    /// Whether a closed pool has nothing to do any more.
    pub(super) fn is_done(&self) -> bool {
        self.running.is_empty() && self.retired.is_empty()
    }

    /// Tells everything to stop now.
    pub(super) fn order_shutdown(&self) {
        for orders in self.running.values().map(|r| &r.orders).chain(&self.retired_orders) {
            orders.send_replace(Order::Shutdown);
        }
    }

    /// Waits for what [`Pool::order_shutdown`] has stopped.
    pub(super) async fn join(mut self) {
        for (_, running) in self.running.drain() {
            if let Err(e) = running.task.await {
                tracing::error!(component = "scrape manager", err = %e, "Scrape loop ended abnormally");
            }
        }
        self.retired.close();
        self.retired.wait().await;
    }
}

/// Whether the series of two settings are the same, so that references found under one hold under the other.
fn same_series(a: &Job, b: &Job) -> bool {
    let shape = |job: &Job| Job {
        interval: Default::default(),
        timeout: Default::default(),
        sample_limit: 0,
        target_limit: 0,
        body_size_limit: 0,
        keep_dropped_targets: 0,
        failure_log_file: String::new(),
        http: Default::default(),
        ..job.clone()
    };
    shape(a) == shape(b)
}

impl PoolView {
    pub(super) fn status(&self, name: &str) -> PoolStatus {
        let view = self.0.lock();
        let Some(runtime) = &view.job else {
            return PoolStatus { name: name.to_owned(), ..PoolStatus::default() };
        };
        let job = &runtime.job;
        PoolStatus {
            name: job.name.clone(),
            active: view.active.iter().map(|state| state.status(job)).collect(),
            dropped: view
                .dropped
                .iter()
                .map(|(own, group)| DroppedTarget {
                    discovered_labels: discovered(job, own, group).finish(),
                    scrape_pool: job.name.clone(),
                })
                .collect(),
            dropped_count: view.dropped_count,
        }
    }

    pub(super) fn metadata(&self, pool: &str, out: &mut Vec<MetadataOfTarget>) {
        let active = self.0.lock().active.clone();
        out.extend(active.iter().map(|state| {
            let mut families: Vec<_> = state
                .metadata
                .lock()
                .iter()
                .map(|(family, m)| TargetMetadata {
                    family: family.to_owned(),
                    kind: m.kind,
                    unit: m.unit.clone(),
                    help: m.help.clone(),
                })
                .collect();
            families.sort_by(|a, b| a.family.cmp(&b.family));
            MetadataOfTarget { scrape_pool: pool.to_owned(), labels: state.target.public.clone(), families }
        }));
    }

    /// Entries and bytes of the metadata caches.
    pub(super) fn metadata_size(&self) -> (usize, usize) {
        let active = self.0.lock().active.clone();
        active.iter().fold((0, 0), |(entries, bytes), state| {
            let cache = state.metadata.lock();
            (entries + cache.len(), bytes + cache.bytes())
        })
    }
}
