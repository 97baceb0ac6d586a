//! Housekeeping: late samples and old parts of the head become blocks, blocks are compacted, retention deletes.

use crate::blocks::{Blocks, FROM_LATE};
use crate::db::Db;
use crate::head::LateCut;
use crate::options::{Options, Running};
use crate::wal::segments;
use block::compact::{Plan, Retention, beyond, level_ranges, plan};
use block::{Block, BlockError, BlockMeta};
use disk::Disk;
use meter::{Counter, Registry, Summary};
use model::TimeRange;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use storage::select::ListSeriesSet;
use storage::{Series, SeriesSet, StorageError};
use ulid::Ulid;

/// A Thanos shipper's file is a list of names; this is far above any real one.
const MAX_SHIPPER_FILE_BYTES: u64 = 64 << 20;
/// How often long work is reported.
const PROGRESS_SECONDS: u64 = 10;

/// What housekeeping needs to know and counts.
pub(crate) struct Maintainer {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) blocks: Arc<Blocks>,
    ranges: Vec<i64>,
    chunk_range: i64,
    segment_bytes: u64,
    delay_file: Option<PathBuf>,
    hold_budget_bytes: u64,
    pub(crate) now: fn() -> SystemTime,
    running: Mutex<Running>,
    /// When late samples were last handed over.
    last_late: Mutex<Instant>,
    /// One round at a time; deletion, cleaning and snapshots take turns with it.
    pub(crate) turn: Mutex<()>,
    triggered: Counter,
    compactions: Counter,
    failed: Counter,
    populating: Summary,
    by_time: Counter,
    by_size: Counter,
    overrun: Counter,
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
        let maintainer = Arc::new(Maintainer {
            disk,
            dir: dir.to_owned(),
            blocks,
            ranges: level_ranges(options.min_block_duration_ms, options.max_block_duration_ms),
            chunk_range: options.min_block_duration_ms.max(1),
            segment_bytes: options.block_segment_bytes,
            delay_file: options.delay_compact_file.clone(),
            hold_budget_bytes: options.hold_budget_bytes,
            now: options.now,
            running: Mutex::new(options.running),
            last_late: Mutex::new(Instant::now()),
            turn: Mutex::new(()),
            triggered: counter(
                "prometheus_tsdb_compactions_triggered_total",
                "Total number of triggered compactions for the partition.",
            ),
            compactions: counter(
                "prometheus_tsdb_compactions_total",
                "Total number of compactions that were executed for the partition.",
            ),
            failed: counter(
                "prometheus_tsdb_compactions_failed_total",
                "Total number of compactions that failed for the partition.",
            ),
            populating: registry.summary(
                "prometheus_tsdb_compaction_duration_seconds",
                "Duration of compaction runs",
                &[0.5, 0.9, 0.99],
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
        });
        let limits = Arc::downgrade(&maintainer);
        registry.gauge_fn(
            "prometheus_tsdb_retention_limit_bytes",
            "Max number of bytes to be retained in the tsdb blocks, configured 0 means disabled",
            move || limits.upgrade().map_or(0.0, |m| m.byte_limit() as f64),
        );
        let limits = Arc::downgrade(&maintainer);
        registry.gauge_fn(
            "prometheus_tsdb_retention_limit_seconds",
            "How long to retain samples in storage.",
            move || limits.upgrade().map_or(0.0, |m| (m.running.lock().retention_time_ms / 1000) as f64),
        );
        maintainer
    }

    pub(crate) fn apply_config(&self, running: Running) {
        *self.running.lock() = running;
    }

    /// The smaller of both byte limits; 0 for none.
    fn byte_limit(&self) -> u64 {
        let running = *self.running.lock();
        let share = match running.retention_percent {
            p if p > 0.0 => self.disk.space(&self.dir).map_or(0, |s| (s.total as f64 * p / 100.0) as u64),
            _ => 0,
        };
        match (running.retention_bytes, share) {
            (0, share) => share,
            (bytes, 0) => bytes,
            (bytes, share) => bytes.min(share),
        }
    }

    fn fresh_ulid(&self) -> Ulid {
        let now = (self.now)().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        Ulid::from_parts(now, rand::random())
    }

    /// Writes one block of the given series and loads it.
    fn write(
        &self,
        what: &str,
        range: TimeRange,
        hints: &[&str],
        list: Vec<Arc<dyn Series>>,
    ) -> Result<(), BlockError> {
        let begun = Instant::now();
        let symbols: BTreeSet<Box<str>> = {
            let mut seen: std::collections::HashSet<&str> = std::collections::HashSet::new();
            list.iter().flat_map(|s| s.labels().iter()).for_each(|(n, v)| {
                seen.insert(n);
                seen.insert(v);
            });
            seen.into_iter().map(Box::from).collect()
        };
        let total = list.len() as u64;
        let mut meta = BlockMeta::level_1(self.fresh_ulid(), range.min, range.max + 1);
        meta.compaction.hints = hints.iter().map(|h| (*h).to_owned()).collect();
        let (ulid, mut reported) = (meta.ulid, Instant::now());
        let set: Box<dyn SeriesSet> = Box::new(ListSeriesSet::new(list));
        let progress = |done| {
            if reported.elapsed().as_secs() >= PROGRESS_SECONDS {
                reported = Instant::now();
                tracing::info!(component = "tsdb", block = %ulid, series = done, total, "Writing block");
            }
        };
        let written =
            block::compact::write(&self.disk, &self.dir, meta, symbols, set, self.segment_bytes, progress)?;
        let (mint, maxt, duration) = (range.min, range.max + 1, begun.elapsed());
        match written {
            Some(_) => tracing::info!(component = "tsdb", mint, maxt, %ulid, ?duration, "{what}"),
            None => tracing::info!(component = "tsdb", mint, maxt, ?duration, "Head block held no samples"),
        }
        self.blocks.reload().map_err(BlockError::from)?;
        self.compactions.inc();
        self.populating.observe(duration.as_secs_f64());
        Ok(())
    }

    /// Joins blocks while there is something to join.
    fn compact(&self) -> Result<(), BlockError> {
        loop {
            let all = self.blocks.list();
            let blocks: Vec<Arc<Block>> = all.iter().filter(|b| !self.must_wait(b)).cloned().collect();
            let metas: Vec<&BlockMeta> = blocks.iter().map(|b| b.meta()).collect();
            let chosen: Vec<Arc<Block>> = match plan(&metas, &self.ranges) {
                Plan::Nothing => return Ok(()),
                Plan::Overlapping(group) | Plan::Level(group) => {
                    group.iter().map(|i| blocks[*i].clone()).collect()
                }
                Plan::Tombstones(one) => vec![blocks[one].clone()],
            };
            self.join(&chosen)?;
        }
    }

    /// Writes the samples of `chosen` into one new block, loads it and deletes them.
    pub(crate) fn join(&self, chosen: &[Arc<Block>]) -> Result<(), BlockError> {
        let begun = Instant::now();
        let ulid = self.fresh_ulid();
        let total: u64 = chosen.iter().map(|b| b.meta().stats.num_series).sum();
        let mut reported = Instant::now();
        let progress = |done| {
            if reported.elapsed().as_secs() >= PROGRESS_SECONDS {
                reported = Instant::now();
                tracing::info!(component = "tsdb", block = %ulid, series = done, at_most = total, "Compacting blocks");
            }
        };
        let written =
            block::compact::merge(&self.disk, &self.dir, chosen, ulid, self.segment_bytes, progress)?;
        self.blocks.reload().map_err(BlockError::from)?;
        if written.is_none() {
            // Everything was deleted: nothing replaces them.
            self.blocks.delete(chosen);
        }
        self.compactions.inc();
        self.populating.observe(begun.elapsed().as_secs_f64());
        tracing::info!(component = "tsdb", count = chosen.len(), %ulid, duration = ?begun.elapsed(), "compact blocks");
        Ok(())
    }

    /// Whether a shipper has still to upload a level-1 block.
    fn must_wait(&self, block: &Block) -> bool {
        let Some(path) = &self.delay_file else { return false };
        if block.meta().compaction.level > 1 {
            return false;
        }
        let uploaded = |bytes: Vec<u8>| -> Option<bool> {
            let json: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
            let name = block.meta().ulid.to_string();
            Some(json.get("uploaded")?.as_array()?.iter().any(|u| u.as_str() == Some(&name)))
        };
        // Without a readable file nothing is known to be uploaded.
        !self.disk.read(path, MAX_SHIPPER_FILE_BYTES).ok().and_then(uploaded).unwrap_or(false)
    }

    fn retain(&self, log_bytes: u64) {
        let time_ms = self.running.lock().retention_time_ms;
        let blocks = self.blocks.list();
        let by_time = beyond(&blocks, Retention { time_ms, size_bytes: 0 }, 0);
        if !by_time.is_empty() {
            self.by_time.inc();
            self.blocks.delete(&by_time);
        }
        let size_bytes = self.byte_limit();
        let by_size = beyond(&self.blocks.list(), Retention { time_ms: 0, size_bytes }, log_bytes);
        if !by_size.is_empty() {
            self.by_size.inc();
            self.blocks.delete(&by_size);
        }
    }
}

