//! Remote write 1.0 and 2.0: messages walked without being built, and written from pre-encoded labels.
//!
//! Room: `wire`. A decoder walks the decompressed bytes once and hands rows to a [`Sink`]: no message tree, no
//! allocation per sample or known series. Labels leave as keys (the bytes of `repeated Label labels = 1` of
//! remote write 1.0, see `storage::key`): usually a slice of the body itself, otherwise a range of the
//! request's arena. What is inside a label is not looked at here; the store does that when it meets a key that
//! it does not know.

pub mod histogram;
pub mod v1;
pub mod v2;

use crate::proto::ProtoError;
use model::{FloatHistogram, MetricType};
use std::ops::Range;
use std::sync::Arc;

/// Content type of every remote write body, without parameters.
pub const CONTENT_TYPE: &str = "application/x-protobuf";
/// Header that names the protocol version.
pub const VERSION_HEADER: &str = "X-Prometheus-Remote-Write-Version";
/// Headers of a 2.0 reply: rows stored.
pub const SAMPLES_WRITTEN_HEADER: &str = "X-Prometheus-Remote-Write-Samples-Written";
pub const HISTOGRAMS_WRITTEN_HEADER: &str = "X-Prometheus-Remote-Write-Histograms-Written";
pub const EXEMPLARS_WRITTEN_HEADER: &str = "X-Prometheus-Remote-Write-Exemplars-Written";

/// The protobuf message of a request, by its full name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// `prometheus.WriteRequest`
    #[default]
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

impl MessageType {
    pub const ALL: [MessageType; 2] = [MessageType::V1, MessageType::V2];

    pub const fn name(self) -> &'static str {
        match self {
            MessageType::V1 => "prometheus.WriteRequest",
            MessageType::V2 => "io.prometheus.write.v2.Request",
        }
    }

    /// The `Content-Type` that a sender gives.
    pub const fn content_type(self) -> &'static str {
        match self {
            // Without a parameter: receivers of 1.0 know nothing else.
            MessageType::V1 => CONTENT_TYPE,
            MessageType::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// Value of [`VERSION_HEADER`].
    pub const fn version(self) -> &'static str {
        match self {
            MessageType::V1 => "0.1.0",
            MessageType::V2 => "2.0.0",
        }
    }

    /// By full name; the error is upstream's.
    pub fn parse(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|m| m.name() == name).ok_or_else(|| {
            format!(
                "unknown type for remote write protobuf message {name}, supported: {}",
                join_names(&Self::ALL)
            )
        })
    }
}

/// Names separated by `, `, as replies list them.
pub fn join_names(types: &[MessageType]) -> String {
    types.iter().map(|m| m.name()).collect::<Vec<_>>().join(", ")
}

/// Where a key lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// In the body, contiguous.
    Body(&'a [u8]),
    /// In [`Scratch::arena`] after the walk.
    Arena(Range<u32>),
}

/// Rows of one series. A row is told to the sink before its series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub samples: u32,
    pub histograms: u32,
    pub exemplars: u32,
}

/// Metadata that came with a series (2.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesMetadata<'a> {
    pub kind: MetricType,
    pub help: &'a str,
    pub unit: &'a str,
    /// Value of the label `__name__`; empty when there is none.
    pub metric: &'a str,
}

/// Takes the rows of a request in their order: rows of a series first, then [`Sink::series`] or
/// [`Sink::bad_series`], which closes the series.
pub trait Sink<'a> {
    /// `start`: start timestamp (2.0), 0 when not given.
    fn sample(&mut self, t: i64, v: f64, start: i64);
    fn histogram(&mut self, t: i64, histogram: Arc<FloatHistogram>, start: i64);
    /// Memory for the histogram that is read next, empty.
    fn spare(&mut self) -> Arc<FloatHistogram> {
        Arc::default()
    }
    fn exemplar(&mut self, labels: Key<'a>, t: i64, v: f64);
    /// Closes a series: the last `counts` rows of each kind are its own.
    fn series(&mut self, key: Key<'a>, counts: Counts, metadata: Option<SeriesMetadata<'a>>);
    /// Closes a series whose references are wrong: forget its last `counts` rows (2.0).
    fn bad_series(&mut self, counts: Counts, why: BadRow);
    /// An exemplar of the open series whose references are wrong (2.0); the series goes on.
    fn bad_exemplar(&mut self, why: BadRow);
    /// Metadata of a family (1.0).
    fn metadata(&mut self, family: &'a str, kind: MetricType, help: &'a str, unit: &'a str);
    /// Metadata that is not UTF-8 (1.0): skipped.
    fn bad_metadata(&mut self);
}

/// Why a series or an exemplar cannot be read though the message can. `Display` gives upstream's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRow {
    #[error("parsing labels for series {refs}: {why}")]
    Labels { refs: String, why: RefError },
    #[error("parsing metadata for series {refs}: {why}")]
    Metadata { refs: String, why: RefError },
    #[error("parsing exemplar for series {series}: {why}")]
    Exemplar { series: String, why: RefError },
}

/// What is wrong with symbol references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    #[error("invalid labelRefs length {0}")]
    Odd(usize),
    #[error("labelRefs {name} (name) = {value} (value) outside of symbols table (size {size})")]
    Outside { name: u32, value: u32, size: usize },
    #[error("metadata unit_ref {unit} outside of symbols table (size {size})")]
    Unit { unit: u32, size: usize },
    #[error("metadata help_ref {help} outside of symbols table (size {size})")]
    Help { help: u32, size: usize },
}

/// Memory that walks reuse: give the same one for each request of a connection.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Keys that do not lie in the body; see [`Key::Arena`]. Cleared by each walk.
    pub arena: Vec<u8>,
    refs: Vec<u32>,
    /// Ranges of symbols in the body.
    symbols: Vec<(u32, u32)>,
    last: v2::LastKey,
}

/// Memory that a scratch keeps at most between requests, bytes.
const KEPT: usize = 2 << 20;

impl Scratch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of an arena key.
    pub fn bytes(&self, range: &Range<u32>) -> &[u8] {
        self.arena.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.arena.clear();
        self.refs.clear();
        self.symbols.clear();
        self.last.clear();
        if self.arena.capacity() > KEPT {
            self.arena = Vec::new();
        }
        if self.symbols.capacity() > KEPT / 8 {
            self.symbols = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests;

/// A sink for fuzzing and for measuring the walk itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl<'a> Sink<'a> for Discard {
    fn sample(&mut self, _: i64, _: f64, _: i64) {}
    fn histogram(&mut self, _: i64, _: Arc<FloatHistogram>, _: i64) {}
    fn exemplar(&mut self, _: Key<'a>, _: i64, _: f64) {}
    fn series(&mut self, _: Key<'a>, _: Counts, _: Option<SeriesMetadata<'a>>) {}
    fn bad_series(&mut self, _: Counts, _: BadRow) {}
    fn bad_exemplar(&mut self, _: BadRow) {}
    fn metadata(&mut self, _: &'a str, _: MetricType, _: &'a str, _: &'a str) {}
    fn bad_metadata(&mut self) {}
}

/// An index into tables that count in 32 bits.
fn index(n: usize, what: &'static str) -> Result<u32, ProtoError> {
    u32::try_from(n).map_err(|_| ProtoError::TooMany(what))
}
