//! Series of the log, and the chunks that stand on disk for them.

use super::decode::SeriesRows;
use super::{Replay, is_taken};
use crate::head::entry::{ASIDE, Entry, HAS_LAST, HISTOGRAM, INTEGER, UNLOGGED};
use crate::head::page::{Mapped, Walk, split};
use std::sync::atomic::Ordering::Relaxed;

impl Replay<'_> {
    pub(super) fn series(&mut self, rows: &SeriesRows) {
        let head = self.head;
        let mut index = head.index.write();
        let mut before: Vec<u32> = Vec::new();
        let mut ids: Vec<u32> = Vec::new();
        for (number, hash, key) in &rows.rows {
            let key = &rows.keys[key.clone()];
            // Given out once, never again: the log may still speak of it.
            if let Ok(number) = u32::try_from(*number) {
                head.table.reserve(number);
            }
            if let Some(known) = head.table.find(&self.pages, *hash) {
                if u64::from(known) != *number {
                    self.other.entry(*number).or_insert((known, i64::MIN)).0 = known;
                }
                self.attach(*number, known);
                continue;
            }
            // References beyond 32 bits get one of ours.
            let free = u32::try_from(*number).ok().filter(|n| *n != 0 && !is_taken(&self.pages, *n));
            let series = match free {
                Some(series) => {
                    head.table.ensure_page(series);
                    series
                }
                None => {
                    let Some(series) = head.table.allocate() else { continue };
                    self.other.insert(*number, (series, i64::MIN));
                    series
                }
            };
            ids.clear();
            for (at, label) in storage::key::iter(key).enumerate() {
                let Ok((name, value)) = label else { break };
                let hint = before.get(at).copied().filter(|pair| index.texts.label(*pair) == (name, value));
                let Some(id) = hint.or_else(|| index.texts.intern(name, value)) else { break };
                ids.push(id);
            }
            let (page, slot) = split(series);
            if self.pages.get(page).is_none_or(Option::is_none) {
                self.pages = head.table.pages();
            }
            if let Some(Some(page)) = self.pages.get(page) {
                let mut entry = Entry::new(*hash);
                entry.flags &= !UNLOGGED;
                page.lock().put(slot, entry, &ids);
            }
            head.table.insert(*hash, series);
            index.add(series, &ids);
            std::mem::swap(&mut before, &mut ids);
            self.attach(*number, series);
        }
    }

    /// Gives a series the chunks that stand on disk under `number`.
    pub(super) fn attach(&mut self, number: u64, series: u32) {
        let from = self.found.partition_point(|chunk| chunk.series < number);
        let mut chunks = self.found[from..].iter().take_while(|c| c.series == number).peekable();
        if chunks.peek().is_none() {
            return;
        }
        let min_valid = self.head.min_valid.load(Relaxed);
        let mut walk = Walk::new(&self.pages);
        let Some((cells, slot)) = walk.go(series) else { return };
        let mut all: Vec<Mapped> = cells.mapped(slot).collect();
        for chunk in chunks {
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
                    self.late_min = self.late_min.min(mapped.min);
                    self.late_max = self.late_max.max(mapped.max);
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
                self.min = self.min.min(chunk.min);
                self.max = self.max.max(chunk.max);
                self.chunks += 1;
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
                let of =
                    self.found[from..].iter().take_while(|c| c.series == number).find(|c| c.at == newest);
                if let Some(kind) = of.and_then(|c| chunk::Encoding::from_number(c.encoding)) {
                    entry.flags |= if kind.is_histogram() { HISTOGRAM } else { 0 };
                    entry.flags |= if kind.is_integer() { INTEGER } else { 0 };
                }
            }
        }
    }
}
