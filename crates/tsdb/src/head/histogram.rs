//! What a histogram must be like to be stored.

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};
use model::{FloatHistogram, is_stale_nan};

/// Buckets of one histogram; more are refused.
const MAX_BUCKETS: usize = 1 << 16;

/// Stands for the value of a histogram where a float has its bits: a NaN that no sender makes. Hints do not count.
pub(crate) fn fingerprint(h: &FloatHistogram) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |state: u64, n: u64| {
        let state = (state ^ n).wrapping_mul(FACTOR);
        state ^ state >> 29
    };
    let mut state = 0xcbf2_9ce4_8422_2325u64;
    let mut mix = |n: u64| state = step(state, n);
    // Four at a time: each step waits for the one before.
    let all = |list: &[f64]| {
        let mut lanes = [1u64, 2, 3, 4];
        let (fours, rest) = list.as_chunks::<4>();
        for four in fours {
            lanes.iter_mut().zip(four).for_each(|(lane, v)| *lane = step(*lane, v.to_bits()));
        }
        lanes.iter_mut().zip(rest).for_each(|(lane, v)| *lane = step(*lane, v.to_bits()));
        lanes.iter().fold(list.len() as u64, |sum, lane| step(sum, *lane))
    };
    mix(u64::from(h.integer));
    if is_stale_nan(h.sum) {
        mix(h.sum.to_bits());
    } else {
        mix(h.schema as u64);
        mix(all(&[h.zero_threshold, h.zero_count, h.count, h.sum]));
        for (spans, buckets) in
            [(&h.positive_spans, &h.positive_buckets), (&h.negative_spans, &h.negative_buckets)]
        {
            mix(spans.len() as u64);
            spans.iter().for_each(|s| mix(u64::from(s.offset as u32) << 32 | u64::from(s.length)));
            mix(all(buckets));
        }
        mix(all(&h.custom_values));
    }
    0xfff8_0000_0000_0001 | state >> 13
}

/// Whether a chunk can hold the histogram: its spans and buckets agree.
pub(crate) fn is_sound(h: &FloatHistogram) -> bool {
    let fits = |spans: &[Span], n: usize| spans.iter().map(|s| u64::from(s.length)).sum::<u64>() == n as u64;
    let (positive, negative) = (h.positive_buckets.len(), h.negative_buckets.len());
    fits(&h.positive_spans, positive)
        && fits(&h.negative_spans, negative)
        && positive.saturating_add(negative) <= MAX_BUCKETS
        && h.custom_values.len() <= MAX_BUCKETS
        && h.positive_spans.len().saturating_add(h.negative_spans.len()) <= MAX_BUCKETS
        && ((-9..=8).contains(&h.schema) || h.schema == CUSTOM_BUCKETS_SCHEMA)
        && (h.schema == CUSTOM_BUCKETS_SCHEMA || h.custom_values.is_empty())
}

