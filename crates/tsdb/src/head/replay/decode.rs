//! Reading and decoding the logs beside their application.
//!
//! One thread finds the records of the segments, in their order, and deals them out in parcels; decoders
//! unpack and decode parcels. What comes back keeps the order of the log, and buffers go round.

use super::Log;
use crate::head::page::split;
use crate::head::snapshot;
use crate::head::table::SeriesTable;
use crate::wal::record::{self, LabelBytes, RecordType};
use crate::wal::{Compression, Damage, Packed, Segment, SegmentReader, Tombstone, unpack};
use disk::Disk;
use model::{FloatHistogram, Metadata};
use parking_lot::Mutex;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::{Duration, Instant};
use storage::SeriesRef;
use storage::feed::{FeedExemplar, FeedHistogram, FeedSample};

/// Bytes of records, as they were logged, that make a parcel.
const PARCEL_BYTES: usize = 64 << 10;
/// Parcels that wait for one decoder, or for what it decoded to be applied.
pub(super) const AHEAD: usize = 2;
/// Labels of a row that may be told to be as those of the row before.
const MASKED: usize = 64;

/// Series of a record. Neighbours share most labels, so a row says which ones, and has the others.
#[derive(Default)]
pub(super) struct SeriesRows {
    pub(super) rows: Vec<SeriesRow>,
    /// Labels in the encoding of the log.
    bytes: Vec<u8>,
}

pub(super) struct SeriesRow {
    pub(super) number: u64,
    /// Of the canonical key.
    pub(super) hash: [u64; 2],
    /// Bit by position: the label is that of the row before, at the same position.
    pub(super) same: u64,
    pub(super) labels: u32,
    rest: Range<u32>,
}

impl SeriesRows {
    /// The labels of a row that are not as in the row before, in their order.
    pub(super) fn rest(&self, row: &SeriesRow) -> record::LabelPairs<'_> {
        let range = row.rest.start as usize..row.rest.end as usize;
        LabelBytes::checked(self.bytes.get(range).unwrap_or(&[])).iter()
    }
}

/// Series of a snapshot, with their open chunks: encoding, and place in `bytes`.
#[derive(Default)]
pub(super) struct Restored {
    pub(super) rows: SeriesRows,
    pub(super) chunks: Vec<Option<(u8, Range<u32>)>>,
    pub(super) bytes: Vec<u8>,
}

/// Decoded log.
pub(super) enum Decoded {
    Series(SeriesRows),
    Restored(Restored),
    /// A snapshot that cannot be used.
    Broken(String),
    /// By lane.
    Samples(Vec<Vec<FeedSample>>),
    /// With their start timestamps.
    Started(Vec<(FeedSample, i64)>),
    Tombstones(Vec<Tombstone>),
    Exemplars(Vec<FeedExemplar>),
    Metadata(Vec<(SeriesRef, Metadata)>),
    Markers(Vec<(SeriesRef, u64)>),
    /// With the number of rows of unknown schemas.
    Histograms(Vec<FeedHistogram>, u64),
    End {
        segment: u32,
        took: Duration,
    },
    Failed(disk::DiskError),
}

/// Lane of a series: all samples of one are applied in order, by one thread.
#[inline]
pub(super) fn lane_of(series: u64, lanes: usize) -> usize {
    split(series as u32).0 % lanes
}

/// Emptied vectors of samples, and emptied histograms, that go round.
#[derive(Default)]
pub(super) struct Pool {
    samples: Mutex<Vec<Vec<FeedSample>>>,
    histograms: Mutex<Vec<Vec<Arc<FloatHistogram>>>>,
}

impl Pool {
    /// Portions of one kind that wait, at most.
    const PORTIONS: usize = 16;
    /// Histograms of a portion; few records have more.
    const HISTOGRAMS: usize = 1 << 12;

    fn take(&self) -> Vec<FeedSample> {
        self.samples.lock().pop().unwrap_or_default()
    }

    pub(super) fn give(&self, mut samples: Vec<FeedSample>) {
        samples.clear();
        let mut pool = self.samples.lock();
        if pool.len() < Self::PORTIONS {
            pool.push(samples);
        }
    }

    fn take_histograms(&self) -> Vec<Arc<FloatHistogram>> {
        self.histograms.lock().pop().unwrap_or_default()
    }

    pub(super) fn give_histograms(&self, rows: Vec<FeedHistogram>) {
        let emptied = rows.into_iter().take(Self::HISTOGRAMS).filter_map(|row| {
            let mut histogram = row.histogram;
            Arc::get_mut(&mut histogram)?.clear();
            Some(histogram)
        });
        let emptied = emptied.collect();
        let mut pool = self.histograms.lock();
        if pool.len() < Self::PORTIONS {
            pool.push(emptied);
        }
    }
}

