//! Running one compaction: a block is written or blocks are joined, counted and reported.

use crate::head::Head;
use crate::maintain::Maintainer;
use crate::wal::WalError;
use block::compact::{Rechunk, Watch, WriteRules};
use block::meta::hints;
use block::{Block, BlockError, BlockMeta};
use meter::{Counter, Gauge, Histogram, Registry};
use model::TimeRange;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};
use storage::SeriesSet;
use storage::select::EncodedChunk;
use ulid::Ulid;

/// How often long work is reported.
const PROGRESS_SECONDS: u64 = 10;
/// Series between two looks at the clock.
const SERIES_BETWEEN_LOOKS: u64 = 256;

/// Metrics of compaction, with upstream's names.
pub(crate) struct CompactionMetrics {
    ran: Counter,
    /// 1 while a block is being written.
    populating: Gauge,
    overlapping: Counter,
    pub(crate) duration: Histogram,
    chunk_bytes: Histogram,
    chunk_samples: Histogram,
    chunk_range: Histogram,
}

/// `count` bounds, each `factor` times the one before.
pub(crate) fn exponential(first: f64, factor: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(first), |bound| Some(bound * factor)).take(count).collect()
}

impl CompactionMetrics {
    pub(crate) fn new(r: &Registry) -> Self {
        CompactionMetrics {
            ran: r.counter(
                "prometheus_tsdb_compactions_total",
                "Total number of compactions that were executed for the partition.",
            ),
            populating: r.gauge(
                "prometheus_tsdb_compaction_populating_block",
                "Set to 1 when a block is currently being written to the disk.",
            ),
            overlapping: r.counter(
                "prometheus_tsdb_vertical_compactions_total",
                "Total number of compactions done on overlapping blocks.",
            ),
            duration: r.histogram(
                "prometheus_tsdb_compaction_duration_seconds",
                "Duration of compaction runs",
                &exponential(1.0, 2.0, 14),
            ),
            chunk_bytes: r.histogram(
                "prometheus_tsdb_compaction_chunk_size_bytes",
                "Final size of chunks on their first compaction",
                &exponential(32.0, 1.5, 12),
            ),
            chunk_samples: r.histogram(
                "prometheus_tsdb_compaction_chunk_samples",
                "Final number of samples on their first compaction",
                &exponential(4.0, 1.5, 12),
            ),
            chunk_range: r.histogram(
                "prometheus_tsdb_compaction_chunk_range_seconds",
                "Final time range of chunks on their first compaction",
                &exponential(100.0, 4.0, 10),
            ),
        }
    }
}

/// Sees a block being written.
struct Reporter<'a> {
    what: &'static str,
    ulid: Ulid,
    total: u64,
    reported: Instant,
    /// Where to note the chunks of a first compaction.
    chunks: Option<&'a CompactionMetrics>,
}

impl Watch for Reporter<'_> {
    fn series(&mut self, done: u64) {
        if done.is_multiple_of(SERIES_BETWEEN_LOOKS) && self.reported.elapsed().as_secs() >= PROGRESS_SECONDS
        {
            self.reported = Instant::now();
            let (ulid, at_most) = (self.ulid, self.total);
            tracing::info!(component = "tsdb", block = %ulid, series = done, at_most, "{}", self.what);
        }
    }

    fn chunk(&mut self, chunk: &EncodedChunk) {
        let Some(metrics) = self.chunks else { return };
        metrics.chunk_bytes.observe(chunk.data.len() as f64);
        metrics
            .chunk_samples
            .observe(chunk::sample_count(chunk.encoding, &chunk.data).map_or(0.0, f64::from));
        // Milliseconds, whatever the name says: as upstream.
        metrics.chunk_range.observe((chunk.range.max - chunk.range.min) as f64);
    }
}

fn of_log(e: WalError) -> BlockError {
    match e {
        WalError::Disk(e) => match Arc::try_unwrap(e) {
            Ok(e) => BlockError::Disk(e),
            Err(e) => BlockError::Input(e.to_string()),
        },
        e => BlockError::Input(e.to_string()),
    }
}

impl Maintainer {
    fn fresh_ulid(&self) -> Ulid {
        let now = (self.now)().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        Ulid::from_parts(now, rand::random())
    }

    /// Does one compaction, counted and timed.
    fn counted<T>(&self, run: impl FnOnce() -> Result<T, BlockError>) -> Result<T, BlockError> {
        let begun = Instant::now();
        self.metrics.populating.set(1.0);
        let done = run();
        self.metrics.populating.set(0.0);
        self.metrics.ran.inc();
        self.metrics.duration.observe(begun.elapsed().as_secs_f64());
        done
    }

