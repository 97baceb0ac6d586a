//! One fault at a time: no room for one kind of file, a disk that is read-only, a directory that is in use, an fsync
//! that fails. Random mixtures of them are in `sim/`.

use model::{Labels, Matcher, Sample, TimeRange};
use std::collections::BTreeMap;
use std::path::Path;
use storage::admin::Admin;
use storage::{
    Batch, BatchSeries, Queryable, SampleBuf, SelectHints, SeriesId, WriteOutcome, WriterSource, key,
};
use testkit::{FaultyDisk, Loss};
use tsdb::{Db, OpenError, Options, ReplayHandle, Running};

const DIR: &str = "/data";
const STEP: i64 = 15_000;
/// Length of a block, in ms.
const RANGE: i64 = 40 * STEP;
const START: i64 = 1_700_006_400_000;

type Rows = BTreeMap<(u64, i64), f64>;

fn open(disk: &FaultyDisk, sync: bool) -> Result<Db, OpenError> {
    open_up_to(disk, sync, RANGE * 9)
}

/// With blocks up to a length.
fn open_up_to(disk: &FaultyDisk, sync: bool, longest: i64) -> Result<Db, OpenError> {
    let running = Running { out_of_order_window_ms: RANGE * 20, retention_time_ms: 0, ..Running::default() };
    let options = Options {
        min_block_duration_ms: RANGE,
        max_block_duration_ms: longest,
        samples_per_chunk: 8,
        wal_segment_bytes: 1 << 15,
        wal_sync: sync,
        wal_sync_inline: true,
        running,
        ..Options::default()
    };
    Db::open(disk.shared(), Path::new(DIR), options, &meter::Registry::new(), ReplayHandle::default())
}

fn key_of(series: u64) -> Vec<u8> {
    key::of_labels(&Labels::from_pairs([("__name__", "m".to_owned()), ("series", series.to_string())]))
}

/// One sample of three series; those that were acknowledged are noted.
fn write(db: &Db, t: i64, rows: &mut Rows) -> Result<(), storage::WriteError> {
    let keys: Vec<Vec<u8>> = (0..3).map(key_of).collect();
    let mut batch = Batch::default();
    for (n, key) in keys.iter().enumerate() {
        let at = n as u32;
        batch.samples.push(Sample { t, v: (t - START + n as i64) as f64 });
        batch.series.push(BatchSeries {
            id: SeriesId::Key(key),
            samples: at..at + 1,
            histograms: 0..0,
            exemplars: 0..0,
        });
    }
    let mut outcome = WriteOutcome::default();
    db.writer().write(&batch, &mut outcome)?;
    assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
    rows.extend((0..3).map(|n| ((n, t), (t - START + n as i64) as f64)));
    Ok(())
}

fn read(db: &Db) -> Rows {
    let querier = db.querier(TimeRange::ALL).expect("opens");
    let mut set = querier.select(&[], &SelectHints::default()).expect("selects");
    let mut out = Rows::new();
    while let Some(series) = set.next().expect("reads") {
        let n: u64 = series.labels().value("series").parse().expect("a series of ours");
        let mut buf = SampleBuf::default();
        series.read(TimeRange::ALL, &mut buf).expect("decodes");
        out.extend(buf.times.iter().zip(&buf.floats).map(|(t, v)| ((n, *t), *v)));
    }
    out
}

