//! Evaluation: each node of the plan hands its series, one at a time, to its parent.
//!
//! Room: `query`. A node is evaluated over a [`Grid`] of steps. Vectors flow through a [`Sink`]: a call per
//! series with labels and a column over all steps. Nodes that need several series together (matching,
//! quantiles, sorting) collect first; the others keep nothing.

mod absent;
mod aggregate;
mod aggregate_k;
mod binary;
mod call;
mod collect;
mod element;
mod fetch;
mod hist_range;
mod histogram;
mod info;
mod key;
mod label;
mod matching;
mod math;
mod native;
mod over_time;
mod parallel;
mod range;
mod rate;
mod selector;
mod shared;
mod sort;
mod window;

use crate::annotation::Annotations;
use crate::budget::Budget;
use crate::cancel::Watch;
use crate::column::Column;
use crate::explain::Profile;
use crate::plan::{Fetch, Node, Op, Plan};
use crate::{Engine, EngineOptions, QueryError};
use hashbrown::HashMap;
use model::Labels;
use promql::ValueType;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use storage::select::Newest;
use storage::{Querier, Series};

use fetch::Fetched;

pub(crate) use collect::{Collector, SAME_LABELS, drop_metadata};
pub(crate) use parallel::Cores;
pub(crate) use window::RangeBuf;

/// Evaluation times: `start`, `start + step`, … (`steps` of them), ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start: i64,
    pub(crate) step: i64,
    pub(crate) steps: usize,
    /// Where the steps end, which may be behind the last one.
    pub(crate) end: i64,
}

impl Grid {
    /// All steps from `start` to at most `end`; none when `end` comes before `start`.
    pub(crate) fn new(start: i64, end: i64, step: i64) -> Self {
        let step = step.max(1);
        let steps = if end < start { 0 } else { (end.saturating_sub(start) / step) as usize + 1 };
        Grid { start, step, steps, end }
    }

    /// Only `t`.
    pub(crate) fn single(t: i64) -> Self {
        Grid { start: t, step: 1, steps: 1, end: t }
    }

    pub(crate) fn time(self, step: usize) -> i64 {
        self.start + step as i64 * self.step
    }

    /// The last step.
    pub(crate) fn last(self) -> i64 {
        self.start.saturating_add((self.steps.max(1) as i64 - 1).saturating_mul(self.step))
    }

    /// An instant evaluation: order of series is kept and series are not merged.
    pub(crate) fn is_single(self) -> bool {
        self.start == self.end
    }
}

/// A series of an instant vector, over all steps.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    pub(crate) labels: Labels,
    /// The metric name is to be dropped at the end (delayed name removal).
    pub(crate) drop_name: bool,
    pub(crate) column: Column,
}

impl Out {
    /// Bytes that it takes while it is kept.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Labels>() + self.labels.packed().len() + self.column.bytes()
    }
}

/// What the taker of a vector needs of its labels. Leaves may give more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Asked {
    #[default]
    All,
    /// All but name, type and unit: it is the same whether these have been dropped.
    NoNames,
    /// None at all.
    Nothing,
}

/// Takes the series of a vector one after the other.
pub(crate) type Sink<'s> = dyn FnMut(&mut Eval<'_>, Out) -> Result<(), QueryError> + 's;

/// Sample counts of one evaluation; subqueries and invariant parts have their own.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(crate) total: i64,
    pub(crate) read: i64,
    /// Totals and reads per step, when wanted.
    pub(crate) per_step: Option<(Vec<i64>, Vec<i64>)>,
}

impl Frame {
    pub(crate) fn tracking(steps: usize) -> Self {
        Frame { total: 0, read: 0, per_step: Some((vec![0; steps], vec![0; steps])) }
    }

    pub(crate) fn add(&mut self, step: usize, total: i64, read: i64) {
        self.total += total;
        self.read += read;
        if let Some((totals, reads)) = &mut self.per_step {
            totals[step] += total;
            reads[step] += read;
        }
    }

    /// Adds the counts of series that were evaluated elsewhere.
    pub(crate) fn merge(&mut self, other: &Frame) {
        self.total += other.total;
        self.read += other.read;
        if let (Some((totals, reads)), Some((more_totals, more_reads))) =
            (&mut self.per_step, &other.per_step)
        {
            totals.iter_mut().zip(more_totals).for_each(|(all, one)| *all += one);
            reads.iter_mut().zip(more_reads).for_each(|(all, one)| *all += one);
        }
    }

