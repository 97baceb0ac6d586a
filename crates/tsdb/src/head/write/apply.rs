//! Applying a batch that is logged, and what is logged because of it.

use super::HeadWriter;
use super::verdict::{Verdict, last_of, refuse_sample};
use crate::head::entry::{HAS_LAST, HISTOGRAM, LAST_ON_DISK};
use crate::head::histogram::close;
use crate::head::page::{Cells, Mapped, Walk};
use crate::head::{Bounds, Head};
use model::Sample;
use storage::{Batch, SeriesRef, WriteError, WriteOutcome};

/// Everything that applying one batch adds up, so that shared counters are touched once.
pub(super) struct Applied {
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) appended: u64,
    pub(super) histograms: u64,
    pub(super) late: u64,
    pub(super) late_min: i64,
    pub(super) late_max: i64,
    pub(super) opened: u64,
    pub(super) mapped: u64,
    /// Chunks of late samples that went to disk.
    pub(super) markers: Vec<(u32, u64)>,
    /// Samples that were in order when checked and late when applied.
    pub(super) overtaken: Vec<(u32, Sample)>,
}

impl HeadWriter {
    pub(super) fn apply(&mut self, batch: &Batch<'_>, bounds: Bounds, out: &mut WriteOutcome) -> Applied {
        let head = &*self.head;
        let pages = head.table.pages();
        let mut walk = Walk::new(&pages);
        let mut sum = Applied {
            min: i64::MAX,
            max: i64::MIN,
            appended: 0,
            histograms: 0,
            late: 0,
            late_min: i64::MAX,
            late_max: i64::MIN,
            opened: 0,
            mapped: 0,
            markers: Vec::new(),
            overtaken: Vec::new(),
        };
        for item in &self.items {
            let s = batch.samples[item.at as usize];
            let Some((cells, slot)) = walk.go(item.series) else { continue };
            let entry = cells.entry(slot);
            if !item.late {
                if !entry.is(HAS_LAST) || s.t > entry.last_t {
                    if entry.is(HISTOGRAM) {
                        sum.mapped += u64::from(close(&head.mapper, cells, slot, item.series));
                    }
                    let (closed, opened) = cells.entry(slot).append(s, head.rule);
                    if opened {
                        sum.opened += 1;
                        if let Some(chunk) = closed {
                            let at =
                                head.mapper.write(item.series, chunk.min, chunk.max, false, &chunk.bytes);
                            cells.add_mapped(slot, Mapped { at, min: chunk.min, max: chunk.max });
                            sum.mapped += 1;
                        }
                    }
                    sum.min = sum.min.min(s.t);
                    sum.max = sum.max.max(s.t);
                    sum.appended += 1;
                    out.samples += 1;
                    continue;
                }
                // Another batch, or an earlier row of this one, came in between.
                match bounds.verdict(last_of(entry), !entry.is(LAST_ON_DISK), s) {
                    Verdict::Late => sum.overtaken.push((item.series, s)),
                    Verdict::Same => {
                        out.samples += 1;
                        continue;
                    }
                    other => {
                        refuse_sample(out, item.row, item.at, other, head);
                        continue;
                    }
                }
            }
            insert_late(head, cells, slot, item.series, s, &mut sum);
            out.samples += 1;
        }
        self.apply_histograms(&mut walk, bounds, &mut sum, out);
        sum
    }

    /// Markers of late chunks that went to disk. A marker voids what the log of late samples holds of its
    /// series so far, so what is still in memory is logged again behind it.
    pub(super) fn log_markers(&mut self, sum: &Applied) -> Result<(), WriteError> {
        if sum.markers.is_empty() && sum.overtaken.is_empty() {
            return Ok(());
        }
        let head = &*self.head;
        head.mapper.flush();
        self.record.clear();
        let mut markers = self.record.mmap_markers();
        for (series, at) in &sum.markers {
            markers.push(SeriesRef(u64::from(*series)), *at);
        }
        drop(markers);
        let pages = head.table.pages();
        let mut walk = Walk::new(&pages);
        let mut samples = self.record.samples();
        for (series, _) in &sum.markers {
            if let Some((cells, slot)) = walk.go(*series)
                && let Some(late) = cells.late(slot)
            {
                for s in &late.open {
                    samples.push(SeriesRef(u64::from(*series)), s.t, s.v);
                }
            }
        }
        for (series, s) in &sum.overtaken {
            samples.push(SeriesRef(u64::from(*series)), s.t, s.v);
        }
        drop(samples);
        head.wbl()?.log(&self.record)?;
        Ok(())
    }
}

fn insert_late(head: &Head, cells: &mut Cells, slot: usize, series: u32, s: Sample, sum: &mut Applied) {
    let late = cells.late_mut(slot);
    if late.is_full() {
        let mapped = write_late(head, series, &late.open);
        late.open.clear();
        late.mapped.push(mapped);
        sum.markers.push((series, mapped.at));
        sum.mapped += 1;
    }
    if late.open.is_empty() {
        sum.opened += 1;
    }
    if late.insert(s) {
        sum.late += 1;
        sum.late_min = sum.late_min.min(s.t);
        sum.late_max = sum.late_max.max(s.t);
    }
}

/// Writes late samples as a chunk.
pub(in crate::head) fn write_late(head: &Head, series: u32, samples: &[Sample]) -> Mapped {
    let mut chunk = chunk::XorChunk::new();
    for s in samples {
        chunk.push(s.t, s.v);
    }
    let (min, max) = (samples.first().map_or(0, |s| s.t), samples.last().map_or(0, |s| s.t));
    Mapped { at: head.mapper.write(series, min, max, true, chunk.data()), min, max }
}
