//! A batch: resolve all series, check all samples, one write to the log, then apply by run.
//!
//! Senders repeat their order, so the series after the last one is guessed before it is looked up: a hit
//! costs one hash and one compare in an entry that is touched anyway.

mod apply;
mod create;
mod extras;
mod histograms;
mod resolve;
mod verdict;

use super::Head;
use super::entry::{PENDING, UNLOGGED};
use super::page::Walk;
use crate::exemplars::Stored;
use crate::wal::RecordBuf;
use crate::zeros::Zeros;
use hashbrown::HashMap;
use histograms::HistogramItem;
use resolve::Habit;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use storage::{Batch, Rejection, RowKind, SeriesId, SeriesRef, WriteError, WriteOutcome, Writer};
use verdict::Item;

/// Scratch above this size is given back after an unusual batch.
const KEPT_ITEMS: usize = 1 << 16;
const KEPT_RECORD_BYTES: usize = 4 << 20;
/// Records of batches without new series are shorter: after one of these the room for longer ones is given back.
const USUAL_RECORD_BYTES: usize = 256 << 10;

pub(crate) struct HeadWriter {
    head: Arc<Head>,
    /// Series of the last row.
    last: u32,
    habit: Habit,
    hashes: Vec<[u64; 2]>,
    guesses: Vec<u32>,
    /// Reference and row, sorted.
    visits: Vec<(u32, u32)>,
    items: Vec<Item>,
    histograms: Vec<HistogramItem>,
    /// Rows whose series are not known, with the hash of their key.
    misses: Vec<(u32, [u64; 2])>,
    /// Series whose record must be logged.
    unlogged: Vec<u32>,
    learn: Vec<(u32, u32)>,
    exemplars: Vec<(u32, u32, Stored)>,
    record: RecordBuf,
    zeros: Zeros,
    /// A series of this batch has samples of another batch pending.
    conflict: bool,
    /// Hash of an unsorted key → series.
    aliases: HashMap<[u64; 2], u32>,
}

impl HeadWriter {
    pub(crate) fn new(head: Arc<Head>) -> Self {
        HeadWriter {
            head,
            last: 0,
            habit: Habit::default(),
            hashes: Vec::new(),
            guesses: Vec::new(),
            visits: Vec::new(),
            items: Vec::new(),
            histograms: Vec::new(),
            misses: Vec::new(),
            unlogged: Vec::new(),
            learn: Vec::new(),
            exemplars: Vec::new(),
            record: RecordBuf::new(),
            zeros: Zeros::default(),
            conflict: false,
            aliases: HashMap::new(),
        }
    }

    fn clear(&mut self) {
        self.items.clear();
        self.histograms.clear();
        self.histograms.shrink_to(KEPT_ITEMS);
        self.misses.clear();
        self.unlogged.clear();
        self.learn.clear();
        self.exemplars.clear();
        let usual = self.record.byte_len() <= USUAL_RECORD_BYTES;
        self.record.clear();
        self.conflict = false;
        self.items.shrink_to(KEPT_ITEMS);
        self.misses.shrink_to(KEPT_ITEMS);
        self.record.shrink_over(if usual { USUAL_RECORD_BYTES } else { KEPT_RECORD_BYTES });
    }

    /// Leaves out series that another batch has logged meanwhile.
    fn still_unlogged(&mut self) {
        self.unlogged.sort_unstable();
        self.unlogged.dedup();
        let pages = self.head.table.pages();
        let mut walk = Walk::new(&pages);
        self.unlogged
            .retain(|series| walk.go(*series).is_some_and(|(cells, slot)| cells.peek(slot).is(UNLOGGED)));
    }

    /// Nothing of this batch is pending any longer.
    fn settle(&mut self) {
        let pages = self.head.table.pages();
        let mut walk = Walk::new(&pages);
        // Late samples mark nothing: the mark of their series may be another batch's.
        for item in self.items.iter().filter(|item| !item.late) {
            if let Some((cells, slot)) = walk.go(item.series) {
                cells.entry(slot).flags &= !PENDING;
            }
        }
        for item in self.histograms.iter().filter(|item| !item.late) {
            if let Some((cells, slot)) = walk.go(item.series) {
                cells.entry(slot).flags &= !PENDING;
            }
        }
    }

    /// Adds the record of all samples, or of late ones, to those to be logged.
    fn record_samples(&mut self, batch: &Batch<'_>, late_only: bool) {
        if self.items.is_empty() {
            return;
        }
        let items = self.items.iter().filter(|item| item.late || !late_only);
        let starts = self.head.starts_of(batch);
        if !starts.is_empty() {
            let mut record = self.record.samples_with_starts();
            for item in items {
                let s = batch.samples[item.at as usize];
                let start = starts.get(item.at as usize).copied().unwrap_or(0);
                record.push(SeriesRef(u64::from(item.series)), s.t, start, s.v);
            }
            return;
        }
        let mut record = self.record.samples();
        if !late_only {
            record.reserve(self.items.len());
        }
        for item in items {
            let s = batch.samples[item.at as usize];
            record.push(SeriesRef(u64::from(item.series)), s.t, s.v);
        }
    }

