//! Native histograms through the store against a map: floats, resets, gauges, custom buckets, restarts, blocks.

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Span};
use model::{FloatHistogram, Sample, TimeRange};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use storage::{
    Batch, BatchSeries, HistogramRow, Queryable, RejectReason, SampleBuf, SelectHints, SeriesId,
    WriteOutcome, WriterSource, key,
};
use testkit::FaultyDisk;
use tsdb::{Db, Options, ReplayHandle, Running, read_all};

const SERIES: usize = 4;
const START: i64 = 1_700_000_000_000;

#[derive(Clone, Debug)]
enum Value {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

type Rows = BTreeMap<i64, Value>;

/// A year: all late samples are taken.
const WINDOW: i64 = 365 * 24 * 3_600_000;

fn options(window: i64) -> Options {
    let running = Running { out_of_order_window_ms: window, ..Running::default() };
    Options { no_lockfile: true, wal_segment_bytes: 1 << 15, running, ..Options::default() }
}

fn open(disk: &FaultyDisk) -> Db {
    open_with(disk, options(0))
}

fn open_with(disk: &FaultyDisk, options: Options) -> Db {
    Db::open(disk.shared(), Path::new("/data"), options, &meter::Registry::new(), ReplayHandle::default())
        .unwrap()
}

fn key_of(series: usize) -> Vec<u8> {
    let mut out = Vec::new();
    key::push_label(&mut out, "__name__", "h");
    key::push_label(&mut out, "series", &series.to_string());
    out
}

fn write(db: &Db, series: usize, t: i64, value: &Value) -> WriteOutcome {
    let key = key_of(series);
    let mut batch = Batch::default();
    let (mut samples, mut histograms) = (0..0, 0..0);
    match value {
        Value::Float(v) => {
            batch.samples.push(Sample { t, v: *v });
            samples = 0..1;
        }
        Value::Histogram(h) => {
            batch.histograms.push(HistogramRow { t, start: 0, histogram: h.clone() });
            histograms = 0..1;
        }
    }
    batch.series.push(BatchSeries { id: SeriesId::Key(&key), samples, histograms, exemplars: 0..0 });
    let mut outcome = WriteOutcome::default();
    db.writer().write(&batch, &mut outcome).unwrap();
    outcome
}

/// Populated buckets by index, and the other fields: what is the same however a chunk lays it out.
type Plain = (Vec<u64>, Vec<(bool, i64, u64)>, Vec<u64>);

fn plain(h: &FloatHistogram) -> Plain {
    if model::is_stale_nan(h.sum) {
        return (vec![h.sum.to_bits(), u64::from(h.integer)], Vec::new(), Vec::new());
    }
    let mut buckets = Vec::new();
    for (positive, spans, counts) in
        [(true, &h.positive_spans, &h.positive_buckets), (false, &h.negative_spans, &h.negative_buckets)]
    {
        let mut next = 0i64;
        let mut counts = counts.iter();
        for span in spans {
            next += i64::from(span.offset);
            for _ in 0..span.length {
                let count = *counts.next().unwrap();
                if count != 0.0 {
                    buckets.push((positive, next, count.to_bits()));
                }
                next += 1;
            }
        }
    }
    let numbers = [f64::from(h.schema), h.zero_threshold, h.zero_count, h.count, h.sum];
    let gauge = f64::from(u8::from(h.counter_reset_hint == CounterResetHint::Gauge));
    let integer = f64::from(u8::from(h.integer));
    let fields = numbers.into_iter().chain([gauge, integer]).map(f64::to_bits).collect();
    (fields, buckets, h.custom_values.iter().map(|v| v.to_bits()).collect())
}

fn compare(buf: &SampleBuf, want: &Rows) {
    assert!(buf.times.is_sorted_by(|a, b| a < b));
    assert_eq!(buf.times, want.keys().copied().collect::<Vec<_>>());
    let mut histograms = buf.histograms.iter().peekable();
    let mut before: Option<&FloatHistogram> = None;
    for (at, (t, value)) in want.iter().enumerate() {
        let found = histograms.next_if(|(i, _)| *i as usize == at).map(|(_, h)| h);
        match (value, found) {
            (Value::Float(v), None) => assert_eq!(v.to_bits(), buf.floats[at].to_bits(), "{t}"),
            (Value::Histogram(h), Some(found)) => {
                assert_eq!(plain(h), plain(found), "{t}");
                // The query engine believes this hint.
                if found.counter_reset_hint == CounterResetHint::NotCounterReset {
                    let before = before.expect("something before");
                    let unhinted =
                        FloatHistogram { counter_reset_hint: CounterResetHint::Unknown, ..(**found).clone() };
                    assert!(!unhinted.detect_reset(before), "{t} {before:?} {found:?}");
                }
                if !model::is_stale_nan(found.sum) {
                    before = Some(found);
                }
            }
            other => panic!("{t}: {other:?}"),
        }
    }
}

fn check(db: &Db, want: &[Rows]) {
    let querier = db.querier(TimeRange::ALL).unwrap();
    let mut set = querier.select(&[], &SelectHints::default()).unwrap();
    let mut seen = 0;
    while let Some(series) = set.next().unwrap() {
        let at: usize = series.labels().value("series").parse().unwrap();
        compare(&read_all(&*series).unwrap(), &want[at]);
        let mut buf = SampleBuf::default();
        for chunk in series.chunks(TimeRange::ALL).unwrap() {
            let before = buf.times.len();
            chunk::decode(chunk.encoding, &chunk.data, &mut buf.columns()).unwrap();
            assert_eq!((buf.times[before], *buf.times.last().unwrap()), (chunk.range.min, chunk.range.max));
        }
        compare(&buf, &want[at]);
        seen += 1;
    }
    assert_eq!(seen, want.iter().filter(|rows| !rows.is_empty()).count());
}

/// What the next sample of a series is.
#[derive(Clone, Debug)]
enum Kind {
    /// Buckets grow by these amounts, from this index on.
    Grow(i8, Vec<u8>),
    Reset,
    Gauge(i8, Vec<u8>),
    Custom(Vec<u8>),
    Schema(i8),
    /// From integers to floats, or back.
    Switch,
    Stale,
    Float(f64),
}

#[derive(Clone, Debug)]
enum Op {
    /// Series, seconds to the one before, how often.
    Write(usize, i64, Kind, u8),
    /// Series, seconds before the newest sample of all, how often, each some seconds later.
    Late(usize, i64, Kind, u8),
    Restart,
    Maintain,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let counts = || prop::collection::vec(0..4u8, 1..12);
    let kind = prop_oneof![
        20 => (-6..6i8, counts()).prop_map(|(at, c)| Kind::Grow(at, c)),
        2 => Just(Kind::Reset),
        4 => (-6..6i8, counts()).prop_map(|(at, c)| Kind::Gauge(at, c)),
        3 => counts().prop_map(Kind::Custom),
        1 => (-2..3i8).prop_map(Kind::Schema),
        2 => Just(Kind::Switch),
        2 => Just(Kind::Stale),
        4 => any::<f64>().prop_map(Kind::Float),
    ];
    let step = prop_oneof![6 => 1..60i64, 1 => 1000..5000i64];
    let write = (0..SERIES, step, kind.clone(), 1..40u8).prop_map(|(s, t, k, n)| Op::Write(s, t, k, n));
    let back = prop_oneof![3 => 0..300i64, 2 => 300..20_000i64];
    let late = (0..SERIES, back, kind, 1..40u8).prop_map(|(s, t, k, n)| Op::Late(s, t, k, n));
    prop::collection::vec(
        prop_oneof![20 => write, 10 => late, 2 => Just(Op::Restart), 1 => Just(Op::Maintain)],
        1..80,
    )
}

#[derive(Clone, Default)]
struct Counter {
    schema: i32,
    integer: bool,
    buckets: BTreeMap<i32, f64>,
    negative: f64,
}

impl Counter {
    fn histogram(&self, hint: CounterResetHint) -> FloatHistogram {
        let mut h = FloatHistogram {
            counter_reset_hint: hint,
            schema: self.schema,
            integer: self.integer,
            ..Default::default()
        };
        let mut next = 0;
        for (at, count) in &self.buckets {
            h.positive_spans.push(Span { offset: at - next, length: 1 });
            h.positive_buckets.push(*count);
            next = at + 1;
        }
        if self.negative > 0.0 {
            h.negative_spans = vec![Span { offset: 2, length: 1 }];
            h.negative_buckets = vec![self.negative];
        }
        h.zero_threshold = 0.001;
        h.zero_count = self.negative;
        h.count = self.buckets.values().sum::<f64>() + 2.0 * self.negative;
        h.sum = h.count * 1.5;
        h
    }

