//! The head from outside: write, read, restart.

use disk::{Disk, OsDisk};
use model::{Matcher, Sample, TimeRange};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use storage::admin::Admin;
use storage::metadata::MetadataSource;
use storage::{
    Batch, BatchSeries, Queryable, RejectReason, SelectHints, SeriesId, SeriesRef, WriteOutcome, Writer,
    WriterSource, key,
};
use tsdb::{Db, Options, ReplayHandle, Running, read_all};

const HOUR: i64 = 3_600_000;

fn open_with(dir: &Path, running: Running) -> Db {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let options = Options { running, ..Options::default() };
    Db::open(disk, dir, options, &meter::Registry::new(), ReplayHandle::default()).unwrap()
}

fn open(dir: &Path) -> Db {
    open_with(dir, Running { out_of_order_window_ms: HOUR, ..Running::default() })
}

fn key_of(labels: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        key::push_label(&mut out, name, value);
    }
    out
}

/// Key and samples.
type Row<'a> = (&'a [u8], &'a [(i64, f64)]);

fn write(writer: &mut dyn Writer, rows: &[Row<'_>], reject_late: bool) -> WriteOutcome {
    let mut batch = Batch { reject_out_of_order: reject_late, ..Batch::default() };
    for (key, samples) in rows {
        let from = batch.samples.len() as u32;
        batch.samples.extend(samples.iter().map(|(t, v)| Sample { t: *t, v: *v }));
        let samples = from..batch.samples.len() as u32;
        batch.series.push(BatchSeries { id: SeriesId::Key(key), samples, histograms: 0..0, exemplars: 0..0 });
    }
    let mut outcome = WriteOutcome::default();
    writer.write(&batch, &mut outcome).unwrap();
    outcome
}

type Rows = BTreeMap<String, Vec<(i64, f64)>>;

fn read(db: &Db, matchers: &[Matcher]) -> Rows {
    let querier = db.querier(TimeRange::ALL).unwrap();
    let hints = SelectHints { sorted: true, ..SelectHints::default() };
    let mut set = querier.select(matchers, &hints).unwrap();
    let mut out = Rows::new();
    while let Some(series) = set.next().unwrap() {
        let buf = read_all(&*series).unwrap();
        out.insert(series.labels().to_string(), buf.times.iter().copied().zip(buf.floats).collect());
    }
    out
}

#[test]
fn written_samples_survive_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<_> =
        (0..50).map(|i| key_of(&[("__name__", "up"), ("instance", &format!("i{i}"))])).collect();
    let db = open(dir.path());
    let mut writer = db.writer();
    for step in 0..500i64 {
        let points = [(step * 15_000, step as f64 * 0.5)];
        let rows: Vec<Row<'_>> = keys.iter().map(|k| (k.as_slice(), &points[..])).collect();
        let outcome = write(&mut *writer, &rows, false);
        assert_eq!((outcome.samples, outcome.rejected.len()), (50, 0));
    }
    let before = read(&db, &[]);
    assert_eq!(before.len(), 50);
    assert!(before.values().all(|rows| rows.len() == 500 && rows[499] == (499 * 15_000, 249.5)));
    // No close: what was acknowledged is in the log.
    drop((writer, db));
    let db = open(dir.path());
    assert_eq!(read(&db, &[]), before);
    assert_eq!(db.head_range(), Some(TimeRange::new(0, 499 * 15_000)));
    db.close().unwrap();
    drop(db);
    let db = open(dir.path());
    assert_eq!(read(&db, &[]), before);
    let one = [Matcher::equal("instance", "i7")];
    assert_eq!(read(&db, &one).keys().collect::<Vec<_>>(), [r#"{__name__="up", instance="i7"}"#]);
    let stats = db.head_stats(3).unwrap();
    assert_eq!((stats.num_series, stats.num_label_pairs), (50, 51));
    assert_eq!((stats.series_by_metric[0].name.as_str(), stats.series_by_metric[0].value), ("up", 50));
}

#[test]
fn refusals_follow_upstream() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let mut writer = db.writer();
    let a = key_of(&[("__name__", "a"), ("x", "1")]);
    let twisted = key_of(&[("x", "1"), ("__name__", "a"), ("empty", "")]);
    let nameless = key_of(&[("x", "1")]);
    let now = 10 * HOUR;
    let first = write(&mut *writer, &[(&a, &[(now, 1.0)])], false);
    assert_eq!((first.series_created, first.samples), (1, 1));
    let outcome = write(
        &mut *writer,
        &[
            (&twisted, &[(now, 1.0), (now, 2.0), (now + 1, 3.0)]),
            (&nameless, &[(now, 1.0)]),
            (&a, &[(now - 2 * HOUR, 1.0), (now - HOUR / 2, 7.0)]),
        ],
        false,
    );
    assert_eq!(outcome.refs, [first.refs[0], SeriesRef(0), first.refs[0]]);
    let reasons: Vec<_> = outcome.rejected.iter().map(|r| (r.series, r.row, r.reason.clone())).collect();
    assert_eq!(reasons[0], (0, 1, RejectReason::DuplicateTimestamp));
    assert_eq!(reasons[1].2.to_string(), r#"invalid metric name or labels, got {x="1"}"#);
    assert_eq!(reasons[2], (2, 4, RejectReason::TooOld));
    assert_eq!(outcome.samples, 3);
    let strict = write(&mut *writer, &[(&a, &[(now - 5, 1.0)])], true);
    assert_eq!(strict.rejected[0].reason, RejectReason::OutOfOrder);
    let want = vec![(now - HOUR / 2, 7.0), (now, 1.0), (now + 1, 3.0)];
    assert_eq!(read(&db, &[]).into_values().next(), Some(want.clone()));
    db.apply_config(Running { out_of_order_window_ms: 0, max_exemplars: 0, ..Running::default() });
    let closed = write(&mut *writer, &[(&a, &[(now - 5, 1.0), (now - 2 * HOUR, 1.0)])], false);
    let reasons: Vec<_> = closed.rejected.iter().map(|r| r.reason.clone()).collect();
    assert_eq!(reasons, [RejectReason::OutOfOrder, RejectReason::OutOfBounds]);
    drop((writer, db));
    assert_eq!(read(&open(dir.path()), &[]).into_values().next(), Some(want));
}

#[test]
fn late_chunks_survive_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let a = key_of(&[("__name__", "a")]);
    let db = open(dir.path());
    let mut writer = db.writer();
    let now = 10 * HOUR;
    write(&mut *writer, &[(&a, &[(now, 0.0)])], false);
    for i in (1..200i64).rev() {
        write(&mut *writer, &[(&a, &[(now - i * 1000, i as f64)])], false);
    }
    let before = read(&db, &[]);
    assert_eq!(before.values().next().unwrap().len(), 200);
    drop((writer, db));
    for _ in 0..2 {
        assert_eq!(read(&open(dir.path()), &[]), before);
    }
}

#[test]
fn deleted_samples_stay_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let mut writer = db.writer();
    let (a, b) = (key_of(&[("__name__", "a")]), key_of(&[("__name__", "b")]));
    let points: Vec<(i64, f64)> = (0..300).map(|i| (i * 1000, i as f64)).collect();
    write(&mut *writer, &[(&a, &points), (&b, &points)], false);
    db.delete_series(TimeRange::new(100_000, i64::MAX), &[vec![Matcher::equal("__name__", "a")]]).unwrap();
    write(&mut *writer, &[(&a, &[(300_000, 1.0)])], false);
    let check = |db: &Db| {
        let rows = read(db, &[]);
        let counts: Vec<usize> = rows.values().map(Vec::len).collect();
        assert_eq!(counts, [101, 300]);
    };
    check(&db);
    drop((writer, db));
    check(&open(dir.path()));
}

