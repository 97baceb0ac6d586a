//! What the windows look at: settings, handles of the rooms, and whether the house is ready.

use crate::wrap::Cors;
use arc_swap::ArcSwap;
use ingest::status::ScrapeStatus;
use meter::Registry;
use model::relabel::{NameValidation, RelabelConfig};
use query::Engine;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use storage::admin::{Admin, ReplayStatus};
use storage::exemplars::ExemplarSource;
use storage::metadata::MetadataSource;
use storage::{Queryable, WriterSource};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Who we are; the `version` is the level of Prometheus that we implement.
#[derive(Clone, Debug, Default)]
pub struct BuildInfo {
    pub version: String,
    pub revision: String,
    pub branch: String,
    pub build_user: String,
    pub build_date: String,
    pub go_version: String,
    /// Our own version.
    pub pyrrha: String,
}

/// Settings that do not change while the process runs.
#[derive(Clone, Debug)]
pub struct Options {
    pub agent: bool,
    pub cors: Cors,
    pub enable_lifecycle: bool,
    pub enable_admin: bool,
    /// Limits of the remote write receiver; `None` when it is off.
    pub receiver: Option<ingest::receive::ReceiverOptions>,
    /// `/` or `/prefix`.
    pub route_prefix: String,
    /// Parts of the external URL; the path is empty for the root.
    pub external_scheme: String,
    pub external_host: String,
    pub external_path: String,
    /// The first address that we listen on, to recognise ourselves among targets.
    pub listen_address: String,
    pub page_title: String,
    pub flags: BTreeMap<String, String>,
    pub build: BuildInfo,
    pub lookback_ms: i64,
    pub query_timeout: Duration,
    pub max_concurrency: usize,
    pub language: promql::Options,
    pub cwd: String,
    pub hostname: String,
    /// Start of the process, ns since the epoch.
    pub started_ns: i128,
    /// What `/api/v1/features` shows: category, name, on or off.
    pub features: BTreeMap<String, BTreeMap<String, bool>>,
}

/// Doors of an opened store that answers queries.
#[derive(Clone)]
pub struct Reading {
    pub engine: Arc<Engine>,
    pub queryable: Arc<dyn Queryable>,
    pub exemplars: Arc<dyn ExemplarSource>,
    pub admin: Arc<dyn Admin>,
}

/// Doors of an opened store. An agent's has nothing to read.
#[derive(Clone)]
pub struct Doors {
    pub reading: Option<Reading>,
    pub writers: Option<Arc<dyn WriterSource>>,
    /// Metadata of metrics that were pushed.
    pub metadata: Option<Arc<dyn MetadataSource>>,
}

/// What the configuration says of a scrape pool.
#[derive(Clone, Debug, Default)]
pub struct PoolConfig {
    /// Its section, defaults filled in.
    pub yaml: String,
    pub relabel: Vec<RelabelConfig>,
    pub scheme: NameValidation,
}

/// What the running configuration shows.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// The file with defaults filled in and secrets masked.
    pub yaml: String,
    /// Scrape pools by name.
    pub pools: BTreeMap<String, PoolConfig>,
    /// E.g. `15d`; empty for agents.
    pub retention: String,
    pub last_reload_ok: bool,
    /// Seconds since the epoch.
    pub last_reload_at: i64,
}

/// Where the house stands between start and stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    NotReady = 0,
    Ready = 1,
    Stopping = 2,
}

/// A wish that came by HTTP.
#[derive(Debug)]
pub enum Command {
    /// Reload and say how it went.
    Reload(oneshot::Sender<Result<(), String>>),
    Quit,
}

type ReplayFn = Arc<dyn Fn() -> ReplayStatus + Send + Sync>;

/// Shared by all handlers.
pub struct Api {
    pub(crate) options: Options,
    pub(crate) registry: Registry,
    pub(crate) http: crate::instrument::HttpMetrics,
    pub(crate) queries: crate::v1::query::QueryMetrics,
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) commands: mpsc::Sender<Command>,
    quit_asked: AtomicBool,
    ready: AtomicU8,
    doors: OnceLock<Doors>,
    pub(crate) receiver: OnceLock<crate::v1::write::Sessions>,
    scrape: OnceLock<Arc<dyn ScrapeStatus>>,
    replay: OnceLock<ReplayFn>,
    running: ArcSwap<Running>,
    query_log: OnceLock<Arc<dyn crate::query_log::QueryLog>>,
}

