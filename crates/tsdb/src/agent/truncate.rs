//! Removing what every destination has, and what no budget allows to keep.

use super::{AgentStore, Inner};
use crate::wal::{Position, Segment, WalError, checkpoint, delete_checkpoints, segments};
use std::time::{Instant, UNIX_EPOCH};
use storage::SeriesRef;

/// How often at most a disk that is nearly full makes it come early.
const TIGHT_INTERVAL_MS: i64 = 60_000;

/// When the log was looked at last, in ms.
#[derive(Default)]
pub(super) struct Schedule {
    last: Option<i64>,
}

/// Which segments go, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    /// Segments below it go.
    keep_from: u32,
    /// Of these, the ones from here on go although somebody still wants them.
    forced_from: u32,
}

impl AgentStore {
    /// To be called every now and then (every 15 s or so) by the thread that keeps house: truncates when the
    /// time has come, the byte budget is used up or the disk is nearly full. Failures are logged and counted; the next call tries
    /// again. `now_ms`: wall clock.
    pub fn maintain(&self, now_ms: i64) {
        let options = &self.0.options;
        let due = {
            let mut schedule = self.0.schedule.lock();
            let last = *schedule.last.get_or_insert(now_ms);
            let since = now_ms.saturating_sub(last);
            let over = options.max_wal_bytes > 0 && self.0.segment_bytes() > options.max_wal_bytes;
            // What was sent goes early when the disk fills, while there is still room for a checkpoint.
            let tight =
                || self.0.disk.space(self.0.wal.dir()).is_ok_and(|s| s.free < 4 * options.segment_bytes);
            let due =
                over || since >= options.truncate_frequency_ms || (since >= TIGHT_INTERVAL_MS && tight());
            if due {
                schedule.last = Some(now_ms);
            }
            due
        };
        if due && let Err(e) = self.truncate(now_ms) {
            tracing::warn!(component = "agent", err = %e, "failed to truncate WAL");
        }
    }

    /// Forgets idle series, begins a new segment and removes old ones behind a checkpoint of their series.
    pub fn truncate(&self, now_ms: i64) -> Result<(), WalError> {
        let store = &*self.0;
        let start = Instant::now();
        let idle_since = now_ms.saturating_sub(store.options.min_wal_time_ms);
        store.collect_series(idle_since);
        let active = store.wal.cut()?;
        let all = segments(&*store.disk, store.wal.dir())?;
        let Some(plan) = store.plan(&all, active, now_ms) else { return Ok(()) };
        store.report_forced(&all, plan);
        let last = plan.keep_from - 1;

        store.metrics.checkpoint_creations.inc();
        // What is removed was sent, or may not be kept: of samples nothing needs to survive. Without
        // destinations samples younger than upstream's limit do.
        let mint = if store.feed.min_hold().is_some() { i64::MAX } else { idle_since };
        let mut keep = |series: SeriesRef| store.keep_in_checkpoint(series, last);
        let compression = store.wal.compression();
        match checkpoint(&store.disk, store.wal.dir(), last, &mut keep, mint, &[], compression) {
            Ok(stats) => store.metrics.corruptions.add(stats.damaged),
            Err(e) => {
                store.metrics.checkpoint_creations_failed.inc();
                return Err(e);
            }
        }
        if let Err(e) = store.wal.truncate(plan.keep_from) {
            // They are superseded by the checkpoint; the next round removes them.
            tracing::error!(component = "agent", err = %e, "truncating segments failed");
        }
        {
            let mut deleted = store.deleted.lock();
            deleted.retain(|_, segment| *segment > last);
            store.metrics.deleted_series.set(deleted.len() as f64);
        }
        store.metrics.checkpoint_deletions.inc();
        if let Err(e) = delete_checkpoints(&*store.disk, store.wal.dir(), last) {
            store.metrics.checkpoint_deletions_failed.inc();
            tracing::error!(component = "agent", err = %e, "delete old checkpoints");
        }
        store.metrics.truncate_duration.observe(start.elapsed().as_secs_f64());
        tracing::info!(component = "agent", last, duration = ?start.elapsed(), "WAL checkpoint complete");
        Ok(())
    }
}

