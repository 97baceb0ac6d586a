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

/// Upstream writes in-order blocks before late ones, and may be stopped in between. Our own housekeeping may have cut the
/// log of late samples before, when all of them were in chunks.
#[test]
fn late_samples_that_a_newer_block_has_passed_are_kept() {
    for log_is_cut in [false, true] {
        let dir = tempfile::tempdir().expect("folder");
        let mut truth = Truth::new();
        let minute = |n: i64| START + n * 60_000;
        {
            let db = open(dir.path(), options());
            (170..180).for_each(|n| write(&db, &mut truth, minute(n)));
            // More than fit into one chunk: the log has a marker of it.
            (0..40).for_each(|n| write(&db, &mut truth, minute(n) + 30_000));
            db.close().expect("closes");
        }
        if log_is_cut {
            std::fs::remove_dir_all(dir.path().join("wbl")).expect("removed");
            for samples in truth.values_mut() {
                // What no chunk has.
                samples.retain(|t, _| *t >= minute(170) || *t < minute(32));
            }
        }
        {
            let db = open(dir.path(), options());
            (180..420).for_each(|n| write(&db, &mut truth, minute(n)));
            db.close().expect("closes");
        }
        let other = tempfile::tempdir().expect("folder");
        {
            let db = open(other.path(), options());
            (0..200).for_each(|n| write(&db, &mut truth, minute(n)));
            db.maintain(None).expect("maintains");
            for id in ulids(&db) {
                std::fs::rename(other.path().join(&id), dir.path().join(&id)).expect("moved");
            }
        }
        // What the other head has behind its block is not here.
        for samples in truth.values_mut() {
            samples.retain(|t, _| !(minute(120)..minute(170)).contains(t));
        }
        let mut db = open(dir.path(), options());
        assert!(read(&db, TimeRange::ALL) == truth, "after replay, {log_is_cut}");
        for what in ["in blocks", "in joined blocks"] {
            db.maintain(None).expect("maintains");
            assert!(read(&db, TimeRange::ALL) == truth, "{what}, {log_is_cut}");
            drop(db);
            db = open(dir.path(), options());
            assert!(read(&db, TimeRange::ALL) == truth, "{what}, after replay, {log_is_cut}");
        }
    }
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
    let before = metas(&db);
    db.clean_tombstones().expect("cleans");
    assert!(read(&db, TimeRange::ALL) == truth);
    // What was written again begins at the first level, as upstream has it, and names what it was made of.
    let rewritten = metas(&db);
    for meta in rewritten.iter().filter(|m| before.iter().all(|b| b["ulid"] != m["ulid"])) {
        let compaction = &meta["compaction"];
        assert_eq!((&compaction["level"], &compaction["sources"][0]), (&1.into(), &meta["ulid"]));
        assert!(before.iter().any(|b| b["ulid"] == compaction["parents"][0]["ulid"]));
    }
    assert_ne!(rewritten, before);
    drop(db);
    assert!(read(&open(dir.path(), options()), TimeRange::ALL) == truth, "after a restart");
}

/// Deletes all of a time range.
fn delete_all(db: &Db, truth: &mut Truth, gone: TimeRange) {
    db.delete_series(gone, &[vec![Matcher::equal("__name__", "m")]]).expect("deletes");
    truth.values_mut().for_each(|samples| samples.retain(|t, _| !gone.contains(*t)));
}

/// Without the newest block nothing but a file says that samples of the log were in it.
#[test]
fn the_log_does_not_bring_back_a_deleted_newest_block() {
    let dir = tempfile::tempdir().expect("folder");
    let file = dir.path().join("head_tombstones");
    let mut truth = Truth::new();
    let mut db = open(dir.path(), options());
    ten_hours(&db, &mut truth);
    delete_all(&db, &mut truth, TimeRange::new(START + 6 * HOUR, START + 8 * HOUR - 1));
    db.clean_tombstones().expect("cleans");
    assert_eq!(spans(&db), [(0, 6)]);
    for _ in 0..2 {
        drop(db);
        assert!(std::fs::read_to_string(&file).expect("is there").contains("\nfrom "));
        db = open(dir.path(), options());
        assert!(read(&db, TimeRange::ALL) == truth, "after a restart");
    }
    // The next blocks say it again.
    for minute in 600..1200 {
        write(&db, &mut truth, START + minute * 60_000);
        if minute % 30 == 29 {
            db.maintain(None).expect("maintains");
        }
    }
    assert!(!file.exists());
    drop(db);
    assert!(read(&open(dir.path(), options()), TimeRange::ALL) == truth, "after the last restart");
}

