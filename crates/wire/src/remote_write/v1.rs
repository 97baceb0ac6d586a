//! Remote write 1.0: `prometheus.WriteRequest`.
//!
//! | message        | fields                                                                      |
//! |----------------|-----------------------------------------------------------------------------|
//! | WriteRequest   | 1 timeseries*, 3 metadata*                                                    |
//! | TimeSeries     | 1 labels*, 2 samples*, 3 exemplars*, 4 histograms*                            |
//! | Sample         | 1 value double, 2 timestamp int64 (ms)                                        |
//! | Exemplar       | 1 labels*, 2 value double, 3 timestamp int64                                  |
//! | MetricMetadata | 1 type enum, 2 metric_family_name, 4 help, 5 unit                             |

use super::histogram;
use super::{Counts, Key, Scratch, Sink, index};
use crate::proto::{
    Cursor, Field, ProtoError, WireType, len_field, put_bytes, put_double, put_tag, put_uint, put_varint,
    varint_len,
};
use model::{FloatHistogram, MetricType, Sample};
use std::sync::Arc;

const LABELS_TAG: u8 = 0x0a;
const SAMPLES_TAG: u8 = 0x12;

/// Walks a request. An error means that the bytes are not such a message; rows told before it must be
/// forgotten.
pub fn decode<'a>(body: &'a [u8], scratch: &mut Scratch, sink: &mut impl Sink<'a>) -> Result<(), ProtoError> {
    scratch.clear();
    let mut cursor = Cursor::new(body);
    while let Some(field) = cursor.field("WriteRequest")? {
        match field.number {
            1 => {
                field.expect(WireType::Len, "Timeseries")?;
                series(cursor.bytes()?, &mut scratch.arena, sink)?;
            }
            3 => {
                field.expect(WireType::Len, "Metadata")?;
                metadata(cursor.message()?, sink)?;
            }
            _ => cursor.skip(field)?,
        }
    }
    Ok(())
}

#[inline]
fn series<'a>(bytes: &'a [u8], arena: &mut Vec<u8>, sink: &mut impl Sink<'a>) -> Result<(), ProtoError> {
    let mut cursor = Cursor::new(bytes);
    // Labels stand first and together in what every known sender writes: the key is that very slice.
    while cursor.peek() == Some(LABELS_TAG) {
        cursor.advance(1)?;
        cursor.bytes()?;
    }
    let mut key = Key::Body(bytes.get(..bytes.len() - cursor.rest().len()).unwrap_or_default());
    let mut counts = Counts::default();
    while cursor.peek() == Some(SAMPLES_TAG) {
        cursor.advance(1)?;
        sample(cursor.bytes()?, sink)?;
        counts.samples += 1;
    }
    // Whatever else there is, in any order.
    while let Some(field) = cursor.field("TimeSeries")? {
        match field.number {
            1 => {
                field.expect(WireType::Len, "Labels")?;
                let label = cursor.bytes()?;
                key = stray_label(key, label, arena)?;
            }
            2 => {
                field.expect(WireType::Len, "Samples")?;
                sample(cursor.bytes()?, sink)?;
                counts.samples += 1;
            }
            3 => {
                field.expect(WireType::Len, "Exemplars")?;
                exemplar(cursor.bytes()?, arena, sink)?;
                counts.exemplars += 1;
            }
            4 => {
                field.expect(WireType::Len, "Histograms")?;
                let mut h = sink.spare();
                let (t, start) = histogram::decode(cursor.message()?, Arc::make_mut(&mut h))?;
                sink.histogram(t, h, start);
                counts.histograms += 1;
            }
            _ => cursor.skip(field)?,
        }
    }
    sink.series(key, counts, None);
    Ok(())
}