/// What a program does in a while: new samples, late ones, a deletion, housekeeping, a snapshot, cleaning.
fn work(db: &Db, round: i64, rows: &mut Rows) -> Vec<String> {
    let mut failed = Vec::new();
    let from = START + round * 5 * RANGE;
    for i in 0..150 {
        failed.extend(write(db, from + i * STEP, rows).err().map(|e| e.to_string()));
        if i % 10 == 9 {
            let late = write(db, from + i * STEP - 3 * STEP - 1 - i, rows);
            failed.extend(late.err().map(|e| e.to_string()));
        }
        if i % 50 == 49 {
            failed.extend(db.maintain(None).err().map(|e| e.to_string()));
        }
    }
    let range = TimeRange::new(from, from + 10 * STEP);
    match db.delete_series(range, &[vec![Matcher::equal("series", "1")]]) {
        Ok(()) => rows.retain(|(n, t), _| *n != 1 || !range.contains(*t)),
        Err(e) => {
            failed.push(e.to_string());
            // Part of it may have been done.
            rows.retain(|(n, t), _| *n != 1 || !range.contains(*t));
        }
    }
    failed.extend(db.snapshot(false).err().map(|e| e.to_string()));
    failed.extend(db.clean_tombstones().err().map(|e| e.to_string()));
    failed
}

/// Everything that was acknowledged is there; of what was not, anything may be.
#[track_caller]
fn holds(db: &Db, rows: &Rows, deleted: impl Fn(u64, i64) -> bool, what: &str) {
    let found = read(db);
    for (at, v) in rows {
        assert_eq!(found.get(at), Some(v), "{what}: lost {at:?}");
    }
    for (at, v) in &found {
        assert!(rows.get(at) == Some(v) || deleted(at.0, at.1), "{what}: {at:?} = {v} from nowhere");
    }
}

#[test]
fn no_room_for_one_kind_of_file() {
    // A part of the path, and whether writes are refused meanwhile.
    let cases = [
        ("/wal/0", true),
        ("/wbl/", true),
        ("/chunks_head/", false),
        ("/chunks/", false),
        ("/index", false),
        ("/meta.json", false),
        ("/wal/checkpoint", false),
        ("/tombstones", false),
    ];
    for (path, refused) in cases {
        let disk = FaultyDisk::new(7);
        let db = open(&disk, false).expect("opens");
        let mut rows = Rows::new();
        assert_eq!(work(&db, 0, &mut rows), Vec::<String>::new(), "{path}: before");
        disk.set_full(Some(path));
        let failed = work(&db, 1, &mut rows);
        assert!(!failed.is_empty() || path == "/chunks_head/", "{path}: nothing failed");
        for text in &failed {
            assert!(text.contains(path) && text.contains("no storage space"), "{path}: {text}");
        }
        assert_eq!(
            failed.iter().any(|text| text.starts_with("write to WAL: ")),
            refused,
            "{path}: {failed:?}"
        );
        // A deletion that failed may or may not have been done.
        let open_range = TimeRange::new(START + 5 * RANGE, START + 5 * RANGE + 10 * STEP);
        let perhaps = |n: u64, t: i64| n == 1 && open_range.contains(t);
        holds(&db, &rows, perhaps, &format!("{path}: while it is full"));
        disk.set_full(None);
        assert_eq!(work(&db, 2, &mut rows), Vec::<String>::new(), "{path}: with room again");
        holds(&db, &rows, perhaps, &format!("{path}: with room again"));
        drop(db);
        let disk = disk.reboot(Loss::Kill);
        holds(&open(&disk, false).expect("opens"), &rows, perhaps, &format!("{path}: after kill -9"));
    }
}

/// A full disk says nothing about blocks that could not be joined: they are joined when there is room.
#[test]
fn joining_without_room_is_tried_again() {
    let disk = FaultyDisk::new(7);
    let mut rows = Rows::new();
    let single = open_up_to(&disk, false, RANGE).expect("opens");
    for i in 0..240 {
        write(&single, START + i * STEP, &mut rows).expect("writes");
    }
    single.maintain(None).expect("maintains");
    drop(single);
    let levels = |db: &Db| -> Vec<i64> {
        let metas = db.blocks().into_iter().map(|b| serde_json::from_str(&b.meta_json).expect("meta.json"));
        metas
            .map(|m: serde_json::Value| {
                assert_eq!(m["compaction"]["failed"], serde_json::Value::Null);
                m["compaction"]["level"].as_i64().expect("a level")
            })
            .collect()
    };
    // Now they may be joined.
    let db = open(&disk, false).expect("opens");
    let before = levels(&db);
    assert!(before.len() >= 4 && before.iter().all(|level| *level == 1), "{before:?}");
    for file in ["/index", "/chunks/", "/meta.json"] {
        disk.set_full(Some(file));
        let failed = db.maintain(None).expect_err("there is no room").to_string();
        assert!(failed.contains("no storage space"), "{failed}");
        assert_eq!(levels(&db), before, "{file}");
    }
    disk.set_full(None);
    db.maintain(None).expect("there is room again");
    assert!(levels(&db).contains(&2), "{:?}", levels(&db));
    holds(&db, &rows, |_, _| false, "joined");
}

