//! Samples, histograms and late samples of the log.
//!
//! Samples are applied in lanes: a thread for each, with series of its own, so that those of one series keep
//! the order of the log.

use super::Replay;
use super::decode::{Pool, lane_of};
use super::finish::Unknown;
use super::snapshot::OpenChunk;
use crate::head::Head;
use crate::head::entry::{ASIDE, HAS_LAST, HISTOGRAM};
use crate::head::histogram::{fingerprint, is_sound};
use crate::head::ooo::{LATE_CAP, write_late};
use crate::head::page::{Mapped, Walk};
use model::Sample;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Barrier};
use std::thread::{Scope, ScopedJoinHandle};
use storage::feed::{FeedHistogram, FeedSample};
use storage::{SampleBuf, SeriesRef};

/// Portions that may wait for a lane.
const WAITING: usize = 4;

/// What applying adds up.
pub(super) struct Tally {
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) late_min: i64,
    pub(super) late_max: i64,
    pub(super) chunks: u64,
    /// Of those, chunks of series that left the head early.
    pub(super) departed_chunks: u64,
    pub(super) unknown: Unknown,
    /// Malformed native histograms, which were left out.
    pub(super) bad_histograms: u64,
    /// Why a snapshot is of no use.
    pub(super) broken: Option<String>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            min: i64::MAX,
            max: i64::MIN,
            late_min: i64::MAX,
            late_max: i64::MIN,
            chunks: 0,
            departed_chunks: 0,
            unknown: Unknown::default(),
            bad_histograms: 0,
            broken: None,
        }
    }
}

impl Tally {
    pub(super) fn saw(&mut self, min: i64, max: i64) {
        self.min = self.min.min(min);
        self.max = self.max.max(max);
    }

    pub(super) fn add(&mut self, other: Tally) {
        self.saw(other.min, other.max);
        self.late_min = self.late_min.min(other.late_min);
        self.late_max = self.late_max.max(other.late_max);
        self.chunks += other.chunks;
        self.departed_chunks += other.departed_chunks;
        self.bad_histograms += other.bad_histograms;
        self.unknown.add(other.unknown);
        self.broken = self.broken.take().or(other.broken);
    }

    /// Appends floats of known series, with their start timestamps; others are counted.
    pub(super) fn samples(&mut self, head: &Head, samples: impl IntoIterator<Item = (FeedSample, i64)>) {
        let min_valid = head.min_valid.load(Relaxed);
        let (mapper, rule, kinds) = (&head.mapper, head.rule, head.kinds());
        let pages = head.table.pages();
        let mut walk = Walk::new(&pages);
        for (s, start) in samples {
            if s.t < min_valid {
                continue;
            }
            let series = u32::try_from(s.series.0).unwrap_or(0);
            let live = walk.go(series).filter(|(cells, slot)| cells.is_live(*slot));
            let Some((cells, slot)) = live else {
                self.unknown.samples += 1;
                self.unknown.note(&head.table, s.series);
                continue;
            };
            let entry = cells.entry(slot);
            if entry.is(HAS_LAST) && s.t <= entry.last_t {
                continue;
            }
            let sample = Sample { t: s.t, v: s.v };
            if kinds.xor2 || entry.is(HISTOGRAM | ASIDE) {
                self.chunks += head.place(cells, slot, series).append_float(sample, start).opened;
            } else {
                let (closed, opened) = entry.append(sample, rule);
                self.chunks += u64::from(opened);
                if let Some(chunk) = closed {
                    let at = mapper.write(series, chunk.min, chunk.max, false, &chunk.bytes);
                    cells.add_mapped(slot, Mapped { at, min: chunk.min, max: chunk.max });
                }
            }
            self.saw(s.t, s.t);
        }
    }

