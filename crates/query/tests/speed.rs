//! Times of typical queries over series in memory. Not run by default:
//! `cargo test --release -p query --test speed -- --ignored --nocapture`.

use model::{Labels, Matcher, TimeRange};
use query::{Engine, EngineOptions, QueryOpts};
use std::sync::Arc;
use std::time::Instant;
use storage::select::{EncodedChunk, ListSeriesSet};
use storage::{Querier, Queryable, SampleBuf, SelectHints, Series, SeriesSet, StorageError};

/// A series as two flat columns.
struct Flat {
    labels: Labels,
    times: Arc<Vec<i64>>,
    values: Vec<f64>,
}

impl Series for Flat {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        let from = self.times.partition_point(|t| *t < range.min);
        let to = self.times.partition_point(|t| *t <= range.max);
        out.times.extend_from_slice(&self.times[from..to]);
        out.floats.extend_from_slice(&self.values[from..to]);
        Ok(())
    }

    fn chunks(&self, _: TimeRange) -> Result<Vec<EncodedChunk>, StorageError> {
        Ok(Vec::new())
    }
}

struct Store(Vec<Arc<Flat>>);

impl Querier for Store {
    fn select(&self, matchers: &[Matcher], _: &SelectHints) -> Result<Box<dyn SeriesSet>, StorageError> {
        let list = self.0.iter().filter(|s| matchers.iter().all(|m| m.matches_labels(&s.labels)));
        Ok(Box::new(ListSeriesSet::new(list.map(|s| s.clone() as Arc<dyn Series>).collect())))
    }

    fn label_names(&self, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }
}

impl Queryable for Store {
    fn querier(&self, _: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        Ok(Arc::new(Store(self.0.clone())))
    }
}

const DAY: i64 = 86_400_000;

/// 1,560 bucket series over a day, a sample every 15 s; and 100,000 series with four samples.
fn store() -> Store {
    let times: Arc<Vec<i64>> = Arc::new((0..=DAY / 15_000).map(|n| n * 15_000).collect());
    let recent: Arc<Vec<i64>> = Arc::new((0..4).map(|n| DAY - n * 15_000).rev().collect());
    let mut list = Vec::new();
    for instance in 0..120 {
        for (le, k) in [1, 2, 4, 8, 10, 12, 14, 15, 16, 17, 18, 19, 20].iter().enumerate() {
            let (le, instance) =
                (if le == 12 { "+Inf".into() } else { format!("0.{le}5") }, instance.to_string());
            let labels =
                Labels::from_pairs([("__name__", "lat_bucket"), ("instance", &instance), ("le", &le)]);
            let values = (0..times.len()).map(|n| (n * k) as f64).collect();
            list.push(Arc::new(Flat { labels, times: times.clone(), values }));
        }
    }
    for i in 0..100_000 {
        let (job, i) = ((i % 50).to_string(), i.to_string());
        let labels = Labels::from_pairs([("__name__", "many"), ("instance", &i), ("job", &job)]);
        list.push(Arc::new(Flat { labels, times: recent.clone(), values: vec![1.0; 4] }));
    }
    Store(list)
}

#[test]
#[ignore = "a benchmark"]
fn typical_queries() {
    let store = store();
    let engine = Engine::new(EngineOptions::default());
    for text in [
        "histogram_quantile(0.9, sum by (le) (rate(lat_bucket[5m])))",
        "sum by (le) (rate(lat_bucket[5m]))",
        "rate(lat_bucket[5m])",
        "sum(lat_bucket)",
        "max by (instance) (max_over_time(lat_bucket[5m]))",
        "sum by (instance) (rate(lat_bucket[5m])) / sum by (instance) (rate(lat_bucket{le=\"+Inf\"}[5m]))",
        "quantile_over_time(0.9, lat_bucket{instance=\"1\"}[1h])",
        "max_over_time(sum(rate(lat_bucket[5m]))[1h:5m])",
    ] {
        let best = (0..5)
            .map(|_| {
                let began = Instant::now();
                engine
                    .range(&store, text, 0, DAY - 300_000, 300_000, &QueryOpts::default())
                    .expect("range result");
                began.elapsed()
            })
            .min();
        println!("{:>10.2?}  range    {text}", best.unwrap_or_default());
    }
    for text in [
        "many",
        "sum(many)",
        "sum by (job) (many)",
        "many * 2",
        "many + many",
        "topk(10, many)",
        "count by (instance) (many)",
    ] {
        let best = (0..5)
            .map(|_| {
                let began = Instant::now();
                engine.instant(&store, text, DAY, &QueryOpts::default()).expect("instant result");
                began.elapsed()
            })
            .min();
        println!("{:>10.2?}  instant  {text}", best.unwrap_or_default());
    }
}
