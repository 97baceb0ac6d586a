//! The types of records and their decoding into reusable vectors. Bytes are not trusted.
//!
//! All types of upstream 3.14 are read (1 to 13). Encoding is in [`super::RecordBuf`]; it uses types 11 to 13,
//! which have start timestamps, only when there are some to keep.

use chunk::varint::{take_i64, take_u64};
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Span};
use model::{FloatHistogram, Labels, Metadata, MetricType, TimeRange};
use std::sync::Arc;
use storage::SeriesRef;
use storage::feed::{FeedExemplar, FeedHistogram, FeedSample};

/// First byte of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordType {
    Series = 1,
    Samples = 2,
    Tombstones = 3,
    Exemplars = 4,
    MmapMarkers = 5,
    Metadata = 6,
    Histograms = 7,
    FloatHistograms = 8,
    /// Integer histograms with custom buckets.
    CustomHistograms = 9,
    CustomFloatHistograms = 10,
    SamplesV2 = 11,
    HistogramsV2 = 12,
    FloatHistogramsV2 = 13,
}

impl RecordType {
    /// Of a whole record; `None` for types from the future, which readers skip.
    pub fn of(record: &[u8]) -> Option<RecordType> {
        use RecordType::*;
        Some(match record.first()? {
            1 => Series,
            2 => Samples,
            3 => Tombstones,
            4 => Exemplars,
            5 => MmapMarkers,
            6 => Metadata,
            7 => Histograms,
            8 => FloatHistograms,
            9 => CustomHistograms,
            10 => CustomFloatHistograms,
            11 => SamplesV2,
            12 => HistogramsV2,
            13 => FloatHistogramsV2,
            _ => return None,
        })
    }

    /// The type for a histogram of its kind.
    pub(super) const fn of_histogram(integer: bool, custom_buckets: bool, with_starts: bool) -> RecordType {
        use RecordType::*;
        match (integer, custom_buckets) {
            (true, _) if with_starts => HistogramsV2,
            (false, _) if with_starts => FloatHistogramsV2,
            (true, false) => Histograms,
            (true, true) => CustomHistograms,
            (false, false) => FloatHistograms,
            (false, true) => CustomFloatHistograms,
        }
    }

    /// Whether its histograms have integer counts.
    pub(super) const fn is_integer(self) -> bool {
        use RecordType::*;
        matches!(self, Histograms | CustomHistograms | HistogramsV2)
    }

    /// Whether its rows have start timestamps.
    pub(super) const fn has_starts(self) -> bool {
        use RecordType::*;
        matches!(self, SamplesV2 | HistogramsV2 | FloatHistogramsV2)
    }

    pub const fn as_str(self) -> &'static str {
        use RecordType::*;
        match self {
            Series => "series",
            Samples => "samples",
            Tombstones => "tombstones",
            Exemplars => "exemplars",
            MmapMarkers => "mmapmarkers",
            Metadata => "metadata",
            Histograms => "histogram_samples",
            FloatHistograms => "float_histogram_samples",
            CustomHistograms => "custom_buckets_histogram_samples",
            CustomFloatHistograms => "custom_buckets_float_histogram_samples",
            SamplesV2 => "samples_v2",
            HistogramsV2 => "histogram_samples_v2",
            FloatHistogramsV2 => "float_histogram_samples_v2",
        }
    }
}

/// Why a record with a good checksum could not be decoded. What was decoded before stays in the vector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record ends inside {0}")]
    Truncated(&'static str),
    #[error("label is not valid UTF-8")]
    NotUtf8,
    #[error("record of type {got}, expected {want}")]
    WrongType { got: u8, want: &'static str },
}

/// Samples of a series deleted within a closed range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub series: SeriesRef,
    pub range: TimeRange,
}

impl Tombstone {
    /// Not a deletion: the series left the head early, because blocks had all of it, and is not known any more from
    /// here on. Upstream writes this after a compaction of stale series. A deletion never reaches that far, for it is
    /// bounded by the samples that it is about.
    pub fn is_departure(&self) -> bool {
        self.range == TimeRange::ALL
    }
}

fn body<'a>(record: &'a [u8], want: &'static str, kinds: &[RecordType]) -> Result<&'a [u8], RecordError> {
    match record.split_first() {
        Some((kind, rest)) if kinds.iter().any(|k| *k as u8 == *kind) => Ok(rest),
        other => Err(RecordError::WrongType { got: other.map_or(0, |o| *o.0), want }),
    }
}