/// A head that cannot be written to a block for want of space does not keep retention from making some.
#[test]
fn retention_goes_on_without_room() {
    let disk = FaultyDisk::new(7);
    let mut rows = Rows::new();
    let db = open_up_to(&disk, false, RANGE).expect("opens");
    let mut fill = |steps: std::ops::Range<i64>| {
        steps.for_each(|i| write(&db, START + i * STEP, &mut rows).expect("writes"));
    };
    fill(0..240);
    db.maintain(None).expect("maintains");
    let before = db.blocks().len();
    fill(240..320);
    disk.set_full(Some("/index"));
    db.maintain(None).expect_err("there is no room");
    assert_eq!(db.blocks().len(), before);
    let running = Running { out_of_order_window_ms: RANGE * 20, ..Running::default() };
    db.apply_config(Running { retention_time_ms: RANGE, ..running });
    db.maintain(None).expect_err("there is no room");
    assert!(db.blocks().len() < before, "{} of {before} blocks are left", db.blocks().len());
    disk.set_full(None);
    db.maintain(None).expect("there is room again");
}

#[test]
fn read_only_directories_are_refused_by_path() {
    // Never used before, and with data in it.
    for used in [false, true] {
        let disk = FaultyDisk::new(1);
        if used {
            let db = open(&disk, false).expect("opens");
            write(&db, START, &mut Rows::new()).expect("writes");
        }
        disk.set_read_only(true);
        let error = open(&disk, false).err().expect("is refused").to_string();
        assert!(error.contains(DIR) && error.contains("read-only"), "{error}");
        disk.set_read_only(false);
        open(&disk, false).expect("opens");
    }
}

#[test]
fn directories_in_use_are_refused_by_path() {
    let disk = FaultyDisk::new(1);
    let db = open(&disk, false).expect("opens");
    let error = open(&disk, false).err().expect("is refused").to_string();
    assert_eq!(error, "lock DB directory: /data/lock is locked by another process");
    drop(db);
    open(&disk, false).expect("opens");
}

/// With `--storage.wal-sync`: what was refused is not acknowledged later by accident, and what was acknowledged is on
/// the medium although the system forgot the pages that it could not write.
#[test]
fn failing_fsync_poisons_its_segment() {
    for failures in 1..6 {
        let disk = FaultyDisk::new(failures);
        let db = open(&disk, true).expect("opens");
        let mut rows = Rows::new();
        for i in 0..10 {
            write(&db, START + i * STEP, &mut rows).expect("writes");
        }
        disk.fail_syncs(failures);
        let mut refused = 0;
        for i in 10..30 {
            refused += u64::from(write(&db, START + i * STEP, &mut rows).is_err());
        }
        assert_eq!(refused, failures, "each failing fsync refuses one request");
        assert_eq!(read(&db), rows);
        let segments = |disk: &FaultyDisk| {
            let list = disk::Disk::list(disk, &Path::new(DIR).join("wal")).expect("lists");
            list.iter().filter(|e| e.name.parse::<u64>().is_ok()).count() as u64
        };
        assert_eq!(segments(&disk), 1 + failures, "every failure ends its segment");
        drop(db);
        let disk = disk.reboot(Loss::Power);
        let db = open(&disk, true).expect("opens");
        assert_eq!(read(&db), rows, "{failures} failures");
    }
}
