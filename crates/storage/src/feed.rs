//! The feed: committed log records in order, for remote write. A reader has a position that it may keep on
//! disk and come back to after a restart.

use crate::append::SeriesRef;
use crate::error::StorageError;
use model::{FloatHistogram, Labels, Metadata};
use std::sync::Arc;
use std::time::Duration;

/// A place between two records of the write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub segment: u32,
    /// Byte offset in the segment where the next record begins.
    pub offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeedSample {
    pub series: SeriesRef,
    pub t: i64,
    pub v: f64,
}

#[derive(Clone, Debug)]
pub struct FeedExemplar {
    pub series: SeriesRef,
    pub t: i64,
    pub v: f64,
    pub labels: Labels,
}

#[derive(Clone, Debug)]
pub struct FeedHistogram {
    pub series: SeriesRef,
    pub t: i64,
    /// Start timestamp in ms, 0 for none.
    pub start: i64,
    pub histogram: Arc<FloatHistogram>,
}

/// Some consecutive records, decoded. Reused between calls.
#[derive(Clone, Debug, Default)]
pub struct FeedBatch {
    /// Series that the following samples may refer to; a series may come more than once.
    pub series: Vec<(SeriesRef, Labels)>,
    pub samples: Vec<FeedSample>,
    /// Start timestamps (ms) beside `samples`, 0 for none; may be shorter: what is missing at the end is 0.
    pub sample_starts: Vec<i64>,
    pub exemplars: Vec<FeedExemplar>,
    pub histograms: Vec<FeedHistogram>,
    pub metadata: Vec<(SeriesRef, Metadata)>,
    /// Position behind the last record of this batch.
    pub end: Position,
}

impl FeedBatch {
    pub fn clear(&mut self) {
        self.series.clear();
        self.samples.clear();
        self.sample_starts.clear();
        self.exemplars.clear();
        self.histograms.clear();
        self.metadata.clear();
    }
}

/// A reader of the feed. One thread.
pub trait FeedReader: Send {
    /// Fills `batch` (cleared first) with at least one record, waiting up to `wait` for it; `Ok(false)` when
    /// none came in time. Waiting is event-driven. A corrupt record is skipped, logged and counted.
    fn next(&mut self, wait: Duration, batch: &mut FeedBatch) -> Result<bool, StorageError>;
}

/// The log as something to follow.
pub trait Feed: Send + Sync {
    /// Opens a reader at a position. Series records from before it (checkpoint and kept segments) are
    /// delivered first, without their samples. `None` starts at the end of the log: a destination never seen
    /// before. A position that the log no longer has starts at the oldest kept segment; the loss is logged
    /// and counted.
    fn open(&self, from: Option<Position>) -> Result<Box<dyn FeedReader>, StorageError>;

    /// Keeps segments from `position` on until the next call for `name`; the slowest destination decides,
    /// within the store's byte and age budget.
    fn hold(&self, name: &str, position: Position);

    /// Ends the hold of a destination that was removed from the configuration.
    fn release(&self, name: &str);

    /// End of the log now.
    fn end(&self) -> Position;

    /// Bytes of log between a position and the end.
    fn backlog_bytes(&self, from: Position) -> u64;

    /// Whether the store still knows the series; a reader may forget the labels of one that is not live and
    /// has no samples behind its position.
    fn is_live(&self, series: SeriesRef) -> bool;
}
