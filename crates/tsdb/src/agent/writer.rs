//! A batch of the agent: resolve all series, check and note all samples, one write to the log.
//!
//! Newest samples are noted while they are checked, so that rows of one batch see each other; when the log
//! fails they are put back, and the sender's retry finds everything as it was.

use super::Inner;
use super::series::{Entry, Identity, Page, place};
use crate::head::canon;
use crate::wal::{HistogramEntry, RecordBuf};
use crate::zeros::Zeros;
use model::exemplar::MAX_LABEL_CHARS;
use std::collections::HashMap;
use std::sync::Arc;
use storage::key;
use storage::{
    Batch, BatchSeries, ExemplarRow, RejectReason, Rejection, RowKind, SeriesId, SeriesRef, WriteError,
    WriteOutcome, Writer,
};

/// Scratch above this size is given back after an unusual batch.
const KEPT_ITEMS: usize = 1 << 16;
const KEPT_RECORD_BYTES: usize = 4 << 20;
/// Series whose last exemplar is remembered to notice its return, per writer.
const MAX_EXEMPLARS: usize = 1 << 16;

pub(super) struct AgentWriter {
    store: Arc<Inner>,
    /// Series of the last row: its successor is the first guess for the next.
    last: u64,
    page: Option<(u64, Arc<Page>)>,
    record: RecordBuf,
    zeros: Zeros,
    /// Row and sample of everything accepted.
    floats: Vec<(u64, u32)>,
    histograms: Vec<(u64, u32)>,
    exemplars: Vec<(u64, u32)>,
    /// Newest samples as they were before this batch.
    undo: Vec<(u64, i64, u64)>,
    unlogged: Vec<u64>,
    last_exemplars: HashMap<u64, Identity>,
    new_exemplars: Vec<(u64, Identity)>,
}

impl Writer for AgentWriter {
    fn write(&mut self, batch: &Batch<'_>, outcome: &mut WriteOutcome) -> Result<(), WriteError> {
        if !self.store.options.start_zeros || !Zeros::are_wanted(batch) {
            return self.write_rows(batch, outcome);
        }
        let wide = self.zeros.widen(batch);
        let written = self.write_rows(&wide, outcome);
        self.zeros.settle(&wide, outcome);
        written
    }
}

impl AgentWriter {
    fn write_rows(&mut self, batch: &Batch<'_>, outcome: &mut WriteOutcome) -> Result<(), WriteError> {
        let store = self.store.clone();
        let _gate = store.gate.read();
        outcome.clear();
        self.clear();
        self.resolve(&store, batch, outcome);
        for (row, series) in batch.series.iter().enumerate() {
            let id = outcome.refs[row].0;
            if id != 0 {
                self.check(batch, row as u32, series, id, outcome);
            }
        }
        // Rows were refused in two rounds; callers want the order of the batch.
        outcome.rejected.sort_by_key(|r| (r.series, r.kind != RowKind::Series));
        for row in &batch.metadata {
            store.metadata.set(row, store.options.max_metadata);
        }
        self.encode(batch);
        if let Err(e) = store.wal.log(&self.record) {
            self.put_back();
            outcome.clear();
            return Err(e.into());
        }
        self.applied(outcome);
        Ok(())
    }

    pub(super) fn new(store: Arc<Inner>) -> Self {
        AgentWriter {
            store,
            last: 0,
            page: None,
            record: RecordBuf::new(),
            zeros: Zeros::default(),
            floats: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            undo: Vec::new(),
            unlogged: Vec::new(),
            last_exemplars: HashMap::new(),
            new_exemplars: Vec::new(),
        }
    }

    fn clear(&mut self) {
        // Pages may have been removed between batches.
        self.page = None;
        self.record.clear();
        self.record.shrink_over(KEPT_RECORD_BYTES);
        for list in [&mut self.floats, &mut self.histograms, &mut self.exemplars] {
            list.clear();
            list.shrink_to(KEPT_ITEMS);
        }
        self.undo.clear();
        self.undo.shrink_to(KEPT_ITEMS);
        self.unlogged.clear();
        self.new_exemplars.clear();
    }

    /// Calls `f` with a live entry; successive series of one page find it without a look-up.
    fn with<T>(&mut self, series: u64, f: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let (number, index) = place(series);
        if self.page.as_ref().is_none_or(|(at, _)| *at != number) {
            self.page = Some((number, self.store.series.page(number)?));
        }
        let (_, page) = self.page.as_ref()?;
        let mut entries = page.lock();
        entries.get_mut(index).filter(|entry| entry.is_live()).map(f)
    }

