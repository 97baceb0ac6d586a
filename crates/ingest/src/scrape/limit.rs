//! Bucket limits of native histograms: coarser schemas until they fit.

use model::FloatHistogram;
use model::histogram::CUSTOM_BUCKETS_SCHEMA;

const FINEST: i32 = 8;
const COARSEST: i32 = -4;

/// The finest schema whose buckets grow by at least `factor` (upstream `pickSchema`); 0 asks for nothing.
pub(super) fn schema_for_factor(factor: f64) -> i32 {
    let factor = if factor <= 1.0 { 1.00271 } else { factor };
    let floor = (-factor.log2().log2()).floor();
    floor.clamp(f64::from(COARSEST), f64::from(FINEST)) as i32
}

/// Lowers the resolution to `schema` where it is finer.
pub(super) fn fit_schema(h: &mut FloatHistogram, schema: i32) {
    if h.schema > schema && h.schema != CUSTOM_BUCKETS_SCHEMA {
        reduce(h, schema);
    }
}

/// Lowers the resolution until at most `limit` buckets are left; false when that cannot be. 0: no limit.
pub(super) fn fit_buckets(h: &mut FloatHistogram, limit: u64) -> bool {
    if limit == 0 {
        return true;
    }
    let count = |h: &FloatHistogram| (h.positive_buckets.len() + h.negative_buckets.len()) as u64;
    while count(h) > limit {
        if h.schema == CUSTOM_BUCKETS_SCHEMA || h.schema <= COARSEST {
            return false;
        }
        let coarser = h.schema - 1;
        reduce(h, coarser);
    }
    true
}

fn reduce(h: &mut FloatHistogram, schema: i32) {
    // Resolution says nothing about resets, so the hint stays.
    let hint = h.counter_reset_hint;
    *h = h.copy_to_schema(schema);
    h.counter_reset_hint = hint;
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::histogram::Span;

    #[test]
    fn factors_pick_schemas() {
        for (factor, schema) in [(0.0, 8), (1.0, 8), (1.1, 2), (2.0, 0), (4.0, -1), (1e9, -4)] {
            assert_eq!(schema_for_factor(factor), schema, "{factor}");
        }
    }

    #[test]
    fn buckets_are_merged_until_they_fit() {
        let mut h = FloatHistogram {
            schema: 0,
            positive_spans: vec![Span { offset: -2, length: 4 }, Span { offset: 1, length: 1 }],
            positive_buckets: vec![1.0, 2.0, 3.0, 4.0, 5.0],
            ..FloatHistogram::default()
        };
        assert!(fit_buckets(&mut h, 3));
        // Buckets −2 −1 0 1 and 3 become −1 0 1 and 2.
        assert_eq!(h.schema, -2);
        assert_eq!(h.positive_buckets.iter().sum::<f64>(), 15.0);
        assert!(h.positive_buckets.len() <= 3);
        let mut custom = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive_buckets: vec![1.0; 4],
            ..FloatHistogram::default()
        };
        assert!(!fit_buckets(&mut custom, 3));
    }
}
