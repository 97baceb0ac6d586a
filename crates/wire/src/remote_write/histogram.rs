//! The native histogram message, the same in both versions but for the start timestamp (17, 2.0 only).
//!
//! Fields: 1 count_int, 2 count_float, 3 sum, 4 schema sint32, 5 zero_threshold, 6 zero_count_int,
//! 7 zero_count_float, 8 negative_spans*, 9 negative_deltas sint64*, 10 negative_counts double*,
//! 11–13 the same for positive, 14 reset_hint, 15 timestamp, 16 custom_values double*, 17 start_timestamp.
//! Counts of integer histograms are exact below 2^53; deltas are summed to absolute counts, and back.

use super::v1::{double, int};
use crate::proto::{
    Cursor, Field, ProtoError, WireType, put_bytes, put_double, put_tag, put_uint, put_varint, zigzag32,
    zigzag64,
};
use model::FloatHistogram;
use model::histogram::{CounterResetHint, Span};

/// Reads the message into an empty histogram; gives timestamp and start timestamp. Nothing is validated here: buckets
/// need not fit their spans, the store checks that.
pub fn decode(mut cursor: Cursor<'_>, h: &mut FloatHistogram) -> Result<(i64, i64), ProtoError> {
    // As upstream: what has no count of floats is one of integers.
    h.integer = true;
    let (mut t, mut start) = (0, 0);
    let (mut negative, mut positive) = (0i64, 0i64);
    while let Some(field) = cursor.field("Histogram")? {
        match field.number {
            1 => h.count = int(&mut cursor, field, "CountInt")? as u64 as f64,
            2 => {
                h.count = double(&mut cursor, field, "CountFloat")?;
                h.integer = false;
            }
            3 => h.sum = double(&mut cursor, field, "Sum")?,
            4 => {
                field.expect(WireType::Varint, "Schema")?;
                h.schema = cursor.sint()? as i32;
            }
            5 => h.zero_threshold = double(&mut cursor, field, "ZeroThreshold")?,
            6 => h.zero_count = int(&mut cursor, field, "ZeroCountInt")? as u64 as f64,
            7 => h.zero_count = double(&mut cursor, field, "ZeroCountFloat")?,
            8 => h.negative_spans.push(span(&mut cursor, field, "NegativeSpans")?),
            9 => deltas(&mut cursor, field, "NegativeDeltas", &mut negative, &mut h.negative_buckets)?,
            10 => doubles(&mut cursor, field, "NegativeCounts", &mut h.negative_buckets)?,
            11 => h.positive_spans.push(span(&mut cursor, field, "PositiveSpans")?),
            12 => deltas(&mut cursor, field, "PositiveDeltas", &mut positive, &mut h.positive_buckets)?,
            13 => doubles(&mut cursor, field, "PositiveCounts", &mut h.positive_buckets)?,
            14 => {
                h.counter_reset_hint = match int(&mut cursor, field, "ResetHint")? {
                    1 => CounterResetHint::CounterReset,
                    2 => CounterResetHint::NotCounterReset,
                    3 => CounterResetHint::Gauge,
                    _ => CounterResetHint::Unknown,
                };
            }
            15 => t = int(&mut cursor, field, "Timestamp")?,
            16 => doubles(&mut cursor, field, "CustomValues", &mut h.custom_values)?,
            17 => start = int(&mut cursor, field, "StartTimestamp")?,
            _ => cursor.skip(field)?,
        }
    }
    Ok((t, start))
}

fn span(cursor: &mut Cursor<'_>, field: Field, name: &'static str) -> Result<Span, ProtoError> {
    field.expect(WireType::Len, name)?;
    let mut inner = cursor.message()?;
    let mut span = Span::default();
    while let Some(field) = inner.field("BucketSpan")? {
        match field.number {
            1 => {
                field.expect(WireType::Varint, "Offset")?;
                span.offset = inner.sint()? as i32;
            }
            2 => span.length = int(&mut inner, field, "Length")? as u32,
            _ => inner.skip(field)?,
        }
    }
    Ok(span)
}

