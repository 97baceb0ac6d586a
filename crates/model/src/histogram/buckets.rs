//! Buckets of native histograms: bounds, iteration, spans to lists and back, coarser schemas.

use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Span};

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub lower_inclusive: bool,
    pub upper_inclusive: bool,
    pub count: f64,
}

impl Bucket {
    /// Which part of the bucket's width lies at or below `v`, which must be inside of finite bounds. Not
    /// `linear`: on a logarithmic scale.
    pub fn fraction_below(&self, v: f64, linear: bool) -> f64 {
        if linear {
            return (v - self.lower) / (self.upper - self.lower);
        }
        let (low, high, at) = (self.lower.abs().log2(), self.upper.abs().log2(), v.abs().log2());
        if v > 0.0 { (at - low) / (high - low) } else { 1.0 - (at - high) / (low - high) }
    }
}

/// A bucket by index, with the compensation of its count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slot {
    pub(super) index: i32,
    pub(super) count: f64,
    pub(super) c: f64,
}

/// Spans and counts as a list; ends early when there are fewer counts than the spans say.
pub(super) fn expand(spans: &[Span], counts: &[f64], compensation: Option<&[f64]>) -> Vec<Slot> {
    let mut list = Vec::with_capacity(counts.len());
    let mut index = 0i32;
    for span in spans {
        index = index.saturating_add(span.offset);
        for _ in 0..span.length {
            let at = list.len();
            let Some(&count) = counts.get(at) else { return list };
            let c = compensation.and_then(|c| c.get(at)).copied().unwrap_or(0.0);
            list.push(Slot { index, count, c });
            index = index.saturating_add(1);
        }
    }
    list
}

/// A list, sorted by index, as spans and counts.
pub(super) fn pack(list: &[Slot]) -> (Vec<Span>, Vec<f64>, Vec<f64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0i32;
    for slot in list {
        match spans.last_mut() {
            Some(last) if slot.index == next => last.length += 1,
            _ => spans.push(Span { offset: slot.index.saturating_sub(next), length: 1 }),
        }
        next = slot.index.saturating_add(1);
    }
    (spans, list.iter().map(|s| s.count).collect(), list.iter().map(|s| s.c).collect())
}

/// `x * 2^exp` without an overflow on the way.
fn ldexp(x: f64, exp: i64) -> f64 {
    let exp = exp.clamp(-3000, 3000) as i32;
    let half = exp / 2;
    x * 2f64.powi(half) * 2f64.powi(exp - half)
}

/// Upper bound of an exponential bucket by its index, as upstream computes it: the last one before that of the
/// infinities ends at the largest float.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    if schema < 0 {
        let exp = i64::from(index) << (-schema).min(30);
        return if exp == 1024 { f64::MAX } else { ldexp(1.0, exp) };
    }
    let schema = schema.min(30);
    let part = index & ((1 << schema) - 1);
    let exp = i64::from(index >> schema) + 1;
    if part == 0 && exp == 1025 {
        return f64::MAX;
    }
    let frac = match FRACTIONS.get(schema as usize) {
        Some(row) => row[part as usize],
        None => (f64::from(part) / f64::from(1 << schema)).exp2() / 2.0,
    };
    ldexp(frac, exp)
}

/// Bounds between 0.5 and 1 of the schemas 0 to 8, to the last bit those of the libraries that fill histograms:
/// each bound is the one before times the factor, or that of the coarser schema; the first factor was a bit too
/// small when their table was made.
static FRACTIONS: std::sync::LazyLock<Vec<Vec<f64>>> = std::sync::LazyLock::new(|| {
    let mut all: Vec<Vec<f64>> = Vec::new();
    for schema in 0..=8 {
        let factor = if schema == 1 {
            std::f64::consts::SQRT_2.next_down()
        } else {
            2f64.powf(1.0 / f64::from(1 << schema))
        };
        let mut row = vec![0.5];
        for i in 1..1usize << schema {
            let coarser = if i % 2 == 0 { all.last().map(|c| c[i / 2]) } else { None };
            row.push(coarser.unwrap_or_else(|| row[i - 1] * factor));
        }
        all.push(row);
    }
    all
});

/// Index in a coarser schema.
pub(super) fn coarser_index(index: i32, from: i32, to: i32) -> i32 {
    (index.saturating_sub(1) >> (from - to).clamp(0, 31)).saturating_add(1)
}

