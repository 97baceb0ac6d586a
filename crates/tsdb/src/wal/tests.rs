//! Tests of the log: round trips, damage at every offset, failing disks, crashes.

use super::*;
use disk::Disk;
use meter::Registry;
use model::{Labels, Metadata, MetricType, TimeRange};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::SeriesRef;
use storage::feed::FeedSample;
use testkit::{FaultyDisk, Loss};

const DIR: &str = "/data/wal";

fn dir() -> &'static Path {
    Path::new(DIR)
}

fn options() -> WalOptions {
    WalOptions { segment_bytes: 4 * PAGE_BYTES as u64, sync_inline: true, ..WalOptions::default() }
}

fn open(disk: &FaultyDisk, options: WalOptions) -> Wal {
    Wal::open(disk.shared(), dir(), options, &Registry::new()).expect("opens")
}

/// A samples record that names itself by `n` and is about `len` bytes long without compression.
fn record(n: u64, len: usize) -> RecordBuf {
    let mut buf = RecordBuf::new();
    let mut samples = buf.samples();
    for i in 0..(len / 10).max(1) as u64 {
        // Values that do not compress.
        samples.push(SeriesRef(n), i as i64, f64::from_bits((n + i).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }
    drop(samples);
    buf
}

/// The numbers of the records in all segments, and the damage.
fn read_all(disk: &FaultyDisk) -> (Vec<u64>, Vec<Damage>) {
    let disk = disk.shared();
    let mut reader = LogReader::new(disk.clone(), segments(&*disk, dir()).expect("lists"));
    let (mut numbers, mut samples) = (Vec::new(), Vec::new());
    while let Some(raw) = reader.next().expect("reads") {
        // A torn header and zeros behind it look like an empty record, which is nothing.
        if raw.data.is_empty() {
            continue;
        }
        samples.clear();
        record::samples(raw.data, &mut samples, &mut Vec::new()).expect("decodes");
        numbers.extend(samples.first().map(|s| s.series.0));
    }
    (numbers, reader.into_damage())
}

#[test]
fn logs_and_reads_over_segments() {
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let disk = FaultyDisk::new(1);
        let wal = open(&disk, WalOptions { compression, ..options() });
        let mut end = wal.end();
        for n in 0..200 {
            let next = wal.log(&record(n, (n as usize * 997) % 40_000)).expect("logs");
            assert!(next > end);
            end = next;
        }
        assert_eq!(wal.end(), end);
        assert!(end.segment > 3);
        wal.close().expect("closes");
        assert!(matches!(wal.log(&record(1, 10)), Err(WalError::Closed)));
        assert_eq!(read_all(&disk), ((0..200).collect(), vec![]));
        let wal = open(&disk, options());
        assert_eq!(wal.end(), Position { segment: end.segment + 1, offset: 0 });
    }
}

#[test]
fn one_call_stays_in_one_segment() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk, WalOptions { compression: Compression::None, ..options() });
    wal.log(&record(1, 1000)).expect("logs");
    let mut big = record(2, 4 * PAGE_BYTES);
    big.raw(&[2]);
    big.samples().push(SeriesRef(3), 0, 0.0);
    let mut huge = RecordBuf::new();
    for r in record(4, 9 * PAGE_BYTES).iter() {
        huge.raw(r);
    }
    assert_eq!(wal.log(&big).expect("logs").segment, 1);
    assert_eq!(wal.log(&huge).expect("logs").segment, 2);
    assert_eq!(wal.log(&record(5, 10)).expect("logs").segment, 3);
    assert_eq!(read_all(&disk).0, [1, 2, 3, 4, 5]);
}

#[test]
fn cut_and_truncate() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk, options());
    wal.log(&record(1, 10)).expect("logs");
    assert_eq!(wal.cut().expect("cuts"), 1);
    assert_eq!(wal.cut().expect("cuts"), 2);
    wal.log(&record(2, 10)).expect("logs");
    wal.truncate(2).expect("truncates");
    assert_eq!(read_all(&disk).0, [2]);
    wal.truncate(99).expect("keeps the active segment");
    wal.log(&record(3, 10)).expect("logs");
    assert_eq!(read_all(&disk).0, [2, 3]);
}

