//! The head against a map: random appends, late ones, duplicates, restarts and crashes.

use model::{Sample, TimeRange};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use storage::{Batch, BatchSeries, Queryable, SelectHints, SeriesId, WriteOutcome, WriterSource, key};
use testkit::{FaultyDisk, Loss};
use tsdb::{Db, Options, ReplayHandle, Running, read_all};

const SERIES: usize = 5;
const WINDOW: i64 = 3_600_000;

#[derive(Clone, Debug)]
enum Op {
    /// Rows of (series, step in seconds from the newest time, number of samples).
    Write {
        rows: Vec<(usize, i64, u8)>,
        reject_late: bool,
    },
    Restart,
    Close,
    Truncate,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let step = prop_oneof![8 => 0..120i64, 3 => -4000..0i64, 1 => 0..8000i64];
    let row = (0..SERIES, step, 1..40u8);
    let write = (prop::collection::vec(row, 1..6), prop::bool::weighted(0.1))
        .prop_map(|(rows, reject_late)| Op::Write { rows, reject_late });
    prop::collection::vec(
        prop_oneof![20 => write, 2 => Just(Op::Restart), 1 => Just(Op::Close), 1 => Just(Op::Truncate)],
        1..60,
    )
}

type Rows = BTreeMap<i64, f64>;
/// Samples with their series.
type Sent = Vec<(usize, Sample)>;

fn open(disk: &FaultyDisk) -> Result<Db, tsdb::OpenError> {
    let running = Running { out_of_order_window_ms: WINDOW, ..Running::default() };
    let options = Options { running, no_lockfile: true, wal_segment_bytes: 1 << 15, ..Options::default() };
    Db::open(disk.shared(), Path::new("/data"), options, &meter::Registry::new(), ReplayHandle::default())
}

fn key_of(series: usize) -> Vec<u8> {
    let mut out = Vec::new();
    key::push_label(&mut out, "__name__", "m");
    key::push_label(&mut out, "series", &series.to_string());
    out
}

fn read(db: &Db) -> Vec<Rows> {
    let querier = db.querier(TimeRange::ALL).unwrap();
    let mut set = querier.select(&[], &SelectHints::default()).unwrap();
    let mut out = vec![Rows::new(); SERIES];
    while let Some(series) = set.next().unwrap() {
        let at: usize = series.labels().value("series").parse().unwrap();
        let buf = read_all(&*series).unwrap();
        assert!(buf.times.is_sorted_by(|a, b| a < b), "times are sorted and unique");
        out[at] = buf.times.into_iter().zip(buf.floats).collect();
        let mut chunks = storage::SampleBuf::default();
        for chunk in series.chunks(TimeRange::ALL).unwrap() {
            chunk::xor::decode(&chunk.data, &mut chunks.times, &mut chunks.floats).unwrap();
        }
        let chunks: Rows = chunks.times.into_iter().zip(chunks.floats).collect();
        assert_eq!(chunks, out[at], "chunks hold what reading gives");
    }
    out
}

/// Samples that are only in the first, and only in the second.
fn difference(a: &[Rows], b: &[Rows]) -> [Vec<(usize, i64, f64)>; 2] {
    [(a, b), (b, a)].map(|(a, b)| {
        let rows = a.iter().enumerate().flat_map(|(n, rows)| rows.iter().map(move |(t, v)| (n, *t, *v)));
        rows.filter(|(n, t, v)| b[*n].get(t) != Some(v)).collect()
    })
}

