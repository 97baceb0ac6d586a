//! The histogram rows of a batch: checked behind the floats of their series, logged and applied behind all floats.

use super::HeadWriter;
use super::apply::{Applied, make_room};
use super::verdict::{Item, Verdict, last_of, refuse};
use crate::head::entry::{Entry, HAS_LAST, LAST_ON_DISK, PENDING};
use crate::head::histogram::{fingerprint, validate};
use crate::head::page::Walk;
use crate::head::views::Applying;
use crate::head::{Bounds, Head};
use crate::wal::HistogramEntry;
use model::{FloatHistogram, Sample};
use std::sync::Arc;
use storage::{Batch, HistogramRow, RejectReason, RowKind, SampleBuf, SeriesRef, WriteOutcome};

/// A histogram that passed the checks.
pub(super) struct HistogramItem {
    pub(super) series: u32,
    /// Row of the batch.
    row: u32,
    /// Index into the table of `kind`: a stale marker of a histogram series comes as a float.
    at: u32,
    kind: RowKind,
    t: i64,
    /// Start timestamp in ms, 0 for none.
    start: i64,
    /// Its mark says whether it holds integers: that was looked at.
    histogram: Arc<FloatHistogram>,
    /// Of the histogram.
    fingerprint: u64,
    pub(super) late: bool,
}

impl HistogramItem {
    fn entry(&self) -> HistogramEntry<'_> {
        let series = SeriesRef(u64::from(self.series));
        let histogram = &self.histogram;
        HistogramEntry { series, t: self.t, start: self.start, integer: histogram.integer, histogram }
    }

    fn rows(&self) -> SampleBuf {
        let mut rows = SampleBuf::default();
        rows.push_histogram(self.t, self.histogram.clone());
        rows.set_last_start(self.start);
        rows
    }

    fn count(&self, out: &mut WriteOutcome) {
        match self.kind {
            RowKind::Sample => out.samples += 1,
            _ => out.histograms += 1,
        }
    }
}

/// The series as the checks of a row see it.
pub(super) struct Seen<'a> {
    pub(super) entry: &'a mut Entry,
    pub(super) series: u32,
    pub(super) row: u32,
    pub(super) last: Option<(i64, u64)>,
    pub(super) known: bool,
}

impl Seen<'_> {
    /// Whether samples of another batch are pending.
    pub(super) fn is_taken(&self, bounds: Bounds, items: &[Item], histograms: &[HistogramItem]) -> bool {
        self.entry.is(PENDING)
            && !bounds.alone
            && !histograms.iter().rev().any(|item| item.series == self.series && !item.late)
            && !items.iter().rev().any(|item| item.series == self.series && !item.late)
    }

    /// Checks one histogram, which may be the zero of one that came in; `false` as for floats.
    #[cold]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn check(
        &mut self,
        (kind, at, zero): (RowKind, u32, bool),
        histogram: &HistogramRow,
        bounds: Bounds,
        items: &[Item],
        list: &mut Vec<HistogramItem>,
        out: &mut WriteOutcome,
        head: &Head,
    ) -> bool {
        let (t, start) = (histogram.t, if head.options.store_starts { histogram.start } else { 0 });
        let mut histogram = histogram.histogram.clone();
        let whole = match validate(&histogram) {
            Ok(whole) => whole,
            Err(what) => {
                refuse(out, self.row, kind, at, RejectReason::InvalidHistogram(what));
                return true;
            }
        };
        if histogram.integer && !whole {
            // Too large to be told apart as integers: it goes on as floats.
            Arc::make_mut(&mut histogram).integer = false;
        }
        let value = fingerprint(&histogram);
        let (series, row) = (self.series, self.row);
        let mut item =
            HistogramItem { series, row, at, kind, t, start, histogram, fingerprint: value, late: false };
        match bounds.verdict(self.last, self.known, Sample { t, v: f64::from_bits(value) }) {
            Verdict::Append => {
                if self.is_taken(bounds, items, list) {
                    return false;
                }
                self.entry.flags |= PENDING;
                self.last = Some((t, value));
                self.known = true;
                list.push(item);
            }
            _ if zero => refuse(out, row, kind, at, RejectReason::OutOfOrder),
            Verdict::Late => {
                head.metrics.late_delta.observe((bounds.head_max - t) as f64 / 1000.0);
                item.late = true;
                list.push(item);
            }
            Verdict::Same => item.count(out),
            refused => refuse_histogram(out, &item, refused, head),
        }
        true
    }
}

