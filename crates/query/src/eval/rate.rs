//! `rate`, `increase`, `delta`, `irate`, `idelta`, `resets` and `changes` on floats.

use super::range::RangeCall;
use super::window::{Edge, Windows};
use super::{Eval, RangeBuf};
use crate::column::Column;
use crate::eval::over_time::each;

/// Whether a start timestamp says that the counter began anew between two samples.
pub(super) fn is_start_reset(prev_start: i64, prev_t: i64, start: i64, t: i64) -> bool {
    // Unknown, or equal to or behind its own sample: says nothing.
    if start == 0 || start >= t || start < prev_t {
        return false;
    }
    if start > prev_t {
        return true;
    }
    // It points at the sample before: a delta series, unless that one's start is unknown too.
    prev_start <= prev_t && prev_start != 0 && prev_start != prev_t
}

/// Whether a sample's start lies before the sample before without being the same start.
pub(super) fn starts_overlap(prev_start: i64, prev_t: i64, start: i64) -> bool {
    start != 0 && start < prev_t && start != prev_start
}

/// Straight line between two samples; a counter that fell is taken to have started from 0.
pub(super) fn interpolate(a: (i64, f64), b: (i64, f64), t: i64, counter: bool) -> f64 {
    let from = if counter && b.1 < a.1 { 0.0 } else { a.1 };
    from + (b.1 - from) * (t - a.0) as f64 / (b.0 - a.0) as f64
}

/// What the extrapolation of one window starts from.
pub(super) struct Extrapolation {
    pub(super) range_start: i64,
    pub(super) range_end: i64,
    pub(super) first_t: i64,
    pub(super) last_t: i64,
    /// Samples in the window.
    pub(super) count: usize,
    /// Start timestamp of the first sample, if it counts as a sample of 0 inside the window.
    pub(super) start: Option<i64>,
    /// Seconds that a per-second rate divides by.
    pub(super) per: Option<f64>,
}

impl Extrapolation {
    /// The factor from the increase between samples to that of the range. `zero` gives, from the sampled
    /// interval in seconds, how long before the first sample the counter was 0. `None`: not enough samples.
    pub(super) fn factor(&self, zero: impl FnOnce(f64) -> Option<f64>) -> Option<f64> {
        let mut to_start = (self.first_t - self.range_start) as f64 / 1000.0;
        let mut to_end = (self.range_end - self.last_t) as f64 / 1000.0;
        let mut sampled = (self.last_t - self.first_t) as f64 / 1000.0;
        let average = if self.count > 1 { sampled / (self.count - 1) as f64 } else { 0.0 };
        let threshold = average * 1.1;
        if let Some(start) = self.start {
            to_start = 0.0;
            sampled = (self.last_t - start) as f64 / 1000.0;
        } else if self.count < 2 {
            return None;
        } else {
            if to_start >= threshold {
                to_start = average / 2.0;
            }
            if let Some(to_zero) = zero(sampled)
                && to_zero < to_start
            {
                to_start = to_zero;
            }
        }
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        let mut factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
        if let Some(seconds) = self.per {
            factor /= seconds;
        }
        Some(factor)
    }

    /// The start timestamp that replaces extrapolation to the left.
    pub(super) fn usable_start(starts: &[i64], lo: usize, range_start: i64, first_t: i64) -> Option<i64> {
        starts.get(lo).copied().filter(|&s| s != 0 && s > range_start && s < first_t)
    }
}

impl Eval<'_> {
    /// `rate`, `increase` and `delta`, extrapolated to the borders of the window.
    pub(super) fn extrapolated(
        &mut self,
        call: &RangeCall<'_>,
        samples: &RangeBuf,
        windows: &mut Windows,
        out: &mut Column,
    ) {
        let counter = call.name != "delta";
        let per = (call.name == "rate").then_some(call.spec.range as f64 / 1000.0);
        let (t, f, st) = (&samples.t[..], &samples.f[..], &samples.st[..]);
        let (mut resets, mut overlaps) = (Vec::new(), Vec::new());
        // Most counters never fall; that is found out without branches.
        let falls = f.iter().zip(f.iter().skip(1)).fold(false, |any, (a, b)| any | (b < a));
        if counter && (falls || !st.is_empty()) {
            for i in 1..f.len() {
                if f[i] < f[i - 1] || (!st.is_empty() && is_start_reset(st[i - 1], t[i - 1], st[i], t[i])) {
                    resets.push(i);
                }
                if !st.is_empty() && starts_overlap(st[i - 1], t[i - 1], st[i]) {
                    overlaps.push(i);
                }
            }
        }
        if st.is_empty() {
            windows.edges(|step, first_t, last_t, count| edge(call, per, step, first_t, last_t, count));
            return without_starts(counter, per, f, &resets, windows, out);
        }
        let mut overlapping = 0;
        // First reset at or behind the window's second sample; windows only move forward.
        let mut reset_at = 0;
        each(windows, out, |step, lo, hi| {
            let mut increase = f[hi - 1] - f[lo];
            while reset_at < resets.len() && resets[reset_at] <= lo {
                reset_at += 1;
            }
            for &i in resets[reset_at..].iter().take_while(|i| **i < hi) {
                increase += f[i - 1];
            }
            let step_t = call.grid.time(step);
            let (range_start, range_end) = (call.spec.start(step_t), call.spec.end(step_t));
            // Among histograms the floats count for nothing.
            let alone = || !samples.ht.iter().any(|t| range_start < *t && *t <= range_end);
            if overlaps.iter().any(|i| lo < *i && *i < hi) && alone() {
                overlapping += 1;
            }
            let start = if counter { Extrapolation::usable_start(st, lo, range_start, t[lo]) } else { None };
            let window = Extrapolation {
                range_start,
                range_end,
                first_t: t[lo],
                last_t: t[hi - 1],
                count: hi - lo,
                start,
                per,
            };
            let factor = window.factor(|sampled| {
                (counter && increase > 0.0 && f[lo] >= 0.0).then(|| sampled * (f[lo] / increase))
            })?;
            if start.is_some() {
                increase += f[lo];
            }
            Some(increase * factor)
        });
        if overlapping > 0 {
            self.notes.start_time_overlap(call.span, call.metric(), overlapping);
        }
    }
}

