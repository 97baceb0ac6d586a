//! A month in one run: pods that come and go, an agent with a daily outage, deletions, retention, two plugs pulled.
//!
//! `PYRRHA_SOAK_DAYS` (4) and `PYRRHA_SOAK_SECONDS` between two scrapes (60) make it longer:
//! `PYRRHA_SOAK_DAYS=30 PYRRHA_SOAK_SECONDS=15 cargo test --release -p tsdb --test soak -- --nocapture`.
//! `PYRRHA_SOAK_DIR` keeps the data directory there.

use disk::OsDisk;
use meter::Registry;
use model::{Labels, MatchOp, Matcher, Sample, TimeRange};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use storage::admin::Admin;
use storage::{
    Batch, BatchSeries, Queryable, SampleBuf, SelectHints, SeriesId, WriteOutcome, WriterSource, key,
};
use tsdb::{Db, Options, ReplayHandle, Running};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const START: i64 = 1_700_006_400_000; // A multiple of two hours.
/// Series that are there all the time.
const STEADY: i64 = 60;
/// The first of them belong to an agent that cannot send for some hours of each day.
const CUT_OFF: i64 = 10;
const OUTAGE: std::ops::Range<i64> = 5 * HOUR..8 * HOUR;
/// Pods at any time, and how long one lives.
const PODS: i64 = 20;
const POD_LIFE: i64 = 6 * HOUR;
/// Every so many minutes housekeeping runs.
const ROUND: i64 = 10;

static NOW: AtomicI64 = AtomicI64::new(START);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(NOW.load(Relaxed) as u64)
}

fn env(name: &str, or: i64) -> i64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or)
}

/// Series of a scrape at `t`: its labels and value.
fn labels(i: i64, t: i64) -> Labels {
    if i < STEADY {
        Labels::from_pairs([
            ("__name__", "node_seconds_total".to_owned()),
            ("instance", format!("host-{i:03}")),
        ])
    } else {
        let generation = (t - START) / POD_LIFE;
        Labels::from_pairs([
            ("__name__", "pod_info".to_owned()),
            ("pod", format!("pod-{generation:05}-{i:03}")),
        ])
    }
}

fn value(t: i64, of: &str) -> f64 {
    let seed: i64 = of.bytes().map(i64::from).sum();
    ((t - START) / 1000 * (seed % 7 + 1) + seed) as f64
}

struct Soak {
    dir: PathBuf,
    db: Option<Db>,
    step: i64,
    /// What a cut-off agent has still to send.
    backlog: Vec<i64>,
    /// Times of pods that were deleted.
    deleted: Vec<TimeRange>,
    retention: i64,
}

impl Soak {
    fn open(&mut self) {
        let running = Running {
            out_of_order_window_ms: 6 * HOUR,
            retention_time_ms: self.retention,
            ..Running::default()
        };
        let options = Options { now, running, max_block_duration_ms: DAY, ..Options::default() };
        let opened =
            Db::open(Arc::new(OsDisk), &self.dir, options, &Registry::new(), ReplayHandle::default());
        self.db = Some(opened.expect("opens"));
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("open")
    }

    fn write(&self, t: i64, series: std::ops::Range<i64>) {
        let all: Vec<Labels> = series.map(|i| labels(i, t)).collect();
        let keys: Vec<Vec<u8>> = all.iter().map(key::of_labels).collect();
        let mut batch = Batch::default();
        for (labels, key) in all.iter().zip(&keys) {
            let n = batch.samples.len() as u32;
            batch.samples.push(Sample { t, v: value(t, name(labels)) });
            batch.series.push(BatchSeries {
                id: SeriesId::Key(key),
                samples: n..n + 1,
                histograms: 0..0,
                exemplars: 0..0,
            });
        }
        let mut outcome = WriteOutcome::default();
        self.db().writer().write(&batch, &mut outcome).expect("written");
        assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
    }

    /// All that is scraped at `t`, and what an agent that is back sends.
    fn scrape(&mut self, t: i64) {
        NOW.store(t, Relaxed);
        if OUTAGE.contains(&((t - START) % DAY)) {
            self.backlog.push(t);
            self.write(t, CUT_OFF..STEADY + PODS);
            return;
        }
        self.write(t, 0..STEADY + PODS);
        for missed in std::mem::take(&mut self.backlog) {
            self.write(missed, 0..CUT_OFF);
        }
    }

