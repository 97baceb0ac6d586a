//! Functions over range vectors: set-up, windows, and what is counted.

use super::absent::Presence;
use super::window::{WindowSpec, Windows, window_samples};
use super::{Asked, Eval, Grid, Out, RangeBuf, SAME_LABELS, Sink, drop_metadata};
use crate::QueryError;
use crate::budget::histogram_samples;
use crate::column::Column;
use crate::plan::{CallNode, Node, Op};
use hashbrown::HashSet;
use model::{Labels, METRIC_NAME};
use promql::{Span, ValueType};

/// Functions that extended selectors may be used with.
const ANCHORED: &[&str] = &["changes", "delta", "increase", "rate", "resets"];
const SMOOTHED: &[&str] = &["delta", "increase", "rate"];

/// Samples that are worked on between two looks at the clock.
const PART: usize = 200_000;

/// What a range function works with, besides the samples of a series.
pub(super) struct RangeCall<'a> {
    pub(super) name: &'static str,
    pub(super) spec: WindowSpec,
    pub(super) grid: Grid,
    /// Where annotations point: the first argument.
    pub(super) span: Span,
    pub(super) labels: &'a Labels,
}

impl RangeCall<'_> {
    pub(super) fn metric(&self) -> &str {
        self.labels.value(METRIC_NAME)
    }

    pub(super) fn extended(&self) -> bool {
        self.spec.anchored || self.spec.smoothed
    }
}

/// Whether labels besides the name fall together with it.
fn typed(labels: &Labels) -> bool {
    let early = labels.iter().take_while(|(n, _)| *n <= "__unit__");
    early.into_iter().any(|(n, _)| n != METRIC_NAME && super::collect::is_metadata(n))
}

/// Digest of the labels that fall together with the name.
fn metadata_digest(labels: &Labels) -> u128 {
    use storage::digest::{pair, text};
    let metadata = labels.iter().filter(|(n, _)| super::collect::is_metadata(n));
    metadata.fold(0, |sum: u128, (n, v)| sum.wrapping_add(pair(text(n), text(v))))
}

