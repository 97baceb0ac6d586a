//! Instant selectors: the newest sample of each series at each step.

use super::{Asked, Eval, Grid, Out, Sink};
use crate::QueryError;
use crate::column::Column;
use crate::plan::Selector;
use model::histogram::CounterResetHint;
use model::{FloatHistogram, Labels, METRIC_NAME, TimeRange, is_stale_nan};
use promql::Span;
use std::sync::Arc;
use storage::select::Newest;
use storage::{SampleBuf, Series};

impl Eval<'_> {
    pub(super) fn instant(
        &mut self,
        selector: &Selector,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if selector.smoothed {
            return self.smoothed(selector, span, grid, sink);
        }
        let asked = self.asked;
        if let Some(newest) = self.newest_at_hand(selector, grid)? {
            return self.instant_at_hand(selector, grid, &newest, sink);
        }
        let series = self.series(selector.fetch)?;
        let range = self.newest_range(selector, grid);
        let (mut buf, mut plan) = (SampleBuf::default(), StepPlan::default());
        for series in self.of_part(&series) {
            buf.clear();
            match (grid.is_single(), selector.stats_only) {
                (true, false) => series.newest(range, &mut buf)?,
                (_, false) => series.read(range, &mut buf)?,
                (_, true) => {
                    series.read(range, &mut buf)?;
                    let steps = (0..grid.steps).map(|step| selector.reference(grid.time(step)));
                    let leaps = leaps(&buf.times, steps, self.lookback);
                    thin(&mut buf, &leaps);
                }
            }
            self.watch.check(buf.len() + grid.steps + 16)?;
            if buf.is_empty() {
                continue;
            }
            let mut column = self.column(grid.steps);
            // Looked at without an early end, so that the loop is done in wide registers.
            let stale = buf.floats.iter().fold(false, |any, v| any | is_stale_nan(*v));
            if buf.histograms.is_empty() && !stale && !grid.is_single() {
                plan.make(&buf.times, |step| selector.reference(grid.time(step)), grid.steps, self.lookback);
                plan.fill(&buf.floats, &mut column);
            } else {
                self.pick(selector, grid, &buf, &mut column, &put);
            }
            self.frame.add_column(&column);
            // Histograms may need their name for annotations.
            let bare = asked == Asked::Nothing && !column.has_hists();
            let labels = if bare { Labels::empty() } else { series.shown() };
            sink(self, Out { labels, drop_name: false, column })?;
        }
        Ok(())
    }

    /// A single step whose samples need not be read from their series.
    fn instant_at_hand(
        &mut self,
        selector: &Selector,
        grid: Grid,
        newest: &Newest,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let bare = self.asked == Asked::Nothing;
        let range = self.newest_range(selector, grid);
        let mut buf = SampleBuf::default();
        let mut others = newest.others.iter().peekable();
        for (place, (labels, (_, v))) in newest.labels.iter().zip(&newest.samples).enumerate() {
            self.watch.check(17)?;
            let mut column = self.column(1);
            let mut of = None;
            if let Some((_, series)) = others.next_if(|(at, _)| *at == place) {
                buf.clear();
                series.newest(range, &mut buf)?;
                self.watch.check(buf.len())?;
                self.pick(selector, grid, &buf, &mut column, &put);
                of = Some(series);
            } else if !is_stale_nan(*v) {
                column.set(0, *v);
            }
            self.frame.add_column(&column);
            let labels = match of {
                // Histograms may need their name for annotations.
                Some(series) if column.has_hists() => series.shown(),
                _ if bare => Labels::empty(),
                _ => labels.clone(),
            };
            sink(self, Out { labels, drop_name: false, column })?;
        }
        Ok(())
    }

    /// Times of all samples that the steps may see.
    pub(super) fn newest_range(&self, selector: &Selector, grid: Grid) -> TimeRange {
        let (first, last) = (selector.reference(grid.start), selector.reference(grid.last()));
        TimeRange::new(first.saturating_sub(self.lookback).saturating_add(1), last)
    }

    /// Calls `put` with the index of the newest sample within the look-back, for each step that has one.
    fn pick(
        &self,
        selector: &Selector,
        grid: Grid,
        buf: &SampleBuf,
        column: &mut Column,
        put: &impl Fn(&SampleBuf, usize, usize, &mut Column),
    ) {
        let mut next = 0;
        for step in 0..grid.steps {
            let reference = selector.reference(grid.time(step));
            while next < buf.times.len() && buf.times[next] <= reference {
                next += 1;
            }
            if next > 0 && buf.times[next - 1] > reference.saturating_sub(self.lookback) {
                put(buf, next - 1, step, column);
            }
        }
    }

    /// `timestamp(x)` and `start_timestamp(x)`: seconds of the newest sample, or of its start.
    pub(super) fn sample_times(
        &mut self,
        selector: &Selector,
        grid: Grid,
        of_start: bool,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let loaded = self.newest_range(selector, grid);
        let mut selector = selector.clone();
        if selector.at.is_some() {
            // Upstream forgets the offset when it looks at the samples that it has loaded with it.
            selector.offset = 0;
        }
        let seen = self.newest_range(&selector, grid);
        let range = TimeRange::new(loaded.min.max(seen.min), loaded.max.min(seen.max));
        self.newest(&selector, range, grid, sink, |buf, at, step, column| {
            let stale = match histogram_at(buf, at) {
                Some(h) => is_stale_nan(h.sum),
                None => is_stale_nan(buf.floats[at]),
            };
            if !stale {
                let t = if of_start { buf.starts.get(at).copied().unwrap_or(0) } else { buf.times[at] };
                column.set(step, t as f64 / 1000.0);
            }
        })
    }

    /// Series whose columns `put` makes of the newest sample at each step.
    fn newest(
        &mut self,
        selector: &Selector,
        range: TimeRange,
        grid: Grid,
        sink: &mut Sink<'_>,
        put: impl Fn(&SampleBuf, usize, usize, &mut Column),
    ) -> Result<(), QueryError> {
        let series = self.series(selector.fetch)?;
        let mut buf = SampleBuf::default();
        for series in series.iter().filter(|_| range.min <= range.max) {
            buf.clear();
            read(&**series, range, selector.stats_only, &mut buf)?;
            self.watch.check(buf.len() + grid.steps + 16)?;
            if buf.is_empty() {
                continue;
            }
            let mut column = self.column(grid.steps);
            self.pick(selector, grid, &buf, &mut column, &put);
            self.frame.add_column(&column);
            sink(self, Out { labels: series.shown(), drop_name: false, column })?;
        }
        Ok(())
    }

    /// `x smoothed`: interpolated between the samples around each step.
    fn smoothed(
        &mut self,
        selector: &Selector,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let series = self.series(selector.fetch)?;
        let (first, last) = (selector.reference(grid.start), selector.reference(grid.last()));
        let lookback = self.lookback;
        let range =
            TimeRange::new(first.saturating_sub(lookback).saturating_add(1), last.saturating_add(lookback));
        let (mut buf, mut samples) = (SampleBuf::default(), super::RangeBuf::default());
        for series in self.of_part(&series) {
            buf.clear();
            read(&**series, range, selector.stats_only, &mut buf)?;
            self.watch.check(buf.len() + grid.steps + 16)?;
            samples.fill(&mut buf, false);
            let mut column = self.column(grid.steps);
            let labels = series.shown();
            for step in 0..grid.steps {
                let t = selector.reference(grid.time(step));
                let window = |times: &[i64]| {
                    let lo = times.partition_point(|x| *x <= t.saturating_sub(lookback));
                    (lo, times.partition_point(|x| *x <= t.saturating_add(lookback)))
                };
                let ((lo, hi), (hlo, hhi)) = (window(&samples.t), window(&samples.ht));
                if lo < hi && hlo < hhi {
                    self.notes.mixed_floats_histograms(span, labels.value(METRIC_NAME));
                } else if hlo < hhi {
                    self.smooth_histogram(&samples, (hlo, hhi), t, step, span, &labels, &mut column);
                } else if lo < hi {
                    let (times, values) = (&samples.t[lo..hi], &samples.f[lo..hi]);
                    let i = times.partition_point(|x| *x < t);
                    if i < times.len() && times[i] == t {
                        column.set(step, values[i]);
                    } else if i > 0 && i < times.len() {
                        let v = super::rate::interpolate(
                            (times[i - 1], values[i - 1]),
                            (times[i], values[i]),
                            t,
                            false,
                        );
                        column.set(step, v);
                    } else if i > 0 {
                        column.set(step, values[i - 1]);
                    }
                }
            }
            sink(self, Out { labels, drop_name: false, column })?;
        }
        Ok(())
    }
}

