//! Tests of the agent store: what is accepted, what survives, what is removed and when.

use super::*;
use crate::wal::{PAGE_BYTES, Position, segments};
use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{FloatHistogram, Labels, MetricType, Sample};
use std::collections::BTreeMap;
use std::time::Duration;
use storage::feed::FeedBatch;
use storage::{
    Batch, BatchSeries, ExemplarRow, HistogramRow, MetadataRow, RejectReason, SeriesId, WriteOutcome, key,
};
use testkit::{FaultyDisk, Loss};

const PATH: &str = "/agent";

fn options() -> AgentOptions {
    AgentOptions {
        segment_bytes: 2 * PAGE_BYTES as u64,
        compression: Compression::None,
        sync_inline: true,
        ..AgentOptions::default()
    }
}

fn open_with(disk: &FaultyDisk, options: AgentOptions) -> AgentStore {
    AgentStore::open(disk.shared(), Path::new(PATH), options, &Registry::new(), &ReplayHandle::default())
        .expect("opens")
}

fn open(disk: &FaultyDisk) -> AgentStore {
    open_with(disk, options())
}

fn key_of(n: u64) -> Vec<u8> {
    key::of_labels(&Labels::from_pairs([("__name__", "m".to_owned()), ("n", n.to_string())]))
}

/// One sample for each key.
fn batch<'a>(keys: &'a [Vec<u8>], t: i64, v: f64) -> Batch<'a> {
    let mut batch = Batch::default();
    for key in keys {
        let at = batch.samples.len() as u32;
        batch.samples.push(Sample { t, v });
        batch.series.push(BatchSeries {
            id: SeriesId::Key(key),
            samples: at..at + 1,
            histograms: 0..0,
            exemplars: 0..0,
        });
    }
    batch
}

fn write(store: &AgentStore, batch: &Batch<'_>) -> WriteOutcome {
    let mut outcome = WriteOutcome::default();
    store.writer().write(batch, &mut outcome).expect("writes");
    outcome
}

/// Everything that the feed gives from a position: series by name, their sample times.
fn follow(store: &AgentStore, from: Position) -> BTreeMap<String, Vec<i64>> {
    let mut reader = store.feed().open(Some(from)).expect("opens");
    let (mut names, mut got) = (BTreeMap::new(), BTreeMap::<String, Vec<i64>>::new());
    let mut batch = FeedBatch::default();
    while reader.next(Duration::ZERO, &mut batch).expect("reads") {
        names.extend(batch.series.iter().map(|(id, labels)| (*id, labels.value("n").to_owned())));
        for sample in &batch.samples {
            let name = names.get(&sample.series).expect("series come before their samples");
            got.entry(name.clone()).or_default().push(sample.t);
        }
    }
    got
}

#[test]
fn accepts_by_upstreams_rules() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let keys: Vec<_> = (0..3).map(key_of).collect();
    let first = write(&store, &batch(&keys, 1000, 1.0));
    assert_eq!((first.samples, first.series_created, first.rejected.len()), (3, 3, 0));
    assert_eq!(store.series_count(), 3);
    let again = write(&store, &batch(&keys, 2000, 1.0));
    assert_eq!((again.series_created, &again.refs), (0, &first.refs));

    let mut by_ref = batch(&keys[..1], 3000, 1.0);
    by_ref.series[0].id = SeriesId::Ref(first.refs[0]);
    assert_eq!(write(&store, &by_ref).samples, 1);
    by_ref.series[0].id = SeriesId::Ref(SeriesRef(99));
    let outcome = write(&store, &by_ref);
    assert_eq!(outcome.rejected[0].reason, RejectReason::UnknownRef);
    assert_eq!(outcome.refs, [SeriesRef(0)]);

    let reason = |t, v| write(&store, &batch(&keys[1..2], t, v)).rejected.pop().map(|r| r.reason);
    assert_eq!(reason(1500, 1.0), Some(RejectReason::OutOfOrder));
    assert_eq!(reason(2000, 2.0), Some(RejectReason::DuplicateTimestamp));
    assert_eq!(reason(2000, 1.0), None);
    assert_eq!(store.0.metrics.out_of_order.get(), 2.0);

    let unsorted: Vec<u8> = {
        let mut out = Vec::new();
        key::push_label(&mut out, "n", "0");
        key::push_label(&mut out, "__name__", "m");
        key::push_label(&mut out, "empty", "");
        out
    };
    assert_eq!(write(&store, &batch(&[unsorted], 4000, 1.0)).refs[0], first.refs[0]);
    let bad = write(&store, &batch(&[vec![1, 2, 3], keys[2].clone()], 4000, 1.0));
    assert!(matches!(bad.rejected[0].reason, RejectReason::InvalidLabels(_)));
    assert_eq!((bad.rejected.len(), bad.samples), (1, 1));

    let window = open_with(&FaultyDisk::new(1), AgentOptions { out_of_order_window_ms: 500, ..options() });
    write(&window, &batch(&keys, 1000, 1.0));
    assert_eq!(write(&window, &batch(&keys, 501, 2.0)).samples, 3);
    assert_eq!(write(&window, &batch(&keys, 500, 2.0)).samples, 0);
    let mut scraped = batch(&keys, 700, 2.0);
    scraped.reject_out_of_order = true;
    assert_eq!(write(&window, &scraped).samples, 0);
}