    /// Fills `outcome.refs`; new series get their record.
    fn resolve(&mut self, store: &Inner, batch: &Batch<'_>, outcome: &mut WriteOutcome) {
        let mut record = std::mem::take(&mut self.record);
        let mut out = record.series();
        for (row, series) in batch.series.iter().enumerate() {
            let found = match series.id {
                // One whose record never reached the log must come with its labels again.
                SeriesId::Ref(id) => match self.with(id.0, |entry| entry.is_logged()) {
                    Some(true) => Ok(id.0),
                    _ => Err(RejectReason::UnknownRef),
                },
                SeriesId::Key(bytes) => self.by_key(store, bytes, outcome).map(|(id, logged)| {
                    if !logged {
                        out.push(SeriesRef(id), sorted(bytes));
                        self.unlogged.push(id);
                    }
                    id
                }),
            };
            match found {
                Ok(id) => {
                    self.last = id;
                    outcome.refs.push(SeriesRef(id));
                }
                Err(reason) => {
                    outcome.refs.push(SeriesRef(0));
                    outcome.rejected.push(Rejection {
                        series: row as u32,
                        kind: RowKind::Series,
                        row: row as u32,
                        reason,
                    });
                }
            }
        }
        drop(out);
        self.record = record;
    }

    /// The series and whether its record is in the log.
    fn by_key(
        &mut self,
        store: &Inner,
        bytes: &[u8],
        outcome: &mut WriteOutcome,
    ) -> Result<(u64, bool), RejectReason> {
        let hash = store.series.hash(bytes);
        let guess = self.last + 1;
        if let Some(logged) = self.with(guess, |e| e.is(hash).then(|| e.is_logged())).flatten() {
            return Ok((guess, logged));
        }
        let mut known = store.series.find(hash);
        if known.is_none() {
            let mut labels = Vec::new();
            let canonical = canon::check(bytes, store.options.legacy_names, &mut labels)?;
            let hash = if canonical { hash } else { store.series.hash(&canon::key_of(&labels)) };
            let limit = store.options.max_series;
            let Some((id, created)) = store.series.find_or_create(hash, limit) else {
                return Err(RejectReason::SeriesLimit(limit));
            };
            if created {
                outcome.series_created += 1;
                store.metrics.active_series.inc();
                return Ok((id, false));
            }
            known = Some(id);
        }
        let id = known.ok_or(RejectReason::UnknownRef)?;
        Ok((id, self.with(id, |e| e.is_logged()).unwrap_or(false)))
    }

    /// Checks the rows of one series and notes those that are accepted.
    fn check(
        &mut self,
        batch: &Batch<'_>,
        row: u32,
        series: &BatchSeries<'_>,
        id: u64,
        outcome: &mut WriteOutcome,
    ) {
        let window = if batch.reject_out_of_order { 0 } else { self.store.options.out_of_order_window_ms };
        let mut out_of_order = 0;
        let (mut floats, mut histograms, mut undo) = (
            std::mem::take(&mut self.floats),
            std::mem::take(&mut self.histograms),
            std::mem::take(&mut self.undo),
        );
        let refuse = |outcome: &mut WriteOutcome, kind, at: u32, reason| {
            outcome.rejected.push(Rejection { series: row, kind, row: at, reason });
        };
        let zeros = std::mem::take(&mut self.zeros);
        let known = self.with(id, |entry| {
            if !series.samples.is_empty() || !series.histograms.is_empty() {
                undo.push((id, entry.last_t, entry.last_v));
            }
            for at in series.samples.clone() {
                let Some(sample) = batch.samples.get(at as usize) else { continue };
                if zeros.is_sample(at) && sample.t <= entry.last_t {
                    refuse(outcome, RowKind::Sample, at, RejectReason::OutOfOrder);
                    continue;
                }
                match verdict(entry, sample.t, Some(sample.v.to_bits()), window) {
                    Ok(()) => floats.push((id, at)),
                    Err(reason) => {
                        out_of_order += 1;
                        refuse(outcome, RowKind::Sample, at, reason);
                    }
                }
            }
            for at in series.histograms.clone() {
                let Some(h) = batch.histograms.get(at as usize) else { continue };
                if zeros.is_histogram(at) && h.t <= entry.last_t {
                    refuse(outcome, RowKind::Histogram, at, RejectReason::OutOfOrder);
                    continue;
                }
                match verdict(entry, h.t, None, window) {
                    Ok(()) => histograms.push((id, at)),
                    Err(reason) => {
                        out_of_order += 1;
                        refuse(outcome, RowKind::Histogram, at, reason);
                    }
                }
            }
        });
        debug_assert!(known.is_some(), "the gate keeps resolved series alive");
        (self.floats, self.histograms, self.undo, self.zeros) = (floats, histograms, undo, zeros);
        self.store.metrics.out_of_order.add(out_of_order);
        for at in series.exemplars.clone() {
            let Some(exemplar) = batch.exemplars.get(at as usize) else { continue };
            match self.check_exemplar(id, exemplar) {
                Ok(true) => self.exemplars.push((id, at)),
                // The one that came last; it is stored already.
                Ok(false) => outcome.exemplars += 1,
                Err(reason) => refuse(outcome, RowKind::Exemplar, at, reason),
            }
        }
    }

