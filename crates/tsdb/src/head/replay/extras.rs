//! Tombstones, exemplars and metadata of the log.

use super::apply::Lanes;
use super::{Replay, is_taken};
use crate::exemplars::Stored;
use crate::head::entry::HAS_LAST;
use crate::head::page::Walk;
use crate::head::truncate::Retired;
use crate::wal::Tombstone;
use model::{METRIC_NAME, Metadata, MetricType, TimeRange};
use roaring::RoaringBitmap;
use std::sync::atomic::Ordering::Relaxed;
use storage::SeriesRef;
use storage::feed::FeedExemplar;

impl Replay<'_> {
    pub(super) fn tombstones(&mut self, lanes: &mut Lanes<'_>, list: &[Tombstone]) {
        let (departures, deletions): (Vec<_>, Vec<_>) = list.iter().partition(|t| t.is_departure());
        self.deletions(&deletions);
        self.departures(lanes, &departures);
    }

    /// Series that left the head at this point of the log, since blocks had them: they are not known any more, and may
    /// come back under another reference.
    fn departures(&mut self, lanes: &mut Lanes<'_>, list: &[Tombstone]) {
        if list.is_empty() {
            return;
        }
        let head = self.head;
        lanes.settle();
        let mut index = head.index.write();
        index.flush(&mut self.maker.runs);
        let (mut gone, mut pairs) = (RoaringBitmap::new(), RoaringBitmap::new());
        let mut walk = Walk::new(&self.pages);
        for t in list {
            let own = self.own(t.series);
            // Given out once, even when the series record is gone by now.
            u32::try_from(t.series.0).into_iter().for_each(|number| head.table.reserve(number));
            self.departed.insert(t.series.0);
            let Some((cells, slot)) = walk.go(own).filter(|(cells, slot)| cells.is_live(*slot)) else {
                continue;
            };
            let entry = cells.peek(slot);
            let newest = if entry.is(HAS_LAST) { entry.last_t } else { i64::MIN };
            let segment = head.wal.first_own_segment();
            head.retired.lock().insert(own, Retired { segment, newest });
            self.departed.insert(u64::from(own));
            self.tally.departed_chunks +=
                cells.mapped(slot).count() as u64 + u64::from(cells.open_min(slot).is_some());
            pairs.extend(cells.pairs(slot).iter().copied());
            head.table.remove(entry.hash, own);
            cells.remove(slot);
            gone.insert(own);
        }
        drop(walk);
        index.remove(&gone, &pairs);
        let mut tombstones = head.tombstones.write();
        gone.iter().for_each(|series| tombstones.remove(series));
    }

    fn deletions(&mut self, list: &[Tombstone]) {
        let mut tombstones = self.head.tombstones.write();
        for t in list {
            let series = self.own(t.series);
            // The reference was given out once, even when its series record is gone by now.
            if series != 0 {
                self.head.table.reserve(series);
            }
            if !self.deletions_count {
                continue;
            }
            // Also before the start of the head, for late samples.
            if is_taken(&self.pages, series) {
                tombstones.add(series, TimeRange::new(t.range.min, t.range.max));
            } else {
                self.tally.unknown.tombstones += 1;
            }
        }
    }

    /// Deletions that still count; those of series that are gone say nothing.
    pub(super) fn standing(&mut self, list: &[Tombstone]) {
        let unknown = self.tally.unknown.tombstones;
        self.deletions(list);
        self.tally.unknown.tombstones = unknown;
    }

    pub(super) fn exemplars(&mut self, list: Vec<FeedExemplar>) {
        let min_valid = self.head.min_valid.load(Relaxed);
        for e in list {
            if e.t < min_valid {
                continue;
            }
            let series = self.own(e.series);
            if !is_taken(&self.pages, series) {
                self.tally.unknown.exemplars += 1;
                continue;
            }
            let labels = || self.head.labels(series).unwrap_or_default();
            // Refused ones were refused when they came, too.
            let _ =
                self.head.exemplars.add(series, Stored::new(e.t, e.v, e.labels), labels, &self.head.metrics);
        }
    }

    pub(super) fn metadata(&mut self, list: &[(SeriesRef, Metadata)]) {
        for (series, metadata) in list {
            match self.head.labels(self.own(*series)) {
                Some(labels) => {
                    let family = family_of(labels.value(METRIC_NAME), metadata.kind);
                    self.head.metadata.put(family, metadata.kind, &metadata.unit, &metadata.help);
                }
                None => self.tally.unknown.metadata += 1,
            }
        }
    }
}

/// Family of a series: histograms and summaries have several series names.
fn family_of(name: &str, kind: MetricType) -> &str {
    let suffixes: &[&str] = match kind {
        MetricType::Histogram | MetricType::GaugeHistogram => &["_bucket", "_sum", "_count"],
        MetricType::Summary => &["_sum", "_count"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}
