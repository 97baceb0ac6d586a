//! One series in 64 bytes: identity, last sample, and the XOR chunk that is being written.
//!
//! The open chunk is a bit buffer that grows through the allocator's size classes; its encoder state stands
//! in the entry, so appending touches one cache line here and one at the end of the buffer. Bytes follow
//! upstream's XOR encoding (`chunkenc/xor.go`).

use chunk::varint;
use chunk::xor::{self, XorState};
use model::Sample;

/// The entry holds a series.
pub(crate) const LIVE: u8 = 1;
/// No series record of it is known to be in the log.
pub(crate) const UNLOGGED: u8 = 2;
/// `last_t` and `last_v` are of a sample (of this or an earlier run).
pub(crate) const HAS_LAST: u8 = 4;
/// The value of the last sample is unknown: it stands in a chunk on disk.
pub(crate) const LAST_ON_DISK: u8 = 8;
/// Samples of a batch have been checked against it and are not applied yet.
pub(crate) const PENDING: u8 = 16;
/// The newest in-order sample is a native histogram; `last_v` is its fingerprint.
pub(crate) const HISTOGRAM: u8 = 32;

/// Chunks are closed before they could grow beyond this (upstream's 1,024 bytes with room for a sample).
const MAX_BYTES_BEFORE_APPEND: usize = 1024 - 19;

/// That histogram is one of integers.
pub(crate) const INTEGER: u8 = 64;
/// The open chunk may stand beside the entries, see `aside`.
pub(crate) const ASIDE: u8 = 128;

/// How chunks are cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CutRule {
    /// Milliseconds; chunks never cross a multiple of it.
    pub(crate) chunk_range: i64,
    pub(crate) samples_per_chunk: u16,
}

/// A finished or copied chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawChunk {
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) bytes: Vec<u8>,
}

/// See the module text. 64 bytes: one cache line.
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Entry {
    /// Keyed hash of the canonical key.
    pub(crate) hash: [u64; 2],
    /// Time and value bits of the newest in-order sample.
    pub(crate) last_t: i64,
    pub(crate) last_v: u64,
    /// Open chunk; empty when there is none. Bits behind `bit_len` are zero.
    buffer: Box<[u8]>,
    /// Time between the last two samples of the open chunk.
    delta: u32,
    /// Milliseconds from the last sample until the chunk must be cut.
    until_cut: u32,
    bit_len: u16,
    count: u16,
    leading: u8,
    trailing: u8,
    pub(crate) flags: u8,
}

/// End of the chunk range that holds `t`.
pub(super) fn range_end(t: i64, range: i64) -> i64 {
    t.saturating_sub(t.rem_euclid(range)).saturating_add(range)
}

/// Size classes of the allocator up to the longest chunk.
const fn size_class(bytes: usize) -> usize {
    match bytes {
        0..=32 => 32,
        33..=128 => bytes.next_multiple_of(16),
        129..=256 => bytes.next_multiple_of(32),
        257..=512 => bytes.next_multiple_of(64),
        _ => bytes.next_multiple_of(128),
    }
}

/// End of a chunk that began at `min`, was a quarter full at `last`, and may not go beyond `max`.
fn planned_end(min: i64, last: i64, max: i64) -> i64 {
    let n = max.saturating_sub(min) as f64 / (last.saturating_sub(min).saturating_add(1) as f64 * 4.0);
    if n > 1.0 { (min as f64 + max.saturating_sub(min) as f64 / n.floor()) as i64 } else { max }
}

impl Entry {
    pub(crate) fn new(hash: [u64; 2]) -> Self {
        Entry { hash, flags: LIVE | UNLOGGED, last_t: i64::MIN, ..Entry::default() }
    }

    #[inline]
    pub(crate) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn has_open(&self) -> bool {
        self.count > 0
    }

    pub(crate) fn open_min(&self) -> i64 {
        self.buffer.get(2..).and_then(|mut b| varint::take_i64(&mut b)).unwrap_or(0)
    }

    /// Bytes allocated for the open chunk.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// A copy of the open chunk.
    pub(crate) fn open_chunk(&self) -> Option<RawChunk> {
        if self.count == 0 {
            return None;
        }
        let mut bytes = self.buffer.get(..usize::from(self.bit_len).div_ceil(8))?.to_vec();
        bytes.get_mut(..2)?.copy_from_slice(&self.count.to_be_bytes());
        Some(RawChunk { min: self.open_min(), max: self.last_t, bytes })
    }