    /// Writes one block of series of the head and loads it. `count` is told in reports.
    pub(crate) fn write(
        &self,
        what: &str,
        range: TimeRange,
        hints: &[&str],
        symbols: impl IntoIterator<Item: AsRef<str>>,
        (series, count): (&mut dyn SeriesSet, usize),
    ) -> Result<(), BlockError> {
        let begun = Instant::now();
        let mut meta = BlockMeta::level_1(self.fresh_ulid(), range.min, range.max + 1);
        meta.compaction.hints = hints.iter().map(|h| (*h).to_owned()).collect();
        let (ulid, mint, maxt) = (meta.ulid, range.min, range.max + 1);
        tracing::info!(component = "tsdb", mint, maxt, %ulid, "write block started");
        let mut watch = Reporter {
            what: "Writing block",
            ulid,
            total: count as u64,
            reported: begun,
            chunks: Some(&self.metrics),
        };
        let rechunk = Rechunk { shrink: true, join_samples: 0 };
        let rules = WriteRules { segment_bytes: self.segment_bytes, rechunk };
        let written = self.counted(|| {
            block::compact::write(&self.disk, &self.dir, meta, symbols, series, rules, &mut watch)
        })?;
        let (duration, ooo) = (begun.elapsed(), hints.contains(&hints::OUT_OF_ORDER));
        match written {
            Some(_) => tracing::info!(component = "tsdb", mint, maxt, %ulid, ?duration, ooo, "{what}"),
            None => {
                tracing::info!(
                    component = "tsdb",
                    mint,
                    maxt,
                    ?duration,
                    "write block resulted in empty block"
                );
            }
        }
        Ok(self.blocks.reload()?)
    }

    /// Writes the samples of `chosen` into one new block, loads it and deletes them.
    pub(crate) fn join(&self, head: &Head, chosen: &[Arc<Block>]) -> Result<(), BlockError> {
        self.replace(head, chosen, |ulid, rules, watch| {
            block::compact::merge(&self.disk, &self.dir, chosen, ulid, rules, watch)
        })
    }

    /// Rids a block of what is deleted in it.
    pub(crate) fn rewrite(&self, head: &Head, block: &Arc<Block>) -> Result<(), BlockError> {
        self.replace(head, std::slice::from_ref(block), |ulid, rules, watch| {
            block::compact::rewrite(&self.disk, &self.dir, block, ulid, rules, watch)
        })
    }

    fn replace(
        &self,
        head: &Head,
        chosen: &[Arc<Block>],
        write: impl FnOnce(Ulid, WriteRules, &mut dyn Watch) -> Result<Option<PathBuf>, BlockError>,
    ) -> Result<(), BlockError> {
        let begun = Instant::now();
        let ulid = self.fresh_ulid();
        let total: u64 = chosen.iter().map(|b| b.meta().stats.num_series).sum();
        let metas = || chosen.iter().map(|b| b.meta());
        let mut end = i64::MIN;
        let overlaps = metas().any(|m| {
            let overlaps = m.min_time < end;
            end = end.max(m.max_time);
            overlaps
        });
        if overlaps {
            self.metrics.overlapping.inc();
            tracing::info!(component = "tsdb", %ulid, "Found overlapping blocks during compaction");
        }
        // One block alone is only rid of its tombstones.
        let join_samples = if chosen.len() > 1 { self.chunk_samples } else { 0 };
        let rechunk = Rechunk { shrink: false, join_samples };
        let rules = WriteRules { segment_bytes: self.segment_bytes, rechunk };
        let mut watch = Reporter { what: "Compacting blocks", ulid, total, reported: begun, chunks: None };
        let written = self.counted(|| write(ulid, rules, &mut watch))?;
        let (count, duration) = (chosen.len(), begun.elapsed());
        let sources: Vec<String> = metas().map(|m| m.ulid.to_string()).collect();
        let sources = sources.join(" ");
        if written.is_some() {
            let (mint, maxt) = (metas().map(|m| m.min_time).min(), metas().map(|m| m.max_time).max());
            let (mint, maxt) = (mint.unwrap_or(0), maxt.unwrap_or(0));
            tracing::info!(component = "tsdb", count, mint, maxt, %ulid, sources, ?duration, "compact blocks");
        } else {
            // Nothing replaces them. Marked first, so that a crash does not bring them back.
            tracing::info!(
                component = "tsdb",
                count,
                sources,
                ?duration,
                "compact blocks resulted in empty block"
            );
            if let Some(end) = self.blocks.end_of_newest(chosen) {
                head.keep_out(end).map_err(of_log)?;
            }
            for block in chosen {
                self.blocks.mark(block, |compaction| compaction.deletable = true)?;
            }
        }
        Ok(self.blocks.reload()?)
    }
}
