//! Late samples of one series: a small sorted list, and the chunks that earlier lists became.

use super::Head;
use super::histogram::fingerprint;
use super::page::Mapped;
use crate::wal::{HistogramEntry, RecordBuf};
use model::histogram::CounterResetHint;
use model::{FloatHistogram, Sample, TimeRange};
use std::sync::Arc;
use storage::{SampleBuf, SeriesRef};

/// Late samples are kept sorted and become a chunk on disk when there are this many (upstream's
/// `out_of_order_cap_max`).
pub(crate) const LATE_CAP: usize = 32;

#[derive(Clone, Debug, Default)]
pub(crate) struct Late {
    /// Sorted by time, no time twice. The value of a histogram is its fingerprint.
    pub(crate) open: Vec<Sample>,
    /// The histograms among them, sorted by time.
    histograms: Vec<(i64, Arc<FloatHistogram>)>,
    /// Start timestamps of those that have one, sorted by time.
    starts: Vec<(i64, i64)>,
    /// In the order in which they were written; they overlap.
    pub(crate) mapped: Vec<Mapped>,
}

impl Late {
    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= LATE_CAP
    }

    /// `false` when a sample of this time is there already.
    pub(crate) fn insert(&mut self, s: Sample) -> bool {
        if self.open.last().is_none_or(|last| last.t < s.t) {
            self.grow();
            self.open.push(s);
            return true;
        }
        match self.open.binary_search_by_key(&s.t, |have| have.t) {
            Ok(_) => false,
            Err(at) => {
                self.grow();
                self.open.insert(at, s);
                true
            }
        }
    }

    /// [`Late::insert`] with a start timestamp; 0 for none.
    pub(crate) fn insert_started(&mut self, s: Sample, start: i64) -> bool {
        let fresh = self.insert(s);
        if fresh && start != 0 {
            let at = self.starts.partition_point(|(have, _)| *have < s.t);
            self.starts.insert(at, (s.t, start));
        }
        fresh
    }

    /// [`Late::insert_started`] of a histogram.
    pub(crate) fn insert_histogram(&mut self, t: i64, start: i64, h: &Arc<FloatHistogram>) -> bool {
        let fresh = self.insert_started(Sample { t, v: f64::from_bits(fingerprint(h)) }, start);
        if fresh {
            let at = self.histograms.partition_point(|(have, _)| *have < t);
            self.histograms.insert(at, (t, h.clone()));
        }
        fresh
    }

    /// The histogram at a time.
    fn histogram_at(&self, t: i64) -> Option<&Arc<FloatHistogram>> {
        let at = self.histograms.binary_search_by_key(&t, |(have, _)| *have).ok()?;
        Some(&self.histograms[at].1)
    }

    /// Keeps open samples for whose time `keep` says true.
    pub(crate) fn retain(&mut self, keep: impl Fn(i64) -> bool) {
        self.open.retain(|s| keep(s.t));
        self.histograms.retain(|(t, _)| keep(*t));
        self.starts.retain(|(t, _)| keep(*t));
    }

    pub(crate) fn clear_open(&mut self) {
        self.open.clear();
        self.histograms = Vec::new();
        self.starts = Vec::new();
    }

    /// The open samples within a range.
    pub(crate) fn rows(&self, range: TimeRange) -> SampleBuf {
        let mut rows = SampleBuf::default();
        for s in self.open.iter().filter(|s| range.contains(s.t)) {
            match self.histogram_at(s.t) {
                Some(h) => rows.push_histogram(s.t, h.clone()),
                None => rows.push_float(s.t, s.v),
            }
            if let Ok(at) = self.starts.binary_search_by_key(&s.t, |(have, _)| *have) {
                rows.set_last_start(self.starts[at].1);
            }
        }
        rows
    }

    fn grow(&mut self) {
        if self.open.capacity() == 0 {
            self.open.reserve_exact(4);
        }
    }

    pub(crate) fn range(&self) -> Option<(i64, i64)> {
        Some((self.open.first()?.t, self.open.last()?.t))
    }
}

