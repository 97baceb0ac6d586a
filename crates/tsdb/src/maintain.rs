//! Housekeeping: late samples and old parts of the head become blocks, blocks are compacted, retention deletes.

use crate::blocks::Blocks;
use crate::compaction::{CompactionMetrics, exponential};
use crate::db::Db;
use crate::head::{Head, HeadCut, LateCut};
use crate::options::{Options, Running};
use crate::wal::segments;
use block::compact::{Plan, Planner, beyond_size, beyond_time, level_ranges};
use block::meta::hints;
use block::{Block, BlockError, BlockMeta};
use disk::Disk;
use meter::{Counter, Gauge, Histogram, Registry};
use model::TimeRange;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use storage::select::ListSeriesSet;
use storage::{Series, StorageError};
use ulid::Ulid;

/// A Thanos shipper's file is a list of names; this is far above any real one.
const MAX_SHIPPER_FILE_BYTES: u64 = 64 << 20;
/// Stale series are not written by themselves when the whole head is about to be.
const SOON: Duration = Duration::from_secs(600);

/// What housekeeping needs to know and counts.
pub(crate) struct Maintainer {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) blocks: Arc<Blocks>,
    planner: Planner,
    chunk_range: i64,
    pub(crate) segment_bytes: u64,
    pub(crate) chunk_samples: usize,
    delay_file: Option<PathBuf>,
    hold_budget_bytes: u64,
    pub(crate) now: fn() -> SystemTime,
    running: Mutex<Running>,
    /// When late samples were last handed over.
    last_late: Mutex<Instant>,
    /// When the head was last written to a block.
    last_head: Mutex<Option<Instant>>,
    /// How long a due head waits, and since when.
    delay: Duration,
    delayed_since: Mutex<Option<Instant>>,
    /// Blocks that could not be joined, also when that could not be written down.
    failed_blocks: Mutex<BTreeSet<Ulid>>,
    /// One round at a time; deletion, cleaning and snapshots take turns with it.
    pub(crate) turn: Mutex<()>,
    triggered: Counter,
    failed: Counter,
    pub(crate) metrics: CompactionMetrics,
    pub(crate) tombstones_cleaned: Histogram,
    by_time: Counter,
    by_size: Counter,
    overrun: Counter,
    stale_series: Gauge,
    stale_triggered: Counter,
    stale_failed: Counter,
    stale_duration: Histogram,
}