    /// The same for histograms.
    pub(super) fn histograms(&mut self, head: &Head, rows: &[FeedHistogram]) {
        let min_valid = head.min_valid.load(Relaxed);
        let pages = head.table.pages();
        let mut walk = Walk::new(&pages);
        for row in rows {
            if row.t < min_valid {
                continue;
            }
            let series = u32::try_from(row.series.0).unwrap_or(0);
            let live = walk.go(series).filter(|(cells, slot)| cells.is_live(*slot));
            let Some((cells, slot)) = live else {
                self.unknown.histograms += 1;
                self.unknown.note(&head.table, row.series);
                continue;
            };
            let entry = cells.entry(slot);
            if entry.is(HAS_LAST) && row.t <= entry.last_t {
                continue;
            }
            if !is_sound(&row.histogram) {
                self.bad_histograms += 1;
                continue;
            }
            let value = fingerprint(&row.histogram);
            let mut place = head.place(cells, slot, series);
            let integer = row.histogram.holds_integers();
            let moved = place.append_histogram(row.t, row.start, &row.histogram, integer, value);
            self.chunks += moved.opened;
            self.saw(row.t, row.t);
        }
    }
}

/// A portion for a lane.
pub(super) enum Work {
    Samples(Vec<FeedSample>),
    Started(Vec<(FeedSample, i64)>),
    Histograms(Vec<FeedHistogram>),
    /// Of a snapshot.
    Chunks(Vec<OpenChunk>, Arc<Vec<u8>>),
    /// Everything before was applied.
    Settled(Arc<Barrier>),
}

/// Threads that apply samples.
#[derive(Default)]
pub(super) struct Lanes<'s> {
    lanes: Vec<(SyncSender<Work>, ScopedJoinHandle<'s, Tally>)>,
    /// Something was sent since everything was settled.
    busy: bool,
}

impl<'s> Lanes<'s> {
    pub(super) fn start<'e: 's>(
        scope: &'s Scope<'s, 'e>,
        head: &'e Head,
        pool: &'e Pool,
        count: usize,
    ) -> Self {
        let start = |_| {
            let (send, receive) = sync_channel(WAITING);
            (send, scope.spawn(move || apply(head, pool, &receive)))
        };
        Lanes { lanes: (0..count).map(start).collect(), busy: false }
    }