/// A label that does not stand with its fellows: from now on the key is put together in the arena.
#[cold]
fn stray_label<'a>(key: Key<'a>, label: &[u8], arena: &mut Vec<u8>) -> Result<Key<'a>, ProtoError> {
    let start = match key {
        Key::Arena(range) if range.end as usize == arena.len() => range.start,
        Key::Arena(range) => {
            // An exemplar's labels came in between: start over behind them.
            let start = index(arena.len(), "label bytes")?;
            arena.extend_from_within(range.start as usize..range.end as usize);
            start
        }
        Key::Body(front) => {
            let start = index(arena.len(), "label bytes")?;
            arena.extend_from_slice(front);
            start
        }
    };
    put_bytes(arena, 1, label);
    Ok(Key::Arena(start..index(arena.len(), "label bytes")?))
}

#[inline]
fn sample<'a>(bytes: &'a [u8], sink: &mut impl Sink<'a>) -> Result<(), ProtoError> {
    // Value then time is how every known sender writes it.
    if let [0x09, value @ ..] = bytes
        && let Some((value, [0x10, time @ ..])) = value.split_first_chunk::<8>()
        && let Some(t) = Cursor::new(time).only_varint()?
    {
        sink.sample(t as i64, f64::from_le_bytes(*value), 0);
        return Ok(());
    }
    let mut cursor = Cursor::new(bytes);
    let (mut t, mut v) = (0, 0.0);
    while let Some(field) = cursor.field("Sample")? {
        match field.number {
            1 => v = double(&mut cursor, field, "Value")?,
            2 => t = int(&mut cursor, field, "Timestamp")?,
            _ => cursor.skip(field)?,
        }
    }
    sink.sample(t, v, 0);
    Ok(())
}

fn exemplar<'a>(bytes: &'a [u8], arena: &mut Vec<u8>, sink: &mut impl Sink<'a>) -> Result<(), ProtoError> {
    let mut cursor = Cursor::new(bytes);
    while cursor.peek() == Some(LABELS_TAG) {
        cursor.advance(1)?;
        cursor.bytes()?;
    }
    let mut key = Key::Body(bytes.get(..bytes.len() - cursor.rest().len()).unwrap_or_default());
    let (mut t, mut v) = (0, 0.0);
    while let Some(field) = cursor.field("Exemplar")? {
        match field.number {
            1 => {
                field.expect(WireType::Len, "Labels")?;
                key = stray_label(key, cursor.bytes()?, arena)?;
            }
            2 => v = double(&mut cursor, field, "Value")?,
            3 => t = int(&mut cursor, field, "Timestamp")?,
            _ => cursor.skip(field)?,
        }
    }
    sink.exemplar(key, t, v);
    Ok(())
}

fn metadata<'a>(mut cursor: Cursor<'a>, sink: &mut impl Sink<'a>) -> Result<(), ProtoError> {
    let (mut kind, mut family, mut help, mut unit) = (0, &b""[..], &b""[..], &b""[..]);
    while let Some(field) = cursor.field("MetricMetadata")? {
        match field.number {
            1 => kind = int(&mut cursor, field, "Type")?,
            2 => family = text(&mut cursor, field, "MetricFamilyName")?,
            4 => help = text(&mut cursor, field, "Help")?,
            5 => unit = text(&mut cursor, field, "Unit")?,
            _ => cursor.skip(field)?,
        }
    }
    match (str::from_utf8(family), str::from_utf8(help), str::from_utf8(unit)) {
        (Ok(family), Ok(help), Ok(unit)) => {
            sink.metadata(family, MetricType::from_number(kind.unsigned_abs()), help, unit);
        }
        _ => sink.bad_metadata(),
    }
    Ok(())
}

pub(super) fn double(cursor: &mut Cursor<'_>, field: Field, name: &'static str) -> Result<f64, ProtoError> {
    field.expect(WireType::Fixed64, name)?;
    cursor.double()
}

pub(super) fn int(cursor: &mut Cursor<'_>, field: Field, name: &'static str) -> Result<i64, ProtoError> {
    field.expect(WireType::Varint, name)?;
    Ok(cursor.varint()? as i64)
}

