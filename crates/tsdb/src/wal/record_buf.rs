//! Encoding of records: a reusable buffer of whole records, filled straight from whatever the caller has.

use super::record::{NO_START, OTHER_START, RecordType, SAME_START};
use chunk::varint::{MAX_LEN, put_i64, put_u64, zigzag};
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint};
use model::{FloatHistogram, Metadata};
use storage::SeriesRef;

/// Some encoded records, to be logged together. Keep it and clear it: a warm buffer allocates nothing.
///
/// Each kind has a builder that makes one record of what is pushed to it; without a push there is no record.
#[derive(Debug, Default)]
pub struct RecordBuf {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl RecordBuf {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Gives memory back when an unusual batch made the buffer larger than `bytes`.
    pub fn shrink_over(&mut self, bytes: usize) {
        if self.bytes.capacity() > bytes {
            self.bytes.shrink_to(bytes);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all records.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The records, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// A record that is encoded already.
    pub fn raw(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    /// A series record (type 1).
    pub fn series(&mut self) -> SeriesRecord<'_> {
        SeriesRecord(Open::new(self, RecordType::Series))
    }

    /// A samples record (type 2).
    pub fn samples(&mut self) -> SamplesRecord<'_> {
        SamplesRecord(Open::new(self, RecordType::Samples))
    }

    /// A tombstones record (type 3).
    pub fn tombstones(&mut self) -> TombstonesRecord<'_> {
        TombstonesRecord(Open::new(self, RecordType::Tombstones))
    }

    /// An exemplars record (type 4).
    pub fn exemplars(&mut self) -> ExemplarsRecord<'_> {
        ExemplarsRecord(Open::new(self, RecordType::Exemplars))
    }

    /// A record of mmap markers (type 5), for the out-of-order log.
    pub fn mmap_markers(&mut self) -> MmapMarkersRecord<'_> {
        MmapMarkersRecord(Open::new(self, RecordType::MmapMarkers))
    }

    /// A metadata record (type 6).
    pub fn metadata(&mut self) -> MetadataRecord<'_> {
        MetadataRecord(Open::new(self, RecordType::Metadata))
    }

    /// A samples record with start timestamps (type 11).
    pub fn samples_with_starts(&mut self) -> StartsRecord<'_> {
        StartsRecord::new(Open::new(self, RecordType::SamplesV2))
    }

    /// Records of histograms, as many as it takes to keep the order: one has histograms of one kind. Types 7 to 10,
    /// or 12 and 13, which have start timestamps.
    pub fn histograms<'h>(&mut self, with_starts: bool, rows: impl IntoIterator<Item = HistogramEntry<'h>>) {
        let mut rows = rows.into_iter();
        let kind_of = |row: &HistogramEntry<'_>| {
            RecordType::of_histogram(row.integer, row.histogram.uses_custom_buckets(), with_starts)
        };
        let Some(mut row) = rows.next() else { return };
        let mut kind = kind_of(&row);
        'records: loop {
            let mut record = self.raw_histograms(kind);
            loop {
                record.push(&row);
                row = match rows.next() {
                    Some(next) => next,
                    None => return,
                };
                let own = kind_of(&row);
                if own != kind {
                    kind = own;
                    continue 'records;
                }
            }
        }
    }

    /// A record of histograms of one kind.
    pub(super) fn raw_histograms(&mut self, kind: RecordType) -> HistogramsRecord<'_> {
        let open = Open::new(self, kind);
        if kind.has_starts() {
            HistogramsRecord::WithStarts(StartsRecord::new(open), kind)
        } else {
            HistogramsRecord::Plain(open, kind)
        }
    }
}

/// A record being written at the end of the buffer.
pub(super) struct Open<'a> {
    buf: &'a mut RecordBuf,
    start: usize,
    base: Option<(u64, i64)>,
}

impl<'a> Open<'a> {
    fn new(buf: &'a mut RecordBuf, kind: RecordType) -> Self {
        let start = buf.bytes.len();
        buf.bytes.push(kind as u8);
        Open { buf, start, base: None }
    }

    /// Series and time as differences to those of the first row, which stand before it in full.
    #[inline]
    fn put_delta(&mut self, series: SeriesRef, t: i64) {
        let (base_ref, base_t) = match self.base {
            Some(base) => base,
            None => self.begin(series, t),
        };
        put_i64(&mut self.buf.bytes, series.0.wrapping_sub(base_ref) as i64);
        put_i64(&mut self.buf.bytes, t.wrapping_sub(base_t));
    }

