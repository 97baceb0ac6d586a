//! Putting series with the same labels together, or refusing them.

use super::{Eval, Grid, Out, Sink};
use crate::QueryError;
use crate::column::{BitIter, Column};
use hashbrown::HashMap;
use model::{Labels, METRIC_NAME};

/// What is said about two series with the same labels at the same time.
pub(crate) const SAME_LABELS: &str = "vector cannot contain metrics with the same labelset";

/// Labels that describe the metric and fall when its meaning changes.
pub(crate) fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// The set without name, type and unit.
pub(crate) fn drop_metadata(labels: &Labels) -> Labels {
    if labels.iter().any(|(n, _)| is_metadata(n)) { labels.without(is_metadata) } else { labels.clone() }
}

/// Series of a result, one for each label set; series of the same labels are merged as long as they have no
/// step in common.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    list: Vec<Out>,
    known: HashMap<Labels, usize>,
    /// Keep series apart, however they are labelled.
    no_merge: bool,
}

impl Collector {
    /// Always merges.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// As the results of upstream's step loop: an instant evaluation with delayed name removal leaves
    /// duplicates to the end.
    pub(crate) fn for_steps(grid: Grid, delayed: bool) -> Self {
        Collector { no_merge: grid.is_single() && delayed, ..Self::default() }
    }

    pub(crate) fn add(&mut self, out: Out) -> Result<(), QueryError> {
        if out.column.is_empty() {
            return Ok(());
        }
        if self.no_merge {
            self.list.push(out);
            return Ok(());
        }
        match self.known.entry(out.labels.clone()) {
            hashbrown::hash_map::Entry::Vacant(slot) => {
                slot.insert(self.list.len());
                self.list.push(out);
                Ok(())
            }
            hashbrown::hash_map::Entry::Occupied(slot) => {
                merge(&mut self.list[*slot.get()].column, &out.column)
            }
        }
    }

    /// The first step at which adding fails.
    pub(crate) fn clash(&self, out: &Out) -> Option<usize> {
        if self.no_merge {
            return None;
        }
        let known = self.list[*self.known.get(&out.labels)?].column.any_bits();
        let both: Vec<u64> = known.iter().zip(&out.column.any_bits()).map(|(a, b)| a & b).collect();
        BitIter::new(&both).next()
    }

    pub(crate) fn into_list(self) -> Vec<Out> {
        self.list
    }

    pub(crate) fn flush(self, ev: &mut Eval<'_>, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        self.list.into_iter().try_for_each(|out| sink(ev, out))
    }
}

/// Adds the slots of `from`; fails when both have one in common.
fn merge(into: &mut Column, from: &Column) -> Result<(), QueryError> {
    let (a, b) = (into.any_bits(), from.any_bits());
    if a.iter().zip(&b).any(|(a, b)| a & b != 0) {
        return Err(QueryError::exec(SAME_LABELS));
    }
    for (step, v) in from.floats() {
        into.set(step, v);
    }
    if from.has_hists() {
        let mut all: Vec<_> = into.hists().iter().chain(from.hists()).cloned().collect();
        all.sort_by_key(|(step, _)| *step);
        into.hists = Some(Box::new(all));
    }
    Ok(())
}