fn text<'a>(cursor: &mut Cursor<'a>, field: Field, name: &'static str) -> Result<&'a [u8], ProtoError> {
    field.expect(WireType::Len, name)?;
    cursor.bytes()
}

/// An exemplar to be written; `labels` in the key encoding.
#[derive(Clone, Copy, Debug)]
pub struct ExemplarRow<'a> {
    pub labels: &'a [u8],
    pub t: i64,
    pub v: f64,
}

const fn sample_len(t: i64, v: f64) -> usize {
    let value = if v.to_bits() == 0 { 0 } else { 9 };
    let time = if t == 0 { 0 } else { 1 + varint_len(t as u64) };
    value + time
}

fn put_sample_body(out: &mut Vec<u8>, t: i64, v: f64) {
    put_double(out, 1, v);
    put_uint(out, 2, t as u64);
}

/// Appends a series with float samples; `key`: its labels in the key encoding.
pub fn push_samples(out: &mut Vec<u8>, key: &[u8], samples: &[Sample]) {
    let rows: usize = samples.iter().map(|s| len_field(sample_len(s.t, s.v))).sum();
    put_tag(out, 1, WireType::Len);
    put_varint(out, (key.len() + rows) as u64);
    out.extend_from_slice(key);
    for s in samples {
        out.push(SAMPLES_TAG);
        put_varint(out, sample_len(s.t, s.v) as u64);
        put_sample_body(out, s.t, s.v);
    }
}

/// As [`push_samples`] with one sample, for a key in pieces of `key_len` bytes together.
pub fn push_sample_of<'k>(
    out: &mut Vec<u8>,
    key_len: usize,
    key: impl Iterator<Item = &'k [u8]>,
    t: i64,
    v: f64,
) {
    let len = sample_len(t, v);
    put_tag(out, 1, WireType::Len);
    put_varint(out, (key_len + len_field(len)) as u64);
    key.for_each(|piece| out.extend_from_slice(piece));
    out.push(SAMPLES_TAG);
    put_varint(out, len as u64);
    put_sample_body(out, t, v);
}

/// Appends a series with one exemplar.
pub fn push_exemplar(out: &mut Vec<u8>, key: &[u8], row: ExemplarRow<'_>) {
    let value = if row.v.to_bits() == 0 { 0 } else { 9 };
    let time = if row.t == 0 { 0 } else { 1 + varint_len(row.t as u64) };
    let inner = row.labels.len() + value + time;
    put_tag(out, 1, WireType::Len);
    put_varint(out, (key.len() + len_field(inner)) as u64);
    out.extend_from_slice(key);
    put_tag(out, 3, WireType::Len);
    put_varint(out, inner as u64);
    out.extend_from_slice(row.labels);
    put_double(out, 2, row.v);
    put_uint(out, 3, row.t as u64);
}

/// Appends a series with one native histogram.
pub fn push_histogram(out: &mut Vec<u8>, key: &[u8], t: i64, h: &FloatHistogram) {
    let body = histogram::encode(t, h, 0);
    put_tag(out, 1, WireType::Len);
    put_varint(out, (key.len() + len_field(body.len())) as u64);
    out.extend_from_slice(key);
    put_bytes(out, 4, &body);
}

/// Appends metadata of a family.
pub fn push_metadata(out: &mut Vec<u8>, family: &str, kind: MetricType, help: &str, unit: &str) {
    let mut body = Vec::with_capacity(family.len() + help.len() + unit.len() + 16);
    put_uint(&mut body, 1, kind as u64);
    for (number, text) in [(2, family), (4, help), (5, unit)] {
        if !text.is_empty() {
            put_bytes(&mut body, number, text.as_bytes());
        }
    }
    put_bytes(out, 3, &body);
}

/// Fuzz entry: walks any bytes.
pub fn fuzz_decode(body: &[u8]) {
    let _ = decode(body, &mut Scratch::new(), &mut super::Discard);
}
