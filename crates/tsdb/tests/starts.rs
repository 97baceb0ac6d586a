//! Zeros at start timestamps, as the store with `start_zeros` writes them.

use model::histogram::{CounterResetHint, Span};
use model::{FloatHistogram, Sample, TimeRange};
use std::path::Path;
use std::sync::Arc;
use storage::{
    Batch, BatchSeries, HistogramRow, Queryable, RejectReason, RowKind, SampleBuf, SelectHints, SeriesId,
    WriteOutcome, WriterSource, key,
};
use testkit::FaultyDisk;
use tsdb::{Db, Options, ReplayHandle, Running, read_all};

const T: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

fn open(disk: &FaultyDisk, window: i64, registry: &meter::Registry) -> Db {
    let running = Running { out_of_order_window_ms: window, ..Running::default() };
    let options = Options { no_lockfile: true, start_zeros: true, running, ..Options::default() };
    Db::open(disk.shared(), Path::new("/data"), options, registry, ReplayHandle::default()).unwrap()
}

fn key_of(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    key::push_label(&mut out, "__name__", name);
    out
}

/// Floats with their start timestamps.
fn floats(db: &Db, name: &str, rows: &[(i64, i64, f64)]) -> WriteOutcome {
    let key = key_of(name);
    let mut batch = Batch::default();
    for (start, t, v) in rows {
        batch.samples.push(Sample { t: *t, v: *v });
        batch.starts.push(*start);
    }
    let samples = 0..rows.len() as u32;
    batch.series.push(BatchSeries { id: SeriesId::Key(&key), samples, histograms: 0..0, exemplars: 0..0 });
    let mut outcome = WriteOutcome::default();
    db.writer().write(&batch, &mut outcome).unwrap();
    outcome
}

fn histograms(db: &Db, name: &str, rows: &[(i64, i64, FloatHistogram)]) -> WriteOutcome {
    let key = key_of(name);
    let mut batch = Batch::default();
    for (start, t, h) in rows {
        batch.histograms.push(HistogramRow { t: *t, start: *start, histogram: Arc::new(h.clone()) });
    }
    let histograms = 0..rows.len() as u32;
    batch.series.push(BatchSeries { id: SeriesId::Key(&key), samples: 0..0, histograms, exemplars: 0..0 });
    let mut outcome = WriteOutcome::default();
    db.writer().write(&batch, &mut outcome).unwrap();
    outcome
}

fn read(db: &Db, name: &str) -> SampleBuf {
    let querier = db.querier(TimeRange::ALL).unwrap();
    let mut set = querier.select(&[], &SelectHints::default()).unwrap();
    while let Some(series) = set.next().unwrap() {
        if series.labels().value("__name__") == name {
            return read_all(&*series).unwrap();
        }
    }
    SampleBuf::default()
}

fn rows(db: &Db, name: &str) -> Vec<(i64, f64)> {
    let buf = read(db, name);
    buf.times.iter().copied().zip(buf.floats).collect()
}

#[test]
fn a_counter_begins_with_zero() {
    let disk = FaultyDisk::new(1);
    let registry = meter::Registry::new();
    let db = open(&disk, 0, &registry);
    let out = floats(&db, "a", &[(T - 1000, T, 5.0)]);
    assert_eq!((out.samples, out.rejected.len()), (1, 0), "the zero is not counted for the sender");
    // The same start comes with every sample; a new one is a reset.
    assert_eq!(floats(&db, "a", &[(T - 1000, T + 1000, 7.0)]).samples, 1);
    assert_eq!(floats(&db, "a", &[(T + 1500, T + 2000, 2.0), (T + 1500, T + 3000, 4.0)]).samples, 2);
    let want =
        [(T - 1000, 0.0), (T, 5.0), (T + 1000, 7.0), (T + 1500, 0.0), (T + 2000, 2.0), (T + 3000, 4.0)];
    assert_eq!(rows(&db, "a"), want);
    // Starts at or after their sample, none at all, and one older than the head takes give no zero.
    for (name, start) in [("b", T + 4000), ("c", T + 4001), ("d", 0), ("e", T - HOUR)] {
        assert_eq!(floats(&db, name, &[(start, T + 4000, 1.0)]).samples, 1);
        assert_eq!(rows(&db, name), [(T + 4000, 1.0)], "{name}");
    }
    // At the time of the newest sample there is no second one.
    floats(&db, "a", &[(T + 3000, T + 5000, 5.0)]);
    assert_eq!(rows(&db, "a").len(), want.len() + 1);
    // They are samples like others: counted, logged, replayed.
    assert_eq!(metric(&registry, "prometheus_tsdb_head_samples_appended_total", "float"), 11.0);
    assert_eq!(metric(&registry, "prometheus_tsdb_out_of_order_samples_total", "float"), 0.0);
    let before = rows(&db, "a");
    drop(db);
    let db = open(&disk.reboot(testkit::Loss::Kill), 0, &meter::Registry::new());
    assert_eq!(rows(&db, "a"), before);
}

