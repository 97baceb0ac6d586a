//! Range vectors: samples of one series, and which of them lie in the window of each step.

use super::{Eval, Frame, Grid};
use crate::QueryError;
use crate::budget::histogram_samples;
use crate::plan::{Node, Op};
use crate::value::Points;
use model::{FloatHistogram, Labels, TimeRange, is_stale_nan};
use std::ops::Range;
use std::sync::Arc;
use storage::{SampleBuf, Series};

/// Samples of one series without stale markers; floats and histograms apart, each in time order.
#[derive(Debug, Default)]
pub(crate) struct RangeBuf {
    pub(crate) t: Vec<i64>,
    pub(crate) f: Vec<f64>,
    /// Start timestamps of the floats; empty when not wanted or not known.
    pub(crate) st: Vec<i64>,
    pub(crate) ht: Vec<i64>,
    pub(crate) h: Vec<Arc<FloatHistogram>>,
    pub(crate) hst: Vec<i64>,
}

impl RangeBuf {
    fn clear(&mut self) {
        self.t.clear();
        self.f.clear();
        self.st.clear();
        self.ht.clear();
        self.h.clear();
        self.hst.clear();
    }

    /// Takes over what was read. `buf` is unspecified afterwards.
    pub(crate) fn fill(&mut self, buf: &mut SampleBuf, want_starts: bool) {
        self.clear();
        let starts = want_starts && !buf.starts.is_empty();
        if starts {
            buf.starts.resize(buf.times.len(), 0);
        }
        // Looked at without an early end, so that the loop is done in wide registers.
        let stale = buf.floats.iter().fold(false, |any, v| any | is_stale_nan(*v));
        if buf.histograms.is_empty() && !stale {
            std::mem::swap(&mut self.t, &mut buf.times);
            std::mem::swap(&mut self.f, &mut buf.floats);
            if starts {
                std::mem::swap(&mut self.st, &mut buf.starts);
            }
            return;
        }
        let mut hists = buf.histograms.drain(..).peekable();
        for (i, (&t, &v)) in buf.times.iter().zip(&buf.floats).enumerate() {
            match hists.next_if(|(at, _)| *at as usize == i) {
                Some((_, h)) => {
                    if !is_stale_nan(h.sum) {
                        self.ht.push(t);
                        self.h.push(h);
                        if starts {
                            self.hst.push(buf.starts[i]);
                        }
                    }
                }
                None if is_stale_nan(v) => {}
                None => {
                    self.t.push(t);
                    self.f.push(v);
                    if starts {
                        self.st.push(buf.starts[i]);
                    }
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.t.is_empty() && self.ht.is_empty()
    }
}

/// Windows of a range vector relative to the steps: `(t - offset - range, t - offset]`, wider for extended
/// selectors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowSpec {
    pub(crate) range: i64,
    pub(crate) offset: i64,
    pub(crate) at: Option<i64>,
    pub(crate) anchored: bool,
    pub(crate) smoothed: bool,
    /// How much earlier the window opens, and how much later it closes, than the range.
    before: i64,
    after: i64,
    pub(crate) subquery: bool,
}

impl WindowSpec {
    pub(crate) fn of(node: &Node, lookback: i64) -> Option<Self> {
        let spec = |range, offset, at, anchored, smoothed, subquery| WindowSpec {
            range,
            offset,
            at,
            anchored,
            smoothed,
            before: if anchored || smoothed { lookback } else { 0 },
            after: if smoothed { lookback } else { 0 },
            subquery,
        };
        match &node.op {
            Op::Window(w) => {
                let s = &w.selector;
                Some(spec(w.range, s.offset, s.at, s.anchored, s.smoothed, false))
            }
            Op::Subquery(s) => Some(spec(s.range, s.offset, s.at, false, false, true)),
            _ => None,
        }
    }

    /// End of the range at `t`.
    pub(crate) fn end(&self, t: i64) -> i64 {
        self.at.unwrap_or(t).saturating_sub(self.offset)
    }

    /// Start of the range at `t`; it is not part of the range.
    pub(crate) fn start(&self, t: i64) -> i64 {
        self.end(t).saturating_sub(self.range)
    }

    /// The window at `t`: (after this, up to this).
    fn window(&self, t: i64) -> (i64, i64) {
        (self.start(t).saturating_sub(self.before), self.end(t).saturating_add(self.after))
    }
}

/// For each step, the samples in its window as a range of indexes. Kept between series, since series of one
/// target have the same times.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    times: Vec<i64>,
    pub(crate) lo: Vec<u32>,
    pub(crate) hi: Vec<u32>,
    /// The steps that window functions work on now; long series are done in parts, to look at the clock in
    /// between.
    pub(crate) part: Range<usize>,
    /// Samples in all windows, and those that no window before had.
    pub(crate) total: usize,
    pub(crate) fresh: usize,
    widest: usize,
    /// What extrapolation needs of each window that has samples enough, made when first asked for.
    edges: Vec<Edge>,
    /// Steps whose windows have two or more samples; made together with `edges`.
    paired: Vec<u64>,
    made: bool,
}

/// How a window of two or more samples lies in its range, in seconds; the same for all series of a target.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Edge {
    /// How far to extrapolate beyond the first and the last sample.
    pub(crate) to_start: f64,
    pub(crate) to_end: f64,
    /// Between the first and the last sample.
    pub(crate) sampled: f64,
    /// From the increase between samples to that of the range, if the counter was not 0 before.
    pub(crate) factor: f64,
}

