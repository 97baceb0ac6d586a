//! Tests of the feed: positions, what comes before them, holds.

use super::*;
use crate::wal::{Compression, PAGE_BYTES, RecordBuf, WalOptions, checkpoint, delete_checkpoints};
use model::Labels;
use std::path::Path;
use testkit::FaultyDisk;

const NO_WAIT: Duration = Duration::ZERO;

fn open(disk: &FaultyDisk) -> Wal {
    let options =
        WalOptions { segment_bytes: 2 * PAGE_BYTES as u64, sync_inline: true, ..WalOptions::default() };
    Wal::open(disk.shared(), Path::new("/wal"), options, &Registry::new()).expect("opens")
}

fn feed(wal: &Wal) -> LogFeed {
    LogFeed::new(wal.clone(), Arc::new(|series| series.0 < 1000), &Registry::new())
}

/// Logs series `n` and one sample of it at time `n`, with enough ballast to fill segments.
fn log(wal: &Wal, n: u64) -> Position {
    let mut buf = RecordBuf::new();
    buf.series().push(SeriesRef(n), [("n", format!("{n}").as_str())]);
    buf.samples().push(SeriesRef(n), n as i64, n as f64);
    let mut random = n + 1;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(33 + (random >> 40) as u8 % 90)
    };
    let noise: String = (0..3000).map(|_| next()).collect();
    buf.exemplars().push(SeriesRef(n), n as i64, 1.0, [("noise", noise.as_str())]);
    wal.log(&buf).expect("logs")
}

fn read(reader: &mut dyn FeedReader) -> (Vec<u64>, Vec<i64>, Position) {
    let (mut batch, mut series, mut times) = (FeedBatch::default(), Vec::new(), Vec::new());
    let mut end = Position::default();
    while reader.next(NO_WAIT, &mut batch).expect("reads") {
        series.extend(batch.series.iter().map(|(id, labels)| {
            assert_eq!(*labels, Labels::from_pairs([("n", id.0.to_string())]));
            id.0
        }));
        times.extend(batch.samples.iter().map(|s| s.t));
        assert!(batch.end >= end);
        end = batch.end;
    }
    (series, times, end)
}

#[test]
fn any_position_gives_all_series_and_the_rest_of_the_samples() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk);
    let ends: Vec<Position> = (0..100).map(|n| log(&wal, n)).collect();
    let feed = feed(&wal);
    for (n, end) in ends.iter().enumerate() {
        let mut reader = feed.open(Some(*end)).expect("opens");
        let (series, times, last) = read(&mut *reader);
        assert_eq!(series, (0..100).collect::<Vec<_>>());
        assert_eq!(times, (n as i64 + 1..100).collect::<Vec<_>>(), "from record {n}");
        assert_eq!(last, wal.end());
    }
    let mut reader = feed.open(Some(ends[99])).expect("opens");
    assert!(read(&mut *reader).1.is_empty());
    log(&wal, 500);
    assert_eq!(read(&mut *reader).1, [500]);
    let (series, times, _) = read(&mut *feed.open(None).expect("opens"));
    assert_eq!((series.len(), times.len()), (101, 0));
}

#[test]
fn checkpoints_give_series_and_lost_positions_jump() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk);
    let ends: Vec<Position> = (0..100).map(|n| log(&wal, n)).collect();
    let cut = ends[60].segment;
    let shared = disk.shared();
    checkpoint(&shared, wal.dir(), cut - 1, &mut |_| true, 0, &[], Compression::None).expect("checkpoints");
    wal.truncate(cut).expect("truncates");
    delete_checkpoints(&disk, wal.dir(), cut - 1).expect("deletes");
    let kept = ends.iter().filter(|e| e.segment >= cut).count();
    let registry = Registry::new();
    let feed = LogFeed::new(wal.clone(), Arc::new(|_| true), &registry);
    let (series, times, _) = read(&mut *feed.open(Some(ends[80])).expect("opens"));
    assert_eq!((series.len(), times.len()), (100, 19));
    let (series, times, _) = read(&mut *feed.open(Some(ends[3])).expect("opens"));
    assert_eq!((series.len(), times.len()), (100, kept));
    let jumps = registry.snapshot().into_iter().find(|f| f.name == "pyrrha_wal_feed_jumps_total");
    assert_eq!(jumps.map(|f| f.points[0].value), Some(1.0));
}

#[test]
fn waits_for_records_and_ends_when_closed() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk);
    let feed = feed(&wal);
    let mut reader = feed.open(None).expect("opens");
    let thread = std::thread::spawn(move || {
        let mut batch = FeedBatch::default();
        let first = reader.next(Duration::from_secs(60), &mut batch).expect("reads");
        assert!(first && batch.samples.len() == 1);
        reader.next(Duration::from_secs(60), &mut batch).expect("reads")
    });
    log(&wal, 7);
    // The second wait ends with the log, long before its minute.
    wal.close().expect("closes");
    assert!(!thread.join().expect("ends"));
}

#[test]
fn holds_and_backlog() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk);
    let feed = feed(&wal);
    assert_eq!(feed.min_hold(), None);
    let ends: Vec<Position> = (0..60).map(|n| log(&wal, n)).collect();
    feed.hold("a", ends[50]);
    feed.hold("b", ends[10]);
    feed.hold("b", ends[20]);
    assert_eq!(feed.min_hold(), Some(ends[20]));
    assert_eq!(feed.held_below(ends[30]), ["b"]);
    feed.release("b");
    assert_eq!(feed.min_hold(), Some(ends[50]));
    assert_eq!(feed.backlog_bytes(ends[59]), 0);
    assert!(feed.backlog_bytes(ends[0]) > feed.backlog_bytes(ends[30]));
    assert!(feed.is_live(SeriesRef(1)) && !feed.is_live(SeriesRef(1000)));
}