impl Eval<'_> {
    pub(super) fn range_call(
        &mut self,
        c: &CallNode,
        matrix: &Node,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let asked = self.asked;
        let name = c.func.name;
        let Some(spec) = WindowSpec::of(matrix.unwrapped(), self.lookback) else {
            return Err(QueryError::exec(format!("{name} needs a range vector")));
        };
        for (on, modifier, allowed) in
            [(spec.anchored, "anchored", ANCHORED), (spec.smoothed, "smoothed", SMOOTHED)]
        {
            if on && !allowed.contains(&name) {
                let list = allowed.join(", ");
                return Err(QueryError::exec(format!(
                    "{modifier} modifier can only be used with: {list} - not with {name}"
                )));
            }
        }
        let scalars: Result<Vec<Vec<f64>>, QueryError> =
            c.args.iter().filter(|a| a.ty == ValueType::Scalar).map(|a| self.scalar(a, grid)).collect();
        let scalars = match scalars {
            Ok(scalars) => scalars,
            Err(error) => {
                // A subquery is evaluated first: what is wrong with it is said first.
                if spec.subquery {
                    self.ranges(matrix, grid, false, &mut |_, _, _| Ok(()))?;
                }
                return Err(error);
            }
        };
        // Upstream forgets where a subquery began once it has evaluated it.
        let span = match c.args[0].op {
            Op::Subquery(_) => Span::new(0, c.args[0].span.end),
            _ => c.args[0].span,
        };
        let starts =
            self.options.use_start_timestamps && matches!(name, "rate" | "irate" | "increase" | "resets");
        // Series of one metric stay apart when their names fall.
        let one_metric = match matrix.unwrapped().selector() {
            Some(selector) => self.series(selector.fetch)?.one_metric,
            None => false,
        };
        let keeps_name = matches!(name, "last_over_time" | "first_over_time");
        let mut windows = (Windows::default(), Windows::default());
        let mut presence = (name == "absent_over_time").then(|| Presence::new(grid.steps));
        let mut seen: HashSet<u128> = HashSet::new();
        self.ranges(matrix, grid, starts, &mut |ev, one, samples| {
            let labels = one.labels;
            windows.0.plan(&samples.t, &spec, grid);
            if !samples.h.is_empty() {
                windows.1.plan(&samples.ht, &spec, grid);
            }
            let call = RangeCall { name, spec, grid, span, labels };
            ev.count_windows(&windows, samples, &spec, grid)?;
            let mut column = ev.column(grid.steps);
            if samples.h.is_empty() {
                let mut from = 0;
                while from < grid.steps {
                    let (end, work) = windows.0.take_part(from, PART);
                    ev.float_windows(&call, &scalars, samples, &mut windows.0, &mut column)?;
                    ev.watch.check(work)?;
                    from = end;
                }
            } else {
                windows.0.part = 0..grid.steps;
                ev.mixed_windows(&call, &scalars, samples, &mut windows, &mut column)?;
            }
            if let Some(presence) = &mut presence {
                presence.add(&column);
                ev.recycle(column);
                return Ok(());
            }
            if matches!(name, "rate" | "increase") && column.float_count() > 0 {
                ev.judge_counter(&call);
            }
            let drop_name = !keeps_name || one.drop_name;
            let apart = one_metric && !typed(labels);
            if !apart && !ev.delayed() && !column.is_empty() {
                let name = if drop_name { metadata_digest(labels) } else { 0 };
                let digest = one.digest().wrapping_sub(name);
                if ev.part.is_some() {
                    ev.seen.push(digest);
                } else if !seen.insert(digest) {
                    return Err(QueryError::exec(SAME_LABELS));
                }
            }
            let labels = match asked {
                Asked::Nothing if apart => Labels::empty(),
                Asked::NoNames if apart => labels.clone(),
                _ if ev.delayed() || !drop_name => labels.clone(),
                _ => drop_metadata(labels),
            };
            sink(ev, Out { labels, drop_name, column })
        })?;
        if let Some(presence) = presence {
            let labels = super::absent::labels_of(matrix.unwrapped());
            sink(self, Out { labels, drop_name: true, column: presence.absent(grid.steps) })?;
        }
        Ok(())
    }

    /// Counts the samples in all windows, and refuses too many at a time.
    fn count_windows(
        &mut self,
        windows: &(Windows, Windows),
        samples: &RangeBuf,
        spec: &WindowSpec,
        grid: Grid,
    ) -> Result<(), QueryError> {
        let widest = windows.0.widest();
        self.widest = widest;
        self.budget.add(widest)?;
        self.budget.release(widest);
        let has_hists = !samples.h.is_empty();
        if !has_hists && self.frame.per_step.is_none() && spec.at.is_none() {
            self.frame.total += windows.0.total as i64;
            self.frame.read += if spec.subquery { 0 } else { windows.0.fresh as i64 };
            return self.watch.check(windows.0.total + grid.steps);
        }
        let (mut before, mut hist_before) = (0, 0);
        let mut work = 0;
        for step in 0..grid.steps {
            let (lo, hi) = windows.0.at(step);
            let (mut total, mut new) = (hi - lo, hi - lo.max(before).min(hi));
            before = hi;
            if has_hists {
                let (lo, hi) = windows.1.at(step);
                total = window_samples(windows.0.at(step), &samples.h[lo..hi]);
                new += samples.h[lo.max(hist_before).min(hi)..hi]
                    .iter()
                    .map(|h| histogram_samples(h))
                    .sum::<usize>();
                hist_before = hi;
            }
            work += total;
            if total > 0 {
                let read = if spec.subquery || (spec.at.is_some() && step > 0) { 0 } else { new };
                self.frame.add(step, total as i64, read as i64);
            }
        }
        self.watch.check(work + grid.steps)
    }

    /// Says when a rate is taken of what does not look like a counter.
    fn judge_counter(&mut self, call: &RangeCall<'_>) {
        let metric = call.metric();
        if metric.is_empty() {
            return;
        }
        if self.options.type_and_unit_labels {
            let ty = call.labels.value("__type__");
            if ty != "counter" && ty != "histogram" {
                self.notes.possible_non_counter_label(call.span, metric, ty);
            }
        } else if !["_total", "_sum", "_count", "_bucket"].iter().any(|s| metric.ends_with(s)) {
            self.notes.possible_non_counter(call.span, metric);
        }
    }

    /// A window function over a series of floats only.
    pub(super) fn float_windows(
        &mut self,
        call: &RangeCall<'_>,
        scalars: &[Vec<f64>],
        samples: &RangeBuf,
        windows: &mut Windows,
        out: &mut Column,
    ) -> Result<(), QueryError> {
        match call.name {
            "rate" | "increase" | "delta" if call.extended() => {
                super::rate::extended(call, &samples.t, &samples.f, windows, out);
            }
            "rate" | "increase" | "delta" => self.extrapolated(call, samples, windows, out),
            "irate" | "idelta" => super::rate::instant(call, samples, windows, out),
            "resets" | "changes" => super::rate::resets_or_changes(call, samples, windows, out),
            "quantile_over_time" => {
                self.check_quantiles(call, &scalars[0], windows);
                super::over_time::quantiles(&scalars[0], &samples.f, windows, out);
            }
            "double_exponential_smoothing" => {
                for step in windows.part.clone() {
                    let (lo, hi) = windows.at(step);
                    if lo < hi {
                        let (sf, tf) = (scalars[0][step], scalars[1][step]);
                        super::over_time::check_factors(sf, tf)?;
                        if let Some(v) = super::over_time::smooth(&samples.f[lo..hi], sf, tf) {
                            out.set(step, v);
                        }
                    }
                }
            }
            "predict_linear" => {
                let ahead = &scalars[0];
                super::over_time::each(windows, out, |step, lo, hi| {
                    (hi - lo >= 2).then(|| {
                        let t = call.grid.time(step);
                        let (times, values) = (&samples.t[lo..hi], &samples.f[lo..hi]);
                        let (slope, at) = crate::numeric::linear_regression(times, values, t);
                        slope * ahead[step] + at
                    })
                });
            }
            _ => {
                if !super::over_time::plain(call.name, &samples.t, &samples.f, windows, out) {
                    return Err(QueryError::exec(format!("unknown range function {}", call.name)));
                }
            }
        }
        Ok(())
    }

    /// Warns of quantiles outside of 0…1 where they are used.
    pub(super) fn check_quantiles(&mut self, call: &RangeCall<'_>, q: &[f64], windows: &Windows) {
        for (step, &q) in q.iter().enumerate().take(windows.part.end).skip(windows.part.start) {
            let (lo, hi) = windows.at(step);
            if lo < hi && !(0.0..=1.0).contains(&q) {
                self.notes.invalid_quantile(call.span, q);
            }
        }
    }
}