fn take_be(rest: &mut &[u8]) -> Option<u64> {
    let (n, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_be_bytes(*n))
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (byte, after) = rest.split_first()?;
    *rest = after;
    Some(*byte)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_u64(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}

/// The labels of one series inside a record, still encoded.
#[derive(Clone, Copy, Debug)]
pub struct LabelBytes<'a> {
    /// Names and values in turn, each with its length.
    bytes: &'a [u8],
}

impl<'a> LabelBytes<'a> {
    fn take(rest: &mut &'a [u8]) -> Result<Self, RecordError> {
        let cut = RecordError::Truncated("labels");
        let count = take_u64(rest).ok_or(cut.clone())?;
        let all = *rest;
        for _ in 0..count.saturating_mul(2) {
            take_bytes(rest).ok_or(cut.clone())?;
        }
        let labels = LabelBytes { bytes: &all[..all.len() - rest.len()] };
        // One look at everything is cheaper than one at each text, and nearly always enough.
        let sound = labels.bytes.is_ascii()
            || labels.raw().all(|(n, v)| std::str::from_utf8(n).is_ok() && std::str::from_utf8(v).is_ok());
        if sound { Ok(labels) } else { Err(RecordError::NotUtf8) }
    }

    /// Over encoded pairs that were checked before.
    pub(crate) fn checked(bytes: &'a [u8]) -> Self {
        LabelBytes { bytes }
    }

    /// Pairs as bytes, which are UTF-8.
    pub(crate) fn raw(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || Some((take_bytes(&mut rest)?, take_bytes(&mut rest)?)))
    }

    /// Pairs in the order of the record; upstream sorts them by name.
    pub fn iter(&self) -> LabelPairs<'a> {
        LabelPairs { rest: self.bytes }
    }

    /// The encoded pairs (without their count): equal bytes, equal labels.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn to_labels(&self) -> Labels {
        let mut last = "";
        let canonical = self.iter().all(|(name, value)| {
            let ok = last < name && !value.is_empty();
            last = name;
            ok
        });
        if canonical { Labels::from_sorted(self.iter()) } else { Labels::from_pairs(self.iter()) }
    }
}

#[derive(Clone)]
pub struct LabelPairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for LabelPairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let name = take_bytes(&mut self.rest)?;
        let value = take_bytes(&mut self.rest)?;
        Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
    }
}

/// Appends one pair in the encoding of [`LabelBytes`].
pub(crate) fn push_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for text in [name, value] {
        chunk::varint::put_u64(out, text.len() as u64);
        out.extend_from_slice(text);
    }
}

/// Calls `each` with every series of a series record.
pub fn series<'a>(
    record: &'a [u8],
    mut each: impl FnMut(SeriesRef, LabelBytes<'a>),
) -> Result<(), RecordError> {
    let mut rest = body(record, "series", &[RecordType::Series])?;
    while !rest.is_empty() {
        let id = take_be(&mut rest).ok_or(RecordError::Truncated("series"))?;
        each(SeriesRef(id), LabelBytes::take(&mut rest)?);
    }
    Ok(())
}

/// A series record of a snapshot of the head.
pub(crate) struct SnapshotSeries<'a> {
    pub(crate) series: SeriesRef,
    pub(crate) labels: LabelBytes<'a>,
    /// Encoding and data of the open chunk.
    pub(crate) chunk: Option<(u8, &'a [u8])>,
}

pub(crate) fn snapshot_series(record: &[u8]) -> Result<SnapshotSeries<'_>, RecordError> {
    let mut rest = record.get(1..).unwrap_or(&[]);
    let series = SeriesRef(take_be(&mut rest).ok_or(RecordError::Truncated("series"))?);
    let labels = LabelBytes::take(&mut rest)?;
    let chunk = (|| {
        // Once the range of chunks.
        take_be(&mut rest)?;
        if take_u64(&mut rest)? == 0 {
            return Some(None);
        }
        let (_min, _max) = (take_be(&mut rest)?, take_be(&mut rest)?);
        Some(Some((take_byte(&mut rest)?, take_bytes(&mut rest)?)))
    })();
    Ok(SnapshotSeries { series, labels, chunk: chunk.ok_or(RecordError::Truncated("chunk"))? })
}