/// A record of a parcel.
struct Record {
    kind: Compression,
    bytes: Range<usize>,
    /// Offsets in its segment.
    place: Range<u64>,
}

/// Records of one segment in their order; with what became of them when it comes back.
#[derive(Default)]
pub(super) struct Parcel {
    segment: u32,
    path: PathBuf,
    bytes: Vec<u8>,
    records: Vec<Record>,
    /// The segment ends here.
    ends: Option<Duration>,
    failed: Option<disk::DiskError>,
    pub(super) items: Vec<Decoded>,
    pub(super) damage: Vec<Damage>,
}

impl Parcel {
    fn begin(&mut self, segment: &Segment) {
        self.segment = segment.number;
        self.path.clone_from(&segment.path);
        self.bytes.clear();
        self.records.clear();
        self.ends = None;
    }

    fn push(&mut self, record: &Packed<'_>) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(record.data);
        let bytes = from..self.bytes.len();
        self.records.push(Record { kind: record.kind, bytes, place: record.start..record.end });
    }
}

/// Deals parcels to decoders in turn.
pub(super) struct Dealer {
    decoders: Vec<SyncSender<Parcel>>,
    next: usize,
    /// Parcels that came back.
    used: Receiver<Parcel>,
}

impl Dealer {
    pub(super) fn new(decoders: Vec<SyncSender<Parcel>>, used: Receiver<Parcel>) -> Self {
        Dealer { decoders, next: 0, used }
    }

    /// `false` when nobody wants more.
    fn deal(&mut self, parcel: Parcel) -> bool {
        let to = self.next;
        self.next = (to + 1) % self.decoders.len();
        self.decoders[to].send(parcel).is_ok()
    }

    fn fresh(&self, segment: &Segment) -> Parcel {
        let mut parcel = self.used.try_recv().unwrap_or_default();
        parcel.begin(segment);
        parcel
    }

    /// Reads segments to their ends.
    pub(super) fn read(mut self, disk: &dyn Disk, list: &[Segment], from: u64) {
        for (at, segment) in list.iter().enumerate() {
            let begun = Instant::now();
            let mut parcel = self.fresh(segment);
            let mut reader = match SegmentReader::open(disk, segment) {
                Ok(reader) => reader,
                Err(e) => {
                    parcel.failed = Some(e);
                    self.deal(parcel);
                    return;
                }
            };
            if at == 0 {
                reader.seek(from);
            }
            while let Some(next) = reader.next_packed() {
                match next {
                    Ok(record) => parcel.push(&record),
                    Err(place) => {
                        tracing::warn!(component = "tsdb", err = %place, "Skipping corrupt part of the write-ahead log");
                        parcel.damage.push(place);
                    }
                }
                if parcel.bytes.len() >= PARCEL_BYTES {
                    reader.release();
                    let fresh = self.fresh(segment);
                    if !self.deal(std::mem::replace(&mut parcel, fresh)) {
                        return;
                    }
                }
            }
            parcel.ends = Some(begun.elapsed());
            if !self.deal(parcel) {
                return;
            }
        }
    }
}

/// Decodes parcels until there are no more.
pub(super) fn decode(
    parcels: &Receiver<Parcel>,
    done: &SyncSender<Parcel>,
    table: &SeriesTable,
    pool: &Pool,
    log: Log,
    lanes: usize,
) {
    let (samples, spare, flat, key, before) = Default::default();
    let mut decoder = Decoder {
        table,
        pool,
        log,
        lanes,
        samples,
        spare,
        flat,
        key,
        before,
        usual_rows: 0,
        usual_histograms: 0,
    };
    let mut unpacked = Vec::new();
    for mut parcel in parcels {
        decoder.decode(&mut parcel, &mut unpacked);
        if done.send(parcel).is_err() {
            return;
        }
    }
}

/// Takes what was decoded in the order of the log, and gives parcels back.
pub(super) struct Collector {
    pub(super) decoders: Vec<Receiver<Parcel>>,
    pub(super) next: usize,
    pub(super) back: Sender<Parcel>,
}

impl Collector {
    pub(super) fn next(&mut self) -> Option<Parcel> {
        let from = self.next;
        self.next = (from + 1) % self.decoders.len();
        self.decoders[from].recv().ok()
    }

    pub(super) fn give_back(&self, parcel: Parcel) {
        let _ = self.back.send(parcel);
    }
}

struct Decoder<'a> {
    table: &'a SeriesTable,
    pool: &'a Pool,
    log: Log,
    lanes: usize,
    /// By lane, not handed on yet.
    samples: Vec<Vec<FeedSample>>,
    /// For the histograms to come.
    spare: Vec<Arc<FloatHistogram>>,
    flat: Vec<FeedSample>,
    key: Vec<u8>,
    /// Labels of the series before, of a snapshot.
    before: Vec<u8>,
    /// Series of the record before.
    usual_rows: usize,
    /// Histograms of the record before.
    usual_histograms: usize,
}

