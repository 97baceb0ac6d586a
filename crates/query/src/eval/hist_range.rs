//! Range functions over series that have histograms, alone or among floats.
//!
//! Floats are computed first as if there were no histograms; then each window that has histograms is looked at.

use super::native::{HistogramSum, interpolate, note_reconciled};
use super::range::RangeCall;
use super::rate::{Extrapolation, extended_bounds, instant_value, is_start_reset, starts_overlap};
use super::window::Windows;
use super::{Eval, RangeBuf};
use crate::QueryError;
use crate::annotation::HistogramOp;
use crate::column::Column;
use model::FloatHistogram;
use model::histogram::CounterResetHint;
use std::sync::Arc;

/// What a window with histograms gives.
enum Found {
    Nothing,
    Float(f64),
    Hist(FloatHistogram),
    Shared(Arc<FloatHistogram>),
}

/// The histograms in one window.
struct Window<'a> {
    t: &'a [i64],
    h: &'a [Arc<FloatHistogram>],
    st: &'a [i64],
    step: usize,
}

impl Eval<'_> {
    pub(super) fn mixed_windows(
        &mut self,
        call: &RangeCall<'_>,
        scalars: &[Vec<f64>],
        samples: &RangeBuf,
        windows: &mut (Windows, Windows),
        out: &mut Column,
    ) -> Result<(), QueryError> {
        self.float_windows(call, scalars, samples, &mut windows.0, out)?;
        for step in 0..out.steps() {
            let (lo, hi) = windows.0.at(step);
            let (hlo, hhi) = windows.1.at(step);
            if hlo == hhi {
                continue;
            }
            self.watch.check((hhi - hlo) * 16)?;
            if call.name == "double_exponential_smoothing" {
                let at = |i: usize| scalars[i].get(step).copied().unwrap_or(f64::NAN);
                super::over_time::check_factors(at(0), at(1))?;
            }
            let window = Window {
                t: &samples.ht[hlo..hhi],
                h: &samples.h[hlo..hhi],
                st: samples.hst.get(hlo..hhi).unwrap_or(&[]),
                step,
            };
            let before = out.float(step);
            out.unset(step);
            let found = if lo == hi {
                self.only_histograms(call, &window)
            } else {
                self.mixed(call, samples, (lo, hi), &window, before)
            };
            match found {
                Found::Nothing => {}
                Found::Float(v) => out.set(step, v),
                Found::Hist(h) => out.push_hist(step, Arc::new(h)),
                Found::Shared(h) => out.push_hist(step, h),
            }
        }
        Ok(())
    }

    /// A window of histograms alone.
    fn only_histograms(&mut self, call: &RangeCall<'_>, w: &Window<'_>) -> Found {
        let seconds = |t: i64| Found::Float(t as f64 / 1000.0);
        match call.name {
            "count_over_time" => Found::Float(w.h.len() as f64),
            "present_over_time" | "absent_over_time" => Found::Float(1.0),
            "first_over_time" => Found::Shared(w.h[0].clone()),
            "last_over_time" => Found::Shared(w.h[w.h.len() - 1].clone()),
            "ts_of_first_over_time" => seconds(w.t[0]),
            "ts_of_last_over_time" => seconds(w.t[w.t.len() - 1]),
            "sum_over_time" | "avg_over_time" => self.sum_histograms(call, w),
            "rate" | "increase" | "delta" if call.extended() => self.extended_histogram(call, w),
            "rate" | "increase" | "delta" => self.extrapolated_histogram(call, w),
            "irate" | "idelta" => match w.h.len().checked_sub(2) {
                Some(a) => self.instant_histogram(call, w, a),
                None => Found::Nothing,
            },
            "resets" | "changes" => self.count_changes(call, &RangeBuf::default(), (0, 0), w),
            _ => Found::Nothing,
        }
    }

    /// A window of floats and histograms; `floats` is what the floats alone give.
    fn mixed(
        &mut self,
        call: &RangeCall<'_>,
        samples: &RangeBuf,
        (lo, hi): (usize, usize),
        w: &Window<'_>,
        floats: Option<f64>,
    ) -> Found {
        let (t, f) = (&samples.t[lo..hi], &samples.f[lo..hi]);
        let (first, last) = (0, w.h.len() - 1);
        let kept = || floats.map_or(Found::Nothing, Found::Float);
        match call.name {
            "count_over_time" => Found::Float((f.len() + w.h.len()) as f64),
            "present_over_time" | "absent_over_time" => Found::Float(1.0),
            "first_over_time" if t[0] < w.t[first] => Found::Float(f[0]),
            "first_over_time" => Found::Shared(w.h[first].clone()),
            "last_over_time" if w.t[last] < t[t.len() - 1] => Found::Float(f[f.len() - 1]),
            "last_over_time" => Found::Shared(w.h[last].clone()),
            "ts_of_first_over_time" => Found::Float(t[0].min(w.t[first]) as f64 / 1000.0),
            "ts_of_last_over_time" => Found::Float(t[t.len() - 1].max(w.t[last]) as f64 / 1000.0),
            "sum_over_time" | "avg_over_time" | "rate" | "increase" | "delta" => {
                self.notes.mixed_floats_histograms(call.span, call.metric());
                Found::Nothing
            }
            "irate" | "idelta" => self.instant_mixed(call, samples, (lo, hi), w),
            "resets" | "changes" => self.count_changes(call, samples, (lo, hi), w),
            _ => {
                self.notes.histogram_ignored_in_mixed_range(call.span, call.metric());
                kept()
            }
        }
    }

    fn sum_histograms(&mut self, call: &RangeCall<'_>, w: &Window<'_>) -> Found {
        let mut sum = HistogramSum::first(&w.h[0], call.name == "avg_over_time");
        for h in &w.h[1..] {
            if sum.add(h).is_err() {
                self.notes.mixed_exponential_custom(call.span, call.metric());
                return Found::Nothing;
            }
        }
        if sum.collides() {
            self.notes.counter_reset_collision(call.span, HistogramOp::Aggregate);
        }
        if sum.bounds_reconciled {
            self.notes.mismatched_custom_buckets(call.span, HistogramOp::Aggregate);
        }
        Found::Hist(sum.finish())
    }

    fn incompatible(&mut self, call: &RangeCall<'_>) -> Found {
        self.notes.mixed_exponential_custom(call.span, call.metric());
        Found::Nothing
    }

    fn extrapolated_histogram(&mut self, call: &RangeCall<'_>, w: &Window<'_>) -> Found {
        let counter = call.name != "delta";
        let t = call.grid.time(w.step);
        let range_start = call.spec.start(t);
        let mut result = None;
        if w.h.len() > 1 {
            match self.histogram_increase(call, w, counter) {
                Some(h) => result = Some(h),
                None => return Found::Nothing,
            }
        }
        let starts = if counter { w.st } else { &[] };
        let start = Extrapolation::usable_start(starts, 0, range_start, w.t[0]);
        let window = Extrapolation {
            range_start,
            range_end: call.spec.end(t),
            first_t: w.t[0],
            last_t: w.t[w.t.len() - 1],
            count: w.h.len(),
            start,
            per: (call.name == "rate").then_some(call.spec.range as f64 / 1000.0),
        };
        let factor = window.factor(|sampled| {
            let result = result.as_ref()?;
            (counter && result.count > 0.0 && w.h[0].count >= 0.0)
                .then(|| sampled * (w.h[0].count / result.count))
        });
        let Some(factor) = factor else { return Found::Nothing };
        if start.is_some() {
            match &mut result {
                None => result = Some((*w.h[0]).clone()),
                Some(h) => match h.add(&w.h[0]) {
                    Ok(done) => note_reconciled(&mut self.notes, call.span, done, HistogramOp::Add),
                    Err(_) => return self.incompatible(call),
                },
            }
        }
        match result {
            Some(mut h) => {
                h.mul(factor);
                Found::Hist(h)
            }
            None => Found::Nothing,
        }
    }

    /// The increase from the first to the last histogram of at least two.
    fn histogram_increase(
        &mut self,
        call: &RangeCall<'_>,
        w: &Window<'_>,
        counter: bool,
    ) -> Option<FloatHistogram> {
        let gauge = |h: &FloatHistogram| h.counter_reset_hint == CounterResetHint::Gauge;
        let (first, last) = (&w.h[0], &w.h[w.h.len() - 1]);
        let start_reset =
            |i: usize| w.st.len() > i && is_start_reset(w.st[i - 1], w.t[i - 1], w.st[i], w.t[i]);
        if counter && (gauge(first) || gauge(last)) {
            self.notes.not_counter(call.span, call.metric());
        }
        let mut before: Arc<FloatHistogram> = first.clone();
        if counter && (start_reset(1) || w.h[1].detect_reset(first)) {
            // The first sample does not count, so its layout does not matter either.
            before = Arc::new(FloatHistogram {
                schema: w.h[1].schema,
                custom_values: w.h[1].custom_values.clone(),
                ..FloatHistogram::default()
            });
        }
        let custom = before.uses_custom_buckets();
        if last.uses_custom_buckets() != custom {
            self.incompatible(call);
            return None;
        }
        let mut schema = last.schema.min(before.schema);
        if counter {
            for h in &w.h[1..w.h.len() - 1] {
                if gauge(h) {
                    self.notes.not_counter(call.span, call.metric());
                }
                schema = schema.min(h.schema);
                if h.uses_custom_buckets() != custom {
                    self.incompatible(call);
                    return None;
                }
            }
        }
        let mut result = last.copy_to_schema(schema);
        match result.sub(&before) {
            Ok(done) => note_reconciled(&mut self.notes, call.span, done, HistogramOp::Sub),
            Err(_) => {
                self.incompatible(call);
                return None;
            }
        }
        if !counter {
            if !gauge(first) || !gauge(last) {
                self.notes.not_gauge(call.span, call.metric());
            }
        } else {
            let mut overlap = false;
            for (i, h) in w.h.iter().enumerate().skip(1) {
                overlap |= w.st.len() > i && starts_overlap(w.st[i - 1], w.t[i - 1], w.st[i]);
                if start_reset(i) || h.detect_reset(&before) {
                    match result.add(&before) {
                        Ok(done) => note_reconciled(&mut self.notes, call.span, done, HistogramOp::Add),
                        Err(_) => {
                            self.incompatible(call);
                            return None;
                        }
                    }
                }
                before = h.clone();
            }
            if overlap {
                self.notes.start_time_overlap(call.span, call.metric(), 1);
            }
        }
        result.counter_reset_hint = CounterResetHint::Gauge;
        result.compact();
        Some(result)
    }

    /// `rate`, `increase` and `delta` of histograms with `anchored` or `smoothed`.
    fn extended_histogram(&mut self, call: &RangeCall<'_>, w: &Window<'_>) -> Found {
        let counter = call.name != "delta";
        let smoothed = call.spec.smoothed;
        let t = call.grid.time(w.step);
        let (start, end) = (call.spec.start(t), call.spec.end(t));
        let Some((first, last)) = extended_bounds(w.t, start, end, smoothed) else { return Found::Nothing };
        let custom = w.h[first].uses_custom_buckets();
        for h in &w.h[first..=last] {
            if h.uses_custom_buckets() != custom {
                return self.incompatible(call);
            }
            if counter && h.counter_reset_hint == CounterResetHint::Gauge {
                self.notes.not_counter(call.span, call.metric());
            }
        }
        let at = |i: usize| (w.t[i], &*w.h[i]);
        let span = call.span;
        let left = if smoothed && w.t[first] < start {
            interpolate(&mut self.notes, span, at(first), at(first + 1), start, counter)
        } else {
            Ok((*w.h[first]).clone())
        };
        let right = if smoothed && last > 0 && w.t[last] > end {
            interpolate(&mut self.notes, span, at(last - 1), at(last), end, counter)
        } else {
            Ok((*w.h[last]).clone())
        };
        let (Ok(left), Ok(right)) = (left, right) else { return self.incompatible(call) };
        let gauge = |h: &FloatHistogram| h.counter_reset_hint == CounterResetHint::Gauge;
        if !counter && (!gauge(&left) || !gauge(&right)) {
            self.notes.not_gauge(span, call.metric());
        }
        let mut result = right.clone();
        match result.sub(&left) {
            Ok(done) => note_reconciled(&mut self.notes, span, done, HistogramOp::Sub),
            Err(_) => return self.incompatible(call),
        }
        if counter {
            match self.extended_correction(call, w, (first, last), &left, &right, start) {
                Some(Some(correction)) => match result.add(&correction) {
                    Ok(done) => note_reconciled(&mut self.notes, span, done, HistogramOp::Add),
                    Err(_) => return self.incompatible(call),
                },
                Some(None) => {}
                None => return Found::Nothing,
            }
        }
        if call.name == "rate" {
            result.div(call.spec.range as f64 / 1000.0);
        }
        result.counter_reset_hint = CounterResetHint::Gauge;
        result.compact();
        Found::Hist(result)
    }

    /// What resets between the borders took away; `None`: histograms do not go together.
    fn extended_correction(
        &mut self,
        call: &RangeCall<'_>,
        w: &Window<'_>,
        (first, last): (usize, usize),
        left: &FloatHistogram,
        right: &FloatHistogram,
        start: i64,
    ) -> Option<Option<FloatHistogram>> {
        let mut from = first + 1;
        let mut before: &FloatHistogram = left;
        if call.spec.smoothed && w.t[first] < start && w.h[first + 1].detect_reset(&w.h[first]) {
            // The interpolation has taken care of this one.
            before = &w.h[first + 1];
            from += 1;
        }
        if from > last {
            return Some(None);
        }
        let mut correction: Option<FloatHistogram> = None;
        let between = w.h[from..last].iter().map(|h| &**h).chain(std::iter::once(right));
        for h in between {
            if h.detect_reset(before) {
                match &mut correction {
                    None => correction = Some(before.clone()),
                    Some(sum) => match sum.add(before) {
                        Ok(done) => note_reconciled(&mut self.notes, call.span, done, HistogramOp::Add),
                        Err(_) => {
                            self.incompatible(call);
                            return None;
                        }
                    },
                }
            }
            before = h;
        }
        Some(correction)
    }

    /// `irate` or `idelta` of histogram `a` and the next one.
    fn instant_histogram(&mut self, call: &RangeCall<'_>, w: &Window<'_>, a: usize) -> Found {
        let rate = call.name == "irate";
        let (x, y) = (&w.h[a], &w.h[a + 1]);
        let interval = w.t[a + 1] - w.t[a];
        if interval == 0 {
            return Found::Nothing;
        }
        let gauge = |h: &FloatHistogram| h.counter_reset_hint == CounterResetHint::Gauge;
        if rate && (gauge(x) || gauge(y)) {
            self.notes.not_counter(call.span, call.metric());
        }
        if !rate && (!gauge(x) || !gauge(y)) {
            self.notes.not_gauge(call.span, call.metric());
        }
        let mut result = (**y).clone();
        let start_reset = w.st.len() > a + 1 && is_start_reset(w.st[a], w.t[a], w.st[a + 1], w.t[a + 1]);
        if !rate || (!start_reset && !y.detect_reset(x)) {
            match result.sub(x) {
                Ok(done) => note_reconciled(&mut self.notes, call.span, done, HistogramOp::Sub),
                Err(_) => return self.incompatible(call),
            }
        }
        result.counter_reset_hint = CounterResetHint::Gauge;
        result.compact();
        if rate {
            result.div(interval as f64 / 1000.0);
        }
        Found::Hist(result)
    }

    /// `irate` or `idelta` of the last two samples of a mixed window.
    fn instant_mixed(
        &mut self,
        call: &RangeCall<'_>,
        samples: &RangeBuf,
        (lo, hi): (usize, usize),
        w: &Window<'_>,
    ) -> Found {
        let float_last = samples.t[hi - 1];
        let (hist_last, n) = (w.t[w.t.len() - 1], w.h.len());
        // The two newest samples of either kind.
        let hist_pair = n >= 2 && w.t[n - 2] > float_last;
        let float_pair = hi - lo >= 2 && samples.t[hi - 2] > hist_last;
        if hist_pair {
            return self.instant_histogram(call, w, n - 2);
        }
        if float_pair {
            let (t, f, st) = (&samples.t, &samples.f, &samples.st);
            let (a, b) = (hi - 2, hi - 1);
            let reset = st.len() > b && is_start_reset(st[a], t[a], st[b], t[b]);
            return instant_value((t[a], f[a]), (t[b], f[b]), call.name == "irate", reset)
                .map_or(Found::Nothing, Found::Float);
        }
        self.notes.mixed_floats_histograms(call.span, call.metric());
        Found::Nothing
    }

    /// `resets` and `changes` over samples of both kinds in the order of time.
    fn count_changes(
        &mut self,
        call: &RangeCall<'_>,
        samples: &RangeBuf,
        (lo, hi): (usize, usize),
        w: &Window<'_>,
    ) -> Found {
        enum Sample<'a> {
            Float(f64),
            Hist(&'a FloatHistogram),
        }
        let start_of = |list: &[i64], i: usize| list.get(i).copied().unwrap_or(0);
        let mut all: Vec<(i64, i64, Sample<'_>)> = (lo..hi)
            .map(|i| (samples.t[i], start_of(&samples.st, i), Sample::Float(samples.f[i])))
            .chain(w.h.iter().enumerate().map(|(i, h)| (w.t[i], start_of(w.st, i), Sample::Hist(h))))
            .collect();
        all.sort_by_key(|s| s.0);
        let mut from = 0;
        if call.spec.anchored {
            let start = call.spec.start(call.grid.time(w.step));
            let after = all.partition_point(|s| s.0 <= start);
            if after == all.len() {
                return Found::Nothing;
            }
            from = after.saturating_sub(1);
        }
        let resets = call.name == "resets";
        let mut count = 0;
        for pair in all[from..].windows(2) {
            let [(at, ast, a), (bt, bst, b)] = pair else { continue };
            let start_reset = resets && is_start_reset(*ast, *at, *bst, *bt);
            let counts = match (a, b) {
                (Sample::Float(a), Sample::Float(b)) if resets => b < a || start_reset,
                (Sample::Float(a), Sample::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
                (Sample::Hist(a), Sample::Hist(b)) if resets => start_reset || b.detect_reset(a),
                (Sample::Hist(a), Sample::Hist(b)) => !b.same_data(a),
                _ => true,
            };
            count += u32::from(counts);
        }
        Found::Float(f64::from(count))
    }
}