impl Maintainer {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        blocks: Arc<Blocks>,
        options: &Options,
        registry: &Registry,
    ) -> Arc<Self> {
        let counter = |name: &str, help: &str| registry.counter(name, help);
        let chunk_range = options.min_block_duration_ms.max(1);
        let most = chunk_range as u64 * u64::from(options.compaction_delay_percent) / 100;
        let maintainer = Arc::new(Maintainer {
            disk,
            dir: dir.to_owned(),
            blocks,
            planner: Planner {
                ranges: level_ranges(options.min_block_duration_ms, options.max_block_duration_ms),
                overlapping: options.overlapping_compaction,
            },
            chunk_range,
            segment_bytes: options.block_segment_bytes,
            chunk_samples: options.compaction_chunk_samples,
            delay_file: options.delay_compact_file.clone(),
            hold_budget_bytes: options.hold_budget_bytes,
            now: options.now,
            running: Mutex::new(options.running),
            last_late: Mutex::new(Instant::now()),
            last_head: Mutex::new(None),
            delay: Duration::from_millis(if most == 0 { 0 } else { rand::random::<u64>() % most }),
            delayed_since: Mutex::new(None),
            failed_blocks: Mutex::default(),
            turn: Mutex::new(()),
            triggered: counter(
                "prometheus_tsdb_compactions_triggered_total",
                "Total number of triggered compactions for the partition.",
            ),
            failed: counter(
                "prometheus_tsdb_compactions_failed_total",
                "Total number of compactions that failed for the partition.",
            ),
            metrics: CompactionMetrics::new(registry),
            tombstones_cleaned: registry.histogram(
                "prometheus_tsdb_tombstone_cleanup_seconds",
                "The time taken to recompact blocks to remove tombstones.",
                &[],
            ),
            by_time: counter(
                "prometheus_tsdb_time_retentions_total",
                "The number of times that blocks were deleted because the maximum time limit was exceeded.",
            ),
            by_size: counter(
                "prometheus_tsdb_size_retentions_total",
                "The number of times that blocks were deleted because the maximum number of bytes was exceeded.",
            ),
            overrun: counter(
                "pyrrha_tsdb_wal_hold_overruns_total",
                "Times that the log was truncated past a remote-write destination because its backlog exceeded the budget.",
            ),
            stale_series: registry.gauge(
                "prometheus_tsdb_head_stale_series",
                "Total number of stale series in the head block.",
            ),
            stale_triggered: counter(
                "prometheus_tsdb_stale_series_compactions_triggered_total",
                "Total number of triggered stale series compactions.",
            ),
            stale_failed: counter(
                "prometheus_tsdb_stale_series_compactions_failed_total",
                "Total number of stale series compactions that failed.",
            ),
            stale_duration: registry.histogram(
                "prometheus_tsdb_stale_series_compaction_duration_seconds",
                "Duration of stale series compaction runs.",
                &exponential(1.0, 2.0, 14),
            ),
        });
        maintainer.show(registry);
        maintainer
    }

    /// Limits as they are configured, and what can only be zero here.
    fn show(self: &Arc<Self>, registry: &Registry) {
        let gauge = |name: &str, help: &str, value: fn(Running) -> f64| {
            let limits = Arc::downgrade(self);
            registry.gauge_fn(name, help, move || limits.upgrade().map_or(0.0, |m| value(*m.running.lock())));
        };
        gauge(
            "prometheus_tsdb_retention_limit_bytes",
            "Max number of bytes to be retained in the tsdb blocks, configured 0 means disabled",
            |r| r.retention_bytes as f64,
        );
        gauge(
            "prometheus_tsdb_retention_limit_percentage",
            "Max percentage of total storage space to be retained in the tsdb blocks, configured 0 means disabled",
            |r| r.retention_percent.max(0.0),
        );
        gauge("prometheus_tsdb_retention_limit_seconds", "How long to retain samples in storage.", |r| {
            (r.retention_time_ms / 1000) as f64
        });
        registry.counter(
            "prometheus_tsdb_compactions_skipped_total",
            "Total number of skipped compactions due to disabled auto compaction.",
        );
    }

    pub(crate) fn apply_config(&self, running: Running) {
        *self.running.lock() = running;
    }

    /// Bytes that retention allows; 0 for no limit. A share of the file system prevails.
    fn byte_limit(&self) -> u64 {
        let running = *self.running.lock();
        if running.retention_percent > 0.0 {
            match self.disk.space(&self.dir) {
                Ok(space) => return (space.total as f64 * running.retention_percent / 100.0) as u64,
                Err(e) => {
                    tracing::warn!(component = "tsdb", err = %e, "Unable to retrieve filesystem size of database directory, skip percentage limitation and default to fixed size limitation");
                }
            }
        }
        running.retention_bytes
    }

    /// Joins blocks while there is something to join; `interrupt` says that something is more urgent.
    fn compact(&self, head: &Head, interrupt: impl Fn() -> bool) -> Result<(), BlockError> {
        loop {
            if interrupt() {
                tracing::warn!(component = "tsdb", "aborting block compactions to persist the head block");
                return Ok(());
            }
            let blocks = self.candidates();
            let failed = self.failed_blocks.lock().clone();
            let metas: Vec<BlockMeta> = blocks
                .iter()
                .map(|b| {
                    let mut meta = b.meta().clone();
                    meta.compaction.failed |= failed.contains(&meta.ulid);
                    meta
                })
                .collect();
            let chosen: Vec<Arc<Block>> = match self.planner.plan(&metas.iter().collect::<Vec<_>>()) {
                Plan::Nothing => return Ok(()),
                Plan::Overlapping(group) | Plan::Level(group) => {
                    group.iter().map(|i| blocks[*i].clone()).collect()
                }
                Plan::Tombstones(one) => vec![blocks[one].clone()],
            };
            if let Err(e) = self.join(head, &chosen) {
                self.note_failure(&chosen, &e);
                return Err(e);
            }
        }
    }

    /// Marks blocks that could not be joined, so that later rounds go on with others. A full disk says nothing
    /// about them.
    fn note_failure(&self, chosen: &[Arc<Block>], error: &BlockError) {
        if matches!(error, BlockError::Disk(e) if e.is_no_space()) {
            return;
        }
        for block in chosen {
            self.failed_blocks.lock().insert(block.meta().ulid);
            if let Err(e) = self.blocks.mark(block, |compaction| compaction.failed = true) {
                let block = block.dir().display();
                tracing::error!(component = "tsdb", %block, err = %e, "setting compaction failed for block");
            }
        }
    }

    /// Blocks that may be joined, in order of time: those before the first, in order of names, that a shipper has
    /// still to upload.
    fn candidates(&self) -> Vec<Arc<Block>> {
        let mut blocks = self.blocks.list().to_vec();
        let Some(uploaded) = self.uploaded() else { return blocks };
        let pending = |b: &&Arc<Block>| {
            b.meta().compaction.level <= 1 && !uploaded.contains(&b.meta().ulid.to_string())
        };
        let first = blocks.iter().filter(pending).map(|b| b.meta().ulid).min();
        blocks.retain(|b| first.is_none_or(|first| b.meta().ulid < first));
        blocks
    }

    /// Names of the blocks that the shipper's file lists; `None` without a file, or when it cannot be read.
    fn uploaded(&self) -> Option<BTreeSet<String>> {
        #[derive(serde::Deserialize)]
        struct Shipper {
            #[serde(default)]
            uploaded: Vec<String>,
        }
        let path = self.delay_file.as_ref()?;
        let bytes = self.disk.read(path, MAX_SHIPPER_FILE_BYTES).map_err(|e| e.to_string());
        let parsed = bytes.and_then(|b| serde_json::from_slice::<Shipper>(&b).map_err(|e| e.to_string()));
        match parsed {
            Ok(shipper) => Some(shipper.uploaded.into_iter().collect()),
            Err(err) => {
                tracing::warn!(component = "tsdb", path = %path.display(), err, "cannot open TSDB upload meta file");
                None
            }
        }
    }

    fn retain(&self, log_bytes: u64) {
        let time_ms = self.running.lock().retention_time_ms;
        let by_time = beyond_time(&self.blocks.list(), time_ms);
        if !by_time.is_empty() {
            self.by_time.inc();
            self.blocks.delete(&by_time);
        }
        let by_size = beyond_size(&self.blocks.list(), self.byte_limit(), log_bytes);
        if !by_size.is_empty() {
            self.by_size.inc();
            self.blocks.delete(&by_size);
        }
    }

    /// Whether a due head still waits for its delay. `due` starts the wait, its end resets it.
    fn waits(&self, due: bool) -> bool {
        let mut since = self.delayed_since.lock();
        if !due {
            *since = None;
            return false;
        }
        since.get_or_insert_with(Instant::now).elapsed() < self.delay
    }
}