/// The log has the record of a deletion for longer than the head remembers it.
#[test]
fn late_samples_may_come_back_to_a_forgotten_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running { out_of_order_window_ms: 9 * HOUR, ..Running::default() };
    let db = open_with(dir.path(), running);
    let (a, b) = (key_of(&[("__name__", "a")]), key_of(&[("__name__", "b")]));
    let points = |from: i64, to: i64| -> Vec<(i64, f64)> {
        (from..to).map(|step| (step * 60_000, step as f64)).collect()
    };
    write(&mut *db.writer(), &[(&a, &points(0, 300)), (&b, &points(0, 300))], false);
    let of = |name| [vec![Matcher::equal("__name__", name)]];
    db.delete_series(TimeRange::new(0, 70 * 60_000), &of("a")).unwrap();
    db.delete_series(TimeRange::new(280 * 60_000, i64::MAX), &of("b")).unwrap();
    // Puts 0 to 2 h into a block; the first deletion is carried out there.
    db.maintain(None).unwrap();
    let counts = |db: &Db| read(db, &[]).values().map(Vec::len).collect::<Vec<usize>>();
    assert_eq!(counts(&db), [229, 280]);
    write(&mut *db.writer(), &[(&a, &points(10, 30))], false);
    assert_eq!(counts(&db), [249, 280]);
    drop(db);
    let file = dir.path().join("head_tombstones");
    for _ in 0..2 {
        assert!(file.exists());
        assert_eq!(counts(&open_with(dir.path(), running)), [249, 280]);
    }
    // Some rounds later a checkpoint says the same, and the file goes.
    let db = open_with(dir.path(), running);
    for to in [500, 700, 900, 1100, 1300] {
        write(&mut *db.writer(), &[(&a, &points(to - 100, to)), (&b, &points(to - 100, to))], false);
        db.maintain(None).unwrap();
    }
    assert!(!file.exists());
    let before = counts(&db);
    assert_eq!(before, [749, 780]);
    drop(db);
    assert_eq!(counts(&open_with(dir.path(), running)), before);
}

