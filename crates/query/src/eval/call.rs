//! Function calls: which function goes where.

use super::math::{date, date_of, map_steps, map_values, simple};
use super::{Eval, Grid, Out, Sink};
use crate::QueryError;
use crate::annotation::Annotations;
use crate::column::Column;
use crate::date::Civil;
use crate::numeric::{go_max, go_min};
use crate::plan::{CallNode, Node, Op};
use model::Labels;
use promql::{BinaryOp, Span, ValueType};

/// Functions that keep the metric name of their argument, or show type and unit that its matchers name.
const KEEPS_NAME: &[&str] = &[
    "absent",
    "absent_over_time",
    "first_over_time",
    "info",
    "label_join",
    "label_replace",
    "last_over_time",
    "sort",
    "sort_by_label",
    "sort_by_label_desc",
    "sort_desc",
];

/// Whether series of the node have no metric name (nor type and unit), names being dropped at once.
pub(super) fn nameless(node: &Node) -> bool {
    match &node.op {
        Op::Call(c) => !KEEPS_NAME.contains(&c.func.name),
        Op::Negate(_) => true,
        Op::Invariant(child) | Op::Plus(child) | Op::Shared(_, child) => nameless(child),
        Op::Binary(b) => {
            let trims = matches!(b.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
            let arithmetic = !b.op.is_comparison() && !b.op.is_set() && !trims;
            node.ty == ValueType::Vector && (arithmetic || b.return_bool)
        }
        Op::Aggregate(a) => {
            !a.op.has_param() && !a.without && !a.grouping.iter().any(|n| super::collect::is_metadata(n))
        }
        _ => false,
    }
}

impl Eval<'_> {
    pub(super) fn call(
        &mut self,
        c: &CallNode,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let name = c.func.name;
        if let Some(matrix) = c.args.iter().find(|a| a.ty == ValueType::Matrix) {
            return self.range_call(c, matrix, grid, sink);
        }
        if let Some(f) = simple(name) {
            return self.map_floats(&c.args[0], grid, sink, |column| map_values(column, f));
        }
        if let Some(f) = date(name) {
            return self.date_call(c, f, grid, sink);
        }
        match name {
            "absent" => self.absent(&c.args[0], grid, sink),
            "clamp" | "clamp_max" | "clamp_min" => self.clamp(c, grid, sink),
            "round" => self.round(c, grid, sink),
            "vector" => {
                let values = self.scalar(&c.args[0], grid)?;
                let column = Column::from_values(&values);
                sink(self, Out { labels: Labels::empty(), drop_name: false, column })
            }
            "timestamp" | "start_timestamp" => self.timestamp(c, grid, sink),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
                self.sort(name, &c.args, span, grid, sink)
            }
            "label_replace" => self.label_replace(c, grid, sink),
            "label_join" => self.label_join(c, grid, sink),
            "info" => self.info(c, grid, sink),
            "histogram_quantile" => self.histogram_quantile(c, grid, sink),
            "histogram_quantiles" => self.histogram_quantiles(c, grid, sink),
            "histogram_fraction" => self.histogram_fraction(c, grid, sink),
            "histogram_count" | "histogram_sum" | "histogram_avg" | "histogram_stddev"
            | "histogram_stdvar" => self.histogram_number(c, grid, sink),
            _ => Err(QueryError::exec(format!("unknown function {name}"))),
        }
    }

    fn date_call(
        &mut self,
        c: &CallNode,
        f: fn(&Civil) -> f64,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if let Some(arg) = c.args.first() {
            return self.map_floats(arg, grid, sink, |column| map_values(column, |v| date_of(f, v)));
        }
        let values: Vec<f64> =
            (0..grid.steps).map(|step| f(&Civil::from_unix(grid.time(step) / 1000))).collect();
        let column = Column::from_values(&values);
        sink(self, Out { labels: Labels::empty(), drop_name: false, column })
    }

    fn clamp(&mut self, c: &CallNode, grid: Grid, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        let (mut scalars, later) = self.scalars_behind(&c.args[0], &c.args[1..], grid)?;
        let last = scalars.pop().unwrap_or_default();
        let (low, high) = match c.func.name {
            "clamp" => (scalars.pop().unwrap_or_default(), last),
            "clamp_min" => (last, vec![f64::INFINITY; grid.steps]),
            _ => (vec![f64::NEG_INFINITY; grid.steps], last),
        };
        self.map_floats(&c.args[0], grid, sink, |column| {
            map_steps(column, |step, v| go_max(low[step], go_min(high[step], v)));
            for (step, (low, high)) in low.iter().zip(&high).enumerate() {
                if high < low {
                    column.unset(step);
                }
            }
        })?;
        self.notes.absorb(later);
        Ok(())
    }

    /// Evaluates scalars that a function takes behind a vector, before the vector is. What is wrong with the
    /// vector is still said first; the notes about the scalars are to be added afterwards.
    pub(super) fn scalars_behind(
        &mut self,
        vector: &Node,
        scalars: &[Node],
        grid: Grid,
    ) -> Result<(Vec<Vec<f64>>, Annotations), QueryError> {
        let notes = std::mem::take(&mut self.notes);
        let values: Result<Vec<Vec<f64>>, QueryError> =
            scalars.iter().map(|s| self.scalar(s, grid)).collect();
        let later = std::mem::replace(&mut self.notes, notes);
        match values {
            Ok(values) => Ok((values, later)),
            Err(error) => {
                self.vector(vector, grid, &mut |_, _| Ok(()))?;
                Err(error)
            }
        }
    }

    fn round(&mut self, c: &CallNode, grid: Grid, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        let (mut scalars, later) = self.scalars_behind(&c.args[0], &c.args[1..], grid)?;
        let to = scalars.pop().unwrap_or_else(|| vec![1.0; grid.steps]);
        self.map_floats(&c.args[0], grid, sink, |column| {
            map_steps(column, |step, v| {
                let inverse = 1.0 / to[step];
                (v * inverse + 0.5).floor() / inverse
            });
        })?;
        self.notes.absorb(later);
        Ok(())
    }

    fn timestamp(&mut self, c: &CallNode, grid: Grid, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        let arg = &c.args[0];
        let of_start = c.func.name == "start_timestamp";
        if of_start && (!self.options.use_start_timestamps || !matches!(arg.op, Op::Instant(_))) {
            // Nothing is known of start timestamps; the argument is evaluated for its errors.
            return self.vector(arg, grid, &mut |_, _| Ok(()));
        }
        if !matches!(arg.op, Op::Instant(_)) {
            return self.rename(arg, grid, sink, &mut |column| {
                for (step, _) in std::mem::take(&mut column.hists).into_iter().flat_map(|h| *h) {
                    column.set(step as usize, 0.0);
                }
                map_steps(column, |step, _| grid.time(step) as f64 / 1000.0);
            });
        }
        let delayed = self.delayed();
        let Op::Instant(selector) = &arg.op else { return Ok(()) };
        let mut collector = super::Collector::new();
        self.sample_times(selector, grid, of_start, &mut |ev, mut out| {
            out.drop_name = true;
            if delayed {
                return sink(ev, out);
            }
            out.labels = super::drop_metadata(&out.labels);
            collector.add(out)
        })?;
        collector.flush(self, sink)
    }

    pub(super) fn scalar_call(&mut self, c: &CallNode, grid: Grid) -> Result<Vec<f64>, QueryError> {
        match c.func.name {
            "pi" => Ok(vec![std::f64::consts::PI; grid.steps]),
            "time" => Ok((0..grid.steps).map(|step| grid.time(step) as f64 / 1000.0).collect()),
            "max_of" | "min_of" => {
                let mut a = self.scalar(&c.args[0], grid)?;
                let b = self.scalar(&c.args[1], grid)?;
                let f = if c.func.name == "max_of" { go_max } else { go_min };
                a.iter_mut().zip(b).for_each(|(a, b)| *a = f(*a, b));
                Ok(a)
            }
            "scalar" => {
                let mut values = vec![f64::NAN; grid.steps];
                let mut count = vec![0u8; grid.steps];
                self.vector(&c.args[0], grid, &mut |ev, out| {
                    for (step, v) in out.column.floats() {
                        values[step] = if count[step] == 0 { v } else { f64::NAN };
                        count[step] = 1;
                    }
                    ev.recycle(out.column);
                    Ok(())
                })?;
                Ok(values)
            }
            name => Err(QueryError::exec(format!("unknown function {name}"))),
        }
    }
}
