//! A store in memory that implements the select contracts: for tests of whatever reads series.

use model::{FloatHistogram, Labels, Matcher, TimeRange};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use storage::select::{EncodedChunk, ListSeriesSet};
use storage::{Querier, Queryable, SampleBuf, SelectHints, Series, SeriesSet, StorageError};

/// Series in memory, sorted by labels. Readers see the state at the time they asked for a querier.
#[derive(Default)]
pub struct MemStore {
    series: RwLock<BTreeMap<Labels, Arc<MemSeries>>>,
}

#[derive(Clone, Debug)]
enum MemValue {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

#[derive(Clone, Debug)]
struct MemSample {
    t: i64,
    /// Start timestamp, 0 for none.
    start: i64,
    value: MemValue,
}

/// One series; samples sorted by time.
#[derive(Clone, Debug)]
struct MemSeries {
    labels: Labels,
    samples: Vec<MemSample>,
}

impl MemStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a float at `t` ms. A sample of the same time is replaced; order does not matter.
    pub fn add(&self, labels: &Labels, t: i64, value: f64) {
        self.put(labels, MemSample { t, start: 0, value: MemValue::Float(value) });
    }

    /// As [`MemStore::add`], with a start timestamp.
    pub fn add_with_start(&self, labels: &Labels, start: i64, t: i64, value: f64) {
        self.put(labels, MemSample { t, start, value: MemValue::Float(value) });
    }

    pub fn add_histogram(&self, labels: &Labels, t: i64, h: FloatHistogram) {
        self.add_histogram_with_start(labels, 0, t, h);
    }

    pub fn add_histogram_with_start(&self, labels: &Labels, start: i64, t: i64, h: FloatHistogram) {
        self.put(labels, MemSample { t, start, value: MemValue::Histogram(Arc::new(h)) });
    }

    pub fn clear(&self) {
        self.series.write().clear();
    }

    pub fn series_count(&self) -> usize {
        self.series.read().len()
    }

    fn put(&self, labels: &Labels, sample: MemSample) {
        let mut all = self.series.write();
        let series = all
            .entry(labels.clone())
            .or_insert_with(|| Arc::new(MemSeries { labels: labels.clone(), samples: Vec::new() }));
        let samples = &mut Arc::make_mut(series).samples;
        if samples.last().is_none_or(|last| last.t < sample.t) {
            samples.push(sample);
            return;
        }
        match samples.binary_search_by_key(&sample.t, |s| s.t) {
            Ok(at) => samples[at] = sample,
            Err(at) => samples.insert(at, sample),
        }
    }
}

impl Series for MemSeries {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        let from = self.samples.partition_point(|s| s.t < range.min);
        for sample in self.samples[from..].iter().take_while(|s| s.t <= range.max) {
            match &sample.value {
                MemValue::Float(v) => out.push_float(sample.t, *v),
                MemValue::Histogram(h) => out.push_histogram(sample.t, h.clone()),
            }
            out.set_last_start(sample.start);
        }
        Ok(())
    }

    fn chunks(&self, _range: TimeRange) -> Result<Vec<EncodedChunk>, StorageError> {
        Err(StorageError::Other("the memory store keeps no encoded chunks".into()))
    }
}

struct MemQuerier {
    series: Vec<Arc<MemSeries>>,
    range: TimeRange,
}

impl MemQuerier {
    fn matching<'a>(&'a self, matchers: &'a [Matcher]) -> impl Iterator<Item = &'a Arc<MemSeries>> {
        self.series.iter().filter(move |s| {
            matchers.iter().all(|m| m.matches_labels(&s.labels))
                && s.samples.first().is_some_and(|first| first.t <= self.range.max)
                && s.samples.last().is_some_and(|last| last.t >= self.range.min)
        })
    }
}

fn limited<T>(items: impl Iterator<Item = T>, limit: usize) -> Vec<T> {
    items.take(if limit == 0 { usize::MAX } else { limit }).collect()
}

impl Querier for MemQuerier {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet>, StorageError> {
        let list = limited(self.matching(matchers).map(|s| s.clone() as Arc<dyn Series>), hints.limit);
        Ok(Box::new(ListSeriesSet::new(list)))
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        let names: BTreeSet<&str> =
            self.matching(matchers).flat_map(|s| s.labels.iter().map(|(n, _)| n)).collect();
        Ok(limited(names.into_iter().map(str::to_owned), limit))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let values: BTreeSet<&str> = self.matching(matchers).filter_map(|s| s.labels.get(name)).collect();
        Ok(limited(values.into_iter().map(str::to_owned), limit))
    }
}

impl Queryable for MemStore {
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        Ok(Arc::new(MemQuerier { series: self.series.read().values().cloned().collect(), range }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_reads_what_was_added() {
        let store = MemStore::new();
        let up = Labels::from_pairs([("__name__", "up"), ("job", "x")]);
        store.add(&up, 2000, 2.0);
        store.add(&up, 1000, 1.0);
        store.add(&Labels::from_pairs([("__name__", "other")]), 1000, 1.0);
        let querier = store.querier(TimeRange::ALL).unwrap();
        let mut set = querier.select(&[Matcher::equal("__name__", "up")], &SelectHints::default()).unwrap();
        let series = set.next().unwrap().unwrap();
        let mut buf = SampleBuf::default();
        series.read(TimeRange::new(0, 5000), &mut buf).unwrap();
        assert_eq!((buf.times, buf.floats), (vec![1000, 2000], vec![1.0, 2.0]));
        assert!(set.next().unwrap().is_none());
        assert_eq!(querier.label_names(&[], 0).unwrap(), ["__name__", "job"]);
        assert_eq!(querier.label_values("__name__", &[], 1).unwrap(), ["other"]);
    }
}