/// Value of a metric of the store for floats or histograms.
fn metric(registry: &meter::Registry, name: &str, kind: &str) -> f64 {
    let families = registry.snapshot();
    let family = families.iter().find(|f| f.name == name).unwrap();
    family.points.iter().find(|p| p.labels.iter().any(|(_, v)| v == kind)).map_or(0.0, |p| p.value)
}

#[test]
fn zeros_are_never_late() {
    let disk = FaultyDisk::new(1);
    let db = open(&disk, HOUR, &meter::Registry::new());
    floats(&db, "a", &[(0, T, 5.0)]);
    // A late sample is taken; the zero before it would be late as well and is not.
    let out = floats(&db, "a", &[(T - 5000, T - 1000, 3.0)]);
    assert_eq!((out.samples, out.rejected.len()), (1, 0));
    assert_eq!(rows(&db, "a"), [(T - 1000, 3.0), (T, 5.0)]);
}

#[test]
fn refusals_speak_of_the_batch_that_came() {
    let disk = FaultyDisk::new(1);
    let db = open(&disk, 0, &meter::Registry::new());
    let out =
        floats(&db, "a", &[(T - 10, T, 1.0), (T - 10, T - 5, 1.0), (T + 1, T + 2, 1.0), (T + 1, T, 9.0)]);
    let refused: Vec<_> = out.rejected.iter().map(|r| (r.kind, r.row, r.reason.clone())).collect();
    let want =
        [(RowKind::Sample, 1, RejectReason::OutOfOrder), (RowKind::Sample, 3, RejectReason::OutOfOrder)];
    assert_eq!((refused.as_slice(), out.samples), (&want[..], 2));
    assert_eq!(rows(&db, "a"), [(T - 10, 0.0), (T, 1.0), (T + 1, 0.0), (T + 2, 1.0)]);
}

#[test]
fn histograms_begin_with_an_empty_one() {
    let disk = FaultyDisk::new(1);
    let registry = meter::Registry::new();
    let db = open(&disk, 0, &registry);
    for (name, integer, custom) in
        [("integer", true, vec![]), ("float", false, vec![]), ("custom", true, vec![1.0, 2.0])]
    {
        let h = FloatHistogram {
            schema: if custom.is_empty() { 2 } else { model::histogram::CUSTOM_BUCKETS_SCHEMA },
            zero_threshold: if custom.is_empty() { 0.01 } else { 0.0 },
            count: 3.0,
            sum: 4.5,
            positive_spans: vec![Span { offset: 0, length: 2 }],
            positive_buckets: vec![1.0, 2.0],
            custom_values: custom,
            integer,
            ..FloatHistogram::default()
        };
        let out = histograms(&db, name, &[(T - 1000, T, h.clone()), (T - 1000, T + 1000, h.clone())]);
        assert_eq!((out.histograms, out.rejected.len()), (2, 0), "{name}");
        let buf = read(&db, name);
        assert_eq!(buf.times, [T - 1000, T, T + 1000], "{name}");
        let zero = &buf.histograms[0].1;
        assert_eq!((zero.count, zero.sum, zero.integer), (0.0, 0.0, integer), "{name}");
        assert_eq!((zero.schema, zero.zero_threshold), (h.schema, h.zero_threshold), "{name}");
        assert_eq!(zero.custom_values, h.custom_values, "{name}");
        assert_eq!(buf.histograms[1].1.count, 3.0);
        // One chunk holds them: the zero does not begin another.
        let querier = db.querier(TimeRange::ALL).unwrap();
        let mut set = querier.select(&[], &SelectHints::default()).unwrap();
        while let Some(series) = set.next().unwrap() {
            if series.labels().value("__name__") == name {
                assert_eq!(series.chunks(TimeRange::ALL).unwrap().len(), 1, "{name}");
            }
        }
        assert_ne!(buf.histograms[1].1.counter_reset_hint, CounterResetHint::CounterReset, "{name}");
    }
    assert_eq!(metric(&registry, "prometheus_tsdb_head_samples_appended_total", "histogram"), 9.0);
}