#[test]
fn zeros_stand_before_first_samples() {
    let store = open_with(&FaultyDisk::new(1), AgentOptions { start_zeros: true, ..options() });
    let keys = [key_of(1)];
    for (start, t) in [(500, 1000), (500, 2000), (2500, 3000), (4000, 4000)] {
        let mut with_start = batch(&keys, t, 1.0);
        with_start.starts.push(start);
        let histogram = std::sync::Arc::new(FloatHistogram::default());
        with_start.histograms.push(HistogramRow { t: t + 1, start: t + 1, histogram });
        let outcome = write(&store, &with_start);
        assert_eq!((outcome.samples, outcome.rejected.len()), (1, 0));
    }
    assert_eq!(follow(&store, Position::default())["1"], [500, 1000, 2000, 2500, 3000, 4000]);
    let late = batch(&keys, 3500, 1.0);
    let refused = write(&store, &Batch { starts: vec![3400], ..late });
    assert_eq!((refused.rejected.len(), refused.rejected[0].row), (1, 0));
    assert_eq!(store.0.metrics.out_of_order.get(), 1.0);
    assert_eq!(store.0.metrics.float_samples.get(), 6.0);
}

#[test]
fn same_series_twice_in_a_batch() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let keys = [key_of(1), key_of(1)];
    let mut twice = batch(&keys, 1000, 1.0);
    twice.samples[1].t = 999;
    let outcome = write(&store, &twice);
    assert_eq!((outcome.samples, outcome.series_created), (1, 1));
    assert_eq!(outcome.refs[0], outcome.refs[1]);
    assert_eq!(follow(&store, Position::default()), BTreeMap::from([("1".into(), vec![1000])]));
}

#[test]
fn series_limit_spares_known_series() {
    let disk = FaultyDisk::new(1);
    let store = open_with(&disk, AgentOptions { max_series: 2, ..options() });
    let keys: Vec<_> = (0..3).map(key_of).collect();
    let outcome = write(&store, &batch(&keys, 1000, 1.0));
    assert_eq!(outcome.samples, 2);
    assert_eq!(outcome.rejected[0].reason, RejectReason::SeriesLimit(2));
    assert_eq!(write(&store, &batch(&keys, 2000, 1.0)).samples, 2);
}

#[test]
fn other_kinds_of_rows() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let key = key_of(1);
    let exemplar_labels = key::of_labels(&Labels::from_pairs([("trace", "x")]));
    let long = key::of_labels(&Labels::from_pairs([("trace", "x".repeat(130))]));
    let custom =
        FloatHistogram { schema: CUSTOM_BUCKETS_SCHEMA, custom_values: vec![1.0], ..Default::default() };
    let rows = |t| Batch {
        series: vec![BatchSeries {
            id: SeriesId::Key(&key),
            samples: 0..0,
            histograms: 0..2,
            exemplars: 0..2,
        }],
        histograms: vec![
            HistogramRow {
                t,
                start: 0,
                histogram: Arc::new(FloatHistogram { count: 2.0, ..Default::default() }),
            },
            HistogramRow { t: t + 1, start: 0, histogram: Arc::new(custom.clone()) },
        ],
        exemplars: vec![
            ExemplarRow { labels: &exemplar_labels, t: 5, v: 1.0 },
            ExemplarRow { labels: &long, t: 5, v: 1.0 },
        ],
        metadata: vec![MetadataRow { family: "m", kind: MetricType::Gauge, unit: "s", help: "h" }],
        ..Batch::default()
    };
    let mut writer = store.writer();
    let mut outcome = WriteOutcome::default();
    writer.write(&rows(10), &mut outcome).expect("writes");
    assert_eq!((outcome.histograms, outcome.exemplars), (2, 1));
    assert_eq!(outcome.rejected[0].reason, RejectReason::ExemplarTooLong);
    writer.write(&rows(20), &mut outcome).expect("writes");
    assert_eq!(store.metadata(None).len(), 1);

    let mut reader = store.feed().open(Some(Position::default())).expect("opens");
    let mut batch = FeedBatch::default();
    assert!(reader.next(Duration::ZERO, &mut batch).expect("reads"));
    // The exemplar came twice and was logged once.
    assert_eq!((batch.histograms.len(), batch.exemplars.len(), batch.metadata.len()), (4, 1, 0));
    assert_eq!(batch.histograms.iter().filter(|h| *h.histogram == custom).count(), 2);
    assert_eq!(batch.exemplars[0].labels, Labels::from_pairs([("trace", "x")]));
}

