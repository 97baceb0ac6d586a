//! The select door: series first, then samples, one virtual call per series and never one per sample.

use crate::error::StorageError;
use model::{FloatHistogram, Labels, Matcher, TimeRange};
use std::sync::Arc;

/// Samples of one series as columns, in time order. Reused between series.
///
/// `times[i]` belongs to `floats[i]`. Where a sample is a native histogram, `floats[i]` is 0 and an entry
/// `(i, histogram)` stands in `histograms`, which is sorted by index.
#[derive(Clone, Debug, Default)]
pub struct SampleBuf {
    pub times: Vec<i64>,
    pub floats: Vec<f64>,
    pub histograms: Vec<(u32, Arc<FloatHistogram>)>,
    /// Start timestamps (ms) beside `times`, 0 where unknown. May be shorter than `times`, and is empty when
    /// the store keeps none: what is missing at the end is 0.
    pub starts: Vec<i64>,
}

impl SampleBuf {
    pub fn clear(&mut self) {
        self.times.clear();
        self.floats.clear();
        self.histograms.clear();
        self.starts.clear();
    }

    /// Notes the start timestamp of the sample pushed last.
    pub fn set_last_start(&mut self, start: i64) {
        if start != 0 && !self.times.is_empty() {
            self.starts.resize(self.times.len(), 0);
            if let Some(last) = self.starts.last_mut() {
                *last = start;
            }
        }
    }

    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Where decoded chunks are appended.
    pub fn columns(&mut self) -> chunk::Columns<'_> {
        chunk::Columns {
            times: &mut self.times,
            floats: &mut self.floats,
            histograms: &mut self.histograms,
            starts: &mut self.starts,
        }
    }

    /// Start timestamp of a sample, 0 where unknown.
    pub fn start_at(&self, index: usize) -> i64 {
        self.starts.get(index).copied().unwrap_or(0)
    }

    /// Moves all samples of `more` behind these.
    pub fn append(&mut self, more: SampleBuf) {
        let from = self.len();
        if !more.starts.is_empty() {
            self.starts.resize(from, 0);
            self.starts.extend(more.starts);
        }
        self.times.extend(more.times);
        self.floats.extend(more.floats);
        self.histograms.extend(more.histograms.into_iter().map(|(at, h)| (from as u32 + at, h)));
    }

    /// Keeps, of the samples from index `from` on, which are sorted by time, those within `range`.
    pub fn keep_range(&mut self, from: usize, range: TimeRange) {
        let fresh = &self.times[from..];
        let first = from + fresh.partition_point(|t| *t < range.min);
        let end = from + fresh.partition_point(|t| *t <= range.max);
        self.times.truncate(end);
        self.floats.truncate(end);
        self.starts.truncate(end);
        if first > from {
            self.times.drain(from..first);
            self.floats.drain(from..first);
            if self.starts.len() > from {
                self.starts.drain(from..first.min(self.starts.len()));
            }
        }
        let old = self.histograms.partition_point(|(at, _)| (*at as usize) < from);
        if old < self.histograms.len() {
            let gone = (first - from) as u32;
            let fresh = self.histograms.split_off(old);
            let kept = fresh.into_iter().filter(|(at, _)| (first..end).contains(&(*at as usize)));
            self.histograms.extend(kept.map(|(at, h)| (at - gone, h)));
        }
    }

    pub fn push_float(&mut self, t: i64, v: f64) {
        self.times.push(t);
        self.floats.push(v);
    }

    /// Keeps, of the samples from index `from` on, those whose time satisfies `keep`.
    pub fn retain_from(&mut self, from: usize, keep: impl Fn(i64) -> bool) {
        let plain =
            self.starts.is_empty() && self.histograms.last().is_none_or(|(i, _)| (*i as usize) < from);
        if !plain {
            let order: Vec<usize> = (from..self.len()).filter(|i| keep(self.times[*i])).collect();
            return self.pick_from(from, &order);
        }
        let mut to = from;
        for i in from..self.times.len() {
            if keep(self.times[i]) {
                (self.times[to], self.floats[to]) = (self.times[i], self.floats[i]);
                to += 1;
            }
        }
        self.times.truncate(to);
        self.floats.truncate(to);
    }

    /// Replaces the samples from index `from` on by those at the indexes of `order`, each of them at least `from`
    /// and used at most once.
    pub fn pick_from(&mut self, from: usize, order: &[usize]) {
        let times: Vec<i64> = order.iter().map(|i| self.times[*i]).collect();
        let floats: Vec<f64> = order.iter().map(|i| self.floats[*i]).collect();
        let cut = self.histograms.partition_point(|(i, _)| (*i as usize) < from);
        let moved: Vec<(u32, Arc<FloatHistogram>)> = self.histograms.split_off(cut);
        for (new, old) in order.iter().enumerate() {
            if let Ok(at) = moved.binary_search_by_key(&(*old as u32), |(i, _)| *i) {
                self.histograms.push(((from + new) as u32, moved[at].1.clone()));
            }
        }
        if self.starts.len() > from {
            let starts: Vec<i64> = order.iter().map(|i| self.start_at(*i)).collect();
            self.starts.truncate(from);
            self.starts.extend(starts);
        }
        self.times.truncate(from);
        self.times.extend(times);
        self.floats.truncate(from);
        self.floats.extend(floats);
    }

    pub fn push_histogram(&mut self, t: i64, h: Arc<FloatHistogram>) {
        self.histograms.push((self.times.len() as u32, h));
        self.times.push(t);
        self.floats.push(0.0);
    }
}

