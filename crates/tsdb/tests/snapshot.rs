//! Snapshots of the head: written on a clean stop, believed when they fit the log, harmless when they do not.

use disk::{Disk, OsDisk};
use model::histogram::Span;
use model::{FloatHistogram, MatchOp, Matcher, Sample, TimeRange};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::admin::Admin;
use storage::exemplars::ExemplarSource;
use storage::{
    Batch, BatchSeries, ExemplarRow, HistogramRow, Queryable, SelectHints, SeriesId, WriteOutcome,
    WriterSource, key,
};
use tsdb::{Db, Options, ReplayHandle, Running, read_all};

const HOUR: i64 = 3_600_000;
const SERIES: usize = 300;

fn open_with(dir: &Path, head_snapshot: bool) -> (Db, u64) {
    let registry = meter::Registry::new();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let running = Running { out_of_order_window_ms: HOUR, ..Running::default() };
    let options = Options { running, head_snapshot, samples_per_chunk: 40, ..Options::default() };
    let db = Db::open(disk, dir, options, &registry, ReplayHandle::default()).unwrap();
    let all = registry.snapshot();
    let failures = all.iter().find(|f| f.name == "prometheus_tsdb_snapshot_replay_error_total");
    (db, failures.map_or(0.0, |f| f.points[0].value) as u64)
}

/// With the number of snapshots that could not be read.
fn open(dir: &Path) -> (Db, u64) {
    open_with(dir, true)
}

fn key_of(series: usize) -> Vec<u8> {
    let mut out = Vec::new();
    key::push_label(&mut out, "__name__", &format!("metric_{}", series % 7));
    key::push_label(&mut out, "job", if series.is_multiple_of(3) { "jöb" } else { "other" });
    key::push_label(&mut out, "series", &series.to_string());
    out
}

fn histogram(n: i64, integer: bool) -> Arc<FloatHistogram> {
    Arc::new(FloatHistogram {
        integer,
        schema: 2,
        count: (n * 3) as f64,
        sum: n as f64,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_buckets: vec![n as f64, (n * 2) as f64],
        ..FloatHistogram::default()
    })
}

/// One sample for each series, every tenth a histogram; some are late, some have exemplars.
fn write(db: &Db, round: i64) {
    let keys: Vec<Vec<u8>> = (0..SERIES).map(key_of).collect();
    let mut batch = Batch::default();
    let mut labels = Vec::new();
    key::push_label(&mut labels, "trace_id", &round.to_string());
    for (series, key) in keys.iter().enumerate() {
        let late = series.is_multiple_of(11) && round % 5 == 4;
        let t = round * 15_000 - if late { 200_000 + series as i64 } else { 0 };
        let from = [batch.samples.len(), batch.histograms.len(), batch.exemplars.len()].map(|n| n as u32);
        if series % 10 == 1 {
            let histogram = histogram(round, series.is_multiple_of(3));
            batch.histograms.push(HistogramRow { t: round * 15_000, start: 0, histogram });
        } else {
            batch.samples.push(Sample { t, v: (round * series as i64 % 1000) as f64 });
        }
        if series % 50 == 2 {
            batch.exemplars.push(ExemplarRow { t: round * 15_000, v: 1.0, labels: &labels });
        }
        batch.series.push(BatchSeries {
            id: SeriesId::Key(key),
            samples: from[0]..batch.samples.len() as u32,
            histograms: from[1]..batch.histograms.len() as u32,
            exemplars: from[2]..batch.exemplars.len() as u32,
        });
    }
    let mut outcome = WriteOutcome::default();
    db.writer().write(&batch, &mut outcome).unwrap();
    assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected.first());
}

type Rows = BTreeMap<String, String>;

/// Everything that can be asked, as text.
fn read(db: &Db) -> Rows {
    let querier = db.querier(TimeRange::ALL).unwrap();
    let mut set = querier.select(&[], &SelectHints::default()).unwrap();
    let mut out = Rows::new();
    while let Some(series) = set.next().unwrap() {
        let buf = read_all(&*series).unwrap();
        let histograms: Vec<_> = buf.histograms.iter().map(|(at, h)| (at, h.count, h.sum)).collect();
        out.insert(series.labels().to_string(), format!("{:?} {:?} {histograms:?}", buf.times, buf.floats));
    }
    let all = [vec![Matcher::new(MatchOp::NotEqual, "__name__", "").unwrap()]];
    for of in ExemplarSource::select(db, TimeRange::ALL, &all).unwrap() {
        out.insert(format!("exemplars {}", of.series), format!("{:?}", of.exemplars));
    }
    out
}

fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let all = OsDisk.list(dir).unwrap().into_iter().map(|e| e.name);
    all.filter(|n| n.starts_with("chunk_snapshot.")).map(|n| dir.join(n)).collect()
}

