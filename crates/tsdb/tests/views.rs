//! A querier sees whole batches, and one state in all its selections.

use model::{Matcher, Sample, TimeRange};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use storage::{
    Batch, BatchSeries, Queryable, SampleBuf, SelectHints, SeriesId, WriteOutcome, WriterSource, key,
};
use testkit::FaultyDisk;
use tsdb::{Db, Options, ReplayHandle};

const WRITERS: usize = 2;
/// Of one writer, spread over several pages of the head.
const SERIES: usize = 9000;
/// Those that a batch has.
const STEP: usize = 60;
const START: i64 = 1_700_000_000_000;

fn keys(writer: usize) -> Vec<Vec<u8>> {
    let key = |series: usize| {
        let mut out = Vec::new();
        key::push_label(&mut out, "__name__", if series.is_multiple_of(STEP) { "watched" } else { "filler" });
        key::push_label(&mut out, "series", &series.to_string());
        key::push_label(&mut out, "writer", &writer.to_string());
        out
    };
    (0..SERIES).map(key).collect()
}

fn write(db: &Db, keys: &[&[u8]], t: i64) {
    let mut batch = Batch::default();
    for (at, key) in keys.iter().enumerate() {
        batch.samples.push(Sample { t, v: t as f64 });
        let samples = at as u32..at as u32 + 1;
        batch.series.push(BatchSeries { id: SeriesId::Key(key), samples, histograms: 0..0, exemplars: 0..0 });
    }
    let mut outcome = WriteOutcome::default();
    db.writer().write(&batch, &mut outcome).unwrap();
    assert!(outcome.rejected.is_empty());
}

/// Newest times of all series that a selection shows, each read through `chunks` or not.
fn newest(querier: &dyn storage::Querier, writer: usize, chunks: bool) -> Vec<i64> {
    let matchers = [Matcher::equal("__name__", "watched"), Matcher::equal("writer", writer.to_string())];
    let mut set = querier.select(&matchers, &SelectHints::default()).unwrap();
    let mut out = Vec::new();
    while let Some(series) = set.next().unwrap() {
        let mut buf = SampleBuf::default();
        if chunks {
            for chunk in series.chunks(TimeRange::ALL).unwrap() {
                chunk::decode(chunk.encoding, &chunk.data, &mut buf.columns()).unwrap();
            }
        } else {
            series.read(TimeRange::ALL, &mut buf).unwrap();
        }
        out.extend(buf.times.last());
    }
    out
}

#[test]
fn batches_are_seen_as_a_whole() {
    let disk = FaultyDisk::new(1);
    let options = Options { no_lockfile: true, samples_per_chunk: 20, ..Options::default() };
    let db = Db::open(
        disk.shared(),
        Path::new("/data"),
        options,
        &meter::Registry::new(),
        ReplayHandle::default(),
    )
    .unwrap();
    let all: Vec<Vec<Vec<u8>>> = (0..WRITERS).map(keys).collect();
    for keys in &all {
        write(&db, &keys.iter().map(Vec::as_slice).collect::<Vec<_>>(), START);
    }
    let stop = AtomicBool::new(false);
    // Batches that writers may have written: a few for each look, so that they go on all the time and end in time.
    let allowed = AtomicI64::new(20);
    std::thread::scope(|scope| {
        for keys in &all {
            let (db, stop, allowed) = (&db, &stop, &allowed);
            scope.spawn(move || {
                let watched: Vec<&[u8]> = keys.iter().step_by(STEP).map(Vec::as_slice).collect();
                let mut t = 0;
                while !stop.load(Ordering::Relaxed) {
                    if t < allowed.load(Ordering::Relaxed) {
                        t += 1;
                        write(db, &watched, START + t * 1000);
                    } else {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let look = || {
            for round in 0..100 {
                allowed.fetch_add(5, Ordering::Relaxed);
                let querier = db.querier(TimeRange::ALL).unwrap();
                for writer in 0..WRITERS {
                    let first = newest(&*querier, writer, false);
                    let second = newest(&*querier, writer, round % 2 == 0);
                    let whole = first.len() == SERIES / STEP && first.iter().all(|t| *t == first[0]);
                    if !whole || first != second {
                        return Err(format!("round {round}, writer {writer}: {first:?} then {second:?}"));
                    }
                }
            }
            Ok(())
        };
        let seen = look();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(seen, Ok(()));
    });
}

#[test]
fn nothing_is_shown_of_ranges_without_samples() {
    let disk = FaultyDisk::new(1);
    let options = Options { no_lockfile: true, ..Options::default() };
    let registry = meter::Registry::new();
    let db =
        Db::open(disk.shared(), Path::new("/data"), options, &registry, ReplayHandle::default()).unwrap();
    let keys = keys(0);
    write(&db, &[&keys[0]], START);
    for (range, names) in [
        (TimeRange::new(START - 10, START - 1), 0),
        (TimeRange::new(START + 1, START + 10), 0),
        (TimeRange::new(START, START), 3),
    ] {
        let querier = db.querier(range).unwrap();
        assert_eq!(querier.label_names(&[], 0).unwrap().len(), names);
        assert_eq!(querier.label_values("series", &[], 0).unwrap().len(), names / 3);
        let mut set = querier.select(&[], &SelectHints::default()).unwrap();
        assert_eq!(set.next().unwrap().is_some(), names > 0);
    }
}