    pub(super) fn count(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn send(&mut self, lane: usize, work: Work) {
        if let Some((lane, _)) = self.lanes.get(lane) {
            self.busy = true;
            let _ = lane.send(work);
        }
    }

    /// Waits until everything that was sent is applied.
    pub(super) fn settle(&mut self) {
        if !std::mem::take(&mut self.busy) {
            return;
        }
        let barrier = Arc::new(Barrier::new(self.lanes.len() + 1));
        for (lane, _) in &self.lanes {
            if lane.send(Work::Settled(barrier.clone())).is_err() {
                // Its thread has ended, which only a panic can do; joining will tell.
                return;
            }
        }
        barrier.wait();
    }

    /// Ends the threads and gives what they added up.
    pub(super) fn end(self) -> Tally {
        let mut sum = Tally::default();
        let (senders, threads): (Vec<_>, Vec<_>) = self.lanes.into_iter().unzip();
        drop(senders);
        for thread in threads {
            match thread.join() {
                Ok(tally) => sum.add(tally),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        sum
    }
}

fn unstarted(samples: &[FeedSample]) -> impl Iterator<Item = (FeedSample, i64)> {
    samples.iter().map(|s| (*s, 0))
}

fn apply(head: &Head, pool: &Pool, work: &Receiver<Work>) -> Tally {
    let mut tally = Tally::default();
    for work in work {
        match work {
            Work::Samples(samples) => {
                tally.samples(head, unstarted(&samples));
                pool.give(samples);
            }
            Work::Started(samples) => tally.samples(head, samples),
            Work::Histograms(rows) => {
                tally.histograms(head, &rows);
                pool.give_histograms(rows);
            }
            Work::Chunks(list, bytes) => tally.chunks(head, &list, &bytes),
            Work::Settled(barrier) => {
                barrier.wait();
            }
        }
    }
    tally
}

/// Samples of several lanes in one order: that of each lane is kept, between lanes time decides.
fn merge(mut lanes: Vec<Vec<FeedSample>>) -> Vec<FeedSample> {
    lanes.retain(|lane| !lane.is_empty());
    if lanes.len() < 2 {
        return lanes.pop().unwrap_or_default();
    }
    let mut out = Vec::with_capacity(lanes.iter().map(Vec::len).sum());
    let mut heads: Vec<_> = lanes.into_iter().map(|lane| lane.into_iter().peekable()).collect();
    let first = |heads: &mut [std::iter::Peekable<std::vec::IntoIter<FeedSample>>]| {
        let times = heads.iter_mut().enumerate().filter_map(|(at, lane)| Some((lane.peek()?.t, at)));
        times.min().map(|(_, at)| at)
    };
    while let Some(at) = first(&mut heads) {
        out.extend(heads[at].next());
    }
    out
}

impl Replay<'_> {
    /// Sends samples to their lanes. Those of series that have several references go by themselves: their
    /// references may belong to different lanes.
    pub(super) fn samples(&mut self, lanes: &mut Lanes<'_>, mut samples: Vec<Vec<FeedSample>>) {
        if !self.kin.is_empty() {
            let take = |lane: &mut Vec<FeedSample>| {
                lane.extract_if(.., |s| self.kin.contains(&s.series.0)).collect::<Vec<_>>()
            };
            let mut apart = merge(samples.iter_mut().map(take).collect());
            if !apart.is_empty() {
                for s in &mut apart {
                    s.series = self.own_at(s.series, s.t);
                }
                lanes.settle();
                self.tally.samples(self.head, unstarted(&apart));
            }
        }
        for (lane, samples) in samples.into_iter().enumerate() {
            if !samples.is_empty() {
                lanes.send(lane, Work::Samples(samples));
            }
        }
    }

    /// [`Replay::samples`] with their start timestamps.
    pub(super) fn started(&mut self, lanes: &mut Lanes<'_>, samples: Vec<(FeedSample, i64)>) {
        let mut by_lane: Vec<Vec<(FeedSample, i64)>> = lanes.lanes.iter().map(|_| Vec::new()).collect();
        let mut apart = Vec::new();
        for (s, start) in samples {
            if !self.kin.is_empty() && self.kin.contains(&s.series.0) {
                apart.push((FeedSample { series: self.own_at(s.series, s.t), ..s }, start));
            } else {
                by_lane[lane_of(s.series.0, lanes.lanes.len())].push((s, start));
            }
        }
        if !apart.is_empty() {
            lanes.settle();
            self.tally.samples(self.head, apart);
        }
        for (lane, samples) in by_lane.into_iter().enumerate() {
            if !samples.is_empty() {
                lanes.send(lane, Work::Started(samples));
            }
        }
    }

    pub(super) fn histograms(&mut self, lanes: &mut Lanes<'_>, rows: Vec<FeedHistogram>) {
        let room = rows.len() / lanes.count().max(1);
        let mut by_lane: Vec<Vec<FeedHistogram>> =
            lanes.lanes.iter().map(|_| Vec::with_capacity(room)).collect();
        let mut apart: Vec<FeedHistogram> = Vec::new();
        for row in rows {
            if !self.kin.is_empty() && self.kin.contains(&row.series.0) {
                let series = self.own_at(row.series, row.t);
                apart.push(FeedHistogram { series, ..row });
            } else {
                by_lane[lane_of(row.series.0, lanes.lanes.len())].push(row);
            }
        }
        if !apart.is_empty() {
            lanes.settle();
            self.tally.histograms(self.head, &apart);
        }
        for (lane, rows) in by_lane.into_iter().enumerate() {
            if !rows.is_empty() {
                lanes.send(lane, Work::Histograms(rows));
            }
        }
    }

    /// Our reference for one of the log, which has a sample at `t`.
    fn own_at(&mut self, series: SeriesRef, t: i64) -> SeriesRef {
        match self.other.get_mut(&series.0) {
            None => series,
            Some((own, newest)) => {
                *newest = (*newest).max(t);
                SeriesRef(u64::from(*own))
            }
        }
    }

    pub(super) fn late_samples(&mut self, samples: impl IntoIterator<Item = (FeedSample, i64)>) {
        let mut walk = Walk::new(&self.pages);
        for (s, start) in samples {
            let series = match self.other.get_mut(&s.series.0) {
                Some(other) => {
                    // The log of late samples knows no checkpoints.
                    other.1 = i64::MAX;
                    other.0
                }
                None => u32::try_from(s.series.0).unwrap_or(0),
            };
            let live = walk.go(series).filter(|(cells, slot)| cells.is_live(*slot));
            let Some((cells, slot)) = live else {
                self.tally.unknown.late_samples += 1;
                self.tally.unknown.note(&self.head.table, s.series);
                continue;
            };
            let late = cells.late_mut(slot);
            // A marker usually comes soon and says that a chunk has them.
            if late.open.len() >= 4 * LATE_CAP {
                write_late(self.head, series, late);
            }
            if late.insert_started(Sample { t: s.t, v: s.v }, start) {
                self.tally.late_min = self.tally.late_min.min(s.t);
                self.tally.late_max = self.tally.late_max.max(s.t);
            }
        }
    }

    pub(super) fn late_histograms(&mut self, rows: &[FeedHistogram]) {
        let mut walk = Walk::new(&self.pages);
        for row in rows {
            let series = match self.other.get_mut(&row.series.0) {
                Some(other) => {
                    other.1 = i64::MAX;
                    other.0
                }
                None => u32::try_from(row.series.0).unwrap_or(0),
            };
            let live = walk.go(series).filter(|(cells, slot)| cells.is_live(*slot));
            let Some((cells, slot)) = live else {
                self.tally.unknown.late_histograms += 1;
                self.tally.unknown.note(&self.head.table, row.series);
                continue;
            };
            if !is_sound(&row.histogram) {
                self.tally.bad_histograms += 1;
                continue;
            }
            let late = cells.late_mut(slot);
            if late.open.len() >= 4 * LATE_CAP {
                write_late(self.head, series, late);
            }
            if late.insert_histogram(row.t, row.start, &row.histogram) {
                self.tally.late_min = self.tally.late_min.min(row.t);
                self.tally.late_max = self.tally.late_max.max(row.t);
            }
        }
    }

    pub(super) fn markers(&mut self, list: &[(SeriesRef, u64)]) {
        let mut walk = Walk::new(&self.pages);
        for (series, at) in list {
            // A chunk that is neither there nor older than all that is there did not reach the disk; what the
            // log holds of it is all there is.
            let chunk = self.late_chunks.contains(at).then(|| self.times_of(*at)).flatten();
            if chunk.is_none() && *at >> 32 >= self.first_file {
                self.unmarked.insert(self.own(*series));
                continue;
            }
            match walk.go(self.own(*series)).filter(|(cells, slot)| cells.is_live(*slot)) {
                Some((cells, slot)) => {
                    // Exactly what the chunk has: what was logged again behind the marker may be torn.
                    let late = cells.late_mut(slot);
                    late.retain(|t| chunk.as_ref().is_some_and(|times| times.binary_search(&t).is_err()));
                }
                None => self.tally.unknown.markers += 1,
            }
        }
    }

    /// Times of a chunk on disk.
    fn times_of(&self, at: u64) -> Option<Vec<i64>> {
        let (encoding, data) = self.head.mapper.read(at).ok()?;
        let mut rows = SampleBuf::default();
        chunk::decode(encoding, &data, &mut rows.columns()).ok()?;
        Some(rows.times)
    }
}