#[test]
fn every_record_type_round_trips() {
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "a"), ("é", "ü")]);
    let metadata = Metadata { kind: MetricType::Counter, unit: "s".into(), help: "h\n".into() };
    let mut buf = RecordBuf::new();
    let mut series = buf.series();
    series.push(SeriesRef(7), &labels);
    series.push(SeriesRef(u64::MAX), &Labels::empty());
    drop(series);
    buf.exemplars().push(SeriesRef(7), -5, 1.5, &labels);
    buf.metadata().push(SeriesRef(7), &metadata);
    buf.tombstones().push(SeriesRef(7), i64::MIN, i64::MAX);
    buf.mmap_markers().push(SeriesRef(7), 9);
    drop(buf.samples());
    let records: Vec<&[u8]> = buf.iter().collect();
    assert_eq!(records.len(), 5);

    let mut got = Vec::new();
    record::series(records[0], |series, l| got.push((series, l.to_labels()))).expect("decodes");
    assert_eq!(got, [(SeriesRef(7), labels.clone()), (SeriesRef(u64::MAX), Labels::empty())]);
    let mut exemplars = Vec::new();
    record::exemplars(records[1], &mut exemplars).expect("decodes");
    assert_eq!((exemplars[0].t, exemplars[0].v, &exemplars[0].labels), (-5, 1.5, &labels));
    let mut got = Vec::new();
    record::metadata(records[2], &mut got).expect("decodes");
    assert_eq!(got, [(SeriesRef(7), metadata)]);
    let mut got = Vec::new();
    record::tombstones(records[3], &mut got).expect("decodes");
    assert_eq!(got, [Tombstone { series: SeriesRef(7), range: model::TimeRange::ALL }]);
    let mut got = Vec::new();
    record::mmap_markers(records[4], &mut got).expect("decodes");
    assert_eq!(got, [(SeriesRef(7), 9)]);
}

#[test]
fn torn_tail_at_every_offset() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk, WalOptions { compression: Compression::None, ..options() });
    let mut ends = vec![0];
    for n in 0..4 {
        ends.push(wal.log(&record(n, 40)).expect("logs").offset);
    }
    let long = wal.log(&record(4, 3 * PAGE_BYTES / 2)).expect("logs").offset;
    ends.push(long);
    let path = dir().join(segment_name(0));
    let whole = disk.read(&path, u64::MAX).expect("reads");
    let offsets = (0..=ends[4]).chain((ends[4]..long).step_by(2_003)).chain([long]);
    for cut in offsets {
        let kept = ends.iter().filter(|end| **end <= cut).count() as u64 - 1;
        for garbage in [0, 1] {
            disk.corrupt(&path, |bytes| {
                *bytes = whole[..cut as usize].to_vec();
                if garbage == 1 {
                    bytes.resize(whole.len().max(PAGE_BYTES * 2), 0);
                }
            });
            let (numbers, damage) = read_all(&disk);
            assert_eq!(numbers, (0..kept).collect::<Vec<_>>(), "cut at {cut}, garbage {garbage}");
            if !(ends.contains(&cut) || garbage == 1 && damage.is_empty()) {
                assert!(damage.len() == 1 && damage[0].torn, "cut at {cut}: {damage:?}");
                quarantine_all(&disk, dir(), &damage).expect("repairs");
                let (numbers, damage) = read_all(&disk);
                assert_eq!((numbers.len() as u64, damage), (kept, vec![]), "cut at {cut}");
            }
        }
    }
}

