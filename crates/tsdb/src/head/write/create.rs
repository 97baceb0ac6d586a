//! Series that a batch brings for the first time.

use super::verdict::{check, refuse};
use super::{HeadWriter, key_of};
use crate::head::entry::{Entry, UNLOGGED};
use crate::head::page::{Walk, split};
use crate::head::postings::Runs;
use crate::head::{Bounds, canon};
use std::sync::atomic::Ordering::Relaxed;
use storage::{Batch, RejectReason, RowKind, SeriesRef, WriteOutcome};

/// Raw keys of unsorted senders that are remembered.
const MAX_ALIASES: usize = 1 << 16;

impl HeadWriter {
    /// Series never seen before, or known under another order of their labels.
    pub(super) fn create(&mut self, batch: &Batch<'_>, bounds: Bounds, out: &mut WriteOutcome) {
        let head = self.head.clone();
        let mut pages;
        let misses = std::mem::take(&mut self.misses);
        let legacy = head.legacy_names.load(Relaxed);
        let mut ids: Vec<u32> = Vec::new();
        let mut made: Vec<(u32, u32)> = Vec::with_capacity(misses.len());
        {
            let mut index = head.index.write();
            // Not earlier: pages that another batch has made meanwhile must be seen.
            pages = head.table.pages();
            // Labels of the series before: neighbours share most of them.
            let mut before: Vec<u32> = Vec::new();
            let mut runs = Runs::default();
            let mut labels = Vec::new();
            for (row, raw_hash) in &misses {
                let key = key_of(batch.series[*row as usize].id);
                let canonical = match canon::check(key, legacy, &mut labels) {
                    Ok(canonical) => canonical,
                    Err(reason) => {
                        refuse(out, *row, RowKind::Series, *row, reason);
                        continue;
                    }
                };
                let hash = if canonical { *raw_hash } else { head.table.hash(&canon::key_of(&labels)) };
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
                        for (at, (name, value)) in labels.iter().enumerate() {
                            let near = before.get(at).copied();
                            let Some(id) = index.texts.intern_near(near, name, value) else { break };
                            ids.push(id);
                        }
                        let full = ids.len() < labels.len();
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
                        index.add_next(&mut runs, series, &ids);
                        std::mem::swap(&mut before, &mut ids);
                        out.series_created += 1;
                        series
                    }
                };
                if !canonical {
                    if self.aliases.len() >= MAX_ALIASES {
                        self.aliases.clear();
                    }
                    self.aliases.insert(*raw_hash, series);
                }
                made.push((*row, series));
            }
            index.flush(&mut runs);
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
            self.conflict |= !check(
                (batch, &self.zeros),
                row,
                series,
                entry,
                bounds,
                &mut self.items,
                &mut self.histograms,
                out,
                &head,
            );
            self.last = series;
        }
        drop(walk);
        self.misses = misses;
        self.misses.clear();
    }
}
