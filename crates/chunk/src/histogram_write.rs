//! A histogram chunk that grows, of any of the four encodings.

use super::{HEADER_BYTES, Layout};
use crate::bits::{BitWriter, LastWindow};
use crate::encoding::{Encoding, MOST_WITH_FLAGS};
use crate::starts::StartWriter;
use model::histogram::CounterResetHint;
use model::{FloatHistogram, is_stale_nan};

/// Count, zero count and sum stand before the buckets.
const HEAD: usize = 3;
const SUM: usize = 2;

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
    /// Of integers: how much each field had grown, of buckets its difference to the neighbour.
    deltas: Vec<i64>,
    /// Of floats: the windows of their changes.
    windows: Vec<LastWindow>,
    /// Of integers: the window of the sum.
    sum_window: LastWindow,
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
            deltas: Vec::new(),
            windows: Vec::new(),
            sum_window: LastWindow::default(),
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
            match self.encoding.is_integer() {
                true => self.deltas = vec![0; HEAD + buckets],
                false => self.windows = vec![LastWindow::default(); HEAD + buckets],
            }
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
        for ((old, window), v) in self.values.iter().zip(&mut self.windows).zip(all) {
            if first {
                self.bits.put(v.to_bits(), 64);
            } else {
                self.bits.xor(old.to_bits() ^ v.to_bits(), window);
            }
        }
    }

    fn put_integers(&mut self, h: &FloatHistogram, first: bool, is_stale: bool) {
        let HistogramChunk { bits, values, deltas, sum_window, .. } = self;
        if first {
            bits.varbit_uint(h.count as u64);
            bits.varbit_uint(h.zero_count as u64);
            bits.put(h.sum.to_bits(), 64);
        } else {
            let rows = values.iter().zip(deltas.iter_mut()).zip([h.count, h.zero_count]);
            bits.varbit_ints(rows.map(|((old, delta), v)| {
                let grown = (v as i64).wrapping_sub(*old as i64);
                let before = std::mem::replace(delta, grown);
                // A stale marker counts nothing, which needs no telling.
                if is_stale { 0 } else { grown.wrapping_sub(before) }
            }));
            bits.xor(values[SUM].to_bits() ^ h.sum.to_bits(), sum_window);
        }
        let mut at = HEAD;
        for side in [&h.positive_buckets, &h.negative_buckets] {
            let end = at + side.len();
            let (Some(values), Some(deltas)) = (values.get(at..end), deltas.get_mut(at..end)) else { return };
            let (mut neighbour, mut old_neighbour) = (0i64, 0i64);
            // The difference to the neighbour, now and before.
            let mut differences = |v: f64, old: f64| {
                let (v, old) = (v as i64, old as i64);
                let now = v.wrapping_sub(neighbour);
                let before = old.wrapping_sub(old_neighbour);
                (neighbour, old_neighbour) = (v, old);
                (now, before)
            };
            let rows = side.iter().zip(values).zip(deltas);
            if first {
                bits.varbit_ints(rows.map(|((v, _), _)| differences(*v, 0.0).0));
            } else {
                bits.varbit_ints(rows.map(|((v, old), delta)| {
                    let (now, before) = differences(*v, *old);
                    let grown = now.wrapping_sub(before);
                    grown.wrapping_sub(std::mem::replace(delta, grown))
                }));
            }
            at = end;
        }
    }
}

#[path = "histogram_append.rs"]
mod append;
pub use append::Appended;
