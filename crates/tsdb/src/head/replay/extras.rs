//! Tombstones, exemplars and metadata of the log.

use super::{Replay, is_taken};
use crate::exemplars::Stored;
use crate::wal::Tombstone;
use model::{METRIC_NAME, Metadata, MetricType, TimeRange};
use std::sync::atomic::Ordering::Relaxed;
use storage::SeriesRef;
use storage::feed::FeedExemplar;

impl Replay<'_> {
    pub(super) fn tombstones(&mut self, list: &[Tombstone]) {
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
        self.tombstones(list);
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
