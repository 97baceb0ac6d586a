//! Bucket limits of native histograms: coarser schemas until they fit.

use model::FloatHistogram;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

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
    let shift = u32::try_from(h.schema - schema).unwrap_or(0).min(31);
    (h.positive_spans, h.positive_buckets) = merge(&h.positive_spans, &h.positive_buckets, shift);
    (h.negative_spans, h.negative_buckets) = merge(&h.negative_spans, &h.negative_buckets, shift);
    h.schema = schema;
}

/// Adds up buckets whose index is the same after the schema has gone down by `shift`.
fn merge(spans: &[Span], buckets: &[f64], shift: u32) -> (Vec<Span>, Vec<f64>) {
    let mut merged: Vec<(i64, f64)> = Vec::with_capacity(buckets.len());
    let mut counts = buckets.iter();
    let mut index = 0i64;
    for span in spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            let Some(count) = counts.next() else { break };
            // The upper bound of a bucket is inclusive, hence the shift of one.
            let target = ((index - 1) >> shift) + 1;
            match merged.last_mut() {
                Some((at, sum)) if *at == target => *sum += count,
                _ => merged.push((target, *count)),
            }
            index += 1;
        }
    }
    let (mut spans, mut next) = (Vec::<Span>::new(), 0i64);
    for (at, _) in &merged {
        match spans.last_mut() {
            Some(span) if *at == next => span.length += 1,
            _ => spans.push(Span { offset: i32::try_from(at - next).unwrap_or(0), length: 1 }),
        }
        next = at + 1;
    }
    (spans, merged.into_iter().map(|(_, count)| count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
