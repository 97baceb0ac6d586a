//! One series of several stores: its samples and its chunks, put in order.

use crate::encode;
use crate::error::StorageError;
use crate::select::{EncodedChunk, SampleBuf, Series};
use model::histogram::CounterResetHint;
use model::{Labels, TimeRange};
use std::cmp::Ordering;
use std::sync::Arc;

/// One series that lies in several stores.
pub(super) struct Joined {
    pub(super) parts: Vec<Arc<dyn Series>>,
}

impl Joined {
    /// Lets each part append its samples, and puts them in order.
    fn each(
        &self,
        out: &mut SampleBuf,
        read: impl Fn(&dyn Series, &mut SampleBuf) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let from = out.len();
        let mut bounds = vec![from];
        // Blocks and head follow each other in time almost always: then there is nothing to do.
        let mut ordered = true;
        for part in &self.parts {
            let joint = out.len();
            read(&**part, out)?;
            ordered &= joint == from || joint == out.len() || out.times[joint - 1] < out.times[joint];
            bounds.push(out.len());
        }
        if !ordered {
            sort_from(out, from, &bounds);
        }
        Ok(())
    }
}

impl Series for Joined {
    fn labels(&self) -> &Labels {
        self.parts[0].labels()
    }

    fn read(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        self.each(out, |part, out| part.read(range, out))
    }

    fn newest(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        self.each(out, |part, out| part.newest(range, out))
    }

    fn shown(&self) -> Labels {
        self.parts[0].shown()
    }

    fn digest(&self) -> u128 {
        self.parts[0].digest()
    }

    /// Chunks that overlap are decoded, merged and encoded anew; the others stay as they are.
    fn chunks(&self, range: TimeRange) -> Result<Vec<EncodedChunk>, StorageError> {
        let mut found: Vec<(usize, EncodedChunk)> = Vec::new();
        for (part, series) in self.parts.iter().enumerate() {
            found.extend(series.chunks(range)?.into_iter().map(|chunk| (part, chunk)));
        }
        found.sort_by_key(|(_, c)| c.range.min);
        let mut out = Vec::with_capacity(found.len());
        let mut rest = found.into_iter().peekable();
        let mut group: Vec<(usize, EncodedChunk)> = Vec::new();
        while let Some(first) = rest.next() {
            let mut end = first.1.range.max;
            group.clear();
            group.push(first);
            while let Some(next) = rest.next_if(|(_, c)| c.range.min <= end) {
                end = end.max(next.1.range.max);
                group.push(next);
            }
            let same = |c: &EncodedChunk| c.encoding == group[0].1.encoding && c.data == group[0].1.data;
            if group.iter().skip(1).all(|(_, c)| same(c)) {
                out.push(group.swap_remove(0).1);
            } else {
                out.extend(merged_chunks(&mut group)?);
            }
        }
        Ok(out)
    }
}

/// Samples of chunks that overlap, each with the number of the store that it comes from, as chunks that do not.
fn merged_chunks(group: &mut [(usize, EncodedChunk)]) -> Result<Vec<EncodedChunk>, StorageError> {
    group.sort_by_key(|(part, _)| *part);
    let mut samples = SampleBuf::default();
    let mut bounds = vec![0];
    for of_part in group.chunk_by(|a, b| a.0 == b.0) {
        for (_, chunk) in of_part {
            chunk::decode(chunk.encoding, &chunk.data, &mut samples.columns())
                .map_err(|e| StorageError::Corrupt(format!("chunk to be merged: {e}")))?;
        }
        bounds.push(samples.len());
    }
    sort_from(&mut samples, 0, &bounds);
    encode::chunks(&samples)
}

/// Brings samples from `from` on into order; of equal times the one of the later part stays.
fn sort_from(out: &mut SampleBuf, from: usize, bounds: &[usize]) {
    let part_of = |i: usize| bounds.partition_point(|b| *b <= i);
    let mut order: Vec<usize> = (from..out.len()).collect();
    order.sort_by(|a, b| match out.times[*a].cmp(&out.times[*b]) {
        Ordering::Equal => part_of(*b).cmp(&part_of(*a)),
        other => other,
    });
    order.dedup_by_key(|i| out.times[*i]);
    forget_hints(out, &order);
    out.pick_from(from, &order);
}

/// What a histogram says of a counter reset is about the sample before it in its own store. Where `order` puts
/// another one before it, nothing is known.
pub fn forget_hints(rows: &mut SampleBuf, order: &[usize]) {
    if rows.histograms.is_empty() {
        return;
    }
    let mut before = None;
    for at in order {
        let follows = before.is_some_and(|before: usize| before + 1 == *at);
        before = Some(*at);
        if follows {
            continue;
        }
        if let Ok(found) = rows.histograms.binary_search_by_key(&(*at as u32), |(i, _)| *i) {
            let h = &mut rows.histograms[found].1;
            if matches!(
                h.counter_reset_hint,
                CounterResetHint::NotCounterReset | CounterResetHint::CounterReset
            ) {
                Arc::make_mut(h).counter_reset_hint = CounterResetHint::Unknown;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks of given samples, as they are.
    struct Chunked(Labels, Vec<EncodedChunk>);

    impl Series for Chunked {
        fn labels(&self) -> &Labels {
            &self.0
        }
        fn read(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
            for chunk in &self.1 {
                chunk::xor::decode(&chunk.data, &mut out.times, &mut out.floats).expect("decodes");
            }
            out.retain_from(0, |t| range.contains(t));
            Ok(())
        }
        fn chunks(&self, range: TimeRange) -> Result<Vec<EncodedChunk>, StorageError> {
            Ok(self.1.iter().filter(|c| c.range.overlaps(range)).cloned().collect())
        }
    }

    #[test]
    fn only_overlapping_chunks_are_encoded_anew() {
        let chunk = |from: i64, to: i64, v: f64| {
            let mut samples = SampleBuf::default();
            (from..to).for_each(|t| samples.push_float(t, v));
            encode::chunks(&samples).expect("encodes").remove(0)
        };
        let series = |chunks: Vec<EncodedChunk>| -> Arc<dyn Series> {
            Arc::new(Chunked(Labels::from_pairs([("__name__", "a")]), chunks))
        };
        let old = vec![chunk(0, 100, 1.0), chunk(100, 200, 1.0), chunk(300, 310, 1.0)];
        let new = vec![chunk(150, 250, 2.0), chunk(300, 310, 1.0), chunk(400, 401, 2.0)];
        let joined = Joined { parts: vec![series(old.clone()), series(new)] };
        let got = joined.chunks(TimeRange::ALL).expect("merges");
        // The first is kept as it is, twins are one, and the overlap of 150 samples became two chunks.
        let spans: Vec<(i64, i64)> = got.iter().map(|c| (c.range.min, c.range.max)).collect();
        assert_eq!(spans, [(0, 99), (100, 219), (220, 249), (300, 309), (400, 400)]);
        assert_eq!(got[0].data, old[0].data);
        let (mut times, mut floats) = (Vec::new(), Vec::new());
        got.iter().for_each(|c| chunk::xor::decode(&c.data, &mut times, &mut floats).expect("decodes"));
        let mut want = SampleBuf::default();
        joined.read(TimeRange::ALL, &mut want).expect("reads");
        assert_eq!((times, floats), (want.times, want.floats));
    }
}
