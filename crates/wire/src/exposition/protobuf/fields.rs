//! Fields of the messages.

use super::super::labels::LabelBuf;
use super::super::{Exemplar, ExemplarLabels, ParseError};
use super::Sample;
use crate::proto::{Cursor, Field, ProtoError, WireType};
use model::histogram::Span;

impl From<ProtoError> for ParseError {
    fn from(error: ProtoError) -> Self {
        ParseError(error.to_string())
    }
}

pub(super) fn len<'a>(
    fields: &mut Cursor<'a>,
    field: Field,
    name: &'static str,
) -> Result<&'a [u8], ParseError> {
    field.expect(WireType::Len, name)?;
    Ok(fields.bytes()?)
}

pub(super) fn text<'a>(
    fields: &mut Cursor<'a>,
    field: Field,
    name: &'static str,
) -> Result<&'a str, ParseError> {
    std::str::from_utf8(len(fields, field, name)?)
        .map_err(|_| ParseError(format!("{name} is not a valid utf8 string")))
}

pub(super) fn double(fields: &mut Cursor<'_>, field: Field) -> Result<f64, ParseError> {
    field.expect(WireType::Fixed64, "value")?;
    Ok(fields.double()?)
}

pub(super) fn varint(fields: &mut Cursor<'_>, field: Field) -> Result<u64, ParseError> {
    field.expect(WireType::Varint, "count")?;
    Ok(fields.varint()?)
}

pub(super) fn label<'a>(fields: &mut Cursor<'a>, field: Field) -> Result<(&'a str, &'a str), ParseError> {
    field.expect(WireType::Len, "label")?;
    let (mut inner, mut name, mut value) = (fields.message()?, "", "");
    while let Some(field) = inner.field("LabelPair")? {
        match field.number {
            1 => name = text(&mut inner, field, "label name")?,
            2 => value = text(&mut inner, field, "label value")?,
            _ => inner.skip(field)?,
        }
    }
    Ok((name, value))
}

pub(super) fn bucket(mut fields: Cursor<'_>) -> Result<Sample<'_>, ParseError> {
    let (mut count, mut count_float, mut bound, mut exemplar) = (0, 0.0, 0.0, None);
    while let Some(field) = fields.field("Bucket")? {
        match field.number {
            1 => count = varint(&mut fields, field)?,
            2 => bound = double(&mut fields, field)?,
            3 => exemplar = Some(read_exemplar(&mut fields, field)?),
            4 => count_float = double(&mut fields, field)?,
            _ => fields.skip(field)?,
        }
    }
    let value = if count_float == 0.0 { count as f64 } else { count_float };
    Ok(Sample { suffix: "_bucket", bound: Some(("le", bound)), value, exemplar })
}

pub(super) fn span(fields: &mut Cursor<'_>, field: Field) -> Result<Span, ParseError> {
    field.expect(WireType::Len, "span")?;
    let (mut inner, mut span) = (fields.message()?, Span::default());
    while let Some(field) = inner.field("BucketSpan")? {
        match field.number {
            1 => {
                field.expect(WireType::Varint, "offset")?;
                span.offset = inner.sint()? as i32;
            }
            2 => span.length = varint(&mut inner, field)? as u32,
            _ => inner.skip(field)?,
        }
    }
    Ok(span)
}

/// Packed or not.
pub(super) fn deltas(fields: &mut Cursor<'_>, field: Field, out: &mut Vec<i64>) -> Result<(), ParseError> {
    if field.wire == WireType::Varint {
        out.push(fields.sint()?);
        return Ok(());
    }
    field.expect(WireType::Len, "delta")?;
    let mut inner = fields.message()?;
    while !inner.is_empty() {
        out.push(inner.sint()?);
    }
    Ok(())
}

/// Packed or not.
pub(super) fn doubles(fields: &mut Cursor<'_>, field: Field, out: &mut Vec<f64>) -> Result<(), ParseError> {
    if field.wire == WireType::Fixed64 {
        out.push(fields.double()?);
        return Ok(());
    }
    field.expect(WireType::Len, "count")?;
    let mut inner = fields.message()?;
    while !inner.is_empty() {
        out.push(inner.double()?);
    }
    Ok(())
}

/// A `google.protobuf.Timestamp` in milliseconds.
pub(super) fn timestamp(mut stamp: Cursor<'_>) -> Result<i64, ParseError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    while let Some(field) = stamp.field("Timestamp")? {
        match field.number {
            1 => seconds = varint(&mut stamp, field)? as i64,
            2 => nanos = varint(&mut stamp, field)? as i64,
            _ => stamp.skip(field)?,
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}

pub(super) fn read_exemplar<'a>(fields: &mut Cursor<'a>, field: Field) -> Result<Exemplar<'a>, ParseError> {
    let message = len(fields, field, "exemplar")?;
    let (mut inner, mut value, mut t) = (Cursor::new(message), 0.0, None);
    while let Some(field) = inner.field("Exemplar")? {
        match field.number {
            2 => value = double(&mut inner, field)?,
            3 => {
                field.expect(WireType::Len, "timestamp")?;
                t = Some(timestamp(inner.message()?)?);
            }
            _ => inner.skip(field)?,
        }
    }
    Ok(Exemplar { labels: ExemplarLabels::Message(message), value, t })
}

/// Decodes the labels of an exemplar message.
pub(in crate::exposition) fn exemplar_labels(message: &[u8], out: &mut LabelBuf) -> Result<(), ParseError> {
    out.clear();
    let mut fields = Cursor::new(message);
    while let Some(field) = fields.field("Exemplar")? {
        if field.number == 1 {
            let (name, value) = label(&mut fields, field)?;
            out.push(name, value);
        } else {
            fields.skip(field)?;
        }
    }
    Ok(())
}