/// Then there is no block of it in the first place.
#[test]
fn the_log_does_not_bring_back_what_was_deleted_in_the_head() {
    let dir = tempfile::tempdir().expect("folder");
    let mut truth = Truth::new();
    let db = open(dir.path(), options());
    ten_hours(&db, &mut truth);
    for minute in 600..700 {
        write(&db, &mut truth, START + minute * 60_000);
    }
    delete_all(&db, &mut truth, TimeRange::new(START + 8 * HOUR, START + 10 * HOUR - 1));
    db.maintain(None).expect("maintains");
    assert_eq!((spans(&db), db.head_range().expect("head").min), (vec![(0, 6), (6, 8)], START + 10 * HOUR));
    drop(db);
    assert!(read(&open(dir.path(), options()), TimeRange::ALL) == truth, "after a restart");
}

/// A sender that dated samples far ahead is cleaned up after as upstream does: the past stays open.
#[test]
fn deleted_samples_of_the_future_keep_nobody_out() {
    let dir = tempfile::tempdir().expect("folder");
    let past: fn() -> std::time::SystemTime =
        || std::time::UNIX_EPOCH + std::time::Duration::from_millis(START as u64);
    let db = open(dir.path(), Options { now: past, ..options() });
    ten_hours(&db, &mut Truth::new());
    assert_eq!(spans(&db), [(0, 6), (6, 8)]);
    delete_all(&db, &mut Truth::new(), TimeRange::ALL);
    db.clean_tombstones().expect("cleans");
    assert_eq!(spans(&db), []);
    assert!(!dir.path().join("head_tombstones").exists());
}

fn metas(db: &Db) -> Vec<serde_json::Value> {
    db.blocks().iter().map(|b| serde_json::from_str(&b.meta_json).expect("meta.json")).collect()
}

fn ulids(db: &Db) -> Vec<String> {
    metas(db).iter().map(|m| m["ulid"].as_str().expect("a name").to_owned()).collect()
}

/// Three blocks of two hours that rest until the next one is there.
fn eight_hours(db: &Db, truth: &mut Truth) {
    for minute in 0..540 {
        write(db, truth, START + minute * 60_000);
    }
    while spans(db).len() < 3 {
        db.maintain(None).expect("maintains");
    }
    assert_eq!(spans(db), [(0, 2), (2, 4), (4, 6)]);
}

fn one_more_block(db: &Db, truth: &mut Truth) {
    for minute in 540..660 {
        write(db, truth, START + minute * 60_000);
    }
}

#[test]
fn a_block_that_cannot_be_joined_is_marked_and_left_out() {
    let dir = tempfile::tempdir().expect("folder");
    let mut truth = Truth::new();
    let db = open(dir.path(), options());
    eight_hours(&db, &mut truth);
    let chunks = dir.path().join(&ulids(&db)[1]).join("chunks/000001");
    let mut bytes = std::fs::read(&chunks).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    // In place: the store has the file mapped.
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(&chunks).expect("opens");
    file.write_all_at(&bytes, 0).expect("writes");
    one_more_block(&db, &mut truth);
    assert!(db.maintain(None).is_err());
    db.maintain(None).expect("goes on without them");
    assert_eq!(spans(&db), [(0, 2), (2, 4), (4, 6), (6, 8)]);
    let failed: Vec<bool> = metas(&db).iter().map(|m| m["compaction"]["failed"] == true).collect();
    assert_eq!(failed, [true, true, true, false]);
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).expect("lists").flatten().map(|e| e.file_name()).collect();
    assert!(
        names.iter().all(|n| !n.to_string_lossy().contains(".tmp")),
        "nothing unfinished is left: {names:?}"
    );
}

