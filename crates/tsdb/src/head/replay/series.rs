//! Series of the log, and the chunks that stand on disk for them.

use super::Replay;
use super::apply::Lanes;
use super::decode::SeriesRows;
use crate::head::entry::{ASIDE, Entry, HAS_LAST, HISTOGRAM, INTEGER, UNLOGGED};
use crate::head::page::{Mapped, Walk, split};
use crate::head::postings::{Index, Runs};
use std::sync::atomic::Ordering::Relaxed;

/// Makes series out of rows; what neighbours share is done once.
#[derive(Default)]
pub(super) struct Maker {
    /// Pairs of the row before.
    pub(super) before: Vec<u32>,
    ids: Vec<u32>,
    pub(super) runs: Runs,
}

impl Maker {
    /// The next row refers to none before it.
    pub(super) fn begin(&mut self) {
        self.before.clear();
    }

    /// Pair ids of a row, which become those of the row before. `false` when they cannot be had.
    pub(super) fn pairs(&mut self, index: &mut Index, rows: &SeriesRows, at: usize) -> bool {
        let Some(row) = rows.rows.get(at) else { return false };
        self.ids.clear();
        let mut rest = rows.rest(row);
        for position in 0..row.labels as usize {
            let hint = self.before.get(position).copied();
            let id = if position < 64 && row.same >> position & 1 == 1 {
                hint
            } else {
                rest.next().and_then(|(name, value)| index.texts.intern_near(hint, name, value))
            };
            // Only when there are no more ids: then no new series can be had either.
            let Some(id) = id else { break };
            self.ids.push(id);
        }
        std::mem::swap(&mut self.before, &mut self.ids);
        self.before.len() == row.labels as usize
    }
}

