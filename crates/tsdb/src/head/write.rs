//! A batch: resolve all series, check all samples, one write to the log, then apply by run.
//!
//! Senders repeat their order, so the series after the last one is guessed before it is looked up: a hit
//! costs one hash and one compare in an entry that is touched anyway.

use super::entry::{Entry, HAS_LAST, HISTOGRAM, LAST_ON_DISK, LIVE, PENDING, UNLOGGED};
use super::histogram::close;
use super::page::{Cells, Mapped, Walk, split};
use super::{Bounds, Head};
use crate::exemplars::Stored;
use crate::head::canon;
use crate::wal::RecordBuf;
use hashbrown::HashMap;
use histograms::{HistogramItem, Seen};
use model::{FloatHistogram, Labels, METRIC_NAME, Matcher, Metadata, Sample, is_stale_nan};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use storage::{
    Batch, ExemplarRow, RejectReason, Rejection, RowKind, SeriesId, SeriesRef, WriteError, WriteOutcome,
    Writer,
};

#[path = "write_histograms.rs"]
mod histograms;

/// Raw keys of unsorted senders that are remembered.
const MAX_ALIASES: usize = 1 << 16;
/// Scratch above this size is given back after an unusual batch.
const KEPT_ITEMS: usize = 1 << 16;
const KEPT_RECORD_BYTES: usize = 4 << 20;

/// A sample that passed the checks.
#[derive(Clone, Copy)]
struct Item {
    series: u32,
    /// Row of the batch.
    row: u32,
    /// Index into the batch's samples.
    at: u32,
    late: bool,
}

/// What becomes of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
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
    fn verdict(&self, last: Option<(i64, u64)>, value_known: bool, s: Sample) -> Verdict {
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

/// How the sender orders its series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Habit {
    /// Mostly as before: each series is guessed from the one before it.
    #[default]
    Orderly,
    /// In no order that helps: all rows are looked up together and visited in order of their references.
    Scattered,
}

/// Rows below which a batch says nothing about the habit of its sender.
const TELLING: usize = 16;

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
    /// A series of this batch has samples of another batch pending.
    conflict: bool,
    /// Hash of an unsorted key → series.
    aliases: HashMap<[u64; 2], u32>,
}