    fn grow(&mut self, at: i8, by: &[u8]) {
        for (i, n) in by.iter().enumerate().filter(|(_, n)| **n > 0) {
            *self.buckets.entry(i32::from(at) + 2 * i as i32).or_default() += f64::from(*n);
        }
        self.negative += f64::from(by[0] / 3);
    }
}

fn next(counter: &mut Counter, kind: &Kind) -> Value {
    use CounterResetHint::*;
    Value::Histogram(Arc::new(match kind {
        Kind::Float(v) => return Value::Float(*v),
        Kind::Stale => {
            FloatHistogram { sum: model::stale_nan(), integer: counter.integer, ..FloatHistogram::default() }
        }
        Kind::Switch => {
            counter.integer = !counter.integer;
            counter.grow(1, &[1, 2]);
            counter.histogram(Unknown)
        }
        Kind::Grow(at, by) => {
            counter.grow(*at, by);
            counter.histogram(Unknown)
        }
        Kind::Reset => {
            *counter = Counter { schema: counter.schema, integer: counter.integer, ..Counter::default() };
            counter.grow(0, &[1]);
            counter.histogram(Unknown)
        }
        Kind::Schema(schema) => {
            let (schema, integer) = (i32::from(*schema), counter.integer);
            *counter = Counter { schema, integer, ..Counter::default() };
            counter.histogram(CounterReset)
        }
        Kind::Gauge(at, by) => {
            let (schema, integer) = (counter.schema, counter.integer);
            let mut gauge = Counter { schema, integer, ..Counter::default() };
            gauge.grow(*at, by);
            gauge.histogram(Gauge)
        }
        Kind::Custom(by) => FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: by.iter().map(|n| f64::from(*n)).sum(),
            positive_spans: vec![Span { offset: 0, length: by.len() as u32 }],
            positive_buckets: by.iter().map(|n| f64::from(*n)).collect(),
            custom_values: (1..12).map(|n| f64::from(n) * 0.3).collect(),
            integer: counter.integer,
            ..FloatHistogram::default()
        },
    }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn histograms_behave_like_a_map(ops in ops()) {
        let disk = FaultyDisk::new(3);
        let open = |disk: &FaultyDisk| open_with(disk, options(WINDOW));
        let mut db = open(&disk);
        let mut model = vec![Rows::new(); SERIES];
        let mut counters = vec![Counter::default(); SERIES];
        let mut late_counters = vec![Counter { integer: true, ..Counter::default() }; SERIES];
        let mut now = START;
        for (number, op) in ops.into_iter().enumerate() {
            match op {
                Op::Write(series, step, kind, times) => {
                    for _ in 0..times {
                        now += step * 1000;
                        let value = next(&mut counters[series], &kind);
                        let outcome = write(&db, series, now, &value);
                        prop_assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
                        // Again: the same sample is taken silently.
                        prop_assert!(write(&db, series, now, &value).rejected.is_empty());
                        model[series].insert(now, value);
                    }
                }
                Op::Late(series, back, kind, times) => {
                    for n in 0..i64::from(times) {
                        // Never the time of another one.
                        let t = now - back * 1000 + n * 7000 + 1 + number as i64;
                        let value = next(&mut late_counters[series], &kind);
                        if t > now || model[series].contains_key(&t) {
                            continue;
                        }
                        prop_assert!(write(&db, series, t, &value).rejected.is_empty());
                        prop_assert!(write(&db, series, t, &value).rejected.is_empty());
                        model[series].insert(t, value);
                    }
                }
                Op::Restart => {
                    drop(db);
                    db = open(&disk);
                }
                Op::Maintain => db.maintain(None).unwrap(),
            }
            check(&db, &model);
        }
        drop(db);
        check(&open(&disk), &model);
    }
}

#[test]
fn refusals_and_stale_markers() {
    let disk = FaultyDisk::new(3);
    let db = open(&disk);
    let mut counter = Counter::default();
    let first = next(&mut counter, &Kind::Grow(0, vec![1, 2]));
    let second = next(&mut counter, &Kind::Grow(0, vec![1, 2]));
    assert_eq!(write(&db, 0, START, &first).histograms, 1);
    let reason = |outcome: WriteOutcome| outcome.rejected.first().map(|r| r.reason.clone());
    assert_eq!(reason(write(&db, 0, START, &second)), Some(RejectReason::DuplicateTimestamp));
    assert_eq!(reason(write(&db, 0, START, &Value::Float(1.0))), Some(RejectReason::DuplicateTimestamp));
    assert_eq!(reason(write(&db, 0, START - 1, &second)), Some(RejectReason::OutOfOrder));
    let bad = FloatHistogram { count: -1.0, ..FloatHistogram::default() };
    let text = "observation count is  -1: histogram's observation count is negative";
    let got = reason(write(&db, 0, START + 1, &Value::Histogram(Arc::new(bad))));
    assert_eq!(got, Some(RejectReason::InvalidHistogram(text.into())));
    let mismatch = FloatHistogram {
        count: 3.0,
        zero_count: 1.0,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_buckets: vec![4.0],
        integer: true,
        ..FloatHistogram::default()
    };
    let text = "5 observations found in buckets, but the Count field is 3: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)";
    let got = reason(write(&db, 0, START + 1, &Value::Histogram(Arc::new(mismatch))));
    assert_eq!(got, Some(RejectReason::InvalidHistogram(text.into())));
    // A stale marker comes as a float and becomes a histogram.
    let stale = Value::Float(model::stale_nan());
    assert_eq!(write(&db, 0, START + 10, &stale).samples, 1);
    assert_eq!(write(&db, 0, START + 10, &stale).samples, 1);
    assert_eq!(write(&db, 0, START + 20, &Value::Float(2.0)).samples, 1);
    assert_eq!(write(&db, 0, START + 30, &second).histograms, 1);
    let stale = Value::Histogram(Arc::new(FloatHistogram { sum: model::stale_nan(), ..Default::default() }));
    let want = Rows::from([
        (START, first),
        (START + 10, stale),
        (START + 20, Value::Float(2.0)),
        (START + 30, second),
    ]);
    check(&db, std::slice::from_ref(&want));
    drop(db);
    let db = open(&disk);
    check(&db, std::slice::from_ref(&want));
    // Deleted ranges are left out, and chunks are written anew around them.
    storage::admin::Admin::delete_series(&db, TimeRange::new(START + 15, START + 25), &[vec![]]).unwrap();
    let mut less = want;
    less.remove(&(START + 20));
    check(&db, &[less]);
}

#[test]
fn acknowledged_histograms_survive_a_crash() {
    for crash in (3..260u64).step_by(4) {
        let disk = FaultyDisk::new(crash);
        disk.crash_at(crash);
        let (registry, handle) = (meter::Registry::new(), ReplayHandle::default());
        let mut sure = Rows::new();
        if let Ok(db) = Db::open(disk.shared(), Path::new("/data"), options(WINDOW), &registry, handle) {
            let mut counter = Counter { integer: crash % 8 > 3, ..Counter::default() };
            let mut late = Counter { integer: true, ..Counter::default() };
            let mut writer = db.writer();
            let key = key_of(0);
            for n in 0..600i64 {
                let (counter, t) = match n % 3 {
                    // Every third is late.
                    2 => (&mut late, START + n * 15_000 - 200_000),
                    _ => (&mut counter, START + n * 15_000),
                };
                let kind = match n % 50 {
                    20 => Kind::Switch,
                    30 => Kind::Reset,
                    40 => Kind::Gauge(1, vec![1, 3]),
                    _ => Kind::Grow((n % 7) as i8, vec![1, 0, 3]),
                };
                let value = next(counter, &kind);
                let Value::Histogram(h) = &value else { continue };
                let mut batch = Batch::default();
                batch.histograms.push(HistogramRow { t, start: 0, histogram: h.clone() });
                let id = SeriesId::Key(&key);
                batch.series.push(BatchSeries { id, samples: 0..0, histograms: 0..1, exemplars: 0..0 });
                let mut outcome = WriteOutcome::default();
                if writer.write(&batch, &mut outcome).is_err() {
                    break;
                }
                sure.insert(t, value);
            }
        }
        let db = open_with(&disk.reboot(testkit::Loss::Kill), options(WINDOW));
        let querier = db.querier(TimeRange::ALL).unwrap();
        let mut set = querier.select(&[], &SelectHints::default()).unwrap();
        let mut buf = SampleBuf::default();
        if let Some(series) = set.next().unwrap() {
            buf = read_all(&*series).unwrap();
        }
        // One more may have reached the log without an answer.
        let extra = buf.times.iter().filter(|t| !sure.contains_key(*t)).count();
        assert!(extra <= 1, "crash at {crash}");
        buf.retain_from(0, |t| sure.contains_key(&t));
        compare(&buf, &sure);
    }
}

#[test]
fn floats_of_a_request_go_before_its_histograms() {
    for (window, stored) in [(0, 1), (WINDOW, 2)] {
        let disk = FaultyDisk::new(3);
        let db = open_with(&disk, options(window));
        let key = key_of(1);
        let mut batch = Batch::default();
        batch.samples.push(Sample { t: START, v: 1.0 });
        let histogram = Arc::new(FloatHistogram::default());
        batch.histograms.push(HistogramRow { t: START - 1000, start: 0, histogram });
        batch.series.push(BatchSeries {
            id: SeriesId::Key(&key),
            samples: 0..1,
            histograms: 0..1,
            exemplars: 0..0,
        });
        let mut outcome = WriteOutcome::default();
        db.writer().write(&batch, &mut outcome).unwrap();
        assert_eq!(outcome.samples + outcome.histograms, stored);
        assert!(outcome.rejected.iter().all(|r| r.reason == RejectReason::OutOfOrder));
    }
}

/// Start timestamps through the open chunk, chunks on disk, the late list, replay, blocks, deletion and the feed.
#[test]
fn start_times_are_kept() {
    let disk = FaultyDisk::new(3);
    let running = Running { out_of_order_window_ms: WINDOW, floats_xor2: true, ..Running::default() };
    let options = || Options {
        no_lockfile: true,
        store_starts: true,
        histogram_starts: true,
        running,
        ..Options::default()
    };
    let mut db = open_with(&disk, options());
    let keys: Vec<Vec<u8>> = (0..3).map(key_of).collect();
    let mut want = vec![BTreeMap::new(); 3];
    let mut counters = [Counter { integer: true, ..Counter::default() }, Counter::default()];
    for n in 0..1200i64 {
        let t = START + n * 15_000 - if n % 5 == 4 { 700_000 } else { 0 } + n % 5;
        // Now and then the process restarts; every seventh sample has no start.
        let start = if n % 7 == 6 { 0 } else { START - 1000 + n / 100 };
        let mut batch = Batch::default();
        batch.samples.push(Sample { t, v: n as f64 });
        batch.starts.push(start);
        for counter in &mut counters {
            let Value::Histogram(histogram) = next(counter, &Kind::Grow((n % 7) as i8, vec![1, 0, 3])) else {
                continue;
            };
            batch.histograms.push(HistogramRow { t, start, histogram });
        }
        for (series, key) in keys.iter().enumerate() {
            let (samples, histograms) = match series as u32 {
                0 => (0..1, 0..0),
                at => (0..0, at - 1..at),
            };
            let id = SeriesId::Key(key);
            batch.series.push(BatchSeries { id, samples, histograms, exemplars: 0..0 });
            want[series].insert(t, start);
        }
        let mut outcome = WriteOutcome::default();
        db.writer().write(&batch, &mut outcome).unwrap();
        assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
        if n == 700 {
            drop(db);
            db = open_with(&disk, options());
        }
    }
    let mut followed = BTreeMap::new();
    let live = db.clone();
    let feed = tsdb::feed::LogFeed::new(
        db.wal().clone(),
        Arc::new(move |series| live.is_live(series)),
        &meter::Registry::new(),
    );
    let mut reader = storage::feed::Feed::open(&feed, Some(Default::default())).unwrap();
    let mut batch = storage::feed::FeedBatch::default();
    while reader.next(std::time::Duration::ZERO, &mut batch).unwrap() {
        for (at, s) in batch.samples.iter().enumerate() {
            followed.insert((s.series.0, s.t), batch.sample_starts.get(at).copied().unwrap_or(0));
        }
        followed.extend(batch.histograms.iter().map(|h| ((h.series.0, h.t), h.start)));
    }
    for series in 0..3 {
        let of: BTreeMap<i64, i64> = followed
            .iter()
            .filter(|((s, _), _)| *s == series + 1)
            .map(|((_, t), start)| (*t, *start))
            .collect();
        assert_eq!(of, want[series as usize], "feed of series {series}");
    }
    let check_starts = |db: &Db, want: &[BTreeMap<i64, i64>], when: &str| {
        let querier = db.querier(TimeRange::ALL).unwrap();
        let mut set = querier.select(&[], &SelectHints::default()).unwrap();
        while let Some(series) = set.next().unwrap() {
            let at: usize = series.labels().value("series").parse().unwrap();
            let buf = read_all(&*series).unwrap();
            let got: BTreeMap<i64, i64> =
                buf.times.iter().enumerate().map(|(i, t)| (*t, buf.start_at(i))).collect();
            assert_eq!(got, want[at], "{when}: series {at}");
            let mut again = SampleBuf::default();
            for chunk in series.chunks(TimeRange::ALL).unwrap() {
                chunk::decode(chunk.encoding, &chunk.data, &mut again.columns()).unwrap();
            }
            let got: Vec<i64> = (0..again.len()).map(|i| again.start_at(i)).collect();
            assert_eq!(got, want[at].values().copied().collect::<Vec<_>>(), "{when}: chunks of series {at}");
        }
    };
    check_starts(&db, &want, "in the head");
    drop(db);
    let db = open_with(&disk, options());
    check_starts(&db, &want, "after a restart");
    db.maintain(None).unwrap();
    assert!(!storage::admin::Admin::blocks(&db).is_empty());
    check_starts(&db, &want, "in blocks");
    let gone = TimeRange::new(START + 1_000_000, START + 2_000_000);
    storage::admin::Admin::delete_series(&db, gone, &[vec![]]).unwrap();
    want.iter_mut().for_each(|rows| rows.retain(|t, _| !gone.contains(*t)));
    check_starts(&db, &want, "after a deletion");
}