/// The tombstones record of a snapshot of the head.
pub(crate) fn snapshot_tombstones(record: &[u8]) -> Result<Vec<Tombstone>, RecordError> {
    let cut = RecordError::Truncated("tombstones");
    let mut rest = record.get(1..).unwrap_or(&[]);
    let mut body = take_bytes(&mut rest).ok_or(cut.clone())?;
    match take_byte(&mut body) {
        Some(1) => {}
        other => {
            return Err(RecordError::WrongType { got: other.unwrap_or(0), want: "tombstones version 1" });
        }
    }
    let mut list = Vec::new();
    while !body.is_empty() {
        let one = (|| {
            let series = SeriesRef(take_u64(&mut body)?);
            Some(Tombstone { series, range: TimeRange::new(take_i64(&mut body)?, take_i64(&mut body)?) })
        })();
        list.push(one.ok_or(cut.clone())?);
    }
    Ok(list)
}

/// Appends the samples of a samples record of either version. `starts` gets their start timestamps (ms), and is only
/// as long as the last of `out` that has one: 0, and what is missing at its end, is none.
pub fn samples(record: &[u8], out: &mut Vec<FeedSample>, starts: &mut Vec<i64>) -> Result<(), RecordError> {
    let rest = body(record, "samples", &[RecordType::Samples, RecordType::SamplesV2])?;
    let done = match record.first() {
        Some(11) => samples_v2(rest, out, starts),
        _ => samples_v1(rest, out),
    };
    done.ok_or(RecordError::Truncated("samples"))
}

fn samples_v1(mut rest: &[u8], out: &mut Vec<FeedSample>) -> Option<()> {
    if rest.is_empty() {
        return Some(());
    }
    let base = take_be(&mut rest)?;
    let base_t = take_be(&mut rest)? as i64;
    out.reserve(rest.len() / 14);
    while !rest.is_empty() {
        let series = base.wrapping_add(take_i64(&mut rest)? as u64);
        let t = base_t.wrapping_add(take_i64(&mut rest)?);
        let v = f64::from_bits(take_be(&mut rest)?);
        out.push(FeedSample { series: SeriesRef(series), t, v });
    }
    Some(())
}

fn samples_v2(mut rest: &[u8], out: &mut Vec<FeedSample>, starts: &mut Vec<i64>) -> Option<()> {
    let mut rows = RowsV2::default();
    while !rest.is_empty() {
        let (series, t, start) = rows.take(&mut rest)?;
        let v = f64::from_bits(take_be(&mut rest)?);
        if start != 0 {
            starts.resize(out.len(), 0);
            starts.push(start);
        }
        out.push(FeedSample { series, t, v });
    }
    Some(())
}

/// Series, time and start time of the rows of version 2: the first in full, the others relative.
#[derive(Default)]
struct RowsV2 {
    last: Option<u64>,
    first_t: i64,
    first_start: i64,
    start: i64,
}

impl RowsV2 {
    fn take(&mut self, rest: &mut &[u8]) -> Option<(SeriesRef, i64, i64)> {
        let Some(last) = self.last else {
            let series = take_i64(rest)? as u64;
            self.first_t = take_i64(rest)?;
            self.first_start = take_i64(rest)?;
            self.start = self.first_start;
            self.last = Some(series);
            return Some((SeriesRef(series), self.first_t, self.start));
        };
        let series = last.wrapping_add(take_i64(rest)? as u64);
        let t = self.first_t.wrapping_add(take_i64(rest)?);
        self.start = match take_byte(rest)? {
            NO_START => 0,
            SAME_START => self.start,
            _ => self.first_start.wrapping_add(take_i64(rest)?),
        };
        self.last = Some(series);
        Some((SeriesRef(series), t, self.start))
    }
}

/// Before a start time of version 2: there is none, it is that of the row before, or it stands as a difference to
/// that of the first row.
pub(super) const NO_START: u8 = 0;
pub(super) const SAME_START: u8 = 1;
pub(super) const OTHER_START: u8 = 2;