    #[cold]
    fn begin(&mut self, series: SeriesRef, t: i64) -> (u64, i64) {
        self.put_be(series.0);
        self.put_be(t as u64);
        self.base = Some((series.0, t));
        (series.0, t)
    }

    fn put_be(&mut self, n: u64) {
        self.buf.bytes.extend_from_slice(&n.to_be_bytes());
    }

    fn put_text(&mut self, text: &str) {
        put_u64(&mut self.buf.bytes, text.len() as u64);
        self.buf.bytes.extend_from_slice(text.as_bytes());
    }

    fn put_labels<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)> + Clone) {
        put_u64(&mut self.buf.bytes, labels.clone().count() as u64);
        for (name, value) in labels {
            self.put_text(name);
            self.put_text(value);
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.buf.bytes.len() > self.start + 1 {
            self.buf.ends.push(self.buf.bytes.len());
        } else {
            self.buf.bytes.truncate(self.start);
        }
    }
}

pub struct SeriesRecord<'a>(Open<'a>);

impl SeriesRecord<'_> {
    /// Labels sorted by name.
    pub fn push<'l>(
        &mut self,
        series: SeriesRef,
        labels: impl IntoIterator<Item = (&'l str, &'l str), IntoIter: Clone>,
    ) {
        self.0.put_be(series.0);
        self.0.put_labels(labels.into_iter());
    }
}

pub struct SamplesRecord<'a>(Open<'a>);

impl SamplesRecord<'_> {
    #[inline]
    pub fn push(&mut self, series: SeriesRef, t: i64, v: f64) {
        let (base_ref, base_t) = match self.0.base {
            Some(base) => base,
            None => self.0.begin(series, t),
        };
        // Put together aside and appended at once: one look at the capacity for each sample.
        let mut row = [0; 2 * MAX_LEN + 8];
        let mut len = put_zigzag(&mut row, 0, series.0.wrapping_sub(base_ref) as i64);
        len = put_zigzag(&mut row, len, t.wrapping_sub(base_t));
        row[len..len + 8].copy_from_slice(&v.to_bits().to_be_bytes());
        self.0.buf.bytes.extend_from_slice(&row[..len + 8]);
    }

    /// Makes room for `n` samples.
    pub fn reserve(&mut self, n: usize) {
        self.0.buf.bytes.reserve(16 + n * 14);
    }
}

pub struct TombstonesRecord<'a>(Open<'a>);

impl TombstonesRecord<'_> {
    /// Deletes samples from `min` to `max`, both included.
    pub fn push(&mut self, series: SeriesRef, min: i64, max: i64) {
        self.0.put_be(series.0);
        put_i64(&mut self.0.buf.bytes, min);
        put_i64(&mut self.0.buf.bytes, max);
    }
}

pub struct ExemplarsRecord<'a>(Open<'a>);

impl ExemplarsRecord<'_> {
    pub fn push<'l>(
        &mut self,
        series: SeriesRef,
        t: i64,
        v: f64,
        labels: impl IntoIterator<Item = (&'l str, &'l str), IntoIter: Clone>,
    ) {
        self.0.put_delta(series, t);
        self.0.put_be(v.to_bits());
        self.0.put_labels(labels.into_iter());
    }
}

pub struct MmapMarkersRecord<'a>(Open<'a>);

impl MmapMarkersRecord<'_> {
    /// `chunk` is the reference of the chunk in `chunks_head`.
    pub fn push(&mut self, series: SeriesRef, chunk: u64) {
        self.0.put_be(series.0);
        self.0.put_be(chunk);
    }
}

pub struct MetadataRecord<'a>(Open<'a>);

impl MetadataRecord<'_> {
    pub fn push(&mut self, series: SeriesRef, metadata: &Metadata) {
        put_u64(&mut self.0.buf.bytes, series.0);
        self.0.buf.bytes.push(metadata.kind as u8);
        put_u64(&mut self.0.buf.bytes, 2);
        self.0.put_text("UNIT");
        self.0.put_text(&metadata.unit);
        self.0.put_text("HELP");
        self.0.put_text(&metadata.help);
    }
}

/// A histogram to be logged; `start` is its start timestamp in ms, 0 for none.
#[derive(Clone, Copy, Debug)]
pub struct HistogramEntry<'a> {
    pub series: SeriesRef,
    pub t: i64,
    pub start: i64,
    /// See [`FloatHistogram::holds_integers`].
    pub integer: bool,
    pub histogram: &'a FloatHistogram,
}