impl FloatHistogram {
    /// Whether bucket bounds are `custom_values`.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Upper bound of the positive bucket with this index.
    pub(super) fn bound(&self, index: i32) -> f64 {
        if !self.uses_custom_buckets() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(i) => self.custom_values.get(i).copied().unwrap_or(f64::INFINITY),
        }
    }

    fn bucket(&self, slot: Slot, positive: bool) -> Bucket {
        let (near, far) = (self.bound(slot.index.saturating_sub(1)), self.bound(slot.index));
        let (lower, upper) = if positive { (near, far) } else { (-far, -near) };
        let custom = self.uses_custom_buckets();
        Bucket {
            lower,
            upper,
            lower_inclusive: if custom { slot.index == 0 } else { lower < 0.0 },
            upper_inclusive: custom || upper > 0.0,
            count: slot.count,
        }
    }

    /// Positive buckets, from the smallest values up; also empty ones that are stored.
    pub fn positive(&self) -> Vec<Bucket> {
        let list = expand(&self.positive_spans, &self.positive_buckets, None);
        list.into_iter().map(|slot| self.bucket(slot, true)).collect()
    }

    /// Negative buckets, from zero down; also empty ones that are stored.
    pub fn negative(&self) -> Vec<Bucket> {
        let list = expand(&self.negative_spans, &self.negative_buckets, None);
        list.into_iter().map(|slot| self.bucket(slot, false)).collect()
    }

    /// The zero bucket, both bounds included.
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All buckets from the smallest values to the largest, the zero bucket only when it counts something.
    /// Buckets that reach into the zero bucket are cut at its border.
    pub fn all_buckets(&self) -> Vec<Bucket> {
        let zero = self.zero_threshold;
        let cut = |mut b: Bucket| {
            if b.upper < 0.0 && b.upper > -zero {
                b.upper = -zero;
            } else if b.lower > 0.0 && b.lower < zero {
                b.lower = zero;
            }
            b
        };
        let mut all: Vec<Bucket> = self.negative().into_iter().rev().map(cut).collect();
        if self.zero_count > 0.0 {
            all.push(self.zero_bucket());
        }
        all.extend(self.positive().into_iter().map(cut));
        all
    }

    /// Removes empty buckets.
    pub fn compact(&mut self) {
        let full = |spans: &[Span], counts: &[f64]| {
            let mut list = expand(spans, counts, None);
            list.retain(|slot| slot.count != 0.0);
            pack(&list)
        };
        (self.positive_spans, self.positive_buckets, _) = full(&self.positive_spans, &self.positive_buckets);
        (self.negative_spans, self.negative_buckets, _) = full(&self.negative_spans, &self.negative_buckets);
    }

    /// A copy with the coarser `schema`. Custom buckets and schemas that are not coarser are left as they are.
    pub fn copy_to_schema(&self, schema: i32) -> FloatHistogram {
        let mut copy = self.clone();
        if self.uses_custom_buckets() || schema >= self.schema || schema == CUSTOM_BUCKETS_SCHEMA {
            return copy;
        }
        let reduce = |spans: &[Span], counts: &[f64]| {
            pack(&reduce(expand(spans, counts, None), self.schema, schema, false))
        };
        (copy.positive_spans, copy.positive_buckets, _) =
            reduce(&self.positive_spans, &self.positive_buckets);
        (copy.negative_spans, copy.negative_buckets, _) =
            reduce(&self.negative_spans, &self.negative_buckets);
        copy.schema = schema;
        copy.counter_reset_hint = super::CounterResetHint::Unknown;
        copy
    }

    /// Whether any count or the sum is infinite.
    pub fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum].iter().any(|v| v.is_infinite())
            || self.positive_buckets.iter().chain(&self.negative_buckets).any(|v| v.is_infinite())
    }

    /// Equal layout, and counts and sum equal bit by bit; spans may be cut differently. The counter reset hint
    /// does not matter.
    pub fn same_data(&self, other: &FloatHistogram) -> bool {
        let bits = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let lists = |a: (&[Span], &[f64]), b: (&[Span], &[f64])| {
            let (a, b) = (expand(a.0, a.1, None), expand(b.0, b.1, None));
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.index == b.index && bits(a.count, b.count))
        };
        self.schema == other.schema
            && bits(self.count, other.count)
            && bits(self.sum, other.sum)
            && (!self.uses_custom_buckets() || self.custom_values == other.custom_values)
            && self.zero_threshold == other.zero_threshold
            && bits(self.zero_count, other.zero_count)
            && lists(
                (&self.positive_spans, &self.positive_buckets),
                (&other.positive_spans, &other.positive_buckets),
            )
            && lists(
                (&self.negative_spans, &self.negative_buckets),
                (&other.negative_spans, &other.negative_buckets),
            )
    }
}

/// Buckets in a coarser schema. With `kahan`, counts are added with compensation.
pub(super) fn reduce(list: Vec<Slot>, from: i32, to: i32, kahan: bool) -> Vec<Slot> {
    let mut coarse: Vec<Slot> = Vec::with_capacity(list.len());
    for slot in list {
        let index = coarser_index(slot.index, from, to);
        match coarse.last_mut() {
            Some(last) if last.index == index => super::arithmetic::add_to(last, slot.count, slot.c, kahan),
            _ => coarse.push(Slot { index, ..slot }),
        }
    }
    coarse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        for (index, schema, want) in [
            (0, 0, 1.0),
            (1, 0, 2.0),
            (-1, 0, 0.5),
            (1, -1, 4.0),
            (1, 1, std::f64::consts::SQRT_2.next_down()),
            (3, 2, 1.6817928305074288),
            (5, 3, 1.5422108254079407),
            (1024, 0, f64::MAX),
            (1025, 0, f64::INFINITY),
        ] {
            assert_eq!(exponential_bound(index, schema), want, "{index} {schema}");
        }
        assert_eq!(coarser_index(3, 1, 0), 2);
        assert_eq!(coarser_index(0, 1, 0), 0);
    }

    #[test]
    fn compact_drops_empty_buckets() {
        let mut h = FloatHistogram {
            positive_spans: vec![Span { offset: 1, length: 3 }, Span { offset: 2, length: 1 }],
            positive_buckets: vec![0.0, 1.0, 0.0, 2.0],
            ..FloatHistogram::default()
        };
        h.compact();
        assert_eq!(h.positive_spans, [Span { offset: 2, length: 1 }, Span { offset: 3, length: 1 }]);
        assert_eq!(h.positive_buckets, [1.0, 2.0]);
    }
}
