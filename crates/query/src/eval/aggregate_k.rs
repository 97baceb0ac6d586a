//! `topk`, `bottomk`, `limitk` and `limit_ratio`: some series of each group, chosen anew at each step.

use super::{Eval, Grid, Out, Sink};
use crate::QueryError;
use crate::column::Column;
use crate::numeric::{go_max, go_min};
use crate::plan::AggregateNode;
use model::Labels;
use promql::{AggregateOp, Span};
use xxhash_rust::xxh64::xxh64;

/// Where a 64-bit integer ends, in floats that upstream accepts.
const MAX_I64: f64 = 9_223_372_036_854_774_784.0;
const MIN_I64: f64 = -9_223_372_036_854_775_808.0;

/// A candidate: value and index of its series.
type Item = (f64, usize);

/// The heap of upstream's `topk` and `bottomk`: the worst candidate on top. Its moves are kept as they are, for
/// they decide which of equal values stay.
struct Heap {
    items: Vec<Item>,
    /// `bottomk`.
    reverse: bool,
}

impl Heap {
    fn less(&self, i: usize, j: usize) -> bool {
        let (a, b) = (self.items[i].0, self.items[j].0);
        a.is_nan() || if self.reverse { a > b } else { a < b }
    }

    fn push(&mut self, item: Item) {
        self.items.push(item);
        let mut j = self.items.len() - 1;
        while j > 0 {
            let parent = (j - 1) / 2;
            if !self.less(j, parent) {
                break;
            }
            self.items.swap(parent, j);
            j = parent;
        }
    }

    fn replace_top(&mut self, item: Item) {
        self.items[0] = item;
        let (mut i, n) = (0, self.items.len());
        loop {
            let left = 2 * i + 1;
            if left >= n {
                break;
            }
            let right = left + 1;
            let child = if right < n && self.less(right, left) { right } else { left };
            if !self.less(child, i) {
                break;
            }
            self.items.swap(i, child);
            i = child;
        }
    }

    fn offer(&mut self, item: Item, k: usize) {
        if self.items.len() < k {
            return self.push(item);
        }
        let top = self.items[0].0;
        let better = if self.reverse { top > item.0 } else { top < item.0 };
        if better || (top.is_nan() && !item.0.is_nan()) {
            self.replace_top(item);
        }
    }

    /// Best first, NaN last.
    fn sorted(mut self) -> Vec<Item> {
        let reverse = self.reverse;
        self.items.sort_by(|a, b| match (a.0.is_nan(), b.0.is_nan()) {
            (false, false) => {
                let order = b.0.partial_cmp(&a.0).unwrap_or(std::cmp::Ordering::Equal);
                if reverse { order.reverse() } else { order }
            }
            (a, b) => a.cmp(&b),
        });
        // In upstream's sort every NaN goes before the ones that stood before it.
        let numbers = self.items.iter().take_while(|i| !i.0.is_nan()).count();
        self.items[numbers..].reverse();
        self.items
    }
}