    fn check_exemplar(&mut self, id: u64, exemplar: &ExemplarRow<'_>) -> Result<bool, RejectReason> {
        let mut labels = Vec::new();
        let mut chars = 0;
        for label in key::iter(exemplar.labels) {
            let (name, value) = label.map_err(|e| RejectReason::InvalidLabels(e.to_string()))?;
            if !value.is_empty() {
                chars += name.chars().count() + value.chars().count();
                labels.push(name);
            }
        }
        labels.sort_unstable();
        if let Some(twice) = labels.windows(2).find(|w| w[0] == w[1]) {
            let name = model::labels::quote(twice[0]);
            return Err(RejectReason::InvalidLabels(format!("label name {name} is not unique")));
        }
        if chars > MAX_LABEL_CHARS {
            return Err(RejectReason::ExemplarTooLong);
        }
        let mut bytes = exemplar.labels.to_vec();
        bytes.extend_from_slice(&exemplar.t.to_le_bytes());
        bytes.extend_from_slice(&exemplar.v.to_bits().to_le_bytes());
        let hash = self.store.series.hash(&bytes);
        if self.last_exemplars.get(&id) == Some(&hash) {
            return Ok(false);
        }
        self.new_exemplars.push((id, hash));
        Ok(true)
    }

    /// Encodes what was accepted behind the series records.
    fn encode(&mut self, batch: &Batch<'_>) {
        let with_starts = self.store.options.store_starts;
        if with_starts && !batch.starts.is_empty() {
            let mut out = self.record.samples_with_starts();
            for (id, at) in &self.floats {
                let sample = &batch.samples[*at as usize];
                let start = batch.starts.get(*at as usize).copied().unwrap_or(0);
                out.push(SeriesRef(*id), sample.t, start, sample.v);
            }
        } else {
            let mut out = self.record.samples();
            out.reserve(self.floats.len());
            for (id, at) in &self.floats {
                let sample = &batch.samples[*at as usize];
                out.push(SeriesRef(*id), sample.t, sample.v);
            }
        }
        let rows = self.histograms.iter().map(|(id, at)| {
            let row = &batch.histograms[*at as usize];
            let (series, histogram) = (SeriesRef(*id), &*row.histogram);
            let integer = histogram.holds_integers();
            HistogramEntry { series, t: row.t, start: row.start, integer, histogram }
        });
        let with_starts = with_starts && rows.clone().any(|row| row.start != 0);
        self.record.histograms(with_starts, rows);
        let mut out = self.record.exemplars();
        for (id, at) in &self.exemplars {
            let row = &batch.exemplars[*at as usize];
            out.push(SeriesRef(*id), row.t, row.v, sorted(row.labels));
        }
    }

    fn applied(&mut self, outcome: &mut WriteOutcome) {
        for id in std::mem::take(&mut self.unlogged) {
            self.with(id, Entry::set_logged);
        }
        if self.last_exemplars.len() + self.new_exemplars.len() > MAX_EXEMPLARS {
            // Forgetting costs at most an exemplar that is sent twice.
            self.last_exemplars.clear();
        }
        self.last_exemplars.extend(self.new_exemplars.drain(..));
        outcome.samples = self.floats.len() as u64;
        outcome.histograms = self.histograms.len() as u64;
        outcome.exemplars += self.exemplars.len() as u64;
        let metrics = &self.store.metrics;
        metrics.float_samples.add(outcome.samples);
        metrics.histogram_samples.add(outcome.histograms);
        metrics.exemplars.add(self.exemplars.len() as u64);
    }

    /// Newest samples as they were. Series that were made stay, marked as not logged.
    fn put_back(&mut self) {
        for (id, t, v) in std::mem::take(&mut self.undo).into_iter().rev() {
            self.with(id, |entry| (entry.last_t, entry.last_v) = (t, v));
        }
    }
}

/// Upstream's rule: newer than the newest, or than the window before it. The newest itself may come again
/// (it is logged again, for the first may yet fail to be).
#[inline]
fn verdict(entry: &mut Entry, t: i64, v: Option<u64>, window: i64) -> Result<(), RejectReason> {
    if t > entry.last_t {
        (entry.last_t, entry.last_v) = (t, v.unwrap_or(0));
        return Ok(());
    }
    if t > entry.last_t.saturating_sub(window) || (t == entry.last_t && v == Some(entry.last_v)) {
        return Ok(());
    }
    Err(if t == entry.last_t { RejectReason::DuplicateTimestamp } else { RejectReason::OutOfOrder })
}

/// The labels of a checked key as the log wants them: sorted, without empty values.
fn sorted(bytes: &[u8]) -> Vec<(&str, &str)> {
    let mut labels: Vec<_> =
        key::iter(bytes).filter_map(Result::ok).filter(|(_, value)| !value.is_empty()).collect();
    labels.sort_unstable();
    labels
}