    /// One loaded and read sample for each sample of the column.
    fn add_column(&mut self, column: &Column) {
        if self.per_step.is_none() {
            let n = column.samples() as i64;
            self.total += n;
            self.read += n;
            return;
        }
        for (step, _) in column.floats() {
            self.add(step, 1, 1);
        }
        for (step, h) in column.hists() {
            let n = crate::budget::histogram_samples(h) as i64;
            self.add(*step as usize, n, n);
        }
    }
}

/// Everything that one running query has in hand.
pub(crate) struct Eval<'q> {
    pub(crate) options: &'q EngineOptions,
    /// The query as written.
    pub(crate) text: &'q str,
    pub(crate) lookback: i64,
    pub(crate) querier: Arc<dyn Querier>,
    pub(crate) fetches: &'q [Fetch],
    fetched: Vec<Option<Fetched>>,
    /// Newest samples of fetches that the store had at hand.
    at_hand: Vec<Option<Arc<Newest>>>,
    /// Samples that the newest subquery looked at, over all its steps.
    pub(crate) inner_total: i64,
    pub(crate) notes: Annotations,
    pub(crate) store_warnings: Vec<String>,
    pub(crate) frame: Frame,
    /// Frames of the callers.
    frames: Vec<Frame>,
    pub(crate) budget: Budget,
    pub(crate) watch: Watch,
    /// Samples that finished children of the running node hold.
    children: usize,
    spare: Vec<Column>,
    pub(crate) cores: &'q Cores,
    /// Series of the leaf's list that are to be evaluated; all without it.
    pub(super) part: Option<Range<usize>>,
    /// With `part`: digests that must not come again.
    pub(super) seen: Vec<u128>,
    /// Most samples in a window of the range vector's last series.
    pub(super) widest: usize,
    /// Results of [`Op::Shared`] that will be used again.
    kept: HashMap<usize, shared::Kept>,
    /// How often each of them is used.
    pub(super) uses: &'q [usize],
    /// Kept when costs are asked for.
    pub(crate) profile: Option<Box<Profile>>,
    /// Set by a node just before it evaluates a child: what it needs of the child's labels.
    pub(crate) ask: Asked,
    /// The same as the child finds it; to be read before anything else is evaluated.
    pub(crate) asked: Asked,
}

impl<'q> Eval<'q> {
    pub(crate) fn new(
        engine: &'q Engine,
        text: &'q str,
        lookback: i64,
        querier: Arc<dyn Querier>,
        plan: &'q Plan,
        frame: Frame,
        watch: Watch,
    ) -> Self {
        let options = &engine.options;
        Eval {
            options,
            text,
            lookback,
            querier,
            fetches: &plan.fetches,
            fetched: plan.fetches.iter().map(|_| None).collect(),
            at_hand: plan.fetches.iter().map(|_| None).collect(),
            inner_total: 0,
            notes: Annotations::default(),
            store_warnings: Vec::new(),
            frame,
            frames: Vec::new(),
            budget: Budget::new(options.max_samples, options.memory_budget_bytes, &engine.memory),
            watch,
            children: 0,
            spare: Vec::new(),
            cores: &engine.cores,
            part: None,
            seen: Vec::new(),
            widest: 0,
            kept: HashMap::new(),
            uses: &plan.shared,
            profile: None,
            ask: Asked::All,
            asked: Asked::All,
        }
    }