/// How a window lies in its range, as [`Extrapolation::factor`] sees it without start timestamps.
fn edge(
    call: &RangeCall<'_>,
    per: Option<f64>,
    step: usize,
    first_t: i64,
    last_t: i64,
    count: usize,
) -> Edge {
    let step_t = call.grid.time(step);
    let mut to_start = (first_t - call.spec.start(step_t)) as f64 / 1000.0;
    let mut to_end = (call.spec.end(step_t) - last_t) as f64 / 1000.0;
    let sampled = (last_t - first_t) as f64 / 1000.0;
    let average = sampled / (count - 1) as f64;
    let threshold = average * 1.1;
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    Edge { to_start, to_end, sampled, factor: factor(to_start, to_end, sampled, per) }
}

#[inline(always)]
fn factor(to_start: f64, to_end: f64, sampled: f64, per: Option<f64>) -> f64 {
    let factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    per.map_or(factor, |seconds| factor / seconds)
}

/// The extrapolated values of all windows, with what does not depend on values taken from the windows' edges.
fn without_starts(
    counter: bool,
    per: Option<f64>,
    f: &[f64],
    resets: &[usize],
    windows: &Windows,
    out: &mut Column,
) {
    // First reset at or behind the window's second sample; windows only move forward.
    let mut reset_at = 0;
    let mut value = |lo: usize, hi: usize, edge: &Edge| {
        let first = f[lo];
        let mut increase = f[hi - 1] - first;
        if !resets.is_empty() {
            while reset_at < resets.len() && resets[reset_at] <= lo {
                reset_at += 1;
            }
            for &i in resets[reset_at..].iter().take_while(|i| **i < hi) {
                increase += f[i - 1];
            }
        }
        if counter && increase > 0.0 && first >= 0.0 {
            // Far above 0 at the beginning, as most counters are, no division is needed to see that.
            let near = edge.to_start * increase * (1.0 + 1e-6);
            if !(near > 1e-280 && first * edge.sampled > near) {
                let to_zero = edge.sampled * (first / increase);
                if to_zero < edge.to_start {
                    return increase * factor(to_zero, edge.to_end, edge.sampled, per);
                }
            }
        }
        increase * edge.factor
    };
    if windows.part.len() < out.steps() {
        return each(windows, out, |step, lo, hi| (hi - lo >= 2).then(|| value(lo, hi, windows.edge(step))));
    }
    // All at once: which steps have a value is known from the times.
    let bounds = windows.lo.iter().zip(&windows.hi);
    for ((slot, (lo, hi)), edge) in out.values.iter_mut().zip(bounds).zip(windows.all_edges()) {
        if hi - lo >= 2 {
            *slot = value(*lo as usize, *hi as usize, edge);
        }
    }
    out.present.copy_from_slice(windows.paired());
}

/// First and last sample that an extended range needs, out of those in the wider window; `None` when there is
/// nothing to measure.
pub(super) fn extended_bounds(times: &[i64], start: i64, end: i64, smoothed: bool) -> Option<(usize, usize)> {
    let mut last = times.len().checked_sub(1)?;
    let first = times[..last].partition_point(|t| *t <= start).saturating_sub(1);
    if smoothed {
        last = times[..last].partition_point(|t| *t < end);
    }
    if times[last] <= start || (smoothed && times[first] > end) {
        return None;
    }
    Some((first, last))
}

/// Value at the left border.
pub(super) fn left_value(
    t: &[i64],
    f: &[f64],
    first: usize,
    start: i64,
    smoothed: bool,
    counter: bool,
) -> f64 {
    if smoothed && t[first] < start {
        return interpolate((t[first], f[first]), (t[first + 1], f[first + 1]), start, counter);
    }
    f[first]
}

