//! The agent store: a write-ahead log without chunks, for a program that scrapes, receives and sends on.
//!
//! Room: `tsdb::agent`. May touch: `wal`, `feed`, label checks of the head. Must not touch: chunks, blocks.
//! Invariant: a sample is acknowledged only when it is in the log together with the series it belongs to.
//!
//! The directory is upstream's: `<path>/wal/` and `<path>/lock`. What either program wrote the other
//! continues, for which reason no metadata records are written: upstream's agent takes them for corruption.

mod metrics;
mod replay;
mod series;
mod truncate;
mod writer;

#[cfg(test)]
mod tests;

use crate::feed::LogFeed;
use crate::head::ReplayHandle;
use crate::metadata::MetadataStore;
use crate::wal::{Compression, DEFAULT_SEGMENT_BYTES, Wal, WalError, WalOptions};
use disk::lock::LockError;
use disk::{DirLock, Disk, DiskError};
use meter::Registry;
use metrics::AgentMetrics;
use model::Metadata;
use parking_lot::{Mutex, RwLock};
use series::SeriesTable;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use storage::feed::Feed;
use storage::metadata::MetadataSource;
use storage::{SeriesRef, Writer, WriterSource};
use truncate::Schedule;
use writer::AgentWriter;

/// Times are in milliseconds.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    pub segment_bytes: u64,
    pub compression: Compression,
    /// Every acknowledgement waits until its records are durable.
    pub fsync: bool,
    /// How often the log is cut and what was sent is removed.
    pub truncate_frequency_ms: i64,
    /// Segments written to within this time stay, and so do series with samples within it.
    pub min_wal_time_ms: i64,
    /// Segments last written to longer ago go even when a destination has not got them.
    pub max_wal_time_ms: i64,
    /// Bytes of all segments above which the oldest go even when a destination has not got them; 0: no
    /// limit, as upstream.
    pub max_wal_bytes: u64,
    /// How much older than the newest sample of its series a sample may be.
    pub out_of_order_window_ms: i64,
    /// Series at most; known ones go on when it is reached. 0: no limit.
    pub max_series: u64,
    /// Families whose metadata is remembered, at most.
    pub max_metadata: usize,
    /// Label names must be legacy names.
    pub legacy_names: bool,
    /// Log start timestamps of samples (feature `st-storage`).
    pub store_starts: bool,
    /// Precede a sample by a zero at its start timestamp (feature `created-timestamp-zero-ingestion`).
    pub start_zeros: bool,
    pub no_lockfile: bool,
    /// No threads of its own; for simulation.
    pub sync_inline: bool,
}

impl Default for AgentOptions {
    /// Upstream's.
    fn default() -> Self {
        AgentOptions {
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            compression: Compression::Snappy,
            fsync: false,
            truncate_frequency_ms: 2 * 3_600_000,
            min_wal_time_ms: 5 * 60_000,
            max_wal_time_ms: 4 * 3_600_000,
            max_wal_bytes: 0,
            out_of_order_window_ms: 0,
            max_series: 0,
            max_metadata: 100_000,
            legacy_names: false,
            store_starts: false,
            start_zeros: false,
            no_lockfile: false,
            sync_inline: false,
        }
    }
}

impl AgentOptions {
    /// As upstream puts options right that contradict each other.
    fn validated(mut self) -> Self {
        let default = AgentOptions::default();
        if self.truncate_frequency_ms <= 0 {
            self.truncate_frequency_ms = default.truncate_frequency_ms;
        }
        if self.min_wal_time_ms <= 0 {
            self.min_wal_time_ms = default.min_wal_time_ms;
        }
        if self.max_wal_time_ms <= 0 {
            self.max_wal_time_ms = default.max_wal_time_ms;
        }
        self.max_wal_time_ms = self.max_wal_time_ms.max(self.min_wal_time_ms).max(self.truncate_frequency_ms);
        self
    }
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("creating WAL: {0}")]
    Wal(#[from] WalError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// An open agent store. Cloning shares it.
#[derive(Clone)]
pub struct AgentStore(Arc<Inner>);

struct Inner {
    disk: Arc<dyn Disk>,
    options: AgentOptions,
    wal: Wal,
    feed: LogFeed,
    series: Arc<SeriesTable>,
    /// Series that are gone from memory, or stood twice in the log, and the last segment that may speak of
    /// them: checkpoints keep their records until then.
    deleted: Mutex<HashMap<u64, u32>>,
    metadata: MetadataStore,
    metrics: AgentMetrics,
    schedule: Mutex<Schedule>,
    /// Writers share it; removing series from memory excludes them.
    gate: RwLock<()>,
    _lock: Option<DirLock>,
}

impl AgentStore {
    /// Opens or makes the store in `path`: takes the lock, replays the log, sets damage aside and begins a new
    /// segment. `status` shows the progress meanwhile.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: AgentOptions,
        registry: &Registry,
        status: &ReplayHandle,
    ) -> Result<AgentStore, AgentError> {
        let options = options.validated();
        let metrics = AgentMetrics::new(registry);
        let lock = if options.no_lockfile {
            metrics.clean_start.set(-1.0);
            None
        } else {
            let lock = DirLock::acquire(disk.clone(), path)?;
            if lock.replaced() {
                tracing::warn!(
                    component = "agent",
                    file = %lock.path().display(),
                    "A lockfile from a previous execution already existed. It was replaced"
                );
            }
            metrics.clean_start.set(if lock.replaced() { 0.0 } else { 1.0 });
            Some(lock)
        };
        let dir = path.join("wal");
        disk.create_dir_all(&dir)?;
        let replayed = replay::replay(&disk, &dir, &metrics, status)?;
        let wal_options = WalOptions {
            segment_bytes: options.segment_bytes,
            compression: options.compression,
            fsync: options.fsync,
            sync_inline: options.sync_inline,
            ..WalOptions::default()
        };
        let wal = Wal::open(disk.clone(), &dir, wal_options, registry)?;
        let series = Arc::new(replayed.series);
        let live = series.clone();
        let feed = LogFeed::new(wal.clone(), Arc::new(move |id: SeriesRef| live.is_live(id.0)), registry);
        metrics.active_series.set(series.len() as f64);
        metrics.deleted_series.set(replayed.deleted.len() as f64);
        Ok(AgentStore(Arc::new(Inner {
            disk,
            options,
            wal,
            feed,
            series,
            deleted: Mutex::new(replayed.deleted),
            metadata: MetadataStore::default(),
            metrics,
            schedule: Mutex::default(),
            gate: RwLock::new(()),
            _lock: lock,
        })))
    }

    /// What remote write follows. A destination must call `hold` before it relies on anything being kept.
    pub fn feed(&self) -> Arc<dyn Feed> {
        Arc::new(self.0.feed.clone())
    }

    pub fn wal(&self) -> &Wal {
        &self.0.wal
    }

    pub fn series_count(&self) -> u64 {
        self.0.series.len()
    }

    /// Ends writing and makes the log durable. Closing twice is harmless.
    pub fn close(&self) -> Result<(), WalError> {
        self.0.wal.close()
    }
}

impl WriterSource for AgentStore {
    fn writer(&self) -> Box<dyn Writer> {
        Box::new(AgentWriter::new(self.0.clone()))
    }
}

impl MetadataSource for AgentStore {
    fn metadata(&self, metric: Option<&str>) -> Vec<(String, Metadata)> {
        self.0.metadata.list(metric)
    }
}
