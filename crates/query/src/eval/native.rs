//! Native histograms in expressions: sums over series, operators, and numbers drawn from them.

use super::element::Element;
use super::{Eval, Grid, Out, RangeBuf, Sink};
use crate::QueryError;
use crate::annotation::{Annotations, HistogramOp};
use crate::column::Column;
use crate::numeric::Kahan;
use crate::plan::CallNode;
use model::histogram::{Bucket, Combined, Compensation, CounterResetHint, IncompatibleSchemas};
use model::{FloatHistogram, Labels, METRIC_NAME};
use promql::{BinaryOp, Span};
use std::sync::Arc;

/// Sum or mean of histograms, compensated. The mean is taken of the sum as long as that does not overflow, and
/// incrementally afterwards.
#[derive(Clone, Debug)]
pub(super) struct HistogramSum {
    sum: FloatHistogram,
    c: Option<Compensation>,
    count: f64,
    mean: bool,
    /// `sum` is the running mean.
    incremental: bool,
    reset_seen: bool,
    not_reset_seen: bool,
    pub(super) bounds_reconciled: bool,
}

impl HistogramSum {
    pub(super) fn first(h: &FloatHistogram, mean: bool) -> Self {
        let mut sum = HistogramSum {
            sum: h.clone(),
            c: None,
            count: 1.0,
            mean,
            incremental: false,
            reset_seen: false,
            not_reset_seen: false,
            bounds_reconciled: false,
        };
        sum.note_hint(h);
        sum
    }

    fn note_hint(&mut self, h: &FloatHistogram) {
        self.reset_seen |= h.counter_reset_hint == CounterResetHint::CounterReset;
        self.not_reset_seen |= h.counter_reset_hint == CounterResetHint::NotCounterReset;
    }

    /// Whether one histogram says that it was reset and another that it was not.
    pub(super) fn collides(&self) -> bool {
        self.reset_seen && self.not_reset_seen
    }

    pub(super) fn add(&mut self, h: &FloatHistogram) -> Result<(), IncompatibleSchemas> {
        self.note_hint(h);
        self.count += 1.0;
        if !self.mean {
            let done = self.sum.kahan_add(h, &mut self.c)?;
            self.bounds_reconciled |= done.bounds_reconciled;
            return Ok(());
        }
        if !self.incremental {
            let (mut sum, mut c) = (self.sum.clone(), self.c.clone());
            let done = sum.kahan_add(h, &mut c)?;
            self.bounds_reconciled |= done.bounds_reconciled;
            if !sum.has_overflow() {
                (self.sum, self.c) = (sum, c);
                return Ok(());
            }
            self.incremental = true;
            self.sum.div(self.count - 1.0);
            if let Some(c) = &mut self.c {
                c.div(self.count - 1.0);
            }
        }
        let q = (self.count - 1.0) / self.count;
        if let Some(c) = &mut self.c {
            c.mul(q);
        }
        let mut share = h.clone();
        share.div(self.count);
        self.sum.mul(q);
        let done = self.sum.kahan_add(&share, &mut self.c)?;
        self.bounds_reconciled |= done.bounds_reconciled;
        Ok(())
    }

    pub(super) fn finish(mut self) -> FloatHistogram {
        if self.mean && !self.incremental {
            self.sum.div(self.count);
            if let Some(c) = &mut self.c {
                c.div(self.count);
            }
        }
        if let Some(c) = &self.c {
            self.sum.add_compensation(c);
        }
        self.sum
    }
}

/// Histograms of one aggregation group, step by step.
pub(super) struct HistogramSums {
    mean: bool,
    steps: Vec<Option<HistogramSum>>,
    /// Exponential and custom buckets met: no result. Says whether floats came before.
    incompatible: Vec<Option<bool>>,
    /// The first sample was a float: histograms only make the step a mixed one.
    mixed: Vec<bool>,
}

impl HistogramSums {
    pub(super) fn new(mean: bool, steps: usize) -> Self {
        HistogramSums {
            mean,
            steps: (0..steps).map(|_| None).collect(),
            incompatible: vec![None; steps],
            mixed: vec![false; steps],
        }
    }