    /// Reads everything from `from` to `to`, both included, and compares each sample.
    fn check(&self, from: i64, to: i64, when: &str) {
        let range = TimeRange::new(from, to);
        let all = [Matcher::new(MatchOp::NotEqual, "__name__", "").expect("valid")];
        let querier = self.db().querier(range).expect("opens");
        let mut set = querier.select(&all, &SelectHints::default()).expect("selects");
        let mut steady = 0;
        let mut pods: BTreeMap<i64, i64> = BTreeMap::new();
        while let Some(series) = set.next().expect("reads") {
            let mut samples = SampleBuf::default();
            series.read(range, &mut samples).expect("decodes");
            let of = name(series.labels());
            for (t, v) in samples.times.iter().zip(&samples.floats) {
                assert!(*v == value(*t, of), "{when}: {of} at {t}: {v}");
            }
            if of.starts_with("host") {
                steady += 1;
                let number: i64 = of[5..].parse().expect("a host");
                let want =
                    times(from, to, self.step).filter(|t| number >= CUT_OFF || !self.backlog.contains(t));
                assert!(samples.times.iter().copied().eq(want), "{when}: {of}: {} samples", samples.len());
            } else {
                samples.times.iter().for_each(|t| *pods.entry(*t).or_default() += 1);
            }
        }
        assert_eq!(steady, STEADY, "{when}");
        let left = times(from, to, self.step).filter(|t| !self.deleted.iter().any(|d| d.contains(*t)));
        assert!(pods.into_iter().eq(left.map(|t| (t, PODS))), "{when}: samples of pods");
    }

    /// Nothing may grow with the days.
    fn bounds(&self, day: i64, head_bytes: &mut Vec<usize>) {
        let ledger = self.db().ledger();
        let head =
            ledger.entries + ledger.pairs + ledger.chunks + ledger.texts + ledger.postings + ledger.table;
        let (blocks, disk) = (self.db().blocks().len(), bytes_below(&self.dir));
        let (wal, chunks) = (bytes_below(&self.dir.join("wal")), bytes_below(&self.dir.join("chunks_head")));
        println!(
            "day {day}: {} series, {head} bytes in the head; {blocks} blocks, {disk} bytes on disk, {wal} in wal, {chunks} in chunks_head",
            ledger.series
        );
        head_bytes.push(head);
        // Heads are compared a day after the start, when pods have begun to go.
        assert!(head <= 3 * head_bytes[0], "the head grows: {head_bytes:?}");
        // Days that are kept, and the two-hour blocks of the last one.
        let most = self.retention / DAY + 1 + 12;
        assert!(blocks as i64 <= most, "{blocks} blocks");
        let samples = (STEADY + PODS) * DAY / self.step;
        assert!(wal as i64 <= samples * 16, "{wal} bytes of log");
        assert!(chunks as i64 <= samples * 2, "{chunks} bytes of head chunks");
    }
}

fn name(labels: &Labels) -> &str {
    let host = labels.value("instance");
    if host.is_empty() { labels.value("pod") } else { host }
}

fn times(from: i64, to: i64, step: i64) -> impl Iterator<Item = i64> {
    (from..=to).step_by(step as usize)
}

fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => bytes_below(&e.path()),
            Ok(m) => m.len(),
            Err(_) => 0,
        })
        .sum()
}

#[test]
fn a_month_with_two_plugs_pulled() {
    let (days, step) = (env("PYRRHA_SOAK_DAYS", 4), env("PYRRHA_SOAK_SECONDS", 60) * 1000);
    let folder = tempfile::tempdir().expect("folder");
    let dir = std::env::var_os("PYRRHA_SOAK_DIR").map_or_else(|| folder.path().join("data"), PathBuf::from);
    let retention = (days / 2).max(2) * DAY;
    let mut soak = Soak { dir, db: None, step, backlog: Vec::new(), deleted: Vec::new(), retention };
    soak.open();
    // In the middle of an outage, and soon after one while late samples wait.
    let plugs = [days / 3 * DAY + 7 * HOUR + 13 * MINUTE, days * 2 / 3 * DAY + 8 * HOUR + 3 * MINUTE];
    let mut head_bytes = Vec::new();
    let begun = Instant::now();
    for t in times(START, START + days * DAY - 1, step) {
        soak.scrape(t);
        let at = t - START;
        if at % (ROUND * MINUTE) < step {
            soak.db().maintain(None).expect("maintains");
        }
        if at % DAY / step == 20 * HOUR / step {
            // An hour of yesterday's pods, in blocks, and one of today's, in the head.
            for from in [t - 30 * HOUR, t - 90 * MINUTE] {
                let hour = TimeRange::new(from.max(START), (from + HOUR).max(START));
                let pods = [Matcher::new(MatchOp::Equal, "__name__", "pod_info").expect("valid")];
                soak.db().delete_series(hour, &[pods.to_vec()]).expect("deletes");
                soak.deleted.push(hour);
            }
            soak.db().clean_tombstones().expect("cleans");
        }
        let pulled = plugs.iter().any(|plug| (plug - step..*plug).contains(&at));
        if pulled {
            // Without a word of goodbye.
            soak.db = None;
            soak.open();
        }
        let kept = (t - retention + DAY + 2 * HOUR).max(START);
        let kept = START + (kept - START + step - 1) / step * step;
        if pulled || (at + step) % DAY < step {
            soak.check(kept, t, &format!("hour {}", at / HOUR));
        }
        if (at + step) % DAY < step {
            soak.bounds(at / DAY + 1, &mut head_bytes);
        }
    }
    println!("{days} days in {:?}", begun.elapsed());
    let end = START + days * DAY - step;
    soak.db().close().expect("closes");
    soak.db = None;
    soak.open();
    soak.check(
        START + ((end - retention + DAY + 2 * HOUR - START).max(0) + step - 1) / step * step,
        end,
        "at last",
    );
}
