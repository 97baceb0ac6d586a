//! The samples of a selected series.

use super::super::Head;
use super::super::entry::RawChunk;
use super::super::mapper;
use super::super::ooo::forget_senders_hints;
use super::super::page::{Cells, Mapped, Page, split};
use super::super::tombstone::covers;
use super::{HeadSeries, last_of};
use disk::Map;
use model::{Labels, TimeRange};
use smallvec::SmallVec;
use std::sync::Arc;
use storage::digest;
use storage::select::EncodedChunk;
use storage::{SampleBuf, Series, StorageError};

/// Data of a series within a range, taken under the lock.
struct Taken {
    /// Oldest first.
    mapped: SmallVec<[Mapped; 4]>,
    /// With its encoding.
    open: Option<(u8, RawChunk)>,
    late: SampleBuf,
    late_mapped: Vec<Mapped>,
    deleted: Vec<TimeRange>,
}

impl Taken {
    fn is_plain(&self) -> bool {
        self.late.is_empty() && self.late_mapped.is_empty() && self.deleted.is_empty()
    }
}

impl HeadSeries {
    /// The reference in the head.
    pub fn reference(&self) -> u32 {
        self.series
    }

    fn head(&self) -> &Arc<Head> {
        &self.selection.reading.head
    }

    pub(super) fn pairs(&self) -> &[u32] {
        self.selection.pairs_of(self.row)
    }

    /// The part of a range of which in-order samples are shown.
    fn visible(&self, range: TimeRange) -> TimeRange {
        TimeRange::new(range.min, range.max.min(self.newest))
    }

    fn page(&self) -> Result<&Page, StorageError> {
        let page = self.selection.pages.get(split(self.series).0).and_then(Option::as_deref);
        page.ok_or_else(|| StorageError::Other(format!("no series {}", self.series)))
    }

    /// The newest sample within the range, when it is sure to be the last one that was appended.
    fn last(&self, range: TimeRange) -> Option<(i64, f64)> {
        let known = match self.selection.last.get(self.row as usize) {
            Some(known) => *known,
            None if self.selection.marked => None,
            None => last_of(&self.page().ok()?.lock(), split(self.series).1),
        };
        known.filter(|(t, _)| *t <= self.newest && range.contains(*t))
    }

    fn take(&self, range: TimeRange) -> Result<Taken, StorageError> {
        let slot = split(self.series).1;
        let within = |c: &Mapped| TimeRange::new(c.min, c.max).overlaps(range);
        let visible = self.visible(range);
        let mut taken = {
            let cells = self.page()?.lock();
            let entry = cells.peek(slot);
            let begun = || cells.open_min(slot).is_some_and(|min| min <= visible.max);
            let open = entry.last_t >= visible.min && (entry.last_t <= visible.max || begun());
            // Newest first and not overlapping: the rest is older still.
            let mapped = cells
                .mapped(slot)
                .take_while(|c| c.max >= visible.min)
                .filter(|c| TimeRange::new(c.min, c.max).overlaps(visible))
                .collect();
            let late = cells.late(slot);
            Taken {
                mapped,
                open: if open { open_chunk(&cells, slot) } else { None },
                late: late.map_or_else(SampleBuf::default, |l| l.rows(range)),
                late_mapped: late.map_or(Vec::new(), |l| l.mapped.iter().copied().filter(within).collect()),
                deleted: Vec::new(),
            }
        };
        taken.mapped.reverse();
        if self.selection.marked {
            taken.deleted = self.head().tombstones.read().of(self.series).to_vec();
        }
        Ok(taken)
    }

    /// Encoding and data of a chunk on disk.
    fn chunk_at(&self, at: u64) -> Result<(u8, Vec<u8>), StorageError> {
        match &self.selection.files {
            None => self.head().mapper.read(at),
            Some(files) => self.head().mapper.read_plain(files, at),
        }
    }

    /// Appends samples of a chunk on disk; looks at it where it is mapped, if it is.
    fn decode_at(&self, at: u64, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        if self.selection.files.is_none()
            && let Some(map) = self.map_of(at)
        {
            let (encoding, data) = mapper::chunk_in(map, at)?;
            return self.decode(encoding, data, range, out);
        }
        let (encoding, data) = self.chunk_at(at)?;
        self.decode(encoding, &data, range, out)
    }

    /// The map of the file of a chunk, if it is the one that the selection keeps.
    fn map_of(&self, at: u64) -> Option<&Map> {
        let kept = &self.selection.map;
        let number = (at >> 32) as u32;
        if kept.get().is_none()
            && let Some(map) = self.head().mapper.known_map(number)
        {
            let _ = kept.set((number, map));
        }
        kept.get().filter(|(of, _)| *of == number).map(|(_, map)| &**map)
    }

    fn corrupt(&self, e: &chunk::ChunkError) -> StorageError {
        StorageError::Corrupt(format!("head chunk of series {}: {e}", self.series))
    }