pub(super) enum HistogramsRecord<'a> {
    Plain(Open<'a>, RecordType),
    WithStarts(StartsRecord<'a>, RecordType),
}

impl HistogramsRecord<'_> {
    fn begin(&mut self, series: SeriesRef, t: i64, start: i64) -> (&mut Vec<u8>, RecordType) {
        match self {
            HistogramsRecord::Plain(open, kind) => {
                open.put_delta(series, t);
                (&mut open.buf.bytes, *kind)
            }
            HistogramsRecord::WithStarts(record, kind) => {
                record.put_row(series, t, start);
                (&mut record.open.buf.bytes, *kind)
            }
        }
    }

    /// A histogram of the record's kind.
    fn push(&mut self, row: &HistogramEntry<'_>) {
        let (out, kind) = self.begin(row.series, row.t, row.start);
        put_histogram(out, row.histogram, kind.is_integer());
    }

    /// One whose body is encoded already.
    pub(super) fn push_raw(&mut self, series: SeriesRef, t: i64, start: i64, body: &[u8]) {
        self.begin(series, t, start).0.extend_from_slice(body);
    }
}

/// Rows with start timestamps: the first in full, the others relative to it or to the one before.
pub struct StartsRecord<'a> {
    open: Open<'a>,
    /// Time and start time of the first row.
    first: Option<(i64, i64)>,
    last_series: u64,
    last_start: i64,
}

impl<'a> StartsRecord<'a> {
    fn new(open: Open<'a>) -> Self {
        StartsRecord { open, first: None, last_series: 0, last_start: 0 }
    }

    /// A sample; `start` 0: none.
    pub fn push(&mut self, series: SeriesRef, t: i64, start: i64, v: f64) {
        self.put_row(series, t, start);
        self.open.put_be(v.to_bits());
    }

    fn put_row(&mut self, series: SeriesRef, t: i64, start: i64) {
        let out = &mut self.open.buf.bytes;
        match self.first {
            None => {
                put_i64(out, series.0 as i64);
                put_i64(out, t);
                put_i64(out, start);
                self.first = Some((t, start));
            }
            Some((first_t, first_start)) => {
                put_i64(out, series.0.wrapping_sub(self.last_series) as i64);
                put_i64(out, t.wrapping_sub(first_t));
                if start == 0 {
                    out.push(NO_START);
                } else if start == self.last_start {
                    out.push(SAME_START);
                } else {
                    out.push(OTHER_START);
                    put_i64(out, start.wrapping_sub(first_start));
                }
            }
        }
        (self.last_series, self.last_start) = (series.0, start);
    }
}

/// Writes a signed varint at `at`; gives the place behind it.
#[inline]
fn put_zigzag<const N: usize>(row: &mut [u8; N], at: usize, n: i64) -> usize {
    let (mut n, mut at) = (zigzag(n), at);
    while n >= 0x80 {
        row[at] = n as u8 | 0x80;
        n >>= 7;
        at += 1;
    }
    row[at] = n as u8;
    at + 1
}

/// A histogram as records have it, of integers or not.
pub(crate) fn put_histogram(out: &mut Vec<u8>, h: &FloatHistogram, integer: bool) {
    out.push(match h.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    });
    put_i64(out, i64::from(h.schema));
    let float = |out: &mut Vec<u8>, v: f64| out.extend_from_slice(&v.to_bits().to_be_bytes());
    float(out, h.zero_threshold);
    for v in [h.zero_count, h.count] {
        if integer {
            put_u64(out, v as u64);
        } else {
            float(out, v);
        }
    }
    float(out, h.sum);
    for spans in [&h.positive_spans, &h.negative_spans] {
        put_u64(out, spans.len() as u64);
        for span in spans {
            put_i64(out, i64::from(span.offset));
            put_u64(out, u64::from(span.length));
        }
    }
    for buckets in [&h.positive_buckets, &h.negative_buckets] {
        put_u64(out, buckets.len() as u64);
        if !integer {
            buckets.iter().for_each(|v| float(out, *v));
            continue;
        }
        let mut neighbour = 0i64;
        // Put together aside and appended at once.
        for some in buckets.chunks(16) {
            let (mut row, mut len) = ([0; 16 * MAX_LEN], 0);
            for v in some {
                len = put_zigzag(&mut row, len, (*v as i64).wrapping_sub(neighbour));
                neighbour = *v as i64;
            }
            out.extend_from_slice(&row[..len]);
        }
    }
    if h.schema == CUSTOM_BUCKETS_SCHEMA {
        put_u64(out, h.custom_values.len() as u64);
        h.custom_values.iter().for_each(|v| float(out, *v));
    }
}
