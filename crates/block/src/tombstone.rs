//! The `tombstones` file: deleted time ranges by series.
//!
//! Magic `0130ba30`, version 1, then per range `uvarint` series reference, `varint` first and `varint` last
//! deleted millisecond; CRC-32C (big-endian) over the ranges.

use crate::decode::Cursor;
use crate::error::BlockError;
use disk::Disk;
use model::TimeRange;
use std::collections::BTreeMap;
use std::path::Path;

const MAGIC: u32 = 0x0130_ba30;
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Deleted ranges by series reference; the ranges of a series are sorted and do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones {
    by_series: BTreeMap<u64, Vec<TimeRange>>,
}

/// Adds a range to a sorted list and joins what touches it.
pub fn add_range(list: &mut Vec<TimeRange>, add: TimeRange) {
    let mut add = add;
    let from = list.partition_point(|r| r.max < add.min.saturating_sub(1));
    let to = list.partition_point(|r| r.min <= add.max.saturating_add(1));
    if from < to {
        add = TimeRange::new(add.min.min(list[from].min), add.max.max(list[to - 1].max));
    }
    list.splice(from..to, [add]);
}

impl Tombstones {
    pub fn add(&mut self, series: u64, range: TimeRange) {
        add_range(self.by_series.entry(series).or_default(), range);
    }

    /// Deleted ranges of a series.
    pub fn get(&self, series: u64) -> &[TimeRange] {
        self.by_series.get(&series).map_or(&[], Vec::as_slice)
    }

    pub fn is_empty(&self) -> bool {
        self.by_series.is_empty()
    }

    /// Number of ranges.
    pub fn count(&self) -> u64 {
        self.by_series.values().map(|r| r.len() as u64).sum()
    }

    /// An absent file means that nothing is deleted.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, BlockError> {
        let path = dir.join("tombstones");
        let bytes = match disk.read(&path, MAX_FILE_BYTES) {
            Err(e) if e.is_not_found() => return Ok(Self::default()),
            other => other?,
        };
        Self::decode(&bytes).map_err(|what| BlockError::corrupt(&path, what))
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut head = Cursor::new(bytes);
        if head.be32() != Some(MAGIC) {
            return Err("invalid magic number");
        }
        if head.u8() != Some(1) {
            return Err("invalid tombstone format");
        }
        let Some((ranges, crc)) = head.rest().split_last_chunk::<4>() else { return Err("truncated") };
        if disk::crc::crc32c(ranges) != u32::from_be_bytes(*crc) {
            return Err("checksum did not match");
        }
        let mut cursor = Cursor::new(ranges);
        let mut found = Tombstones::default();
        while !cursor.is_empty() {
            let (Some(series), Some(min), Some(max)) = (cursor.uvarint(), cursor.varint(), cursor.varint())
            else {
                return Err("truncated");
            };
            found.add(series, TimeRange::new(min, max));
        }
        Ok(found)
    }

    /// Replaces the file atomically and durably.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), BlockError> {
        let mut bytes = MAGIC.to_be_bytes().to_vec();
        bytes.push(1);
        let from = bytes.len();
        for (series, ranges) in &self.by_series {
            for range in ranges {
                chunk::varint::put_u64(&mut bytes, *series);
                chunk::varint::put_i64(&mut bytes, range.min);
                chunk::varint::put_i64(&mut bytes, range.max);
            }
        }
        let crc = disk::crc::crc32c(&bytes[from..]);
        bytes.extend_from_slice(&crc.to_be_bytes());
        Ok(disk::atomic::write(disk, &dir.join("tombstones"), &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join() {
        let mut list = Vec::new();
        for (min, max) in [(10, 20), (40, 50), (21, 25), (30, 35), (26, 29)] {
            add_range(&mut list, TimeRange::new(min, max));
        }
        assert_eq!(list, [TimeRange::new(10, 35), TimeRange::new(40, 50)]);
    }

    #[test]
    fn corrupt_files_are_refused() {
        assert_eq!(
            Tombstones::decode(b"\x01\x30\xba\x30\x01\x00\x00\x00\x01"),
            Err("checksum did not match")
        );
        assert_eq!(Tombstones::decode(b"\x01\x30\xba\x30"), Err("invalid tombstone format"));
        assert_eq!(Tombstones::decode(b"\x01\x30\xba\x30\x01\x00\x00\x00\x00"), Ok(Tombstones::default()));
    }
}
