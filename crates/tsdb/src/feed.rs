//! The feed over the write-ahead log: what remote write follows, and what it holds back from removal.
//!
//! Room: `tsdb`. May touch: `wal`. Must not touch: the head, the agent's series; it asks them through a
//! callback. Invariant: a reader gets every record behind its position once, in the order of the log, and the
//! series of everything before it first.

use crate::wal::record::{self, RecordType};
use crate::wal::{LogReader, Losses, RecordError, Segment, Tail, Wal, last_checkpoint, segments};
use meter::{Counter, Registry, Vector};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::feed::{Feed, FeedBatch, FeedReader, Position};
use storage::{SeriesRef, StorageError};

/// A batch is handed on when it holds this much; one record may make it larger.
const BATCH_RECORD_BYTES: usize = 1 << 20;
const BATCH_SERIES: usize = 8192;

/// Whether the store still knows a series.
pub type IsLive = Arc<dyn Fn(SeriesRef) -> bool + Send + Sync>;

/// The log as something to follow. Cloning shares it.
#[derive(Clone)]
pub struct LogFeed(Arc<Shared>);

struct Shared {
    wal: Wal,
    is_live: IsLive,
    holds: Mutex<BTreeMap<String, Position>>,
    metrics: Metrics,
}

struct Metrics {
    jumps: Counter,
    damaged: Counter,
    undecodable: Vector<Counter>,
}

impl LogFeed {
    pub fn new(wal: Wal, is_live: IsLive, registry: &Registry) -> Self {
        let metrics = Metrics {
            jumps: registry.counter(
                "pyrrha_wal_feed_jumps_total",
                "Total number of times a reader of the log asked for a position that was removed already.",
            ),
            damaged: registry.counter(
                "pyrrha_wal_feed_damaged_total",
                "Total number of damaged places in the log that readers had to skip.",
            ),
            undecodable: registry.counter_vec(
                "pyrrha_wal_feed_decode_failures_total",
                "Total number of records that could not be decoded, by type.",
                &["type"],
            ),
        };
        LogFeed(Arc::new(Shared { wal, is_live, holds: Mutex::default(), metrics }))
    }

    /// The lowest position that a destination still needs; `None` when nobody holds anything.
    pub fn min_hold(&self) -> Option<Position> {
        self.0.holds.lock().values().min().copied()
    }

    /// The destinations that need something below a position, for the log message of a forced removal.
    pub fn held_below(&self, position: Position) -> Vec<String> {
        let holds = self.0.holds.lock();
        holds.iter().filter(|(_, at)| **at < position).map(|(name, _)| name.clone()).collect()
    }
}

impl Feed for LogFeed {
    fn open(&self, from: Option<Position>) -> Result<Box<dyn FeedReader>, StorageError> {
        let from = from.unwrap_or_else(|| self.end());
        Ok(Box::new(Reader::new(self.0.clone(), from)))
    }

    fn hold(&self, name: &str, position: Position) {
        let mut holds = self.0.holds.lock();
        match holds.get_mut(name) {
            Some(at) => *at = position,
            None => drop(holds.insert(name.to_owned(), position)),
        }
    }

    fn release(&self, name: &str) {
        self.0.holds.lock().remove(name);
    }

    fn end(&self) -> Position {
        self.0.wal.end()
    }

    fn backlog_bytes(&self, from: Position) -> u64 {
        let end = self.end();
        if from.segment >= end.segment {
            return if from.segment == end.segment { end.offset.saturating_sub(from.offset) } else { 0 };
        }
        let all = segments(&**self.0.wal.disk(), self.0.wal.dir()).unwrap_or_default();
        let between = all.iter().filter(|s| from.segment <= s.number && s.number < end.segment);
        let bytes: u64 = between
            .map(|s| if s.number == from.segment { s.len.saturating_sub(from.offset) } else { s.len })
            .sum();
        bytes + end.offset
    }

    fn is_live(&self, series: SeriesRef) -> bool {
        (self.0.is_live)(series)
    }
}

/// What a reader is doing.
enum Stage {
    /// Series of the checkpoint and of finished segments before the position.
    Past(LogReader),
    /// Series of the position's own segment, up to the position.
    Near,
    /// Everything.
    Following,
}

struct Reader {
    shared: Arc<Shared>,
    from: Position,
    stage: Stage,
    tail: Tail,
}

impl Reader {
    fn new(shared: Arc<Shared>, from: Position) -> Self {
        let tail = Tail::new(&shared.wal, Position { segment: from.segment, offset: 0 });
        let stage = Stage::Past(LogReader::new(shared.wal.disk().clone(), Vec::new()));
        let mut reader = Reader { shared, from, stage, tail };
        reader.start();
        reader
    }