impl Windows {
    pub(crate) fn plan(&mut self, times: &[i64], spec: &WindowSpec, grid: Grid) {
        if self.made && self.times == times {
            return;
        }
        self.made = true;
        self.edges.clear();
        self.find(times, spec, grid);
        (self.total, self.fresh, self.widest) = (0, 0, 0);
        let mut before = 0;
        for (&lo, &hi) in self.lo.iter().zip(&self.hi) {
            self.total += (hi - lo) as usize;
            self.fresh += (hi - lo.max(before).min(hi)) as usize;
            self.widest = self.widest.max((hi - lo) as usize);
            before = hi;
        }
    }

    /// What extrapolation needs of each window; see [`Edge`].
    pub(crate) fn edges(&mut self, make: impl Fn(usize, i64, i64, usize) -> Edge) {
        if !self.edges.is_empty() {
            return;
        }
        self.paired.clear();
        self.paired.resize(self.lo.len().div_ceil(64), 0);
        for (step, (&lo, &hi)) in self.lo.iter().zip(&self.hi).enumerate() {
            let (lo, hi) = (lo as usize, hi as usize);
            if hi - lo >= 2 {
                self.paired[step / 64] |= 1 << (step % 64);
            }
            let edge = if hi - lo < 2 {
                Edge::default()
            } else {
                make(step, self.times[lo], self.times[hi - 1], hi - lo)
            };
            self.edges.push(edge);
        }
    }

    pub(crate) fn all_edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Steps whose windows have two or more samples, as a bit set.
    pub(crate) fn paired(&self) -> &[u64] {
        &self.paired
    }

    #[inline(always)]
    pub(crate) fn edge(&self, step: usize) -> &Edge {
        &self.edges[step]
    }

    fn find(&mut self, times: &[i64], spec: &WindowSpec, grid: Grid) {
        self.times.clear();
        self.times.extend_from_slice(times);
        self.lo.clear();
        self.hi.clear();
        self.part = 0..grid.steps;
        if spec.at.is_some() {
            let (after, upto) = spec.window(grid.start);
            let lo = times.partition_point(|t| *t <= after) as u32;
            let hi = times.partition_point(|t| *t <= upto) as u32;
            self.lo.resize(grid.steps, lo);
            self.hi.resize(grid.steps, hi.max(lo));
            return;
        }
        self.lo.reserve(grid.steps);
        self.hi.reserve(grid.steps);
        let (mut lo, mut hi) = (0, 0);
        for step in 0..grid.steps {
            let (after, upto) = spec.window(grid.time(step));
            while lo < times.len() && times[lo] <= after {
                lo += 1;
            }
            hi = hi.max(lo);
            while hi < times.len() && times[hi] <= upto {
                hi += 1;
            }
            self.lo.push(lo as u32);
            self.hi.push(hi as u32);
        }
    }