/// Upstream's `FloatHistogram.Validate`, or `Histogram.Validate` for integers, with their texts, and a ceiling of
/// buckets. Tells whether it holds integers ([`FloatHistogram::holds_integers`]).
pub(crate) fn validate(h: &FloatHistogram) -> Result<bool, String> {
    const NEGATIVE_BUCKET: &str = "histogram has a bucket whose observation count is negative";
    let size = h.positive_buckets.len().saturating_add(h.negative_buckets.len());
    let side = h.positive_spans.len().saturating_add(h.negative_spans.len()).max(h.custom_values.len());
    if size.max(side) > MAX_BUCKETS {
        return Err(format!("histogram has more than {MAX_BUCKETS} buckets, spans or custom bounds"));
    }
    if h.schema == CUSTOM_BUCKETS_SCHEMA {
        custom_bounds(h).map_err(|e| format!("custom buckets: {e}"))?;
        let wrong = [
            (h.zero_count != 0.0, "must have zero count of 0"),
            (h.zero_threshold != 0.0, "must have zero threshold of 0"),
            (!h.negative_spans.is_empty(), "must not have negative spans"),
            (!h.negative_buckets.is_empty(), "must not have negative buckets"),
        ];
        if let Some((_, what)) = wrong.iter().find(|(wrong, _)| *wrong) {
            return Err(format!("custom buckets: {what}"));
        }
    } else if (-4..=8).contains(&h.schema) {
        spans(&h.positive_spans, h.positive_buckets.len(), 1).map_err(|e| format!("positive side: {e}"))?;
        spans(&h.negative_spans, h.negative_buckets.len(), 1).map_err(|e| format!("negative side: {e}"))?;
        buckets(&h.negative_buckets).map_err(|e| format!("negative side: {e}"))?;
        if h.zero_count < 0.0 {
            return Err(format!("zero bucket has observation count of {}: {NEGATIVE_BUCKET}", h.zero_count));
        }
        if !h.custom_values.is_empty() {
            return Err("histogram with exponential schema must not have custom bounds".into());
        }
    } else {
        return Err(format!(
            "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or \
             {CUSTOM_BUCKETS_SCHEMA} for custom buckets, got schema {}",
            h.schema
        ));
    }
    if h.count < 0.0 {
        return Err(format!("observation count is  {}: histogram's observation count is negative", h.count));
    }
    buckets(&h.positive_buckets).map_err(|e| format!("positive side: {e}"))?;
    let whole = h.holds_integers();
    if whole {
        whole_count(h)?;
    }
    return Ok(whole);

    /// The sum of whole numbers, exact below 2^53. In four parts, none of which waits for another.
    fn sum(list: &[f64]) -> f64 {
        let mut lanes = [0.0; 4];
        let (fours, rest) = list.as_chunks::<4>();
        for four in fours {
            lanes.iter_mut().zip(four).for_each(|(lane, v)| *lane += v);
        }
        lanes.iter().chain(rest).sum()
    }

    fn whole_count(h: &FloatHistogram) -> Result<(), String> {
        let found = sum(&h.positive_buckets) + sum(&h.negative_buckets) + h.zero_count;
        // A count is below 2^53: a sum that equals it was exact.
        if found == h.count {
            return Ok(());
        }
        // All sums are exact, up to 2^16 buckets of less than 2^53 each.
        let sides = h.positive_buckets.iter().chain(&h.negative_buckets);
        let whole = |v: f64| u128::from(v as u64);
        let found = sides.map(|v| whole(*v)).sum::<u128>() + whole(h.zero_count);
        let count = whole(h.count);
        let (bad, what) = match h.sum.is_nan() {
            true => (found > count, "should be at least the number of observations found in the buckets"),
            false => (
                found != count,
                "should equal the number of observations found in the buckets (in absence of NaN)",
            ),
        };
        if !bad {
            return Ok(());
        }
        Err(format!(
            "{found} observations found in buckets, but the Count field is {count}: histogram's observation count {what}"
        ))
    }

    fn buckets(list: &[f64]) -> Result<(), String> {
        if !list.iter().fold(false, |any, v| any | (*v < 0.0)) {
            return Ok(());
        }
        let (at, v) = list.iter().enumerate().find(|(_, v)| **v < 0.0).unwrap_or((0, &f64::NAN));
        Err(format!("bucket number {} has observation count of {v}: {NEGATIVE_BUCKET}", at + 1))
    }
}

/// Checks spans against the number of buckets; offsets before span `free` may be negative.
fn spans(list: &[Span], buckets: usize, free: usize) -> Result<(), String> {
    if let Some((at, span)) = list.iter().enumerate().skip(free).find(|(_, s)| s.offset < 0) {
        return Err(format!(
            "span number {} with offset {}: histogram has a span whose offset is negative",
            at + 1,
            span.offset
        ));
    }
    let need: u64 = list.iter().map(|s| u64::from(s.length)).sum();
    if need != buckets as u64 {
        return Err(format!(
            "spans need {need} buckets, have {buckets} buckets: histogram spans specify different number of buckets than provided"
        ));
    }
    Ok(())
}

fn custom_bounds(h: &FloatHistogram) -> Result<(), String> {
    let mut before = f64::NEG_INFINITY;
    for (at, bound) in h.custom_values.iter().enumerate() {
        if bound.is_nan() {
            return Err("histogram custom bounds must not be NaN".into());
        }
        if at > 0 && *bound <= before {
            return Err(format!(
                "previous bound is {before:.6} and current is {bound:.6}: histogram custom bounds must be in strictly increasing order"
            ));
        }
        before = *bound;
    }
    if before == f64::INFINITY {
        return Err(
            "last +Inf bound must not be explicitly defined: histogram custom bounds must be finite".into()
        );
    }
    spans(&h.positive_spans, h.positive_buckets.len(), 0)?;
    let total: i64 = h.positive_spans.iter().map(|s| i64::from(s.length) + i64::from(s.offset)).sum();
    let bounds = h.custom_values.len();
    if (bounds as i64) + 1 < total {
        return Err(format!(
            "only {bounds} custom bounds defined which is insufficient to cover total span length of {total}: histogram custom bounds are too few"
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "histogram_tests.rs"]
mod tests;
