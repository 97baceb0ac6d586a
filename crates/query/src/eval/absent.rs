//! `absent` and `absent_over_time`: a series where there is none.

use super::{Eval, Grid, Out, Sink};
use crate::QueryError;
use crate::column::Column;
use crate::plan::Node;
use model::{Labels, METRIC_NAME, MatchOp};
use std::collections::BTreeMap;

/// The labels that a selector pins down by equality and does not match on otherwise.
pub(super) fn labels_of(node: &Node) -> Labels {
    let Some(selector) = node.selector() else { return Labels::empty() };
    let mut named: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for m in selector.matchers.iter().filter(|m| m.name != METRIC_NAME) {
        let value = (m.op == MatchOp::Equal).then_some(m.value.as_str());
        named.entry(&m.name).and_modify(|known| *known = None).or_insert(value);
    }
    Labels::from_pairs(named.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

/// Collects which steps have a sample.
#[derive(Debug)]
pub(super) struct Presence(Vec<u64>);

impl Presence {
    pub(super) fn new(steps: usize) -> Self {
        Presence(vec![0; steps.div_ceil(64)])
    }

    pub(super) fn add(&mut self, column: &Column) {
        for (all, one) in self.0.iter_mut().zip(column.any_bits()) {
            *all |= one;
        }
    }

    /// 1 at each step without a sample.
    pub(super) fn absent(&self, steps: usize) -> Column {
        let mut column = Column::new(steps);
        for step in 0..steps {
            if self.0[step / 64] >> (step % 64) & 1 == 0 {
                column.set(step, 1.0);
            }
        }
        column
    }
}

impl Eval<'_> {
    pub(super) fn absent(&mut self, arg: &Node, grid: Grid, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        let mut presence = Presence::new(grid.steps);
        self.vector(arg, grid, &mut |ev, out| {
            presence.add(&out.column);
            ev.recycle(out.column);
            Ok(())
        })?;
        let column = presence.absent(grid.steps);
        sink(self, Out { labels: labels_of(arg.unwrapped()), drop_name: false, column })
    }
}
