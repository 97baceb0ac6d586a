//! Crash simulation of the whole store: random schedules of writes, deletions, housekeeping, snapshots and
//! restarts over a disk that fails, fills up, tears writes and loses what was not durable. Some seeds have start
//! timestamps and XOR2 chunks, or switch them on and off.
//!
//! A failing seed prints its number; run it again with `PYRRHA_SIM_SEED=<n>` (and `PYRRHA_SIM_HISTOGRAMS=1` if it had
//! histograms), and put it into [`FOUND`] or [`FOUND_WITH_HISTOGRAMS`].

use disk::{Disk, OsDisk};
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};
use model::{FloatHistogram, Labels, Matcher, Sample, TimeRange};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use storage::admin::Admin;
use storage::feed::{Feed, FeedBatch, Position};
use storage::{
    Batch, BatchSeries, ExemplarRow, HistogramRow, Queryable, RowKind, SampleBuf, SelectHints, SeriesId,
    WriteOutcome, WriterSource, key,
};
use testkit::{FaultyDisk, Loss};
use tsdb::feed::LogFeed;
use tsdb::{Db, Options, ReplayHandle, Running};

/// Seeds that once found something with floats only, before there were failing fsyncs, reloads, retention and a jumping
/// clock: they run without these.
const FOUND: &[u64] = &[114, 248, 264, 279, 313, 388, 411, 506, 671, 838, 1088, 1188, 1267, 1483, 1490];
/// Seeds that found something since.
const FOUND_LATER: &[u64] = &[832, 1348, 2270, 2288, 3448, 3594, 61551, 62679, 80016];
/// The same with histograms.
const FOUND_WITH_HISTOGRAMS: &[u64] = &[60201, 60456, 61121, 61551, 61627, 61631, 62559];
const SERIES: usize = 6;
const START: i64 = 1_700_006_400_000;
/// Seconds since 1970.
const NOW: u64 = 2_000_000_000;
const DATA: &str = "/data";

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n - 1`.
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What must be true of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Acknowledged.
    Sure,
    /// Its write or deletion was not answered, or it was written over a deletion.
    Open,
    /// Deleted, or never arrived as a restart has shown.
    Gone,
}

/// Which rows have start timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Starts {
    None,
    /// Settings change: those that were written while they were on.
    Some,
    All,
}

impl Starts {
    fn check(self, seed: u64, series: usize, t: i64, got: i64) {
        let want = start_of(series, t);
        let fits = match self {
            Starts::None => got == 0,
            Starts::Some => got == 0 || got == want,
            Starts::All => got == want,
        };
        assert!(fits, "seed {seed}: series {series} starts at {got} and not at {want} at {t}");
    }
}

/// How chunks are made.
#[derive(Clone, Copy, Debug, Default)]
struct Kinds {
    xor2: bool,
    store_starts: bool,
    histogram_starts: bool,
}

/// Series number and time, to its fate and all values that were ever sent.
type Truth = BTreeMap<(usize, i64), (Fate, Vec<f64>)>;
type Rows = BTreeMap<(usize, i64), f64>;

struct Sim {
    seed: u64,
    dice: Dice,
    /// Decides over the newer actions.
    more: Option<Dice>,
    disk: FaultyDisk,
    truth: Truth,
    /// Ranges of series whose deletion was asked for.
    deleted: Vec<(usize, TimeRange)>,
    /// Sent and never acknowledged; they may have reached one of two logs only.
    unanswered: BTreeSet<(usize, i64)>,
    /// Sent without an answer since the start: a deletion does not see them, the next start may.
    latent: BTreeSet<(usize, i64)>,
    /// Before this time retention may have deleted: what is gone may be gone, and an older log may bring it back.
    retained_from: i64,
    running: Running,
    now: i64,
    /// Length of the shortest block.
    range: i64,
    step: i64,
    sync: bool,
    restarts: u64,
    power: bool,
    /// Where a follower of the log has got to, and what it has seen.
    followed: Position,
    delivered: Truth,
    labels: BTreeMap<u64, Labels>,
    log: Vec<String>,
    /// Whether some series have histograms.
    histograms: bool,
    starts: Starts,
    /// Decides over the kinds of chunks where they change.
    flips: Option<Dice>,
    kinds: Kinds,
    /// Decides when series of floats end, in seeds that write ended series to blocks of their own.
    ends: Option<Dice>,
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([("__name__", "m".to_owned()), ("series", series.to_string())])
}

fn value(series: usize, t: i64) -> f64 {
    ((t - START) * 10 + series as i64) as f64
}

/// Stands for a stale marker.
const END: f64 = -1.0;

/// What is sent for a value.
fn sample(t: i64, v: f64) -> Sample {
    Sample { t, v: if v == END { model::stale_nan() } else { v } }
}

/// Few have none, neighbours often have the same.
fn start_of(series: usize, t: i64) -> i64 {
    match t / 5 % 7 {
        3 => 0,
        _ => t - t.rem_euclid(60_000) - series as i64,
    }
}

/// The histogram that stands for a value, of series that have some: integers, floats, custom buckets, and one that
/// changes between all kinds.
fn histogram(series: usize, t: i64, v: f64) -> Option<FloatHistogram> {
    let kind = match series {
        2..=4 => series,
        // Odd: floats.
        5 => 1 + (v as u64 / 700 % 4) as usize,
        _ => 1,
    };
    let n = v as u64 / 10;
    let buckets = vec![(n % 70) as f64, (n % 11) as f64, if kind == 3 { 0.25 } else { 1.0 }];
    let h = FloatHistogram { count: buckets.iter().sum(), sum: v, integer: kind != 3, ..Default::default() };
    // Few layouts, which change now and then.
    let offset = (t / 10_000 % 3) as i32;
    Some(match kind {
        2 | 3 => FloatHistogram {
            positive_spans: vec![Span { offset, length: 2 }, Span { offset: 3, length: 1 }],
            positive_buckets: buckets,
            ..h
        },
        4 => FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: buckets,
            custom_values: vec![1.0, 2.0 + f64::from(offset)],
            ..h
        },
        _ => return None,
    })
}

fn number(labels: &Labels) -> usize {
    labels.value("series").parse().expect("a series of ours")
}

fn try_read(db: &Db, seed: u64, starts: Starts) -> Result<Rows, storage::StorageError> {
    let querier = db.querier(TimeRange::ALL)?;
    let mut set = querier.select(&[], &SelectHints::default())?;
    let mut out = Rows::new();
    let mut seen = Vec::new();
    while let Some(series) = set.next()? {
        let of = number(series.labels());
        assert!(!seen.contains(&of), "seed {seed}: a series comes once");
        seen.push(of);
        let mut buf = SampleBuf::default();
        series.read(TimeRange::ALL, &mut buf)?;
        assert!(buf.times.is_sorted_by(|a, b| a < b), "seed {seed}: sorted, nothing twice");
        for (at, t) in buf.times.iter().enumerate() {
            starts.check(seed, of, *t, buf.start_at(at));
        }
        for (at, h) in &buf.histograms {
            let t = buf.times[*at as usize];
            // A marker behind a histogram becomes one.
            if !h.sum.is_nan() {
                assert_is_ours(seed, of, t, h);
            }
            buf.floats[*at as usize] = h.sum;
        }
        buf.floats.iter_mut().filter(|v| v.is_nan()).for_each(|v| *v = END);
        out.extend(buf.times.iter().zip(&buf.floats).map(|(t, v)| ((of, *t), *v)));
    }
    Ok(out)
}

/// Its sum tells what the histogram must have been.
fn assert_is_ours(seed: u64, series: usize, t: i64, h: &FloatHistogram) {
    let Some(mut want) = histogram(series, t, h.sum) else {
        panic!("seed {seed}: series {series} has a histogram at {t}: {h:?}");
    };
    let mut got = h.clone();
    got.compact();
    want.compact();
    assert!(got.same_data(&want) && got.integer == want.integer, "seed {seed}: {got:?} is not {want:?}");
}

impl Sim {
    fn new(seed: u64, histograms: bool) -> Self {
        let mut dice = Dice(seed);
        // Milliseconds for the ways that depend on passing time, else so long that it does not pass.
        let step = if dice.one_in(4) { 1 } else { 5000 };
        let sync = dice.one_in(2);
        let is_old = [FOUND, FOUND_LATER, FOUND_WITH_HISTOGRAMS].iter().any(|list| list.contains(&seed));
        let mut flips = Dice(seed ^ 0x57a7);
        let starts = match flips.below(4) {
            0 if !is_old => Starts::Some,
            1 if !is_old => Starts::All,
            _ => Starts::None,
        };
        let on = starts == Starts::All;
        let kinds = Kinds { xor2: on, store_starts: on, histogram_starts: on };
        let mut ends = Dice(seed ^ 0xe4d5);
        let ends = (!is_old && ends.one_in(4)).then_some(ends);
        let running = Running {
            stale_series_threshold: if ends.is_some() { 0.3 } else { 0.0 },
            floats_xor2: kinds.xor2,
            out_of_order_window_ms: step * 120,
            retention_time_ms: 0,
            max_exemplars: 50,
            ..Running::default()
        };
        Sim {
            seed,
            disk: FaultyDisk::new(seed),
            truth: Truth::new(),
            deleted: Vec::new(),
            unanswered: BTreeSet::new(),
            latent: BTreeSet::new(),
            retained_from: i64::MIN,
            running,
            now: START,
            range: step * 20,
            step,
            sync,
            restarts: 0,
            power: false,
            followed: Position::default(),
            delivered: Truth::new(),
            labels: BTreeMap::new(),
            log: Vec::new(),
            histograms,
            starts,
            flips: (starts == Starts::Some).then_some(flips),
            kinds,
            ends,
            more: (!FOUND.contains(&seed)).then_some(Dice(seed ^ 0x5eed)),
            dice,
        }
    }

    fn open(&self) -> Result<Db, tsdb::OpenError> {
        // Every fourth start is one of a program that knows nothing of snapshots of the head.
        let knows = !(self.seed + self.restarts).is_multiple_of(4);
        let on = (self.sync, knows, self.kinds);
        open_on(self.disk.shared(), Path::new(DATA), self.range, on, self.running)
    }

    fn crashed(&self, at: u64) -> bool {
        self.disk.ops() >= at
    }

    fn note(&mut self, text: String) {
        self.log.push(format!("{:6} {text}", self.disk.ops()));
    }

    #[track_caller]
    fn ensure(&self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            panic!("seed {}: step {}: {}\n{}", self.seed, self.step, text(), self.log.join("\n"));
        }
    }

    /// Everything there is; queries always work.
    fn read(&self, db: &Db, when: &str) -> Rows {
        let rows = try_read(db, self.seed, self.starts);
        self.ensure(rows.is_ok(), || format!("{when}: query: {:?}", rows.as_ref().err()));
        rows.unwrap_or_default()
    }

    fn write(&mut self, db: &Db) {
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

    fn delete(&mut self, db: &Db) {
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

    /// Compares everything with what is known.
    fn check(&self, found: &Rows, when: &str) {
        self.check_before(found, i64::MAX, when);
    }

    /// Compares everything; of samples from `end` on nothing needs to be there.
    fn check_before(&self, found: &Rows, end: i64, when: &str) {
        for (at, v) in found {
            let known = self.truth.get(at);
            self.ensure(known.is_some(), || format!("{when}: {at:?} = {v} from nowhere"));
            let Some((fate, values)) = known else { continue };
            self.ensure(values.contains(v), || format!("{when}: {at:?} = {v}, sent were {values:?}"));
            let gone = *fate == Fate::Gone && at.1 >= self.retained_from;
            self.ensure(!gone, || format!("{when}: {at:?} = {v} was gone"));
        }
        for (at, (fate, _)) in &self.truth {
            let lost =
                *fate == Fate::Sure && at.1 >= self.retained_from && at.1 < end && !found.contains_key(at);
            self.ensure(!lost, || {
                let of = found.keys().filter(|k| k.0 == at.0).map(|k| (k.1 - START) / self.step);
                let lost = (at.1 - START) / self.step;
                format!(
                    "{when}: {at:?}, step {lost}, was acknowledged and is lost; found are {:?}",
                    of.collect::<Vec<_>>()
                )
            });
        }
    }

    /// What a restart shows is settled: all of it stays, nothing more comes.
    fn settle(&mut self, found: &Rows) {
        self.latent.clear();
        for (at, (fate, _)) in &mut self.truth {
            *fate = if found.contains_key(at) { Fate::Sure } else { Fate::Gone };
        }
    }

    /// Retention may have deleted blocks that end before its limit, counted from the end of the newest block.
    fn retain(&mut self) {
        if self.running.retention_time_ms > 0 {
            let newest = self.truth.keys().map(|(_, t)| *t).max().unwrap_or(START);
            let end = newest - newest.rem_euclid(self.range) + self.range;
            self.retained_from = self.retained_from.max(end - self.running.retention_time_ms);
        }
    }

    /// A reload: another window, retention on or off, another number of exemplars.
    fn reload(&mut self, db: &Db, more: &mut Dice) {
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
    fn snapshot(&mut self, db: &Db, skip_head: bool) {
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
    fn follow(&mut self, db: &Db) {
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

    /// Another start may have another configuration.
    fn flip(&mut self) {
        if let Some(flips) = &mut self.flips {
            let [xor2, store_starts, histogram_starts] = [2, 3, 2].map(|n| flips.one_in(n));
            self.kinds = Kinds { xor2: xor2 || store_starts, store_starts, histogram_starts };
            self.running.floats_xor2 = self.kinds.xor2;
            self.note(format!("{:?}", self.kinds));
        }
    }

    /// One life of the process: until a crash or a restart.
    fn live(&mut self) {
        self.flip();
        let reboots_at = self.disk.ops() + 1 + self.dice.below(250);
        let ends_by_crash = self.dice.one_in(2);
        let crash_at = if ends_by_crash { reboots_at } else { u64::MAX };
        if ends_by_crash {
            self.disk.crash_at(crash_at);
        }
        let steps = 5 + self.dice.below(40);
        let opened = self.open();
        self.note(format!("open, crash at {crash_at}: {:?}", opened.as_ref().err()));
        let Ok(db) = opened else {
            self.ensure(self.crashed(crash_at), || "does not open".into());
            return self.reboot();
        };
        let mut closed = false;
        let mut faults_end = 0;
        for n in 0..steps {
            if self.crashed(crash_at) || closed {
                break;
            }
            if faults_end > 0 && n >= faults_end {
                self.disk.set_budget(None);
                self.disk.fail_ops([]);
                self.disk.fail_syncs(0);
                faults_end = 0;
                self.note("faults end".into());
            }
            if let Some(mut more) = self.more.take() {
                match more.below(40) {
                    0 => self.reload(&db, &mut more),
                    1 => {
                        let count = 1 + more.below(4);
                        self.note(format!("{count} fsyncs fail"));
                        self.disk.fail_syncs(count);
                        faults_end = n + 1 + more.below(12);
                    }
                    2 => {
                        CLOCK.set(NOW - more.below(290_000_000));
                        self.note("the clock jumps".into());
                    }
                    3 => {
                        let second = self.open();
                        self.ensure(second.is_err(), || "a second process gets the lock".into());
                    }
                    4 => self.snapshot(&db, true),
                    _ => {}
                }
                self.more = Some(more);
            }
            match self.dice.below(40) {
                0..=23 => self.write(&db),
                24..=26 => self.delete(&db),
                27..=32 => {
                    let hold = Some(self.followed.segment);
                    let done = db.maintain(hold);
                    self.note(format!("maintain {:?}", done.err()));
                    self.retain();
                }
                33 => {
                    let done = db.clean_tombstones();
                    self.note(format!("clean {:?}", done.err()));
                }
                34 => self.snapshot(&db, false),
                35 => {
                    self.disk.set_budget(Some(self.dice.below(3000)));
                    self.note("disk fills up".into());
                    faults_end = n + 1 + self.dice.below(6);
                }
                36 => {
                    let now = self.disk.ops();
                    let some: Vec<u64> = (0..8).map(|_| now + 1 + self.dice.below(30)).collect();
                    self.note(format!("operations fail: {some:?}"));
                    self.disk.fail_ops(some);
                    faults_end = n + 1 + self.dice.below(6);
                }
                37 => self.follow(&db),
                38 if self.dice.one_in(3) => {
                    closed = true;
                    let done = db.close();
                    self.note(format!("close {:?}", done.err()));
                }
                _ => {}
            }
            if !self.crashed(crash_at) && self.dice.one_in(3) {
                self.check(&self.read(&db, "while running"), "while running");
            }
        }
        if !self.crashed(crash_at) {
            self.check(&self.read(&db, "at the end"), "at the end");
            self.disk.set_budget(None);
            self.disk.fail_ops([]);
            self.disk.fail_syncs(0);
        }
        drop(db);
        self.reboot();
    }

    /// The next start finds what is there.
    fn reboot(&mut self) {
        self.restarts += 1;
        self.power = self.dice.one_in(3);
        let loss = if self.power { Loss::Power } else { Loss::Kill };
        self.disk = self.disk.reboot(loss);
        self.note(format!("reboot {loss:?}"));
        self.flip();
        let db = self.open();
        self.ensure(db.is_ok(), || format!("does not open again: {:?}", db.as_ref().err()));
        let Ok(db) = db else { return };
        let found = self.read(&db, "after a restart");
        if self.power && !self.sync {
            // Only what was durable is sure: nothing is invented, but the newest may be gone, deletions too.
            for (at, v) in &found {
                let known = self.truth.get(at).is_some_and(|(_, values)| values.contains(v));
                self.ensure(known, || format!("{at:?} = {v} from nowhere after a power loss"));
            }
            self.delivered.clear();
            let seen = self.truth.iter().map(|(at, (_, values))| (*at, (Fate::Sure, values.clone())));
            self.delivered.extend(seen);
        } else {
            self.check(&found, "after a restart");
        }
        self.settle(&found);
        self.follow(&db);
        let at = self.disk.ops();
        drop(db);
        if self.dice.one_in(4) {
            // Not even a second start changes anything.
            self.disk = self.disk.reboot(Loss::Kill);
            self.note(format!("second start at {at}"));
            let db = self.open();
            self.ensure(db.is_ok(), || format!("does not open twice: {:?}", db.as_ref().err()));
            if let Ok(db) = db {
                self.check(&self.read(&db, "after a second start"), "after a second start");
            }
        }
    }

    fn run(seed: u64, histograms: bool) -> u64 {
        let mut sim = Sim::new(seed, histograms);
        for _ in 0..3 + sim.dice.below(4) {
            sim.live();
        }
        sim.restarts
    }
}

fn open_on(
    disk: Arc<dyn Disk>,
    dir: &Path,
    range: i64,
    (sync, head_snapshot, kinds): (bool, bool, Kinds),
    running: Running,
) -> Result<Db, tsdb::OpenError> {
    let options = Options {
        min_block_duration_ms: range,
        max_block_duration_ms: range * 9,
        samples_per_chunk: 6,
        wal_segment_bytes: 1 << 15,
        wal_sync: sync,
        wal_sync_inline: true,
        head_snapshot,
        store_starts: kinds.store_starts,
        histogram_starts: kinds.histogram_starts,
        running,
        now: clock,
        ..Options::default()
    };
    Db::open(disk, dir, options, &meter::Registry::new(), ReplayHandle::default())
}

thread_local! {
    /// Seconds since 1970 for what reads the clock: names of blocks and snapshots, and whether a time has come. All
    /// samples lie in the past.
    static CLOCK: Cell<u64> = const { Cell::new(NOW) };
}

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(CLOCK.get())
}

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_is_lost_invented_or_doubled() {
    if let Some(seed) = env("PYRRHA_SIM_SEED") {
        Sim::run(seed, env("PYRRHA_SIM_HISTOGRAMS").is_some());
        return;
    }
    FOUND.iter().chain(FOUND_LATER).chain(&(0..25).collect::<Vec<u64>>()).for_each(|seed| {
        Sim::run(*seed, false);
    });
}

#[test]
fn histograms_are_not_lost_invented_or_doubled_either() {
    FOUND_WITH_HISTOGRAMS.iter().chain(&(0..25).collect::<Vec<u64>>()).for_each(|seed| {
        Sim::run(*seed, true);
    });
}

/// `PYRRHA_SIM_SEEDS=10000 PYRRHA_SIM_FROM=50 cargo test -p tsdb --test sim -- --ignored`; with
/// `PYRRHA_SIM_HISTOGRAMS=1` some series have histograms.
#[test]
#[ignore = "minutes"]
fn thousands_of_seeds() {
    let (from, count) = (env("PYRRHA_SIM_FROM").unwrap_or(50), env("PYRRHA_SIM_SEEDS").unwrap_or(2000));
    let mut failed = Vec::new();
    let mut restarts = 0;
    let histograms = env("PYRRHA_SIM_HISTOGRAMS").is_some();
    for seed in from..from + count {
        match std::panic::catch_unwind(|| Sim::run(seed, histograms)) {
            Ok(n) => restarts += n,
            Err(_) => failed.push(seed),
        }
    }
    eprintln!("{count} seeds from {from}, {restarts} restarts");
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
}

#[test]
fn real_disks_behave_like_the_simulated_one() {
    let dir = tempfile::tempdir().expect("folder");
    let db =
        open_on(Arc::new(OsDisk), dir.path(), 100_000, (false, true, Kinds::default()), Running::default())
            .expect("opens");
    db.maintain(None).expect("maintains");
    assert!(try_read(&db, 0, Starts::None).expect("reads").is_empty());
}
