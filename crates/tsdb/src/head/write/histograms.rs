//! The histogram rows of a batch: checked behind the floats of their series, logged and applied behind all floats.

use super::HeadWriter;
use super::apply::Applied;
use super::verdict::{Item, Verdict, last_of, refuse};
use crate::head::entry::{Entry, HAS_LAST, LAST_ON_DISK, PENDING};
use crate::head::histogram::{append, fingerprint, validate};
use crate::head::page::Walk;
use crate::head::{Bounds, Head};
use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{FloatHistogram, Sample};
use std::sync::Arc;
use storage::{Batch, RejectReason, RowKind, SeriesRef, WriteOutcome};

/// A histogram that passed the checks.
pub(super) struct HistogramItem {
    pub(super) series: u32,
    /// Row of the batch.
    row: u32,
    /// Index into the table of `kind`: a stale marker of a histogram series comes as a float.
    at: u32,
    kind: RowKind,
    t: i64,
    histogram: Arc<FloatHistogram>,
}

impl HistogramItem {
    fn is_custom(&self) -> bool {
        self.histogram.schema == CUSTOM_BUCKETS_SCHEMA
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
            && !histograms.iter().rev().any(|item| item.series == self.series)
            && !items.iter().rev().any(|item| item.series == self.series && !item.late)
    }

    /// Checks one histogram; `false` as for floats.
    #[cold]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn check(
        &mut self,
        (kind, at, t): (RowKind, u32, i64),
        histogram: Arc<FloatHistogram>,
        bounds: Bounds,
        items: &[Item],
        list: &mut Vec<HistogramItem>,
        out: &mut WriteOutcome,
        head: &Head,
    ) -> bool {
        if let Err(what) = validate(&histogram) {
            refuse(out, self.row, kind, at, RejectReason::InvalidHistogram(what));
            return true;
        }
        let value = fingerprint(&histogram);
        let item = HistogramItem { series: self.series, row: self.row, at, kind, t, histogram };
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
            Verdict::Same => item.count(out),
            refused => refuse_histogram(out, &item, refused, bounds, head),
        }
        true
    }
}

/// Late histograms are not stored by this version.
fn refuse_histogram(
    out: &mut WriteOutcome,
    item: &HistogramItem,
    verdict: Verdict,
    bounds: Bounds,
    head: &Head,
) {
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
        Verdict::Late => {
            metrics.late_delta.observe((bounds.head_max - item.t) as f64 / 1000.0);
            metrics.histograms_refused.inc();
            metrics.out_of_order_histograms.inc();
            RejectReason::OutOfOrder
        }
        Verdict::OutOfOrder | Verdict::Append | Verdict::Same => {
            metrics.out_of_order_histograms.inc();
            RejectReason::OutOfOrder
        }
    };
    refuse(out, item.row, item.kind, item.at, reason);
}

impl HeadWriter {
    /// Adds the records of histograms to those to be logged, and brings the rows into the order of the log: a
    /// record has buckets of one kind.
    pub(super) fn record_histograms(&mut self) {
        self.histograms.sort_by_key(HistogramItem::is_custom);
        for custom in [false, true] {
            let mut record = self.record.float_histograms(custom);
            for item in self.histograms.iter().filter(|item| item.is_custom() == custom) {
                record.push(SeriesRef(u64::from(item.series)), item.t, &item.histogram);
            }
        }
    }

    pub(super) fn apply_histograms(
        &self,
        walk: &mut Walk<'_>,
        bounds: Bounds,
        sum: &mut Applied,
        out: &mut WriteOutcome,
    ) {
        let head = &*self.head;
        for item in &self.histograms {
            let Some((cells, slot)) = walk.go(item.series) else { continue };
            let entry = cells.entry(slot);
            if entry.is(HAS_LAST) && item.t <= entry.last_t {
                // An earlier row of this batch came in between.
                let s = Sample { t: item.t, v: f64::from_bits(fingerprint(&item.histogram)) };
                match bounds.verdict(last_of(entry), !entry.is(LAST_ON_DISK), s) {
                    Verdict::Same => item.count(out),
                    other => refuse_histogram(out, item, other, bounds, head),
                }
                continue;
            }
            let moved = append(&head.mapper, head.rule, cells, slot, item.series, item.t, &item.histogram);
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
