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
/// From here on floats have no fractions.
const FRACTIONS_END: f64 = (1u64 << 52) as f64;

/// Whole, not negative and below 2^53. A sum with 2^52 has no fraction: it rounds.
#[inline]
#[expect(
    clippy::manual_range_contains,
    reason = "its way out would keep `are_counts` from looking at several"
)]
fn is_count(v: f64) -> bool {
    (v >= 0.0) & (v < INTEGERS_END) & ((v >= FRACTIONS_END) | ((v + FRACTIONS_END) - FRACTIONS_END == v))
}

/// [`is_count`] of all. Without a way out, so that the compiler looks at several at once.
fn are_counts(list: &[f64]) -> bool {
    list.iter().fold(true, |all, v| all & is_count(*v))
}

impl FloatHistogram {
    /// Back to the default; the memory of its lists is kept.
    pub fn clear(&mut self) {
        let FloatHistogram { positive_spans, negative_spans, positive_buckets, negative_buckets, .. } = self;
        positive_spans.clear();
        negative_spans.clear();
        positive_buckets.clear();
        negative_buckets.clear();
        self.custom_values.clear();
        (self.counter_reset_hint, self.schema, self.integer) = Default::default();
        (self.zero_threshold, self.zero_count, self.count, self.sum) = Default::default();
    }

    /// Whether it is one of integers, and can be stored as such: all counts are whole, not negative and below
    /// 2^53. Larger ones cannot be told apart here and go on as floats.
    pub fn holds_integers(&self) -> bool {
        self.integer
            && [self.count, self.zero_count].iter().all(|v| is_count(*v))
            && [&self.positive_buckets, &self.negative_buckets].iter().all(|buckets| are_counts(buckets))
    }
}

mod arithmetic;
mod buckets;
mod reset;
mod text;
mod trim;

pub use arithmetic::{Combined, Compensation, IncompatibleSchemas};
pub use buckets::Bucket;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleared_ones_are_as_new() {
        let list = || vec![1.0; 3];
        let spans = || vec![Span { offset: 1, length: 3 }];
        let mut h = FloatHistogram {
            counter_reset_hint: CounterResetHint::Gauge,
            schema: CUSTOM_BUCKETS_SCHEMA,
            zero_threshold: 1.0,
            zero_count: 2.0,
            count: 3.0,
            sum: 4.0,
            positive_spans: spans(),
            negative_spans: spans(),
            positive_buckets: list(),
            negative_buckets: list(),
            custom_values: list(),
            integer: true,
        };
        h.clear();
        assert_eq!(h, FloatHistogram::default());
        assert!(h.positive_buckets.capacity() >= 3);
    }

    #[test]
    fn counts_are_whole() {
        let end = INTEGERS_END;
        for v in [0.0, -0.0, 1.0, 4.0e9, FRACTIONS_END - 1.0, FRACTIONS_END, FRACTIONS_END + 1.0, end - 1.0] {
            assert!(is_count(v), "{v}");
        }
        for v in [-1.0, 0.5, -0.5, 1.0 + f64::EPSILON, 5e-324, FRACTIONS_END - 0.5, 4e15 + 0.5, end, f64::NAN]
        {
            assert!(!is_count(v), "{v}");
        }
        assert!(!is_count(f64::INFINITY) && !is_count(f64::NEG_INFINITY));
    }
}