    /// Lists what lies before the position. Called again when a checkpoint replaced files meanwhile: series
    /// may come twice, which is allowed.
    fn start(&mut self) {
        let (disk, dir) = (self.shared.wal.disk(), self.shared.wal.dir());
        let list = || -> disk::Result<Vec<Segment>> {
            let (mut past, mut first) = (Vec::new(), 0);
            if let Some(checkpoint) = last_checkpoint(&**disk, dir)? {
                past = segments(&**disk, &checkpoint.path)?;
                first = checkpoint.number + 1;
            }
            let before = segments(&**disk, dir)?.into_iter();
            past.extend(before.filter(|s| first <= s.number && s.number < self.from.segment));
            Ok(past)
        };
        match list() {
            Ok(past) => self.stage = Stage::Past(LogReader::new(disk.clone(), past)),
            Err(e) => {
                tracing::error!(component = "tsdb", err = %e, "Listing the log for its series failed");
                self.stage = Stage::Near;
            }
        }
    }

    fn past(&mut self, batch: &mut FeedBatch) -> Result<(), StorageError> {
        while batch.series.len() < BATCH_SERIES {
            let Stage::Past(reader) = &mut self.stage else { return Ok(()) };
            let raw = match reader.next() {
                Ok(Some(raw)) => raw,
                Ok(None) => {
                    self.shared.metrics.damaged.add(reader.damage().len() as u64);
                    self.stage = Stage::Near;
                    return Ok(());
                }
                Err(e) if e.is_not_found() => {
                    self.start();
                    return Ok(());
                }
                Err(e) => return Err(StorageError::Other(e.to_string())),
            };
            self.shared.take(raw.data, true, batch);
        }
        Ok(())
    }

    /// What is there now of the live log, up to one batch.
    fn live(&mut self, batch: &mut FeedBatch) -> Result<(), StorageError> {
        let mut bytes = 0;
        while bytes < BATCH_RECORD_BYTES && batch.series.len() < BATCH_SERIES {
            let Some((raw, end)) = self.tail.next()? else { break };
            bytes += raw.len();
            let before = matches!(self.stage, Stage::Near) && end <= self.from;
            self.shared.take(raw, before, batch);
            if end >= self.from {
                self.stage = Stage::Following;
            }
        }
        self.count_losses();
        Ok(())
    }

    fn count_losses(&mut self) {
        let Losses { jumped, damage } = self.tail.take_losses();
        self.shared.metrics.damaged.add(damage.len() as u64);
        if jumped > 0 {
            self.shared.metrics.jumps.add(jumped);
            tracing::warn!(
                component = "tsdb",
                wanted_segment = self.from.segment,
                wanted_offset = self.from.offset,
                segment = self.tail.position().segment,
                "Position is no longer in the log, reading on at the oldest segment kept; samples between were lost"
            );
            self.stage = Stage::Following;
            // It may lie behind the end of a log that was begun anew.
            self.from = Position::default();
        }
    }
}

impl FeedReader for Reader {
    fn next(&mut self, wait: Duration, batch: &mut FeedBatch) -> Result<bool, StorageError> {
        let deadline = Instant::now().checked_add(wait);
        batch.clear();
        loop {
            match self.stage {
                Stage::Past(_) => self.past(batch)?,
                Stage::Near | Stage::Following => self.live(batch)?,
            }
            // While the past is read, a restart must begin at the position, not before it.
            batch.end = self.tail.position().max(self.from);
            if !is_empty(batch) {
                return Ok(true);
            }
            if matches!(self.stage, Stage::Past(_)) || self.tail.position() < self.shared.wal.end() {
                continue;
            }
            let left = deadline.map_or(wait, |d| d.saturating_duration_since(Instant::now()));
            if left.is_zero() || self.shared.wal.is_closed() {
                return Ok(false);
            }
            self.tail.wait(left);
        }
    }
}

fn is_empty(batch: &FeedBatch) -> bool {
    batch.series.is_empty()
        && batch.samples.is_empty()
        && batch.exemplars.is_empty()
        && batch.histograms.is_empty()
        && batch.metadata.is_empty()
}

impl Shared {
    /// Decodes a record into the batch; `before` the position only what describes series.
    fn take(&self, raw: &[u8], before: bool, batch: &mut FeedBatch) {
        use RecordType::*;
        let Some(kind) = RecordType::of(raw) else { return };
        let done: Result<(), RecordError> = match kind {
            Series => {
                let series = &mut batch.series;
                record::series(raw, |id, labels| series.push((id, labels.to_labels())))
            }
            Metadata => record::metadata(raw, &mut batch.metadata),
            _ if before => Ok(()),
            Samples | SamplesV2 => record::samples(raw, &mut batch.samples, &mut batch.sample_starts),
            Exemplars => record::exemplars(raw, &mut batch.exemplars),
            Histograms
            | FloatHistograms
            | CustomHistograms
            | CustomFloatHistograms
            | HistogramsV2
            | FloatHistogramsV2 => record::histograms(raw, &mut batch.histograms).map(drop),
            Tombstones | MmapMarkers => Ok(()),
        };
        if let Err(e) = done {
            self.metrics.undecodable.with(&[kind.as_str()]).inc();
            tracing::warn!(component = "tsdb", kind = kind.as_str(), err = %e, "Skipping undecodable record");
        }
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
