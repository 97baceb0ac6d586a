//! Finding what a query's selectors need: the series of a fetch, once for all selectors that share it, or only their
//! newest samples.

use super::{Eval, Grid};
use crate::QueryError;
use crate::plan::Selector;
use std::sync::Arc;
use storage::select::Newest;
use storage::{SelectHints, Series};

/// What a selected series takes, about: handle, references to labels and chunks.
const SERIES_BYTES: usize = 200;
/// What a newest sample takes with a reference to its labels.
const NEWEST_BYTES: usize = 32;

/// Series of one fetch, shared by all selectors that use them.
pub(super) type Fetched = Arc<Found>;

/// Series that a store found.
pub(crate) struct Found {
    list: Vec<Arc<dyn Series>>,
    /// No two of them become the same when their names fall.
    pub(super) one_metric: bool,
}

impl std::ops::Deref for Found {
    type Target = [Arc<dyn Series>];
    fn deref(&self) -> &Self::Target {
        &self.list
    }
}

impl Eval<'_> {
    /// The newest samples of a fetch whose series nobody has asked for, at a single step, where the store has them at
    /// hand.
    pub(super) fn newest_at_hand(
        &mut self,
        selector: &Selector,
        grid: Grid,
    ) -> Result<Option<Arc<Newest>>, QueryError> {
        let wanted = &self.fetches[selector.fetch];
        if !grid.is_single()
            || selector.stats_only
            || selector.smoothed
            || self.part.is_some()
            || self.fetched[selector.fetch].is_some()
            || wanted.shown.is_none()
            || wanted.range != self.newest_range(selector, grid)
        {
            return Ok(None);
        }
        if let Some(known) = &self.at_hand[selector.fetch] {
            return Ok(Some(known.clone()));
        }
        let hints = SelectHints {
            range: Some(wanted.range),
            func: wanted.func.clone(),
            shown: wanted.shown.clone(),
            newest: true,
            stop: self.watch.stop(),
            ..SelectHints::default()
        };
        let newest = match self.querier.newest(&wanted.matchers, &hints) {
            Err(storage::StorageError::Cancelled) => return Err(self.stopped()),
            newest => newest?.map(Arc::new),
        };
        if let Some(newest) = &newest {
            let bytes = newest.labels.len() * NEWEST_BYTES + newest.others.len() * SERIES_BYTES;
            self.budget.hold(bytes)?;
        }
        self.at_hand[selector.fetch] = newest.clone();
        Ok(newest)
    }

    /// Why the store was told to stop.
    fn stopped(&mut self) -> QueryError {
        self.watch.look().err().unwrap_or(QueryError::Canceled("expression evaluation"))
    }

    /// Series of a fetch; selected when first asked for.
    pub(crate) fn series(&mut self, fetch: usize) -> Result<Fetched, QueryError> {
        if let Some(known) = &self.fetched[fetch] {
            return Ok(known.clone());
        }
        let wanted = &self.fetches[fetch];
        let hints = SelectHints {
            range: Some(wanted.range),
            step: 0,
            func: wanted.func.clone(),
            shown: wanted.shown.clone(),
            // Range functions look for series that become the same without their names.
            apart: wanted.windowed && !crate::plan::one_metric(&wanted.matchers),
            newest: wanted.range.max.saturating_sub(wanted.range.min) < self.lookback,
            ..SelectHints::default()
        };
        let mut list = self.select(&wanted.matchers, &hints)?;
        list.one_metric |= wanted.windowed && !hints.apart;
        let list = Arc::new(list);
        self.budget.hold(list.len() * SERIES_BYTES)?;
        self.fetched[fetch] = Some(list.clone());
        Ok(list)
    }

    /// Selects series from the store.
    pub(crate) fn select(
        &mut self,
        matchers: &[model::Matcher],
        hints: &SelectHints,
    ) -> Result<Found, QueryError> {
        let hints = SelectHints { stop: self.watch.stop(), ..hints.clone() };
        let mut set = match self.querier.select(matchers, &hints) {
            Err(storage::StorageError::Cancelled) => return Err(self.stopped()),
            set => set?,
        };
        let mut list = Vec::new();
        loop {
            // Those that are at hand come together.
            list.append(&mut set.ready());
            let Some(series) = set.next()? else { break };
            self.watch.check(64)?;
            list.push(series);
        }
        self.store_warnings.extend(set.warnings());
        Ok(Found { list, one_metric: set.is_one_metric() })
    }
}
