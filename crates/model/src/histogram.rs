//! Native histograms: the float form that queries and stores hand around.
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
}

mod arithmetic;
mod buckets;
mod reset;
mod text;
mod trim;

pub use arithmetic::{Combined, Compensation, IncompatibleSchemas};
pub use buckets::Bucket;
