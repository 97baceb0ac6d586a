//! Native histograms: the form that queries and stores hand around, with a mark on those of integers.
//!
//! Layout follows upstream `model/histogram`: buckets are absolute float counts; spans tell where they lie.

/// Schema number of histograms with custom bucket bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// A run of consecutive buckets: gap to the end of the run before (or to index 0), and how many follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    pub offset: i32,
    pub length: u32,
}

/// What is known about a counter reset between this histogram and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CounterResetHint {
    #[default]
    Unknown,
    CounterReset,
    NotCounterReset,
    Gauge,
}

/// A native histogram with absolute float bucket counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloatHistogram {
    pub counter_reset_hint: CounterResetHint,
    /// −4…8 for exponential buckets, [`CUSTOM_BUCKETS_SCHEMA`] for custom bounds.
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    pub positive_spans: Vec<Span>,
    pub negative_spans: Vec<Span>,
    pub positive_buckets: Vec<f64>,
    pub negative_buckets: Vec<f64>,
    /// Upper bounds of custom buckets, without the last one, `+Inf`.
    pub custom_values: Vec<f64>,
    /// Its counts came as integers: stores keep them and senders send them as such. Queries do not care. See
    /// [`FloatHistogram::holds_integers`].
    pub integer: bool,
}

/// From here on floats leave out integers.
const INTEGERS_END: f64 = (1u64 << 53) as f64;

impl FloatHistogram {
    /// Whether it is one of integers, and can be stored as such: all counts are whole, not negative and below
    /// 2^53. Larger ones cannot be told apart here and go on as floats.
    pub fn holds_integers(&self) -> bool {
        // Rounding by way of an integer is exact here, and not a call as `fract` is.
        let whole = |v: &f64| *v >= 0.0 && *v < INTEGERS_END && *v as i64 as f64 == *v;
        self.integer
            && whole(&self.count)
            && whole(&self.zero_count)
            && self.positive_buckets.iter().chain(&self.negative_buckets).all(whole)
    }
}

mod arithmetic;
mod buckets;
mod reset;
mod text;
mod trim;

pub use arithmetic::{Combined, Compensation, IncompatibleSchemas};
pub use buckets::Bucket;
