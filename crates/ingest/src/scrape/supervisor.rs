//! The way in: jobs and target groups come in, scrape loops run, the API looks at them.

use super::config::Job;
use super::meters::Meters;
use super::pool::{Pool, PoolView};
use super::state::{FailureLog, JobRuntime, Switches};
use super::worker::{Shared, WallClock};
use crate::status::{MetadataOfTarget, PoolStatus, ScrapeStatus};
use discovery::TargetSets;
use meter::{FamilyKind, Point, Registry};
use net::client::{ClientOptions, HttpClient};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use storage::WriterSource;
use tokio::sync::watch;

/// Opens a `scrape_failure_log_file`. The error says why it cannot be.
pub type OpenFailureLog = Arc<dyn Fn(&str) -> Result<Arc<dyn FailureLog>, String> + Send + Sync>;

pub struct Options {
    /// See [`super::offset_seed`].
    pub offset_seed: u64,
    /// Largest lateness that is aligned away (`--scrape.timestamp-tolerance`); `None` switches it off
    /// (`--no-scrape.adjust-timestamps`).
    pub timestamp_tolerance: Option<Duration>,
    /// Store samples older than the newest of their series where the store has a window for them. Upstream
    /// does so when an `out_of_order_time_window` is configured. May change while scraping goes on.
    pub accept_out_of_order: Arc<AtomicBool>,
    /// Mark the series of all targets stale when the server stops in good order.
    pub stale_on_shutdown: bool,
    /// Feature `type-and-unit-labels`.
    pub type_and_unit_labels: bool,
    /// Read start timestamps and hand them on (features `st-storage`, `created-timestamp-zero-ingestion`).
    pub start_timestamps: bool,
    /// Make start timestamps up where targets give none (feature `st-synthesis`).
    pub start_synthesis: bool,
    pub client: ClientOptions,
    /// `None`: failure log files are not supported, and configuring one is warned about.
    pub failure_log: Option<OpenFailureLog>,
    pub clock: WallClock,
    /// Bodies read and stored at the same time.
    pub parallel: usize,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Options {
            offset_seed: 0,
            timestamp_tolerance: Some(Duration::from_millis(2)),
            accept_out_of_order: Arc::default(),
            stale_on_shutdown: false,
            type_and_unit_labels: false,
            start_timestamps: false,
            start_synthesis: false,
            client: ClientOptions::default(),
            failure_log: None,
            clock: Arc::new(|| {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
            }),
            parallel: cores * 2,
        }
    }
}

/// Runs all scrape pools. Methods need a tokio runtime. Cloning shares it.
#[derive(Clone)]
pub struct Supervisor {
    shared: Arc<Shared>,
    meters: Meters,
    client: ClientOptions,
    failure_log: Option<OpenFailureLog>,
    accept_out_of_order: Arc<AtomicBool>,
    switches: Switches,
    state: Arc<tokio::sync::Mutex<State>>,
    views: Arc<Views>,
}

#[derive(Default)]
struct State {
    pools: BTreeMap<String, Pool>,
    /// Pools of jobs that are gone, with targets that wait to be marked stale.
    closed: Vec<Pool>,
    failure_logs: BTreeMap<String, Arc<dyn FailureLog>>,
    /// What discovery said last, for pools that come or change after it did.
    sets: Arc<TargetSets>,
    stopped: bool,
}

#[derive(Default)]
struct Views(RwLock<BTreeMap<String, Arc<PoolView>>>);

/// What a reload could not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to apply the new configuration to scrape pools: {}", .0.join("; "))]
pub struct ApplyError(pub Vec<String>);

impl Supervisor {
    pub fn new(writers: Arc<dyn WriterSource>, registry: &Registry, options: Options) -> Self {
        let shared = Shared {
            clock: options.clock,
            writers,
            seed: options.offset_seed,
            align: options.timestamp_tolerance,
            stale_on_shutdown: options.stale_on_shutdown,
            scratch: Mutex::default(),
            slots: tokio::sync::Semaphore::new(options.parallel.max(1)),
        };
        let views: Arc<Views> = Arc::default();
        register_metadata(registry, &views);
        Supervisor {
            shared: Arc::new(shared),
            meters: Meters::new(registry),
            client: options.client,
            failure_log: options.failure_log,
            accept_out_of_order: options.accept_out_of_order,
            switches: Switches {
                type_and_unit_labels: options.type_and_unit_labels,
                start_timestamps: options.start_timestamps,
                start_synthesis: options.start_synthesis,
            },
            state: Arc::default(),
            views,
        }
    }