/// Appends the tombstones of a record.
pub fn tombstones(record: &[u8], out: &mut Vec<Tombstone>) -> Result<(), RecordError> {
    let mut rest = body(record, "tombstones", &[RecordType::Tombstones])?;
    while !rest.is_empty() {
        let one = (|| {
            let series = SeriesRef(take_be(&mut rest)?);
            Some(Tombstone { series, range: TimeRange::new(take_i64(&mut rest)?, take_i64(&mut rest)?) })
        })();
        out.push(one.ok_or(RecordError::Truncated("tombstones"))?);
    }
    Ok(())
}

/// Appends the exemplars of a record.
pub fn exemplars(record: &[u8], out: &mut Vec<FeedExemplar>) -> Result<(), RecordError> {
    let mut rest = body(record, "exemplars", &[RecordType::Exemplars])?;
    if rest.is_empty() {
        return Ok(());
    }
    let cut = RecordError::Truncated("exemplars");
    let base = take_be(&mut rest).ok_or(cut.clone())?;
    let base_t = take_be(&mut rest).ok_or(cut.clone())? as i64;
    while !rest.is_empty() {
        let (id, t, v) = (|| Some((take_i64(&mut rest)?, take_i64(&mut rest)?, take_be(&mut rest)?)))()
            .ok_or(cut.clone())?;
        let labels = LabelBytes::take(&mut rest)?.to_labels();
        let series = SeriesRef(base.wrapping_add(id as u64));
        out.push(FeedExemplar { series, t: base_t.wrapping_add(t), v: f64::from_bits(v), labels });
    }
    Ok(())
}

/// Appends the metadata of a record; fields that we do not know are read over.
pub fn metadata(record: &[u8], out: &mut Vec<(SeriesRef, Metadata)>) -> Result<(), RecordError> {
    let mut rest = body(record, "metadata", &[RecordType::Metadata])?;
    let cut = RecordError::Truncated("metadata");
    while !rest.is_empty() {
        let (id, kind, fields) =
            (|| Some((take_u64(&mut rest)?, take_byte(&mut rest)?, take_u64(&mut rest)?)))()
                .ok_or(cut.clone())?;
        let kind = MetricType::from_number(u64::from(kind));
        let mut meta = Metadata { kind, ..Metadata::default() };
        for _ in 0..fields {
            let (name, value) =
                (|| Some((take_bytes(&mut rest)?, take_bytes(&mut rest)?)))().ok_or(cut.clone())?;
            let value = String::from_utf8_lossy(value);
            match name {
                b"UNIT" => meta.unit = value.into_owned(),
                b"HELP" => meta.help = value.into_owned(),
                _ => {}
            }
        }
        out.push((SeriesRef(id), meta));
    }
    Ok(())
}

/// Appends mmap markers of the out-of-order log: series and chunk reference.
pub fn mmap_markers(record: &[u8], out: &mut Vec<(SeriesRef, u64)>) -> Result<(), RecordError> {
    let mut rest = body(record, "mmap markers", &[RecordType::MmapMarkers])?;
    while !rest.is_empty() {
        let one = (|| Some((SeriesRef(take_be(&mut rest)?), take_be(&mut rest)?)))();
        out.push(one.ok_or(RecordError::Truncated("mmap markers"))?);
    }
    Ok(())
}

/// Appends the histograms of a record of any of the six types. Schemas that nobody knows are left out, as upstream
/// does; their number is the answer.
pub fn histograms(record: &[u8], out: &mut Vec<FeedHistogram>) -> Result<u64, RecordError> {
    histograms_in(&mut Vec::new(), record, out)
}

/// [`histograms`] in the memory of others, which are empty.
pub(crate) fn histograms_in(
    spare: &mut Vec<Arc<FloatHistogram>>,
    record: &[u8],
    out: &mut Vec<FeedHistogram>,
) -> Result<u64, RecordError> {
    let mut unknown = 0;
    histogram_rows(record, |row, h, _| {
        if is_known_schema(h.schema) {
            let Row { series, t, start } = row;
            let histogram = std::mem::replace(h, spare.pop().unwrap_or_default());
            out.push(FeedHistogram { series, t, start, histogram });
        } else {
            unknown += 1;
        }
    })?;
    Ok(unknown)
}

const fn is_known_schema(schema: i32) -> bool {
    schema == CUSTOM_BUCKETS_SCHEMA || (-9 <= schema && schema <= 52)
}

/// What stands before a histogram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) series: SeriesRef,
    pub(super) t: i64,
    pub(super) start: i64,
}

