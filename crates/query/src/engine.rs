//! The engine's door: text in, result out.

use crate::budget::Memory;
use crate::cancel::Watch;
use crate::column::{Column, SampleValue};
use crate::eval::{Collector, Cores, Eval, Frame, Grid, Out, drop_metadata};
use crate::explain::{Explanation, Profile};
use crate::plan::{Build, Fetch, Node, Op, Plan, build};
use crate::value::{MatrixSeries, Points, Value, VectorSample};
use crate::{EngineOptions, QueryError, QueryOpts, QueryResult, QueryStats};
use model::{Labels, TimeRange};
use promql::{Expr, ValueType};
use std::sync::Arc;
use std::time::Instant;
use storage::Queryable;

/// Height of a tree from which on evaluation gets a thread with a larger stack.
const DEEP: usize = 40;
/// Stack per level of a deep tree, generous for unoptimised builds.
const STACK_PER_LEVEL: usize = 64 << 10;

/// Evaluates PromQL. Holds settings only; share one behind an `Arc`, call it from any thread.
pub struct Engine {
    pub(crate) options: EngineOptions,
    pub(crate) cores: Cores,
    pub(crate) memory: Arc<Memory>,
}

/// A query on its way.
#[derive(Clone, Copy)]
struct Request<'a> {
    queryable: &'a dyn Queryable,
    text: &'a str,
    start: i64,
    end: i64,
    /// 0 for instant queries.
    step: i64,
    opts: &'a QueryOpts,
}

impl Engine {
    pub fn new(options: EngineOptions) -> Self {
        let count = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let memory = Memory::new(options.memory_total_bytes, options.process_memory.clone());
        Engine { options, cores: Cores::new(count), memory: Arc::new(memory) }
    }

    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The account of what all queries hold.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// What the parser is told about features.
    pub fn parser_options(&self) -> promql::Options {
        promql::Options {
            experimental_functions: self.options.experimental_functions,
            duration_expressions: self.options.duration_expressions,
            extended_range_selectors: self.options.extended_range_selectors,
            fill_modifiers: self.options.binop_fill_modifiers,
        }
    }

    /// Evaluates `text` at `time_ms` on the caller's thread.
    pub fn instant(
        &self,
        queryable: &dyn Queryable,
        text: &str,
        time_ms: i64,
        opts: &QueryOpts,
    ) -> Result<QueryResult, QueryError> {
        self.run(Request { queryable, text, start: time_ms, end: time_ms, step: 0, opts })
    }

    /// Evaluates `text` at `start_ms`, `start_ms + step_ms`, … up to `end_ms` on the caller's thread.
    pub fn range(
        &self,
        queryable: &dyn Queryable,
        text: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        opts: &QueryOpts,
    ) -> Result<QueryResult, QueryError> {
        if step_ms <= 0 {
            return Err(QueryError::Parse(
                "zero or negative query resolution step widths are not accepted. Try a positive integer"
                    .into(),
            ));
        }
        self.run(Request { queryable, text, start: start_ms, end: end_ms, step: step_ms, opts })
    }

    /// What a query will do, without doing it. `step_ms` 0 for an instant query.
    pub fn explain(
        &self,
        text: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        opts: &QueryOpts,
    ) -> Result<Explanation, QueryError> {
        let expr =
            promql::parse(text, self.parser_options()).map_err(|e| QueryError::Parse(e.to_string()))?;
        if depth(&expr) >= DEEP {
            return Err(QueryError::Parse(format!("only queries of less than {DEEP} levels are explained")));
        }
        let lookback = opts.lookback_delta_ms.filter(|l| *l > 0).unwrap_or(self.options.lookback_delta_ms);
        let step = &self.options.no_step_subquery_interval;
        let times = Build { start: start_ms, end: end_ms, step: step_ms, lookback, subquery_step: step };
        Ok(Explanation::new(&build(&expr, &times)?, None, &[]))
    }