    /// Appends samples of a chunk within the range.
    fn decode(
        &self,
        encoding: u8,
        data: &[u8],
        range: TimeRange,
        out: &mut SampleBuf,
    ) -> Result<(), StorageError> {
        let before = out.times.len();
        if encoding == chunk::Encoding::Xor.number() {
            let (times, floats) = (&mut out.times, &mut out.floats);
            return chunk::xor::decode_within(data, range.min..=range.max, times, floats)
                .map_err(|e| self.corrupt(&e));
        }
        chunk::decode(encoding, data, &mut out.columns()).map_err(|e| self.corrupt(&e))?;
        out.keep_range(before, range);
        Ok(())
    }

    fn in_order(&self, taken: &Taken, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        let range = self.visible(range);
        if range.min > range.max {
            return Ok(());
        }
        for chunk in &taken.mapped {
            self.decode_at(chunk.at, range, out)?;
        }
        if let Some((encoding, open)) = &taken.open {
            self.decode(*encoding, &open.bytes, range, out)?;
        }
        Ok(())
    }

    /// In-order and late samples together, deleted ones left out.
    fn merged(&self, taken: &mut Taken, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        let mut rows = SampleBuf::default();
        self.in_order(taken, range, &mut rows)?;
        for chunk in &taken.late_mapped {
            self.decode_at(chunk.at, range, &mut rows)?;
        }
        forget_senders_hints(&mut taken.late);
        rows.append(std::mem::take(&mut taken.late));
        let mut order: Vec<usize> = (0..rows.len()).collect();
        // Stable: of two samples of one time the one that came first wins, the in-order one before all.
        order.sort_by_key(|at| rows.times[*at]);
        order.dedup_by_key(|at| rows.times[*at]);
        order.retain(|at| !covers(&taken.deleted, rows.times[*at]));
        storage::merge::forget_hints(&mut rows, &order);
        rows.pick_from(0, &order);
        out.append(rows);
        Ok(())
    }
}

/// A copy of the open chunk, with its encoding.
pub(in crate::head) fn open_chunk(cells: &Cells, slot: usize) -> Option<(u8, RawChunk)> {
    let entry = cells.peek(slot);
    if let Some(floats) = entry.open_chunk() {
        return Some((chunk::Encoding::Xor.number(), floats));
    }
    let open = cells.aside(slot)?;
    let bytes = open.data().to_vec();
    let chunk = RawChunk { min: open.min(), max: entry.last_t, bytes };
    Some((open.encoding().number(), chunk))
}

impl Series for HeadSeries {
    fn labels(&self) -> &Labels {
        self.labels.get_or_init(|| {
            let index = self.head().index.read();
            Labels::from_sorted(self.pairs().iter().map(|pair| index.texts.label(*pair)))
        })
    }

    fn shown(&self) -> Labels {
        self.selection.shown.get(self.row as usize).unwrap_or_else(|| self.labels()).clone()
    }

    fn digest(&self) -> u128 {
        let known = self.selection.digests.get(self.row as usize);
        known.copied().unwrap_or_else(|| digest::labels(self.labels()))
    }

    fn newest(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        if let Some((t, v)) = self.last(range) {
            out.push_float(t, v);
            return Ok(());
        }
        self.read(range, out)
    }

    fn read(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        let mut taken = self.take(range)?;
        if taken.is_plain() { self.in_order(&taken, range, out) } else { self.merged(&mut taken, range, out) }
    }

    fn chunks(&self, range: TimeRange) -> Result<Vec<EncodedChunk>, StorageError> {
        let mut taken = self.take(range)?;
        let mut out = Vec::with_capacity(taken.mapped.len() + 1);
        let newest = taken.open.as_ref().map(|(_, open)| open.max).or(taken.mapped.last().map(|c| c.max));
        if taken.is_plain() && newest.is_none_or(|t| t <= self.newest) {
            for chunk in &taken.mapped {
                let (encoding, data) = self.chunk_at(chunk.at)?;
                out.push(EncodedChunk { range: TimeRange::new(chunk.min, chunk.max), encoding, data });
            }
            if let Some((encoding, open)) = taken.open {
                let range = TimeRange::new(open.min, open.max);
                out.push(EncodedChunk { range, encoding, data: open.bytes });
            }
            return Ok(out);
        }
        let mut rows = SampleBuf::default();
        self.merged(&mut taken, range, &mut rows)?;
        if !rows.histograms.is_empty() || !rows.starts.is_empty() {
            return storage::encode::chunks(&rows);
        }
        let per_chunk = usize::from(self.head().rule.samples_per_chunk).max(1);
        for (times, floats) in rows.times.chunks(per_chunk).zip(rows.floats.chunks(per_chunk)) {
            let mut chunk = chunk::XorChunk::new();
            for (t, v) in times.iter().zip(floats) {
                chunk.push(*t, *v);
            }
            let range =
                TimeRange::new(times.first().copied().unwrap_or(0), times.last().copied().unwrap_or(0));
            out.push(EncodedChunk {
                range,
                encoding: chunk::Encoding::Xor.number(),
                data: chunk.data().to_vec(),
            });
        }
        Ok(out)
    }
}