#[test]
fn deleted_late_samples_stay_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let mut writer = db.writer();
    let (a, b) = (key_of(&[("__name__", "a")]), key_of(&[("__name__", "b")]));
    let now = 10 * HOUR;
    write(&mut *writer, &[(&a, &[(now, 0.0)]), (&b, &[(now, 0.0)])], false);
    for i in (1..200i64).rev() {
        let late = [(now - i * 1000, i as f64)];
        write(&mut *writer, &[(&a, &late), (&b, &late)], false);
    }
    assert_eq!(db.head_stats(10).unwrap().chunk_count, 2 + 2 * 7);
    // Within chunks on disk and in memory; none of the in-order samples.
    for (from, to) in [(150, 120), (10, 5)] {
        let range = TimeRange::new(now - from * 1000, now - to * 1000);
        db.delete_series(range, &[vec![Matcher::equal("__name__", "a")]]).unwrap();
    }
    let check = |db: &Db| {
        let counts: Vec<usize> = read(db, &[]).values().map(Vec::len).collect();
        assert_eq!(counts, [200 - 31 - 6, 200]);
    };
    check(&db);
    let name = db.snapshot(false).unwrap();
    check(&open(&dir.path().join("snapshots").join(name)));
    drop((writer, db));
    let db = open(dir.path());
    check(&db);
    assert_eq!(db.head_stats(10).unwrap().chunk_count, 2 + 2 * 7);
    assert_eq!(db.head_stats(10).unwrap().memory_by_label[0].value, 2 * (8 + 1 + 1 + 1));
}

