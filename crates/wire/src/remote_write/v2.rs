//! Remote write 2.0: `io.prometheus.write.v2.Request`.
//!
//! | message    | fields                                                                              |
//! |------------|-------------------------------------------------------------------------------------|
//! | Request    | 4 symbols*, 5 timeseries*                                                             |
//! | TimeSeries | 1 labels_refs* uint32 packed, 2 samples*, 3 histograms*, 4 exemplars*, 5 metadata     |
//! | Sample     | 1 value double, 2 timestamp int64 (ms), 3 start_timestamp int64                       |
//! | Exemplar   | 1 labels_refs*, 2 value double, 3 timestamp int64                                     |
//! | Metadata   | 1 type enum, 3 help_ref, 4 unit_ref                                                   |
//!
//! Keys are put together in the request's arena: `0a len (0a len name) (12 len value)` per pair of symbols.

use super::histogram;
use super::v1::{double, int};
use super::{BadRow, Counts, Key, RefError, Scratch, SeriesMetadata, Sink, index};
use crate::proto::{
    Cursor, Field, ProtoError, WireType, len_field, put_bytes, put_double, put_tag, put_uint, put_varint,
    varint_len,
};
use model::{FloatHistogram, METRIC_NAME, Metadata, MetricType};
use std::sync::Arc;

const REFS_TAG: u8 = 0x0a;
const SAMPLES_TAG: u8 = 0x12;

