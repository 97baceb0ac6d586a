//! What a schedule does: writes, deletions, reloads, snapshots, following the log.

use super::Sim;
use super::truth::Fate;
use super::world::*;
use disk::Disk;
use model::{Labels, Matcher, Sample, TimeRange};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::admin::Admin;
use storage::feed::{Feed, FeedBatch};
use storage::{
    Batch, BatchSeries, ExemplarRow, HistogramRow, RowKind, SeriesId, WriteOutcome, WriterSource, key,
};
use tsdb::feed::LogFeed;
use tsdb::{Db, Running};

impl Sim {
    pub fn write(&mut self, db: &Db) {
        let mut rows: Vec<(usize, i64)> = Vec::new();
        let late = self.dice.one_in(3);
        self.now += self.step * self.dice.below(4) as i64;
        for _ in 0..=self.dice.below(4) {
            let series = self.dice.below(SERIES as u64) as usize;
            let count = 1 + self.dice.below(12) as i64;
            let from = match late && self.dice.one_in(2) {
                true => self.now - self.dice.below(150) as i64 * self.step,
                false => self.now,
            };
            rows.extend((0..count).map(|i| (series, from + i * self.step)));
            if !late {
                self.now = self.now.max(from + self.dice.below(count as u64) as i64 * self.step);
            }
        }
        let keys: Vec<Vec<u8>> = (0..SERIES).map(|i| key::of_labels(&labels(i))).collect();
        let trace = key::of_labels(&Labels::from_pairs([("trace_id", "abc")]));
        let mut batch = Batch::default();
        let mut sent: Vec<(usize, Sample, (RowKind, u32))> = Vec::new();
        for of in rows.chunk_by(|a, b| a.0 == b.0) {
            let from = batch.samples.len() as u32;
            let first_histogram = batch.histograms.len() as u32;
            let first_exemplar = batch.exemplars.len() as u32;
            for (series, t) in of {
                // Now and then another value for a time that may be taken.
                let v = value(*series, *t) + if self.dice.one_in(40) { 0.5 } else { 0.0 };
                let ends = self.ends.as_mut().is_some_and(|dice| dice.one_in(8));
                let is_float = !self.histograms || histogram(*series, *t, v).is_none();
                let v = if ends && is_float { END } else { v };
                let s = Sample { t: *t, v };
                let start = if self.starts == Starts::None { 0 } else { start_of(*series, *t) };
                if let Some(h) = histogram(*series, *t, v).filter(|_| self.histograms) {
                    sent.push((*series, s, (RowKind::Histogram, batch.histograms.len() as u32)));
                    batch.histograms.push(HistogramRow { t: *t, start, histogram: Arc::new(h) });
                } else {
                    sent.push((*series, s, (RowKind::Sample, batch.samples.len() as u32)));
                    batch.samples.push(sample(*t, v));
                    if self.starts != Starts::None {
                        batch.starts.push(start);
                    }
                }
            }
            if self.dice.one_in(4) {
                batch.exemplars.push(ExemplarRow { t: of[0].1, v: 1.0, labels: &trace });
            }
            batch.series.push(BatchSeries {
                id: SeriesId::Key(&keys[of[0].0]),
                samples: from..batch.samples.len() as u32,
                histograms: first_histogram..batch.histograms.len() as u32,
                exemplars: first_exemplar..batch.exemplars.len() as u32,
            });
        }
        let mut outcome = WriteOutcome::default();
        let done = db.writer().write(&batch, &mut outcome);
        let refused = outcome.rejected.iter();
        let refused: Vec<(RowKind, u32)> = refused.map(|r| (r.kind, r.row)).collect();
        let is_ok = done.is_ok();
        let mut text = String::new();
        for (series, s, place) in &sent {
            let mark = if refused.contains(place) { "!" } else { "" };
            text += &format!(" {series}:{}{mark}", (s.t - START) / self.step);
        }
        self.note(format!("write{text} {:?}", done.err()));
        // One that repeats a sample of its own batch goes the way of that one, which a change of kind may have refused.
        let stands = |(_, _, place): &&(usize, Sample, (RowKind, u32))| refused.contains(place);
        let refused_at: BTreeSet<(usize, i64)> =
            sent.iter().filter(stands).map(|(series, s, _)| (*series, s.t)).collect();
        for (series, s, place) in sent {
            if is_ok && refused.contains(&place) {
                continue;
            }
            if refused_at.contains(&(series, s.t)) {
                let (fate, values) = self.truth.entry((series, s.t)).or_insert((Fate::Open, Vec::new()));
                values.push(s.v);
                if *fate != Fate::Sure {
                    *fate = Fate::Open;
                }
                continue;
            }
            let (fate, values) = self.truth.entry((series, s.t)).or_insert((Fate::Open, Vec::new()));
            match is_ok {
                true => self.unanswered.remove(&(series, s.t)),
                false if values.is_empty() => self.unanswered.insert((series, s.t)),
                false => false,
            };
            if !is_ok {
                self.latent.insert((series, s.t));
            }
            // As upstream: a deletion goes on covering late samples that come after it.
            let covered = self.deleted.iter().any(|(of, range)| *of == series && range.contains(s.t));
            let fresh = values.is_empty() && !covered;
            values.push(s.v);
            *fate = match *fate {
                Fate::Sure => Fate::Sure,
                _ if !fresh => Fate::Open,
                _ if is_ok => Fate::Sure,
                _ => Fate::Open,
            };
        }
    }