/// Changes the bytes of a file.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = OsDisk.map(path).unwrap().to_vec();
    change(&mut bytes);
    OsDisk.remove_file(path).unwrap();
    OsDisk.create(path).unwrap().append(&bytes).unwrap();
}

/// What a store holds after some rounds, a deletion and a clean stop.
fn stopped(dir: &Path, rounds: std::ops::Range<i64>) -> Rows {
    let (db, _) = open(dir);
    rounds.for_each(|round| write(&db, round));
    let range = TimeRange::new(30_000, 60_000);
    db.delete_series(range, &[vec![Matcher::equal("series", "5")]]).unwrap();
    let rows = read(&db);
    db.close().unwrap();
    rows
}

#[test]
fn a_clean_stop_leaves_all_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = stopped(dir.path(), 0..100);
    for round in 1..4 {
        assert_eq!(snapshots(dir.path()).len(), 1);
        // What the log held before is not looked at.
        change(&dir.path().join("wal/00000000"), |bytes| bytes.fill(0));
        let (db, failures) = open(dir.path());
        assert_eq!((failures, read(&db) == rows), (0, true), "{round}");
        (0..30).for_each(|n| write(&db, 100 * round + n));
        rows = read(&db);
        db.close().unwrap();
    }
}

#[test]
fn the_log_goes_on_behind_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    stopped(dir.path(), 0..100);
    let left = snapshots(dir.path());
    // Killed, once with and once without the snapshot: a program that does not know of it.
    for (round, knows) in [(1, true), (2, false), (3, true)] {
        let (db, _) = open_with(dir.path(), knows);
        (0..30).for_each(|n| write(&db, 100 * round + n));
        let rows = read(&db);
        drop(db);
        assert_eq!(snapshots(dir.path()), left);
        let (db, failures) = open(dir.path());
        assert_eq!((failures, read(&db) == rows), (0, true), "{round}");
    }
}

#[test]
fn damaged_and_foreign_snapshots_are_left_out() {
    let flip = |path: &Path| change(&path.join("00000000"), |bytes| bytes[3000] ^= 1);
    let cut = |path: &Path| change(&path.join("00000000"), |bytes| bytes.truncate(3000));
    let foreign = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy().replace(".0000", ".0001");
        OsDisk.rename(path, &path.with_file_name(name)).unwrap();
    };
    let longer = |path: &Path| {
        let name = format!("{}0", path.file_name().unwrap().to_string_lossy());
        OsDisk.rename(path, &path.with_file_name(name)).unwrap();
    };
    let no_chunks = |path: &Path| {
        change(&path.join("pyrrha"), |bytes| *bytes = b"last_series 1\nchunks 9 9\n".to_vec());
    };
    type Spoil<'a> = (&'a dyn Fn(&Path), u64);
    let spoil: [Spoil<'_>; 5] = [(&flip, 1), (&cut, 1), (&foreign, 0), (&longer, 0), (&no_chunks, 0)];
    for (at, (spoil, failed)) in spoil.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let rows = stopped(dir.path(), 0..60);
        spoil(&snapshots(dir.path())[0]);
        let (db, failures) = open(dir.path());
        assert_eq!((failures, read(&db) == rows), (failed, true), "{at}");
        assert!(snapshots(dir.path()).is_empty(), "{at}");
    }
}

#[test]
fn unknown_series_behind_a_snapshot_make_it_useless() {
    let dir = tempfile::tempdir().unwrap();
    stopped(dir.path(), 0..10);
    let snapshot = snapshots(dir.path()).remove(0);
    let key = key_of(SERIES + 1);
    let mut rows = Rows::new();
    for t in [600_000, 601_000] {
        let (db, _) = open(dir.path());
        let series =
            BatchSeries { id: SeriesId::Key(&key), samples: 0..1, histograms: 0..0, exemplars: 0..0 };
        let batch = Batch { samples: vec![Sample { t, v: 1.0 }], series: vec![series], ..Batch::default() };
        db.writer().write(&batch, &mut WriteOutcome::default()).unwrap();
        rows = read(&db);
    }
    // As if it had been taken after the series came, without it: only samples of it follow.
    let len = OsDisk.meta(&dir.path().join("wal/00000001")).unwrap().len;
    OsDisk.rename(&snapshot, &dir.path().join(format!("chunk_snapshot.000001.{len:010}"))).unwrap();
    let (db, failures) = open(dir.path());
    assert_eq!((failures, read(&db) == rows), (1, true));
}

#[test]
fn nothing_is_written_when_it_is_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let (db, _) = open_with(dir.path(), false);
    write(&db, 1);
    db.close().unwrap();
    assert!(snapshots(dir.path()).is_empty());
}
