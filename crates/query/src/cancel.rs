//! Stopping a query: a flag that any thread may raise, and a deadline.

use crate::QueryError;
use std::cmp::Ordering as Order;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// Handle of a running query. Cheap to clone; all clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    raised: AtomicBool,
    looks: AtomicUsize,
    /// Raised by so many looks; by none if 0.
    after: usize,
}

impl Cancel {
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the query to stop; it does so within some 10 ms of evaluation.
    pub fn cancel(&self) {
        self.0.raised.store(true, Ordering::Relaxed);
    }

    /// One that raises itself when it is asked for the so-manieth time: stops a query at every place in turn where it
    /// can be stopped.
    pub fn after(looks: usize) -> Self {
        Cancel(Arc::new(Flag { after: looks, ..Flag::default() }))
    }

    /// How often it has been asked whether to stop: a query asks between units of work well below a millisecond.
    pub fn looks(&self) -> usize {
        self.0.looks.load(Ordering::Relaxed)
    }

    pub fn is_cancelled(&self) -> bool {
        let looks = self.0.looks.fetch_add(1, Ordering::Relaxed) + 1;
        if self.0.after > 0 && looks >= self.0.after {
            self.cancel();
        }
        self.0.raised.load(Ordering::Relaxed)
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

/// Work of comparing two label sets.
const COMPARISON: usize = 16;

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

    /// Sorts, equal items staying in their order, and looks in between.
    pub(crate) fn sort<T>(
        &mut self,
        list: Vec<T>,
        order: impl Fn(&T, &T) -> Order,
    ) -> Result<Vec<T>, QueryError> {
        storage::sort::stable(list, order, |comparisons| self.check(comparisons * COMPARISON))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn watch(cancel: &Cancel) -> Watch {
        Watch::new(cancel.clone(), Instant::now() + Duration::from_secs(3600))
    }

    #[test]
    fn no_comparison_is_far_from_a_look() {
        use std::cell::Cell;
        let list: Vec<u64> = (0..200_000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let cancel = Cancel::new();
        let (last, longest) = (Cell::new((0, 0)), Cell::new(0));
        let count = Cell::new(0usize);
        let order = |a: &u64, b: &u64| {
            count.set(count.get() + 1);
            if cancel.looks() != last.get().0 {
                last.set((cancel.looks(), count.get()));
            }
            longest.set(longest.get().max(count.get() - last.get().1));
            a.cmp(b)
        };
        watch(&cancel).sort(list, order).expect("nobody stops it");
        // At 100 ns each, some two milliseconds.
        assert!(longest.get() < 20_000, "{}", longest.get());
    }
}
