//! Several stores as one: sorted series sets are merged, and samples of the same series are joined.

mod joined;

pub use joined::forget_hints;

use crate::error::StorageError;
use crate::select::{Querier, SelectHints, Series, SeriesSet, Stop};
use joined::Joined;
use model::Matcher;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// Series that are put together between two looks at whether anybody still waits.
const BETWEEN_LOOKS: usize = 1024;

/// Merges sets that are each sorted by labels into one that is sorted. Of samples with the same time the one of
/// the set that stands later in `sets` wins: list older stores first.
pub fn series_sets(mut sets: Vec<Box<dyn SeriesSet>>) -> Result<Box<dyn SeriesSet>, StorageError> {
    if sets.len() == 1
        && let Some(only) = sets.pop()
    {
        return Ok(only);
    }
    let mut sources = Vec::with_capacity(sets.len());
    for mut set in sets {
        if let Some(head) = set.next()? {
            sources.push(Source { head, set });
        }
    }
    Ok(Box::new(Merged { sources, warnings: Vec::new() }))
}

/// Several views as one. List older stores first: see [`series_sets`].
pub fn queriers(mut parts: Vec<Arc<dyn Querier>>) -> Arc<dyn Querier> {
    match parts.len() {
        1 => parts.remove(0),
        _ => Arc::new(MergedQuerier { parts }),
    }
}

struct MergedQuerier {
    parts: Vec<Arc<dyn Querier>>,
}

impl MergedQuerier {
    /// Union of sorted lists.
    fn union(
        &self,
        limit: usize,
        ask: impl Fn(&dyn Querier) -> Result<Vec<String>, StorageError>,
    ) -> Result<Vec<String>, StorageError> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend(ask(&**part)?);
        }
        all.sort();
        all.dedup();
        if limit > 0 {
            all.truncate(limit);
        }
        Ok(all)
    }
}

impl Querier for MergedQuerier {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet>, StorageError> {
        if hints.limit == 0 {
            return self.joined(matchers, hints);
        }
        let hints = SelectHints { sorted: true, ..hints.clone() };
        let sets: Result<Vec<_>, _> = self.parts.iter().map(|p| p.select(matchers, &hints)).collect();
        Ok(Box::new(Limited { set: series_sets(sets?)?, left: hints.limit }))
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        self.union(limit, |part| part.label_names(matchers, limit))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        self.union(limit, |part| part.label_values(name, matchers, limit))
    }
}

impl MergedQuerier {
    /// All series, put together by their digests: labels are only made for series that the oldest store lacks.
    fn joined(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet>, StorageError> {
        let hints = SelectHints { digests: true, apart: false, sorted: false, ..hints.clone() };
        let mut joiner = Joiner::default();
        let mut warnings = Vec::new();
        for part in &self.parts {
            let mut set = part.select(matchers, &hints)?;
            joiner.begin();
            let mut count = 0usize;
            for (at, series) in set.ready().into_iter().enumerate() {
                if at.is_multiple_of(BETWEEN_LOOKS) {
                    hints.stop.check()?;
                }
                joiner.add(series);
            }
            while let Some(series) = set.next()? {
                joiner.add(series);
                count += 1;
                if count.is_multiple_of(BETWEEN_LOOKS) {
                    hints.stop.check()?;
                }
            }
            warnings.extend(set.warnings());
        }
        Ok(Box::new(Listed { list: joiner.finish(&hints.stop)?.into_iter(), warnings }))
    }
}

/// A series set over a ready list, with warnings.
struct Listed {
    list: std::vec::IntoIter<Arc<dyn Series>>,
    warnings: Vec<String>,
}

impl SeriesSet for Listed {
    fn next(&mut self) -> Result<Option<Arc<dyn Series>>, StorageError> {
        Ok(self.list.next())
    }

    fn ready(&mut self) -> Vec<Arc<dyn Series>> {
        std::mem::take(&mut self.list).collect()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

/// Digests are keyed and well mixed: any of their bits will do as a hash.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u128(&mut self, digest: u128) {
        self.0 = digest as u64 ^ (digest >> 64) as u64;
    }
}

/// Finds the series that several stores have. Stores mostly have the same series in the same order.
#[derive(Default)]
struct Joiner {
    /// For each series, what the stores have of it, older stores first.
    found: Vec<Vec<Arc<dyn Series>>>,
    digests: Vec<u128>,
    known: HashMap<u128, u32, BuildHasherDefault<DigestHasher>>,
    /// Series before this are known to be sorted, and stand in `known` if anything does.
    sorted: usize,
    /// Where the next series of the store is expected.
    next: usize,
    stores: usize,
}

impl Joiner {
    /// The series of the next store follow.
    fn begin(&mut self) {
        if self.stores == 1 {
            // The first store is a block, or the only one: blocks give their series sorted.
            self.sorted = self.found.len();
        }
        self.stores += 1;
        self.next = 0;
    }

