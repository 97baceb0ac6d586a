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
}

/// Units (samples touched) between two looks at the clock: well below a millisecond.
const CREDIT: usize = 50_000;

impl Watch {
    pub(crate) fn new(cancel: Cancel, deadline: Instant) -> Self {
        Watch { cancel, deadline, credit: 0 }
    }

    /// Notes `work` units and fails when the query must stop.
    #[inline]
    pub(crate) fn check(&mut self, work: usize) -> Result<(), QueryError> {
        if self.credit > work {
            self.credit -= work;
            return Ok(());
        }
        self.look()
    }

    /// Looks now.
    #[cold]
    pub(crate) fn look(&mut self) -> Result<(), QueryError> {
        self.credit = CREDIT;
        if self.cancel.is_cancelled() {
            return Err(QueryError::Canceled("expression evaluation"));
        }
        if Instant::now() >= self.deadline {
            return Err(QueryError::Timeout("expression evaluation"));
        }
        Ok(())
    }
}