#[test]
fn damage_costs_only_what_it_touches() {
    let disk = FaultyDisk::new(1);
    let wal = open(
        &disk,
        WalOptions { segment_bytes: 64 * PAGE_BYTES as u64, compression: Compression::None, ..options() },
    );
    let mut places = Vec::new();
    for n in 0..60 {
        let from = wal.end().offset;
        let to = wal.log(&record(n, (n as usize * 7919) % 50_000 + 20)).expect("logs").offset;
        places.push((from, to));
    }
    let path = dir().join(segment_name(0));
    let whole = disk.read(&path, u64::MAX).expect("reads");
    for at in (0..whole.len() - 3 * PAGE_BYTES).step_by(41_011) {
        disk.corrupt(&path, |bytes| {
            bytes.clone_from(&whole);
            bytes[at] ^= 0xff;
        });
        let page = at as u64 / PAGE_BYTES as u64 * PAGE_BYTES as u64;
        let (numbers, damage) = read_all(&disk);
        for (n, (from, to)) in places.iter().enumerate() {
            let touches_rest_of_page = *to > at as u64 && *from < page + PAGE_BYTES as u64;
            let found = numbers.contains(&(n as u64));
            assert!(found || touches_rest_of_page, "record {n} lost by damage at {at}");
            assert!(damage.is_empty() || !(found && *from <= at as u64 && (at as u64) < *to));
        }
        if damage.is_empty() {
            continue;
        }
        let kept = quarantine(&disk, &path, &damage).expect("repairs");
        assert_eq!(disk.meta(&path).expect("is there").len, whole.len() as u64);
        assert!(disk.exists(&kept));
        assert_eq!(read_all(&disk), (numbers, vec![]), "damage at {at}");
    }
    let kept = disk.list(dir()).expect("lists").iter().filter(|e| e.name.ends_with(".corrupt")).count();
    assert!(kept <= 8, "{kept} files kept");
}

#[test]
fn failed_writes_leave_no_trace() {
    for op in 1..20 {
        let disk = FaultyDisk::new(op);
        let wal = open(&disk, options());
        let start = disk.ops();
        disk.fail_ops([start + op, start + op + 1, start + op + 5]);
        let mut acknowledged = Vec::new();
        for n in 0..30 {
            if wal.log(&record(n, 9000)).is_ok() {
                acknowledged.push(n);
            }
        }
        assert!(acknowledged.len() >= 26);
        assert_eq!(read_all(&disk), (acknowledged, vec![]), "failing operation {op}");
    }
}

#[test]
fn full_disk_recovers_when_space_returns() {
    let disk = FaultyDisk::new(3);
    let wal = open(&disk, options());
    disk.set_budget(Some(100_000));
    let mut acknowledged = Vec::new();
    for n in 0..20 {
        match wal.log(&record(n, 9000)) {
            Ok(_) => acknowledged.push(n),
            Err(WalError::Disk(e)) => assert!(e.is_no_space()),
            Err(e) => panic!("{e}"),
        }
    }
    assert!(acknowledged.len() > 5 && acknowledged.len() < 15);
    disk.set_budget(None);
    for n in 20..40 {
        wal.log(&record(n, 9000)).expect("logs again");
        acknowledged.push(n);
    }
    assert_eq!(read_all(&disk), (acknowledged, vec![]));
}

/// Crashes after each operation; what was acknowledged must be there, in order, before what was not.
fn crash(loss: Loss, fsync: bool, seed: u64) {
    for op in 1..120 {
        let disk = FaultyDisk::new(op * 77 + seed);
        disk.crash_at(op);
        let options = WalOptions { fsync, ..options() };
        let mut acknowledged = Vec::new();
        if let Ok(wal) = Wal::open(disk.shared(), dir(), options.clone(), &Registry::new()) {
            for n in 0..60 {
                if wal.log(&record(n, 5000)).is_ok() {
                    acknowledged.push(n);
                }
            }
        }
        for round in 0..3 {
            let disk = disk.reboot(loss);
            let (numbers, damage) = read_all(&disk);
            let sure = acknowledged.len();
            assert!(numbers.len() >= sure && numbers[..sure] == acknowledged, "op {op}, round {round}");
            assert!(numbers.len() <= sure + 1);
            quarantine_all(&disk, dir(), &damage).expect("repairs");
            assert_eq!(read_all(&disk), (numbers.clone(), vec![]));
            let wal = open(&disk, options.clone());
            wal.log(&record(1000, 10)).expect("logs after the crash");
            let mut want = numbers;
            want.push(1000);
            assert_eq!(read_all(&disk), (want, vec![]));
        }
    }
}

#[test]
fn acknowledged_records_survive_kill() {
    crash(Loss::Kill, false, 1);
}

