//! Whether a counter histogram was reset between two samples.

use super::arithmetic::{common_bounds, empty_slots, map_custom};
use super::buckets::{Slot, expand, exponential_bound, reduce};
use super::{CounterResetHint, FloatHistogram};

impl FloatHistogram {
    /// Whether `self` cannot be a later state of `previous`: a count fell, a populated bucket is missing, or
    /// the resolution grew. An explicit hint is believed.
    pub fn detect_reset(&self, previous: &FloatHistogram) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::CounterReset => return true,
            CounterResetHint::NotCounterReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.uses_custom_buckets() {
            if !previous.uses_custom_buckets() {
                return true;
            }
            if self.custom_values != previous.custom_values {
                return self.custom_bucket_fell(previous);
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero, threshold, _) = previous.zero_count_for(self.zero_threshold, None);
        if threshold != self.zero_threshold || self.zero_count < zero {
            return true;
        }
        let side = |h: &FloatHistogram, positive: bool| {
            let list = if positive {
                expand(&h.positive_spans, &h.positive_buckets, None)
            } else {
                expand(&h.negative_spans, &h.negative_buckets, None)
            };
            if h.uses_custom_buckets() {
                return list;
            }
            let mut list =
                if h.schema == self.schema { list } else { reduce(list, h.schema, self.schema, false) };
            let inside = list
                .iter()
                .take_while(|s| exponential_bound(s.index, self.schema) <= self.zero_threshold)
                .count();
            list.drain(..inside);
            list
        };
        bucket_fell(&side(self, true), &side(previous, true))
            || bucket_fell(&side(self, false), &side(previous, false))
    }

    /// Compares on the bounds that both have.
    fn custom_bucket_fell(&self, previous: &FloatHistogram) -> bool {
        let bounds = common_bounds(&self.custom_values, &previous.custom_values);
        let mapped = |h: &FloatHistogram| {
            let mut target = empty_slots(bounds.len() + 1);
            let list = expand(&h.positive_spans, &h.positive_buckets, None);
            map_custom(&list, &h.custom_values, &bounds, 1.0, &mut target);
            target
        };
        mapped(self)
            .iter()
            .zip(mapped(previous))
            .any(|(now, before)| now.count + now.c < before.count + before.c)
    }
}

/// Whether a bucket of `before` is smaller, or populated and missing, in `now`.
fn bucket_fell(now: &[Slot], before: &[Slot]) -> bool {
    let mut now = now.iter().peekable();
    for b in before {
        while now.next_if(|n| n.index < b.index).is_some() {}
        let fell = match now.peek() {
            Some(n) if n.index == b.index => n.count < b.count,
            _ => b.count != 0.0,
        };
        if fell {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Span;

    fn h(offset: i32, buckets: &[f64]) -> FloatHistogram {
        FloatHistogram {
            count: buckets.iter().sum(),
            positive_spans: vec![Span { offset, length: buckets.len() as u32 }],
            positive_buckets: buckets.to_vec(),
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn falls_are_found() {
        assert!(!h(0, &[1.0, 2.0]).detect_reset(&h(0, &[1.0, 1.0])));
        assert!(h(0, &[0.0, 9.0]).detect_reset(&h(0, &[1.0, 1.0])));
        assert!(h(1, &[9.0]).detect_reset(&h(0, &[1.0])));
        assert!(!h(1, &[9.0]).detect_reset(&h(0, &[0.0, 1.0])));
        let finer = FloatHistogram { schema: 1, ..h(0, &[9.0]) };
        assert!(finer.detect_reset(&h(0, &[1.0])));
    }
}