impl Replay<'_> {
    pub(super) fn series(&mut self, lanes: &mut Lanes<'_>, rows: &SeriesRows) {
        let head = self.head;
        let mut index = head.index.write();
        let mut maker = std::mem::take(&mut self.maker);
        maker.begin();
        for (at, row) in rows.rows.iter().enumerate() {
            // Of known series too: the next row may refer to them.
            if !maker.pairs(&mut index, rows, at) {
                self.refused_series += 1;
                continue;
            }
            self.make(lanes, row.number, row.hash, &maker.before, &mut index, &mut maker.runs);
        }
        self.maker = maker;
    }

    /// The series of a number, made when it is new. `None` when there are no more numbers.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn make(
        &mut self,
        lanes: &mut Lanes<'_>,
        number: u64,
        hash: [u64; 2],
        pairs: &[u32],
        index: &mut Index,
        runs: &mut Runs,
    ) -> Option<u32> {
        let table = &self.head.table;
        let wanted = u32::try_from(number).ok().filter(|n| *n != 0);
        if let Some(wanted) = wanted {
            // Given out once, never again: the log may still speak of it.
            table.ensure_page(wanted);
            self.grow(wanted);
        }
        if let Some(known) = table.find(&self.pages, hash) {
            if u64::from(known) != number {
                // What is under way may be of either.
                lanes.settle();
                self.other.entry(number).or_insert((known, i64::MIN)).0 = known;
                self.kin.extend([number, u64::from(known)]);
            }
            self.attach(lanes, number, known, false);
            return Some(known);
        }
        let mut entry = Entry::new(hash);
        entry.flags &= !UNLOGGED;
        let free = wanted.filter(|n| self.put_if_free(*n, &mut entry, pairs));
        let series = match free {
            Some(series) => series,
            // Taken, or beyond 32 bits: it gets one of ours.
            None => {
                lanes.settle();
                let series = table.allocate()?;
                self.grow(series);
                self.put_if_free(series, &mut entry, pairs);
                self.other.insert(number, (series, i64::MIN));
                self.kin.extend([number, u64::from(series)]);
                series
            }
        };
        table.insert(hash, series);
        index.add_next(runs, series, pairs);
        self.attach(lanes, number, series, true);
        Some(series)
    }

    /// Sees the page of a series.
    fn grow(&mut self, series: u32) {
        if self.pages.get(split(series).0).is_none_or(Option::is_none) {
            self.pages = self.head.table.pages();
        }
    }

    fn put_if_free(&self, series: u32, entry: &mut Entry, pairs: &[u32]) -> bool {
        let (page, slot) = split(series);
        let Some(Some(page)) = self.pages.get(page) else { return false };
        let mut cells = page.lock();
        let free = !cells.is_live(slot);
        if free {
            cells.put(slot, std::mem::take(entry), pairs);
        }
        free
    }

    /// Gives a series the chunks that stand on disk under `number`; `fresh`: it has nothing yet.
    pub(super) fn attach(&mut self, lanes: &mut Lanes<'_>, number: u64, series: u32, fresh: bool) {
        // Numbers mostly ascend.
        let mut from = self.found_at;
        let is_first = |at: usize| self.found[..at].last().is_none_or(|c| c.series < number);
        if self.found.get(from).is_none_or(|c| c.series != number) || !is_first(from) {
            from = self.found.partition_point(|chunk| chunk.series < number);
        }
        let count = self.found[from..].iter().take_while(|c| c.series == number).count();
        self.found_at = from + count;
        if count == 0 {
            return;
        }
        if !fresh {
            lanes.settle();
        }
        let min_valid = self.head.min_valid.load(Relaxed);
        let mut walk = Walk::new(&self.pages);
        let Some((cells, slot)) = walk.go(series) else { return };
        let mut all: Vec<Mapped> = cells.mapped(slot).collect();
        for chunk in &self.found[from..from + count] {
            if chunk::Encoding::from_number(chunk.encoding).is_none() {
                continue;
            }
            let mapped = Mapped { at: chunk.at, min: chunk.min, max: chunk.max };
            if chunk.late {
                let late = cells.late_mut(slot);
                if let Err(at) = late.mapped.binary_search_by_key(&mapped.at, |c| c.at) {
                    // In the order in which they were written, also under two references: of two samples
                    // of one time the first one wins.
                    late.mapped.insert(at, mapped);
                    self.tally.late_min = self.tally.late_min.min(mapped.min);
                    self.tally.late_max = self.tally.late_max.max(mapped.max);
                }
            } else if chunk.max >= min_valid {
                all.push(mapped);
            }
        }
        all.sort_by_key(|c| (c.min, c.at));
        all.dedup();
        cells.clear_mapped(slot);
        let (mut last, mut newest) = (None, 0);
        for chunk in all {
            // Chunks of a series created twice may overlap; the log has what is left out.
            if last.is_none_or(|max| chunk.min > max) {
                cells.add_mapped(slot, chunk);
                last = Some(chunk.max);
                newest = chunk.at;
                self.tally.saw(chunk.min, chunk.max);
                self.tally.chunks += 1;
            } else if last.is_some_and(|max| chunk.max > max) {
                self.left_out = true;
            }
        }
        if let Some(max) = last {
            let open = cells.open_min(slot);
            let entry = cells.peek(slot);
            let behind = match open {
                None => !entry.is(HAS_LAST) || entry.last_t < max,
                Some(min) => min <= max,
            };
            if behind {
                cells.drop_open(slot);
                let entry = cells.entry(slot);
                entry.set_last_on_disk(max);
                entry.flags &= !(HISTOGRAM | INTEGER | ASIDE);
                let of = self.found[from..from + count].iter().find(|c| c.at == newest);
                if let Some(kind) = of.and_then(|c| chunk::Encoding::from_number(c.encoding)) {
                    entry.flags |= if kind.is_histogram() { HISTOGRAM } else { 0 };
                    entry.flags |= if kind.is_integer() { INTEGER } else { 0 };
                }
            }
        }
    }
}