    /// Adds the histograms of a series; `floats` has the steps at which floats of the group came before.
    pub(super) fn add(&mut self, ev: &mut Eval<'_>, out: &Out, floats: &Column, span: Span) {
        for (step, h) in out.column.hists() {
            let step = *step as usize;
            if self.incompatible[step].is_some() {
                continue;
            }
            let Some(sum) = &mut self.steps[step] else {
                if floats.has_float(step) {
                    self.mixed[step] = true;
                    continue;
                }
                self.steps[step] = Some(HistogramSum::first(h, self.mean));
                continue;
            };
            let reconciled = std::mem::take(&mut sum.bounds_reconciled);
            if sum.add(h).is_err() {
                ev.notes.mixed_exponential_custom(span, out.labels.value(METRIC_NAME));
                self.incompatible[step] = Some(floats.has_float(step));
            }
            if sum.bounds_reconciled {
                ev.notes.mismatched_custom_buckets(span, HistogramOp::Aggregate);
            }
            sum.bounds_reconciled |= reconciled;
        }
    }

    /// Puts the results into the group's column, which holds what the floats gave.
    pub(super) fn finish(self, ev: &mut Eval<'_>, column: &mut Column, span: Span) {
        for (step, (sum, incompatible)) in self.steps.into_iter().zip(self.incompatible).enumerate() {
            if sum.is_none() && !self.mixed[step] {
                continue;
            }
            let floats = incompatible.unwrap_or_else(|| column.has_float(step));
            column.unset(step);
            if floats {
                ev.notes.mixed_floats_histograms_agg(span);
            }
            let Some(sum) = sum.filter(|_| !floats && incompatible.is_none()) else { continue };
            if sum.collides() {
                ev.notes.counter_reset_collision(span, HistogramOp::Aggregate);
            }
            let mut h = sum.finish();
            h.compact();
            column.push_hist(step, Arc::new(h));
        }
    }
}

/// A scaled copy.
pub(super) fn scaled(h: &FloatHistogram, by: f64) -> Arc<FloatHistogram> {
    let mut copy = h.clone();
    copy.mul(by);
    Arc::new(copy)
}

/// As `count_values` labels it.
pub(super) fn text(h: &FloatHistogram) -> String {
    h.to_string()
}

/// Straight line between two histograms; a counter that was reset is taken to have started from nothing.
pub(super) fn interpolate(
    notes: &mut Annotations,
    span: Span,
    (t1, h1): (i64, &FloatHistogram),
    (t2, h2): (i64, &FloatHistogram),
    t: i64,
    counter: bool,
) -> Result<FloatHistogram, IncompatibleSchemas> {
    if t == t1 {
        return Ok(h1.clone());
    }
    let mut result = h2.clone();
    if t == t2 {
        return Ok(result);
    }
    let fraction = (t - t1) as f64 / (t2 - t1) as f64;
    if counter && h2.detect_reset(h1) {
        result.mul(fraction);
        return Ok(result);
    }
    note_reconciled(notes, span, result.sub(h1)?, HistogramOp::Sub);
    result.mul(fraction);
    note_reconciled(notes, span, result.add(h1)?, HistogramOp::Add);
    Ok(result)
}

/// Says that custom bounds had to be reconciled.
pub(super) fn note_reconciled(notes: &mut Annotations, span: Span, done: Combined, op: HistogramOp) {
    if done.bounds_reconciled {
        notes.mismatched_custom_buckets(span, op);
    }
}