#[test]
fn restart_continues() {
    let disk = FaultyDisk::new(1);
    let keys: Vec<_> = (0..50).map(key_of).collect();
    let store = open(&disk);
    let first = write(&store, &batch(&keys, 1000, 1.0));
    let position = store.feed().end();
    write(&store, &batch(&keys, 2000, 1.0));
    store.close().expect("closes");
    drop(store);
    let store = open(&disk);
    assert_eq!(store.series_count(), 50);
    assert_eq!(store.0.metrics.clean_start.get(), 1.0);
    assert_eq!(write(&store, &batch(&keys, 1500, 1.0)).samples, 0);
    let next = write(&store, &batch(&keys, 3000, 1.0));
    assert_eq!((next.refs, next.series_created), (first.refs, 0));
    let got = follow(&store, position);
    assert_eq!(got.len(), 50);
    assert!(got.values().all(|times| times == &[2000, 3000]));
}

#[test]
fn failed_batches_can_be_retried() {
    let disk = FaultyDisk::new(5);
    let store = open(&disk);
    let keys: Vec<_> = (0..10).map(key_of).collect();
    let mut writer = store.writer();
    let mut outcome = WriteOutcome::default();
    for round in 1..10 {
        let rows = batch(&keys[..round], 1000 * round as i64, 1.0);
        disk.fail_ops([disk.ops() + 1]);
        assert!(writer.write(&rows, &mut outcome).is_err());
        assert!(outcome.refs.is_empty());
        writer.write(&rows, &mut outcome).expect("writes again");
        assert_eq!(outcome.samples, round as u64);
    }
    let got = follow(&store, Position::default());
    assert_eq!(got.len(), 9);
    for (name, times) in got {
        let from: i64 = name.parse().expect("a number");
        assert_eq!(times, (from + 1..10).map(|round| round * 1000).collect::<Vec<_>>());
    }
}

#[test]
fn acknowledged_samples_survive_crashes() {
    for (loss, fsync) in [(Loss::Kill, false), (Loss::Power, true)] {
        for op in 1..60 {
            let disk = FaultyDisk::new(op);
            disk.crash_at(op);
            let mut sure: BTreeMap<String, Vec<i64>> = BTreeMap::new();
            let options = AgentOptions { fsync, ..options() };
            let opened = AgentStore::open(
                disk.shared(),
                Path::new(PATH),
                options.clone(),
                &Registry::new(),
                &ReplayHandle::default(),
            );
            if let Ok(store) = opened {
                let mut writer = store.writer();
                let mut outcome = WriteOutcome::default();
                for round in 0..60u64 {
                    let keys: Vec<_> = (round..round + 20).map(key_of).collect();
                    if writer.write(&batch(&keys, round as i64, round as f64), &mut outcome).is_ok() {
                        for n in round..round + 20 {
                            sure.entry(n.to_string()).or_default().push(round as i64);
                        }
                    }
                }
            }
            let disk = disk.reboot(loss);
            let store = open_with(&disk, options);
            let got = follow(&store, Position::default());
            for (name, times) in sure {
                assert!(
                    got[&name].starts_with(&times),
                    "crash at operation {op}: {:?} {times:?}",
                    got[&name]
                );
            }
            store.close().expect("closes");
        }
    }
}

/// Fills several segments; gives the positions behind each round.
fn fill(store: &AgentStore, keys: &[Vec<u8>], rounds: std::ops::Range<i64>) -> Vec<Position> {
    rounds
        .map(|t| {
            write(store, &batch(keys, t * 1000, (t as f64).sqrt()));
            store.feed().end()
        })
        .collect()
}

