//! The append door: one virtual call per batch, partial success, a sample is acknowledged once it is logged.

use crate::error::WriteError;
use model::{FloatHistogram, MetricType, Sample};
use std::ops::Range;
use std::sync::Arc;

/// A series within one store. 0 is never a series. Valid until the store forgets the series; a store answers
/// [`RejectReason::UnknownRef`] for one that it no longer knows, and the caller comes again with labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u64);

/// How a batch names a series.
#[derive(Clone, Copy, Debug)]
pub enum SeriesId<'a> {
    /// By a reference that an earlier [`WriteOutcome::refs`] gave.
    Ref(SeriesRef),
    /// By its label set in the key encoding (see [`crate::key`]), usually the very bytes that arrived on the
    /// wire. Not trusted: the store hashes the bytes, and when it does not know them it decodes and
    /// validates them (UTF-8, duplicate names, a metric name), sorts them and drops empty values before it
    /// creates a series. An unsorted key finds the same series as the sorted one.
    Key(&'a [u8]),
}

/// One series of a batch, with ranges into the batch's flat tables.
#[derive(Clone, Debug)]
pub struct BatchSeries<'a> {
    pub id: SeriesId<'a>,
    pub samples: Range<u32>,
    pub histograms: Range<u32>,
    pub exemplars: Range<u32>,
}

/// A native histogram sample.
#[derive(Clone, Debug)]
pub struct HistogramRow {
    pub t: i64,
    /// Start timestamp in ms, 0 for none.
    pub start: i64,
    pub histogram: Arc<FloatHistogram>,
}

/// An exemplar; `labels` in the key encoding.
#[derive(Clone, Copy, Debug)]
pub struct ExemplarRow<'a> {
    pub labels: &'a [u8],
    pub t: i64,
    pub v: f64,
}

/// Metadata of a metric family.
#[derive(Clone, Copy, Debug)]
pub struct MetadataRow<'a> {
    pub family: &'a str,
    pub kind: MetricType,
    pub unit: &'a str,
    pub help: &'a str,
}

/// A batch: flat tables that the caller refills and reuses, so that a known series costs no allocation.
///
/// Within one series samples stand in the order in which they arrived. The same series may occur twice.
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    pub series: Vec<BatchSeries<'a>>,
    pub samples: Vec<Sample>,
    /// Start timestamps (ms) beside `samples`, 0 for none; may be shorter: what is missing at the end is 0. A store
    /// keeps them only where its configuration asks for it.
    pub starts: Vec<i64>,
    pub histograms: Vec<HistogramRow>,
    pub exemplars: Vec<ExemplarRow<'a>>,
    pub metadata: Vec<MetadataRow<'a>>,
    /// Set by scrapes: samples older than the newest of their series are refused as out of order even where
    /// the store has an out-of-order window. Remote writers leave it false.
    pub reject_out_of_order: bool,
}

impl Batch<'_> {
    pub fn clear(&mut self) {
        self.series.clear();
        self.samples.clear();
        self.starts.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata.clear();
        self.reject_out_of_order = false;
    }
}

/// Which table of the batch a rejection speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    Series,
    Sample,
    Histogram,
    Exemplar,
}

/// Why one row was refused while its neighbours were stored. `Display` gives upstream's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    #[error("out of order sample")]
    OutOfOrder,
    /// Older than the head accepts at all.
    #[error("out of bounds")]
    OutOfBounds,
    /// Older than the out-of-order window.
    #[error("too old sample")]
    TooOld,
    /// Same time, other value. (Same time and same value is accepted silently.)
    #[error("duplicate sample for timestamp")]
    DuplicateTimestamp,
    /// Text says what is wrong and shows the labels.
    #[error("{0}")]
    InvalidLabels(String),
    #[error("unknown series reference")]
    UnknownRef,
    /// The configured ceiling of active series is reached; known series go on.
    #[error("series limit of {0} reached")]
    SeriesLimit(u64),
    /// Text says what is wrong with the histogram, as upstream's `FloatHistogram.Validate`.
    #[error("{0}")]
    InvalidHistogram(String),
    #[error("out of order exemplar")]
    OutOfOrderExemplar,
    #[error("duplicate exemplar")]
    DuplicateExemplar,
    #[error("label length for exemplar exceeds maximum of 128 UTF-8 characters")]
    ExemplarTooLong,
    #[error("exemplar storage is disabled")]
    ExemplarsDisabled,
}

/// One refused row.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Index into [`Batch::series`].
    pub series: u32,
    pub kind: RowKind,
    /// Index into the table of `kind`.
    pub row: u32,
    pub reason: RejectReason,
}

/// What became of a batch. Reused between calls.
#[derive(Clone, Debug, Default)]
pub struct WriteOutcome {
    /// One for each series row; 0 where the series was refused.
    pub refs: Vec<SeriesRef>,
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
    /// Series seen for the first time.
    pub series_created: u64,
    /// Every refused row, in the order of the batch. (Idempotent duplicates are stored, not refused.)
    pub rejected: Vec<Rejection>,
}

impl WriteOutcome {
    pub fn clear(&mut self) {
        self.refs.clear();
        (self.samples, self.histograms, self.exemplars, self.series_created) = (0, 0, 0, 0);
        self.rejected.clear();
    }
}

/// A writing session: one per connection or scrape loop. It keeps scratch memory and learns the order of its
/// sender, so keep it as long as the sender.
pub trait Writer: Send {
    /// Writes a batch: logged first, then visible. On `Ok`, everything that is not in
    /// `outcome.rejected` is in the log (handed to the operating system); on `Err` nothing is.
    /// `outcome` is cleared first.
    fn write(&mut self, batch: &Batch<'_>, outcome: &mut WriteOutcome) -> Result<(), WriteError>;
}

/// Where writers come from.
pub trait WriterSource: Send + Sync {
    fn writer(&self) -> Box<dyn Writer>;
}
