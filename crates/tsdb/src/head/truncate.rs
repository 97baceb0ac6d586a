//! Forgetting: what blocks have taken over leaves the head, and the log is cut behind a checkpoint.

use super::page::{Page, Walk, split};
use super::read::{HeadQuerier, HeadSeries};
use super::{Head, entry::HAS_LAST};
use crate::wal::{WalError, checkpoint, delete_checkpoints, segments};
use model::{Matcher, TimeRange};
use roaring::RoaringBitmap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use storage::{Series, StorageError};

/// A reference that is no longer given out while the log still speaks of it: of a collected series, or a
/// second one of a series. Its series record must stay as long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retired {
    /// No segment after this one has samples of it.
    pub(crate) segment: u32,
    /// Time of its newest sample that a checkpoint may keep.
    pub(crate) newest: i64,
}

/// What a truncation has done so far.
#[derive(Default)]
struct Forgotten {
    gone: RoaringBitmap,
    chunks: u64,
    /// Earliest sample that is left.
    oldest: i64,
}

/// Senders wait at most about this long for a truncation.
const LONGEST_TURN: Duration = Duration::from_millis(4);

impl Retired {
    fn is_needed(self, to: u32, mint: i64) -> bool {
        self.segment > to || self.newest >= mint
    }
}

impl Head {
    /// Series with samples within a range, sorted by labels, for writing a block. Read them with
    /// [`Series::chunks`] or [`Series::read`].
    pub(crate) fn series_in(self: &Arc<Self>, range: TimeRange) -> Vec<HeadSeries> {
        let mut list = HeadQuerier::new(self.clone(), range).list(&[], 0);
        list.sort_by(|a, b| a.labels().cmp(b.labels()));
        list
    }

    /// Drops samples before `mint` and series without samples, once no open querier looks at them. Later
    /// in-order samples before `mint` are refused.
    pub(crate) fn truncate_memory(&self, mint: i64) -> Result<(), StorageError> {
        let begun = Instant::now();
        self.metrics.truncations.inc();
        self.min_valid.fetch_max(mint, Relaxed);
        self.readers.wait(TimeRange::new(i64::MIN, mint.saturating_sub(1)));
        // What is appended from now on is not older than this.
        let recent = self.max_time.load(Relaxed).saturating_sub(self.rule.chunk_range / 2);
        let pages = self.table.pages();
        let mut done = Forgotten { oldest: i64::MAX, ..Forgotten::default() };
        let mut next = 0;
        while next < pages.len() {
            // No batch may be between resolving its series and appending to them. Senders wait meanwhile, so
            // it goes a few pages at a time.
            let _gate = self.gate.write();
            let turn = Instant::now();
            while next < pages.len() && turn.elapsed() < LONGEST_TURN {
                if let Some(page) = &pages[next] {
                    self.forget_in(next, page, mint, &mut done);
                }
                next += 1;
            }
        }
        let Forgotten { gone, chunks, oldest } = done;
        let segment = self.wal.end().segment;
        self.retired.lock().extend(gone.iter().map(|series| (series, Retired { segment, newest: i64::MIN })));
        self.forget_tombstones(mint, &gone);
        {
            let _gate = self.gate.write();
            self.table.drop_empty_pages();
            self.tidy();
            if oldest != i64::MAX {
                self.min_time.store(oldest.min(recent).max(mint), Relaxed);
            } else if self.max_time.load(Relaxed) != i64::MIN {
                self.min_time.store(mint.min(self.max_time.load(Relaxed)), Relaxed);
            }
        }
        self.metrics.series_removed.add(gone.len());
        self.metrics.chunks_removed.add(chunks);
        self.metrics.chunks.add(-(chunks as f64));
        self.metrics.gc_seconds.observe(begun.elapsed().as_secs_f64());
        let cut = self.mapper.truncate(mint);
        if let Err(e) = &cut {
            self.metrics.truncations_failed.inc();
            tracing::error!(component = "tsdb", err = %e, "Truncating head chunks failed");
        }
        Ok(())
    }

    /// Series whose newest sample is a stale marker, ascending, with its time. Those with late samples are left out.
    pub(crate) fn stale_series(&self) -> Vec<(u32, i64)> {
        let mut found = Vec::new();
        for (number, page) in self.table.pages().iter().enumerate() {
            let Some(page) = page else { continue };
            let cells = page.lock();
            let stale =
                cells.live_slots().filter(|slot| cells.is_stale(*slot) && cells.late(*slot).is_none());
            let series = |slot: usize| super::table::first_of(number) + slot as u32;
            found.extend(stale.map(|slot| (series(slot), cells.peek(slot).last_t)));
        }
        found
    }

