//! Applying a batch that is logged, and what is logged because of it.

use super::HeadWriter;
use super::verdict::{Verdict, last_of, refuse, refuse_sample};
use crate::head::entry::{ASIDE, HAS_LAST, HISTOGRAM, LAST_ON_DISK};
use crate::head::ooo::{Late, record_rows, write_late};
use crate::head::page::{Cells, Mapped, Walk};
use crate::head::{Bounds, Head};
use model::TimeRange;
use storage::{Batch, RejectReason, RowKind, SampleBuf, SeriesRef, WriteError, WriteOutcome};

/// Everything that applying one batch adds up, so that shared counters are touched once.
pub(super) struct Applied {
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) appended: u64,
    pub(super) histograms: u64,
    pub(super) late: u64,
    pub(super) late_histograms: u64,
    pub(super) late_min: i64,
    pub(super) late_max: i64,
    pub(super) opened: u64,
    pub(super) mapped: u64,
    /// Chunks of late samples that went to disk.
    pub(super) markers: Vec<(u32, u64)>,
    /// Samples that were in order when checked and late when applied.
    pub(super) overtaken: Vec<(u32, SampleBuf)>,
}

impl Applied {
    pub(super) fn saw_late(&mut self, t: i64) {
        self.late_min = self.late_min.min(t);
        self.late_max = self.late_max.max(t);
    }
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
            late_histograms: 0,
            late_min: i64::MAX,
            late_max: i64::MIN,
            opened: 0,
            mapped: 0,
            markers: Vec::new(),
            overtaken: Vec::new(),
        };
        let (kinds, starts) = (head.kinds(), head.starts_of(batch));
        let applying = head.views.apply();
        for item in &self.items {
            let s = batch.samples[item.at as usize];
            let Some((cells, slot)) = walk.go(item.series) else { continue };
            let entry = cells.entry(slot);
            if !item.late {
                if !entry.is(HAS_LAST) || s.t > entry.last_t {
                    let last_t = entry.last_t;
                    cells.history.note(&applying, slot, last_t);
                    let entry = cells.entry(slot);
                    if kinds.xor2 || entry.is(HISTOGRAM | ASIDE) {
                        let moved =
                            head.place(cells, slot, item.series).append_float(s, start_of(starts, item.at));
                        sum.opened += moved.opened;
                        sum.mapped += moved.mapped;
                    } else {
                        let (closed, opened) = entry.append(s, head.rule);
                        if opened {
                            sum.opened += 1;
                            if let Some(chunk) = closed {
                                let at =
                                    head.mapper.write(item.series, chunk.min, chunk.max, false, &chunk.bytes);
                                cells.add_mapped(slot, Mapped { at, min: chunk.min, max: chunk.max });
                                sum.mapped += 1;
                            }
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
                    _ if self.zeros.is_sample(item.at) => {
                        refuse(out, item.row, RowKind::Sample, item.at, RejectReason::OutOfOrder);
                        continue;
                    }
                    Verdict::Late => {
                        let mut rows = SampleBuf::default();
                        rows.push_float(s.t, s.v);
                        rows.set_last_start(start_of(starts, item.at));
                        sum.overtaken.push((item.series, rows));
                    }
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
            let room = make_room(head, cells, slot, item.series, &mut sum);
            if room.insert_started(s, start_of(starts, item.at)) {
                sum.late += 1;
                sum.saw_late(s.t);
            }
            out.samples += 1;
        }
        self.apply_histograms(&applying, &mut walk, bounds, &mut sum, out);
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
        let mut rows: Vec<(u32, SampleBuf)> = Vec::new();
        for (series, _) in &sum.markers {
            if rows.last().is_none_or(|(last, _)| last != series)
                && let Some((cells, slot)) = walk.go(*series)
                && let Some(late) = cells.late(slot)
            {
                rows.push((*series, late.rows(TimeRange::ALL)));
            }
        }
        drop(walk);
        rows.extend_from_slice(&sum.overtaken);
        record_rows(&mut self.record, &rows);
        head.wbl()?.log(&self.record)?;
        Ok(())
    }
}

#[inline]
fn start_of(starts: &[i64], at: u32) -> i64 {
    starts.get(at as usize).copied().unwrap_or(0)
}

/// The late samples of a series, with room for one more.
pub(super) fn make_room<'c>(
    head: &Head,
    cells: &'c mut Cells,
    slot: usize,
    series: u32,
    sum: &mut Applied,
) -> &'c mut Late {
    let late = cells.late_mut(slot);
    if late.is_full() {
        for mapped in write_late(head, series, late) {
            sum.markers.push((series, mapped.at));
            sum.mapped += 1;
        }
    }
    if late.open.is_empty() {
        sum.opened += 1;
    }
    late
}
