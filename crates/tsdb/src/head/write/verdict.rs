//! What becomes of a sample: upstream's rules against the newest sample of its series.

use super::histograms::{HistogramItem, Seen};
use crate::head::entry::{Entry, HAS_LAST, HISTOGRAM, INTEGER, LAST_ON_DISK, PENDING};
use crate::head::{Bounds, Head};
use crate::zeros::Zeros;
use model::{FloatHistogram, Sample, is_stale_nan};
use std::sync::Arc;
use storage::{Batch, HistogramRow, RejectReason, Rejection, RowKind, WriteOutcome};

/// A sample that passed the checks.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) series: u32,
    /// Row of the batch.
    pub(super) row: u32,
    /// Index into the batch's samples.
    pub(super) at: u32,
    pub(super) late: bool,
}

/// What becomes of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Append,
    Late,
    /// The same sample is there already.
    Same,
    Duplicate,
    OutOfOrder,
    OutOfBounds,
    TooOld,
}

impl Bounds {
    /// Upstream's rules (`memSeries.appendable`), against the newest sample of the series.
    #[inline]
    pub(super) fn verdict(&self, last: Option<(i64, u64)>, value_known: bool, s: Sample) -> Verdict {
        if s.t >= self.min_valid {
            let Some((last_t, last_v)) = last else { return Verdict::Append };
            if s.t > last_t {
                return Verdict::Append;
            }
            if s.t == last_t {
                let same = !value_known || last_v == s.v.to_bits();
                return if same { Verdict::Same } else { Verdict::Duplicate };
            }
        }
        if self.window_ms > 0 {
            return if s.t < self.head_max.saturating_sub(self.window_ms) {
                Verdict::TooOld
            } else if self.reject_late {
                Verdict::OutOfOrder
            } else {
                Verdict::Late
            };
        }
        if s.t < self.min_valid { Verdict::OutOfBounds } else { Verdict::OutOfOrder }
    }
}

/// A row range of a batch, kept within its table.
pub(super) fn rows(range: std::ops::Range<u32>, len: usize) -> std::ops::Range<u32> {
    range.start..range.end.min(len as u32)
}

pub(super) fn refuse(out: &mut WriteOutcome, series: u32, kind: RowKind, row: u32, reason: RejectReason) {
    out.rejected.push(Rejection { series, kind, row, reason });
}

#[cold]
pub(super) fn refuse_sample(out: &mut WriteOutcome, row: u32, at: u32, verdict: Verdict, head: &Head) {
    let reason = match verdict {
        Verdict::OutOfOrder => {
            head.metrics.out_of_order.inc();
            RejectReason::OutOfOrder
        }
        Verdict::OutOfBounds => {
            head.metrics.out_of_bound.inc();
            RejectReason::OutOfBounds
        }
        Verdict::TooOld => {
            head.metrics.too_old.inc();
            RejectReason::TooOld
        }
        Verdict::Duplicate => RejectReason::DuplicateTimestamp,
        Verdict::Append | Verdict::Late | Verdict::Same => return,
    };
    refuse(out, row, RowKind::Sample, at, reason);
}

#[inline]
pub(super) fn last_of(entry: &Entry) -> Option<(i64, u64)> {
    entry.is(HAS_LAST).then_some((entry.last_t, entry.last_v))
}

/// Checks the samples of one row against the series as it is now. `false` when another batch has samples of
/// the series pending: which of the two comes first is not known yet.
#[inline]
#[allow(clippy::too_many_arguments)]
pub(super) fn check(
    (batch, zeros): (&Batch<'_>, &Zeros),
    row: u32,
    series: u32,
    entry: &mut Entry,
    bounds: Bounds,
    items: &mut Vec<Item>,
    histograms: &mut Vec<HistogramItem>,
    out: &mut WriteOutcome,
    head: &Head,
) -> bool {
    let of = &batch.series[row as usize];
    let mut last = last_of(entry);
    let mut known = !entry.is(LAST_ON_DISK);
    for at in rows(of.samples.clone(), batch.samples.len()) {
        let s = batch.samples[at as usize];
        if entry.is(HISTOGRAM) && is_stale_nan(s.v) {
            // The end of a histogram series is a histogram too, as upstream has it.
            let integer = entry.is(INTEGER);
            let histogram = Arc::new(FloatHistogram { sum: s.v, integer, ..FloatHistogram::default() });
            let start = batch.starts.get(at as usize).copied().unwrap_or(0);
            let h = HistogramRow { t: s.t, start, histogram };
            let mut seen = Seen { entry, series, row, last, known };
            if !seen.check((RowKind::Sample, at, false), &h, bounds, items, histograms, out, head) {
                return false;
            }
            (last, known) = (seen.last, seen.known);
            continue;
        }
        match bounds.verdict(last, known, s) {
            Verdict::Append => {
                if entry.is(PENDING) && !bounds.alone {
                    let own = items.iter().rev().any(|item| item.series == series && !item.late);
                    if !own && !histograms.iter().any(|item| item.series == series && !item.late) {
                        return false;
                    }
                }
                entry.flags |= PENDING;
                items.push(Item { series, row, at, late: false });
                last = Some((s.t, s.v.to_bits()));
                known = true;
            }
            _ if zeros.is_sample(at) => refuse(out, row, RowKind::Sample, at, RejectReason::OutOfOrder),
            Verdict::Late => {
                head.metrics.late_delta.observe((bounds.head_max - s.t) as f64 / 1000.0);
                items.push(Item { series, row, at, late: true });
            }
            Verdict::Same => out.samples += 1,
            refused => refuse_sample(out, row, at, refused, head),
        }
    }
    if !of.histograms.is_empty() {
        let mut seen = Seen { entry, series, row, last, known };
        for at in rows(of.histograms.clone(), batch.histograms.len()) {
            let h = &batch.histograms[at as usize];
            let zero = zeros.is_histogram(at);
            if !seen.check((RowKind::Histogram, at, zero), h, bounds, items, histograms, out, head) {
                return false;
            }
        }
    }
    true
}
