//! The kinds of chunks, and decoding by kind.

use model::FloatHistogram;
use std::sync::Arc;

/// How a chunk is encoded; numbers are those of upstream's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    Xor = 1,
    Histogram = 2,
    FloatHistogram = 3,
    Xor2 = 4,
    HistogramSt = 5,
    FloatHistogramSt = 6,
}

impl Encoding {
    pub const fn from_number(n: u8) -> Option<Encoding> {
        Some(match n {
            1 => Encoding::Xor,
            2 => Encoding::Histogram,
            3 => Encoding::FloatHistogram,
            4 => Encoding::Xor2,
            5 => Encoding::HistogramSt,
            6 => Encoding::FloatHistogramSt,
            _ => return None,
        })
    }

    pub const fn number(self) -> u8 {
        self as u8
    }

    pub const fn is_histogram(self) -> bool {
        !matches!(self, Encoding::Xor | Encoding::Xor2)
    }

    /// Whether samples can have start times.
    pub const fn has_starts(self) -> bool {
        matches!(self, Encoding::Xor2 | Encoding::HistogramSt | Encoding::FloatHistogramSt)
    }

    /// Whether it has histograms of integers.
    pub const fn is_integer(self) -> bool {
        matches!(self, Encoding::Histogram | Encoding::HistogramSt)
    }

    /// The encoding of histograms of a kind.
    pub const fn of_histograms(integer: bool, with_starts: bool) -> Encoding {
        match (integer, with_starts) {
            (true, false) => Encoding::Histogram,
            (false, false) => Encoding::FloatHistogram,
            (true, true) => Encoding::HistogramSt,
            (false, true) => Encoding::FloatHistogramSt,
        }
    }

    /// Upstream's name, as its tools print it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Encoding::Xor => "XOR",
            Encoding::Histogram => "histogram",
            Encoding::FloatHistogram => "floathistogram",
            Encoding::Xor2 => "XOR2",
            Encoding::HistogramSt => "histogramST",
            Encoding::FloatHistogramSt => "floathistogramST",
        }
    }
}

/// Why a chunk could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("chunk ends before its last sample")]
    Truncated,
    #[error("chunk data is malformed: {0}")]
    Malformed(&'static str),
    #[error("unknown histogram schema {0}")]
    UnknownSchema(i32),
    #[error("unknown chunk encoding {0}")]
    UnknownEncoding(u8),
}

/// Where decoded samples go: columns that the caller owns and reuses. `floats` gets 0 for a histogram, whose
/// body goes to `histograms` with its index in `times`. `starts` gets start timestamps (ms) and is only as long
/// as the last sample that has one: 0, and what is missing at its end, is none.
pub struct Columns<'a> {
    pub times: &'a mut Vec<i64>,
    pub floats: &'a mut Vec<f64>,
    pub histograms: &'a mut Vec<(u32, Arc<FloatHistogram>)>,
    pub starts: &'a mut Vec<i64>,
}

impl Columns<'_> {
    pub(crate) fn push_histogram(&mut self, t: i64, h: Arc<FloatHistogram>) {
        self.histograms.push((self.times.len() as u32, h));
        self.times.push(t);
        self.floats.push(0.0);
    }

    /// Shortens the columns to what they were when `f` fails.
    pub(crate) fn all_or_nothing(
        &mut self,
        f: impl FnOnce(&mut Self) -> Result<(), ChunkError>,
    ) -> Result<(), ChunkError> {
        let before = (self.times.len(), self.floats.len(), self.histograms.len(), self.starts.len());
        let done = f(self);
        if done.is_err() {
            self.times.truncate(before.0);
            self.floats.truncate(before.1);
            self.histograms.truncate(before.2);
            self.starts.truncate(before.3);
        }
        done
    }
}

/// Appends all samples of a chunk. On `Err` the columns are as long as they were.
pub fn decode(encoding: u8, data: &[u8], into: &mut Columns<'_>) -> Result<(), ChunkError> {
    match Encoding::from_number(encoding) {
        Some(Encoding::Xor) => crate::xor::decode(data, into.times, into.floats),
        Some(Encoding::Xor2) => crate::xor2::decode(data, into),
        Some(of_histograms) => crate::histogram::decode(of_histograms, data, into),
        None => Err(ChunkError::UnknownEncoding(encoding)),
    }
}

/// Number of samples in a chunk.
pub fn sample_count(encoding: u8, data: &[u8]) -> Result<u16, ChunkError> {
    let has_flags = Encoding::from_number(encoding).is_some_and(|e| e.is_histogram() && e.has_starts());
    count(data).map(|n| if has_flags { n & MOST_WITH_FLAGS } else { n })
}

/// Histogram chunks with start times have their flags in the two upper bits of the number of samples.
pub(crate) const MOST_WITH_FLAGS: u16 = 0x3fff;

/// The number that every kind begins with.
pub(crate) fn count(data: &[u8]) -> Result<u16, ChunkError> {
    data.first_chunk::<2>().map(|n| u16::from_be_bytes(*n)).ok_or(ChunkError::Truncated)
}