#[test]
fn acknowledged_records_survive_power_loss_with_fsync() {
    crash(Loss::Power, true, 1);
}

#[test]
#[ignore = "minutes; run it after changing the writer or the reader"]
fn crashes_with_many_seeds() {
    for seed in 2..20 {
        crash(Loss::Kill, false, seed * 1_000_003);
        crash(Loss::Power, true, seed * 1_000_003);
    }
}

#[test]
fn concurrent_writers_share_commits() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk, options());
    let before = disk.ops();
    std::thread::scope(|scope| {
        for writer in 0..8u64 {
            let wal = wal.clone();
            scope.spawn(move || {
                for i in 0..100 {
                    wal.log(&record(writer * 1000 + i, 300)).expect("logs");
                }
            });
        }
    });
    assert!(disk.ops() > before);
    let (numbers, damage) = read_all(&disk);
    assert!(damage.is_empty());
    for writer in 0..8 {
        let own: Vec<u64> = numbers.iter().copied().filter(|n| n / 1000 == writer).collect();
        assert_eq!(own, (writer * 1000..writer * 1000 + 100).collect::<Vec<_>>());
    }
}

#[test]
fn tail_follows_a_writer() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk, options());
    let mut tail = Tail::new(&wal, wal.end());
    let writer = {
        let wal = wal.clone();
        std::thread::spawn(move || {
            for n in 0..300 {
                wal.log(&record(n, (n as usize * 131) % 3000)).expect("logs");
                if n % 50 == 0 {
                    wal.cut().expect("cuts");
                }
            }
        })
    };
    let (mut numbers, mut samples) = (Vec::<u64>::new(), Vec::<FeedSample>::new());
    while numbers.len() < 300 {
        tail.wait(Duration::from_secs(10));
        while let Some((raw, _)) = tail.next().expect("reads") {
            samples.clear();
            record::samples(raw, &mut samples, &mut Vec::new()).expect("decodes");
            numbers.push(samples[0].series.0);
        }
    }
    writer.join().expect("ends");
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    assert_eq!(tail.position(), wal.end());
    assert_eq!(tail.take_losses(), Losses::default());
}

#[test]
fn tail_resumes_at_any_record_and_jumps_over_gaps() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk, options());
    let ends: Vec<Position> = (0..100).map(|n| wal.log(&record(n, 5000)).expect("logs")).collect();
    wal.close().expect("closes");
    let wal = open(&disk, options());
    wal.log(&record(100, 10)).expect("logs");
    let next = |tail: &mut Tail| {
        let mut samples = Vec::new();
        let (raw, _) = tail.next().expect("reads")?;
        record::samples(raw, &mut samples, &mut Vec::new()).expect("decodes");
        Some(samples[0].series.0)
    };
    for (n, end) in ends.iter().enumerate() {
        let mut tail = Tail::new(&wal, *end);
        assert_eq!(next(&mut tail), Some(n as u64 + 1));
    }
    let kept = ends[50].segment;
    wal.truncate(kept).expect("truncates");
    let first = ends.iter().position(|end| end.segment == kept).expect("is there") as u64;
    for from in [ends[0], Position { segment: 9999, offset: 5 }] {
        let mut tail = Tail::new(&wal, from);
        assert_eq!(next(&mut tail), Some(first));
        assert_eq!(tail.take_losses().jumped, 1);
    }
}