impl Decoder<'_> {
    fn decode(&mut self, parcel: &mut Parcel, unpacked: &mut Vec<u8>) {
        let mut items = std::mem::take(&mut parcel.items);
        for record in &parcel.records {
            let mut data = parcel.bytes.get(record.bytes.clone()).unwrap_or(&[]);
            if record.kind != Compression::None {
                if unpack(record.kind, data, unpacked).is_err() {
                    let (from, to) = (record.place.start, record.place.end);
                    let (path, segment) = (parcel.path.clone(), parcel.segment);
                    let place =
                        Damage { path, segment, from, to, torn: false, reason: "bad compressed data" };
                    tracing::warn!(component = "tsdb", err = %place, "Skipping corrupt part of the write-ahead log");
                    parcel.damage.push(place);
                    continue;
                }
                data = unpacked;
            }
            if self.log == Log::Snapshot {
                if let Err(e) = self.snapshot(data, &mut items) {
                    items.push(Decoded::Broken(e));
                }
                continue;
            }
            let kind = RecordType::of(data);
            if kind == Some(RecordType::Samples) {
                if let Err(e) = self.samples(data) {
                    skip(parcel.segment, &e);
                }
                continue;
            }
            self.hand_on(&mut items);
            match self.other(kind, data) {
                Ok(item) => items.extend(item),
                Err(e) => skip(parcel.segment, &e),
            }
        }
        self.hand_on(&mut items);
        items.extend(parcel.failed.take().map(Decoded::Failed));
        items.extend(parcel.ends.map(|took| Decoded::End { segment: parcel.segment, took }));
        parcel.items = items;
    }

    fn hand_on(&mut self, items: &mut Vec<Decoded>) {
        if !self.samples.is_empty() {
            items.push(Decoded::Samples(std::mem::take(&mut self.samples)));
        }
    }

    fn samples(&mut self, data: &[u8]) -> Result<(), record::RecordError> {
        if self.samples.is_empty() {
            self.samples.extend((0..self.lanes).map(|_| self.pool.take()));
        }
        if let [one] = &mut self.samples[..] {
            return record::samples(data, one, &mut Vec::new());
        }
        self.flat.clear();
        let done = record::samples(data, &mut self.flat, &mut Vec::new());
        // Neighbours mostly stand in one page.
        let page = |s: &FeedSample| split(s.series.0 as u32).0;
        for run in self.flat.chunk_by(|a, b| page(a) == page(b)) {
            if let Some(first) = run.first() {
                self.samples[lane_of(first.series.0, self.lanes)].extend_from_slice(run);
            }
        }
        done
    }

    fn other(
        &mut self,
        kind: Option<RecordType>,
        data: &[u8],
    ) -> Result<Option<Decoded>, record::RecordError> {
        Ok(match kind {
            Some(RecordType::Series) => {
                let mut rows = SeriesRows::default();
                let done = self.series(data, &mut rows);
                self.usual_rows = rows.rows.len();
                if let Err(e) = &done
                    && rows.rows.is_empty()
                {
                    return Err(e.clone());
                }
                Some(Decoded::Series(rows))
            }
            Some(RecordType::Tombstones) => {
                let mut list = Vec::new();
                record::tombstones(data, &mut list)?;
                Some(Decoded::Tombstones(list))
            }
            Some(RecordType::Exemplars) => {
                let mut list = Vec::new();
                record::exemplars(data, &mut list)?;
                Some(Decoded::Exemplars(list))
            }
            Some(RecordType::Metadata) => {
                let mut list = Vec::new();
                record::metadata(data, &mut list)?;
                Some(Decoded::Metadata(list))
            }
            Some(RecordType::MmapMarkers) => {
                let mut list = Vec::new();
                record::mmap_markers(data, &mut list)?;
                Some(Decoded::Markers(list))
            }
            Some(RecordType::Samples) => None,
            Some(RecordType::SamplesV2) => {
                let (mut list, mut starts) = (Vec::new(), Vec::new());
                if let Err(e) = record::samples(data, &mut list, &mut starts) {
                    tracing::warn!(component = "tsdb", err = %e, "Skipping the rest of a record that cannot be decoded");
                }
                starts.resize(list.len(), 0);
                Some(Decoded::Started(list.into_iter().zip(starts).collect()))
            }
            Some(_) => {
                if self.spare.is_empty() {
                    self.spare = self.pool.take_histograms();
                }
                let mut list = Vec::with_capacity(self.usual_histograms);
                let unknown = record::histograms_in(&mut self.spare, data, &mut list)?;
                self.usual_histograms = list.len();
                Some(Decoded::Histograms(list, unknown))
            }
            // Types that we do not know are left out, as upstream does.
            None => None,
        })
    }

    fn series(&mut self, data: &[u8], out: &mut SeriesRows) -> Result<(), record::RecordError> {
        out.bytes.reserve(data.len() / 3);
        out.rows.reserve(self.usual_rows);
        // Labels of the row before, as ranges of the record.
        let mut before: Vec<(&[u8], &[u8])> = Vec::new();
        let mut labels: Vec<(&[u8], &[u8])> = Vec::new();
        record::series(data, |series, of| {
            labels.clear();
            labels.extend(of.raw());
            if is_canonical(&labels) {
                self.row(series, &labels, &before, out);
                std::mem::swap(&mut before, &mut labels);
            } else {
                before.clear();
                self.uncommon(series, of, out);
            }
        })
    }

    fn row(
        &mut self,
        series: SeriesRef,
        labels: &[(&[u8], &[u8])],
        before: &[(&[u8], &[u8])],
        out: &mut SeriesRows,
    ) {
        self.key.clear();
        let from = out.bytes.len();
        let mut same = 0u64;
        for (at, label) in labels.iter().enumerate() {
            storage::key::push_label_bytes(&mut self.key, label.0, label.1);
            if at < MASKED && before.get(at) == Some(label) {
                same |= 1 << at;
            } else {
                record::push_label(&mut out.bytes, label.0, label.1);
            }
        }
        let rest = from as u32..out.bytes.len() as u32;
        let hash = self.table.hash(&self.key);
        out.rows.push(SeriesRow { number: series.0, hash, same, labels: labels.len() as u32, rest });
    }

    /// A record of a snapshot of the head.
    fn snapshot(&mut self, data: &[u8], items: &mut Vec<Decoded>) -> Result<(), String> {
        match data.first() {
            Some(&snapshot::SERIES) => {
                let of = record::snapshot_series(data).map_err(|e| format!("decode series record: {e}"))?;
                if !matches!(items.last(), Some(Decoded::Restored(_))) {
                    items.push(Decoded::Restored(Restored::default()));
                    self.before.clear();
                }
                let Some(Decoded::Restored(out)) = items.last_mut() else { return Ok(()) };
                let labels: Vec<_> = of.labels.raw().collect();
                let last = std::mem::take(&mut self.before);
                if is_canonical(&labels) {
                    let before: Vec<_> = LabelBytes::checked(&last).raw().collect();
                    self.row(of.series, &labels, &before, &mut out.rows);
                    self.before = last;
                    self.before.clear();
                    self.before.extend_from_slice(of.labels.bytes());
                } else {
                    self.uncommon(of.series, of.labels, &mut out.rows);
                }
                let from = out.bytes.len() as u32;
                out.chunks.push(of.chunk.map(|(encoding, data)| {
                    out.bytes.extend_from_slice(data);
                    (encoding, from..out.bytes.len() as u32)
                }));
            }
            Some(&snapshot::TOMBSTONES) => {
                let list =
                    record::snapshot_tombstones(data).map_err(|e| format!("decode tombstones: {e}"))?;
                items.push(Decoded::Tombstones(list));
            }
            Some(&snapshot::EXEMPLARS) => {
                let mut again = vec![RecordType::Exemplars as u8];
                again.extend_from_slice(data.get(1..).unwrap_or(&[]));
                let mut list = Vec::new();
                record::exemplars(&again, &mut list).map_err(|e| format!("exemplars from buffer: {e}"))?;
                items.push(Decoded::Exemplars(list));
            }
            other => {
                return Err(format!("unsupported snapshot record type 0b{:b}", other.copied().unwrap_or(0)));
            }
        }
        Ok(())
    }

    /// A series whose labels are not sorted, or empty.
    #[cold]
    fn uncommon(&mut self, series: SeriesRef, of: LabelBytes<'_>, out: &mut SeriesRows) {
        let labels = of.to_labels();
        self.key.clear();
        storage::key::push_labels(&mut self.key, &labels);
        let hash = self.table.hash(&self.key);
        let from = out.bytes.len() as u32;
        for (name, value) in &labels {
            record::push_label(&mut out.bytes, name.as_bytes(), value.as_bytes());
        }
        let (count, rest) = (labels.iter().count() as u32, from..out.bytes.len() as u32);
        out.rows.push(SeriesRow { number: series.0, hash, same: 0, labels: count, rest });
    }
}

fn is_canonical(labels: &[(&[u8], &[u8])]) -> bool {
    labels.iter().all(|(_, value)| !value.is_empty()) && labels.is_sorted_by(|a, b| a.0 < b.0)
}

#[cold]
fn skip(segment: u32, e: &record::RecordError) {
    tracing::warn!(component = "tsdb", segment, err = %e, "Skipping a record that cannot be decoded");
}