/// Walks a request. An error means that the bytes are not such a message; rows told before it must be
/// forgotten. Wrong references spoil only their series or exemplar, which the sink is told.
pub fn decode<'a>(body: &'a [u8], scratch: &mut Scratch, sink: &mut impl Sink<'a>) -> Result<(), ProtoError> {
    scratch.clear();
    // Symbols usually stand first, but need not: collect them before the series are looked at.
    let mut cursor = Cursor::new(body);
    let mut series_from = None;
    while let Some(field) = {
        let at = body.len() - cursor.rest().len();
        let field = cursor.field("Request")?;
        if field.is_some_and(|f| f.number == 5) && series_from.is_none() {
            series_from = Some(at);
        }
        field
    } {
        match field.number {
            4 => {
                field.expect(WireType::Len, "Symbols")?;
                let symbol = cursor.bytes()?;
                let end = body.len() - cursor.rest().len();
                scratch.symbols.push((index(end - symbol.len(), "bytes")?, index(end, "bytes")?));
            }
            _ => cursor.skip(field)?,
        }
    }
    let Some(series_from) = series_from else { return Ok(()) };
    let Scratch { arena, refs, symbols, last } = scratch;
    let mut walk = Walk { symbols: Symbols { body, ranges: symbols }, arena, refs, last, metric: None };
    let mut cursor = Cursor::new(body.get(series_from..).unwrap_or_default());
    while let Some(field) = cursor.field("Request")? {
        match field.number {
            5 => {
                field.expect(WireType::Len, "Timeseries")?;
                walk.series(cursor.message()?, sink)?;
            }
            _ => cursor.skip(field)?,
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Symbols<'a, 's> {
    body: &'a [u8],
    ranges: &'s [(u32, u32)],
}

impl<'a> Symbols<'a, '_> {
    #[inline]
    fn get(&self, at: u32) -> Option<&'a [u8]> {
        let &(start, end) = self.ranges.get(at as usize)?;
        self.body.get(start as usize..end as usize)
    }

    /// A symbol that is shown to people or stored as text; what is not UTF-8 in it is replaced by nothing.
    fn text(&self, at: u32) -> &'a str {
        self.get(at).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

struct Walk<'a, 's> {
    symbols: Symbols<'a, 's>,
    arena: &'s mut Vec<u8>,
    refs: &'s mut Vec<u32>,
    /// The series before: neighbours share most labels, which are then copied in runs.
    last: &'s mut LastKey,
    /// Which label of the series before is the metric name, and its value.
    metric: Option<(usize, &'a [u8])>,
}

/// The key that was put together last.
#[derive(Clone, Debug, Default)]
pub(super) struct LastKey {
    refs: Vec<u32>,
    /// Where its labels lie in the arena: the start of the first, then the end of each.
    ends: Vec<u32>,
    next: Vec<u32>,
}

impl LastKey {
    pub(super) fn clear(&mut self) {
        self.refs.clear();
        self.ends.clear();
    }
}

impl<'a> Walk<'a, '_> {
    fn series(&mut self, mut cursor: Cursor<'a>, sink: &mut impl Sink<'a>) -> Result<(), ProtoError> {
        self.refs.clear();
        let (mut kind, mut help, mut unit) = (0i64, 0u32, 0u32);
        let mut counts = Counts::default();
        // The order in which every known sender writes.
        if cursor.peek() == Some(REFS_TAG) {
            cursor.advance(1)?;
            packed_refs(cursor.bytes()?, self.refs)?;
        }
        while cursor.peek() == Some(SAMPLES_TAG) {
            cursor.advance(1)?;
            sample(cursor.bytes()?, sink)?;
            counts.samples += 1;
        }
        while let Some(field) = cursor.field("TimeSeries")? {
            match field.number {
                1 => refs(&mut cursor, field, self.refs)?,
                2 => {
                    field.expect(WireType::Len, "Samples")?;
                    sample(cursor.bytes()?, sink)?;
                    counts.samples += 1;
                }
                3 => {
                    field.expect(WireType::Len, "Histograms")?;
                    let mut h = sink.spare();
                    let (t, start) = histogram::decode(cursor.message()?, Arc::make_mut(&mut h))?;
                    sink.histogram(t, h, start);
                    counts.histograms += 1;
                }
                4 => {
                    field.expect(WireType::Len, "Exemplars")?;
                    counts.exemplars += self.exemplar(cursor.message()?, sink)?;
                }
                5 => {
                    field.expect(WireType::Len, "Metadata")?;
                    let mut inner = cursor.message()?;
                    while let Some(field) = inner.field("Metadata")? {
                        match field.number {
                            1 => kind = int(&mut inner, field, "Type")?,
                            3 => help = int(&mut inner, field, "HelpRef")? as u32,
                            4 => unit = int(&mut inner, field, "UnitRef")? as u32,
                            _ => inner.skip(field)?,
                        }
                    }
                }
                _ => cursor.skip(field)?,
            }
        }
        let start = self.arena.len();
        let metric = match self.push_series_key() {
            Ok(metric) => metric,
            Err(why) => {
                sink.bad_series(counts, BadRow::Labels { refs: show(self.refs), why });
                return Ok(());
            }
        };
        let size = self.symbols.ranges.len();
        let wrong = if self.symbols.get(unit).is_none() {
            Some(RefError::Unit { unit, size })
        } else if self.symbols.get(help).is_none() {
            Some(RefError::Help { help, size })
        } else {
            None
        };
        if let Some(why) = wrong {
            self.arena.truncate(start);
            self.last.clear();
            sink.bad_series(counts, BadRow::Metadata { refs: show(self.refs), why });
            return Ok(());
        }
        let metadata = (kind != 0 || help != 0 || unit != 0).then(|| SeriesMetadata {
            kind: MetricType::from_number(kind.unsigned_abs()),
            help: self.symbols.text(help),
            unit: self.symbols.text(unit),
            metric: str::from_utf8(metric).unwrap_or_default(),
        });
        let key = index(start, "label bytes")?..index(self.arena.len(), "label bytes")?;
        sink.series(Key::Arena(key), counts, metadata);
        Ok(())
    }

    /// Appends the key of the series; gives the metric name. On an error nothing is appended.
    fn push_series_key(&mut self) -> Result<&'a [u8], RefError> {
        let (pairs, odd) = self.refs.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(RefError::Odd(self.refs.len()));
        }
        let start = self.arena.len();
        let LastKey { refs: last, ends, next } = &mut *self.last;
        let (before, _) = last.as_chunks::<2>();
        next.clear();
        next.push(start as u32);
        let mut metric = None;
        let mut at = 0;
        while let Some(&[name, value]) = pairs.get(at) {
            let same = pairs.iter().zip(before).skip(at).take_while(|(a, b)| a == b).count();
            if same > 0
                && let (Some(&from), Some(ends)) = (ends.get(at), ends.get(at + 1..=at + same))
                && let Some(&to) = ends.last()
            {
                let here = self.arena.len() as u32;
                self.arena.extend_from_within(from as usize..to as usize);
                next.extend(ends.iter().map(|end| here + (end - from)));
                metric = metric.or(self.metric.filter(|(m, _)| (at..at + same).contains(m)));
                at += same;
                continue;
            }
            let (Some(n), Some(v)) = (self.symbols.get(name), self.symbols.get(value)) else {
                self.arena.truncate(start);
                self.last.clear();
                return Err(RefError::Outside { name, value, size: self.symbols.ranges.len() });
            };
            if n == METRIC_NAME.as_bytes() {
                metric = Some((at, v));
            }
            push_label(self.arena, n, v);
            next.push(self.arena.len() as u32);
            at += 1;
        }
        self.metric = metric;
        std::mem::swap(ends, next);
        last.clone_from(self.refs);
        Ok(metric.map_or(&[], |(_, value)| value))
    }

    /// Appends the key of the references from `from` on. On an error nothing is appended.
    fn push_key(&mut self, from: usize) -> Result<(), RefError> {
        let refs = self.refs.get(from..).unwrap_or_default();
        let (pairs, odd) = refs.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(RefError::Odd(refs.len()));
        }
        let start = self.arena.len();
        for &[name, value] in pairs {
            let (Some(n), Some(v)) = (self.symbols.get(name), self.symbols.get(value)) else {
                self.arena.truncate(start);
                return Err(RefError::Outside { name, value, size: self.symbols.ranges.len() });
            };
            push_label(self.arena, n, v);
        }
        Ok(())
    }

    /// Tells an exemplar; how many were told (a bad one is not).
    fn exemplar(&mut self, mut cursor: Cursor<'a>, sink: &mut impl Sink<'a>) -> Result<u32, ProtoError> {
        // Its references are kept behind those of the series for a moment.
        let own = self.refs.len();
        let (mut t, mut v) = (0, 0.0);
        while let Some(field) = cursor.field("Exemplar")? {
            match field.number {
                1 => refs(&mut cursor, field, self.refs)?,
                2 => v = double(&mut cursor, field, "Value")?,
                3 => t = int(&mut cursor, field, "Timestamp")?,
                _ => cursor.skip(field)?,
            }
        }
        let start = self.arena.len();
        let pushed = self.push_key(own);
        self.refs.truncate(own);
        match pushed {
            Ok(()) => {
                let key = index(start, "label bytes")?..index(self.arena.len(), "label bytes")?;
                sink.exemplar(Key::Arena(key), t, v);
                Ok(1)
            }
            Err(why) => {
                sink.bad_exemplar(BadRow::Exemplar { series: self.show_series(), why });
                Ok(0)
            }
        }
    }

    fn show_series(&self) -> String {
        let (pairs, _) = self.refs.as_chunks::<2>();
        let pairs = pairs.iter().map(|&[n, v]| (self.symbols.text(n), self.symbols.text(v)));
        model::Labels::from_pairs(pairs).to_string()
    }
}