/// For each step, the index of its newest sample. Kept between series, since series of one target have the same
/// times.
#[derive(Debug, Default)]
struct StepPlan {
    times: Vec<i64>,
    /// 0 where there is none.
    at: Vec<u32>,
    /// Steps that have one.
    present: Vec<u64>,
}

impl StepPlan {
    fn make(&mut self, times: &[i64], reference: impl Fn(usize) -> i64, steps: usize, lookback: i64) {
        if self.at.len() == steps && self.times == times {
            return;
        }
        self.times.clear();
        self.times.extend_from_slice(times);
        self.at.clear();
        self.at.resize(steps, 0);
        self.present.clear();
        self.present.resize(steps.div_ceil(64), 0);
        let mut next = 0;
        for step in 0..steps {
            let reference = reference(step);
            while next < times.len() && times[next] <= reference {
                next += 1;
            }
            if next > 0 && times[next - 1] > reference.saturating_sub(lookback) {
                self.at[step] = (next - 1) as u32;
                self.present[step / 64] |= 1 << (step % 64);
            }
        }
    }

    fn fill(&self, floats: &[f64], column: &mut Column) {
        for (value, at) in column.values.iter_mut().zip(&self.at) {
            *value = floats[*at as usize];
        }
        column.present.copy_from_slice(&self.present);
    }
}