#[test]
fn a_broken_block_spares_the_others() {
    let dir = tempfile::tempdir().expect("folder");
    let mut truth = Truth::new();
    let db = open(dir.path(), options());
    eight_hours(&db, &mut truth);
    let broken = ulids(&db)[1].clone();
    drop(db);
    std::fs::write(dir.path().join(&broken).join("index"), b"no index").expect("writes");
    let registry = Registry::new();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let db = Db::open(disk, dir.path(), options(), &registry, ReplayHandle::default()).expect("opens");
    assert_eq!(spans(&db), [(0, 2), (4, 6)]);
    let gone = TimeRange::new(START + 2 * HOUR, START + 4 * HOUR - 1);
    truth.values_mut().for_each(|samples| samples.retain(|t, _| !gone.contains(*t)));
    assert!(read(&db, TimeRange::ALL) == truth);
    let families = registry.snapshot();
    let failures = families.iter().find(|f| f.name == "prometheus_tsdb_reloads_failures_total");
    assert!(failures.expect("is counted").points[0].value > 0.0);
    assert!(dir.path().join(&broken).is_dir(), "it is left alone");
}

/// The log behind a destination of remote write stays, unless it grows beyond what is allowed.
#[test]
fn the_log_waits_for_its_followers() {
    for budget in [0, 64 << 10] {
        let dir = tempfile::tempdir().expect("folder");
        let registry = Registry::new();
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let options = Options { wal_segment_bytes: 1 << 15, hold_budget_bytes: budget, ..options() };
        let db = Db::open(disk, dir.path(), options, &registry, ReplayHandle::default()).expect("opens");
        let mut truth = Truth::new();
        for minute in 0..600 {
            write(&db, &mut truth, START + minute * 60_000);
            if minute % 30 == 29 {
                db.maintain(Some(1)).expect("maintains");
            }
        }
        let segments = std::fs::read_dir(dir.path().join("wal")).expect("lists").flatten();
        let mut numbers: Vec<u32> =
            segments.filter_map(|e| e.file_name().to_string_lossy().parse().ok()).collect();
        numbers.sort_unstable();
        let families = registry.snapshot();
        let overruns = families.iter().find(|f| f.name == "pyrrha_tsdb_wal_hold_overruns_total");
        let overruns = overruns.expect("is counted").points[0].value;
        assert_eq!((numbers[0] <= 1, overruns == 0.0), (budget == 0, budget == 0), "{numbers:?}, {overruns}");
    }
}

#[test]
fn blocks_come_and_go_by_other_hands() {
    let dir = tempfile::tempdir().expect("folder");
    let other = tempfile::tempdir().expect("folder");
    let (mut truth, mut theirs) = (Truth::new(), Truth::new());
    let name = {
        let db = open(other.path(), options());
        eight_hours(&db, &mut theirs);
        ulids(&db)[0].clone()
    };
    let db = open(dir.path(), options());
    for minute in 0..10 {
        write(&db, &mut truth, START + 20 * HOUR + minute * 60_000);
    }
    std::fs::rename(other.path().join(&name), dir.path().join(&name)).expect("moves");
    assert!(spans(&db).is_empty());
    db.maintain(None).expect("maintains");
    assert_eq!(ulids(&db), std::slice::from_ref(&name));
    let mut both = theirs.clone();
    both.values_mut().for_each(|s| s.retain(|t, _| *t < START + 2 * HOUR));
    truth
        .iter()
        .for_each(|(l, s)| both.entry(l.clone()).or_default().extend(s.iter().map(|(t, v)| (*t, *v))));
    assert!(read(&db, TimeRange::ALL) == both);
    // Foreign folders and files are nobody's business.
    std::fs::create_dir(dir.path().join("mine.tmp")).expect("makes");
    std::fs::remove_dir_all(dir.path().join(&name)).expect("removes");
    db.maintain(None).expect("maintains");
    assert!(ulids(&db).is_empty());
    drop(db);
    let _ = open(dir.path(), options());
    assert!(dir.path().join("mine.tmp").exists());
}

