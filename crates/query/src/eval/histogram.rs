//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction` over classic buckets and native
//! histograms.

use super::key::{Groups, Projection};
use super::{Collector, Eval, Grid, Out, Sink, drop_metadata};
use crate::QueryError;
use crate::column::{BitIter, Column};
use crate::numeric::parse_float;
use crate::plan::{CallNode, Node};
use crate::quantile::{Bucket, bucket_fraction, bucket_quantile};
use model::labels::BUCKET_LABEL;
use model::{FloatHistogram, Labels, METRIC_NAME};
use promql::Span;

pub(super) use super::native::{HistogramSums, scaled, text};

/// Series that make one histogram: classic buckets, or a native one, or (wrongly) both.
struct HistogramSeries {
    labels: Labels,
    drop_name: bool,
    /// Upper bound and counts, sorted by bound.
    buckets: Vec<(f64, Column)>,
    native: Option<Column>,
}

/// What is computed of each histogram.
enum Ask<'a> {
    /// The quantile, and those asked before of the same histograms.
    Quantile(&'a [f64], &'a [Vec<f64>]),
    Fraction(&'a [f64], &'a [f64]),
}

impl Eval<'_> {
    pub(super) fn histogram_quantile(
        &mut self,
        c: &CallNode,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let q = self.scalar(&c.args[0], grid)?;
        let list = self.histograms(&c.args[1], grid)?;
        for &q in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.notes.invalid_quantile(c.args[0].span, q);
        }
        let mut collector = Collector::for_steps(grid, self.delayed());
        for h in &list {
            let column = self.ask(h, &Ask::Quantile(&q, &[]), c.args[1].span, grid)?;
            collector.add(self.answer(h, column))?;
        }
        self.drop_histograms(list);
        collector.flush(self, sink)
    }

    pub(super) fn histogram_quantiles(
        &mut self,
        c: &CallNode,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let label = super::label::text(&c.args[1]);
        let list = self.histograms(&c.args[0], grid)?;
        let mut quantiles = Vec::new();
        for arg in &c.args[2..] {
            let q = self.scalar(arg, grid)?;
            for &q in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
                self.notes.invalid_quantile(arg.span, q);
            }
            quantiles.push(q);
        }
        let mut collector = Collector::for_steps(grid, self.delayed());
        for (i, q) in quantiles.iter().enumerate() {
            for h in &list {
                let column = self.ask(h, &Ask::Quantile(q, &quantiles[..i]), c.args[0].span, grid)?;
                let plain = self.answer(h, Column::default()).labels;
                // The quantile may change from step to step, and with it the label.
                let mut from = 0;
                while from < grid.steps {
                    let same = q[from..].iter().take_while(|x| x.to_bits() == q[from].to_bits()).count();
                    let mut part = column.clone();
                    (0..grid.steps).filter(|s| !(from..from + same).contains(s)).for_each(|s| part.unset(s));
                    let mut builder = plain.builder();
                    builder.set(label, &openmetrics_float(q[from]));
                    collector.add(Out { labels: builder.finish(), drop_name: true, column: part })?;
                    from += same;
                }
            }
        }
        self.drop_histograms(list);
        collector.flush(self, sink)
    }

    pub(super) fn histogram_fraction(
        &mut self,
        c: &CallNode,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let lower = self.scalar(&c.args[0], grid)?;
        let upper = self.scalar(&c.args[1], grid)?;
        let list = self.histograms(&c.args[2], grid)?;
        let mut collector = Collector::for_steps(grid, self.delayed());
        for h in &list {
            let column = self.ask(h, &Ask::Fraction(&lower, &upper), c.args[2].span, grid)?;
            collector.add(self.answer(h, column))?;
        }
        self.drop_histograms(list);
        collector.flush(self, sink)
    }

    fn answer(&self, h: &HistogramSeries, column: Column) -> Out {
        let labels = if self.delayed() { h.labels.clone() } else { drop_metadata(&h.labels) };
        Out { labels, drop_name: true, column }
    }

    fn drop_histograms(&mut self, list: Vec<HistogramSeries>) {
        let bytes = list.iter().flat_map(|h| &h.buckets).map(|(_, column)| column.bytes()).sum();
        self.budget.let_go(bytes);
    }

    /// Gathers the series of a vector into histograms. Native ones come first, as upstream computes them.
    fn histograms(&mut self, node: &Node, grid: Grid) -> Result<Vec<HistogramSeries>, QueryError> {
        let mut groups = Groups::new(Projection::drop_only(&[BUCKET_LABEL]));
        let mut classic: Vec<HistogramSeries> = Vec::new();
        let mut native: Vec<(Labels, bool, Column)> = Vec::new();
        let span = node.span;
        self.vector(node, grid, &mut |ev, mut out| {
            if out.column.has_hists() {
                let mut column = ev.column(grid.steps);
                column.hists = out.column.hists.take();
                native.push((out.labels.clone(), out.drop_name, column));
            }
            if out.column.is_empty() {
                return Ok(());
            }
            let value = out.labels.value(BUCKET_LABEL);
            let Some(bound) = parse_float(value) else {
                let metric = if ev.delayed() { out.labels.value(METRIC_NAME) } else { "" };
                ev.notes.bad_bucket_label(span, metric, value);
                return Ok(());
            };
            ev.budget.hold(out.column.bytes())?;
            let (number, new) = groups.of(&out.labels);
            if new {
                classic.push(HistogramSeries {
                    labels: groups.labels(&out.labels),
                    drop_name: true,
                    buckets: Vec::new(),
                    native: None,
                });
            }
            classic[number].buckets.push((bound, out.column));
            Ok(())
        })?;
        for h in &mut classic {
            h.buckets.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or_else(|| a.0.total_cmp(&b.0)));
        }
        let mut list = Vec::with_capacity(classic.len() + native.len());
        for (labels, drop_name, mut column) in native {
            // A native histogram beside classic buckets of the same name and labels: neither is used.
            let twin = groups.find(&labels).and_then(|number| classic.get_mut(number));
            let twin = twin.filter(|h| h.labels == labels);
            if let Some(twin) = twin {
                let metric =
                    if self.delayed() { labels.value(METRIC_NAME).to_owned() } else { String::new() };
                let mut both = Vec::new();
                for (step, _) in column.hists() {
                    let step = *step as usize;
                    if twin.buckets.iter().any(|(_, c)| c.has_float(step)) {
                        both.push(step);
                    }
                }
                if !both.is_empty() {
                    self.notes.mixed_classic_native(span, &metric);
                }
                for &step in &both {
                    twin.buckets.iter_mut().for_each(|(_, c)| c.unset(step));
                }
                if let Some(hists) = &mut column.hists {
                    hists.retain(|(step, _)| !both.contains(&(*step as usize)));
                }
            }
            list.push(HistogramSeries { labels, drop_name, buckets: Vec::new(), native: Some(column) });
        }
        list.extend(classic);
        Ok(list)
    }

    fn ask(
        &mut self,
        h: &HistogramSeries,
        ask: &Ask<'_>,
        span: Span,
        grid: Grid,
    ) -> Result<Column, QueryError> {
        debug_assert!(h.drop_name || h.native.is_some());
        let mut out = self.column(grid.steps);
        let metric = h.labels.value(METRIC_NAME);
        if let Some(native) = &h.native {
            let metric = if self.delayed() { metric } else { "" };
            for (step, h) in native.hists() {
                let step = *step as usize;
                let v = self.ask_native(h, ask, step, span, metric);
                out.set(step, v);
            }
            return Ok(out);
        }
        let mut any = vec![0u64; grid.steps.div_ceil(64)];
        for (_, column) in &h.buckets {
            any.iter_mut().zip(&column.present).for_each(|(all, one)| *all |= one);
        }
        let mut buckets: Vec<Bucket> = Vec::with_capacity(h.buckets.len());
        for step in BitIter::new(&any) {
            self.watch.check(h.buckets.len())?;
            buckets.clear();
            for (upper, column) in &h.buckets {
                if column.has_float(step) {
                    buckets.push(Bucket { upper: *upper, count: column.values[step] });
                }
            }
            let v = match ask {
                Ask::Quantile(q, before) => {
                    let (v, forced) = bucket_quantile(q[step], &mut buckets);
                    // Said once, by the first quantile that looks at the buckets.
                    let first = before.iter().all(|q| !(0.0..=1.0).contains(&q[step]));
                    if let (Some(forced), true) = (forced, first) {
                        let metric = if self.delayed() { metric } else { "" };
                        self.notes.forced_monotonicity(span, metric, grid.time(step), forced);
                    }
                    v
                }
                Ask::Fraction(lower, upper) => bucket_fraction(lower[step], upper[step], &mut buckets),
            };
            out.set(step, v);
        }
        Ok(out)
    }

    fn ask_native(
        &mut self,
        h: &FloatHistogram,
        ask: &Ask<'_>,
        step: usize,
        span: Span,
        metric: &str,
    ) -> f64 {
        match ask {
            Ask::Quantile(q, _) => super::native::quantile(&mut self.notes, q[step], h, span, metric),
            Ask::Fraction(lower, upper) => {
                super::native::fraction(&mut self.notes, lower[step], upper[step], h, span, metric)
            }
        }
    }
}

/// A float as OpenMetrics writes label values: always with a point or an exponent.
fn openmetrics_float(v: f64) -> String {
    let mut text = crate::numeric::go_g(v, None);
    if v.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}