fn show(refs: &[u32]) -> String {
    // As Go prints a slice; a list that is absurdly long is cut.
    let shown: Vec<String> = refs.iter().take(200).map(u32::to_string).collect();
    format!("[{}{}]", shown.join(" "), if refs.len() > 200 { " …" } else { "" })
}

#[inline]
fn refs(cursor: &mut Cursor<'_>, field: Field, out: &mut Vec<u32>) -> Result<(), ProtoError> {
    if field.wire == WireType::Varint {
        out.push(cursor.varint()? as u32);
        return Ok(());
    }
    field.expect(WireType::Len, "LabelsRefs")?;
    packed_refs(cursor.bytes()?, out)
}

#[inline]
fn packed_refs(bytes: &[u8], out: &mut Vec<u32>) -> Result<(), ProtoError> {
    out.reserve(bytes.len());
    let mut packed = Cursor::new(bytes);
    while !packed.is_empty() {
        out.push(packed.varint()? as u32);
    }
    Ok(())
}

#[inline]
fn push_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let (n, v) = (name.len(), value.len());
    if n < 0x80 && v < 0x80 && n + v < 0x7c {
        // All lengths in one byte each.
        out.extend_from_slice(&[0x0a, (n + v + 4) as u8, 0x0a, n as u8]);
        out.extend_from_slice(name);
        out.extend_from_slice(&[0x12, v as u8]);
        out.extend_from_slice(value);
        return;
    }
    put_tag(out, 1, WireType::Len);
    put_varint(out, (len_field(n) + len_field(v)) as u64);
    put_bytes(out, 1, name);
    put_bytes(out, 2, value);
}

#[inline]
fn sample<'a>(bytes: &'a [u8], sink: &mut impl Sink<'a>) -> Result<(), ProtoError> {
    if let [0x09, value @ ..] = bytes
        && let Some((value, [0x10, time @ ..])) = value.split_first_chunk::<8>()
        && let Some(t) = Cursor::new(time).only_varint()?
    {
        sink.sample(t as i64, f64::from_le_bytes(*value), 0);
        return Ok(());
    }
    let mut cursor = Cursor::new(bytes);
    let (mut t, mut v, mut start) = (0, 0.0, 0);
    while let Some(field) = cursor.field("Sample")? {
        match field.number {
            1 => v = double(&mut cursor, field, "Value")?,
            2 => t = int(&mut cursor, field, "Timestamp")?,
            3 => start = int(&mut cursor, field, "StartTimestamp")?,
            _ => cursor.skip(field)?,
        }
    }
    sink.sample(t, v, start);
    Ok(())
}

