//! Native histogram chunks: integers (encoding 2) and floats (3), and both with start times (5 and 6).
//!
//! | part | content |
//! |---|---|
//! | number of samples | u16, big-endian; with start times 14 bits behind the flags |
//! | flags | u8; upper two bits: `10` counter reset, `01` none, `11` gauge, `00` unknown. With start times the header of those, see [`crate::starts`] |
//! | layout | zero threshold, schema (varbit), positive and negative spans, custom bounds |
//! | first sample | t; count, zero count, sum, buckets in full |
//! | others | t as delta of delta; integers as deltas of deltas (varbit), floats as XOR each with its own window |
//!
//! A sample's start time stands behind it.
//!
//! Every sample of a chunk has the layout of the first. A stale marker has a sum and nothing else.

use crate::bits::{BitReader, BitWriter, Window};
use crate::encoding::{self, ChunkError, Columns, Encoding, MOST_WITH_FLAGS};
use crate::starts::{StartReader, note};
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Span};
use model::{FloatHistogram, is_stale_nan};
use std::sync::Arc;

pub const HEADER_BYTES: usize = 3;

/// What all samples of a chunk share.
#[derive(Clone, Debug, Default, PartialEq)]
struct Layout {
    schema: i32,
    zero_threshold: f64,
    positive_spans: Vec<Span>,
    negative_spans: Vec<Span>,
    custom_values: Vec<f64>,
}

const WINDOW: ChunkError = ChunkError::Malformed("more than 64 significant bits");

impl Layout {
    fn take(bits: &mut BitReader<'_>) -> Result<Layout, ChunkError> {
        let zero_threshold = match bits.take(8) {
            0 => 0.0,
            255 => bits.float(),
            n => 2f64.powi(n as i32 - 244),
        };
        let schema = bits.varbit_int() as i32;
        let known = schema == CUSTOM_BUCKETS_SCHEMA || (-9..=8).contains(&schema);
        if !known && !bits.overrun() {
            return Err(ChunkError::UnknownSchema(schema));
        }
        let positive_spans = take_spans(bits)?;
        let negative_spans = take_spans(bits)?;
        let mut custom_values = Vec::new();
        if schema == CUSTOM_BUCKETS_SCHEMA {
            for _ in 0..bits.varbit_uint() {
                custom_values.push(match bits.varbit_uint() {
                    0 => bits.float(),
                    n => (n - 1) as f64 / 1000.0,
                });
                checked(bits)?;
            }
        }
        Ok(Layout { schema, zero_threshold, positive_spans, negative_spans, custom_values })
    }

    fn put(&self, bits: &mut BitWriter) {
        put_zero_threshold(bits, self.zero_threshold);
        bits.varbit_int(i64::from(self.schema));
        for spans in [&self.positive_spans, &self.negative_spans] {
            bits.varbit_uint(spans.len() as u64);
            for span in spans {
                bits.varbit_uint(u64::from(span.length));
                bits.varbit_int(i64::from(span.offset));
            }
        }
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            bits.varbit_uint(self.custom_values.len() as u64);
            self.custom_values.iter().for_each(|bound| put_custom_bound(bits, *bound));
        }
    }

    fn of(h: &FloatHistogram) -> Layout {
        Layout {
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            positive_spans: h.positive_spans.clone(),
            negative_spans: h.negative_spans.clone(),
            custom_values: h.custom_values.clone(),
        }
    }

    fn is_of(&self, h: &FloatHistogram) -> bool {
        let same = |a: &[f64], b: &[f64]| a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits()));
        self.schema == h.schema
            && self.zero_threshold.to_bits() == h.zero_threshold.to_bits()
            && self.positive_spans == h.positive_spans
            && self.negative_spans == h.negative_spans
            && same(&self.custom_values, &h.custom_values)
    }
}

fn checked(bits: &BitReader<'_>) -> Result<(), ChunkError> {
    if bits.overrun() { Err(ChunkError::Truncated) } else { Ok(()) }
}

fn take_spans(bits: &mut BitReader<'_>) -> Result<Vec<Span>, ChunkError> {
    let mut spans = Vec::new();
    for _ in 0..bits.varbit_uint() {
        let length = bits.varbit_uint() as u32;
        spans.push(Span { length, offset: bits.varbit_int() as i32 });
        checked(bits)?;
    }
    Ok(spans)
}