fn failed(e: impl std::fmt::Display) -> StorageError {
    StorageError::Other(e.to_string())
}

/// Label names and values of series, sorted, each once.
fn symbols_of(list: &[Arc<dyn Series>]) -> BTreeSet<Box<str>> {
    let seen: std::collections::HashSet<&str> =
        list.iter().flat_map(|s| s.labels().iter()).flat_map(|(name, value)| [name, value]).collect();
    seen.into_iter().map(Box::from).collect()
}

impl Db {
    /// One round of housekeeping; call it once a minute from a thread of its own. `hold` is the oldest log segment
    /// that a follower still needs. Errors leave everything as it was; the next round tries again.
    pub fn maintain(&self, hold: Option<u32>) -> Result<(), StorageError> {
        let m = self.maintainer();
        let _turn = m.turn.lock();
        m.triggered.inc();
        let done = self.round(m, hold);
        if done.is_err() {
            m.failed.inc();
        }
        // Also when blocks could not be written or joined: it frees the space that may be lacking.
        let head = self.head();
        m.retain(head.wal.size_bytes() + head.chunk_disk_bytes());
        done
    }

    /// Nothing leaves the head before the blocks that hold it are durable and loaded.
    fn round(&self, m: &Maintainer, hold: Option<u32>) -> Result<(), StorageError> {
        // Blocks may have come or gone by other hands.
        m.blocks.reload().map_err(failed)?;
        let head = self.head();
        let (min, max) = head.in_order_range();
        let aligned = |t: i64| t - t.rem_euclid(m.chunk_range);
        let empty = min > max;
        let is_due = || {
            let (min, max) = head.in_order_range();
            min <= max && max - min > m.chunk_range / 2 * 3
        };
        let due = is_due() && !m.waits(is_due());
        // Everything late belongs before an empty head.
        let first = if empty { i64::MAX } else { aligned(min) };
        let late_due = head.late_range().is_some_and(|r| r.min < first)
            && m.last_late.lock().elapsed().as_millis() as i64 > m.chunk_range;
        if due || late_due {
            let begun = Instant::now();
            let late = head.cut_late().map_err(failed)?;
            // Before the in-order ones: a start that finds these takes late chunks before their end for stored.
            if let Some(cut) = &late {
                *m.last_late.lock() = Instant::now();
                self.blocks_of_late_samples(m, cut, first)?;
            }
            let mut end = first;
            while due && max - end.max(min) > m.chunk_range / 2 * 3 {
                *m.last_head.lock() = Some(Instant::now());
                // In-order samples can no longer be appended to this range; late ones of it come along.
                let late_here = late.as_ref().is_some_and(|cut| cut.range.min < min && end < min);
                let range =
                    TimeRange::new(if late_here { end } else { end.max(min) }, end + m.chunk_range - 1);
                let mut cut = HeadCut::new(head, range);
                let (symbols, count) = (cut.symbols(), cut.count());
                m.write("write block completed", range, &[], symbols, (&mut cut, count)).map_err(failed)?;
                end += m.chunk_range;
            }
            if let Some(cut) = late {
                head.drop_late(&cut, end).map_err(failed)?;
            }
            if due {
                head.truncate_memory(end)?;
                let hold = self.within_budget(m, hold);
                head.truncate_wal(end, hold).map_err(failed)?;
                head.drop_standing(m.blocks.in_order_end());
                m.waits(is_due());
            }
            if begun.elapsed().as_millis() as i64 > m.chunk_range {
                let (duration, block_range) = (begun.elapsed(), m.chunk_range);
                tracing::warn!(
                    component = "tsdb",
                    ?duration,
                    block_range,
                    "Head compaction took longer than the block time range, compactions are falling behind and won't be able to catch up"
                );
            }
        }
        if let Err(e) = self.stale_series(m) {
            tracing::error!(component = "tsdb", err = %e, "immediate stale series compaction failed");
        }
        // Retention frees space even when blocks cannot be joined.
        let compacted = m.compact(head, || is_due() && !m.waits(true)).map_err(failed);
        m.retain(head.wal.size_bytes() + head.chunk_disk_bytes());
        compacted
    }