/// One batch; samples that may be there, and those that must.
fn write(
    db: &Db,
    rows: &[(usize, i64, u8)],
    reject_late: bool,
    now: &mut i64,
    value: &mut f64,
) -> (Sent, Option<Sent>) {
    let mut writer = db.writer();
    let keys: Vec<Vec<u8>> = rows.iter().map(|(series, ..)| key_of(*series)).collect();
    let mut batch = Batch { reject_out_of_order: reject_late, ..Batch::default() };
    let mut owners = Vec::new();
    let mut newest = *now;
    for ((series, step, count), key) in rows.iter().zip(&keys) {
        let from = batch.samples.len() as u32;
        for i in 0..i64::from(*count) {
            *value += 1.0;
            let t = *now + step * 1000 + i * 1000;
            newest = newest.max(t);
            batch.samples.push(Sample { t, v: *value });
            owners.push(*series);
        }
        let samples = from..batch.samples.len() as u32;
        batch.series.push(BatchSeries { id: SeriesId::Key(key), samples, histograms: 0..0, exemplars: 0..0 });
    }
    let all: Vec<(usize, Sample)> = owners.into_iter().zip(batch.samples.iter().copied()).collect();
    let mut outcome = WriteOutcome::default();
    if writer.write(&batch, &mut outcome).is_err() {
        return (all, None);
    }
    *now = newest;
    let refused: std::collections::HashSet<u32> = outcome.rejected.iter().map(|r| r.row).collect();
    assert_eq!(outcome.samples as usize + refused.len(), all.len());
    let kept = all.iter().enumerate().filter(|(at, _)| !refused.contains(&(*at as u32)));
    let kept = kept.map(|(_, s)| *s).collect();
    (all, Some(kept))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_map(ops in ops()) {
        let disk = FaultyDisk::new(1);
        let mut db = open(&disk).unwrap();
        let mut model = vec![Rows::new(); SERIES];
        let (mut now, mut value) = (1_700_000_000_000i64, 0.0);
        for op in ops {
            match op {
                Op::Write { rows, reject_late } => {
                    let (_, kept) = write(&db, &rows, reject_late, &mut now, &mut value);
                    for (series, s) in kept.unwrap() {
                        model[series].entry(s.t).or_insert(s.v);
                    }
                }
                Op::Restart => {
                    drop(db);
                    db = open(&disk).unwrap();
                }
                Op::Close => {
                    db.close().unwrap();
                    drop(db);
                    db = open(&disk).unwrap();
                }
                // A cut before everything: checkpoints and segments go, samples stay.
                Op::Truncate => db.truncate(1_600_000_000_000, None).unwrap(),
            }
            prop_assert_eq!(&read(&db), &model);
        }
    }

    #[test]
    fn acknowledged_samples_survive_crashes(ops in ops(), crash in 1..400u64, power in any::<bool>(), seed in any::<u64>()) {
        let disk = FaultyDisk::new(seed);
        disk.crash_at(crash);
        let mut sure = vec![Rows::new(); SERIES];
        let mut sent: Vec<(usize, Sample)> = Vec::new();
        let (mut now, mut value) = (1_700_000_000_000i64, 0.0);
        if let Ok(mut db) = open(&disk) {
            for op in ops {
                match op {
                    Op::Write { rows, reject_late } => {
                        let (all, kept) = write(&db, &rows, reject_late, &mut now, &mut value);
                        sent.extend(all);
                        match kept {
                            Some(kept) => for (series, s) in kept {
                                sure[series].entry(s.t).or_insert(s.v);
                            },
                            None => break,
                        }
                    }
                    Op::Restart | Op::Close => {
                        drop(db);
                        match open(&disk) {
                            Ok(again) => db = again,
                            Err(_) => break,
                        }
                    }
                    Op::Truncate => if db.truncate(1_600_000_000_000, None).is_err() { break },
                }
            }
        }
        let disk = disk.reboot(if power { Loss::Power } else { Loss::Kill });
        let db = open(&disk).unwrap();
        let found = read(&db);
        // A power cut may take a sample and leave a later duplicate of other value, which was kept aside.
        for (series, rows) in found.iter().enumerate() {
            for (t, v) in rows {
                let known = if power { None } else { sure[series].get(t) };
                let possible = match known {
                    Some(known) => known == v,
                    None => sent.iter().any(|(of, s)| *of == series && s.t == *t && s.v == *v),
                };
                prop_assert!(possible, "series {} has {} at {} from nowhere", series, v, t);
            }
        }
        if !power {
            for (series, rows) in sure.iter().enumerate() {
                for (t, v) in rows {
                    prop_assert_eq!(found[series].get(t), Some(v), "series {} lost {}", series, t);
                }
            }
        }
        // What was found once is found again.
        drop(db);
        let again = read(&open(&disk).unwrap());
        prop_assert!(again == found, "lost or won by a second start: {:?}", difference(&found, &again));
    }
}

#[test]
fn disk_full_is_refused_and_passes() {
    let disk = FaultyDisk::new(7);
    let db = open(&disk).unwrap();
    let (mut now, mut value) = (1_700_000_000_000i64, 0.0);
    let mut model = vec![Rows::new(); SERIES];
    for round in 0..60 {
        disk.set_budget((round % 3 == 1).then_some(10));
        let (_, kept) = write(&db, &[(round % SERIES, 1, 5)], false, &mut now, &mut value);
        assert_eq!(kept.is_none(), round % 3 == 1);
        for (series, s) in kept.unwrap_or_default() {
            model[series].insert(s.t, s.v);
        }
    }
    assert_eq!(read(&db), model);
    drop(db);
    assert_eq!(read(&open(&disk).unwrap()), model);
}