/// Value at the right border.
pub(super) fn right_value(t: &[i64], f: &[f64], last: usize, end: i64, smoothed: bool, counter: bool) -> f64 {
    if smoothed && last > 0 && t[last] > end {
        return interpolate((t[last - 1], f[last - 1]), (t[last], f[last]), end, counter);
    }
    f[last]
}

/// `rate`, `increase` and `delta` with `anchored` or `smoothed`.
pub(super) fn extended(call: &RangeCall<'_>, t: &[i64], f: &[f64], windows: &Windows, out: &mut Column) {
    let counter = call.name != "delta";
    each(windows, out, |step, lo, hi| {
        let step_t = call.grid.time(step);
        let (start, end) = (call.spec.start(step_t), call.spec.end(step_t));
        extended_value(&t[lo..hi], &f[lo..hi], start, end, call.spec.smoothed, counter)
            .map(|v| if call.name == "rate" { v / (call.spec.range as f64 / 1000.0) } else { v })
    });
}

fn extended_value(t: &[i64], f: &[f64], start: i64, end: i64, smoothed: bool, counter: bool) -> Option<f64> {
    let (mut first, last) = extended_bounds(t, start, end, smoothed)?;
    let left = left_value(t, f, first, start, smoothed, counter);
    let right = right_value(t, f, last, end, smoothed, counter);
    let mut result = right - left;
    if counter {
        // Resets at the borders are in the interpolated values already.
        if t[first] <= start {
            first += 1;
        }
        let past = if t[last] >= end { last } else { last + 1 };
        let (mut before, mut correction) = (left, 0.0);
        for &v in f.get(first..past).unwrap_or(&[]) {
            if v < before {
                correction += before;
            }
            before = v;
        }
        if right < before {
            correction += before;
        }
        result += correction;
    }
    Some(result)
}

/// `irate` and `idelta`: the last two samples.
pub(super) fn instant(call: &RangeCall<'_>, samples: &RangeBuf, windows: &Windows, out: &mut Column) {
    let rate = call.name == "irate";
    let (t, f, st) = (&samples.t, &samples.f, &samples.st);
    each(windows, out, |_, lo, hi| {
        if hi - lo < 2 {
            return None;
        }
        let (a, b) = (hi - 2, hi - 1);
        instant_value(
            (t[a], f[a]),
            (t[b], f[b]),
            rate,
            !st.is_empty() && is_start_reset(st[a], t[a], st[b], t[b]),
        )
    });
}

pub(super) fn instant_value(a: (i64, f64), b: (i64, f64), rate: bool, start_reset: bool) -> Option<f64> {
    let interval = b.0 - a.0;
    if interval == 0 {
        return None;
    }
    let reset = rate && (b.1 < a.1 || start_reset);
    let value = if reset { b.1 } else { b.1 - a.1 };
    Some(if rate { value / (interval as f64 / 1000.0) } else { value })
}

/// Counts falls, or any changes, between neighbouring samples.
pub(super) fn resets_or_changes(
    call: &RangeCall<'_>,
    samples: &RangeBuf,
    windows: &Windows,
    out: &mut Column,
) {
    let (t, f, st) = (&samples.t, &samples.f, &samples.st);
    let resets = call.name == "resets";
    // `before[i]`: how many of the pairs ending at sample 1…i counted.
    let mut before = vec![0u32; f.len()];
    for i in 1..f.len() {
        let counts = if resets {
            f[i] < f[i - 1] || (!st.is_empty() && is_start_reset(st[i - 1], t[i - 1], st[i], t[i]))
        } else {
            f[i] != f[i - 1] && !(f[i].is_nan() && f[i - 1].is_nan())
        };
        before[i] = before[i - 1] + u32::from(counts);
    }
    each(windows, out, |step, lo, hi| {
        let lo = if call.spec.anchored {
            // The newest sample up to the start of the range is where counting begins.
            let start = call.spec.start(call.grid.time(step));
            let at = lo + t[lo..hi].partition_point(|t| *t <= start);
            if at == hi {
                return None;
            }
            at.saturating_sub(1).max(lo)
        } else {
            lo
        };
        Some(f64::from(before[hi - 1] - before[lo]))
    });
}

/// Samples of an extended range as a result: both borders and what lies between.
pub(super) fn extended_points(t: &[i64], f: &[f64], start: i64, end: i64, smoothed: bool) -> Vec<(i64, f64)> {
    let Some(mut last) = t.len().checked_sub(1) else { return Vec::new() };
    let mut first = t[..last].partition_point(|t| *t <= start).saturating_sub(1);
    if smoothed {
        last = t[..last].partition_point(|t| *t < end);
    }
    if t[last] <= start {
        return Vec::new();
    }
    let left = left_value(t, f, first, start, smoothed, false);
    let right = right_value(t, f, last, end, smoothed, false);
    if t[first] <= start {
        first += 1;
    }
    let past = if t[last] >= end { last } else { last + 1 };
    let mut points = vec![(start, left)];
    points.extend((first..past).map(|i| (t[i], f[i])));
    points.push((end, right));
    points
}