    /// Counts series that have ended, and writes them to blocks of their own when they are a large part of the
    /// head.
    fn stale_series(&self, m: &Maintainer) -> Result<(), StorageError> {
        let head = self.head();
        let stale = head.stale_series();
        m.stale_series.set(stale.len() as f64);
        let threshold = m.running.lock().stale_series_threshold;
        let all = head.series_count();
        let reached = threshold > 0.0 && all > 0 && stale.len() as f64 / all as f64 >= threshold;
        let last = *m.last_head.lock();
        let soon = last.is_some_and(|t| t.elapsed() + SOON > Duration::from_millis(m.chunk_range as u64));
        if !reached || soon {
            return Ok(());
        }
        m.stale_triggered.inc();
        tracing::info!(component = "tsdb", "Starting stale series compaction");
        let begun = Instant::now();
        let done = self.write_stale_series(m, &stale);
        match &done {
            Ok(num_series) => {
                m.stale_duration.observe(begun.elapsed().as_secs_f64());
                tracing::info!(component = "tsdb", num_series, duration = ?begun.elapsed(), "Ending stale series compaction");
            }
            Err(_) => m.stale_failed.inc(),
        }
        done.map(drop)
    }

    /// Blocks of the given series, one for each range; then they leave the head. Gives how many went.
    fn write_stale_series(&self, m: &Maintainer, stale: &[(u32, i64)]) -> Result<u64, StorageError> {
        let head = self.head();
        let (min, max) = head.in_order_range();
        let mut start = min - min.rem_euclid(m.chunk_range);
        while start <= max {
            let range = TimeRange::new(start, start + m.chunk_range - 1);
            let mut cut = HeadCut::of(head, range, stale.iter().map(|(series, _)| *series).collect());
            let (symbols, count) = (cut.symbols(), cut.count());
            let what = "Head portion block created";
            m.write(what, range, &[hints::STALE_SERIES], symbols, (&mut cut, count)).map_err(failed)?;
            start += m.chunk_range;
        }
        let gone = head.evict(stale).map_err(failed)?;
        m.stale_series.set((stale.len() as u64 - gone) as f64);
        Ok(gone)
    }