    pub fn delete(&mut self, db: &Db) {
        let series = self.dice.below(SERIES as u64) as usize;
        let from = self.now - self.dice.below(120) as i64 * self.step;
        let range = TimeRange::new(from, from + self.dice.below(40) as i64 * self.step);
        let matchers = [vec![Matcher::equal("series", series.to_string())]];
        let done = db.delete_series(range, &matchers);
        self.deleted.push((series, range));
        let fate = if done.is_ok() { Fate::Gone } else { Fate::Open };
        let steps = |t: i64| (t - START) / self.step;
        let text = format!("delete {series}:{}-{} {:?}", steps(range.min), steps(range.max), done.err());
        self.note(text);
        for (at, (was, _)) in self.truth.range_mut((series, range.min)..=(series, range.max)) {
            // A write without an answer may come to light after the deletion: that takes what exists.
            if *was == Fate::Sure {
                *was = if self.latent.contains(at) { Fate::Open } else { fate };
            }
        }
    }

    /// A reload: another window, retention on or off, another number of exemplars.
    pub fn reload(&mut self, db: &Db, more: &mut Dice) {
        self.running.out_of_order_window_ms = self.step * [0, 40, 120][more.below(3) as usize];
        self.running.retention_time_ms = self.step * [0, 0, 100, 200][more.below(4) as usize];
        self.running.max_exemplars = [0, 5, 50][more.below(3) as usize];
        if let Some(flips) = &mut self.flips {
            self.running.floats_xor2 = flips.one_in(2);
        }
        db.apply_config(self.running);
        let Running { out_of_order_window_ms: window, retention_time_ms: retention, .. } = self.running;
        self.note(format!("reload: window {}, retention {}", window / self.step, retention / self.step));
    }

    /// A copy by hard links, which is opened.
    pub fn snapshot(&mut self, db: &Db, skip_head: bool) {
        let done = db.snapshot(skip_head);
        self.note(format!("snapshot, skip_head {skip_head}: {done:?}"));
        let Ok(name) = done else { return };
        let dir = Path::new(DATA).join("snapshots").join(name);
        let running = Running { retention_time_ms: 0, ..self.running };
        let copy = open_on(self.disk.shared(), &dir, self.range, (self.sync, true, self.kinds), running);
        if let Ok(copy) = copy {
            let found = self.read(&copy, "snapshot");
            let newest = if skip_head { i64::MIN } else { i64::MAX };
            self.check_before(&found, newest, "snapshot");
        }
        let _ = self.disk.remove_dir_all(&dir);
    }

    /// The follower reads what there is. Acknowledged samples must come by, also across restarts.
    pub fn follow(&mut self, db: &Db) {
        let live = db.clone();
        let feed = LogFeed::new(
            db.wal().clone(),
            Arc::new(move |series| live.is_live(series)),
            &meter::Registry::new(),
        );
        let mut reader = feed.open(Some(self.followed)).expect("opens");
        let mut batch = FeedBatch::default();
        self.labels.clear();
        while reader.next(Duration::ZERO, &mut batch).expect("the log can be read") {
            self.labels.extend(batch.series.iter().map(|(series, labels)| (series.0, labels.clone())));
            for (at, s) in batch.samples.iter().enumerate() {
                let labels = self.labels.get(&s.series.0);
                self.ensure(labels.is_some(), || format!("the feed gives no labels of {:?}", s.series));
                let Some(labels) = labels else { continue };
                let v = if s.v.is_nan() { END } else { s.v };
                let start = batch.sample_starts.get(at).copied().unwrap_or(0);
                self.starts.check(self.seed, number(labels), s.t, start);
                self.delivered.entry((number(labels), s.t)).or_insert((Fate::Sure, Vec::new())).1.push(v);
            }
            for h in &batch.histograms {
                let labels = self.labels.get(&h.series.0);
                self.ensure(labels.is_some(), || format!("the feed gives no labels of {:?}", h.series));
                let Some(of) = labels.map(number) else { continue };
                if h.histogram.sum.is_nan() {
                    self.delivered.entry((of, h.t)).or_insert((Fate::Sure, Vec::new())).1.push(END);
                    continue;
                }
                assert_is_ours(self.seed, of, h.t, &h.histogram);
                self.starts.check(self.seed, of, h.t, h.start);
                self.delivered.entry((of, h.t)).or_insert((Fate::Sure, Vec::new())).1.push(h.histogram.sum);
            }
            self.followed = batch.end;
        }
        if self.power && !self.sync {
            return;
        }
        for (at, (fate, values)) in &self.truth {
            let came =
                self.delivered.get(at).is_some_and(|(_, seen)| values.iter().any(|v| seen.contains(v)));
            let missed =
                *fate == Fate::Sure && !came && !self.unanswered.contains(at) && at.1 >= self.retained_from;
            self.ensure(!missed, || format!("{at:?} was acknowledged and the follower missed it"));
        }
    }
}