/// Calls `each` with what stands before a histogram, the histogram, and its own bytes. The next one is read into what
/// `each` leaves.
pub(super) fn histogram_rows(
    record: &[u8],
    mut each: impl FnMut(Row, &mut Arc<FloatHistogram>, &[u8]),
) -> Result<(), RecordError> {
    use RecordType::*;
    let kinds = [
        Histograms,
        FloatHistograms,
        CustomHistograms,
        CustomFloatHistograms,
        HistogramsV2,
        FloatHistogramsV2,
    ];
    let mut rest = body(record, "histograms", &kinds)?;
    if rest.is_empty() {
        return Ok(());
    }
    let kind = RecordType::of(record);
    let integer = kind.is_some_and(RecordType::is_integer);
    let cut = RecordError::Truncated("histograms");
    let mut v2 = kind.is_some_and(RecordType::has_starts).then(RowsV2::default);
    let (mut base, mut base_t) = (0, 0);
    if v2.is_none() {
        base = take_be(&mut rest).ok_or(cut.clone())?;
        base_t = take_be(&mut rest).ok_or(cut.clone())? as i64;
    }
    let mut memory = Arc::<FloatHistogram>::default();
    while !rest.is_empty() {
        let row = match &mut v2 {
            Some(rows) => rows.take(&mut rest),
            None => (|| Some((take_i64(&mut rest)?, take_i64(&mut rest)?)))()
                .map(|(id, t)| (SeriesRef(base.wrapping_add(id as u64)), base_t.wrapping_add(t), 0)),
        };
        let (series, t, start) = row.ok_or(cut.clone())?;
        let before = rest;
        let h = Arc::make_mut(&mut memory);
        h.clear();
        take_histogram(&mut rest, integer, h).ok_or(cut.clone())?;
        each(Row { series, t, start }, &mut memory, &before[..before.len() - rest.len()]);
    }
    Ok(())
}

fn take_float(rest: &mut &[u8]) -> Option<f64> {
    take_be(rest).map(f64::from_bits)
}

/// Reads into an empty histogram.
fn take_histogram(rest: &mut &[u8], integer: bool, h: &mut FloatHistogram) -> Option<()> {
    h.integer = integer;
    h.counter_reset_hint = match take_byte(rest)? {
        1 => CounterResetHint::CounterReset,
        2 => CounterResetHint::NotCounterReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    };
    h.schema = take_i64(rest)? as i32;
    h.zero_threshold = take_float(rest)?;
    let count_of =
        |rest: &mut &[u8]| if integer { take_u64(rest).map(|n| n as f64) } else { take_float(rest) };
    (h.zero_count, h.count) = (count_of(rest)?, count_of(rest)?);
    h.sum = take_float(rest)?;
    take_spans(rest, &mut h.positive_spans)?;
    take_spans(rest, &mut h.negative_spans)?;
    let buckets = if integer { take_deltas } else { take_floats };
    buckets(rest, &mut h.positive_buckets)?;
    buckets(rest, &mut h.negative_buckets)?;
    if h.schema == CUSTOM_BUCKETS_SCHEMA {
        take_floats(rest, &mut h.custom_values)?;
    }
    Some(())
}

/// A count of items that take at least `least` bytes each: a lying one cannot claim memory.
fn take_count(rest: &mut &[u8], least: usize) -> Option<usize> {
    let n = usize::try_from(take_u64(rest)?).ok()?;
    (n <= rest.len() / least).then_some(n)
}

fn take_spans(rest: &mut &[u8], out: &mut Vec<Span>) -> Option<()> {
    let n = take_count(rest, 2)?;
    out.reserve_exact(n);
    for _ in 0..n {
        out.push(Span { offset: take_i64(rest)? as i32, length: take_u64(rest)? as u32 });
    }
    Some(())
}

fn take_floats(rest: &mut &[u8], out: &mut Vec<f64>) -> Option<()> {
    let n = take_count(rest, 8)?;
    out.reserve_exact(n);
    for _ in 0..n {
        out.push(take_float(rest)?);
    }
    Some(())
}

fn take_deltas(rest: &mut &[u8], out: &mut Vec<f64>) -> Option<()> {
    let n = take_count(rest, 1)?;
    out.reserve_exact(n);
    let mut last = 0i64;
    for _ in 0..n {
        last = last.wrapping_add(take_i64(rest)?);
        out.push(last as f64);
    }
    Some(())
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
