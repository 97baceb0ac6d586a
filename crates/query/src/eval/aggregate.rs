//! Aggregations that fold columns as they arrive: `sum`, `avg`, `min`, `max`, `count`, `group`, `stddev`,
//! `stdvar`; and `quantile` and `count_values`, which need all values.

use super::collect::is_metadata;
use super::key::{Groups, Projection};
use super::{Asked, Eval, Grid, Out, Sink};
use crate::QueryError;
use crate::cancel::Watch;
use crate::column::{BitIter, Column};
use crate::eval::histogram::HistogramSums;
use crate::numeric::{Mean, kahan_inc};
use crate::plan::AggregateNode;
use crate::quantile::quantile;
use hashbrown::HashMap;
use model::Labels;
use promql::{AggregateOp, Span};

/// Floats of one group, folded step by step.
enum Fold {
    Sum {
        sum: Vec<f64>,
        c: Vec<f64>,
    },
    Mean(Vec<Option<Mean>>),
    /// `min` and `max`.
    Best(Vec<f64>),
    /// `count` and `group` count series of any kind.
    Count(Vec<f64>),
    /// Welford: mean, squares, count.
    Spread {
        mean: Vec<f64>,
        aux: Vec<f64>,
        count: Vec<f64>,
    },
    /// Values of all series, by step.
    Values(Vec<Vec<f64>>),
}

struct GroupFold {
    labels: Labels,
    drop_name: bool,
    /// Steps with a float (with any sample for `count` and `group`).
    seen: Column,
    fold: Fold,
    histograms: Option<HistogramSums>,
}

impl GroupFold {
    fn new(op: AggregateOp, labels: Labels, steps: usize) -> Self {
        let zeros = || vec![0.0; steps];
        let fold = match op {
            AggregateOp::Sum => Fold::Sum { sum: zeros(), c: zeros() },
            AggregateOp::Avg => Fold::Mean(vec![None; steps]),
            AggregateOp::Min | AggregateOp::Max => Fold::Best(zeros()),
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                Fold::Spread { mean: zeros(), aux: zeros(), count: zeros() }
            }
            AggregateOp::Quantile => Fold::Values(vec![Vec::new(); steps]),
            _ => Fold::Count(zeros()),
        };
        GroupFold { labels, drop_name: false, seen: Column::new(steps), fold, histograms: None }
    }

    fn add(&mut self, op: AggregateOp, column: &Column) {
        let full = column.is_full();
        let seen = &mut self.seen;
        match &mut self.fold {
            Fold::Sum { sum, c } => {
                // Adding to a sum of 0 without compensation gives the value itself.
                if full {
                    for ((sum, c), v) in sum.iter_mut().zip(c.iter_mut()).zip(&column.values) {
                        (*sum, *c) = kahan_inc(*v, *sum, *c);
                    }
                } else {
                    for (step, v) in column.floats() {
                        (sum[step], c[step]) = kahan_inc(v, sum[step], c[step]);
                    }
                }
            }
            Fold::Mean(means) => {
                for (step, v) in column.floats() {
                    match &mut means[step] {
                        Some(mean) => mean.add(v),
                        slot => *slot = Some(Mean::first(v)),
                    }
                }
            }
            Fold::Best(best) => {
                let max = op == AggregateOp::Max;
                for (step, v) in column.floats() {
                    let b = best[step];
                    if !seen.has_float(step) || b.is_nan() || (if max { b < v } else { b > v }) {
                        best[step] = v;
                    }
                }
            }
            Fold::Count(count) => {
                column.floats().for_each(|(step, _)| count[step] += 1.0);
                for (step, _) in column.hists() {
                    count[*step as usize] += 1.0;
                    seen.present[*step as usize / 64] |= 1 << (step % 64);
                }
            }
            Fold::Spread { mean, aux, count } => {
                for (step, v) in column.floats() {
                    count[step] += 1.0;
                    if count[step] == 1.0 {
                        mean[step] = v;
                        aux[step] = if v.is_finite() { 0.0 } else { f64::NAN };
                        continue;
                    }
                    let delta = v - mean[step];
                    mean[step] += delta / count[step];
                    aux[step] += delta * (v - mean[step]);
                }
            }
            Fold::Values(values) => column.floats().for_each(|(step, v)| values[step].push(v)),
        }
        for (all, one) in seen.present.iter_mut().zip(&column.present) {
            *all |= one;
        }
    }

    fn finish(&mut self, op: AggregateOp, params: &[f64], watch: &mut Watch) -> Result<Column, QueryError> {
        let mut out = std::mem::take(&mut self.seen);
        let steps = out.values.len();
        let Column { values, present, .. } = &mut out;
        match &mut self.fold {
            Fold::Sum { sum, c } => {
                for step in 0..steps {
                    values[step] = sum[step] + c[step];
                }
            }
            Fold::Mean(means) => {
                for (v, mean) in values.iter_mut().zip(means) {
                    *v = mean.map_or(0.0, |m| m.value());
                }
            }
            Fold::Best(best) => values.copy_from_slice(best),
            Fold::Count(_) if op == AggregateOp::Group => values.fill(1.0),
            Fold::Count(count) => values.copy_from_slice(count),
            Fold::Spread { aux, count, .. } => {
                let root = op == AggregateOp::Stddev;
                for step in 0..steps {
                    let v = aux[step] / count[step];
                    values[step] = if root { v.sqrt() } else { v };
                }
            }
            Fold::Values(all) => {
                for step in BitIter::new(present) {
                    // A quantile sorts.
                    watch.check(all[step].len() * 4)?;
                    values[step] = quantile(params[step], &mut all[step]);
                }
            }
        }
        watch.check(steps)?;
        Ok(out)
    }
}

