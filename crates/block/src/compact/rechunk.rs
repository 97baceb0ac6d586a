//! Writing chunks of a series anew so that they take less room: with the best windows, and several in one.

use crate::error::BlockError;
use chunk::window::Reencoder;
use chunk::{Encoding, xor};
use model::TimeRange;
use storage::select::EncodedChunk;

/// Chunks that are joined stay below this size: a query reads whole chunks.
const MAX_CHUNK_BYTES: usize = 4 << 10;

/// What becomes of float chunks in a block. Every Prometheus reads the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rechunk {
    /// Choose the windows of significant bits anew, which costs about 10 ns per sample.
    pub shrink: bool,
    /// Join neighbours while they have no more samples than this together; 0 keeps chunks apart.
    pub join_samples: usize,
}

/// [`Rechunk`] at work; keeps its memory between series.
#[derive(Default)]
pub(super) struct Rechunker {
    rule: Rechunk,
    reencoder: Reencoder,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Rechunker {
    pub(super) fn new(rule: Rechunk) -> Self {
        Rechunker { rule, ..Self::default() }
    }

    /// The same samples in other chunks. `chunks` are in order of time and do not overlap.
    pub(super) fn apply(&mut self, mut chunks: Vec<EncodedChunk>) -> Result<Vec<EncodedChunk>, BlockError> {
        if self.rule.join_samples > 0 && chunks.len() > 1 {
            chunks = self.join(chunks)?;
        }
        if self.rule.shrink {
            for chunk in chunks.iter_mut().filter(|c| is_xor(c)) {
                if let Some(data) = self.reencoder.shrink(&chunk.data).map_err(|e| unreadable(&e))? {
                    chunk.data = data;
                }
            }
        }
        Ok(chunks)
    }

    fn join(&mut self, chunks: Vec<EncodedChunk>) -> Result<Vec<EncodedChunk>, BlockError> {
        let mut out = Vec::with_capacity(chunks.len());
        let mut rest = chunks.as_slice();
        while let Some(first) = rest.first() {
            let (mut samples, mut bytes) = (0, 0);
            let fits = |c: &&EncodedChunk| {
                samples += count(c);
                bytes += c.data.len();
                is_xor(c) && samples <= self.rule.join_samples && bytes <= MAX_CHUNK_BYTES
            };
            let (group, behind) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            match group {
                [_, _, ..] => out.push(self.one_of(group)?),
                _ => out.push(first.clone()),
            }
            rest = behind;
        }
        Ok(out)
    }

    fn one_of(&mut self, group: &[EncodedChunk]) -> Result<EncodedChunk, BlockError> {
        self.times.clear();
        self.values.clear();
        for chunk in group {
            xor::decode(&chunk.data, &mut self.times, &mut self.values).map_err(|e| unreadable(&e))?;
        }
        let (Some(min), Some(max)) = (self.times.first(), self.times.last()) else {
            return Err(BlockError::Input("chunk without samples".into()));
        };
        let range = TimeRange::new(*min, *max);
        let data = self.reencoder.encode(&self.times, &self.values);
        Ok(EncodedChunk { range, encoding: Encoding::Xor.number(), data })
    }
}

fn is_xor(chunk: &EncodedChunk) -> bool {
    chunk.encoding == Encoding::Xor.number()
}

fn count(chunk: &EncodedChunk) -> usize {
    chunk::sample_count(chunk.encoding, &chunk.data).map_or(usize::MAX / 2, usize::from)
}

fn unreadable(e: &chunk::ChunkError) -> BlockError {
    BlockError::Input(format!("chunk cannot be read: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk_of(times: std::ops::Range<i64>, value: impl Fn(i64) -> f64) -> EncodedChunk {
        let mut chunk = chunk::XorChunk::new();
        times.clone().for_each(|t| chunk.push(t * 15_000, value(t)));
        let range = TimeRange::new(times.start * 15_000, (times.end - 1) * 15_000);
        EncodedChunk { range, encoding: 1, data: chunk.data().to_vec() }
    }

    fn samples(chunks: &[EncodedChunk]) -> (Vec<i64>, Vec<f64>) {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        chunks.iter().for_each(|c| xor::decode(&c.data, &mut times, &mut values).expect("decodes"));
        (times, values)
    }

    fn counts(lens: &[i64], rule: Rechunk, value: impl Fn(i64) -> f64) -> Vec<usize> {
        let mut at = 0;
        let chunks: Vec<EncodedChunk> = lens
            .iter()
            .map(|len| {
                at += len;
                chunk_of(at - len..at, &value)
            })
            .collect();
        let got = Rechunker::new(rule).apply(chunks.clone()).expect("joins");
        assert_eq!(samples(&got), samples(&chunks));
        assert!(got.windows(2).all(|w| w[0].range.max < w[1].range.min));
        assert!(got.iter().map(|c| c.data.len()).sum::<usize>() <= chunks.iter().map(|c| c.data.len()).sum());
        got.iter().map(count).collect()
    }

    #[test]
    fn neighbours_join_up_to_the_limits() {
        let rule = Rechunk { shrink: false, join_samples: 480 };
        assert_eq!(counts(&[120; 9], rule, |t| t as f64), [480, 480, 120]);
        assert_eq!(counts(&[97; 12], rule, |t| t as f64), [388, 388, 388]);
        assert_eq!(counts(&[500, 10, 470, 1], rule, |t| t as f64), [500, 480, 1]);
        assert_eq!(counts(&[120; 3], Rechunk::default(), |t| t as f64), [120; 3]);
        // Values that hardly compress: the size counts.
        let noise = |t: i64| f64::from_bits((t as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
        assert_eq!(counts(&[240; 4], rule, noise), [480, 480]);
        assert_eq!(counts(&[400; 2], Rechunk { shrink: true, join_samples: 4000 }, noise), [400; 2]);
    }

    #[test]
    fn other_kinds_stay_as_they_are() {
        let mut histogram = chunk_of(480..600, |t| t as f64);
        histogram.encoding = Encoding::Histogram.number();
        let chunks = vec![chunk_of(0..120, |_| 1.0), chunk_of(120..240, |_| 1.0), histogram.clone()];
        let got = Rechunker::new(Rechunk { shrink: true, join_samples: 480 }).apply(chunks).expect("joins");
        assert_eq!(got.len(), 2);
        assert_eq!(count(&got[0]), 240);
        assert_eq!(got[1].data, histogram.data);
    }
}
