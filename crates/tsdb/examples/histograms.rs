//! Native histograms for a comparison by hand with Prometheus: writes a directory, or prints what one holds.
//!
//! `histograms write DIR START_MS`, then let Prometheus open it; `histograms dump DIR` prints, for each series, the
//! number of samples and the sums of counts, sums and buckets.

use disk::{Disk, OsDisk};
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Span};
use model::{FloatHistogram, TimeRange};
use std::sync::Arc;
use storage::{
    Batch, BatchSeries, HistogramRow, Queryable, SelectHints, SeriesId, WriteOutcome, WriterSource, key,
};
use tsdb::{Db, Options, ReplayHandle, read_all};

fn sample(kind: usize, n: i64) -> FloatHistogram {
    let buckets: Vec<f64> = (0..6 + n / 300).map(|b| (n % 400 * (b + 1)) as f64).collect();
    let mut h = FloatHistogram {
        schema: 3,
        zero_threshold: 2f64.powi(-128),
        zero_count: (n % 400) as f64,
        positive_spans: vec![Span { offset: -2, length: buckets.len() as u32 }],
        positive_buckets: buckets,
        ..FloatHistogram::default()
    };
    match kind {
        0 => {}
        1 => h.counter_reset_hint = CounterResetHint::Gauge,
        _ => {
            h.positive_buckets.truncate(6);
            h.positive_spans = vec![Span { offset: 0, length: 6 }];
            (h.schema, h.zero_threshold, h.zero_count) = (CUSTOM_BUCKETS_SCHEMA, 0.0, 0.0);
            h.custom_values = vec![0.1, 0.25, 1.0, 10.0, 1e6];
        }
    }
    h.count = h.zero_count + h.positive_buckets.iter().sum::<f64>();
    h.sum = h.count * 0.7;
    h
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, dir, ..] = &args[..] else { panic!("write DIR START_MS, or dump DIR") };
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let registry = meter::Registry::new();
    let db = Db::open(disk, dir.as_ref(), Options::default(), &registry, ReplayHandle::default())
        .unwrap_or_else(|e| panic!("{e}"));
    if mode == "write" {
        let start: i64 = args.get(2).and_then(|t| t.parse().ok()).unwrap_or_else(|| panic!("START_MS"));
        let mut writer = db.writer();
        let mut outcome = WriteOutcome::default();
        // Five hours.
        for n in 0..1200i64 {
            let mut batch = Batch::default();
            let keys: Vec<Vec<u8>> = (0..3)
                .map(|kind| {
                    let mut key = Vec::new();
                    key::push_label(&mut key, "__name__", "test_histogram");
                    key::push_label(&mut key, "kind", &kind.to_string());
                    key
                })
                .collect();
            for (kind, key) in keys.iter().enumerate() {
                let at = kind as u32;
                let histogram = Arc::new(sample(kind, n));
                batch.histograms.push(HistogramRow { t: start + n * 15_000, start: 0, histogram });
                let id = SeriesId::Key(key);
                batch.series.push(BatchSeries { id, samples: 0..0, histograms: at..at + 1, exemplars: 0..0 });
            }
            writer.write(&batch, &mut outcome).unwrap_or_else(|e| panic!("{e}"));
            assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
        }
        db.maintain(None).unwrap_or_else(|e| panic!("{e}"));
    }
    let querier = db.querier(TimeRange::ALL).unwrap_or_else(|e| panic!("{e}"));
    let hints = SelectHints { sorted: true, ..SelectHints::default() };
    let mut set = querier.select(&[], &hints).unwrap_or_else(|e| panic!("{e}"));
    while let Some(series) = set.next().unwrap_or_else(|e| panic!("{e}")) {
        let buf = read_all(&*series).unwrap_or_else(|e| panic!("{e}"));
        if buf.histograms.is_empty() {
            continue;
        }
        let live = || buf.histograms.iter().map(|(_, h)| h).filter(|h| !model::is_stale_nan(h.sum));
        let count: f64 = live().map(|h| h.count).sum();
        let sum: f64 = live().map(|h| h.sum).sum();
        let buckets: f64 = live().flat_map(|h| &h.positive_buckets).sum();
        println!("{} {} {count} {sum:.6} {buckets}", series.labels(), live().count());
    }
    db.close().unwrap_or_else(|e| panic!("{e}"));
}