/// What a written series carries besides its labels.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    /// `start`: start timestamp, 0 for none.
    Sample {
        t: i64,
        start: i64,
        v: f64,
    },
    Histogram {
        t: i64,
        start: i64,
        histogram: &'a FloatHistogram,
    },
    /// `refs`: label references, names and values in turn.
    Exemplar {
        t: i64,
        v: f64,
        refs: &'a [u32],
    },
}

/// References into the symbol table for a series' metadata.
#[derive(Clone, Copy, Debug, Default)]
pub struct MetadataRefs {
    pub kind: MetricType,
    pub help: u32,
    pub unit: u32,
}

/// Writes a request: series first into a buffer of their own, then [`Encoder::finish`] puts the symbols, which
/// are known only then, in front.
#[derive(Debug, Default)]
pub struct Encoder {
    series: Vec<u8>,
    inner: Vec<u8>,
}

impl Encoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of series so far.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Appends a series; `refs`: label references, names and values in turn, sorted by name.
    pub fn push(&mut self, refs: &[u32], metadata: MetadataRefs, rows: &[Row<'_>]) {
        let inner = &mut self.inner;
        inner.clear();
        put_refs(inner, refs);
        for row in rows {
            match row {
                Row::Sample { t, start, v } => {
                    let value = if v.to_bits() == 0 { 0 } else { 9 };
                    let len = |t: i64| if t == 0 { 0 } else { 1 + varint_len(t as u64) };
                    put_tag(inner, 2, WireType::Len);
                    put_varint(inner, (value + len(*t) + len(*start)) as u64);
                    put_double(inner, 1, *v);
                    put_uint(inner, 2, *t as u64);
                    put_uint(inner, 3, *start as u64);
                }
                Row::Histogram { t, start, histogram: h } => {
                    put_bytes(inner, 3, &histogram::encode(*t, h, *start));
                }
                Row::Exemplar { t, v, refs } => {
                    let mut body = Vec::with_capacity(32);
                    put_refs(&mut body, refs);
                    put_double(&mut body, 2, *v);
                    put_uint(&mut body, 3, *t as u64);
                    put_bytes(inner, 4, &body);
                }
            }
        }
        // Upstream writes the message even when it is empty.
        put_tag(inner, 5, WireType::Len);
        let at = inner.len();
        inner.push(0);
        put_uint(inner, 1, metadata.kind as u64);
        put_uint(inner, 3, u64::from(metadata.help));
        put_uint(inner, 4, u64::from(metadata.unit));
        // At most 2 + 6 + 6 bytes: the length fits the byte kept for it.
        let len = inner.len() - at - 1;
        if let Some(byte) = inner.get_mut(at) {
            *byte = len as u8;
        }
        put_bytes(&mut self.series, 5, inner);
    }

    /// Appends the request to `out` and forgets it here. `symbols`: in order of their references; the first
    /// must be the empty text.
    pub fn finish<S: AsRef<str>>(&mut self, symbols: impl IntoIterator<Item = S>, out: &mut Vec<u8>) {
        for symbol in symbols {
            put_bytes(out, 4, symbol.as_ref().as_bytes());
        }
        out.extend_from_slice(&self.series);
        self.series.clear();
    }
}

fn put_refs(out: &mut Vec<u8>, refs: &[u32]) {
    if refs.is_empty() {
        return;
    }
    put_tag(out, 1, WireType::Len);
    let len: usize = refs.iter().map(|r| varint_len(u64::from(*r))).sum();
    put_varint(out, len as u64);
    for r in refs {
        put_varint(out, u64::from(*r));
    }
}

/// The metadata family of a metric of a kind: histograms and summaries have series with suffixes.
pub fn family_of(metric: &str, kind: MetricType) -> &str {
    let suffixes: &[&str] = match kind {
        MetricType::Histogram | MetricType::GaugeHistogram => {
            &["_bucket", "_count", "_sum", "_gcount", "_gsum"]
        }
        MetricType::Summary => &["_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|s| metric.strip_suffix(s)).filter(|m| !m.is_empty()).unwrap_or(metric)
}

/// A row of metadata as references, given the symbols' references.
pub fn metadata_refs(metadata: &Metadata, mut symbol: impl FnMut(&str) -> u32) -> MetadataRefs {
    MetadataRefs { kind: metadata.kind, help: symbol(&metadata.help), unit: symbol(&metadata.unit) }
}

/// Fuzz entry: walks any bytes.
pub fn fuzz_decode(body: &[u8]) {
    let _ = decode(body, &mut Scratch::new(), &mut super::Discard);
}
