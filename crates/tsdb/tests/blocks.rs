//! Housekeeping on a real data directory: blocks are cut, joined, retired, and no sample is lost or doubled.

use disk::{Disk, OsDisk};
use meter::Registry;
use model::{Labels, MatchOp, Matcher, Sample, TimeRange};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use storage::admin::Admin;
use storage::{Batch, BatchSeries, Queryable, SampleBuf, SelectHints, SeriesId, WriteOutcome, WriterSource};
use tsdb::{Db, Options, ReplayHandle, Running};

const HOUR: i64 = 3_600_000;
const START: i64 = 1_700_006_400_000; // A multiple of two hours.
const SERIES: usize = 20;

fn options() -> Options {
    let running = Running { out_of_order_window_ms: 24 * HOUR, ..Running::default() };
    Options { max_block_duration_ms: 18 * HOUR, running, ..Options::default() }
}

fn open(dir: &Path, options: Options) -> Db {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    Db::open(disk, dir, options, &Registry::new(), ReplayHandle::default()).expect("opens")
}

fn labels(i: usize) -> Labels {
    Labels::from_pairs([("__name__", "m".to_owned()), ("i", format!("{i:03}"))])
}

type Truth = BTreeMap<String, BTreeMap<i64, f64>>;

/// Writes one sample of every series at `t`.
fn write(db: &Db, truth: &mut Truth, t: i64) {
    let keys: Vec<Vec<u8>> = (0..SERIES).map(|i| storage::key::of_labels(&labels(i))).collect();
    let mut batch = Batch::default();
    for (i, key) in keys.iter().enumerate() {
        let n = i as u32;
        batch.samples.push(Sample { t, v: (t / 1000 + i as i64) as f64 });
        batch.series.push(BatchSeries {
            id: SeriesId::Key(key),
            samples: n..n + 1,
            histograms: 0..0,
            exemplars: 0..0,
        });
        truth.entry(labels(i).to_string()).or_default().insert(t, (t / 1000 + i as i64) as f64);
    }
    let mut outcome = WriteOutcome::default();
    db.writer().write(&batch, &mut outcome).expect("written");
    assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
}

fn read(db: &Db, range: TimeRange) -> Truth {
    let all = [Matcher::new(MatchOp::Equal, "__name__", "m").expect("valid")];
    let querier = db.querier(range).expect("opens");
    let mut set = querier.select(&all, &SelectHints::default()).expect("selects");
    let mut found = Truth::new();
    while let Some(series) = set.next().expect("reads") {
        let mut samples = SampleBuf::default();
        series.read(range, &mut samples).expect("decodes");
        assert!(samples.times.windows(2).all(|w| w[0] < w[1]), "sorted, nothing twice");
        let pairs = samples.times.iter().copied().zip(samples.floats.iter().copied());
        let before = found.insert(series.labels().to_string(), pairs.collect());
        assert!(before.is_none(), "a series comes once");
    }
    found.retain(|_, samples| !samples.is_empty());
    found
}

fn spans(db: &Db) -> Vec<(i64, i64)> {
    let metas = db.blocks();
    let parse = |m: &storage::admin::BlockInfo| -> (i64, i64) {
        let json: serde_json::Value = serde_json::from_str(&m.meta_json).expect("meta.json");
        let hour = |key: &str| (json[key].as_i64().unwrap_or(0) - START) / HOUR;
        (hour("minTime"), hour("maxTime"))
    };
    metas.iter().map(parse).collect()
}

/// Writes ten hours, housekeeping every half hour.
fn ten_hours(db: &Db, truth: &mut Truth) {
    for minute in 0..600 {
        write(db, truth, START + minute * 60_000);
        if minute % 30 == 29 {
            db.maintain(None).expect("maintains");
        }
    }
}