fn refuse_histogram(out: &mut WriteOutcome, item: &HistogramItem, verdict: Verdict, head: &Head) {
    let metrics = &head.metrics;
    let reason = match verdict {
        Verdict::OutOfBounds => {
            metrics.out_of_bound_histograms.inc();
            RejectReason::OutOfBounds
        }
        Verdict::TooOld => {
            metrics.too_old_histograms.inc();
            RejectReason::TooOld
        }
        Verdict::Duplicate => RejectReason::DuplicateTimestamp,
        Verdict::OutOfOrder | Verdict::Append | Verdict::Late | Verdict::Same => {
            metrics.out_of_order_histograms.inc();
            RejectReason::OutOfOrder
        }
    };
    refuse(out, item.row, item.kind, item.at, reason);
}

impl HeadWriter {
    /// Adds the records of all histograms, or of late ones, to those to be logged.
    pub(super) fn record_histograms(&mut self, late_only: bool) {
        let some = self.histograms.iter().filter(|item| item.late || !late_only);
        let with_starts = some.clone().any(|item| item.start != 0);
        self.record.histograms(with_starts, some.map(HistogramItem::entry));
    }

    pub(super) fn apply_histograms(
        &self,
        applying: &Applying<'_>,
        walk: &mut Walk<'_>,
        bounds: Bounds,
        sum: &mut Applied,
        out: &mut WriteOutcome,
    ) {
        let head = &*self.head;
        for item in &self.histograms {
            let Some((cells, slot)) = walk.go(item.series) else { continue };
            let entry = cells.entry(slot);
            let mut late = item.late;
            if !late && entry.is(HAS_LAST) && item.t <= entry.last_t {
                // An earlier row of this batch came in between.
                let s = Sample { t: item.t, v: f64::from_bits(item.fingerprint) };
                match bounds.verdict(last_of(entry), !entry.is(LAST_ON_DISK), s) {
                    _ if item.kind == RowKind::Histogram && self.zeros.is_histogram(item.at) => {
                        refuse(out, item.row, item.kind, item.at, RejectReason::OutOfOrder);
                    }
                    Verdict::Same => item.count(out),
                    Verdict::Late => {
                        late = true;
                        sum.overtaken.push((item.series, item.rows()));
                    }
                    other => refuse_histogram(out, item, other, head),
                }
                if !late {
                    continue;
                }
            }
            if late {
                let room = make_room(head, cells, slot, item.series, sum);
                if room.insert_histogram(item.t, item.start, &item.histogram) {
                    sum.late_histograms += 1;
                    sum.saw_late(item.t);
                }
                item.count(out);
                continue;
            }
            let last_t = cells.peek(slot).last_t;
            cells.history.note(applying, slot, last_t);
            let (mut place, h) = (head.place(cells, slot, item.series), &item.histogram);
            let moved = place.append_histogram(item.t, item.start, h, h.integer, item.fingerprint);
            sum.opened += moved.opened;
            sum.mapped += moved.mapped;
            sum.min = sum.min.min(item.t);
            sum.max = sum.max.max(item.t);
            sum.histograms += 1;
            item.count(out);
        }
    }
}

/// Time of the first sample of a batch.
pub(super) fn first_time(batch: &Batch<'_>) -> Option<i64> {
    batch.samples.first().map(|s| s.t).or_else(|| batch.histograms.first().map(|h| h.t))
}
