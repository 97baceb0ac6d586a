//! Late samples of one series: a small sorted list, and the chunks that earlier lists became.

use super::page::Mapped;
use model::Sample;

/// Late samples are kept sorted and become a chunk on disk when there are this many (upstream's
/// `out_of_order_cap_max`).
pub(crate) const LATE_CAP: usize = 32;

#[derive(Clone, Debug, Default)]
pub(crate) struct Late {
    /// Sorted by time, no time twice.
    pub(crate) open: Vec<Sample>,
    /// In the order in which they were written; they overlap.
    pub(crate) mapped: Vec<Mapped>,
}

impl Late {
    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= LATE_CAP
    }

    /// `false` when a sample of this time is there already.
    pub(crate) fn insert(&mut self, s: Sample) -> bool {
        if self.open.last().is_none_or(|last| last.t < s.t) {
            self.grow();
            self.open.push(s);
            return true;
        }
        match self.open.binary_search_by_key(&s.t, |have| have.t) {
            Ok(_) => false,
            Err(at) => {
                self.grow();
                self.open.insert(at, s);
                true
            }
        }
    }

    fn grow(&mut self) {
        if self.open.capacity() == 0 {
            self.open.reserve_exact(4);
        }
    }

    pub(crate) fn range(&self) -> Option<(i64, i64)> {
        Some((self.open.first()?.t, self.open.last()?.t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_sorted_and_refuses_duplicates() {
        let mut late = Late::default();
        for t in [5, 1, 3, 5, 2, 1] {
            late.insert(Sample { t, v: t as f64 });
        }
        let times: Vec<_> = late.open.iter().map(|s| s.t).collect();
        assert_eq!(times, [1, 2, 3, 5]);
        assert_eq!(late.range(), Some((1, 5)));
    }
}