#[test]
fn checkpoint_keeps_what_must_survive() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk, options());
    let labels = Labels::from_pairs([("a", "b")]);
    let shared: Arc<dyn Disk> = disk.shared();
    for round in 0..3i64 {
        let mut buf = RecordBuf::new();
        for id in 0..10 {
            buf.series().push(SeriesRef(round as u64 * 10 + id), &labels);
        }
        let mut samples = buf.samples();
        for t in round * 100..round * 100 + 100 {
            samples.push(SeriesRef(round as u64 * 10), t, 1.0);
        }
        drop(samples);
        buf.tombstones().push(SeriesRef(2), 0, 50 + round * 100);
        let metadata = Metadata { help: format!("{round}"), ..Metadata::default() };
        buf.metadata().push(SeriesRef(2), &metadata);
        let histogram =
            model::FloatHistogram { count: 3.0, positive_buckets: vec![1.0, 2.0], ..Default::default() };
        buf.histograms(
            false,
            [HistogramEntry {
                series: SeriesRef(2),
                t: round * 100,
                start: 0,
                integer: false,
                histogram: &histogram,
            }],
        );
        wal.log(&buf).expect("logs");
        let done = wal.cut().expect("cuts") - 1;
        let mut keep = |series: SeriesRef| series.0.is_multiple_of(2);
        // One deletion does not count any more, one is of a series that goes, one of a series that comes in a later segment.
        let stone =
            |series| Tombstone { series: SeriesRef(series), range: TimeRange::new(0, 50 + round * 100) };
        let standing = if round == 0 { vec![] } else { vec![stone(2), stone(3), stone(100)] };
        let stats = checkpoint(&shared, dir(), done, &mut keep, 150, &standing, Compression::Snappy)
            .expect("checkpoints");
        wal.truncate(done + 1).expect("truncates");
        delete_checkpoints(&disk, dir(), done).expect("deletes");
        assert_eq!(stats.damaged, 0);
        assert_eq!(stats.total_metadata, if round == 0 { 1 } else { 2 });
    }
    let last = last_checkpoint(&disk, dir()).expect("lists").expect("is there");
    assert_eq!(last.number, 2);
    let mut reader = LogReader::new(shared.clone(), segments(&disk, &last.path).expect("lists"));
    let (mut series, mut samples, mut stones, mut meta, mut hist) = (0, vec![], vec![], vec![], vec![]);
    while let Some(raw) = reader.next().expect("reads") {
        match RecordType::of(raw.data) {
            Some(RecordType::Series) => record::series(raw.data, |_, _| series += 1).expect("decodes"),
            Some(RecordType::Samples) => {
                record::samples(raw.data, &mut samples, &mut Vec::new()).expect("decodes")
            }
            Some(RecordType::Tombstones) => record::tombstones(raw.data, &mut stones).expect("decodes"),
            Some(RecordType::Metadata) => record::metadata(raw.data, &mut meta).expect("decodes"),
            Some(RecordType::FloatHistograms) => {
                assert_eq!(record::histograms(raw.data, &mut hist), Ok(0))
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((series, samples.len(), stones.len(), hist.len()), (15, 150, 1, 1));
    assert_eq!(stones[0].range, TimeRange::new(0, 250));
    assert_eq!((meta.len(), meta[0].1.help.as_str()), (1, "2"));
    assert_eq!(hist[0].histogram.positive_buckets, [1.0, 2.0]);
}

/// What a start makes of it depends on the order: the series leaves before it is there again.
#[test]
fn checkpoints_keep_departures_in_their_place() {
    let disk = FaultyDisk::new(1);
    let wal = open(&disk, options());
    let labels = Labels::from_pairs([("a", "b")]);
    for id in [1u64, 2, 3] {
        let mut buf = RecordBuf::new();
        buf.series().push(SeriesRef(id), &labels);
        buf.samples().push(SeriesRef(id), id as i64, 1.0);
        buf.tombstones().push(SeriesRef(id), i64::MIN, i64::MAX);
        buf.tombstones().push(SeriesRef(id), 0, 1);
        wal.log(&buf).expect("logs");
    }
    let done = wal.cut().expect("cuts") - 1;
    let mut keep = |series: SeriesRef| series.0 != 2;
    let shared: Arc<dyn Disk> = disk.shared();
    checkpoint(&shared, dir(), done, &mut keep, 0, &[], Compression::None).expect("checkpoints");
    let last = last_checkpoint(&disk, dir()).expect("lists").expect("is there");
    let mut reader = LogReader::new(shared, segments(&disk, &last.path).expect("lists"));
    let mut found = Vec::new();
    while let Some(raw) = reader.next().expect("reads") {
        match RecordType::of(raw.data) {
            Some(RecordType::Series) => {
                record::series(raw.data, |series, _| found.push(format!("{} comes", series.0)))
                    .expect("decodes")
            }
            Some(RecordType::Tombstones) => {
                let mut stones = Vec::new();
                record::tombstones(raw.data, &mut stones).expect("decodes");
                assert!(!stones.is_empty() && stones.iter().all(Tombstone::is_departure), "{stones:?}");
                found.extend(stones.iter().map(|t| format!("{} leaves", t.series.0)));
            }
            _ => {}
        }
    }
    assert_eq!(found, ["1 comes", "1 leaves", "3 comes", "3 leaves"]);
}

#[test]
fn crashing_checkpoints_lose_nothing() {
    for op in 1..60 {
        let disk = FaultyDisk::new(op);
        let wal = open(&disk, WalOptions { fsync: true, ..options() });
        for n in 0..50 {
            wal.log(&record(n, 3000)).expect("logs");
        }
        let done = wal.cut().expect("cuts") - 1;
        disk.crash_at(disk.ops() + op);
        let shared: Arc<dyn Disk> = disk.shared();
        if checkpoint(&shared, dir(), done, &mut |_| true, 0, &[], Compression::None).is_ok() {
            let _ = wal.truncate(done + 1);
        }
        let disk = disk.reboot(Loss::Power);
        let shared: Arc<dyn Disk> = disk.shared();
        let checkpoint = last_checkpoint(&disk, dir()).expect("lists");
        let mut sources = Vec::new();
        let mut from = 0;
        if let Some(checkpoint) = checkpoint {
            sources = segments(&disk, &checkpoint.path).expect("lists");
            from = checkpoint.number + 1;
        }
        sources.extend(segments(&disk, dir()).expect("lists").into_iter().filter(|s| s.number >= from));
        let mut reader = LogReader::new(shared, sources);
        let mut found = std::collections::BTreeSet::new();
        while let Some(raw) = reader.next().expect("reads") {
            let mut samples = Vec::new();
            record::samples(raw.data, &mut samples, &mut Vec::new()).expect("decodes");
            found.extend(samples.iter().map(|s| s.series.0));
        }
        assert_eq!(found, (0..50).collect(), "crash at operation {op}");
    }
}

proptest! {
    #[test]
    fn samples_round_trip(rows in prop::collection::vec((any::<u64>(), any::<i64>(), any::<u64>()), 0..50)) {
        let mut buf = RecordBuf::new();
        let mut out = buf.samples();
        for (series, t, v) in &rows {
            out.push(SeriesRef(*series), *t, f64::from_bits(*v));
        }
        drop(out);
        let mut got = Vec::new();
        for record in buf.iter() {
            record::samples(record, &mut got, &mut Vec::new()).expect("decodes");
        }
        let got: Vec<_> = got.iter().map(|s| (s.series.0, s.t, s.v.to_bits())).collect();
        prop_assert_eq!(got, rows);
    }

    #[test]
    fn hostile_records_end_in_peace(kind in 1u8..15, body in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut bytes = vec![kind];
        bytes.extend(body);
        let _ = record::series(&bytes, |_, l| drop(l.to_labels()));
        let _ = record::samples(&bytes, &mut Vec::new(), &mut Vec::new());
        let _ = record::exemplars(&bytes, &mut Vec::new());
        let _ = record::metadata(&bytes, &mut Vec::new());
        let _ = record::tombstones(&bytes, &mut Vec::new());
        let _ = record::mmap_markers(&bytes, &mut Vec::new());
        let _ = record::histograms(&bytes, &mut Vec::new());
    }

    #[test]
    fn hostile_segments_end_in_peace(bytes in prop::collection::vec(prop_oneof![Just(0u8), 0u8..5, any::<u8>()], 0..3000)) {
        let disk = FaultyDisk::new(1);
        drop(open(&disk, options()));
        disk.corrupt(&dir().join(segment_name(0)), |b| *b = bytes.clone());
        let shared: Arc<dyn Disk> = disk.shared();
        let mut reader = LogReader::new(shared, segments(&disk, dir()).expect("lists"));
        while reader.next().expect("reads").is_some() {}
        let damage = reader.into_damage();
        quarantine_all(&disk, dir(), &damage).expect("repairs");
    }
}
