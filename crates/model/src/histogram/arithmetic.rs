//! Sums, differences and multiples of native histograms.
//!
//! Operands of different resolution or zero threshold are brought to the coarser one, custom buckets of
//! different bounds to the bounds that both have. Source: upstream `model/histogram/float_histogram.go`.

use super::buckets::{Slot, expand, exponential_bound, pack, reduce};
use super::{CounterResetHint, FloatHistogram, Span};
use std::cmp::Ordering;

/// One operand has exponential buckets, the other custom ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot apply this operation on histograms with a mix of exponential and custom bucket schemas")]
pub struct IncompatibleSchemas;

/// What a sum or difference had to put up with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Combined {
    /// One operand says that its counter was reset, the other that it was not.
    pub reset_collision: bool,
    /// Custom buckets had different bounds.
    pub bounds_reconciled: bool,
}

/// What Kahan–Neumaier summation keeps beside a sum; buckets correspond to those of the sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compensation {
    zero_count: f64,
    count: f64,
    sum: f64,
    positive: Vec<f64>,
    negative: Vec<f64>,
}

impl Compensation {
    pub fn mul(&mut self, factor: f64) {
        self.each(|v| *v *= factor);
    }

    pub fn div(&mut self, by: f64) {
        self.each(|v| *v /= by);
    }

    fn each(&mut self, f: impl Fn(&mut f64)) {
        [&mut self.zero_count, &mut self.count, &mut self.sum].into_iter().for_each(&f);
        self.positive.iter_mut().for_each(&f);
        self.negative.iter_mut().for_each(&f);
    }
}

fn kahan(inc: f64, sum: f64, c: f64) -> (f64, f64) {
    let t = sum + inc;
    let c = if t.is_infinite() {
        0.0
    } else if sum.abs() >= inc.abs() {
        c + ((sum - t) + inc)
    } else {
        c + ((inc - t) + sum)
    };
    (t, c)
}

/// Adds to a bucket, compensated or plainly.
pub(super) fn add_to(slot: &mut Slot, count: f64, c: f64, compensated: bool) {
    if compensated {
        (slot.count, slot.c) = kahan(count, slot.count, slot.c);
        if c != 0.0 {
            (slot.count, slot.c) = kahan(c, slot.count, slot.c);
        }
    } else {
        slot.count += count;
    }
}

/// Merges `b` into `a`, both sorted by index.
fn merge(a: Vec<Slot>, b: Vec<Slot>, compensated: bool) -> Vec<Slot> {
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x.index == y.index => {
                if let (Some(mut x), Some(y)) = (a.next(), b.next()) {
                    add_to(&mut x, y.count, y.c, compensated);
                    merged.push(x);
                }
            }
            (Some(x), Some(y)) if x.index < y.index => merged.extend(a.next()),
            (Some(_), None) => merged.extend(a.next()),
            (_, Some(_)) => merged.extend(b.next()),
            (None, None) => return merged,
        }
    }
}

/// Bounds that both lists have.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|x| b.binary_search_by(|y| y.total_cmp(x)).is_ok()).collect()
}

/// Adds buckets with custom bounds into those of `target` (one more than bounds, the last to +Inf).
pub(super) fn map_custom(
    list: &[Slot],
    bounds: &[f64],
    target_bounds: &[f64],
    sign: f64,
    target: &mut [Slot],
) {
    for slot in list {
        let bound = usize::try_from(slot.index).ok().and_then(|i| bounds.get(i)).copied();
        let at = bound.map_or(target_bounds.len(), |b| target_bounds.partition_point(|t| *t < b));
        if let Some(t) = target.get_mut(at) {
            add_to(t, sign * slot.count, sign * slot.c, true);
        }
    }
}

pub(super) fn empty_slots(n: usize) -> Vec<Slot> {
    (0..n).map(|i| Slot { index: i as i32, count: 0.0, c: 0.0 }).collect()
}

