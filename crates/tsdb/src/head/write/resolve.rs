//! Finding the series of a batch: by guess, by hash, or all together when the sender has no order.

use super::verdict::{check, refuse};
use super::{HeadWriter, key_of};
use crate::head::Bounds;
use crate::head::entry::{LIVE, UNLOGGED};
use crate::head::page::Walk;
use storage::{Batch, RejectReason, RowKind, SeriesId, SeriesRef, WriteOutcome};

/// How the sender orders its series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Habit {
    /// Mostly as before: each series is guessed from the one before it.
    #[default]
    Orderly,
    /// In no order that helps: all rows are looked up together and visited in order of their references.
    Scattered,
}

/// Rows below which a batch says nothing about the habit of its sender.
const TELLING: usize = 16;

impl HeadWriter {
    /// Known series: found by guess or by hash, their samples checked.
    pub(super) fn resolve(&mut self, batch: &Batch<'_>, bounds: Bounds, out: &mut WriteOutcome) {
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
                (batch, &self.zeros),
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
                (batch, &self.zeros),
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
}