/// `histogram_quantile` of one histogram.
pub(super) fn quantile(notes: &mut Annotations, q: f64, h: &FloatHistogram, span: Span, metric: &str) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if h.count == 0.0 || q.is_nan() {
        return f64::NAN;
    }
    let custom = h.uses_custom_buckets();
    let forward = h.sum.is_nan() || q < 0.5;
    let mut buckets = h.all_buckets();
    let mut rank = if forward { q * h.count } else { (1.0 - q) * h.count };
    if !forward {
        buckets.reverse();
    }
    let mut bucket =
        Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };
    let (mut count, mut used) = (0.0, 0);
    for b in &buckets {
        used += 1;
        bucket = *b;
        if b.count == 0.0 {
            continue;
        }
        count += b.count;
        if count >= rank {
            break;
        }
    }
    if !custom && bucket.lower < 0.0 && bucket.upper > 0.0 {
        if h.negative_buckets.is_empty() && !h.positive_buckets.is_empty() {
            bucket.lower = 0.0;
        } else if h.positive_buckets.is_empty() && !h.negative_buckets.is_empty() {
            bucket.upper = 0.0;
        }
    } else if custom {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return bucket.upper;
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return bucket.lower;
        }
    }
    count = count.min(h.count);
    if count < rank {
        if h.sum.is_nan() {
            notes.quantile_nan_result(span, metric);
            return f64::NAN;
        }
        return bucket.upper;
    }
    rank = if forward { rank - (count - bucket.count) } else { count - rank };
    if h.sum.is_nan() {
        let all = count + buckets[used..].iter().map(|b| b.count).sum::<f64>();
        if all < h.count {
            notes.quantile_nan_skew(span, metric);
        }
    }
    let fraction = rank / bucket.count;
    if custom || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower > 0.0 {
        return (lower + (upper - lower) * fraction).exp2();
    }
    -(upper + (lower - upper) * (1.0 - fraction)).exp2()
}

/// `histogram_fraction` of one histogram.
pub(super) fn fraction(
    notes: &mut Annotations,
    lower: f64,
    upper: f64,
    h: &FloatHistogram,
    span: Span,
    metric: &str,
) -> f64 {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let custom = h.uses_custom_buckets();
    let (mut rank, mut lower_rank, mut upper_rank) = (0.0, None, None);
    let buckets = h.all_buckets();
    for b in &buckets {
        let mut b = *b;
        let zero = b.lower <= 0.0 && b.upper >= 0.0;
        if zero && h.negative_buckets.is_empty() && !h.positive_buckets.is_empty() {
            b.lower = 0.0;
        } else if zero && h.positive_buckets.is_empty() && !h.negative_buckets.is_empty() {
            b.upper = 0.0;
        }
        let place = |v: f64, known: &mut Option<f64>| {
            if known.is_some() {
                return;
            }
            if b.lower >= v {
                *known = Some(rank);
            } else if b.upper > v {
                *known = Some(if (custom || zero) && b.lower == f64::NEG_INFINITY {
                    b.count
                } else {
                    rank + b.count * b.fraction_below(v, custom || zero)
                });
            }
        };
        place(lower, &mut lower_rank);
        place(upper, &mut upper_rank);
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank += b.count;
    }
    let mut count = h.count;
    if h.sum.is_nan() {
        count = buckets.iter().map(|b| b.count).sum();
        if count < h.count {
            notes.fraction_nans(span, metric);
        }
    }
    let capped = |r: Option<f64>| r.filter(|r| *r <= count).unwrap_or(count);
    (capped(upper_rank) - capped(lower_rank)) / h.count
}

fn variance(h: &FloatHistogram) -> f64 {
    let mean = h.sum / h.count;
    let mut sum = Kahan::default();
    for b in h.all_buckets().iter().filter(|b| b.count != 0.0) {
        let v = if h.uses_custom_buckets() {
            (b.upper + b.lower) / 2.0
        } else if b.lower <= 0.0 && b.upper >= 0.0 {
            0.0
        } else {
            let v = (b.upper * b.lower).sqrt();
            if b.upper < 0.0 { -v } else { v }
        };
        let delta = v - mean;
        sum.add(b.count * delta * delta);
    }
    sum.total() / h.count
}

