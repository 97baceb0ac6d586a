//! Handing late samples over to blocks: what is late now is put on disk and listed; once blocks hold it, it leaves
//! the head and its log.

use super::ooo::write_late;
use super::page::{Mapped, Walk};
use super::tombstone::covers;
use super::{Head, page};
use crate::wal::WalError;
use model::{Labels, TimeRange};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use storage::select::EncodedChunk;
use storage::{SampleBuf, Series, StorageError};

/// Everything that was late at one moment.
pub(crate) struct LateCut {
    /// First segment of the log of late samples that holds nothing of the cut.
    segment: Option<u32>,
    /// Milliseconds, both ends included.
    pub(crate) range: TimeRange,
    /// Sorted by labels.
    series: Vec<Arc<LateSeries>>,
}

impl LateCut {
    /// Series whose late chunks touch a range.
    pub(crate) fn series(&self, range: TimeRange) -> Vec<Arc<dyn Series>> {
        let touches =
            |s: &&Arc<LateSeries>| s.mapped.iter().any(|c| TimeRange::new(c.min, c.max).overlaps(range));
        self.series.iter().filter(touches).map(|s| s.clone() as Arc<dyn Series>).collect()
    }
}

/// The late samples of one series, as chunks on disk that may overlap.
struct LateSeries {
    head: Arc<Head>,
    series: u32,
    labels: Labels,
    mapped: Vec<Mapped>,
}

impl Head {
    /// Puts late samples in memory on disk and lists all that are on disk. `None` when nothing is late.
    pub(crate) fn cut_late(self: &Arc<Self>) -> Result<Option<LateCut>, WalError> {
        let mut listed: Vec<(u32, Vec<Mapped>)> = Vec::new();
        let segment;
        {
            // No batch may be between the log and the memory of its late samples.
            let _gate = self.gate.write();
            let pages = self.table.pages();
            for (number, page) in pages.iter().enumerate() {
                let Some(page) = page else { continue };
                let mut cells = page.lock();
                if !cells.has_late() {
                    continue;
                }
                let slots: Vec<usize> =
                    cells.live_slots().filter(|slot| cells.late(*slot).is_some()).collect();
                for slot in slots {
                    let series = super::table::first_of(number) + slot as u32;
                    let late = cells.late_mut(slot);
                    if !late.open.is_empty() {
                        write_late(self, series, late);
                    }
                    listed.push((series, late.mapped.clone()));
                }
            }
            listed.retain(|(_, mapped)| !mapped.is_empty());
            // Also when nothing was late since the start: it has what was late before.
            segment = if listed.is_empty() { None } else { Some(self.wbl()?.cut()?) };
        }
        if listed.is_empty() {
            return Ok(None);
        }
        // The log of late samples is about to go: from here on the chunks have to last.
        self.mapper.settle(self.options.wal_sync)?;
        let min = listed.iter().flat_map(|(_, m)| m.iter().map(|c| c.min)).min().unwrap_or(0);
        let max = listed.iter().flat_map(|(_, m)| m.iter().map(|c| c.max)).max().unwrap_or(0);
        let mut series: Vec<Arc<LateSeries>> = listed
            .into_iter()
            .map(|(series, mapped)| {
                let labels = self.labels(series).unwrap_or_default();
                Arc::new(LateSeries { head: self.clone(), series, labels, mapped })
            })
            .collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Some(LateCut { segment, range: TimeRange::new(min, max), series }))
    }

    /// Times of late samples; `None` when there are none.
    pub(crate) fn late_range(&self) -> Option<TimeRange> {
        let (min, max) = (self.late_min.load(Relaxed), self.late_max.load(Relaxed));
        (min <= max).then_some(TimeRange::new(min, max))
    }

    /// Forgets chunks of a cut that end before `end`, which blocks hold by now. The others are on disk, so the log
    /// needs none of them any more.
    pub(crate) fn drop_late(&self, cut: &LateCut, end: i64) -> Result<(), WalError> {
        let newest = cut.series.iter().flat_map(|s| s.mapped.iter().map(|c| c.at)).max();
        if let Some(newest) = newest {
            self.note_handed(newest, end)?;
        }
        self.readers.wait(TimeRange::new(cut.range.min, end));
        let gate = self.gate.write();
        let pages = self.table.pages();
        let mut walk = Walk::new(&pages);
        let mut dropped = 0;
        for gone in &cut.series {
            let Some((cells, slot)) = walk.go(gone.series) else { continue };
            let empty = {
                let late = cells.late_mut(slot);
                let before = late.mapped.len();
                late.mapped.retain(|chunk| chunk.max >= end || !gone.mapped.contains(chunk));
                dropped += before - late.mapped.len();
                late.mapped.is_empty() && late.open.is_empty()
            };
            if empty {
                cells.drop_late(slot);
            }
        }
        drop(walk);
        self.metrics.chunks_removed.add(dropped as u64);
        self.metrics.chunks.add(-(dropped as f64));
        self.late_min.store(i64::MAX, Relaxed);
        self.late_max.store(i64::MIN, Relaxed);
        for page in pages.iter().flatten() {
            let cells = page.lock();
            if !cells.has_late() {
                continue;
            }
            for slot in 0..page::PAGE_SERIES {
                let Some(late) = cells.late(slot) else { continue };
                let ranges = late.mapped.iter().map(|c| (c.min, c.max)).chain(late.range());
                ranges.for_each(|(min, max)| self.saw_late(min, max));
            }
        }
        drop(gate);
        match (cut.segment, self.wbl.get()) {
            (Some(segment), Some(wbl)) => wbl.truncate(segment),
            _ => Ok(()),
        }
    }
}

impl Series for LateSeries {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        let deleted = self.head.tombstones.read().of(self.series).to_vec();
        let mut rows = SampleBuf::default();
        for chunk in self.mapped.iter().filter(|c| TimeRange::new(c.min, c.max).overlaps(range)) {
            let (encoding, data) = self.head.mapper.read(chunk.at)?;
            chunk::decode(encoding, &data, &mut rows.columns())
                .map_err(|e| StorageError::Corrupt(format!("late chunk of series {}: {e}", self.labels)))?;
        }
        let mut order: Vec<usize> = (0..rows.len()).collect();
        // Stable: of two samples of one time the first that came wins.
        order.sort_by_key(|i| rows.times[*i]);
        order.dedup_by_key(|i| rows.times[*i]);
        order.retain(|i| range.contains(rows.times[*i]) && !covers(&deleted, rows.times[*i]));
        storage::merge::forget_hints(&mut rows, &order);
        rows.pick_from(0, &order);
        out.append(rows);
        Ok(())
    }

    fn chunks(&self, range: TimeRange) -> Result<Vec<EncodedChunk>, StorageError> {
        let mut samples = SampleBuf::default();
        self.read(range, &mut samples)?;
        storage::encode::chunks(&samples)
    }
}