    fn run(&self, request: Request<'_>) -> Result<QueryResult, QueryError> {
        let began = Instant::now();
        let _core = self.cores.enter();
        self.memory.admit()?;
        let expr = promql::parse(request.text, self.parser_options())
            .map_err(|e| QueryError::Parse(e.to_string()))?;
        let ty = expr.value_type();
        if request.step > 0 && !matches!(ty, ValueType::Vector | ValueType::Scalar) {
            return Err(QueryError::Parse(format!(
                "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
                ty.documented()
            )));
        }
        let depth = depth(&expr);
        if depth < DEEP {
            return self.evaluate(request, &expr, ty, began);
        }
        // The tree is walked by recursion: give it the stack that its height needs.
        std::thread::scope(|scope| {
            let stack = STACK_PER_LEVEL * (depth + DEEP);
            let run = || self.evaluate(request, &expr, ty, began);
            let thread = std::thread::Builder::new().name("deep-query".into()).stack_size(stack);
            match thread.spawn_scoped(scope, run) {
                Ok(handle) => handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(e) => Err(QueryError::exec(format!("cannot start a thread for a deep query: {e}"))),
            }
        })
    }

    fn evaluate(
        &self,
        request: Request<'_>,
        expr: &Expr,
        ty: ValueType,
        began: Instant,
    ) -> Result<QueryResult, QueryError> {
        let Request { text, start, end, step, opts, .. } = request;
        let lookback = opts.lookback_delta_ms.filter(|l| *l > 0).unwrap_or(self.options.lookback_delta_ms);
        let plan = build(
            expr,
            &Build { start, end, step, lookback, subquery_step: &self.options.no_step_subquery_interval },
        )?;
        let mut deadline = began + self.options.timeout;
        if let Some(wanted) = opts.deadline {
            deadline = deadline.min(wanted);
        }
        let mut watch = Watch::new(opts.cancel.clone(), deadline);
        watch.look()?;
        let querier = request.queryable.querier(span_of(&plan.fetches)).map_err(QueryError::Open)?;
        let grid = if step == 0 { Grid::single(start) } else { Grid::new(start, end, step) };
        let per_step = self.options.per_step_stats && opts.per_step_stats;
        let frame = if per_step { Frame::tracking(grid.steps) } else { Frame::default() };
        let prepared = began.elapsed();
        let mut ev = Eval::new(self, text, lookback, querier, &plan, frame, watch);
        if opts.explain {
            ev.profile = Some(Box::new(Profile::new()));
        }
        let (mut value, sort) = ev.result(&plan, ty, grid, step == 0)?;
        ev.watch.look()?;
        let (mut warnings, infos) = ev.notes.texts(text);
        for warning in std::mem::take(&mut ev.store_warnings) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        if truncate(&mut value, opts.limit) {
            warnings.push("results truncated due to limit".into());
        }
        let mut stats = QueryStats::default();
        stats.samples.total_queryable_samples = ev.frame.total;
        stats.samples.samples_read = ev.frame.read;
        stats.samples.peak_samples = ev.budget.peak;
        if let (true, Some((totals, reads))) = (per_step, ev.frame.per_step.take()) {
            let timed = |counts: Vec<i64>| {
                Some(counts.into_iter().enumerate().map(|(i, n)| (grid.time(i), n)).collect())
            };
            stats.samples.total_queryable_samples_per_step = timed(totals);
            stats.samples.samples_read_per_step = timed(reads);
        }
        stats.timings.query_preparation = prepared;
        stats.timings.result_sort = sort;
        stats.timings.exec_total = began.elapsed();
        stats.timings.eval_total = stats.timings.exec_total;
        stats.timings.inner_eval = stats.timings.exec_total.saturating_sub(prepared).saturating_sub(sort);
        let explanation = ev.profile.take().map(|mut profile| {
            profile.back_to(0);
            Explanation::new(&plan, Some(&profile), &ev.fetched_counts())
        });
        let held = Some(Arc::new(ev.budget.into_held()));
        Ok(QueryResult { value, warnings, infos, stats, explanation, held })
    }
}

/// Height of a tree, without recursion.
fn depth(expr: &Expr) -> usize {
    let mut deepest = 0;
    let mut todo = vec![(expr, 1)];
    while let Some((expr, level)) = todo.pop() {
        deepest = deepest.max(level);
        match expr {
            Expr::Aggregate(a) => {
                todo.push((&a.expr, level + 1));
                todo.extend(a.param.as_deref().map(|p| (p, level + 1)));
            }
            Expr::Binary(b) => todo.extend([(&*b.lhs, level + 1), (&*b.rhs, level + 1)]),
            Expr::Call(c) => todo.extend(c.args.iter().map(|a| (a, level + 1))),
            Expr::Paren(p) => todo.push((&p.expr, level + 1)),
            Expr::Subquery(s) => todo.push((&s.expr, level + 1)),
            Expr::Unary(u) => todo.push((&u.expr, level + 1)),
            Expr::Matrix(_) | Expr::Number(_) | Expr::String(_) | Expr::Vector(_) => {}
        }
    }
    deepest
}