fn failed(e: impl std::fmt::Display) -> StorageError {
    StorageError::Other(e.to_string())
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
        done
    }

    /// Nothing leaves the head before the blocks that hold it are durable and loaded.
    fn round(&self, m: &Maintainer, hold: Option<u32>) -> Result<(), StorageError> {
        let head = self.head();
        let (min, max) = head.in_order_range();
        let aligned = |t: i64| t - t.rem_euclid(m.chunk_range);
        let empty = min > max;
        let due = !empty && max - min > m.chunk_range / 2 * 3;
        // Everything late belongs before an empty head.
        let first = if empty { i64::MAX } else { aligned(min) };
        let late_due = head.late_range().is_some_and(|r| r.min < first)
            && m.last_late.lock().elapsed().as_millis() as i64 > m.chunk_range;
        if due || late_due {
            let late = head.cut_late().map_err(failed)?;
            // Before the in-order ones: a start that finds these takes late chunks before their end for stored.
            if let Some(cut) = &late {
                *m.last_late.lock() = Instant::now();
                self.blocks_of_late_samples(m, cut, first)?;
            }
            let mut end = first;
            while due && max - end.max(min) > m.chunk_range / 2 * 3 {
                // In-order samples can no longer be appended to this range; late ones of it come along.
                let late_here = late.as_ref().is_some_and(|cut| cut.range.min < min && end < min);
                let range =
                    TimeRange::new(if late_here { end } else { end.max(min) }, end + m.chunk_range - 1);
                let list: Vec<Arc<dyn Series>> =
                    head.series_in(range).into_iter().map(|s| Arc::new(s) as Arc<dyn Series>).collect();
                m.write("write block completed", range, &[], list).map_err(failed)?;
                end += m.chunk_range;
            }
            if let Some(cut) = late {
                head.drop_late(&cut, end).map_err(failed)?;
            }
            if due {
                head.truncate_memory(end)?;
                let hold = self.within_budget(m, hold);
                head.truncate_wal(end, hold).map_err(failed)?;
            }
        }
        // Retention frees space even when blocks cannot be joined.
        let compacted = m.compact().map_err(failed);
        m.retain(head.wal.size_bytes() + head.chunk_disk_bytes());
        compacted
    }

    /// Blocks of the late samples before `end`.
    fn blocks_of_late_samples(&self, m: &Maintainer, cut: &LateCut, end: i64) -> Result<(), StorageError> {
        let mut start = cut.range.min - cut.range.min.rem_euclid(m.chunk_range);
        while start < end && start <= cut.range.max {
            let range = TimeRange::new(start, start + m.chunk_range - 1);
            let list = cut.series(range);
            if !list.is_empty() {
                m.write("write block from late samples completed", range, &[FROM_LATE], list)
                    .map_err(failed)?;
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
