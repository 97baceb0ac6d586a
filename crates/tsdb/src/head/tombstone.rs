//! Deleted ranges of series in the head.

use crate::wal::Tombstone;
use model::TimeRange;
use std::collections::HashMap;
use storage::SeriesRef;

/// Closed, sorted, disjoint ranges by series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tombstones(HashMap<u32, Vec<TimeRange>>);

impl Tombstones {
    /// Adds a range, joined with those that it overlaps or touches.
    pub(crate) fn add(&mut self, series: u32, range: TimeRange) {
        let ranges = self.0.entry(series).or_default();
        let from = ranges.partition_point(|r| r.max.saturating_add(1) < range.min);
        let to = ranges.partition_point(|r| r.min <= range.max.saturating_add(1));
        let joined = ranges[from..to]
            .iter()
            .fold(range, |all, r| TimeRange::new(all.min.min(r.min), all.max.max(r.max)));
        ranges.splice(from..to, [joined]);
    }

    pub(crate) fn of(&self, series: u32) -> &[TimeRange] {
        self.0.get(&series).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn remove(&mut self, series: u32) {
        self.0.remove(&series);
    }

    /// Drops what lies before `mint`.
    pub(crate) fn truncate(&mut self, mint: i64) {
        for ranges in self.0.values_mut() {
            ranges.retain(|r| r.max >= mint);
        }
        self.0.retain(|_, ranges| !ranges.is_empty());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, TimeRange)> {
        self.0.iter().flat_map(|(series, ranges)| ranges.iter().map(|range| (*series, *range)))
    }

    /// As the log has them, in order.
    pub(crate) fn records(&self) -> Vec<Tombstone> {
        let record = |(series, range)| Tombstone { series: SeriesRef(u64::from(series)), range };
        let mut all: Vec<Tombstone> = self.iter().map(record).collect();
        all.sort_by_key(|t| (t.series, t.range.min));
        all
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a time lies in one of the ranges.
pub(crate) fn covers(ranges: &[TimeRange], t: i64) -> bool {
    let at = ranges.partition_point(|r| r.max < t);
    ranges.get(at).is_some_and(|r| r.min <= t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join() {
        let mut tombstones = Tombstones::default();
        for (min, max) in [(10, 20), (30, 40), (21, 25), (50, 60), (24, 31)] {
            tombstones.add(1, TimeRange::new(min, max));
        }
        assert_eq!(tombstones.of(1), [TimeRange::new(10, 40), TimeRange::new(50, 60)]);
        assert!(
            covers(tombstones.of(1), 40) && !covers(tombstones.of(1), 41) && covers(tombstones.of(1), 50)
        );
        tombstones.add(1, TimeRange::new(i64::MIN, i64::MAX));
        assert_eq!(tombstones.of(1), [TimeRange::ALL]);
    }
}