impl Api {
    /// Nothing is ready yet; commands go to `commands`.
    pub fn new(options: Options, registry: &Registry, commands: mpsc::Sender<Command>) -> Arc<Api> {
        Arc::new_cyclic(|weak: &std::sync::Weak<Api>| {
            let weak = weak.clone();
            registry.gauge_fn(
                "prometheus_ready",
                "Whether Prometheus startup was fully completed and the server is ready for normal operation.",
                move || weak.upgrade().map_or(0.0, |api| f64::from(api.ready() == Ready::Ready)),
            );
            Api {
                http: crate::instrument::HttpMetrics::new(registry),
                queries: crate::v1::query::QueryMetrics::new(registry, &options),
                gate: Arc::new(Semaphore::new(options.max_concurrency.max(1))),
                registry: registry.clone(),
                options,
                commands,
                quit_asked: AtomicBool::new(false),
                ready: AtomicU8::new(0),
                doors: OnceLock::new(),
                receiver: OnceLock::new(),
                scrape: OnceLock::new(),
                replay: OnceLock::new(),
                running: ArcSwap::default(),
                query_log: OnceLock::new(),
            }
        })
    }

    /// Gives the doors of the opened store. Only the first call counts.
    pub fn set_doors(&self, doors: Doors) {
        if let (Some(options), Some(writers)) = (self.options.receiver.clone(), &doors.writers) {
            let sessions = crate::v1::write::Sessions::new(options, writers.clone(), &self.registry);
            let _ = self.receiver.set(sessions);
        }
        if let Some(reading) = &doors.reading {
            crate::v1::query::QueryMetrics::show_memory(&self.registry, reading.engine.memory());
        }
        let _ = self.doors.set(doors);
    }

    pub fn set_scrape(&self, scrape: Arc<dyn ScrapeStatus>) {
        let _ = self.scrape.set(scrape);
    }

    /// Where queries are written down. Only the first call counts.
    pub fn set_query_log(&self, log: Arc<dyn crate::query_log::QueryLog>) {
        let _ = self.query_log.set(log);
    }

    pub(crate) fn query_log(&self) -> Option<&dyn crate::query_log::QueryLog> {
        self.query_log.get().map(|log| &**log)
    }

    /// Where the progress of the replay is read while the store opens.
    pub fn set_replay(&self, replay: impl Fn() -> ReplayStatus + Send + Sync + 'static) {
        let _ = self.replay.set(Arc::new(replay));
    }

    pub fn set_ready(&self, ready: Ready) {
        self.ready.store(ready as u8, Ordering::Release);
    }

    pub fn ready(&self) -> Ready {
        match self.ready.load(Ordering::Acquire) {
            0 => Ready::NotReady,
            1 => Ready::Ready,
            _ => Ready::Stopping,
        }
    }

    /// Replaces what is shown of the configuration.
    pub fn set_running(&self, running: Running) {
        self.running.store(Arc::new(running));
    }

    pub fn running(&self) -> Arc<Running> {
        self.running.load_full()
    }

    /// How many more queries may run now.
    pub fn free_places(&self) -> usize {
        self.gate.available_permits()
    }

    pub(crate) fn doors(&self) -> Option<&Doors> {
        self.doors.get()
    }

    pub(crate) fn reading(&self) -> Result<&Reading, crate::ApiError> {
        let reading = self.doors().and_then(|doors| doors.reading.as_ref());
        reading.ok_or_else(|| crate::ApiError::new(crate::ErrorKind::NotReady, "TSDB not ready"))
    }

    pub(crate) fn scrape(&self) -> Option<&Arc<dyn ScrapeStatus>> {
        self.scrape.get()
    }

    pub(crate) fn replay(&self) -> ReplayStatus {
        self.replay.get().map(|f| f()).unwrap_or_default()
    }

    /// True the first time.
    pub(crate) fn ask_quit(&self) -> bool {
        !self.quit_asked.swap(true, Ordering::AcqRel)
    }
}
