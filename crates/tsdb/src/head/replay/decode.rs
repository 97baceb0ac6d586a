//! Reading and decoding the segments of a log, on a thread of its own.

use crate::head::table::SeriesTable;
use crate::wal::record::{self, RecordType};
use crate::wal::{Damage, Scratch, Segment, SegmentReader, Tombstone};
use disk::Disk;
use model::Metadata;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};
use storage::SeriesRef;
use storage::feed::{FeedExemplar, FeedHistogram, FeedSample};

/// Samples are handed on in portions of this size.
const PORTION: usize = 8192;

/// Series of a record, with canonical keys.
#[derive(Default)]
pub(super) struct SeriesRows {
    pub(super) rows: Vec<(u64, [u64; 2], std::ops::Range<usize>)>,
    pub(super) keys: Vec<u8>,
}

/// Decoded log.
pub(super) enum Decoded {
    Series(SeriesRows),
    /// With their start timestamps, if any.
    Samples(Vec<FeedSample>, Vec<i64>),
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

/// Reads and decodes segments; gives the damaged places.
pub(super) fn decode(
    disk: &dyn Disk,
    table: &SeriesTable,
    list: &[Segment],
    send: &SyncSender<Decoded>,
    spare: &Receiver<Vec<FeedSample>>,
) -> Vec<Damage> {
    let mut damage = Vec::new();
    let mut scratch = Scratch::default();
    for segment in list {
        let begun = Instant::now();
        let mut reader = match SegmentReader::open(disk, segment) {
            Ok(reader) => reader,
            Err(e) => {
                let _ = send.send(Decoded::Failed(e));
                return damage;
            }
        };
        let mut samples: Vec<FeedSample> = Vec::new();
        while let Some(next) = reader.next(&mut scratch) {
            let record = match next {
                Ok(record) => record.data,
                Err(place) => {
                    tracing::warn!(component = "tsdb", err = %place, "Skipping corrupt part of the write-ahead log");
                    damage.push(place);
                    continue;
                }
            };
            let kind = RecordType::of(record);
            let more = kind == Some(RecordType::Samples);
            if !samples.is_empty() && (!more || samples.len() >= PORTION) {
                let next = spare.try_recv().unwrap_or_default();
                if send.send(Decoded::Samples(std::mem::replace(&mut samples, next), Vec::new())).is_err() {
                    return damage;
                }
            }
            let item = match decode_record(kind, record, table, &mut samples) {
                Ok(item) => item,
                Err(e) => {
                    tracing::warn!(component = "tsdb", segment = segment.number, err = %e, "Skipping a record that cannot be decoded");
                    None
                }
            };
            if let Some(item) = item
                && send.send(item).is_err()
            {
                return damage;
            }
        }
        if !samples.is_empty() && send.send(Decoded::Samples(samples, Vec::new())).is_err() {
            return damage;
        }
        let _ = send.send(Decoded::End { segment: segment.number, took: begun.elapsed() });
    }
    damage
}

fn decode_record(
    kind: Option<RecordType>,
    record: &[u8],
    table: &SeriesTable,
    samples: &mut Vec<FeedSample>,
) -> Result<Option<Decoded>, record::RecordError> {
    Ok(match kind {
        Some(RecordType::Series) => {
            let mut rows = SeriesRows::default();
            record::series(record, |series, labels| {
                let from = rows.keys.len();
                storage::key::push_labels(&mut rows.keys, &labels.to_labels());
                let hash = table.hash(&rows.keys[from..]);
                rows.rows.push((series.0, hash, from..rows.keys.len()));
            })?;
            Some(Decoded::Series(rows))
        }
        Some(RecordType::Samples) => {
            record::samples(record, samples, &mut Vec::new())?;
            None
        }
        Some(RecordType::SamplesV2) => {
            let (mut list, mut starts) = (Vec::new(), Vec::new());
            let done = record::samples(record, &mut list, &mut starts);
            if let Err(e) = done {
                tracing::warn!(component = "tsdb", err = %e, "Skipping the rest of a record that cannot be decoded");
            }
            Some(Decoded::Samples(list, starts))
        }
        Some(RecordType::Tombstones) => {
            let mut list = Vec::new();
            record::tombstones(record, &mut list)?;
            Some(Decoded::Tombstones(list))
        }
        Some(RecordType::Exemplars) => {
            let mut list = Vec::new();
            record::exemplars(record, &mut list)?;
            Some(Decoded::Exemplars(list))
        }
        Some(RecordType::Metadata) => {
            let mut list = Vec::new();
            record::metadata(record, &mut list)?;
            Some(Decoded::Metadata(list))
        }
        Some(RecordType::MmapMarkers) => {
            let mut list = Vec::new();
            record::mmap_markers(record, &mut list)?;
            Some(Decoded::Markers(list))
        }
        Some(_) => {
            let mut list = Vec::new();
            let unknown = record::histograms(record, &mut list)?;
            Some(Decoded::Histograms(list, unknown))
        }
        // Types that we do not know are left out, as upstream does.
        None => None,
    })
}