impl Eval<'_> {
    pub(super) fn aggregate(
        &mut self,
        a: &AggregateNode,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        use AggregateOp::*;
        match a.op {
            Topk | Bottomk | Limitk | LimitRatio => return self.aggregate_k(a, span, grid, sink),
            CountValues => return self.count_values(a, grid, sink),
            _ => {}
        }
        let params = match &a.param {
            Some(param) => self.scalar(param, grid)?,
            None => Vec::new(),
        };
        let mut groups = groups_of(a);
        let mut list: Vec<GroupFold> = Vec::new();
        let child_span = a.child.span;
        let keeps_histograms = matches!(a.op, Sum | Avg | Count | Group);
        self.ask = match &a.grouping[..] {
            [] if !a.without => Asked::Nothing,
            names if !a.without && !names.iter().any(|n| is_metadata(n)) => Asked::NoNames,
            _ => Asked::All,
        };
        self.vector(&a.child, grid, &mut |ev, out| {
            let (number, new) = groups.of(&out.labels);
            if new {
                ev.budget.hold(grid.steps * 24 + 200)?;
                list.push(GroupFold::new(a.op, groups.labels(&out.labels), grid.steps));
            }
            let group = &mut list[number];
            group.drop_name |= out.drop_name;
            if out.column.has_hists() {
                if !keeps_histograms {
                    ev.notes.histogram_ignored(child_span, a.op.as_str());
                } else if matches!(a.op, Sum | Avg) {
                    group.histograms.get_or_insert_with(|| HistogramSums::new(a.op == Avg, grid.steps)).add(
                        ev,
                        &out,
                        &group.seen,
                        child_span,
                    );
                }
            }
            group.add(a.op, &out.column);
            ev.recycle(out.column);
            Ok(())
        })?;
        self.budget.let_go(list.len() * (grid.steps * 24 + 200));
        if let (Quantile, Some(param)) = (a.op, &a.param) {
            self.check_quantile_params(&params, param.span);
        }
        for mut group in list {
            let mut column = group.finish(a.op, &params, &mut self.watch)?;
            if let Some(histograms) = group.histograms.take() {
                histograms.finish(self, &mut column, child_span);
            }
            sink(self, Out { labels: group.labels, drop_name: group.drop_name, column })?;
        }
        Ok(())
    }

    fn check_quantile_params(&mut self, params: &[f64], span: Span) {
        if params.iter().any(|q| q.is_nan()) {
            self.notes.invalid_quantile(span, f64::NAN);
        }
        let max = params.iter().copied().fold(f64::MIN, f64::max);
        if max > 1.0 {
            self.notes.invalid_quantile(span, max);
        }
        let min = params.iter().copied().fold(f64::MAX, f64::min);
        if min < 0.0 {
            self.notes.invalid_quantile(span, min);
        }
    }

    fn count_values(&mut self, a: &AggregateNode, grid: Grid, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        let label = a.param.as_ref().map_or("", super::label::text);
        if !super::label::is_label_name(label) {
            // As written, for bytes that are not UTF-8 are not in `label` any more.
            let written = a.param.as_ref().and_then(|p| self.text.get(p.span.start..p.span.end));
            let shown = written.map_or_else(|| model::labels::quote(label), str::to_owned);
            return Err(QueryError::exec(format!("invalid label name {shown}")));
        }
        let mut grouping = a.grouping.clone();
        if !a.without {
            grouping.push(label.to_owned());
        }
        let projection = if a.without { Projection::drop(&grouping) } else { Projection::keep(&grouping) };
        let mut known: HashMap<Labels, usize> = HashMap::new();
        let mut list: Vec<(Labels, Column)> = Vec::new();
        self.vector(&a.child, grid, &mut |ev, out| {
            // Neighbouring steps often have the same value.
            let mut last: Option<(u64, usize)> = None;
            let mut count = |ev: &mut Eval<'_>, step: usize, text: String| {
                let mut builder = out.labels.builder();
                builder.set(label, &text);
                let labels = projection.labels(&builder.finish());
                let number = *known.entry(labels.clone()).or_insert_with(|| {
                    list.push((labels, Column::new(grid.steps)));
                    list.len() - 1
                });
                let column = &mut list[number].1;
                let before = column.float(step).unwrap_or(0.0);
                column.set(step, before + 1.0);
                ev.watch.check(16).map(|()| number)
            };
            let mut again = Vec::new();
            for (step, v) in out.column.floats() {
                match last {
                    Some((bits, number)) if bits == v.to_bits() => again.push((number, step)),
                    _ => {
                        let number = count(ev, step, model::float::plain_string(v))?;
                        last = Some((v.to_bits(), number));
                    }
                }
            }
            for (step, h) in out.column.hists() {
                count(ev, *step as usize, super::histogram::text(h))?;
            }
            for (number, step) in again {
                let column = &mut list[number].1;
                let before = column.float(step).unwrap_or(0.0);
                column.set(step, before + 1.0);
            }
            Ok(())
        })?;
        list.into_iter().try_for_each(|(labels, column)| sink(self, Out { labels, drop_name: false, column }))
    }
}

pub(super) fn groups_of(a: &AggregateNode) -> Groups {
    Groups::new(if a.without { Projection::drop(&a.grouping) } else { Projection::keep(&a.grouping) })
}