    /// Forgets series that blocks hold by now, unless something was appended to them since. The log says so first, or
    /// the next start would take their samples again. Gives how many went.
    pub(crate) fn evict(&self, series: &[(u32, i64)]) -> Result<u64, WalError> {
        self.readers.wait(TimeRange::ALL);
        let pages = self.table.pages();
        let mut count = 0;
        for of_page in series.chunk_by(|a, b| split(a.0).0 == split(b.0).0) {
            if let Some(page) = pages.get(split(of_page[0].0).0).and_then(Option::as_ref) {
                count += self.evict_in(page, of_page)?;
            }
        }
        Ok(count)
    }

    fn evict_in(&self, page: &Page, series: &[(u32, i64)]) -> Result<u64, WalError> {
        // No batch may be between resolving its series and appending to them, nor log one of the same labels anew.
        let _gate = self.gate.write();
        let mut cells = page.lock();
        let unchanged = |(series, newest): &&(u32, i64)| {
            let slot = split(*series).1;
            let has_ended = cells.is_live(slot) && cells.is_stale(slot) && cells.late(slot).is_none();
            has_ended && cells.peek(slot).last_t == *newest
        };
        let leaving: Vec<(u32, i64)> = series.iter().filter(unchanged).copied().collect();
        let mut records = crate::wal::RecordBuf::new();
        let mut record = records.tombstones();
        for (series, _) in &leaving {
            record.push(storage::SeriesRef(u64::from(*series)), i64::MIN, i64::MAX);
        }
        drop(record);
        if leaving.is_empty() {
            return Ok(0);
        }
        self.wal.log(&records)?;
        let (mut gone, mut pairs) = (RoaringBitmap::new(), RoaringBitmap::new());
        for (series, _) in &leaving {
            let slot = split(*series).1;
            pairs.extend(cells.pairs(slot).iter().copied());
            self.table.remove(cells.peek(slot).hash, *series);
            cells.remove(slot);
            gone.insert(*series);
        }
        drop(cells);
        self.index.write().remove(&gone, &pairs);
        let mut tombstones = self.tombstones.write();
        gone.iter().for_each(|series| tombstones.remove(series));
        let segment = self.wal.end().segment;
        let retired = leaving.into_iter().map(|(series, newest)| (series, Retired { segment, newest }));
        self.retired.lock().extend(retired);
        self.metrics.series_removed.add(gone.len());
        Ok(gone.len())
    }

    /// Drops samples before `mint` of one page, and its series without samples. The gate is held by the caller.
    fn forget_in(&self, number: usize, page: &Page, mint: i64, done: &mut Forgotten) {
        let mut cells = page.lock();
        done.chunks += cells.retain_mapped(|c| c.max >= mint);
        let (mut gone, mut pairs) = (RoaringBitmap::new(), RoaringBitmap::new());
        let slots: Vec<usize> = cells.live_slots().collect();
        for slot in slots {
            let late = cells.late(slot).is_some();
            if cells.open_min(slot).is_some() && cells.peek(slot).last_t < mint {
                cells.drop_open(slot);
                done.chunks += 1;
            }
            let open = cells.open_min(slot);
            match cells.mapped(slot).last().map(|c| c.min).or(open) {
                Some(first) => done.oldest = done.oldest.min(first),
                None if late => {}
                None => {
                    let hash = cells.peek(slot).hash;
                    let series = super::table::first_of(number) + slot as u32;
                    pairs.extend(cells.pairs(slot).iter().copied());
                    cells.remove(slot);
                    self.table.remove(hash, series);
                    gone.insert(series);
                }
            }
        }
        drop(cells);
        if !gone.is_empty() {
            self.index.write().remove(&gone, &pairs);
            done.gone |= gone;
        }
    }

    /// Gives back the memory of forgotten series: thin pages are folded, and texts are gathered anew when most
    /// of them are dead and no querier holds their numbers. The gate is held by the caller.
    fn tidy(&self) {
        let pages = self.table.pages();
        let filling = self.table.filling_page();
        for (number, page) in pages.iter().enumerate() {
            if let Some(page) = page.as_ref().filter(|_| number < filling) {
                page.lock().fold();
            }
        }
        let mut index = self.index.write();
        if !index.is_sparse() {
            return;
        }
        self.readers.when_idle(|| {
            let numbers = index.rebuild();
            for page in pages.iter().flatten() {
                page.lock().rewrite_pairs(|pair| numbers.get(pair as usize).copied().unwrap_or(0));
            }
        });
    }