    /// The same query for a helper, which counts and notes for itself; `stop` ends it.
    fn fork(&self, stop: Arc<AtomicBool>) -> Eval<'q> {
        Eval {
            options: self.options,
            text: self.text,
            lookback: self.lookback,
            querier: self.querier.clone(),
            fetches: self.fetches,
            fetched: self.fetched.clone(),
            at_hand: self.at_hand.clone(),
            inner_total: 0,
            notes: Annotations::default(),
            store_warnings: Vec::new(),
            frame: if self.frame.per_step.is_some() { Frame::tracking(0) } else { Frame::default() },
            frames: Vec::new(),
            budget: self.budget.fork(),
            watch: self.watch.fork(stop),
            children: 0,
            spare: Vec::new(),
            cores: self.cores,
            part: None,
            seen: Vec::new(),
            widest: 0,
            kept: HashMap::new(),
            uses: self.uses,
            profile: None,
            ask: Asked::All,
            asked: Asked::All,
        }
    }

    /// How many series each fetch found, of those that were needed.
    pub(crate) fn fetched_counts(&self) -> Vec<Option<usize>> {
        let both = self.fetched.iter().zip(&self.at_hand);
        let count = |(list, newest): (&Option<Fetched>, &Option<Arc<Newest>>)| {
            list.as_ref().map(|list| list.len()).or(newest.as_ref().map(|newest| newest.labels.len()))
        };
        both.map(count).collect()
    }

    /// Of a list of series, those that are to be evaluated here.
    pub(super) fn of_part<'s>(&self, series: &'s Fetched) -> &'s [Arc<dyn Series>] {
        self.part.clone().and_then(|part| series.get(part)).unwrap_or(series)
    }

    /// Whether names are dropped only at the end.
    pub(crate) fn delayed(&self) -> bool {
        self.options.delayed_name_removal
    }

    /// Evaluates an instant vector into `sink`.
    pub(crate) fn vector(&mut self, node: &Node, grid: Grid, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        self.asked = std::mem::take(&mut self.ask);
        if grid.steps == 0 {
            return Ok(());
        }
        self.check_grid(grid)?;
        let before = std::mem::take(&mut self.children);
        let taker = self.profile.as_mut().map_or(0, |profile| profile.enter(node));
        let mut emitted = 0;
        let sink = &mut |ev: &mut Eval<'_>, out: Out| {
            if out.column.is_empty() {
                ev.recycle(out.column);
                return Ok(());
            }
            let samples = out.column.samples();
            emitted += samples;
            ev.budget.add(samples)?;
            ev.watch.check(samples)?;
            let Some(profile) = &mut ev.profile else { return sink(ev, out) };
            profile.hand_on(node, samples, taker);
            let run = sink(ev, out);
            if let Some(profile) = &mut ev.profile {
                profile.resume(node);
            }
            run
        };
        if !self.spread(node, grid, sink)? {
            self.vector_node(node, grid, sink)?;
        }
        if let Some(profile) = &mut self.profile {
            profile.back_to(taker);
        }
        let children = std::mem::replace(&mut self.children, before + emitted);
        self.budget.release(children);
        Ok(())
    }

    /// A grid that could never be filled is refused before columns are made for it.
    fn check_grid(&mut self, grid: Grid) -> Result<(), QueryError> {
        let limit = if self.options.max_samples == 0 { usize::MAX } else { self.options.max_samples };
        // A column and its copy must fit into the budget.
        let bytes = self.options.memory_budget_bytes;
        if grid.steps > limit.min(1 << 31) {
            return Err(QueryError::TooManySamples);
        }
        if bytes > 0 && grid.steps > bytes / 16 {
            return Err(self.budget.too_much(grid.steps.saturating_mul(16)));
        }
        self.watch.look()
    }

    fn vector_node(&mut self, node: &Node, grid: Grid, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        match &node.op {
            Op::Instant(selector) => self.instant(selector, node.span, grid, sink),
            Op::Invariant(child) => self.invariant(child, grid, sink),
            Op::Shared(id, child) => self.shared(*id, child, grid, sink),
            Op::Plus(child) => self.vector(child, grid, sink),
            Op::Negate(child) => self.negate(child, grid, sink),
            Op::Binary(b) => self.binary(b, node.span, grid, sink),
            Op::Aggregate(a) => self.aggregate(a, node.span, grid, sink),
            Op::Call(c) => self.call(c, node.span, grid, sink),
            Op::Number(_) | Op::Text(_) | Op::Window(_) | Op::Subquery(_) => {
                Err(QueryError::exec(format!("expected an instant vector, got a {}", node.ty.documented())))
            }
        }
    }

    /// Evaluates a vector completely.
    pub(crate) fn list(&mut self, node: &Node, grid: Grid) -> Result<Vec<Out>, QueryError> {
        let mut list = Vec::new();
        self.vector(node, grid, &mut |ev, out| {
            ev.budget.hold(out.bytes())?;
            list.push(out);
            Ok(())
        })?;
        Ok(list)
    }

    /// Gives back what [`Eval::list`] held.
    pub(crate) fn drop_list(&mut self, list: Vec<Out>) {
        let bytes = list.iter().map(|out| out.bytes()).sum();
        self.budget.let_go(bytes);
    }

    /// Evaluates a scalar: one value per step.
    pub(crate) fn scalar(&mut self, node: &Node, grid: Grid) -> Result<Vec<f64>, QueryError> {
        if grid.steps == 0 {
            return Ok(Vec::new());
        }
        self.check_grid(grid)?;
        if self.part.as_ref().is_some_and(|part| part.start > 0) {
            // Parameters of a leaf are counted with its first piece.
            return self.scalar_node(node, grid);
        }
        let before = std::mem::take(&mut self.children);
        let taker = self.profile.as_mut().map_or(0, |profile| profile.enter(node));
        let values = self.scalar_node(node, grid)?;
        if let Some(profile) = &mut self.profile {
            profile.back_to(taker);
        }
        self.budget.add(values.len())?;
        let children = std::mem::replace(&mut self.children, before + values.len());
        self.budget.release(children);
        Ok(values)
    }

    fn scalar_node(&mut self, node: &Node, grid: Grid) -> Result<Vec<f64>, QueryError> {
        match &node.op {
            Op::Number(v) => Ok(vec![*v; grid.steps]),
            Op::Invariant(child) => {
                self.enter(Frame::default());
                let value = self.scalar(child, Grid::single(grid.start));
                let frame = self.leave();
                let value = value?;
                self.spread_frame(&frame, grid);
                Ok(vec![value.first().copied().unwrap_or(f64::NAN); grid.steps])
            }
            Op::Plus(child) => self.scalar(child, grid),
            Op::Negate(child) => {
                let mut values = self.scalar(child, grid)?;
                values.iter_mut().for_each(|v| *v = -*v);
                Ok(values)
            }
            Op::Binary(b) => self.scalar_binary(b, grid),
            Op::Call(c) => self.scalar_call(c, grid),
            _ => Err(QueryError::exec(format!("expected a scalar, got a {}", node.ty.documented()))),
        }
    }

    /// From here on samples count in `frame`.
    pub(crate) fn enter(&mut self, frame: Frame) {
        let outer = std::mem::replace(&mut self.frame, frame);
        self.frames.push(outer);
    }

    /// Ends what [`Eval::enter`] began and gives its counts.
    pub(crate) fn leave(&mut self) -> Frame {
        let outer = self.frames.pop().unwrap_or_default();
        std::mem::replace(&mut self.frame, outer)
    }

    /// Runs `f`, which belongs to the caller, while a frame of our own is open.
    pub(crate) fn outside<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let own = self.leave();
        let result = f(self);
        self.enter(own);
        result
    }

    /// What was loaded once counts at each step, what was read only at the first.
    fn spread_frame(&mut self, inner: &Frame, grid: Grid) {
        match &mut self.frame.per_step {
            None => self.frame.total += inner.total * grid.steps as i64,
            Some(_) => (0..grid.steps).for_each(|step| self.frame.add(step, inner.total, 0)),
        }
        self.frame.add(0, 0, inner.read);
    }

    fn invariant(&mut self, child: &Node, grid: Grid, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        if child.ty == ValueType::Scalar {
            return Err(QueryError::exec("expected an instant vector, got a scalar"));
        }
        let single = Grid::single(grid.start);
        self.enter(Frame::default());
        let run = self.vector(child, single, &mut |ev, out| {
            if grid.is_single() {
                return ev.outside(|ev| sink(ev, out));
            }
            let column = match (out.column.float(0), out.column.hist(0)) {
                (Some(v), _) => Column::constant(grid.steps, v),
                (None, Some(h)) => {
                    let mut column = ev.column(grid.steps);
                    (0..grid.steps).for_each(|step| column.push_hist(step, h.clone()));
                    column
                }
                (None, None) => return Ok(()),
            };
            ev.outside(|ev| sink(ev, Out { column, ..out }))
        });
        let frame = self.leave();
        run?;
        self.spread_frame(&frame, grid);
        Ok(())
    }

    /// An empty column, reused if one is at hand.
    pub(crate) fn column(&mut self, steps: usize) -> Column {
        match self.spare.pop() {
            Some(mut column) => {
                column.reset(steps);
                column
            }
            None => Column::new(steps),
        }
    }

    /// Takes back a column that is not needed any more.
    pub(crate) fn recycle(&mut self, column: Column) {
        if self.spare.len() < 8 && column.steps() > 1 {
            self.spare.push(column);
        }
    }
}
