//! One state for everything that a querier selects: batches that were applied before it came, and no part of others.
//!
//! Batches are numbered as they are applied. A querier waits for those that are being applied, which is short,
//! and remembers the newest number. While it is open, pages note for each appended sample the newest time of its
//! series before; what is newer than that is not shown.

use parking_lot::{RwLock, RwLockReadGuard};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// See the module text.
#[derive(Default)]
pub(crate) struct Views {
    applying: RwLock<()>,
    batches: AtomicU64,
    /// Number that the oldest open querier has seen, plus 1; 0 while none is open.
    oldest: AtomicU64,
}

/// A batch that is being applied.
pub(crate) struct Applying<'a> {
    _guard: RwLockReadGuard<'a, ()>,
    number: u64,
    oldest: Option<u64>,
}

impl Views {
    /// Begins applying a batch.
    pub(crate) fn apply(&self) -> Applying<'_> {
        let guard = self.applying.read();
        let number = self.batches.fetch_add(1, Relaxed) + 1;
        let oldest = self.oldest.load(Relaxed).checked_sub(1);
        Applying { _guard: guard, number, oldest }
    }

    /// Opens a view between two batches: `register` gets the number of the newest one, and gives that of the oldest
    /// open view.
    pub(crate) fn open(&self, register: impl FnOnce(u64) -> u64) -> u64 {
        let _alone = self.applying.write();
        let seen = self.batches.load(Relaxed);
        self.oldest.store(register(seen) + 1, Relaxed);
        seen
    }

    /// A view was closed; `oldest` is the oldest that is open still.
    pub(crate) fn closed(&self, oldest: Option<u64>) {
        self.oldest.store(oldest.map_or(0, |n| n + 1), Relaxed);
    }
}

/// The newest time of a series before a batch.
struct Before {
    batch: u64,
    last_t: i64,
    slot: u16,
}

/// What a page notes while queriers are open.
#[derive(Default)]
pub(crate) struct History(Vec<Before>);

impl History {
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes the newest time of a series that gets a sample now.
    #[inline]
    pub(crate) fn note(&mut self, applying: &Applying<'_>, slot: usize, last_t: i64) {
        let Some(oldest) = applying.oldest else {
            if !self.0.is_empty() {
                self.0 = Vec::new();
            }
            return;
        };
        if self.0.len() == self.0.capacity() {
            // Before it grows, what no open view can ask for goes.
            self.0.retain(|b| b.batch > oldest);
        }
        self.0.push(Before { batch: applying.number, last_t, slot: slot as u16 });
    }

    /// For a view that has seen batch `seen`: calls `each` with slots, and the newest time to show of their series.
    /// Of several times of one slot the first holds.
    pub(crate) fn since(&self, seen: u64, mut each: impl FnMut(usize, i64)) {
        for before in self.0.iter().filter(|b| b.batch > seen) {
            each(usize::from(before.slot), before.last_t);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_views_cost() {
        let (views, mut page) = (Views::default(), History::default());
        page.note(&views.apply(), 3, 10);
        assert!(page.is_empty());
        let first = views.open(|seen| seen);
        page.note(&views.apply(), 3, 20);
        page.note(&views.apply(), 3, 30);
        let second = views.open(|_| first);
        page.note(&views.apply(), 4, 40);
        let of = |page: &History, seen| {
            let mut out = Vec::new();
            page.since(seen, |slot, t| out.push((slot, t)));
            out
        };
        assert_eq!(of(&page, first), [(3, 20), (3, 30), (4, 40)]);
        assert_eq!(of(&page, second), [(4, 40)]);
        views.closed(Some(second));
        (0..100).for_each(|t| page.note(&views.apply(), 5, t));
        assert_eq!(of(&page, second).first(), Some(&(4, 40)));
        views.closed(None);
        page.note(&views.apply(), 3, 50);
        assert!(page.is_empty());
    }
}