/// Exact powers of two from 2^-243 to 2^10 take one byte, others nine.
fn put_zero_threshold(bits: &mut BitWriter, threshold: f64) {
    if threshold == 0.0 {
        return bits.put(0, 8);
    }
    let exponent = (threshold.to_bits() >> 52) as i32 - 1023;
    let is_power = threshold.to_bits() & ((1 << 52) - 1) == 0;
    if is_power && (-243..=10).contains(&exponent) {
        bits.put((exponent + 244) as u64, 8);
    } else {
        bits.put(255, 8);
        bits.put(threshold.to_bits(), 64);
    }
}

/// Multiples of 0.001 up to 33,554.430 are short numbers, others floats behind a zero.
fn put_custom_bound(bits: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let whole = thousandths.round() / 1000.0 == bound;
    if whole && (0.0..=33_554_430.0).contains(&thousandths) {
        bits.varbit_uint(thousandths.round() as u64 + 1);
    } else {
        bits.put(0, 1);
        bits.put(bound.to_bits(), 64);
    }
}

fn bucket_count(spans: &[Span], data: &[u8]) -> Result<usize, ChunkError> {
    let n: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    // Each bucket of the first sample takes a bit at least, so a lying span cannot claim memory.
    if n > data.len() as u64 * 8 { Err(ChunkError::Truncated) } else { Ok(n as usize) }
}

/// As upstream: what the chunk says of its first sample is not trusted, for the chunk before it may be gone.
fn hint(flags: u8, index: usize) -> CounterResetHint {
    match (flags >> 6, index) {
        (0b11, _) => CounterResetHint::Gauge,
        (_, 0) => CounterResetHint::Unknown,
        _ => CounterResetHint::NotCounterReset,
    }
}

/// Appends the samples of a histogram chunk. On `Err` the columns are as they were.
pub(crate) fn decode(encoding: Encoding, data: &[u8], into: &mut Columns<'_>) -> Result<(), ChunkError> {
    into.all_or_nothing(|into| {
        if encoding.is_integer() {
            decode_with(encoding, data, into, Integers::default())
        } else {
            decode_with(encoding, data, into, Floats::default())
        }
    })
}