/// Reads samples of a series. With `stats_only`, histograms lose their buckets; see [`thin`].
pub(super) fn read(
    series: &dyn Series,
    range: TimeRange,
    stats_only: bool,
    buf: &mut SampleBuf,
) -> Result<(), QueryError> {
    series.read(range, buf)?;
    if stats_only {
        thin(buf, &[]);
    }
    Ok(())
}

/// Takes the buckets from histograms. What these say of counter resets is found out before, but not across `leaps`:
/// the samples before which upstream passed over others, and so knows of none before them.
pub(super) fn thin(buf: &mut SampleBuf, leaps: &[usize]) {
    let mut before: Option<Arc<FloatHistogram>> = None;
    let mut leaps = leaps.iter().peekable();
    for (at, h) in &mut buf.histograms {
        while leaps.next_if(|leap| **leap <= *at as usize).is_some() {
            before = None;
        }
        let mut thin = FloatHistogram {
            counter_reset_hint: h.counter_reset_hint,
            schema: h.schema,
            count: h.count,
            sum: h.sum,
            ..FloatHistogram::default()
        };
        if !is_stale_nan(h.sum) {
            if let (CounterResetHint::Unknown, Some(before)) = (h.counter_reset_hint, &before) {
                let reset = h.detect_reset(before);
                thin.counter_reset_hint =
                    if reset { CounterResetHint::CounterReset } else { CounterResetHint::NotCounterReset };
            }
            before = Some(h.clone());
        }
        *h = Arc::new(thin);
    }
}

/// Where one lands who looks at the samples up to each of `steps`, at least `back` before it, and goes on from there.
pub(super) fn leaps(times: &[i64], steps: impl Iterator<Item = i64>, back: i64) -> Vec<usize> {
    let (mut at, mut found) = (0, Vec::new());
    for step in steps {
        let from = step.saturating_sub(back);
        if times.get(at).is_some_and(|t| from > *t) {
            at += times[at..].partition_point(|t| *t < from);
            found.push(at);
        }
        at += times[at..].partition_point(|t| *t < step);
        if at == times.len() {
            break;
        }
    }
    found
}

/// Stores sample `at` in the step's slot, unless it is a stale marker.
fn put(buf: &SampleBuf, at: usize, step: usize, column: &mut Column) {
    match histogram_at(buf, at) {
        Some(h) if !is_stale_nan(h.sum) => column.push_hist(step, h.clone()),
        Some(_) => {}
        None => {
            let v = buf.floats[at];
            if !is_stale_nan(v) {
                column.set(step, v);
            }
        }
    }
}

fn histogram_at(buf: &SampleBuf, at: usize) -> Option<&Arc<FloatHistogram>> {
    if buf.histograms.is_empty() {
        return None;
    }
    let found = buf.histograms.binary_search_by_key(&(at as u32), |(i, _)| *i).ok()?;
    Some(&buf.histograms[found].1)
}

#[cfg(test)]
mod tests {
    use super::leaps;

    #[test]
    fn samples_are_passed_over_between_distant_steps() {
        let times = [0, 10, 20, 30, 40, 50, 60];
        // Steps closer than what they look back at.
        assert_eq!(leaps(&times, [0, 10, 25, 60].into_iter(), 100), [0usize; 0]);
        // The steps look at what is not older than 5, 35 and 55.
        assert_eq!(leaps(&times, [10, 40, 60].into_iter(), 5), [1, 4, 6]);
        assert_eq!(leaps(&times, [10, 200].into_iter(), 5), [1, 7]);
    }
}