impl Inner {
    fn collect_series(&self, mint: i64) {
        tracing::info!(component = "agent", "series GC started");
        let start = Instant::now();
        let gone = {
            // No batch is between its checks and its log record while series go.
            let _gate = self.gate.write();
            let gone = self.series.collect(mint);
            let last = self.wal.end().segment;
            self.deleted.lock().extend(gone.iter().map(|series| (*series, last)));
            gone
        };
        self.metrics.active_series.set(self.series.len() as f64);
        self.metrics.deleted_series.set(self.deleted.lock().len() as f64);
        tracing::info!(component = "agent", series = gone.len(), duration = ?start.elapsed(), "series GC completed");
    }

    /// Whether a checkpoint up to segment `last` keeps the record of a series.
    fn keep_in_checkpoint(&self, series: SeriesRef, last: u32) -> bool {
        self.series.is_live(series.0)
            || self.deleted.lock().get(&series.0).is_some_and(|segment| *segment > last)
    }

    fn plan(&self, all: &[Segment], active: u32, now_ms: i64) -> Option<Plan> {
        let first = all.first()?.number;
        let modified = |segment: &Segment| {
            let time = self.disk.meta(&segment.path).ok()?.modified?;
            i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
        };
        let finished = || all.iter().filter(|s| s.number < active);
        let wanted = match self.feed.min_hold() {
            // As upstream: the lower two thirds are mostly obsolete.
            None => first + (active - 1).saturating_sub(first) * 2 / 3 + 1,
            Some(Position { segment, .. }) => {
                let young = |s: &&Segment| {
                    modified(s).is_some_and(|t| t > now_ms.saturating_sub(self.options.min_wal_time_ms))
                };
                let young = finished().find(young).map_or(active, |s| s.number);
                segment.min(young).min(active)
            }
        };
        let oldest = now_ms.saturating_sub(self.options.max_wal_time_ms);
        let old = |s: &&Segment| modified(s).is_some_and(|t| t < oldest);
        let by_age = all.iter().rev().filter(|s| s.number < active).find(old).map_or(first, |s| s.number + 1);
        let by_size = self.by_size(all, active);
        let keep_from = wanted.max(by_age).max(by_size).min(active);
        // A checkpoint of a single small segment is not worth its work.
        let enough = keep_from > first + 1 || (keep_from > first && by_age.max(by_size) > first);
        enough.then_some(Plan {
            keep_from,
            forced_from: self.feed.min_hold().map_or(keep_from, |hold| hold.segment),
        })
    }

    /// Bytes of all segments; not of the checkpoint, which removing segments does not make smaller.
    fn segment_bytes(&self) -> u64 {
        segments(&*self.disk, self.wal.dir()).map_or(0, |all| all.iter().map(|s| s.len).sum())
    }

    /// The first segment that may stay under the byte budget.
    fn by_size(&self, all: &[Segment], active: u32) -> u32 {
        let first = all.first().map_or(active, |s| s.number);
        if self.options.max_wal_bytes == 0 {
            return first;
        }
        let mut total: u64 = all.iter().map(|s| s.len).sum();
        for segment in all.iter().filter(|s| s.number < active) {
            if total <= self.options.max_wal_bytes {
                return segment.number;
            }
            total = total.saturating_sub(segment.len);
        }
        active
    }

    /// Says and counts what is removed before its time.
    fn report_forced(&self, all: &[Segment], plan: Plan) {
        let forced: Vec<&Segment> =
            all.iter().filter(|s| plan.forced_from <= s.number && s.number < plan.keep_from).collect();
        if forced.is_empty() {
            return;
        }
        let bytes: u64 = forced.iter().map(|s| s.len).sum();
        self.metrics.forced_segments.add(forced.len() as u64);
        self.metrics.forced_bytes.add(bytes);
        let names = self.feed.held_below(Position { segment: plan.keep_from, offset: 0 });
        tracing::warn!(
            component = "agent",
            segments = forced.len(),
            bytes,
            destinations = ?names,
            "Removing log that was not sent: it exceeds the age or byte budget"
        );
    }

    /// Whether a checkpoint exists; for tests.
    #[cfg(test)]
    pub(super) fn checkpoint_number(&self) -> Option<u32> {
        crate::wal::last_checkpoint(&*self.disk, self.wal.dir()).ok().flatten().map(|c| c.number)
    }
}