/// Within the list in memory, against chunks on disk, after a restart and in blocks.
#[test]
fn the_first_of_two_late_values_stays() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let a = key_of(&[("__name__", "a")]);
    let now = 10 * HOUR;
    let mut want = vec![(now, 0.0)];
    write(&mut *db.writer(), &[(&a, &[(now, 0.0)])], false);
    // 120 of them: three chunks on disk and some in memory. Each third comes again at once, and all of them later.
    for i in 1..=120i64 {
        let t = now - (i * 37 % 121) * 1000;
        write(&mut *db.writer(), &[(&a, &[(t, i as f64)])], false);
        want.push((t, i as f64));
        if i % 3 == 0 {
            assert!(write(&mut *db.writer(), &[(&a, &[(t, -1.0)])], false).rejected.is_empty());
        }
    }
    want.sort_by_key(|(t, _)| *t);
    let again: Vec<(i64, f64)> = want[..120].iter().map(|(t, _)| (*t, -2.0)).collect();
    for sample in again {
        write(&mut *db.writer(), &[(&a, &[sample])], false);
    }
    let check = |db: &Db, when: &str| {
        let mut rows = read(db, &[]).into_values().next().unwrap();
        rows.truncate(want.len());
        assert_eq!(rows, want, "{when}");
    };
    check(&db, "in the head");
    drop(db);
    let db = open(dir.path());
    check(&db, "after a restart");
    write(&mut *db.writer(), &[(&a, &[(now + 4 * HOUR, 0.0)])], false);
    db.maintain(None).unwrap();
    assert!(!db.blocks().is_empty());
    check(&db, "in blocks");
    while db.blocks().len() > 1 {
        let before = db.blocks().len();
        db.maintain(None).unwrap();
        if db.blocks().len() == before {
            break;
        }
    }
    check(&db, "in joined blocks");
}

#[test]
fn truncation_forgets_and_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let mut writer = db.writer();
    let (old, both) = (key_of(&[("__name__", "old")]), key_of(&[("__name__", "both")]));
    for step in 0..1440i64 {
        let point = [(step * 15_000, step as f64)];
        let mut rows: Vec<Row<'_>> = vec![(&both, &point)];
        if step < 240 {
            rows.push((&old, &point));
        }
        write(&mut *writer, &rows, false);
    }
    db.truncate(4 * HOUR, None).unwrap();
    let rows = read(&db, &[]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows.values().next().unwrap().first(), Some(&(4 * HOUR, 960.0)));
    assert_eq!(db.head_range().unwrap().min, 4 * HOUR);
    let again = write(&mut *writer, &[(&old, &[(6 * HOUR, 1.0)])], false);
    assert_eq!((again.series_created, again.samples), (1, 1));
    let series = db.head_series(TimeRange::new(5 * HOUR, 6 * HOUR));
    assert_eq!(series.len(), 2);
}

#[test]
fn labels_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let mut writer = db.writer();
    let keys: Vec<_> = (0..6)
        .map(|i| key_of(&[("__name__", if i < 3 { "a" } else { "b" }), ("job", &format!("j{i}"))]))
        .collect();
    let rows: Vec<Row<'_>> = keys.iter().map(|k| (k.as_slice(), &[(1, 1.0)][..])).collect();
    write(&mut *writer, &rows, false);
    let querier = db.querier(TimeRange::ALL).unwrap();
    assert_eq!(querier.label_names(&[], 0).unwrap(), ["__name__", "job"]);
    assert_eq!(querier.label_values("job", &[Matcher::equal("__name__", "b")], 2).unwrap(), ["j3", "j4"]);
    assert_eq!(querier.label_values("__name__", &[], 0).unwrap(), ["a", "b"]);
    assert_eq!(querier.label_values("nope", &[], 0).unwrap(), [""; 0]);
}

