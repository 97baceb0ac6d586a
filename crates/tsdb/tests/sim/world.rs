//! The world of the simulation: series, values, histograms, how a store is opened, and how everything in it is read.

use super::truth::Rows;
use disk::Disk;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};
use model::{FloatHistogram, Labels, Sample, TimeRange};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use storage::{Queryable, SampleBuf, SelectHints};
use tsdb::{Db, Options, ReplayHandle, Running};

pub const SERIES: usize = 6;
pub const START: i64 = 1_700_006_400_000;
/// Seconds since 1970.
pub const NOW: u64 = 2_000_000_000;
pub const DATA: &str = "/data";

/// SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n - 1`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starts {
    None,
    /// Settings change: those that were written while they were on.
    Some,
    All,
}

impl Starts {
    pub fn check(self, seed: u64, series: usize, t: i64, got: i64) {
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
pub struct Kinds {
    pub xor2: bool,
    pub store_starts: bool,
    pub histogram_starts: bool,
}

pub fn labels(series: usize) -> Labels {
    Labels::from_pairs([("__name__", "m".to_owned()), ("series", series.to_string())])
}

pub fn value(series: usize, t: i64) -> f64 {
    ((t - START) * 10 + series as i64) as f64
}

/// Stands for a stale marker.
pub const END: f64 = -1.0;

/// What is sent for a value.
pub fn sample(t: i64, v: f64) -> Sample {
    Sample { t, v: if v == END { model::stale_nan() } else { v } }
}

/// Few have none, neighbours often have the same.
pub fn start_of(series: usize, t: i64) -> i64 {
    match t / 5 % 7 {
        3 => 0,
        _ => t - t.rem_euclid(60_000) - series as i64,
    }
}

/// The histogram that stands for a value, of series that have some: integers, floats, custom buckets, and one that
/// changes between all kinds.
pub fn histogram(series: usize, t: i64, v: f64) -> Option<FloatHistogram> {
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

pub fn number(labels: &Labels) -> usize {
    labels.value("series").parse().expect("a series of ours")
}

pub fn try_read(db: &Db, seed: u64, starts: Starts) -> Result<Rows, storage::StorageError> {
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
pub fn assert_is_ours(seed: u64, series: usize, t: i64, h: &FloatHistogram) {
    let Some(mut want) = histogram(series, t, h.sum) else {
        panic!("seed {seed}: series {series} has a histogram at {t}: {h:?}");
    };
    let mut got = h.clone();
    got.compact();
    want.compact();
    assert!(got.same_data(&want) && got.integer == want.integer, "seed {seed}: {got:?} is not {want:?}");
}

pub fn open_on(
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
    pub static CLOCK: Cell<u64> = const { Cell::new(NOW) };
}

pub fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(CLOCK.get())
}