/// The fields of a sample besides its time.
trait Fields {
    fn first(&mut self, bits: &mut BitReader<'_>, positive: usize, negative: usize);
    /// Count, zero count and sum.
    fn next_head(&mut self, bits: &mut BitReader<'_>) -> Result<(), ChunkError>;
    fn next_buckets(&mut self, bits: &mut BitReader<'_>) -> Result<(), ChunkError>;
    fn sum(&self) -> f64;
    /// Count, zero count, positive and negative buckets.
    fn values(&self) -> (f64, f64, Vec<f64>, Vec<f64>);
}

/// Number of samples, and the flags in the upper two bits of a byte.
fn take_header(encoding: Encoding, data: &[u8]) -> Result<(u16, u8), ChunkError> {
    let count = encoding::count(data)?;
    let third = data.get(2).ok_or(ChunkError::Truncated);
    Ok(match encoding.has_starts() {
        true => (count & MOST_WITH_FLAGS, (count >> 8) as u8),
        // An empty chunk may be two bytes long.
        false if count == 0 => (0, 0),
        false => (count, *third?),
    })
}

fn decode_with(
    encoding: Encoding,
    data: &[u8],
    into: &mut Columns<'_>,
    mut fields: impl Fields,
) -> Result<(), ChunkError> {
    let (count, flags) = take_header(encoding, data)?;
    if count == 0 {
        return Ok(());
    }
    let third = *data.get(2).ok_or(ChunkError::Truncated)?;
    let mut starts = StartReader::new(if encoding.has_starts() { third } else { 0 });
    let integer = encoding.is_integer();
    let mut bits = BitReader::new(&data[HEADER_BYTES..]);
    let layout = Layout::take(&mut bits)?;
    let positive = bucket_count(&layout.positive_spans, data)?;
    let negative = bucket_count(&layout.negative_spans, data)?;
    let (mut t, mut delta) = (bits.varbit_int(), 0i64);
    fields.first(&mut bits, positive, negative);
    for index in 0..usize::from(count) {
        let before = t;
        if index > 0 {
            delta = delta.wrapping_add(bits.varbit_int());
            t = t.wrapping_add(delta);
            fields.next_head(&mut bits)?;
            if !is_stale_nan(fields.sum()) {
                fields.next_buckets(&mut bits)?;
            }
        }
        let start = starts.next(&mut bits, index, t, before)?;
        checked(&bits)?;
        let sum = fields.sum();
        let counter_reset_hint = hint(flags, index);
        let h = if is_stale_nan(sum) {
            FloatHistogram { sum, integer, ..FloatHistogram::default() }
        } else {
            let (count, zero_count, positive_buckets, negative_buckets) = fields.values();
            FloatHistogram {
                counter_reset_hint,
                schema: layout.schema,
                zero_threshold: layout.zero_threshold,
                zero_count,
                count,
                sum,
                positive_spans: layout.positive_spans.clone(),
                negative_spans: layout.negative_spans.clone(),
                positive_buckets,
                negative_buckets,
                custom_values: layout.custom_values.clone(),
                integer,
            }
        };
        into.push_histogram(t, Arc::new(h));
        note(into.starts, into.times, start);
    }
    Ok(())
}

/// A number with its last difference.
#[derive(Clone, Copy, Debug, Default)]
struct Moving {
    value: i64,
    delta: i64,
}

impl Moving {
    fn step(&mut self, bits: &mut BitReader<'_>) {
        self.delta = self.delta.wrapping_add(bits.varbit_int());
        self.value = self.value.wrapping_add(self.delta);
    }
}

#[derive(Default)]
struct Integers {
    count: Moving,
    zero_count: Moving,
    sum: u64,
    sum_window: Window,
    /// Each the difference to its neighbour.
    positive: Vec<Moving>,
    negative: Vec<Moving>,
}

fn absolute(buckets: &[Moving]) -> Vec<f64> {
    let mut total = 0i64;
    let add = |bucket: &Moving| {
        total = total.wrapping_add(bucket.value);
        total as f64
    };
    buckets.iter().map(add).collect()
}

impl Fields for Integers {
    fn first(&mut self, bits: &mut BitReader<'_>, positive: usize, negative: usize) {
        self.count.value = bits.varbit_uint() as i64;
        self.zero_count.value = bits.varbit_uint() as i64;
        self.sum = bits.take(64);
        let mut bucket = |_| Moving { value: bits.varbit_int(), delta: 0 };
        self.positive = (0..positive).map(&mut bucket).collect();
        self.negative = (0..negative).map(&mut bucket).collect();
    }

    fn next_head(&mut self, bits: &mut BitReader<'_>) -> Result<(), ChunkError> {
        self.count.step(bits);
        self.zero_count.step(bits);
        if bits.xor(&mut self.sum, &mut self.sum_window) { Ok(()) } else { Err(WINDOW) }
    }

    fn next_buckets(&mut self, bits: &mut BitReader<'_>) -> Result<(), ChunkError> {
        for bucket in self.positive.iter_mut().chain(&mut self.negative) {
            bucket.step(bits);
        }
        Ok(())
    }

    fn sum(&self) -> f64 {
        f64::from_bits(self.sum)
    }

    fn values(&self) -> (f64, f64, Vec<f64>, Vec<f64>) {
        let count = |n: Moving| n.value as u64 as f64;
        (count(self.count), count(self.zero_count), absolute(&self.positive), absolute(&self.negative))
    }
}

#[derive(Default)]
struct Floats {
    /// Count, zero count, sum.
    head: [(u64, Window); 3],
    buckets: Vec<(u64, Window)>,
    positive: usize,
}

impl Fields for Floats {
    fn first(&mut self, bits: &mut BitReader<'_>, positive: usize, negative: usize) {
        for field in &mut self.head {
            field.0 = bits.take(64);
        }
        self.positive = positive;
        self.buckets = (0..positive + negative).map(|_| (bits.take(64), Window::default())).collect();
    }

    fn next_head(&mut self, bits: &mut BitReader<'_>) -> Result<(), ChunkError> {
        let ok = self.head.iter_mut().all(|(value, window)| bits.xor(value, window));
        if ok { Ok(()) } else { Err(WINDOW) }
    }

    fn next_buckets(&mut self, bits: &mut BitReader<'_>) -> Result<(), ChunkError> {
        let ok = self.buckets.iter_mut().all(|(value, window)| bits.xor(value, window));
        if ok { Ok(()) } else { Err(WINDOW) }
    }

    fn sum(&self) -> f64 {
        f64::from_bits(self.head[2].0)
    }

    fn values(&self) -> (f64, f64, Vec<f64>, Vec<f64>) {
        let float = |field: &(u64, Window)| f64::from_bits(field.0);
        let (positive, negative) = self.buckets.split_at(self.positive);
        let list = |buckets: &[(u64, Window)]| buckets.iter().map(float).collect();
        (float(&self.head[0]), float(&self.head[1]), list(positive), list(negative))
    }
}

#[path = "histogram_write.rs"]
mod write;
pub use write::{Appended, HistogramChunk};

#[cfg(test)]
#[path = "histogram_tests.rs"]
mod tests;