    /// Takes over an XOR chunk as the open one; `times` are those of its samples. `false`, and nothing done, when it
    /// is not one that could have been open here.
    pub(crate) fn restore(&mut self, data: &[u8], times: &[i64], rule: CutRule) -> bool {
        let (Ok(state), [first, .., last] | [first @ last]) = (XorState::resume(data), times) else {
            return false;
        };
        let sorted = times.is_sorted_by(|a, b| a < b) && *last == state.t;
        let (Ok(count), Ok(bits), Ok(delta)) =
            (u16::try_from(times.len()), u16::try_from(state.bits), u32::try_from(state.delta))
        else {
            return false;
        };
        let used = usize::from(bits).div_ceil(8);
        if !sorted || used > data.len() || used > MAX_BYTES_BEFORE_APPEND * 2 {
            return false;
        }
        let mut end = range_end(*first, rule.chunk_range);
        let quarter = usize::from(rule.samples_per_chunk / 4);
        if let Some(at) = quarter.checked_sub(1).filter(|_| times.len() > quarter) {
            end = planned_end(*first, times[at], end);
        }
        if end <= *last {
            return false;
        }
        let mut buffer = vec![0u8; size_class(used)].into_boxed_slice();
        buffer[..used].copy_from_slice(&data[..used]);
        if !bits.is_multiple_of(8) {
            buffer[used - 1] &= 0xff << (8 - bits % 8);
        }
        self.buffer = buffer;
        (self.count, self.bit_len, self.delta) = (count, bits, delta);
        (self.leading, self.trailing) = (state.leading, state.trailing);
        (self.last_t, self.last_v) = (state.t, state.v.to_bits());
        self.until_cut = end.saturating_sub(*last).clamp(0, i64::from(u32::MAX)) as u32;
        self.flags = (self.flags | HAS_LAST) & !(LAST_ON_DISK | HISTOGRAM | INTEGER | ASIDE);
        true
    }

    /// Drops the open chunk; the last sample stays known.
    pub(crate) fn drop_open(&mut self) {
        self.buffer = Box::default();
        self.count = 0;
        self.bit_len = 0;
    }

    /// Notes the newest time of samples that stand in chunks on disk.
    pub(crate) fn set_last_on_disk(&mut self, t: i64) {
        self.last_t = t;
        self.flags |= HAS_LAST | LAST_ON_DISK;
    }

    /// Notes the newest sample, which went to a chunk beside the entries: its time, its value or fingerprint, and the
    /// flags of its kind.
    pub(crate) fn set_last_aside(&mut self, t: i64, v: u64, kind: u8) {
        (self.last_t, self.last_v) = (t, v);
        let old = self.flags & !(LAST_ON_DISK | HISTOGRAM | INTEGER | ASIDE);
        self.flags = old | HAS_LAST | kind;
    }

    /// Appends a sample newer than the last one. Gives the chunk that had to be closed before it, and whether
    /// a chunk was opened.
    #[inline]
    pub(crate) fn append(&mut self, s: Sample, rule: CutRule) -> (Option<RawChunk>, bool) {
        if self.count > 0 {
            // Both fit: chunks never cross a range, and ranges beyond 49 days are cut below.
            let delta = s.t.wrapping_sub(self.last_t) as u64;
            if self.count == rule.samples_per_chunk / 4 {
                self.plan_cut();
            }
            let full = delta >= u64::from(self.until_cut)
                || self.count >= rule.samples_per_chunk * 2
                || usize::from(self.bit_len) > MAX_BYTES_BEFORE_APPEND * 8;
            if !full {
                self.push(s, delta as u32);
                return (None, false);
            }
        }
        let closed = self.open_chunk();
        self.start(s, rule);
        (closed, true)
    }

    /// A quarter of the chunk is written: spreads the samples to come evenly over what is left of the range
    /// (upstream `computeChunkEndTime` with ratio 4).
    fn plan_cut(&mut self) {
        let min = self.open_min();
        let max = self.last_t + i64::from(self.until_cut);
        let end = planned_end(min, self.last_t, max);
        self.until_cut = (end - self.last_t).clamp(0, i64::from(u32::MAX)) as u32;
    }

    #[cold]
    fn start(&mut self, s: Sample, rule: CutRule) {
        self.buffer = Box::from([0u8; size_class(0)]);
        (self.count, self.bit_len, self.delta) = (0, 16, 0);
        (self.leading, self.trailing) = (xor::NO_WINDOW, 0);
        self.until_cut = (range_end(s.t, rule.chunk_range) - s.t).clamp(0, i64::from(u32::MAX)) as u32;
        self.encode(s);
    }