#[test]
fn what_a_crash_leaves_of_replaced_blocks_goes() {
    let dir = tempfile::tempdir().expect("folder");
    let mut truth = Truth::new();
    let copy = tempfile::tempdir().expect("folder");
    let parent = {
        let db = open(dir.path(), options());
        eight_hours(&db, &mut truth);
        let parent = ulids(&db)[0].clone();
        for part in ["", "chunks"] {
            let (from, to) = (dir.path().join(&parent).join(part), copy.path().join(part));
            std::fs::create_dir_all(&to).expect("makes");
            for entry in std::fs::read_dir(from).expect("lists").flatten().filter(|e| e.path().is_file()) {
                std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
            }
        }
        one_more_block(&db, &mut truth);
        db.maintain(None).expect("maintains");
        assert_eq!(spans(&db), [(0, 6), (6, 8)]);
        parent
    };
    // A parent that is still there, and one that is there in part.
    for damaged in [false, true] {
        if damaged {
            std::fs::write(copy.path().join("index"), b"torn").expect("writes");
        }
        for part in ["", "chunks"] {
            let to = dir.path().join(&parent).join(part);
            std::fs::create_dir_all(&to).expect("makes");
            let entries = std::fs::read_dir(copy.path().join(part)).expect("lists").flatten();
            for entry in entries.filter(|e| e.path().is_file()) {
                std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
            }
        }
        std::fs::create_dir_all(dir.path().join(format!("{parent}.tmp-for-creation/chunks"))).expect("makes");
        let db = open(dir.path(), options());
        assert_eq!(spans(&db), [(0, 6), (6, 8)]);
        assert!(read(&db, TimeRange::ALL) == truth);
        assert!(!dir.path().join(&parent).exists(), "damaged: {damaged}");
        assert!(!dir.path().join(format!("{parent}.tmp-for-creation")).exists());
    }
}

