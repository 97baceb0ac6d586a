//! Stopping a query: a flag that any thread may raise, and a deadline.

use crate::QueryError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Handle of a running query. Cheap to clone; all clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the query to stop; it does so within some 10 ms of evaluation.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What an evaluation asks between units of work. Reads the clock only once per some work done.
pub(crate) struct Watch {
    cancel: Cancel,
    deadline: Instant,
    /// Work left until the clock is read again.
    credit: usize,
    /// Work that was paid for before.
    spent: usize,
    /// Work of the last look's credit.
    lent: usize,
    /// Set when a helper is not needed any more.
    stop: Option<Arc<AtomicBool>>,
}

/// Units (samples touched) between two looks at the clock: well below a millisecond.
const CREDIT: usize = 50_000;

impl Watch {
    pub(crate) fn new(cancel: Cancel, deadline: Instant) -> Self {
        Watch { cancel, deadline, credit: 0, spent: 0, lent: 0, stop: None }
    }

    /// Notes `work` units and fails when the query must stop.
    #[inline]
    pub(crate) fn check(&mut self, work: usize) -> Result<(), QueryError> {
        if self.credit > work {
            self.credit -= work;
            return Ok(());
        }
        self.spent += self.lent - self.credit + work;
        self.lent = 0;
        self.look()
    }

    /// All work noted so far.
    pub(crate) fn work(&self) -> usize {
        self.spent + self.lent - self.credit
    }

    /// The same question for those who find series.
    pub(crate) fn stop(&self) -> storage::select::Stop {
        let (cancel, deadline) = (self.cancel.clone(), self.deadline);
        storage::select::Stop::when(move || cancel.is_cancelled() || Instant::now() >= deadline)
    }

    /// For a helper that ends when `stop` is set.
    pub(crate) fn fork(&self, stop: Arc<AtomicBool>) -> Watch {
        Watch { stop: Some(stop), ..Watch::new(self.cancel.clone(), self.deadline) }
    }

    /// Looks now.
    #[cold]
    pub(crate) fn look(&mut self) -> Result<(), QueryError> {
        self.spent += self.lent - self.credit.min(self.lent);
        (self.credit, self.lent) = (CREDIT, CREDIT);
        if self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err(QueryError::Canceled("expression evaluation"));
        }
        if self.cancel.is_cancelled() {
            return Err(QueryError::Canceled("expression evaluation"));
        }
        if Instant::now() >= self.deadline {
            return Err(QueryError::Timeout("expression evaluation"));
        }
        Ok(())
    }
}