    fn add(&mut self, series: Arc<dyn Series>) {
        let digest = series.digest();
        if self.stores > 1
            && let Some(at) = self.find(digest)
        {
            self.next = at + 1;
            return self.found[at].push(series);
        }
        self.found.push(vec![series]);
        self.digests.push(digest);
    }

    fn find(&mut self, digest: u128) -> Option<usize> {
        if self.digests.get(self.next) == Some(&digest) {
            return Some(self.next);
        }
        for at in self.known.len()..self.digests.len() {
            self.known.entry(self.digests[at]).or_insert(at as u32);
        }
        self.known.get(&digest).map(|at| *at as usize)
    }

    /// Sorted by labels, if there is more than one store.
    fn finish(mut self, stop: &Stop) -> Result<Vec<Arc<dyn Series>>, StorageError> {
        let join = |mut parts: Vec<Arc<dyn Series>>| match (parts.len(), parts.pop()) {
            (1, Some(only)) => only,
            (_, last) => {
                parts.extend(last);
                Arc::new(Joined { parts }) as Arc<dyn Series>
            }
        };
        let sorted = if self.stores > 1 { self.sorted } else { self.found.len() };
        let others: Vec<_> = self.found.split_off(sorted).into_iter().map(join).collect();
        let mut list: Vec<_> = self.found.into_iter().map(join).collect();
        if others.is_empty() {
            return Ok(list);
        }
        let others = crate::sort::until(others, stop, |a, b| a.labels().cmp(b.labels()))?;
        let mut merged = Vec::with_capacity(list.len() + others.len());
        let mut rest = list.drain(..);
        for (at, other) in others.into_iter().enumerate() {
            if at.is_multiple_of(BETWEEN_LOOKS) {
                stop.check()?;
            }
            let before = rest.as_slice().partition_point(|s| s.labels() < other.labels());
            merged.extend(rest.by_ref().take(before));
            merged.push(other);
        }
        merged.extend(rest);
        Ok(merged)
    }
}

/// The first series of a set.
struct Limited {
    set: Box<dyn SeriesSet>,
    left: usize,
}

impl SeriesSet for Limited {
    fn next(&mut self) -> Result<Option<Arc<dyn Series>>, StorageError> {
        match self.left.checked_sub(1) {
            None => Ok(None),
            Some(left) => {
                self.left = left;
                self.set.next()
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.set.warnings()
    }
}

/// A set whose next series is already known.
struct Source {
    head: Arc<dyn Series>,
    set: Box<dyn SeriesSet>,
}

/// Streams: holds one series of each set. The sets are few (blocks, head, remote stores), so the smallest head is
/// found by looking at all of them.
struct Merged {
    sources: Vec<Source>,
    warnings: Vec<String>,
}

impl SeriesSet for Merged {
    fn next(&mut self) -> Result<Option<Arc<dyn Series>>, StorageError> {
        let smallest = self.sources.iter().min_by(|a, b| a.head.labels().cmp(b.head.labels()));
        let Some(labels) = smallest.map(|s| s.head.labels().clone()) else { return Ok(None) };
        let mut parts = Vec::with_capacity(1);
        let mut i = 0;
        while i < self.sources.len() {
            let source = &mut self.sources[i];
            if *source.head.labels() != labels {
                i += 1;
                continue;
            }
            match source.set.next()? {
                Some(next) => {
                    parts.push(std::mem::replace(&mut source.head, next));
                    i += 1;
                }
                None => {
                    let done = self.sources.remove(i);
                    self.warnings.extend(done.set.warnings());
                    parts.push(done.head);
                }
            }
        }
        Ok(match parts.len() {
            1 => parts.pop(),
            _ => Some(Arc::new(Joined { parts })),
        })
    }

    fn warnings(&self) -> Vec<String> {
        let open = self.sources.iter().flat_map(|s| s.set.warnings());
        self.warnings.iter().cloned().chain(open).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::{EncodedChunk, ListSeriesSet, SampleBuf};
    use model::{Labels, TimeRange};

    struct Fixed(Labels, Vec<(i64, f64)>);

    impl Series for Fixed {
        fn labels(&self) -> &Labels {
            &self.0
        }
        fn read(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
            for (t, v) in self.1.iter().filter(|s| range.contains(s.0)) {
                out.push_float(*t, *v);
            }
            Ok(())
        }
        fn chunks(&self, range: TimeRange) -> Result<Vec<EncodedChunk>, StorageError> {
            let mut samples = SampleBuf::default();
            self.read(range, &mut samples)?;
            crate::encode::chunks(&samples)
        }
    }

    fn set(name: &str, samples: &[(i64, f64)]) -> Box<dyn SeriesSet> {
        let labels = Labels::from_pairs([("__name__", name)]);
        Box::new(ListSeriesSet::new(vec![Arc::new(Fixed(labels, samples.to_vec()))]))
    }

    /// Never ends.
    struct Endless(std::sync::atomic::AtomicUsize);

    impl SeriesSet for Arc<Endless> {
        fn next(&mut self) -> Result<Option<Arc<dyn Series>>, StorageError> {
            let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
            Ok(Some(Arc::new(Fixed(Labels::from_pairs([("n", n.as_str())]), Vec::new()))))
        }
    }

    impl Querier for Arc<Endless> {
        fn select(&self, _: &[Matcher], _: &SelectHints) -> Result<Box<dyn SeriesSet>, StorageError> {
            Ok(Box::new(self.clone()))
        }
        fn label_names(&self, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
            Ok(Vec::new())
        }
        fn label_values(&self, _: &str, _: &[Matcher], _: usize) -> Result<Vec<String>, StorageError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn nobody_waits_for_series_in_vain() {
        let endless = Arc::new(Endless(0.into()));
        let seen = endless.clone();
        let read = move || seen.0.load(std::sync::atomic::Ordering::Relaxed);
        let asked = read.clone();
        let stop = crate::select::Stop::when(move || asked() > 3 * BETWEEN_LOOKS);
        let both = queriers(vec![Arc::new(endless.clone()), Arc::new(endless)]);
        let hints = SelectHints { stop, ..SelectHints::default() };
        assert!(matches!(both.select(&[], &hints), Err(StorageError::Cancelled)));
        assert!(read() <= 4 * BETWEEN_LOOKS);
    }

    #[test]
    fn stores_are_joined_in_order_of_labels() {
        let of = |list: &[(&str, i64)]| {
            let series = |(name, t): &(&str, i64)| {
                let labels = Labels::from_pairs([("__name__", *name)]);
                Arc::new(Fixed(labels, vec![(*t, 0.0)])) as Arc<dyn Series>
            };
            list.iter().map(series).collect::<Vec<_>>()
        };
        let mut joiner = Joiner::default();
        let stores: [&[(&str, i64)]; 3] = [
            &[("b", 1), ("d", 1), ("f", 1)],
            &[("a", 2), ("b", 2), ("f", 2)],
            &[("z", 3), ("f", 3), ("c", 3), ("a", 3)],
        ];
        for store in stores {
            joiner.begin();
            of(store).into_iter().for_each(|series| joiner.add(series));
        }
        let mut seen = Vec::new();
        for series in joiner.finish(&Stop::default()).expect("nobody stops it") {
            let mut out = SampleBuf::default();
            series.read(TimeRange::ALL, &mut out).expect("reads");
            seen.push((series.labels().metric_name().to_owned(), out.times));
        }
        let want = [
            ("a", vec![2, 3]),
            ("b", vec![1, 2]),
            ("c", vec![3]),
            ("d", vec![1]),
            ("f", vec![1, 2, 3]),
            ("z", vec![3]),
        ];
        assert_eq!(seen, want.map(|(name, times)| (name.to_owned(), times)));
    }

    #[test]
    fn equal_series_are_joined_and_the_later_store_wins() {
        let sets =
            vec![set("a", &[(1, 1.0), (3, 3.0)]), set("b", &[(1, 9.0)]), set("a", &[(2, 2.0), (3, 4.0)])];
        let mut merged = series_sets(sets).expect("merges");
        let first = merged.next().expect("reads").expect("one");
        let mut out = SampleBuf::default();
        out.push_float(0, 0.0);
        first.read(TimeRange::ALL, &mut out).expect("reads");
        assert_eq!(out.times, [0, 1, 2, 3]);
        assert_eq!(out.floats, [0.0, 1.0, 2.0, 4.0]);
        assert_eq!(first.chunks(TimeRange::ALL).expect("reads").len(), 1);
        assert_eq!(merged.next().expect("reads").expect("two").labels().metric_name(), "b");
        assert!(merged.next().expect("reads").is_none());
    }
}