    #[inline]
    fn push(&mut self, s: Sample, delta: u32) {
        self.until_cut -= delta;
        if self.count > 1
            && delta == self.delta
            && s.v.to_bits() == self.last_v
            && usize::from(self.bit_len) + 2 <= self.buffer.len() * 8
        {
            // On schedule and unchanged: two zero bits, and zero is what the buffer holds already.
            self.bit_len += 2;
            self.count += 1;
            self.last_t = s.t;
        } else {
            self.encode(s);
        }
    }

    #[inline]
    fn encode(&mut self, s: Sample) {
        let mut state = XorState {
            t: self.last_t,
            v: f64::from_bits(self.last_v),
            delta: u64::from(self.delta),
            bits: u32::from(self.bit_len),
            leading: self.leading,
            trailing: self.trailing,
        };
        // The number of samples stands in the entry alone until the chunk is copied: its header is another
        // cache line.
        if let Err(grow) = state.append_counted(&mut self.buffer, self.count, s.t, s.v) {
            let mut grown = vec![0u8; size_class(grow.bytes)];
            grown[..self.buffer.len()].copy_from_slice(&self.buffer);
            self.buffer = grown.into_boxed_slice();
            let again = state.append_counted(&mut self.buffer, self.count, s.t, s.v);
            debug_assert!(again.is_ok(), "grown buffer too short");
        }
        self.delta = state.delta as u32;
        self.bit_len = state.bits as u16;
        (self.leading, self.trailing) = (state.leading, state.trailing);
        (self.last_t, self.last_v) = (s.t, s.v.to_bits());
        self.flags = (self.flags | HAS_LAST) & !LAST_ON_DISK;
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_cache_line() {
        assert_eq!(size_of::<Entry>(), 64);
    }

    #[test]
    fn cuts_as_upstream() {
        let rule = CutRule { chunk_range: 7_200_000, samples_per_chunk: 120 };
        let mut entry = Entry::new([1, 2]);
        let mut cuts = Vec::new();
        for i in 0..1000 {
            let (closed, _) = entry.append(Sample { t: i * 15_000, v: i as f64 }, rule);
            if let Some(chunk) = closed {
                cuts.push((chunk.min / 15_000, chunk.max / 15_000));
            }
        }
        // 480 samples per range: four chunks of 120.
        assert_eq!(cuts[..4], [(0, 119), (120, 239), (240, 359), (360, 479)]);
        assert_eq!(entry.last_t, 999 * 15_000);
    }

    #[test]
    fn restored_chunks_go_on_as_if_nothing_had_happened() {
        let rule = CutRule { chunk_range: 7_200_000, samples_per_chunk: 120 };
        let sample = |i: i64| Sample { t: i * 15_000 + i % 3, v: (i * i % 17) as f64 };
        for stop in [1, 2, 29, 30, 31, 32, 119, 120] {
            let (mut whole, mut first) = (Entry::new([1, 2]), Entry::new([1, 2]));
            for i in 0..stop {
                whole.append(sample(i), rule);
                first.append(sample(i), rule);
            }
            let kept = first.open_chunk().unwrap();
            let (mut times, mut values) = (Vec::new(), Vec::new());
            xor::decode(&kept.bytes, &mut times, &mut values).unwrap();
            let mut again = Entry::new([1, 2]);
            assert!(again.restore(&kept.bytes, &times, rule), "{stop}");
            for i in stop..500 {
                assert_eq!(again.append(sample(i), rule), whole.append(sample(i), rule), "{stop} {i}");
            }
            assert_eq!(again.open_chunk(), whole.open_chunk());
        }
        let mut entry = Entry::new([1, 2]);
        assert!(!entry.restore(&[0, 0], &[], rule) && !entry.restore(&[0, 9, 1], &[1, 2], rule));
    }

    #[test]
    fn unchanged_values_cost_two_bits() {
        let rule = CutRule { chunk_range: 7_200_000, samples_per_chunk: 120 };
        let mut entry = Entry::new([1, 2]);
        for i in 0..100 {
            entry.append(Sample { t: 1_700_000_000_000 + i * 15_000, v: 1.0 }, rule);
        }
        assert!(entry.buffer_bytes() <= 48, "{}", entry.buffer_bytes());
        let chunk = entry.open_chunk().unwrap();
        assert_eq!(chunk.bytes[..2], [0, 100]);
        assert_eq!(chunk.min, 1_700_000_000_000);
    }
}