    /// Blocks of the late samples before `end`.
    fn blocks_of_late_samples(&self, m: &Maintainer, cut: &LateCut, end: i64) -> Result<(), StorageError> {
        let mut start = cut.range.min - cut.range.min.rem_euclid(m.chunk_range);
        while start < end && start <= cut.range.max {
            let range = TimeRange::new(start, start + m.chunk_range - 1);
            let list = cut.series(range);
            if !list.is_empty() {
                let what = "write block completed";
                let (symbols, count) = (symbols_of(&list), list.len());
                let mut set = ListSeriesSet::new(list);
                m.write(what, range, &[hints::OUT_OF_ORDER], symbols, (&mut set, count)).map_err(failed)?;
            }
            start += m.chunk_range;
        }
        Ok(())
    }

    /// The hold of the slowest follower, moved forward where its backlog is beyond the budget.
    fn within_budget(&self, m: &Maintainer, hold: Option<u32>) -> Option<u32> {
        let hold = hold?;
        if m.hold_budget_bytes == 0 {
            return Some(hold);
        }
        let segments = segments(&*m.disk, &m.dir.join("wal")).unwrap_or_default();
        let mut bytes = 0;
        let fitting = segments.iter().rev().take_while(|s| {
            bytes += s.len;
            bytes <= m.hold_budget_bytes
        });
        let oldest = fitting.last().or(segments.last()).map_or(hold, |s| s.number);
        if hold < oldest {
            m.overrun.inc();
            tracing::warn!(
                component = "tsdb",
                from = hold,
                to = oldest,
                budget_bytes = m.hold_budget_bytes,
                "A remote-write destination is so far behind that the log is truncated past it; its oldest samples are lost"
            );
        }
        Some(hold.max(oldest))
    }
}