/// What a sender says of a counter reset is about the sample before it in its own order, which need not be here.
pub(super) fn forget_senders_hints(rows: &mut SampleBuf) {
    for (_, h) in &mut rows.histograms {
        if matches!(h.counter_reset_hint, CounterResetHint::CounterReset | CounterResetHint::NotCounterReset)
        {
            Arc::make_mut(h).counter_reset_hint = CounterResetHint::Unknown;
        }
    }
}

/// Adds records of late samples by their series, as the log of late samples has them.
pub(super) fn record_rows(records: &mut RecordBuf, list: &[(u32, SampleBuf)]) {
    let with_starts = list.iter().any(|(_, rows)| !rows.starts.is_empty());
    let floats = list.iter().flat_map(|(series, rows)| {
        let mut histograms = rows.histograms.iter().map(|(at, _)| *at as usize).peekable();
        (0..rows.len())
            .filter(move |at| histograms.next_if_eq(at).is_none())
            .map(|at| (SeriesRef(u64::from(*series)), rows.times[at], rows.start_at(at), rows.floats[at]))
    });
    if with_starts {
        let mut record = records.samples_with_starts();
        floats.for_each(|(series, t, start, v)| record.push(series, t, start, v));
    } else {
        let mut record = records.samples();
        floats.for_each(|(series, t, _, v)| record.push(series, t, v));
    }
    let histograms = list.iter().flat_map(|(series, rows)| {
        rows.histograms.iter().map(|(at, histogram)| HistogramEntry {
            series: SeriesRef(u64::from(*series)),
            t: rows.times[*at as usize],
            start: rows.start_at(*at as usize),
            integer: histogram.holds_integers(),
            histogram,
        })
    });
    records.histograms(with_starts, histograms);
}

/// Puts the open late samples of a series on disk: floats as one chunk, histograms as one for each layout, all of
/// them in the order of their times. Gives the new ones.
pub(super) fn write_late(head: &Head, series: u32, late: &mut Late) -> Vec<Mapped> {
    let mut new = Vec::with_capacity(1);
    if late.histograms.is_empty() && head.kinds().xor2 {
        let mut chunk = chunk::Xor2Chunk::new();
        let rows = late.rows(TimeRange::ALL);
        for (at, (t, v)) in rows.times.iter().zip(&rows.floats).enumerate() {
            chunk.push(*t, rows.start_at(at), *v);
        }
        let (min, max) = late.range().unwrap_or_default();
        let at = head.mapper.write_as(chunk::Encoding::Xor2, series, min, max, true, chunk.data());
        new.push(Mapped { at, min, max });
    } else if late.histograms.is_empty() && late.starts.is_empty() {
        let mut chunk = chunk::XorChunk::new();
        for s in &late.open {
            chunk.push(s.t, s.v);
        }
        let (min, max) = late.range().unwrap_or_default();
        new.push(Mapped { at: head.mapper.write(series, min, max, true, chunk.data()), min, max });
    } else {
        // Nothing that a chunk of the head could not hold comes here.
        for chunk in storage::encode::chunks(&late.rows(TimeRange::ALL)).unwrap_or_default() {
            let Some(encoding) = chunk::Encoding::from_number(chunk.encoding) else { continue };
            let (min, max) = (chunk.range.min, chunk.range.max);
            let at = head.mapper.write_as(encoding, series, min, max, true, &chunk.data);
            new.push(Mapped { at, min, max });
        }
    }
    late.clear_open();
    late.mapped.extend_from_slice(&new);
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_sorted_and_refuses_duplicates() {
        let mut late = Late::default();
        for t in [5, 1, 3, 5, 2, 1] {
            late.insert(Sample { t, v: t as f64 });
        }
        let times: Vec<_> = late.open.iter().map(|s| s.t).collect();
        assert_eq!(times, [1, 2, 3, 5]);
        assert_eq!(late.range(), Some((1, 5)));
    }
}