    /// Writes a checkpoint of the lower two thirds of the log and removes those segments, as upstream does;
    /// segments from `hold` on are kept for a follower of the log.
    pub(crate) fn truncate_wal(&self, mint: i64, hold: Option<u32>) -> Result<(), WalError> {
        let begun = Instant::now();
        let dir = self.dir.join("wal");
        let list = segments(&*self.disk, &dir)?;
        let (Some(first), Some(last)) = (list.first(), list.last()) else { return Ok(()) };
        // A new segment first, so that what is checkpointed is finished.
        self.wal.cut()?;
        let (first, last) = (first.number, last.number);
        let Some(last) = last.checked_sub(1) else { return Ok(()) };
        let mut to = first + last.saturating_sub(first) * 2 / 3;
        if let Some(hold) = hold {
            to = to.min(hold.saturating_sub(1));
        }
        if to <= first {
            return Ok(());
        }
        let pages = self.table.pages();
        let mut keep = |series: storage::SeriesRef| {
            // One that is not of our making has an alias, which is not worth following.
            let Ok(series) = u32::try_from(series.0) else { return true };
            if to < self.keep_before.load(Relaxed) {
                return true;
            }
            let (page, slot) = split(series);
            pages.get(page).and_then(Option::as_ref).is_some_and(|p| p.lock().is_live(slot))
                || self.retired.lock().get(&series).is_some_and(|r| r.is_needed(to, mint))
        };
        let standing = self.tombstones.read().records();
        self.metrics.checkpoints.inc();
        let compression = self.options.wal_compression;
        if let Err(e) = checkpoint(&self.disk, &dir, to, &mut keep, mint, &standing, compression) {
            self.metrics.checkpoints_failed.inc();
            return Err(e);
        }
        self.retired.lock().retain(|_, r| r.is_needed(to, mint));
        self.drop_covered_snapshots(to);
        self.wal.truncate(to + 1)?;
        self.metrics.checkpoint_deletions.inc();
        if let Err(e) = delete_checkpoints(&*self.disk, &dir, to) {
            // Superseded ones are ignored when read.
            self.metrics.checkpoint_deletions_failed.inc();
            tracing::error!(component = "tsdb", err = %e, "delete old checkpoints");
        }
        self.metrics.wal_truncate_seconds.observe(begun.elapsed().as_secs_f64());
        tracing::info!(component = "tsdb", first, last = to, duration = ?begun.elapsed(), "WAL checkpoint complete");
        Ok(())
    }

    /// Marks samples of matching series as deleted, in the log first.
    pub(crate) fn delete(&self, range: TimeRange, matchers: &[Matcher]) -> Result<(), StorageError> {
        let _gate = self.gate.read();
        let set = self.index.read().select(matchers);
        let pages = self.table.pages();
        let mut walk = Walk::new(&pages);
        let mut records = crate::wal::RecordBuf::new();
        let mut stones: Vec<(u32, TimeRange)> = Vec::new();
        let mut record = records.tombstones();
        for series in set {
            let Some((cells, slot)) = walk.go(series) else { continue };
            if !cells.is_live(slot) || !cells.has_data(slot) {
                continue;
            }
            // Only what exists now: samples that come later are not deleted.
            let entry = cells.peek(slot);
            let newest = if entry.is(HAS_LAST) { entry.last_t } else { i64::MIN };
            let late = cells.late(slot);
            let late_max = late.map_or(i64::MIN, |l| {
                l.mapped.iter().map(|c| c.max).chain(l.range().map(|r| r.1)).max().unwrap_or(i64::MIN)
            });
            let oldest = cells.mapped(slot).last().map(|c| c.min);
            let oldest = oldest.or(cells.open_min(slot)).unwrap_or(i64::MAX);
            let late_min = late.map_or(i64::MAX, |l| {
                l.mapped.iter().map(|c| c.min).chain(l.range().map(|r| r.0)).min().unwrap_or(i64::MAX)
            });
            let cut =
                TimeRange::new(range.min.max(oldest.min(late_min)), range.max.min(newest.max(late_max)));
            if cut.min <= cut.max {
                stones.push((series, cut));
                record.push(storage::SeriesRef(u64::from(series)), cut.min, cut.max);
            }
        }
        drop(record);
        drop(walk);
        if stones.is_empty() {
            return Ok(());
        }
        self.wal.log(&records)?;
        let mut tombstones = self.tombstones.write();
        for (series, range) in stones {
            tombstones.add(series, range);
        }
        Ok(())
    }
}