#[test]
fn churn_gives_memory_back() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let mut writer = db.writer();
    let key = |n: usize| key_of(&[("__name__", "m"), ("pod", &format!("pod-{n}-{}", "x".repeat(40)))]);
    let keys: Vec<Vec<u8>> = (0..30_000).map(key).collect();
    let mut sent = Rows::new();
    for hour in 0..6i64 {
        let from = hour as usize * 5000;
        // Every thousandth series stays for good.
        let stay = (0..from).filter(|n| n % 1000 == 7);
        let rows: Vec<usize> = stay.chain(from..from + 5000).collect();
        let point = [(hour * HOUR, hour as f64)];
        let batch: Vec<Row<'_>> = rows.iter().map(|n| (keys[*n].as_slice(), &point[..])).collect();
        assert!(write(&mut *writer, &batch, false).rejected.is_empty());
        for n in rows.into_iter().filter(|n| n % 1000 == 7) {
            let name = format!("{{__name__=\"m\", pod=\"pod-{n}-{}\"}}", "x".repeat(40));
            sent.entry(name).or_default().push((hour * HOUR, hour as f64));
        }
    }
    let before = db.ledger();
    db.truncate(4 * HOUR, None).unwrap();
    let after = db.ledger();
    assert_eq!(after.series, 10_020);
    assert!(after.entries * 2 < before.entries, "{before:?} {after:?}");
    assert!(after.texts * 2 < before.texts, "{before:?} {after:?}");
    let long: Vec<Matcher> = vec![
        Matcher::new(model::MatchOp::Regex, "pod", "pod-([0-9]+00)?7-.*").unwrap(),
        Matcher::equal("__name__", "m"),
    ];
    let check = |db: &Db| {
        let found = read(db, &long);
        assert_eq!(found.len(), 30);
        for (name, rows) in &found {
            let want: Vec<(i64, f64)> = sent[name].iter().copied().filter(|(t, _)| *t >= 4 * HOUR).collect();
            assert_eq!(*rows, want, "{name}");
        }
    };
    check(&db);
    // Known series go on, gone ones come again.
    let rows: Vec<Row<'_>> = vec![(&keys[7], &[(6 * HOUR, 6.0)]), (&keys[8], &[(6 * HOUR, 6.0)])];
    let again = write(&mut *writer, &rows, false);
    assert_eq!((again.series_created, again.samples), (1, 2));
    drop((writer, db));
    let db = open(dir.path());
    let seven = [Matcher::equal("pod", format!("pod-7-{}", "x".repeat(40)))];
    assert_eq!(read(&db, &seven).into_values().next().unwrap().last(), Some(&(6 * HOUR, 6.0)));
}

#[test]
fn metadata_is_logged_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let options = Options { metadata_wal_records: true, ..Options::default() };
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        Db::open(disk, dir.path(), options, &meter::Registry::new(), ReplayHandle::default()).unwrap()
    };
    let db = open();
    let mut writer = db.writer();
    let key = key_of(&[("__name__", "lat_seconds_bucket"), ("le", "1")]);
    write(&mut *writer, &[(&key, &[(1, 1.0)])], false);
    let kind = model::MetricType::Histogram;
    let row = storage::MetadataRow { family: "lat_seconds", kind, unit: "seconds", help: "Latency." };
    let batch = Batch { metadata: vec![row], ..Batch::default() };
    writer.write(&batch, &mut WriteOutcome::default()).unwrap();
    let before = db.metadata(None);
    assert_eq!((before.len(), before[0].1.help.as_str()), (1, "Latency."));
    drop((writer, db));
    assert_eq!(open().metadata(Some("lat_seconds")), before);
}

#[test]
fn concurrent_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    // All create the same series at the same time, and write them in different orders and at different times.
    let keys: Vec<Vec<u8>> = (0..300).map(|i| key_of(&[("__name__", "m"), ("i", &i.to_string())])).collect();
    std::thread::scope(|scope| {
        for thread in 0..4i64 {
            let (db, keys) = (&db, &keys);
            scope.spawn(move || {
                let mut writer = db.writer();
                for step in 0..100i64 {
                    let point = [(step * 1000 + thread, (step * 10 + thread) as f64)];
                    let mut rows: Vec<Row<'_>> = keys.iter().map(|k| (k.as_slice(), &point[..])).collect();
                    if thread % 2 == 1 {
                        rows.reverse();
                    }
                    let outcome = write(&mut *writer, &rows, false);
                    assert_eq!((outcome.samples, outcome.rejected.len()), (300, 0));
                }
            });
        }
        let db = &db;
        scope.spawn(move || {
            for _ in 0..20 {
                let rows = read(db, &[Matcher::equal("__name__", "m")]);
                assert!(rows.values().all(|r| r.is_sorted_by(|a, b| a.0 < b.0)));
            }
        });
    });
    assert_eq!(db.series_count(), 300);
    let before = read(&db, &[]);
    assert!(before.len() == 300 && before.values().all(|rows| rows.len() == 400));
    drop(db);
    let after = read(&open(dir.path()), &[]);
    let lost: Vec<_> = before
        .iter()
        .flat_map(|(name, rows)| rows.iter().map(move |row| (name, row)))
        .filter(|(name, row)| !after.get(*name).is_some_and(|rows| rows.contains(row)))
        .collect();
    assert!(lost.is_empty(), "{} lost: {:?}", lost.len(), &lost[..lost.len().min(8)]);
    assert_eq!(after.len(), before.len());
}