    /// Encodes and logs everything that will be applied.
    fn log(&mut self, batch: &Batch<'_>, late: bool, out: &WriteOutcome) -> Result<(), WriteError> {
        let head = self.head.clone();
        if late {
            // Before they are applied, so that an answer never speaks of late samples which only memory has; chunk
            // markers follow when they are known. And before the other log: in-order samples that it had without
            // memory having them would make a replay take later ones, logged behind them, for late.
            self.record_samples(batch, true);
            self.record_histograms(true);
            head.wbl()?.log(&self.record)?;
            self.record.clear();
        }
        if !self.unlogged.is_empty() {
            let pages = head.table.pages();
            let mut walk = Walk::new(&pages);
            let mut pairs: Vec<u32> = Vec::new();
            let index = head.index.read();
            let mut record = self.record.series();
            for series in &self.unlogged {
                let Some((cells, slot)) = walk.go(*series) else { continue };
                pairs.clear();
                pairs.extend_from_slice(cells.pairs(slot));
                record.push(SeriesRef(u64::from(*series)), pairs.iter().map(|pair| index.texts.label(*pair)));
            }
        }
        self.record_samples(batch, false);
        if !self.histograms.is_empty() {
            self.record_histograms(false);
        }
        if !self.exemplars.is_empty() {
            let mut record = self.record.exemplars();
            for (row, _, e) in &self.exemplars {
                record.push(out.refs[*row as usize], e.t, e.v, &e.labels);
            }
        }
        head.wal.log(&self.record)?;
        if !self.unlogged.is_empty() {
            let pages = head.table.pages();
            let mut walk = Walk::new(&pages);
            for series in &self.unlogged {
                if let Some((cells, slot)) = walk.go(*series) {
                    cells.entry(slot).flags &= !UNLOGGED;
                }
            }
        }
        Ok(())
    }
}

impl Writer for HeadWriter {
    fn write(&mut self, batch: &Batch<'_>, outcome: &mut WriteOutcome) -> Result<(), WriteError> {
        let first = histograms::first_time(batch);
        if !self.head.options.start_zeros || !Zeros::are_wanted(batch) {
            return self.write_rows(batch, first, outcome);
        }
        let wide = self.zeros.widen(batch);
        let written = self.write_rows(&wide, first, outcome);
        self.zeros.settle(&wide, outcome);
        written
    }
}

impl HeadWriter {
    /// Writes a batch; a head that is empty begins at `first`.
    fn write_rows(
        &mut self,
        batch: &Batch<'_>,
        first: Option<i64>,
        outcome: &mut WriteOutcome,
    ) -> Result<(), WriteError> {
        outcome.clear();
        self.clear();
        let head = self.head.clone();
        let mut shared = Some(head.gate.read());
        let mut alone = None;
        if head.closing.load(Relaxed) {
            return Err(WriteError::Unavailable("TSDB is closing".into()));
        }
        let mut bounds = head.bounds(first, batch.reject_out_of_order);
        let mut created = 0;
        loop {
            outcome.refs.resize(batch.series.len(), SeriesRef(0));
            self.resolve(batch, bounds, outcome);
            if !self.misses.is_empty() {
                self.create(batch, bounds, outcome);
            }
            if !self.conflict {
                break;
            }
            // Two batches write one series at the same time. The order in the log has to be the order in
            // memory, so this one waits until all others are done, and goes alone.
            self.settle();
            created += outcome.series_created;
            outcome.clear();
            self.clear();
            shared = None;
            alone = Some(head.gate.write());
            bounds.alone = true;
        }
        outcome.series_created += created;
        let _held = (shared, alone);
        self.check_exemplars(batch, outcome);
        let _creation = (!self.unlogged.is_empty()).then(|| {
            let guard = head.creation.lock();
            self.still_unlogged();
            guard
        });
        // One batch with late samples at a time: its records, chunks and markers must not interleave with
        // those of another batch for the same series.
        let late = self.items.iter().any(|item| item.late) || self.histograms.iter().any(|item| item.late);
        let _late = late.then(|| head.late_order.lock());
        if let Err(e) = self.log(batch, late, outcome) {
            self.settle();
            outcome.clear();
            return Err(e);
        }
        let sum = self.apply(batch, bounds, outcome);
        self.settle();
        head.saw(sum.min, sum.max);
        head.saw_late(sum.late_min, sum.late_max);
        let metrics = &head.metrics;
        metrics.floats_appended.add(sum.appended + sum.late);
        metrics.histograms_appended.add(sum.histograms + sum.late_histograms);
        metrics.late_appended.add(sum.late);
        metrics.late_histograms_appended.add(sum.late_histograms);
        metrics.chunks_created.add(sum.opened);
        metrics.chunks_mapped.add(sum.mapped);
        if sum.opened > 0 {
            metrics.chunks.add(sum.opened as f64);
        }
        if let Err(e) = self.log_markers(&sum) {
            if !sum.overtaken.is_empty() {
                // Late samples that no log would bring back; when they come again they are logged first.
                outcome.clear();
                return Err(e);
            }
            // The samples are in the log already; only their place on disk is not.
            tracing::error!(component = "tsdb", err = %e, "Failed to log out of order samples into the WAL");
        }
        // So that their memory can be used again.
        self.histograms.clear();
        self.store_exemplars(outcome);
        self.store_metadata(batch);
        let shuffled = outcome.rejected.windows(2).any(|w| order_of(&w[0]) > order_of(&w[1]));
        if shuffled {
            outcome.rejected.sort_by_key(order_of);
        }
        Ok(())
    }
}

fn order_of(r: &Rejection) -> (u32, u8, u32) {
    let kind = match r.kind {
        RowKind::Series => 0,
        RowKind::Sample => 1,
        RowKind::Histogram => 2,
        RowKind::Exemplar => 3,
    };
    (r.series, kind, r.row)
}

fn key_of(id: SeriesId<'_>) -> &[u8] {
    match id {
        SeriesId::Key(key) => key,
        SeriesId::Ref(_) => &[],
    }
}