#[test]
fn truncation_waits_for_the_slowest_destination() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let keys: Vec<_> = (0..1000).map(key_of).collect();
    let ends = fill(&store, &keys, 0..60);
    assert!(ends[59].segment > 6, "{:?}", ends[59]);
    store.feed().hold("slow", ends[20]);
    store.feed().hold("fast", ends[50]);
    // Everything was written just now, as seen from a clock that stands at the samples.
    store.truncate(60_000).expect("truncates");
    let first = segments(&disk, store.wal().dir()).expect("lists")[0].number;
    assert_eq!(first, ends[20].segment);
    let got = follow(&store, ends[20]);
    assert!(got.len() == 1000 && got.values().all(|times| times.len() == 39));
    assert_eq!(store.0.checkpoint_number(), Some(first - 1));
    // Idle series are forgotten, yet their samples can still be sent.
    store.feed().hold("slow", ends[50]);
    store.truncate(100_000_000).expect("truncates");
    assert_eq!(store.series_count(), 0);
    let got = follow(&store, ends[50]);
    assert!(got.len() == 1000 && got.values().all(|times| times.len() == 9));
    // And they come back under new references, with the old ones still in the log.
    assert_eq!(write(&store, &batch(&keys, 200_000_000, 1.0)).series_created, 1000);
    assert!(follow(&store, ends[50]).values().all(|times| times.len() == 10));
    store.close().expect("closes");
    drop(store);
    let store = open(&disk);
    assert_eq!(store.series_count(), 1000);
    assert!(follow(&store, ends[50]).values().all(|times| times.len() == 10));
    assert!(!store.0.deleted.lock().is_empty());
}

#[test]
fn byte_budget_goes_before_holds_and_is_counted() {
    let disk = FaultyDisk::new(1);
    let store = open_with(&disk, AgentOptions { max_wal_bytes: 300_000, ..options() });
    let keys: Vec<_> = (0..1000).map(key_of).collect();
    let position = fill(&store, &keys, 0..1)[0];
    store.feed().hold("cut off", position);
    store.maintain(0);
    for t in 1..80 {
        fill(&store, &keys, t..t + 1);
        store.maintain(t * 1000);
        assert!(store.wal().size_bytes() < 300_000 + 3 * 65_536 + 60_000, "{}", store.wal().size_bytes());
    }
    assert!(store.0.metrics.forced_segments.get() > 3.0);
    let got = follow(&store, position);
    assert!(got.len() == 1000 && got.values().all(|times| times.last() == Some(&79_000)));
    assert!(got.values().all(|times| times.len() < 70));
}

#[test]
fn frequency_decides_when_nothing_presses() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    fill(&store, &[key_of(1)], 0..3);
    let segment = store.feed().end().segment;
    store.maintain(1_000_000);
    store.maintain(1_000_000 + 7_199_999);
    assert_eq!(store.feed().end().segment, segment);
    store.maintain(1_000_000 + 7_200_000);
    assert_eq!(store.feed().end().segment, segment + 1);
}

#[test]
fn second_store_in_one_directory_is_refused() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let second = AgentStore::open(
        disk.shared(),
        Path::new(PATH),
        options(),
        &Registry::new(),
        &ReplayHandle::default(),
    );
    let text = second.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(text.contains("lock DB directory"), "{text}");
    drop(store);
}

#[test]
fn concurrent_writers_of_the_same_series() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let keys: Vec<_> = (0..50).map(key_of).collect();
    store.feed().hold("all", Position::default());
    let acknowledged: u64 = std::thread::scope(|scope| {
        let write = |writer: usize| {
            let (store, keys) = (&store, &keys);
            scope.spawn(move || {
                let mut session = store.writer();
                let mut outcome = WriteOutcome::default();
                let mut samples = 0;
                for t in 0..50 {
                    let rows = batch(&keys[writer..writer + 40], t * 10 + writer as i64, 1.0);
                    session.write(&rows, &mut outcome).expect("writes");
                    samples += outcome.samples;
                    if t == 25 {
                        store.truncate(i64::MIN + 1_000_000).expect("truncates");
                    }
                }
                samples
            })
        };
        let threads: Vec<_> = (0..4).map(write).collect();
        threads.into_iter().map(|thread| thread.join().expect("ends")).sum()
    });
    assert_eq!(store.series_count(), 43);
    let got = follow(&store, Position::default());
    assert_eq!(got.values().map(|times| times.len() as u64).sum::<u64>(), acknowledged);
}

#[test]
fn nearly_full_disk_makes_room_early() {
    let disk = FaultyDisk::new(1);
    let store = open(&disk);
    let keys: Vec<_> = (0..1000).map(key_of).collect();
    let ends = fill(&store, &keys, 0..40);
    store.feed().hold("fast", ends[39]);
    store.maintain(0);
    disk.set_budget(Some(10 * 65_536));
    store.maintain(60_000);
    assert_eq!(store.0.checkpoint_number(), None, "there is room enough");
    disk.set_budget(Some(3 * 65_536));
    store.maintain(59_999);
    store.maintain(60_000);
    assert!(store.0.checkpoint_number().is_some());
    assert_eq!(store.0.metrics.forced_segments.get(), 0.0);
}