#[test]
fn blocks_are_cut_and_joined_and_everything_stays_readable() {
    let dir = tempfile::tempdir().expect("folder");
    let mut truth = Truth::new();
    {
        let db = open(dir.path(), options());
        ten_hours(&db, &mut truth);
        // Ten hours: blocks up to the eighth; the first three were joined.
        assert_eq!(spans(&db), [(0, 6), (6, 8)]);
        assert!(read(&db, TimeRange::ALL) == truth);
        let within = TimeRange::new(START + 5 * HOUR, START + 7 * HOUR);
        let mut want = truth.clone();
        want.values_mut().for_each(|s| s.retain(|t, _| within.contains(*t)));
        assert!(read(&db, within) == want);
    }
    let db = open(dir.path(), options());
    assert!(read(&db, TimeRange::ALL) == truth, "after a crash and restart");
    let querier = db.querier(TimeRange::ALL).expect("opens");
    assert_eq!(querier.label_values("i", &[], 0).expect("reads").len(), SERIES);
}

#[test]
fn late_samples_end_in_the_right_blocks() {
    let dir = tempfile::tempdir().expect("folder");
    let mut truth = Truth::new();
    let db = open(dir.path(), options());
    ten_hours(&db, &mut truth);
    // Late for blocks that are long written, for the head, and between existing samples.
    for t in [30_000, HOUR + 30_000, 7 * HOUR + 30_000, 9 * HOUR + 30_000] {
        write(&db, &mut truth, START + t);
    }
    assert!(read(&db, TimeRange::ALL) == truth, "before housekeeping");
    drop(db);
    let db = open(dir.path(), options());
    assert!(read(&db, TimeRange::ALL) == truth, "after replay");
    for minute in 600..780 {
        write(&db, &mut truth, START + minute * 60_000);
    }
    db.maintain(None).expect("maintains");
    assert!(read(&db, TimeRange::ALL) == truth, "in blocks");
    let mut spans = spans(&db);
    spans.dedup();
    assert!(spans.windows(2).all(|w| w[0].1 <= w[1].0), "no overlap is left: {spans:?}");
    drop(db);
    let db = open(dir.path(), options());
    assert!(read(&db, TimeRange::ALL) == truth, "after another replay");
}

#[test]
fn housekeeping_of_an_empty_store_does_nothing() {
    let dir = tempfile::tempdir().expect("folder");
    let db = open(dir.path(), options());
    db.maintain(None).expect("maintains");
    assert!(spans(&db).is_empty());
}

#[test]
fn retention_deletes_whole_blocks_from_the_old_end() {
    let dir = tempfile::tempdir().expect("folder");
    let mut truth = Truth::new();
    let db = open(dir.path(), options());
    ten_hours(&db, &mut truth);
    db.apply_config(Running { retention_time_ms: 2 * HOUR, ..options().running });
    db.maintain(None).expect("maintains");
    assert_eq!(spans(&db), [(6, 8)]);
    truth.values_mut().for_each(|s| s.retain(|t, _| *t >= START + 6 * HOUR));
    assert!(read(&db, TimeRange::ALL) == truth);
    db.apply_config(Running { retention_bytes: 1, ..options().running });
    db.maintain(None).expect("maintains");
    assert!(spans(&db).is_empty());
}

#[test]
fn deletion_reaches_blocks_and_head_and_snapshots_hold_everything() {
    let dir = tempfile::tempdir().expect("folder");
    let mut truth = Truth::new();
    let db = open(dir.path(), options());
    ten_hours(&db, &mut truth);
    let name = db.snapshot(false).expect("snapshot");
    let copy = open(&dir.path().join("snapshots").join(name), options());
    assert!(read(&copy, TimeRange::ALL) == truth, "the snapshot is a data directory");

    let one = [vec![Matcher::equal("i", "007")]];
    let gone = TimeRange::new(START + 5 * HOUR, START + 9 * HOUR);
    db.delete_series(gone, &one).expect("deletes");
    let key = labels(7).to_string();
    truth.get_mut(&key).expect("known").retain(|t, _| !gone.contains(*t));
    assert!(read(&db, TimeRange::ALL) == truth);
    db.clean_tombstones().expect("cleans");
    assert!(read(&db, TimeRange::ALL) == truth);
    drop(db);
    assert!(read(&open(dir.path(), options()), TimeRange::ALL) == truth, "after a restart");
}
