//! The two modes as stores: what is opened, which doors it has, how it is closed.

use crate::flags::{Settings, WalCompression};
use disk::Disk;
use meter::Registry;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use storage::WriterSource;
use storage::feed::Feed;
use storage::metadata::MetadataSource;
use tsdb::agent::{AgentOptions, AgentStore};
use tsdb::feed::LogFeed;
use tsdb::wal::Compression;
use tsdb::{Db, ReplayHandle};

/// How far behind a receiver accepts samples where the configuration does not say: a night's outage of an
/// agent. Upstream has 0.
pub const RECEIVER_WINDOW_MS: i64 = 24 * 3_600_000;

/// What a reload may change in a store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoreConfig {
    pub window_ms: i64,
    pub max_exemplars: usize,
    /// 0: for ever.
    pub retention_ms: i64,
    /// 0: no limit.
    pub retention_bytes: u64,
    /// 0: no limit.
    pub retention_percent: f64,
    /// Floats go to XOR2 chunks.
    pub floats_xor2: bool,
    /// Names must be legal without quotes.
    pub legacy_names: bool,
    /// Share of stale series; 0: never.
    pub stale_series_threshold: f64,
}

/// An open store of either mode. Cloning shares it.
#[derive(Clone)]
pub enum Store {
    Server { db: Db, feed: Arc<LogFeed> },
    Agent(AgentStore),
}

fn compression(settings: &Settings) -> Compression {
    match settings.wal_compression {
        WalCompression::None => Compression::None,
        WalCompression::Snappy => Compression::Snappy,
        WalCompression::Zstd => Compression::Zstd,
    }
}

impl Store {
    /// Opens the store of the mode and replays it. Slow: call it where blocking is allowed.
    pub fn open(
        settings: &Settings,
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        registry: &Registry,
        replay: ReplayHandle,
    ) -> anyhow::Result<Store> {
        let dir = &settings.storage_path;
        if settings.agent {
            let defaults = AgentOptions::default();
            let options = AgentOptions {
                segment_bytes: settings.wal_segment_bytes.unwrap_or(defaults.segment_bytes),
                compression: compression(settings),
                truncate_frequency_ms: settings
                    .agent_truncate
                    .map_or(defaults.truncate_frequency_ms, |d| d.as_millis() as i64),
                min_wal_time_ms: settings.agent_min_ms,
                max_wal_time_ms: settings.agent_max_ms,
                out_of_order_window_ms: config.window_ms,
                legacy_names: config.legacy_names,
                no_lockfile: !settings.lockfile,
                max_series: settings.max_series,
                fsync: settings.wal_sync,
                max_wal_bytes: settings.backlog_limit,
                store_starts: settings.features.st_storage,
                start_zeros: settings.features.start_zeros,
                ..defaults
            };
            return Ok(Store::Agent(AgentStore::open(disk, dir, options, registry, &replay)?));
        }
        let defaults = tsdb::Options::default();
        let options = tsdb::Options {
            wal_segment_bytes: settings.wal_segment_bytes.unwrap_or(defaults.wal_segment_bytes),
            wal_compression: compression(settings),
            head_snapshot: settings.head_snapshot,
            no_lockfile: !settings.lockfile,
            max_series: settings.max_series,
            wal_sync: settings.wal_sync,
            hold_budget_bytes: settings.backlog_limit,
            metadata_wal_records: settings.features.metadata_wal_records,
            min_block_duration_ms: settings.min_block_ms,
            max_block_duration_ms: max_block_ms(settings, config),
            samples_per_chunk: settings.samples_per_chunk,
            block_segment_bytes: settings.block_segment_bytes.unwrap_or(defaults.block_segment_bytes),
            delay_compact_file: settings.delay_compact_file.clone(),
            store_starts: settings.features.st_storage,
            start_zeros: settings.features.start_zeros,
            histogram_starts: settings.features.histogram_starts,
            overlapping_compaction: settings.overlapping_compaction,
            compaction_chunk_samples: settings.compaction_chunk_samples,
            compaction_delay_percent: settings.compaction_delay_percent,
            running: running(config),
            ..defaults
        };
        let db = Db::open(disk, dir, options, registry, replay)?;
        let live = db.clone();
        let feed = LogFeed::new(db.wal().clone(), Arc::new(move |id| live.is_live(id)), registry);
        Ok(Store::Server { db, feed: Arc::new(feed) })
    }

    /// Takes over what a reload may change. An agent's change with the next start.
    pub fn apply(&self, config: StoreConfig) {
        match self {
            Store::Server { db, .. } => db.apply_config(running(config)),
            Store::Agent(_) => {}
        }
    }

    pub fn feed(&self) -> Arc<dyn Feed> {
        match self {
            Store::Server { feed, .. } => feed.clone(),
            Store::Agent(store) => store.feed(),
        }
    }

    pub fn writers(&self) -> Arc<dyn WriterSource> {
        match self {
            Store::Server { db, .. } => Arc::new(db.clone()),
            Store::Agent(store) => Arc::new(store.clone()),
        }
    }

    /// Metadata of metrics that were pushed or scraped into it.
    pub fn metadata(&self) -> Arc<dyn MetadataSource> {
        match self {
            Store::Server { db, .. } => Arc::new(db.clone()),
            Store::Agent(store) => Arc::new(store.clone()),
        }
    }

    /// One round of housekeeping: blocks are cut, compacted and deleted, the log is truncated. Blocks for as
    /// long as there is work.
    pub fn maintain(&self) {
        match self {
            Store::Server { db, feed } => {
                let hold = feed.min_hold().map(|position| position.segment);
                if let Err(e) = db.maintain(hold) {
                    tracing::error!(component = "tsdb", err = %e, "Housekeeping failed");
                }
            }
            Store::Agent(store) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                store.maintain(now.as_millis() as i64);
            }
        }
    }

    /// Ends writing and makes everything durable. Blocks.
    pub fn close(&self) -> anyhow::Result<()> {
        match self {
            Store::Server { db, .. } => db.close()?,
            Store::Agent(store) => store.close()?,
        }
        Ok(())
    }
}

fn running(config: StoreConfig) -> tsdb::Running {
    tsdb::Running {
        out_of_order_window_ms: config.window_ms,
        max_exemplars: config.max_exemplars,
        retention_time_ms: config.retention_ms,
        retention_bytes: config.retention_bytes,
        retention_percent: config.retention_percent,
        floats_xor2: config.floats_xor2,
        legacy_names: config.legacy_names,
        stale_series_threshold: config.stale_series_threshold,
    }
}

/// A tenth of the retention, at most 31 days.
fn max_block_ms(settings: &Settings, config: StoreConfig) -> i64 {
    const LONGEST_MS: i64 = 31 * 24 * 3_600_000;
    let tenth = match config.retention_ms {
        0 => LONGEST_MS,
        ms => (ms / 10).min(LONGEST_MS),
    };
    settings.max_block_ms.unwrap_or(tenth).max(settings.min_block_ms)
}
