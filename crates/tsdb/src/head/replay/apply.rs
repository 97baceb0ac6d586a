//! Samples, histograms and late samples of the log.

use super::Replay;
use crate::head::entry::{ASIDE, HAS_LAST, HISTOGRAM};
use crate::head::ooo::{LATE_CAP, write_late};
use crate::head::page::{Mapped, Walk};
use model::Sample;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use storage::feed::{FeedHistogram, FeedSample};
use storage::{SampleBuf, SeriesRef};

impl Replay<'_> {
    pub(super) fn samples(
        &mut self,
        mut samples: Vec<FeedSample>,
        starts: &[i64],
        give: &SyncSender<Vec<FeedSample>>,
    ) {
        let min_valid = self.head.min_valid.load(Relaxed);
        let (mapper, rule, kinds) = (&self.head.mapper, self.head.rule, self.head.kinds());
        let mut walk = Walk::new(&self.pages);
        for (at, s) in samples.iter().enumerate() {
            if s.t < min_valid {
                continue;
            }
            let mut series = s.series.0 as u32;
            if !self.other.is_empty() || s.series.0 > u64::from(u32::MAX) {
                series = u32::try_from(s.series.0).unwrap_or(0);
                if let Some(other) = self.other.get_mut(&s.series.0) {
                    other.1 = other.1.max(s.t);
                    series = other.0;
                }
            }
            let live = walk.go(series).filter(|(cells, slot)| cells.is_live(*slot));
            let Some((cells, slot)) = live else {
                self.unknown.samples += 1;
                self.unknown.note(&self.head.table, s.series);
                continue;
            };
            let entry = cells.entry(slot);
            if entry.is(HAS_LAST) && s.t <= entry.last_t {
                continue;
            }
            let sample = Sample { t: s.t, v: s.v };
            if kinds.xor2 || entry.is(HISTOGRAM | ASIDE) {
                let start = starts.get(at).copied().unwrap_or(0);
                self.chunks += self.head.place(cells, slot, series).append_float(sample, start).opened;
            } else {
                let (closed, opened) = entry.append(sample, rule);
                self.chunks += u64::from(opened);
                if let Some(chunk) = closed {
                    let at = mapper.write(series, chunk.min, chunk.max, false, &chunk.bytes);
                    cells.add_mapped(slot, Mapped { at, min: chunk.min, max: chunk.max });
                }
            }
            self.min = self.min.min(s.t);
            self.max = self.max.max(s.t);
        }
        samples.clear();
        let _ = give.try_send(samples);
    }

    pub(super) fn histograms(&mut self, rows: &[FeedHistogram]) {
        let head = self.head;
        let min_valid = head.min_valid.load(Relaxed);
        let mut walk = Walk::new(&self.pages);
        for row in rows {
            if row.t < min_valid {
                continue;
            }
            let mut series = u32::try_from(row.series.0).unwrap_or(0);
            if let Some(other) = self.other.get_mut(&row.series.0) {
                other.1 = other.1.max(row.t);
                series = other.0;
            }
            let live = walk.go(series).filter(|(cells, slot)| cells.is_live(*slot));
            let Some((cells, slot)) = live else {
                self.unknown.histograms += 1;
                self.unknown.series.insert(row.series.0);
                continue;
            };
            let entry = cells.entry(slot);
            if entry.is(HAS_LAST) && row.t <= entry.last_t {
                continue;
            }
            if !crate::head::histogram::is_sound(&row.histogram) {
                self.bad_histograms += 1;
                continue;
            }
            let moved = head.place(cells, slot, series).append_histogram(row.t, row.start, &row.histogram);
            self.chunks += moved.opened;
            self.min = self.min.min(row.t);
            self.max = self.max.max(row.t);
        }
    }

    pub(super) fn late_samples(
        &mut self,
        mut samples: Vec<FeedSample>,
        starts: &[i64],
        give: &SyncSender<Vec<FeedSample>>,
    ) {
        let mut walk = Walk::new(&self.pages);
        for (at, s) in samples.iter().enumerate() {
            let series = self.own(s.series);
            if let Some(other) = self.other.get_mut(&s.series.0) {
                // The log of late samples knows no checkpoints.
                other.1 = i64::MAX;
            }
            let live = walk.go(series).filter(|(cells, slot)| cells.is_live(*slot));
            let Some((cells, slot)) = live else {
                self.unknown.late_samples += 1;
                self.unknown.note(&self.head.table, s.series);
                continue;
            };
            let late = cells.late_mut(slot);
            // A marker usually comes soon and says that a chunk has them.
            if late.open.len() >= 4 * LATE_CAP {
                write_late(self.head, series, late);
            }
            if late.insert_started(Sample { t: s.t, v: s.v }, starts.get(at).copied().unwrap_or(0)) {
                self.late_min = self.late_min.min(s.t);
                self.late_max = self.late_max.max(s.t);
            }
        }
        samples.clear();
        let _ = give.try_send(samples);
    }

    pub(super) fn late_histograms(&mut self, rows: &[FeedHistogram]) {
        let mut walk = Walk::new(&self.pages);
        for row in rows {
            let series = self.own(row.series);
            if let Some(other) = self.other.get_mut(&row.series.0) {
                other.1 = i64::MAX;
            }
            let live = walk.go(series).filter(|(cells, slot)| cells.is_live(*slot));
            let Some((cells, slot)) = live else {
                self.unknown.late_histograms += 1;
                self.unknown.note(&self.head.table, row.series);
                continue;
            };
            if !crate::head::histogram::is_sound(&row.histogram) {
                self.bad_histograms += 1;
                continue;
            }
            let late = cells.late_mut(slot);
            if late.open.len() >= 4 * LATE_CAP {
                write_late(self.head, series, late);
            }
            if late.insert_histogram(row.t, row.start, &row.histogram) {
                self.late_min = self.late_min.min(row.t);
                self.late_max = self.late_max.max(row.t);
            }
        }
    }

    pub(super) fn markers(&mut self, list: &[(SeriesRef, u64)]) {
        let mut walk = Walk::new(&self.pages);
        for (series, at) in list {
            // A chunk that is neither there nor older than all that is there did not reach the disk; what the
            // log holds of it is all there is.
            let chunk = self.late_chunks.contains(at).then(|| self.times_of(*at)).flatten();
            if chunk.is_none() && *at >> 32 >= self.first_file {
                self.unmarked.insert(self.own(*series));
                continue;
            }
            match walk.go(self.own(*series)).filter(|(cells, slot)| cells.is_live(*slot)) {
                Some((cells, slot)) => {
                    // Exactly what the chunk has: what was logged again behind the marker may be torn.
                    let late = cells.late_mut(slot);
                    late.retain(|t| chunk.as_ref().is_some_and(|times| times.binary_search(&t).is_err()));
                }
                None => self.unknown.markers += 1,
            }
        }
    }

    /// Times of a chunk on disk.
    pub(super) fn times_of(&self, at: u64) -> Option<Vec<i64>> {
        let (encoding, data) = self.head.mapper.read(at).ok()?;
        let mut rows = SampleBuf::default();
        chunk::decode(encoding, &data, &mut rows.columns()).ok()?;
        Some(rows.times)
    }
}