impl Eval<'_> {
    /// `histogram_count`, `_sum`, `_avg`, `_stddev`, `_stdvar`: floats are left out.
    pub(super) fn histogram_number(
        &mut self,
        c: &CallNode,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let f: fn(&FloatHistogram) -> f64 = match c.func.name {
            "histogram_count" => |h| h.count,
            "histogram_sum" => |h| h.sum,
            "histogram_avg" => |h| h.sum / h.count,
            "histogram_stddev" => |h| variance(h).sqrt(),
            _ => variance,
        };
        self.rename(&c.args[0], grid, sink, &mut |column| {
            column.present.fill(0);
            for (step, h) in column.hists.take().into_iter().flat_map(|hists| *hists) {
                column.set(step as usize, f(&h));
            }
        })
    }

    /// A binary operator with at least one histogram.
    pub(super) fn histogram_element(
        &mut self,
        op: BinaryOp,
        l: &Element,
        r: &Element,
        span: Span,
    ) -> Option<(Element, bool)> {
        let whole = |mut h: FloatHistogram| {
            h.compact();
            Some((Element::Hist(Arc::new(h)), true))
        };
        let name = |e: &Element| if matches!(e, Element::Float(_)) { "float" } else { "histogram" };
        match (op, l, r) {
            (BinaryOp::Mul, Element::Float(v), Element::Hist(h))
            | (BinaryOp::Mul, Element::Hist(h), Element::Float(v)) => {
                let mut h = (**h).clone();
                h.mul(*v);
                whole(h)
            }
            (BinaryOp::Div, Element::Hist(h), Element::Float(v)) => {
                let mut h = (**h).clone();
                h.div(*v);
                whole(h)
            }
            (BinaryOp::TrimUpper | BinaryOp::TrimLower, Element::Hist(h), Element::Float(v)) => {
                let mut h = (**h).clone();
                h.trim(*v, op == BinaryOp::TrimUpper);
                Some((Element::Hist(Arc::new(h)), true))
            }
            (BinaryOp::Add | BinaryOp::Sub, Element::Hist(l), Element::Hist(r)) => {
                let mut h = (**l).clone();
                let (done, what) = if op == BinaryOp::Add {
                    (h.add(r), HistogramOp::Add)
                } else {
                    (h.sub(r), HistogramOp::Sub)
                };
                let Ok(done) = done else {
                    self.notes.incompatible_bucket_layout(span, op.as_str());
                    return None;
                };
                if op == BinaryOp::Sub {
                    h.counter_reset_hint = CounterResetHint::Gauge;
                }
                if done.reset_collision {
                    self.notes.counter_reset_collision(span, what);
                }
                note_reconciled(&mut self.notes, span, done, what);
                whole(h)
            }
            (BinaryOp::Eql | BinaryOp::Neq, Element::Hist(l), Element::Hist(r)) => {
                Some((Element::Hist(l.clone()), l.same_data(r) == (op == BinaryOp::Eql)))
            }
            _ => {
                self.notes.incompatible_types(span, name(l), op.as_str(), name(r));
                None
            }
        }
    }

    /// One step of a smoothed instant selector over histograms.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn smooth_histogram(
        &mut self,
        samples: &RangeBuf,
        (lo, hi): (usize, usize),
        t: i64,
        step: usize,
        span: Span,
        labels: &Labels,
        column: &mut Column,
    ) {
        let (times, hists) = (&samples.ht[lo..hi], &samples.h[lo..hi]);
        let i = times.partition_point(|x| *x < t);
        if i < times.len() && times[i] == t {
            return column.push_hist(step, hists[i].clone());
        }
        if i == 0 {
            return;
        }
        if i == times.len() {
            let mut h = (*hists[i - 1]).clone();
            h.counter_reset_hint = CounterResetHint::Unknown;
            return column.push_hist(step, Arc::new(h));
        }
        let (before, after) = (&hists[i - 1], &hists[i]);
        let gauge = |h: &FloatHistogram| h.counter_reset_hint == CounterResetHint::Gauge;
        let counter = !gauge(before) || !gauge(after);
        let result =
            interpolate(&mut self.notes, span, (times[i - 1], before), (times[i], after), t, counter);
        let mixed = before.uses_custom_buckets() != after.uses_custom_buckets();
        match result {
            Ok(h) if !mixed => column.push_hist(step, Arc::new(h)),
            _ => self.notes.mixed_exponential_custom(span, labels.value(METRIC_NAME)),
        }
    }
}