/// Everything that applying one batch adds up, so that shared counters are touched once.
struct Applied {
    min: i64,
    max: i64,
    appended: u64,
    histograms: u64,
    late: u64,
    late_min: i64,
    late_max: i64,
    opened: u64,
    mapped: u64,
    /// Chunks of late samples that went to disk.
    markers: Vec<(u32, u64)>,
    /// Samples that were in order when checked and late when applied.
    overtaken: Vec<(u32, Sample)>,
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
        self.record.clear();
        self.conflict = false;
        self.items.shrink_to(KEPT_ITEMS);
        self.misses.shrink_to(KEPT_ITEMS);
        self.record.shrink_over(KEPT_RECORD_BYTES);
    }

    /// Known series: found by guess or by hash, their samples checked.
    fn resolve(&mut self, batch: &Batch<'_>, bounds: Bounds, out: &mut WriteOutcome) {
        match self.habit {
            Habit::Orderly => self.resolve_orderly(batch, bounds, out),
            Habit::Scattered => self.resolve_scattered(batch, bounds, out),
        }
    }

    /// All rows at once: hashes, then the table, then the pages in order.
    fn resolve_scattered(&mut self, batch: &Batch<'_>, bounds: Bounds, out: &mut WriteOutcome) {
        let head = self.head.clone();
        self.hashes.clear();
        self.hashes.extend(batch.series.iter().map(|series| match series.id {
            SeriesId::Key(key) => head.table.hash(key),
            SeriesId::Ref(_) => [0, 0],
        }));
        head.table.guess_all(&self.hashes, &mut self.guesses);
        self.visits.clear();
        for (row, series) in batch.series.iter().enumerate() {
            let row_number = row as u32;
            let guess = match series.id {
                SeriesId::Ref(wanted) => u32::try_from(wanted.0).unwrap_or(0),
                SeriesId::Key(_) if self.guesses[row] != 0 => self.guesses[row],
                SeriesId::Key(_) => self.aliases.get(&self.hashes[row]).copied().unwrap_or(0),
            };
            self.guesses[row] = guess;
            match series.id {
                SeriesId::Ref(_) if guess == 0 => self.refuse_ref(row_number, out),
                SeriesId::Key(_) if guess == 0 => self.misses.push((row_number, self.hashes[row])),
                _ => self.visits.push((guess, row_number)),
            }
        }
        self.visits.sort_unstable();
        let pages = head.table.pages();
        let mut walk = Walk::new(&pages);
        let (mut repeats, mut told) = (0, 0);
        let visits = std::mem::take(&mut self.visits);
        for (series, row) in &visits {
            let at = *row as usize;
            let by_ref = matches!(batch.series[at].id, SeriesId::Ref(_));
            let visit = walk.go(*series).filter(|(cells, slot)| {
                let entry = cells.peek(*slot);
                let alias = || self.aliases.get(&self.hashes[at]) == Some(series);
                entry.is(LIVE) && (by_ref || entry.hash == self.hashes[at] || alias())
            });
            let Some((cells, slot)) = visit else {
                if by_ref {
                    self.refuse_ref(*row, out);
                } else {
                    self.misses.push((*row, self.hashes[at]));
                }
                continue;
            };
            // Would the orderly way have known the next one? One row in eight is asked.
            if at.is_multiple_of(8)
                && let Some(next) = self.guesses.get(at + 1)
            {
                told += 1;
                if cells.successor(*series) == *next {
                    repeats += 1;
                } else {
                    cells.learn(*series, *next);
                }
            }
            out.refs[at] = SeriesRef(u64::from(*series));
            let entry = cells.entry(slot);
            if entry.is(UNLOGGED) {
                self.unlogged.push(*series);
            }
            self.conflict |= !check(
                batch,
                *row,
                *series,
                entry,
                bounds,
                &mut self.items,
                &mut self.histograms,
                out,
                &head,
            );
        }
        self.visits = visits;
        if told >= TELLING && repeats * 2 > told {
            self.habit = Habit::Orderly;
        }
        self.last = self.guesses.last().copied().unwrap_or(0);
    }

    fn refuse_ref(&self, row: u32, out: &mut WriteOutcome) {
        self.head.metrics.series_not_found.inc();
        refuse(out, row, RowKind::Series, row, RejectReason::UnknownRef);
    }

    fn resolve_orderly(&mut self, batch: &Batch<'_>, bounds: Bounds, out: &mut WriteOutcome) {
        let head = self.head.clone();
        let pages = head.table.pages();
        let mut walk = Walk::new(&pages);
        let mut expected = match self.last {
            0 => 0,
            last => walk.go(last).map_or(0, |(cells, _)| cells.successor(last)),
        };
        for (row, series) in batch.series.iter().enumerate() {
            let row_number = row as u32;
            let found = match series.id {
                SeriesId::Ref(SeriesRef(wanted)) => {
                    let wanted = u32::try_from(wanted).unwrap_or(0);
                    let live =
                        wanted != 0 && walk.go(wanted).is_some_and(|(cells, slot)| cells.is_live(slot));
                    if !live {
                        self.refuse_ref(row_number, out);
                        continue;
                    }
                    wanted
                }
                SeriesId::Key(key) => {
                    let hash = head.table.hash(key);
                    let guessed = expected != 0
                        && walk.go(expected).is_some_and(|(cells, slot)| {
                            let entry = cells.peek(slot);
                            entry.hash == hash && entry.is(LIVE)
                        });
                    if guessed {
                        expected
                    } else {
                        walk.leave();
                        let alias = || self.aliases.get(&hash).copied();
                        match head.table.find(&pages, hash).or_else(alias) {
                            Some(series) => {
                                if self.last != 0 {
                                    self.learn.push((self.last, series));
                                }
                                series
                            }
                            None => {
                                self.misses.push((row_number, hash));
                                continue;
                            }
                        }
                    }
                }
            };
            let Some((cells, slot)) = walk.go(found) else { continue };
            if !cells.is_live(slot) {
                // An alias whose series is gone.
                self.misses.push((row_number, head.table.hash(key_of(series.id))));
                continue;
            }
            expected = cells.successor(found);
            self.last = found;
            out.refs[row] = SeriesRef(u64::from(found));
            let entry = cells.entry(slot);
            if entry.is(UNLOGGED) {
                self.unlogged.push(found);
            }
            self.conflict |= !check(
                batch,
                row_number,
                found,
                entry,
                bounds,
                &mut self.items,
                &mut self.histograms,
                out,
                &head,
            );
        }
        if self.learn.len() > TELLING && self.learn.len() * 2 > batch.series.len() {
            self.habit = Habit::Scattered;
        }
        for (from, to) in self.learn.drain(..) {
            if let Some((cells, _)) = walk.go(from) {
                cells.learn(from, to);
            }
        }
    }

    /// Series never seen before, or known under another order of their labels.
    fn create(&mut self, batch: &Batch<'_>, bounds: Bounds, out: &mut WriteOutcome) {
        let head = self.head.clone();
        let mut pages;
        let misses = std::mem::take(&mut self.misses);
        let mut ids: Vec<u32> = Vec::new();
        let mut made: Vec<(u32, u32)> = Vec::with_capacity(misses.len());
        {
            let mut index = head.index.write();
            // Not earlier: pages that another batch has made meanwhile must be seen.
            pages = head.table.pages();
            // Labels of the series before: neighbours share most of them.
            let mut before: Vec<u32> = Vec::new();
            for (row, raw_hash) in &misses {
                let key = key_of(batch.series[*row as usize].id);
                let checked = match canon::check(key, head.options.legacy_names) {
                    Ok(checked) => checked,
                    Err(reason) => {
                        refuse(out, *row, RowKind::Series, *row, reason);
                        continue;
                    }
                };
                let hash = if checked.canonical { *raw_hash } else { head.table.hash(&checked.key()) };
                let known = head.table.find(&pages, hash);
                let series = match known {
                    Some(series) => series,
                    None => {
                        let limit = head.options.max_series;
                        if limit > 0 && head.table.len() >= limit {
                            head.metrics.series_refused.inc();
                            refuse(out, *row, RowKind::Series, *row, RejectReason::SeriesLimit(limit));
                            continue;
                        }
                        ids.clear();
                        for (at, (name, value)) in checked.labels.iter().enumerate() {
                            let hint = before
                                .get(at)
                                .copied()
                                .filter(|pair| index.texts.label(*pair) == (name, value));
                            let Some(id) = hint.or_else(|| index.texts.intern(name, value)) else { break };
                            ids.push(id);
                        }
                        let full = ids.len() < checked.labels.len();
                        let fresh = if full { None } else { head.table.allocate() };
                        let Some(series) = fresh else {
                            refuse(
                                out,
                                *row,
                                RowKind::Series,
                                *row,
                                RejectReason::SeriesLimit(head.table.len()),
                            );
                            continue;
                        };
                        let (page, slot) = split(series);
                        if pages.get(page).is_none_or(Option::is_none) {
                            pages = head.table.pages();
                        }
                        if let Some(Some(page)) = pages.get(page) {
                            page.lock().put(slot, Entry::new(hash), &ids);
                        }
                        head.table.insert(hash, series);
                        index.add(series, &ids);
                        std::mem::swap(&mut before, &mut ids);
                        out.series_created += 1;
                        series
                    }
                };
                if !checked.canonical {
                    if self.aliases.len() >= MAX_ALIASES {
                        self.aliases.clear();
                    }
                    self.aliases.insert(*raw_hash, series);
                }
                made.push((*row, series));
            }
        }
        head.metrics.series_created.add(out.series_created);
        let mut walk = Walk::new(&pages);
        for (row, series) in made {
            let Some((cells, slot)) = walk.go(series) else { continue };
            out.refs[row as usize] = SeriesRef(u64::from(series));
            let entry = cells.entry(slot);
            if entry.is(UNLOGGED) {
                self.unlogged.push(series);
            }
            self.conflict |=
                !check(batch, row, series, entry, bounds, &mut self.items, &mut self.histograms, out, &head);
            self.last = series;
        }
        drop(walk);
        self.misses = misses;
        self.misses.clear();
    }

    fn check_exemplars(&mut self, batch: &Batch<'_>, out: &mut WriteOutcome) {
        if batch.exemplars.is_empty() {
            return;
        }
        for (row, series) in batch.series.iter().enumerate() {
            let id = out.refs[row].0 as u32;
            for at in rows(series.exemplars.clone(), batch.exemplars.len()) {
                if id == 0 {
                    continue;
                }
                let exemplar = &batch.exemplars[at as usize];
                let checked = exemplar_labels(exemplar).map(|l| Stored::new(exemplar.t, exemplar.v, l));
                let verdict = checked.and_then(|e| self.head.exemplars.check(id, &e).map(|()| e));
                match verdict {
                    Ok(e) => self.exemplars.push((row as u32, at, e)),
                    // Expected with every scrape; a no-op, as upstream.
                    Err(RejectReason::DuplicateExemplar) => out.exemplars += 1,
                    Err(reason) => refuse(out, row as u32, RowKind::Exemplar, at, reason),
                }
            }
        }
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
        for item in &self.histograms {
            if let Some((cells, slot)) = walk.go(item.series) {
                cells.entry(slot).flags &= !PENDING;
            }
        }
    }

    /// Encodes and logs everything that will be applied.
    fn log(&mut self, batch: &Batch<'_>, late: bool, out: &WriteOutcome) -> Result<(), WriteError> {
        let head = self.head.clone();
        if late {
            // Before they are applied, so that an answer never speaks of late samples which only memory has; chunk
            // markers follow when they are known. And before the other log: in-order samples that it had without
            // memory having them would make a replay take later ones, logged behind them, for late.
            let mut record = self.record.samples();
            for item in self.items.iter().filter(|item| item.late) {
                let s = batch.samples[item.at as usize];
                record.push(SeriesRef(u64::from(item.series)), s.t, s.v);
            }
            drop(record);
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
        if !self.items.is_empty() {
            let mut record = self.record.samples();
            record.reserve(self.items.len());
            for item in &self.items {
                let s = batch.samples[item.at as usize];
                record.push(SeriesRef(u64::from(item.series)), s.t, s.v);
            }
        }
        if !self.histograms.is_empty() {
            self.record_histograms();
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

    fn apply(&mut self, batch: &Batch<'_>, bounds: Bounds, out: &mut WriteOutcome) -> Applied {
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
    fn log_markers(&mut self, sum: &Applied) -> Result<(), WriteError> {
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

    /// Remembers metadata of families; with `metadata_wal_records`, logs what is new for each of their series.
    fn store_metadata(&mut self, batch: &Batch<'_>) {
        if batch.metadata.is_empty() {
            return;
        }
        let head = &*self.head;
        self.record.clear();
        let mut record = self.record.metadata();
        for row in &batch.metadata {
            let changed = head.metadata.set(row, head.options.max_metadata);
            if !changed || !head.options.metadata_wal_records {
                continue;
            }
            let metadata = Metadata { kind: row.kind, unit: row.unit.to_owned(), help: row.help.to_owned() };
            let index = head.index.read();
            for suffix in ["", "_total", "_sum", "_count", "_bucket", "_info", "_created"] {
                let name = Matcher::equal(METRIC_NAME, format!("{}{suffix}", row.family));
                for series in index.select(&[name]) {
                    record.push(SeriesRef(u64::from(series)), &metadata);
                }
            }
        }
        drop(record);
        if let Err(e) = head.wal.log(&self.record) {
            // It comes again with the next change or restart of its sender.
            tracing::warn!(component = "tsdb", err = %e, "Metadata was not logged");
        }
    }

    fn store_exemplars(&mut self, out: &mut WriteOutcome) {
        for (row, at, e) in self.exemplars.drain(..) {
            let series = out.refs[row as usize].0 as u32;
            let labels = || self.head.labels(series).unwrap_or_default();
            match self.head.exemplars.add(series, e, labels, &self.head.metrics) {
                Ok(()) | Err(RejectReason::DuplicateExemplar) => out.exemplars += 1,
                Err(reason) => refuse(out, row, RowKind::Exemplar, at, reason),
            }
        }
    }
}

impl Writer for HeadWriter {
    fn write(&mut self, batch: &Batch<'_>, outcome: &mut WriteOutcome) -> Result<(), WriteError> {
        outcome.clear();
        self.clear();
        let head = self.head.clone();
        let mut shared = Some(head.gate.read());
        let mut alone = None;
        if head.closing.load(Relaxed) {
            return Err(WriteError::Unavailable("TSDB is closing".into()));
        }
        let mut bounds = head.bounds(histograms::first_time(batch), batch.reject_out_of_order);
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
        let late = self.items.iter().any(|item| item.late);
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
        metrics.histograms_appended.add(sum.histograms);
        metrics.late_appended.add(sum.late);
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

/// A row range of a batch, kept within its table.
fn rows(range: std::ops::Range<u32>, len: usize) -> std::ops::Range<u32> {
    range.start..range.end.min(len as u32)
}

fn refuse(out: &mut WriteOutcome, series: u32, kind: RowKind, row: u32, reason: RejectReason) {
    out.rejected.push(Rejection { series, kind, row, reason });
}

#[cold]
fn refuse_sample(out: &mut WriteOutcome, row: u32, at: u32, verdict: Verdict, head: &Head) {
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
fn last_of(entry: &Entry) -> Option<(i64, u64)> {
    entry.is(HAS_LAST).then_some((entry.last_t, entry.last_v))
}

/// Checks the samples of one row against the series as it is now. `false` when another batch has samples of
/// the series pending: which of the two comes first is not known yet.
#[inline]
#[allow(clippy::too_many_arguments)]
fn check(
    batch: &Batch<'_>,
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
            let h = Arc::new(FloatHistogram { sum: s.v, ..FloatHistogram::default() });
            let mut seen = Seen { entry, series, row, last, known };
            if !seen.check((RowKind::Sample, at, s.t), h, bounds, items, histograms, out, head) {
                return false;
            }
            (last, known) = (seen.last, seen.known);
            continue;
        }
        match bounds.verdict(last, known, s) {
            Verdict::Append => {
                if entry.is(PENDING) && !bounds.alone {
                    let own = items.iter().rev().any(|item| item.series == series && !item.late);
                    if !own && !histograms.iter().any(|item| item.series == series) {
                        return false;
                    }
                }
                entry.flags |= PENDING;
                items.push(Item { series, row, at, late: false });
                last = Some((s.t, s.v.to_bits()));
                known = true;
            }
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
            let place = (RowKind::Histogram, at, h.t);
            if !seen.check(place, h.histogram.clone(), bounds, items, histograms, out, head) {
                return false;
            }
        }
    }
    true
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
pub(super) fn write_late(head: &Head, series: u32, samples: &[Sample]) -> Mapped {
    let mut chunk = chunk::XorChunk::new();
    for s in samples {
        chunk.push(s.t, s.v);
    }
    let (min, max) = (samples.first().map_or(0, |s| s.t), samples.last().map_or(0, |s| s.t));
    Mapped { at: head.mapper.write(series, min, max, true, chunk.data()), min, max }
}

fn exemplar_labels(row: &ExemplarRow<'_>) -> Result<Labels, RejectReason> {
    let labels: Result<Vec<_>, _> = storage::key::iter(row.labels).collect();
    labels.map(Labels::from_pairs).map_err(|e| RejectReason::InvalidLabels(e.to_string()))
}