fn deltas(
    cursor: &mut Cursor<'_>,
    field: Field,
    name: &'static str,
    sum: &mut i64,
    out: &mut Vec<f64>,
) -> Result<(), ProtoError> {
    if field.wire == WireType::Varint {
        *sum = sum.wrapping_add(cursor.sint()?);
        out.push(*sum as f64);
        return Ok(());
    }
    field.expect(WireType::Len, name)?;
    let mut packed = cursor.message()?;
    // As many as there are last bytes.
    out.reserve(packed.rest().iter().filter(|byte| **byte < 0x80).count());
    while !packed.is_empty() {
        *sum = sum.wrapping_add(packed.sint()?);
        out.push(*sum as f64);
    }
    Ok(())
}

fn doubles(
    cursor: &mut Cursor<'_>,
    field: Field,
    name: &'static str,
    out: &mut Vec<f64>,
) -> Result<(), ProtoError> {
    match field.wire {
        WireType::Fixed64 => out.push(cursor.double()?),
        _ => {
            field.expect(WireType::Len, name)?;
            let mut packed = cursor.message()?;
            out.reserve(packed.rest().len() / 8);
            while !packed.is_empty() {
                out.push(packed.double()?);
            }
        }
    }
    Ok(())
}

/// The message body of a histogram; `start` 0 leaves the start timestamp out.
pub fn encode(t: i64, h: &FloatHistogram, start: i64) -> Vec<u8> {
    let integer = h.holds_integers();
    let mut out = Vec::with_capacity(96 + 9 * (h.positive_buckets.len() + h.negative_buckets.len()));
    // Members of a oneof are written even when zero: their presence says which kind of histogram this is.
    let count = |out: &mut Vec<u8>, number: u32, n: f64| {
        if integer {
            put_tag(out, number, WireType::Varint);
            put_varint(out, n as u64);
        } else {
            put_tag(out, number + 1, WireType::Fixed64);
            out.extend_from_slice(&n.to_le_bytes());
        }
    };
    count(&mut out, 1, h.count);
    put_double(&mut out, 3, h.sum);
    put_uint(&mut out, 4, zigzag32(h.schema));
    put_double(&mut out, 5, h.zero_threshold);
    count(&mut out, 6, h.zero_count);
    for (number, spans, buckets) in
        [(8, &h.negative_spans, &h.negative_buckets), (11, &h.positive_spans, &h.positive_buckets)]
    {
        put_spans(&mut out, number, spans);
        if integer {
            put_deltas(&mut out, number + 1, buckets);
        } else {
            put_doubles(&mut out, number + 2, buckets);
        }
    }
    let hint = match h.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    };
    put_uint(&mut out, 14, hint);
    put_uint(&mut out, 15, t as u64);
    put_doubles(&mut out, 16, &h.custom_values);
    put_uint(&mut out, 17, start as u64);
    out
}

fn put_spans(out: &mut Vec<u8>, number: u32, spans: &[Span]) {
    let mut body = Vec::with_capacity(12);
    for span in spans {
        body.clear();
        put_uint(&mut body, 1, zigzag32(span.offset));
        put_uint(&mut body, 2, u64::from(span.length));
        put_bytes(out, number, &body);
    }
}

/// Whole numbers as differences to their neighbours.
fn put_deltas(out: &mut Vec<u8>, number: u32, values: &[f64]) {
    if values.is_empty() {
        return;
    }
    let mut body = Vec::with_capacity(values.len() * 2);
    let mut neighbour = 0i64;
    for v in values {
        put_varint(&mut body, zigzag64((*v as i64).wrapping_sub(neighbour)));
        neighbour = *v as i64;
    }
    put_bytes(out, number, &body);
}

fn put_doubles(out: &mut Vec<u8>, number: u32, values: &[f64]) {
    if values.is_empty() {
        return;
    }
    put_tag(out, number, WireType::Len);
    put_varint(out, values.len() as u64 * 8);
    for v in values {
        out.extend_from_slice(&v.to_le_bytes());
    }
}
