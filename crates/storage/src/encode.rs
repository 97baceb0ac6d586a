//! Samples as chunks: how rows that were merged, filled in or converted are encoded anew.

use crate::error::StorageError;
use crate::select::{EncodedChunk, SampleBuf};
use model::histogram::CounterResetHint;
use model::{FloatHistogram, TimeRange};
use std::sync::Arc;

/// Samples per chunk.
const SAMPLES_PER_CHUNK: usize = 120;
/// A histogram chunk of this size is full (upstream `chunkenc.TargetBytesPerHistogramChunk`)…
const HISTOGRAM_CHUNK_BYTES: usize = 1024;
/// …when it has so many samples (upstream `chunkenc.MinSamplesPerHistogramChunk`)…
const HISTOGRAMS_PER_CHUNK: usize = 10;
/// …and of this size always.
const MAX_HISTOGRAM_CHUNK_BYTES: usize = 1 << 20;

/// Encodes samples as chunks: floats as XOR chunks of 120, native histograms by their kind, integers or floats. Runs
/// of samples with start timestamps get an encoding that keeps them.
pub fn chunks(samples: &SampleBuf) -> Result<Vec<EncodedChunk>, StorageError> {
    let mut chunks = Vec::with_capacity(samples.len() / SAMPLES_PER_CHUNK + 1);
    let mut histograms = samples.histograms.as_slice();
    let mut hint = CounterResetHint::Unknown;
    let mut at = 0;
    while at < samples.len() {
        match histograms.first() {
            Some((index, _)) if *index as usize <= at => {
                let (run, chunk, reset) = encode_histograms(at, samples, histograms, hint);
                hint = reset;
                histograms = &histograms[run..];
                at += run;
                chunks.push(chunk);
            }
            next => {
                let until = next.map_or(samples.len(), |(index, _)| *index as usize);
                let end = until.min(at + SAMPLES_PER_CHUNK);
                chunks.push(encode_floats(at..end, samples));
                hint = CounterResetHint::Unknown;
                at = end;
            }
        }
    }
    Ok(chunks)
}

fn encoded(times: &[i64], encoding: chunk::Encoding, data: Vec<u8>) -> EncodedChunk {
    let bound = |t: Option<&i64>| t.copied().unwrap_or_default();
    let range = TimeRange::new(bound(times.first()), bound(times.last()));
    EncodedChunk { range, encoding: encoding.number(), data }
}

fn encode_floats(part: std::ops::Range<usize>, samples: &SampleBuf) -> EncodedChunk {
    let times = &samples.times[part.clone()];
    let floats = &samples.floats[part.clone()];
    if part.clone().any(|i| samples.start_at(i) != 0) {
        let mut chunk = chunk::Xor2Chunk::new();
        for ((t, v), i) in times.iter().zip(floats).zip(part) {
            chunk.push(*t, samples.start_at(i), *v);
        }
        return encoded(times, chunk::Encoding::Xor2, chunk.data().to_vec());
    }
    let mut chunk = chunk::XorChunk::new();
    for (t, v) in times.iter().zip(floats) {
        chunk.push(*t, *v);
    }
    encoded(times, chunk::Encoding::Xor, chunk.data().to_vec())
}

/// One chunk of the histograms that follow each other from index `at` on, and how many it took: at least one. Then
/// what is known of a reset before the next one.
fn encode_histograms(
    at: usize,
    samples: &SampleBuf,
    list: &[(u32, Arc<FloatHistogram>)],
    hint: CounterResetHint,
) -> (usize, EncodedChunk, CounterResetHint) {
    let encoding_of = |i: usize, h: &FloatHistogram| {
        chunk::Encoding::of_histograms(h.holds_integers(), samples.start_at(i) != 0)
    };
    let mut taken = 0;
    let mut next_hint = CounterResetHint::Unknown;
    let mut chunk = chunk::HistogramChunk::new(chunk::Encoding::FloatHistogram, CounterResetHint::Unknown);
    for (index, h) in list {
        let is_next = *index as usize <= at + taken;
        let full = taken >= SAMPLES_PER_CHUNK
            || (taken >= HISTOGRAMS_PER_CHUNK && chunk.data().len() >= HISTOGRAM_CHUNK_BYTES)
            || chunk.data().len() >= MAX_HISTOGRAM_CHUNK_BYTES;
        if taken > 0 && (!is_next || full) {
            if is_next {
                next_hint = chunk.reset_before(h);
            }
            break;
        }
        let (t, start) = (samples.times[at + taken], samples.start_at(at + taken));
        let encoding = encoding_of(at + taken, h);
        if taken == 0 {
            chunk = chunk::HistogramChunk::begin(encoding, t, start, h, hint);
        } else if encoding != chunk.encoding() {
            break;
        } else {
            match chunk.append(t, start, h) {
                chunk::Appended::Done => {}
                chunk::Appended::NewChunk { reset } => {
                    if reset {
                        next_hint = CounterResetHint::CounterReset;
                    }
                    break;
                }
            }
        }
        taken += 1;
    }
    let done = encoded(&samples.times[at..at + taken], chunk.encoding(), chunk.data().to_vec());
    (taken, done, next_hint)
}
