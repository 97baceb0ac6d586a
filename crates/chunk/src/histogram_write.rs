//! A histogram chunk that grows, of any of the four encodings.

use super::{HEADER_BYTES, Layout};
use crate::bits::BitWriter;
use crate::encoding::{Encoding, MOST_WITH_FLAGS};
use crate::starts::StartWriter;
use model::histogram::CounterResetHint;
use model::{FloatHistogram, is_stale_nan};

/// Count, zero count and sum stand before the buckets.
const HEAD: usize = 3;
const SUM: usize = 2;

/// How a field was last written.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    /// Integers: the value, of buckets the difference to their neighbour, and how much it had grown.
    value: i64,
    delta: i64,
    /// Floats: the window of their changes.
    window: Option<(u32, u32)>,
}

/// A histogram chunk that grows.
#[derive(Clone, Debug)]
pub struct HistogramChunk {
    bits: BitWriter,
    encoding: Encoding,
    hint: CounterResetHint,
    layout: Layout,
    count: u16,
    t: i64,
    delta: i64,
    /// Count, zero count, sum, then the buckets, in absolute numbers.
    values: Vec<f64>,
    last: Vec<Last>,
    starts: StartWriter,
}

/// The upper two bits of a byte.
fn flags(hint: CounterResetHint) -> u8 {
    match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::NotCounterReset => 0b01 << 6,
        CounterResetHint::CounterReset => 0b10 << 6,
        CounterResetHint::Gauge => 0b11 << 6,
    }
}

impl HistogramChunk {
    /// `encoding`: one of histograms. `hint`: what is known about a counter reset before the first sample.
    pub fn new(encoding: Encoding, hint: CounterResetHint) -> Self {
        debug_assert!(encoding.is_histogram());
        let header = match encoding.has_starts() {
            true => vec![flags(hint), 0, 0],
            false => vec![0, 0, flags(hint)],
        };
        debug_assert_eq!(header.len(), HEADER_BYTES);
        HistogramChunk {
            bits: BitWriter::after(header),
            encoding,
            hint,
            layout: Layout::default(),
            count: 0,
            t: 0,
            delta: 0,
            values: Vec::new(),
            last: Vec::new(),
            starts: StartWriter::default(),
        }
    }

    pub fn len(&self) -> u16 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn data(&self) -> &[u8] {
        self.bits.data()
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn most(&self) -> u16 {
        if self.encoding.has_starts() { MOST_WITH_FLAGS } else { u16::MAX }
    }

    /// Appends a sample; `start`: its start timestamp in ms, 0 for none, which only some encodings keep. False, and
    /// nothing done, when it needs a chunk of its own: its layout differs, the last sample was a stale marker, or the
    /// chunk is full. Counter resets are for the caller to see, and that a chunk of integers gets integers.
    #[must_use]
    pub fn push(&mut self, t: i64, start: i64, h: &FloatHistogram) -> bool {
        let stale;
        let h = if is_stale_nan(h.sum) {
            stale = FloatHistogram { sum: h.sum, ..FloatHistogram::default() };
            &stale
        } else {
            h
        };
        let is_stale = is_stale_nan(h.sum);
        let (before, first) = (self.t, self.count == 0);
        if first {
            self.layout = Layout::of(h);
            self.layout.put(&mut self.bits);
            self.bits.varbit_int(t);
            let buckets = h.positive_buckets.len() + h.negative_buckets.len();
            self.values = vec![0.0; HEAD + buckets];
            self.last = vec![Last::default(); HEAD + buckets];
        } else {
            let was_stale = is_stale_nan(self.values[SUM]);
            let buckets = h.positive_buckets.len() + h.negative_buckets.len();
            let fits =
                is_stale || (!was_stale && self.layout.is_of(h) && self.values.len() == HEAD + buckets);
            if !fits || self.count == self.most() {
                return false;
            }
            let delta = t.wrapping_sub(self.t);
            self.bits.varbit_int(delta.wrapping_sub(self.delta));
            self.delta = delta;
        }
        match self.encoding.is_integer() {
            true => self.put_integers(h, first, is_stale),
            false => self.put_floats(h, first),
        }
        let head = [h.count, h.zero_count, h.sum];
        let all = head.iter().chain(&h.positive_buckets).chain(&h.negative_buckets);
        self.values.iter_mut().zip(all).for_each(|(have, v)| *have = *v);
        if self.encoding.has_starts() {
            self.starts.put(&mut self.bits, self.count, t, before, start);
        }
        self.t = t;
        self.count += 1;
        self.put_count();
        true
    }

    fn put_count(&mut self) {
        let flags = if self.encoding.has_starts() { u16::from(flags(self.hint)) << 8 } else { 0 };
        self.bits.set_count(flags | self.count);
    }

    fn put_floats(&mut self, h: &FloatHistogram, first: bool) {
        let head = [h.count, h.zero_count, h.sum];
        let all = head.iter().chain(&h.positive_buckets).chain(&h.negative_buckets);
        for ((old, last), v) in self.values.iter().zip(&mut self.last).zip(all) {
            if first {
                self.bits.put(v.to_bits(), 64);
            } else {
                self.bits.xor(old.to_bits() ^ v.to_bits(), &mut last.window);
            }
        }
    }

    fn put_integers(&mut self, h: &FloatHistogram, first: bool, is_stale: bool) {
        let bits = &mut self.bits;
        for (last, v) in self.last.iter_mut().zip([h.count, h.zero_count]) {
            let (n, old) = (v as i64, *last);
            last.value = n;
            if first {
                bits.varbit_uint(n as u64);
                continue;
            }
            last.delta = n.wrapping_sub(old.value);
            // A stale marker counts nothing, which needs no telling.
            bits.varbit_int(if is_stale { 0 } else { last.delta.wrapping_sub(old.delta) });
        }
        if first {
            bits.put(h.sum.to_bits(), 64);
        } else {
            bits.xor(self.values[SUM].to_bits() ^ h.sum.to_bits(), &mut self.last[SUM].window);
        }
        let mut fields = self.last.iter_mut().skip(HEAD);
        for side in [&h.positive_buckets, &h.negative_buckets] {
            let mut neighbour = 0i64;
            for (v, last) in side.iter().zip(&mut fields) {
                let n = (*v as i64).wrapping_sub(neighbour);
                neighbour = *v as i64;
                if first {
                    bits.varbit_int(n);
                } else {
                    let delta = n.wrapping_sub(last.value);
                    bits.varbit_int(delta.wrapping_sub(last.delta));
                    last.delta = delta;
                }
                last.value = n;
            }
        }
    }
}

#[path = "histogram_append.rs"]
mod append;
pub use append::Appended;