    #[inline(always)]
    pub(crate) fn at(&self, step: usize) -> (usize, usize) {
        (self.lo[step] as usize, self.hi[step] as usize)
    }

    /// Sets `part` to the steps from `from` on that have about `work` samples in their windows, and gives its
    /// end and its true work.
    pub(crate) fn take_part(&mut self, from: usize, work: usize) -> (usize, usize) {
        let (mut end, mut sum) = (from, 0);
        while end < self.lo.len() && sum < work {
            sum += (self.hi[end] - self.lo[end]) as usize + 1;
            end += 1;
        }
        self.part = from..end;
        (end, sum)
    }

    /// Most samples in a window.
    pub(crate) fn widest(&self) -> usize {
        self.widest
    }
}

/// A series of a range vector.
pub(crate) struct Ranged<'a> {
    /// What the fetch shows of its labels.
    pub(crate) labels: &'a Labels,
    /// Its name is to be dropped.
    pub(crate) drop_name: bool,
    /// Where it comes from, unless it was computed.
    pub(crate) source: Option<&'a dyn Series>,
}

impl Ranged<'_> {
    /// Digest of all labels.
    pub(super) fn digest(&self) -> u128 {
        self.source.map_or_else(|| storage::digest::labels(self.labels), Series::digest)
    }
}

/// Called with each series of a range vector and its samples.
type Each<'s> = dyn FnMut(&mut Eval<'_>, Ranged<'_>, &RangeBuf) -> Result<(), QueryError> + 's;

impl Eval<'_> {
    /// Hands the series of a range vector to `each`, with all samples that any step's window needs.
    pub(crate) fn ranges(
        &mut self,
        node: &Node,
        grid: Grid,
        want_starts: bool,
        each: &mut Each<'_>,
    ) -> Result<(), QueryError> {
        match &node.op {
            Op::Window(w) => {
                let Some(spec) = WindowSpec::of(node, self.lookback) else { return Ok(()) };
                let series = self.series(w.selector.fetch)?;
                let (after, _) = spec.window(grid.start);
                let (_, upto) = spec.window(grid.last());
                let range = TimeRange::new(after.saturating_add(1), upto);
                let (mut buf, mut samples) = (SampleBuf::default(), RangeBuf::default());
                for series in self.of_part(&series) {
                    buf.clear();
                    super::selector::read(&**series, range, false, &mut buf)?;
                    if w.selector.stats_only {
                        let steps = (0..grid.steps).map(|step| spec.window(grid.time(step)).1);
                        let back = if grid.is_single() { w.range } else { w.range.min(grid.step) };
                        let leaps = super::selector::leaps(&buf.times, steps, back);
                        super::selector::thin(&mut buf, &leaps);
                    }
                    self.watch.check(buf.len() + 16)?;
                    if buf.is_empty() {
                        continue;
                    }
                    samples.fill(&mut buf, want_starts);
                    if !samples.is_empty() {
                        let labels = series.shown();
                        let one = Ranged { labels: &labels, drop_name: false, source: Some(&**series) };
                        each(self, one, &samples)?;
                    }
                }
                Ok(())
            }
            Op::Subquery(s) => {
                let inner = s.grid(grid);
                let mut samples = RangeBuf::default();
                // What is wrong with a subquery is said before what its caller finds wrong with the samples.
                let mut fault = None;
                self.enter(Frame::tracking(inner.steps.min(MAX_TRACKED)));
                let run = self.vector(&s.child, inner, &mut |ev, out| {
                    if fault.is_some() {
                        ev.recycle(out.column);
                        return Ok(());
                    }
                    samples.clear();
                    for (step, v) in out.column.floats() {
                        samples.t.push(inner.time(step));
                        samples.f.push(v);
                    }
                    for (step, h) in out.column.hists() {
                        samples.ht.push(inner.time(*step as usize));
                        samples.h.push(without_reset_hint(h));
                    }
                    ev.recycle(out.column);
                    // What the caller counts belongs to the caller.
                    let one = Ranged { labels: &out.labels, drop_name: out.drop_name, source: None };
                    match ev.outside(|ev| each(ev, one, &samples)) {
                        Err(QueryError::Execution(text)) => fault = Some(text),
                        other => other?,
                    }
                    Ok(())
                });
                let counts = self.leave();
                run?;
                if let Some(text) = fault {
                    return Err(QueryError::Execution(text));
                }
                self.inner_total = counts.total;
                self.merge_subquery(&counts, inner, grid, s.offset, s.range);
                Ok(())
            }
            Op::Invariant(child) => self.ranges(child, grid, want_starts, each),
            _ => Err(QueryError::exec(format!("expected a range vector, got a {}", node.ty.documented()))),
        }
    }
}