/// Labels of a series, and its newest sample.
type NewestRow = (String, Option<(i64, f64)>);

/// The newest samples of a selection, as a querier has them at hand.
fn at_hand(db: &Db, matchers: &[Matcher], range: TimeRange) -> Option<Vec<NewestRow>> {
    let querier = db.querier(range).unwrap();
    let shown = Some(vec!["b".to_owned(), "a".to_owned(), "b".to_owned()]);
    let hints = SelectHints { range: Some(range), newest: true, shown, ..SelectHints::default() };
    let newest = querier.newest(matchers, &hints).unwrap()?;
    let rows = newest.labels.iter().zip(&newest.samples).enumerate().map(|(at, (labels, sample))| {
        let other = newest.others.iter().find(|(place, _)| *place == at);
        let sample = match other {
            None => Some(*sample),
            Some((_, series)) => {
                assert_eq!(series.shown(), *labels);
                let mut buf = storage::SampleBuf::default();
                series.newest(range, &mut buf).unwrap();
                buf.times.last().copied().zip(buf.floats.last().copied())
            }
        };
        (labels.to_string(), sample)
    });
    Some(rows.collect())
}

#[test]
fn newest_samples_are_those_of_the_series() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let mut writer = db.writer();
    let start = 10 * HOUR;
    let key = |i: usize| {
        let a = (i % 3).to_string();
        let mut labels = vec![("__name__", "x"), ("a", a.as_str())];
        let (b, id) = ((i % 5).to_string(), i.to_string());
        if i.is_multiple_of(2) {
            labels.push(("b", b.as_str()));
        }
        labels.push(("id", id.as_str()));
        key_of(&labels)
    };
    let keys: Vec<Vec<u8>> = (0..40).map(key).collect();
    for (i, key) in keys.iter().enumerate() {
        let points: Vec<(i64, f64)> =
            (0..200).map(|n| (start + n * 15_000, (n * 7) as f64 + i as f64)).collect();
        // Some end early.
        let end = if i % 7 == 0 { 150 } else { 200 };
        write(&mut *writer, &[(key, &points[..end])], false);
    }
    // Late, in the middle and before everything.
    write(&mut *writer, &[(&keys[3], &[(start + 190 * 15_000 + 1, 0.5)])], false);
    write(&mut *writer, &[(&keys[4], &[(start - 1000, 0.5)])], false);
    let end = start + 199 * 15_000;
    let look = |matchers: &[Matcher]| {
        for range in [
            TimeRange::new(end - 300_000, end),
            TimeRange::new(end - 300_000, end + HOUR),
            TimeRange::new(end - 600_000, end - 100_000),
            TimeRange::new(start - 5000, start),
            TimeRange::new(end + 1, end + 2),
        ] {
            let querier = db.querier(range).unwrap();
            let shown = Some(vec!["a".to_owned(), "b".to_owned()]);
            let hints = SelectHints { range: Some(range), shown, ..SelectHints::default() };
            let mut set = querier.select(matchers, &hints).unwrap();
            let mut want = Vec::new();
            while let Some(series) = set.next().unwrap() {
                let mut buf = storage::SampleBuf::default();
                series.read(range, &mut buf).unwrap();
                let sample = buf.times.last().copied().zip(buf.floats.last().copied());
                want.push((series.shown().to_string(), sample));
            }
            assert_eq!(at_hand(&db, matchers, range).expect("at hand"), want, "{range:?}");
        }
    };
    look(&[]);
    look(&[Matcher::equal("a", "1")]);
    look(&[Matcher::equal("a", "nope")]);
    // What is deleted must be looked at.
    db.delete_series(TimeRange::ALL, &[vec![Matcher::equal("id", "5")]]).unwrap();
    assert!(at_hand(&db, &[], TimeRange::new(end - 300_000, end)).is_none());
}
