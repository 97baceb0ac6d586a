//! Quantiles of values and of classic histogram buckets.

use crate::numeric::almost_equal;

/// Relative difference of neighbouring bucket counts that is taken for a rounding error.
const SMALL_DELTA: f64 = 1e-12;

/// Order of upstream's value heap: NaN first.
pub(crate) fn nan_first(a: &f64, b: &f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal),
    }
}

/// The `q`-quantile by linear interpolation between ranks. Sorts `values`.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(nan_first);
    let n = values.len() as f64;
    let rank = q * (n - 1.0);
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(n - 1.0);
    let weight = rank - rank.floor();
    values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight
}

/// A cumulative bucket of a classic histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

/// Where counts had to be raised so that they do not fall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Forced {
    pub(crate) min_bucket: f64,
    pub(crate) max_bucket: f64,
    pub(crate) max_diff: f64,
}

fn sort_and_coalesce(buckets: &mut Vec<Bucket>) -> bool {
    if buckets.windows(2).any(|w| w[0].upper >= w[1].upper) {
        buckets.sort_by(|a, b| a.upper.partial_cmp(&b.upper).unwrap_or_else(|| a.upper.total_cmp(&b.upper)));
    }
    if buckets.last().is_none_or(|b| b.upper != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|b, kept| {
        let same = b.upper == kept.upper;
        if same {
            kept.count += b.count;
        }
        same
    });
    true
}

fn make_monotonic(buckets: &mut [Bucket]) -> Option<Forced> {
    let mut forced: Option<Forced> = None;
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let count = bucket.count;
        if count == before {
            continue;
        }
        if almost_equal(before, count, SMALL_DELTA) {
            bucket.count = before;
        } else if count < before {
            bucket.count = before;
            let f = forced.get_or_insert(Forced {
                min_bucket: f64::INFINITY,
                max_bucket: f64::NEG_INFINITY,
                max_diff: 0.0,
            });
            f.min_bucket = f.min_bucket.min(bucket.upper);
            f.max_bucket = f.max_bucket.max(bucket.upper);
            f.max_diff = f.max_diff.max(before - count);
        } else {
            before = count;
        }
    }
    forced
}

/// `histogram_quantile` over cumulative buckets, in any order. Tells where monotonicity was forced.
pub(crate) fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Forced>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !sort_and_coalesce(buckets) {
        return (f64::NAN, None);
    }
    let forced = make_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, forced);
    }
    let mut rank = q * observations;
    // As Go's sort.Search: the first bucket that reaches the rank; NaN counts never do.
    let (mut low, mut high) = (0, last);
    while low < high {
        let mid = (low + high) / 2;
        if buckets[mid].count >= rank { high = mid } else { low = mid + 1 }
    }
    let value = if low == last {
        buckets[last - 1].upper
    } else if low == 0 && buckets[0].upper <= 0.0 {
        buckets[0].upper
    } else {
        let (mut start, mut count) = (0.0, buckets[low].count);
        if low > 0 {
            start = buckets[low - 1].upper;
            count -= buckets[low - 1].count;
            rank -= buckets[low - 1].count;
        }
        start + (buckets[low].upper - start) * (rank / count)
    };
    (value, forced)
}

/// `histogram_fraction` over cumulative buckets, in any order.
pub(crate) fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !sort_and_coalesce(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |v: f64| {
        let mut rank = 0.0;
        let mut low = if buckets[0].upper <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
        for bucket in buckets.iter() {
            if low >= v {
                return rank;
            }
            if bucket.upper > v {
                return if low == f64::NEG_INFINITY {
                    bucket.count
                } else {
                    rank + (bucket.count - rank) * (v - low) / (bucket.upper - low)
                };
            }
            rank = bucket.count;
            low = bucket.upper;
        }
        count
    };
    (rank_of(upper).min(count) - rank_of(lower).min(count)) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        assert_eq!(quantile(0.5, &mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(0.75, &mut [0.0, 1.0]), 0.75);
        assert!(quantile(0.5, &mut []).is_nan());
        assert_eq!(quantile(-1.0, &mut [1.0]), f64::NEG_INFINITY);
    }

    #[test]
    fn buckets_interpolate_and_are_made_monotonic() {
        let b = |upper, count| Bucket { upper, count };
        let mut buckets = vec![b(f64::INFINITY, 10.0), b(1.0, 5.0), b(2.0, 10.0)];
        assert_eq!(bucket_quantile(0.75, &mut buckets).0, 1.5);
        let mut falling = vec![b(1.0, 5.0), b(2.0, 4.0), b(f64::INFINITY, 10.0)];
        let (_, forced) = bucket_quantile(0.5, &mut falling);
        assert_eq!(forced, Some(Forced { min_bucket: 2.0, max_bucket: 2.0, max_diff: 1.0 }));
        let mut buckets = vec![b(1.0, 5.0), b(2.0, 10.0), b(f64::INFINITY, 10.0)];
        assert_eq!(bucket_fraction(0.0, 1.0, &mut buckets), 0.5);
    }
}