/// All times that the query looks at.
fn span_of(fetches: &[Fetch]) -> TimeRange {
    let min = fetches.iter().map(|f| f.range.min).min().unwrap_or(0);
    let max = fetches.iter().map(|f| f.range.max).max().unwrap_or(0);
    TimeRange::new(min, max.max(min))
}

fn truncate(value: &mut Value, limit: usize) -> bool {
    if limit == 0 {
        return false;
    }
    match value {
        Value::Vector(v) if v.len() > limit => v.truncate(limit),
        Value::Matrix(m) if m.len() > limit => m.truncate(limit),
        _ => return false,
    }
    true
}

impl Eval<'_> {
    /// Runs the plan; also how long sorting took.
    fn result(
        &mut self,
        plan: &Plan,
        ty: ValueType,
        grid: Grid,
        instant: bool,
    ) -> Result<(Value, std::time::Duration), QueryError> {
        let root = &plan.root;
        let none = std::time::Duration::ZERO;
        let t = grid.start;
        match ty {
            ValueType::String => {
                let text = match &root.unwrapped().op {
                    Op::Text(text) => text.clone(),
                    _ => String::new(),
                };
                Ok((Value::String(t, text), none))
            }
            ValueType::Scalar => {
                let values = self.scalar(root, grid)?;
                if instant {
                    return Ok((Value::Scalar(t, values.first().copied().unwrap_or(f64::NAN)), none));
                }
                let points = Points::Grid { start: t, step: grid.step, column: Column::from_values(&values) };
                Ok((Value::Matrix(vec![MatrixSeries { labels: Labels::empty(), points }]), none))
            }
            ValueType::Matrix => self.raw_matrix(root, grid),
            ValueType::Vector | ValueType::None => {
                let list = self.list(root, grid)?;
                let list = self.final_labels(list)?;
                if instant {
                    let vector = list.into_iter().filter_map(|out| {
                        let value = match out.column.float(0) {
                            Some(v) => SampleValue::Float(v),
                            None => SampleValue::Histogram(out.column.hist(0)?.clone()),
                        };
                        Some(VectorSample { labels: out.labels, t, value })
                    });
                    return Ok((Value::Vector(vector.collect()), none));
                }
                let began = Instant::now();
                let matrix: Vec<MatrixSeries> = list
                    .into_iter()
                    .map(|out| MatrixSeries {
                        labels: out.labels,
                        points: Points::Grid { start: t, step: grid.step, column: out.column },
                    })
                    .collect();
                let matrix = self.watch.sort(matrix, |a, b| a.labels.cmp(&b.labels))?;
                Ok((Value::Matrix(matrix), began.elapsed()))
            }
        }
    }

    /// Drops the names that were kept until now.
    fn final_labels(&mut self, list: Vec<Out>) -> Result<Vec<Out>, QueryError> {
        if !self.delayed() {
            return Ok(list);
        }
        let mut collector = Collector::new();
        for mut out in list {
            if out.drop_name {
                out.labels = drop_metadata(&out.labels);
            }
            self.watch.check(64 + out.column.steps())?;
            collector.add(out)?;
        }
        Ok(collector.into_list())
    }

    /// A range selector or subquery as the whole query.
    fn raw_matrix(&mut self, root: &Node, grid: Grid) -> Result<(Value, std::time::Duration), QueryError> {
        let list = self.raw_ranges(root, grid)?;
        let began = Instant::now();
        let mut collected: Vec<MatrixSeries> = Vec::with_capacity(list.len());
        for (labels, drop_name, points) in list {
            let labels = if self.delayed() && drop_name { drop_metadata(&labels) } else { labels };
            collected.push(MatrixSeries { labels, points });
        }
        let collected = self.watch.sort(collected, |a, b| a.labels.cmp(&b.labels))?;
        if collected.windows(2).any(|w| w[0].labels == w[1].labels) {
            return Err(QueryError::exec(crate::eval::SAME_LABELS));
        }
        Ok((Value::Matrix(collected), began.elapsed()))
    }
}