/// Upstream's place of a series between 0 and 1, from the hash of its labels.
fn ratio_offset(labels: &Labels) -> f64 {
    let mut bytes = Vec::new();
    for (name, value) in labels {
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(len) if len < 255 => bytes.push(len),
                _ => {
                    bytes.push(255);
                    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
                }
            }
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

fn in_ratio(limit: f64, offset: f64) -> bool {
    (limit >= 0.0 && offset < limit) || (limit < 0.0 && offset >= 1.0 + limit)
}

impl Eval<'_> {
    pub(super) fn aggregate_k(
        &mut self,
        a: &AggregateNode,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let Some(param) = &a.param else {
            return Err(QueryError::exec(format!("{} needs a parameter", a.op.as_str())));
        };
        let params = self.scalar(param, grid)?;
        let max = params.iter().copied().fold(f64::MIN, go_max);
        let min = params.iter().copied().fold(f64::MAX, go_min);
        let list = self.list(&a.child, grid)?;
        if a.op == AggregateOp::LimitRatio {
            if max == 0.0 && min == 0.0 {
                self.drop_list(list);
                return Ok(());
            }
            if params.iter().any(|r| r.is_nan()) {
                return Err(QueryError::exec("Ratio value is NaN"));
            }
            if max > 1.0 {
                self.notes.invalid_ratio(param.span, max, 1.0);
            }
            if min < -1.0 {
                self.notes.invalid_ratio(param.span, min, -1.0);
            }
            return self.limit_ratio(a, list, &params, grid, sink);
        }
        if max < 1.0 {
            self.drop_list(list);
            return Ok(());
        }
        if params.iter().any(|k| k.is_nan()) {
            return Err(QueryError::exec("Parameter value is NaN"));
        }
        if min <= MIN_I64 {
            let text = format!("Scalar value {} underflows int64", crate::numeric::go_g(min, None));
            return Err(QueryError::exec(text));
        }
        if max >= MAX_I64 {
            let text = format!("Scalar value {} overflows int64", crate::numeric::go_g(max, None));
            return Err(QueryError::exec(text));
        }
        self.choose(a, list, &params, span, grid, sink)
    }

    /// `topk`, `bottomk`, `limitk`.
    fn choose(
        &mut self,
        a: &AggregateNode,
        list: Vec<Out>,
        params: &[f64],
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let mut groups = super::aggregate::groups_of(a);
        let mut group_of = Vec::with_capacity(list.len());
        for out in &list {
            self.watch.check(16)?;
            group_of.push(groups.of(&out.labels).0);
        }
        let limit = a.op == AggregateOp::Limitk;
        if !limit && list.iter().any(|out| out.column.has_hists()) {
            self.notes.histogram_ignored(span, a.op.as_str());
        }
        let mut chosen: Vec<Column> = list.iter().map(|_| Column::default()).collect();
        let mut order = Vec::new();
        for (step, k) in params.iter().enumerate().take(grid.steps) {
            let k = if *k < 1.0 { 0 } else { (*k as usize).min(list.len()) };
            if k == 0 {
                continue;
            }
            self.watch.check(list.len())?;
            let mut heaps: Vec<Heap> = (0..groups.len())
                .map(|_| Heap { items: Vec::new(), reverse: a.op == AggregateOp::Bottomk })
                .collect();
            for (i, out) in list.iter().enumerate() {
                let heap = &mut heaps[group_of[i]];
                if limit {
                    if heap.items.len() < k && out.column.has(step) {
                        heap.items.push((0.0, i));
                    }
                } else if let Some(v) = out.column.float(step) {
                    heap.offer((v, i), k);
                }
            }
            order.clear();
            for heap in heaps {
                self.watch.check(heap.items.len() * 4)?;
                let items = if limit { heap.items } else { heap.sorted() };
                order.extend(items.into_iter().map(|(_, i)| i));
            }
            for &i in &order {
                take_slot(&list[i].column, &mut chosen[i], step, grid.steps);
            }
        }
        let bytes = list.iter().map(|out| out.bytes()).sum();
        self.budget.let_go(bytes);
        let mut list: Vec<Option<Out>> = list.into_iter().map(Some).collect();
        let order = if grid.is_single() { order } else { (0..list.len()).collect() };
        for i in order {
            if let Some(out) = list[i].take() {
                sink(self, Out { column: std::mem::take(&mut chosen[i]), ..out })?;
            }
        }
        Ok(())
    }

    fn limit_ratio(
        &mut self,
        a: &AggregateNode,
        list: Vec<Out>,
        params: &[f64],
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let bytes = list.iter().map(|out| out.bytes()).sum();
        self.budget.let_go(bytes);
        let list = if grid.is_single() { as_heaps(a, list) } else { list };
        for mut out in list {
            self.watch.check(64 + grid.steps)?;
            let offset = ratio_offset(&out.labels);
            let keep: Vec<bool> = params
                .iter()
                .take(grid.steps)
                .map(|r| *r != 0.0 && in_ratio(r.clamp(-1.0, 1.0), offset))
                .collect();
            for (step, keep) in keep.iter().enumerate() {
                if !keep {
                    out.column.unset(step);
                }
            }
            if let Some(hists) = &mut out.column.hists {
                hists.retain(|(step, _)| keep[*step as usize]);
            }
            sink(self, out)?;
        }
        Ok(())
    }
}

/// The order in which upstream's heap of each group gives an instant vector.
fn as_heaps(a: &AggregateNode, list: Vec<Out>) -> Vec<Out> {
    let mut groups = super::aggregate::groups_of(a);
    let mut heaps: Vec<Heap> = Vec::new();
    for (i, out) in list.iter().enumerate() {
        let (number, new) = groups.of(&out.labels);
        if new {
            heaps.push(Heap { items: Vec::new(), reverse: false });
        }
        heaps[number].push((out.column.float(0).unwrap_or(0.0), i));
    }
    let mut list: Vec<Option<Out>> = list.into_iter().map(Some).collect();
    heaps.iter().flat_map(|heap| &heap.items).filter_map(|(_, i)| list[*i].take()).collect()
}

/// Copies one slot; the target is made when first needed.
fn take_slot(from: &Column, into: &mut Column, step: usize, steps: usize) {
    if into.steps() == 0 {
        *into = Column::new(steps);
    }
    match from.float(step) {
        Some(v) => into.set(step, v),
        None => {
            if let Some(h) = from.hist(step) {
                into.push_hist(step, h.clone());
            }
        }
    }
}