#[test]
fn blocks_wait_for_their_shipper() {
    let dir = tempfile::tempdir().expect("folder");
    let shipper = dir.path().join("thanos.shipper.json");
    std::fs::write(&shipper, r#"{"version":1,"uploaded":[]}"#).expect("writes");
    let mut truth = Truth::new();
    let db = open(dir.path(), Options { delay_compact_file: Some(shipper.clone()), ..options() });
    eight_hours(&db, &mut truth);
    one_more_block(&db, &mut truth);
    db.maintain(None).expect("maintains");
    assert_eq!(spans(&db), [(0, 2), (2, 4), (4, 6), (6, 8)]);
    let names = serde_json::json!({ "version": 1, "uploaded": ulids(&db) });
    std::fs::write(&shipper, names.to_string()).expect("writes");
    db.maintain(None).expect("maintains");
    assert_eq!(spans(&db), [(0, 6), (6, 8)]);
    assert!(read(&db, TimeRange::ALL) == truth);
}

#[test]
fn overlapping_blocks_can_be_left_to_others() {
    let dir = tempfile::tempdir().expect("folder");
    let mut truth = Truth::new();
    let db = open(dir.path(), Options { overlapping_compaction: false, ..options() });
    ten_hours(&db, &mut truth);
    assert_eq!(spans(&db), [(0, 6), (6, 8)]);
    write(&db, &mut truth, START + 7 * HOUR + 30_000);
    for minute in 600..720 {
        write(&db, &mut truth, START + minute * 60_000);
    }
    db.maintain(None).expect("maintains");
    assert_eq!(spans(&db), [(0, 6), (6, 8), (6, 8), (8, 10)]);
    let hints: Vec<String> = metas(&db).iter().map(|m| m["compaction"]["hints"].to_string()).collect();
    assert!(hints.iter().any(|h| h.contains("from-out-of-order")), "{hints:?} {:?}", spans(&db));
    assert!(read(&db, TimeRange::ALL) == truth);
    drop(db);
    let db = open(dir.path(), options());
    db.maintain(None).expect("maintains");
    let spans = spans(&db);
    assert!(spans.windows(2).all(|w| w[0].1 <= w[1].0), "{spans:?}");
    assert!(read(&db, TimeRange::ALL) == truth);
}

#[test]
fn a_due_head_waits_for_its_delay() {
    let dir = tempfile::tempdir().expect("folder");
    let mut truth = Truth::new();
    // A random share of two hundred hours: as good as never.
    let long = Options { min_block_duration_ms: 2 * HOUR, compaction_delay_percent: 10_000, ..options() };
    let db = open(dir.path(), long);
    for minute in 0..240 {
        write(&db, &mut truth, START + minute * 60_000);
    }
    db.maintain(None).expect("maintains");
    assert!(spans(&db).is_empty());
}

#[test]
fn stale_series_are_compacted_early() {
    let dir = tempfile::tempdir().expect("folder");
    let mut truth = Truth::new();
    let threshold = |share| Options {
        running: Running { stale_series_threshold: share, ..options().running },
        ..options()
    };
    let mut db = open(dir.path(), threshold(0.4));
    for minute in 0..150 {
        write(&db, &mut truth, START + minute * 60_000);
    }
    db.maintain(None).expect("maintains");
    assert!(spans(&db).is_empty(), "nothing is stale");
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let keys: Vec<Vec<u8>> = (0..SERIES / 2).map(|i| storage::key::of_labels(&labels(i))).collect();
    let mut batch = Batch::default();
    for (n, key) in (0..).zip(&keys) {
        batch.samples.push(Sample { t: START + 150 * 60_000, v: stale });
        batch.series.push(BatchSeries {
            id: SeriesId::Key(key),
            samples: n..n + 1,
            histograms: 0..0,
            exemplars: 0..0,
        });
    }
    db.writer().write(&batch, &mut WriteOutcome::default()).expect("written");
    db.maintain(None).expect("maintains");
    assert_eq!(spans(&db), [(0, 2), (2, 4)]);
    assert!(metas(&db).iter().all(|m| m["compaction"]["hints"][0] == "from-stale-series"));
    assert_eq!(db.series_count(), (SERIES / 2) as u64);
    let known = |db: &Db| {
        let mut found = read(db, TimeRange::ALL);
        found.values_mut().for_each(|s| s.retain(|_, v| !v.is_nan()));
        found
    };
    assert!(known(&db) == truth);
    // The log says that they left: a start does not take them up again, whether it has a snapshot or not.
    for head_snapshot in [true, false] {
        drop(db);
        db = open(dir.path(), Options { head_snapshot, ..threshold(0.0) });
        assert_eq!(db.series_count(), (SERIES / 2) as u64, "snapshot: {head_snapshot}");
        assert!(known(&db) == truth, "snapshot: {head_snapshot}");
    }
    // What is deleted from their blocks is gone.
    let first = Matcher::new(MatchOp::Equal, "i", "000").expect("valid");
    db.delete_series(TimeRange::ALL, &[vec![first]]).expect("deletes");
    db.clean_tombstones().expect("cleans");
    truth.remove(&labels(0).to_string());
    drop(db);
    db = open(dir.path(), threshold(0.0));
    assert!(known(&db) == truth, "after a deletion and a restart");
    // Those that return are others to the log, and only what is new is taken up.
    for minute in 151..200 {
        write(&db, &mut truth, START + minute * 60_000);
    }
    drop(db);
    db = open(dir.path(), threshold(0.0));
    assert!(known(&db) == truth, "back again");
    for minute in 200..300 {
        write(&db, &mut truth, START + minute * 60_000);
    }
    db.maintain(None).expect("maintains");
    assert!(known(&db) == truth, "after the head was cut");
    // Checkpoints know it as well.
    drop(db);
    let db = open(dir.path(), threshold(0.0));
    assert!(known(&db) == truth, "from a checkpoint");
}

#[test]
fn a_query_sees_one_state_of_blocks() {
    let dir = tempfile::tempdir().expect("folder");
    let mut truth = Truth::new();
    let db = open(dir.path(), options());
    ten_hours(&db, &mut truth);
    let within = TimeRange::new(START, START + 8 * HOUR - 1);
    truth.values_mut().for_each(|s| s.retain(|t, _| within.contains(*t)));
    let all = [Matcher::new(MatchOp::Equal, "__name__", "m").expect("valid")];
    let querier = db.querier(within).expect("opens");
    let mut set = querier.select(&all, &SelectHints::default()).expect("selects");
    let first = set.next().expect("reads").expect("one");
    db.delete_series(TimeRange::new(START, START + 3 * HOUR), &[all.to_vec()]).expect("deletes");
    db.clean_tombstones().expect("cleans");
    let mut found = Truth::new();
    let mut next = Some(first);
    while let Some(series) = next {
        let mut samples = SampleBuf::default();
        series.read(within, &mut samples).expect("decodes");
        found.insert(series.labels().to_string(), samples.times.into_iter().zip(samples.floats).collect());
        next = set.next().expect("reads");
    }
    assert!(found == truth, "the query goes on as it began");
    truth.values_mut().for_each(|s| s.retain(|t, _| *t > START + 3 * HOUR));
    assert!(read(&db, within) == truth, "a new one sees the deletion");
}