    /// Takes over the jobs of a configuration. Unchanged jobs keep their loops and caches; changed ones restart
    /// their loops; jobs that are gone stop. A job that cannot be set up (a TLS file that cannot be read)
    /// keeps its old settings, or stays away when it is new, and is named in the error; the others run.
    pub async fn apply_config(&self, jobs: Vec<Job>) -> Result<(), ApplyError> {
        let mut state = self.state.lock().await;
        if state.stopped {
            return Ok(());
        }
        let sets = Arc::clone(&state.sets);
        let mut failed = Vec::new();
        let mut old = std::mem::take(&mut state.pools);
        for job in jobs {
            let name = job.name.clone();
            match old.remove(&name) {
                Some(pool) if *pool.job() == job => {
                    state.pools.insert(name, pool);
                }
                Some(mut pool) => {
                    match self.prepare(job, &mut state) {
                        Ok((job, client)) => {
                            pool.reload(job, client).await;
                            if let Some(groups) = sets.get(&name) {
                                pool.sync(groups).await;
                            }
                        }
                        Err(e) => {
                            tracing::error!(component = "scrape manager", scrape_pool = %name, err = %e, "error reloading scrape pool");
                            self.meters.reloads_failed.inc();
                            failed.push(format!("{name}: {e}"));
                        }
                    }
                    state.pools.insert(name, pool);
                }
                None => {
                    self.meters.pools.inc();
                    match self.prepare(job, &mut state) {
                        Ok((job, client)) => {
                            let mut pool = Pool::new(job, client, Arc::clone(&self.shared));
                            if let Some(groups) = sets.get(&name) {
                                pool.sync(groups).await;
                            }
                            state.pools.insert(name, pool);
                        }
                        Err(e) => {
                            tracing::error!(component = "scrape manager", scrape_pool = %name, err = %e, "error creating new scrape pool");
                            self.meters.pools_failed.inc();
                            failed.push(format!("{name}: {e}"));
                        }
                    }
                }
            }
        }
        for mut pool in old.into_values() {
            pool.close();
            state.closed.push(pool);
        }
        state.closed.retain(|pool| !pool.is_done());
        *self.views.0.write() = state.pools.iter().map(|(name, pool)| (name.clone(), pool.view())).collect();
        if failed.is_empty() { Ok(()) } else { Err(ApplyError(failed)) }
    }

    fn prepare(&self, job: Job, state: &mut State) -> Result<(Arc<JobRuntime>, HttpClient), String> {
        if job.convert_to_nhcb {
            tracing::warn!(component = "scrape manager", scrape_pool = %job.name, "convert_classic_histograms_to_nhcb is not supported by this version; classic histograms stay classic");
        }
        let client = HttpClient::new(&job.http, self.client.clone())
            .map_err(|e| format!("error creating HTTP client: {e}"))?;
        let failure_log = match job.failure_log_file.as_str() {
            "" => None,
            path => match (state.failure_logs.get(path), &self.failure_log) {
                (Some(log), _) => Some(Arc::clone(log)),
                (None, Some(open)) => {
                    let log = open(path).map_err(|e| format!("unable to open scrape failure log: {e}"))?;
                    state.failure_logs.insert(path.to_owned(), Arc::clone(&log));
                    Some(log)
                }
                (None, None) => {
                    tracing::warn!(component = "scrape manager", scrape_pool = %job.name, file = path, "scrape_failure_log_file is not supported by this version; failed scrapes are not written to it");
                    None
                }
            },
        };
        let job = JobRuntime::new(
            job,
            self.meters.clone(),
            failure_log,
            self.accept_out_of_order.clone(),
            self.switches,
        );
        Ok((Arc::new(job.map_err(|e| e.to_string())?), client))
    }

    /// Takes over everything that discovery has found. Jobs without an entry keep their targets.
    pub async fn sync(&self, sets: Arc<TargetSets>) {
        let mut state = self.state.lock().await;
        if state.stopped {
            return;
        }
        state.sets = Arc::clone(&sets);
        for (name, groups) in sets.iter() {
            if let Some(pool) = state.pools.get_mut(name) {
                pool.sync(groups).await;
            }
        }
        state.closed.retain(|pool| !pool.is_done());
    }

    /// Follows discovery until it ends or the supervisor is shut down.
    pub async fn follow(&self, mut updates: watch::Receiver<Arc<TargetSets>>) {
        loop {
            let sets = Arc::clone(&updates.borrow_and_update());
            self.sync(sets).await;
            if updates.changed().await.is_err() || self.state.lock().await.stopped {
                return;
            }
        }
    }

    /// Stops all loops and waits for them. Scrapes that wait for a reply are given up; what has arrived is
    /// stored.
    pub async fn shutdown(&self) {
        let pools: Vec<Pool> = {
            let mut state = self.state.lock().await;
            state.stopped = true;
            let closed = std::mem::take(&mut state.closed);
            std::mem::take(&mut state.pools).into_values().chain(closed).collect()
        };
        for pool in &pools {
            pool.order_shutdown();
        }
        for pool in pools {
            pool.join().await;
        }
    }
}

impl ScrapeStatus for Supervisor {
    fn pools(&self) -> Vec<PoolStatus> {
        self.views.0.read().iter().map(|(name, view)| view.status(name)).collect()
    }

    fn pool_names(&self) -> Vec<String> {
        self.views.0.read().keys().cloned().collect()
    }

    fn metadata(&self) -> Vec<MetadataOfTarget> {
        let mut out = Vec::new();
        for (name, view) in self.views.0.read().iter() {
            view.metadata(name, &mut out);
        }
        out
    }
}

/// The sizes of the metadata caches, counted when asked.
fn register_metadata(registry: &Registry, views: &Arc<Views>) {
    for (name, help, bytes) in [
        (
            "prometheus_target_metadata_cache_entries",
            "Total number of metric metadata entries in the cache",
            false,
        ),
        (
            "prometheus_target_metadata_cache_bytes",
            "The number of bytes that are currently used for storing metric metadata in the cache",
            true,
        ),
    ] {
        let views = Arc::clone(views);
        registry.collect(name, help, FamilyKind::Gauge, move |out| {
            for (pool, view) in views.0.read().iter() {
                let (entries, size) = view.metadata_size();
                let value = if bytes { size } else { entries } as f64;
                out.push(Point { suffix: "", labels: vec![("scrape_job".into(), pool.clone())], value });
            }
        });
    }
}
