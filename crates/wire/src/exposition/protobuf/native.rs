//! Native histograms as they arrive, and as the model has them.

use super::super::{Exemplar, ParseError};
use model::FloatHistogram;
use model::histogram::{CounterResetHint, Span};
use model::labels::quote;

#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) spans: Vec<Span>,
    pub(super) deltas: Vec<i64>,
    pub(super) counts: Vec<f64>,
}

impl Side {
    fn buckets(&mut self, float: bool, side: &'static str) -> Result<Vec<f64>, String> {
        let counts = if float {
            std::mem::take(&mut self.counts)
        } else {
            let mut count = 0i64;
            self.deltas
                .iter()
                .map(|delta| {
                    count = count.wrapping_add(*delta);
                    count as f64
                })
                .collect()
        };
        let required: u64 = self.spans.iter().map(|s| u64::from(s.length)).sum();
        if required != counts.len() as u64 {
            let have = counts.len();
            return Err(format!("{side} side: spans require {required} buckets, have {have}"));
        }
        Ok(counts)
    }
}

#[derive(Debug, Default)]
pub(super) struct Raw<'a> {
    pub(super) count: u64,
    pub(super) count_float: f64,
    pub(super) sum: f64,
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: u64,
    pub(super) zero_count_float: f64,
    pub(super) positive: Side,
    pub(super) negative: Side,
    pub(super) exemplars: Vec<Exemplar<'a>>,
}

impl Raw<'_> {
    /// A histogram without spans, threshold and zero count is a classic one.
    pub(super) fn is_native(&self) -> bool {
        !self.positive.spans.is_empty()
            || !self.negative.spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    pub(super) fn into_model(mut self, name: &str, gauge: bool) -> Result<FloatHistogram, ParseError> {
        let float = self.count_float > 0.0 || self.zero_count_float > 0.0;
        let told = |e| ParseError(format!("histogram {}: {e}", quote(name)));
        let positive_buckets = self.positive.buckets(float, "positive").map_err(told)?;
        let negative_buckets = self.negative.buckets(float, "negative").map_err(told)?;
        let mut h = FloatHistogram {
            counter_reset_hint: if gauge { CounterResetHint::Gauge } else { CounterResetHint::Unknown },
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: if float { self.zero_count_float } else { self.zero_count as f64 },
            count: if float { self.count_float } else { self.count as f64 },
            sum: self.sum,
            positive_spans: self.positive.spans,
            negative_spans: self.negative.spans,
            positive_buckets,
            negative_buckets,
            custom_values: Vec::new(),
            integer: !float,
        };
        h.compact();
        Ok(h)
    }
}