/// Steps of a subquery that are counted one by one; a grid is refused long before.
const MAX_TRACKED: usize = 1 << 31;

impl Eval<'_> {
    /// Reads of a subquery, counted at the first step of the caller that uses them; what falls between the
    /// windows of two steps is not counted.
    pub(crate) fn merge_subquery(
        &mut self,
        inner: &Frame,
        steps: Grid,
        outer: Grid,
        offset: i64,
        range: i64,
    ) {
        let Some((_, reads)) = &inner.per_step else { return };
        if outer.steps <= 1 {
            return self.frame.add(0, 0, inner.read);
        }
        for (k, &n) in reads.iter().enumerate().filter(|(_, n)| **n != 0) {
            let t = steps.time(k).saturating_add(offset);
            let step = if t > outer.start { (t - outer.start + outer.step - 1) / outer.step } else { 0 };
            let step = (step as usize).min(outer.steps - 1);
            if range > 0 && t <= outer.time(step).saturating_sub(range) {
                continue;
            }
            self.frame.add(step, 0, n);
        }
    }
}

/// A subquery may skip or repeat samples, so what their hints say does not hold between its points.
fn without_reset_hint(h: &Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    use model::histogram::CounterResetHint::{CounterReset, NotCounterReset, Unknown};
    if matches!(h.counter_reset_hint, CounterReset | NotCounterReset) {
        let mut copy = (**h).clone();
        copy.counter_reset_hint = Unknown;
        return Arc::new(copy);
    }
    h.clone()
}

/// Samples in the window, as upstream counts them.
pub(crate) fn window_samples(windows: (usize, usize), hists: &[Arc<FloatHistogram>]) -> usize {
    windows.1 - windows.0 + hists.iter().map(|h| histogram_samples(h)).sum::<usize>()
}

/// A series of a range vector as a result: labels, whether its name is to be dropped, points.
type RawSeries = (Labels, bool, Points);

impl Eval<'_> {
    /// Evaluates a range vector at a single step, as stored.
    pub(crate) fn raw_ranges(&mut self, node: &Node, grid: Grid) -> Result<Vec<RawSeries>, QueryError> {
        let Some(spec) = WindowSpec::of(node.unwrapped(), self.lookback) else {
            return Err(QueryError::exec("expected a range vector"));
        };
        let mut list = Vec::new();
        let t = grid.start;
        self.ranges(node, grid, false, &mut |ev, one, samples| {
            let mut floats: Vec<(i64, f64)> =
                samples.t.iter().copied().zip(samples.f.iter().copied()).collect();
            if spec.anchored || spec.smoothed {
                if !samples.h.is_empty() {
                    let modifier = if spec.anchored { "anchored" } else { "smoothed" };
                    return Err(QueryError::exec(format!(
                        "{modifier} modifier is not supported with histograms"
                    )));
                }
                floats = super::rate::extended_points(
                    &samples.t,
                    &samples.f,
                    spec.start(t),
                    spec.end(t),
                    spec.smoothed,
                );
            }
            let histograms: Vec<_> = samples.ht.iter().copied().zip(samples.h.iter().cloned()).collect();
            if floats.is_empty() && histograms.is_empty() {
                return Ok(());
            }
            let count = window_samples((0, floats.len()), &samples.h);
            ev.budget.add(count)?;
            ev.budget.hold(count * 16)?;
            if !spec.subquery {
                ev.frame.add(0, count as i64, count as i64);
            }
            list.push((one.labels.clone(), one.drop_name, Points::Raw { floats, histograms }));
            Ok(())
        })?;
        if spec.subquery {
            // Without a function around it, a subquery counts what its steps looked at.
            self.frame.add(0, self.inner_total, 0);
        }
        Ok(list)
    }
}