/// What the reader will do with the answer; a store may ignore all of it.
#[derive(Clone, Debug, Default)]
pub struct SelectHints {
    /// Milliseconds, both ends included: what the query will look at.
    pub range: Option<TimeRange>,
    /// Step in ms, 0 for instant queries.
    pub step: i64,
    /// Name of the function or aggregation around the selector.
    pub func: String,
    /// At most this many series; 0 for all.
    pub limit: usize,
    /// Series must come sorted by labels.
    pub sorted: bool,
    /// Names of the labels that [`Series::shown`] must give, in any order; all of them without it.
    pub shown: Option<Vec<String>>,
    /// [`Series::digest`] will be asked of every series.
    pub digests: bool,
    /// The reader takes away name, type and unit: [`Series::digest`] will be asked of every series, unless
    /// [`SeriesSet::is_one_metric`] says that no two of them can become the same.
    pub apart: bool,
    /// [`Series::newest`] will be asked of every series.
    pub newest: bool,
    /// Asked now and then while series are found: the caller may have no use for them any more.
    pub stop: Stop,
}

/// Whether somebody who waits has given up; by default nobody does.
#[derive(Clone, Default)]
pub struct Stop(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Stop {
    pub fn when(asked: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Stop(Some(Arc::new(asked)))
    }

    /// [`StorageError::Cancelled`] when the work shall end.
    pub fn check(&self) -> Result<(), StorageError> {
        match &self.0 {
            Some(asked) if asked() => Err(StorageError::Cancelled),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stop")
    }
}

/// An encoded chunk as stored, for remote read and federation of chunks.
#[derive(Clone, Debug)]
pub struct EncodedChunk {
    /// Milliseconds, both ends included.
    pub range: TimeRange,
    /// Upstream's encoding number: see [`chunk::Encoding`].
    pub encoding: u8,
    pub data: Vec<u8>,
}

/// One selected series. Cheap to hold; sample data is fetched when asked for. Any thread may read it.
pub trait Series: Send + Sync {
    /// All labels. May be made when first asked for, which costs more than most other things here.
    fn labels(&self) -> &Labels;

    /// The labels that [`SelectHints::shown`] asked for, and perhaps more.
    fn shown(&self) -> Labels {
        self.labels().clone()
    }

    /// See [`crate::digest::labels`].
    fn digest(&self) -> u128 {
        crate::digest::labels(self.labels())
    }

    /// Appends all samples within `range` to `out`, oldest first, without two of the same time; stale
    /// markers included. In-order and out-of-order data come merged.
    fn read(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError>;

    /// Appends the newest sample within `range`, and perhaps others before it, as [`Series::read`] does.
    fn newest(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        self.read(range, out)
    }

    /// Chunks that overlap `range`, oldest first, not overlapping each other.
    fn chunks(&self, range: TimeRange) -> Result<Vec<EncodedChunk>, StorageError>;
}

/// A stream of series. After `Ok(None)` or an error only `drop` is legal.
pub trait SeriesSet: Send {
    fn next(&mut self) -> Result<Option<Arc<dyn Series>>, StorageError>;
    /// Those of the next series that are at hand, in order; [`SeriesSet::next`] goes on behind them. None of them
    /// says nothing about what follows.
    fn ready(&mut self) -> Vec<Arc<dyn Series>> {
        Vec::new()
    }
    /// With [`SelectHints::apart`]: all series have the same name, and neither type nor unit as labels. False where
    /// that is not known.
    fn is_one_metric(&self) -> bool {
        false
    }
    /// Warnings so far, e.g. of a remote store that did not answer.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The newest samples of some series, in the order of the series.
#[derive(Default)]
pub struct Newest {
    /// What each series shows.
    pub labels: Vec<Labels>,
    /// Time (ms) and value of the newest sample of each series.
    pub samples: Vec<(i64, f64)>,
    /// Series whose newest sample must be read, by their place: their entry in `samples` means nothing.
    pub others: Vec<(usize, Arc<dyn Series>)>,
}

/// A consistent view over a time range. Holds no lock; what it has selected stays readable until dropped.
pub trait Querier: Send + Sync {
    /// Series that satisfy all matchers and may have samples in the querier's range.
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet>, StorageError>;

    /// What [`Querier::select`] would find, as newest samples within [`SelectHints::range`] and with the labels of
    /// [`SelectHints::shown`]: `None` when the store has no quicker way to them than through its series.
    fn newest(&self, _: &[Matcher], _: &SelectHints) -> Result<Option<Newest>, StorageError> {
        Ok(None)
    }

    /// Sorted, unique label names of series that satisfy all matchers (none: all series). `limit` 0: all.
    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError>;

    /// Sorted, unique values of one label.
    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
    ) -> Result<Vec<String>, StorageError>;
}

/// Where queriers come from.
pub trait Queryable: Send + Sync {
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError>;
}

/// A series set over a ready list.
pub struct ListSeriesSet {
    list: std::vec::IntoIter<Arc<dyn Series>>,
    one_metric: bool,
}

impl ListSeriesSet {
    pub fn new(list: Vec<Arc<dyn Series>>) -> Self {
        ListSeriesSet { list: list.into_iter(), one_metric: false }
    }

    /// What [`SeriesSet::is_one_metric`] shall say.
    pub fn of_one_metric(self, one_metric: bool) -> Self {
        ListSeriesSet { one_metric, ..self }
    }
}

impl SeriesSet for ListSeriesSet {
    fn next(&mut self) -> Result<Option<Arc<dyn Series>>, StorageError> {
        Ok(self.list.next())
    }

    fn ready(&mut self) -> Vec<Arc<dyn Series>> {
        std::mem::take(&mut self.list).collect()
    }

    fn is_one_metric(&self) -> bool {
        self.one_metric
    }
}
