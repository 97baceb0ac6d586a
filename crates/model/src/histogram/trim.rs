//! Cutting a native histogram at a value: the operators `</` and `>/`.

use super::FloatHistogram;
use super::buckets::Bucket;

impl FloatHistogram {
    /// Removes observations above `at` (`upper`) or below it, estimating those in the bucket that contains it
    /// and the sum of what stays.
    pub fn trim(&mut self, at: f64, upper: bool) {
        let custom = self.uses_custom_buckets();
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let mut populated = [false, false];
        for positive in [true, false] {
            let list = if positive { self.positive() } else { self.negative() };
            for (i, bucket) in list.iter().enumerate().filter(|(_, b)| b.count != 0.0) {
                populated[usize::from(positive)] = true;
                let (inside, touched) = if upper {
                    (bucket.upper <= at, bucket.lower < at)
                } else {
                    (bucket.lower >= at, bucket.upper > at)
                };
                let (keep, middle) = if inside {
                    (bucket.count, midpoint(bucket.lower, bucket.upper, positive, custom))
                } else if touched {
                    cut(bucket, at, upper, positive, custom)
                } else {
                    (0.0, 0.0)
                };
                count += keep;
                sum += middle * keep;
                let counts = if positive { &mut self.positive_buckets } else { &mut self.negative_buckets };
                if let Some(slot) = counts.get_mut(i)
                    && !inside
                    && (*slot != keep || !touched)
                {
                    *slot = keep;
                    changed = true;
                }
            }
        }
        if self.zero_count > 0.0 {
            let (keep, middle) = cut_zero(&self.zero_bucket(), at, populated[0], populated[1], upper);
            changed |= self.zero_count != keep;
            self.zero_count = keep;
            count += keep;
            sum += middle * keep;
        }
        if changed {
            self.count = count;
            self.sum = sum;
            self.compact();
        }
    }
}

/// What stays of a bucket that contains `at`, and the middle of it.
fn cut(b: &Bucket, at: f64, upper: bool, positive: bool, custom: bool) -> (f64, f64) {
    if b.lower == f64::NEG_INFINITY || b.upper == f64::INFINITY {
        return cut_infinite(b, at, upper);
    }
    let below = if at <= b.lower {
        0.0
    } else if at >= b.upper {
        b.count
    } else {
        b.count * b.fraction_below(at, custom)
    };
    if upper {
        (below, midpoint(b.lower, at, positive, custom))
    } else {
        (b.count - below, midpoint(at, b.upper, positive, custom))
    }
}

/// Nothing is known about where observations lie in an infinite bucket; a first bucket with a positive bound is
/// taken to start at 0.
fn cut_infinite(b: &Bucket, at: f64, upper: bool) -> (f64, f64) {
    let finite = |v: f64| if v.is_infinite() { 0.0 } else { v };
    if b.lower == f64::NEG_INFINITY {
        let bounded = b.upper != f64::INFINITY;
        if upper {
            return if at >= b.upper {
                (b.count, 0.0)
            } else if at > 0.0 && b.upper > 0.0 && bounded {
                (b.count * at / b.upper, at / 2.0)
            } else if b.upper <= 0.0 {
                (b.count, at)
            } else {
                (0.0, finite(b.upper))
            };
        }
        return if at <= b.lower {
            (b.count, 0.0)
        } else if at >= 0.0 && b.upper > at && bounded {
            (b.count * (1.0 - at / b.upper), (at + b.upper) / 2.0)
        } else {
            (0.0, finite(b.upper))
        };
    }
    if !upper && at >= b.lower { (b.count, at) } else { (0.0, finite(b.lower)) }
}

fn cut_zero(zero: &Bucket, at: f64, negative: bool, positive: bool, upper_trim: bool) -> (f64, f64) {
    let upper = if negative && !positive { 0.0 } else { zero.upper };
    let lower = if positive && !negative { 0.0 } else { zero.lower };
    let whole = (zero.count, (lower + upper) / 2.0);
    if at <= lower {
        return if upper_trim { (0.0, 0.0) } else { whole };
    }
    if at >= upper {
        return if upper_trim { whole } else { (0.0, 0.0) };
    }
    if upper_trim {
        (zero.count * ((at - lower) / (upper - lower)), (lower + at) / 2.0)
    } else {
        (zero.count * ((upper - at) / (upper - lower)), (at + upper) / 2.0)
    }
}

fn midpoint(lower: f64, upper: f64, positive: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if linear => (lower + upper) / 2.0,
        (false, false) => {
            let mean = (lower * upper).abs().sqrt();
            if positive { mean } else { -mean }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Span;

    #[test]
    fn cut_in_the_middle_of_a_bucket() {
        let mut h = FloatHistogram {
            count: 8.0,
            sum: 20.0,
            positive_spans: vec![Span { offset: 1, length: 2 }],
            positive_buckets: vec![4.0, 4.0],
            ..FloatHistogram::default()
        };
        h.trim(2.0, true);
        assert_eq!((h.count, &h.positive_buckets[..]), (4.0, &[4.0][..]));
        h.trim(std::f64::consts::SQRT_2, false);
        assert!((h.count - 2.0).abs() < 1e-12);
    }
}