impl FloatHistogram {
    /// Scales all counts and the sum.
    pub fn mul(&mut self, factor: f64) -> &mut Self {
        self.scale(|v| *v *= factor, factor < 0.0)
    }

    /// Divides all counts and the sum; by 0 the buckets are removed.
    pub fn div(&mut self, by: f64) -> &mut Self {
        self.scale(|v| *v /= by, by < 0.0);
        if by == 0.0 {
            self.positive_spans.clear();
            self.positive_buckets.clear();
            self.negative_spans.clear();
            self.negative_buckets.clear();
        }
        self
    }

    fn scale(&mut self, f: impl Fn(&mut f64), negative: bool) -> &mut Self {
        [&mut self.zero_count, &mut self.count, &mut self.sum].into_iter().for_each(&f);
        self.positive_buckets.iter_mut().for_each(&f);
        self.negative_buckets.iter_mut().for_each(&f);
        if negative {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
        self
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, 1.0, None)
    }

    /// Subtracts `other`. The hint of the result is that of a sum; who offers it as a difference sets
    /// [`CounterResetHint::Gauge`].
    pub fn sub(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, -1.0, None)
    }

    /// Adds `other` with Kahan–Neumaier compensation, which starts out empty (`None`).
    pub fn kahan_add(
        &mut self,
        other: &FloatHistogram,
        c: &mut Option<Compensation>,
    ) -> Result<Combined, IncompatibleSchemas> {
        let c = c.get_or_insert_with(Compensation::default);
        self.combine(other, 1.0, Some(c))
    }

    /// Adds the compensation at the end of a summation.
    pub fn add_compensation(&mut self, c: &Compensation) {
        self.zero_count += c.zero_count;
        self.count += c.count;
        self.sum += c.sum;
        self.positive_buckets.iter_mut().zip(&c.positive).for_each(|(v, c)| *v += c);
        self.negative_buckets.iter_mut().zip(&c.negative).for_each(|(v, c)| *v += c);
    }

    fn combine(
        &mut self,
        other: &FloatHistogram,
        sign: f64,
        mut c: Option<&mut Compensation>,
    ) -> Result<Combined, IncompatibleSchemas> {
        if self.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(IncompatibleSchemas);
        }
        let mut combined = Combined { reset_collision: self.adjust_hint(other), bounds_reconciled: false };
        let compensated = c.is_some();
        if !self.uses_custom_buckets() {
            let zero = self.reconcile_zero_buckets(other, c.as_deref_mut());
            match c.as_deref_mut() {
                Some(c) => (self.zero_count, c.zero_count) = kahan(zero, self.zero_count, c.zero_count),
                None => self.zero_count += sign * zero,
            }
        }
        match c.as_deref_mut() {
            Some(c) => {
                (self.count, c.count) = kahan(other.count, self.count, c.count);
                (self.sum, c.sum) = kahan(other.sum, self.sum, c.sum);
            }
            None => {
                self.count += sign * other.count;
                self.sum += sign * other.sum;
            }
        }
        let signed = |mut list: Vec<Slot>| {
            list.iter_mut().for_each(|s| s.count *= sign);
            list
        };
        let own = expand(&self.positive_spans, &self.positive_buckets, c.as_deref().map(|c| &c.positive[..]));
        let others = signed(expand(&other.positive_spans, &other.positive_buckets, None));
        if self.uses_custom_buckets() {
            let list = if self.custom_values == other.custom_values {
                merge(own, others, compensated)
            } else {
                combined.bounds_reconciled = true;
                let bounds = common_bounds(&self.custom_values, &other.custom_values);
                let mut target = empty_slots(bounds.len() + 1);
                map_custom(&own, &self.custom_values, &bounds, 1.0, &mut target);
                map_custom(&others, &other.custom_values, &bounds, 1.0, &mut target);
                target.retain(|s| s.count != 0.0 || s.c != 0.0);
                self.custom_values = bounds;
                target
            };
            self.set_positive(&list, c);
            return Ok(combined);
        }
        let own_negative =
            expand(&self.negative_spans, &self.negative_buckets, c.as_deref().map(|c| &c.negative[..]));
        let others_negative = signed(expand(&other.negative_spans, &other.negative_buckets, None));
        let schema = self.schema.min(other.schema);
        let to_schema = |list: Vec<Slot>, from: i32| {
            if from == schema { list } else { reduce(list, from, schema, compensated) }
        };
        let threshold = self.zero_threshold;
        let outside = |mut list: Vec<Slot>| {
            let inside = list.iter().take_while(|s| exponential_bound(s.index, schema) <= threshold).count();
            list.drain(..inside);
            list
        };
        let positive =
            merge(to_schema(own, self.schema), outside(to_schema(others, other.schema)), compensated);
        let negative = merge(
            to_schema(own_negative, self.schema),
            outside(to_schema(others_negative, other.schema)),
            compensated,
        );
        self.schema = schema;
        self.set_positive(&positive, c.as_deref_mut());
        self.set_negative(&negative, c);
        Ok(combined)
    }

    fn set_positive(&mut self, list: &[Slot], c: Option<&mut Compensation>) {
        let comp;
        (self.positive_spans, self.positive_buckets, comp) = pack(list);
        if let Some(c) = c {
            c.positive = comp;
        }
    }

    fn set_negative(&mut self, list: &[Slot], c: Option<&mut Compensation>) {
        let comp;
        (self.negative_spans, self.negative_buckets, comp) = pack(list);
        if let Some(c) = c {
            c.negative = comp;
        }
    }

    /// The hint of a combination; true when the operands contradict each other.
    fn adjust_hint(&mut self, other: &FloatHistogram) -> bool {
        use CounterResetHint::{Gauge, Unknown};
        let (own, others) = (self.counter_reset_hint, other.counter_reset_hint);
        let collision =
            own != others && ![Gauge, Unknown].contains(&own) && ![Gauge, Unknown].contains(&others);
        self.counter_reset_hint = match (own, others) {
            (a, b) if a == b => a,
            (Gauge, _) | (_, Gauge) => Gauge,
            _ => Unknown,
        };
        collision
    }

    /// What the zero count would be with a threshold at least as large: count, the threshold after it was moved
    /// out of a populated bucket, compensation.
    pub(super) fn zero_count_for(&self, threshold: f64, c: Option<&Compensation>) -> (f64, f64, f64) {
        let mut threshold = threshold;
        let start = c.map_or(0.0, |c| c.zero_count);
        if threshold <= self.zero_threshold {
            return (self.zero_count, self.zero_threshold.max(threshold), start);
        }
        let (positive, negative) = (self.positive(), self.negative());
        'again: loop {
            let (mut count, mut comp) = (self.zero_count, start);
            let comp_of =
                |list: Option<&Vec<f64>>, i: usize| list.and_then(|l| l.get(i)).copied().unwrap_or(0.0);
            for (i, b) in positive.iter().enumerate() {
                if b.lower >= threshold {
                    break;
                }
                (count, comp) = kahan(b.count, count, comp);
                (count, comp) = kahan(comp_of(c.map(|c| &c.positive), i), count, comp);
                if b.upper > threshold {
                    if b.count != 0.0 {
                        threshold = b.upper;
                    }
                    break;
                }
            }
            for (i, b) in negative.iter().enumerate() {
                if b.upper <= -threshold {
                    break;
                }
                (count, comp) = kahan(b.count, count, comp);
                (count, comp) = kahan(comp_of(c.map(|c| &c.negative), i), count, comp);
                if b.lower < -threshold {
                    if b.count != 0.0 {
                        threshold = -b.lower;
                        continue 'again;
                    }
                    break;
                }
            }
            return (count, threshold, comp);
        }
    }

    /// Widens the own zero bucket until both histograms have the same; gives what the other's would count.
    fn reconcile_zero_buckets(&mut self, other: &FloatHistogram, mut c: Option<&mut Compensation>) -> f64 {
        let (mut count, mut threshold) = (other.zero_count, other.zero_threshold);
        // Thresholds only grow and end at bucket bounds, so this comes to an end; NaN never compares.
        while matches!(threshold.partial_cmp(&self.zero_threshold), Some(Ordering::Less | Ordering::Greater))
        {
            if self.zero_threshold > threshold {
                (count, threshold, _) = other.zero_count_for(self.zero_threshold, None);
            }
            if threshold > self.zero_threshold {
                let comp;
                (self.zero_count, self.zero_threshold, comp) = self.zero_count_for(threshold, c.as_deref());
                if let Some(c) = c.as_deref_mut() {
                    c.zero_count = comp;
                }
                self.drop_buckets_in_zero(c.as_deref_mut());
            }
        }
        count
    }

    fn drop_buckets_in_zero(&mut self, mut c: Option<&mut Compensation>) {
        let zero = self.zero_threshold;
        let schema = self.schema;
        let keep = |spans: &[Span], counts: &[f64], comp: Option<&[f64]>| {
            let mut list = expand(spans, counts, comp);
            let inside = list
                .iter()
                .take_while(|s| exponential_bound(s.index.saturating_sub(1), schema) < zero)
                .count();
            list.drain(..inside);
            list.retain(|s| s.count != 0.0 || s.c != 0.0);
            list
        };
        let positive =
            keep(&self.positive_spans, &self.positive_buckets, c.as_deref().map(|c| &c.positive[..]));
        let negative =
            keep(&self.negative_spans, &self.negative_buckets, c.as_deref().map(|c| &c.negative[..]));
        self.set_positive(&positive, c.as_deref_mut());
        self.set_negative(&negative, c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h(schema: i32, offset: i32, buckets: &[f64]) -> FloatHistogram {
        FloatHistogram {
            schema,
            count: buckets.iter().sum(),
            positive_spans: vec![Span { offset, length: buckets.len() as u32 }],
            positive_buckets: buckets.to_vec(),
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn finer_buckets_are_merged_into_coarser() {
        let mut a = h(0, 1, &[1.0, 2.0]);
        a.add(&h(1, 1, &[1.0, 1.0, 1.0, 1.0])).unwrap();
        assert_eq!((a.schema, a.positive_buckets), (0, vec![3.0, 4.0]));
    }

    #[test]
    fn gaps_are_filled() {
        let mut a = h(0, 0, &[1.0]);
        a.sub(&h(0, 2, &[3.0])).unwrap();
        assert_eq!(a.positive_spans, [Span { offset: 0, length: 1 }, Span { offset: 1, length: 1 }]);
        assert_eq!(a.positive_buckets, [1.0, -3.0]);
    }

    #[test]
    fn custom_bounds_are_reconciled() {
        let custom = |bounds: &[f64], counts: &[f64]| FloatHistogram {
            custom_values: bounds.to_vec(),
            ..h(crate::histogram::CUSTOM_BUCKETS_SCHEMA, 0, counts)
        };
        let mut a = custom(&[1.0, 2.0, 3.0], &[1.0, 1.0, 1.0, 1.0]);
        let done = a.add(&custom(&[2.0, 4.0], &[5.0, 5.0, 5.0])).unwrap();
        assert!(done.bounds_reconciled);
        assert_eq!((a.custom_values, a.positive_buckets), (vec![2.0], vec![7.0, 12.0]));
        assert_eq!(h(0, 0, &[1.0]).add(&custom(&[1.0], &[1.0])), Err(IncompatibleSchemas));
    }

    #[test]
    fn zero_buckets_are_widened() {
        let mut a = FloatHistogram { zero_threshold: 0.001, zero_count: 1.0, ..h(0, 0, &[2.0, 3.0]) };
        let b = FloatHistogram { zero_threshold: 1.0, zero_count: 10.0, ..FloatHistogram::default() };
        a.add(&b).unwrap();
        assert_eq!((a.zero_threshold, a.zero_count), (1.0, 13.0));
        assert_eq!(a.positive_buckets, [3.0]);
    }
}
