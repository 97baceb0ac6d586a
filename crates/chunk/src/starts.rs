//! Start times of samples, as XOR2 and histogram chunks with start times keep them.
//!
//! The header byte says `0x80` when the first sample has one, in its low 7 bits from which sample on each has one
//! (0: none). The first sample's stands as a varint of its distance to the sample's own time. Later ones are
//! distances to the time of the sample before: the first of them in full, then differences between distances
//! (varbit). A chunk whose start never changes has that of its first sample alone.

use crate::bits::{BitReader, BitWriter};
use crate::encoding::ChunkError;
use crate::varint;

/// Place of the header byte.
const HEADER_AT: usize = 2;
const FIRST: u8 = 0x80;
/// Changes from this sample on could not be told in the header, so this one has a start time in any case.
const LAST_CHANGE: u16 = 0x7f;

pub(crate) const VARINT: ChunkError = ChunkError::Malformed("varint longer than 64 bits");

#[derive(Clone, Copy, Debug)]
pub(crate) struct StartReader {
    header: u8,
    distance: i64,
    start: i64,
}

impl StartReader {
    pub(crate) fn new(header: u8) -> Self {
        StartReader { header, distance: 0, start: 0 }
    }

    /// The start time of sample `index`, whose other fields have been read; 0 for none. `before` is the time of the
    /// sample before it.
    pub(crate) fn next(
        &mut self,
        bits: &mut BitReader<'_>,
        index: usize,
        t: i64,
        before: i64,
    ) -> Result<i64, ChunkError> {
        let from = usize::from(self.header & !FIRST);
        if index == 0 {
            if self.header & FIRST != 0 {
                self.distance = varint::unzigzag(bits.uvarint().ok_or(VARINT)?);
                self.start = t.wrapping_sub(self.distance);
            }
        } else if from > 0 && index >= from {
            let n = bits.varbit_int();
            self.distance = if index == from { n } else { self.distance.wrapping_add(n) };
            self.start = before.wrapping_sub(self.distance);
        }
        Ok(self.start)
    }
}

/// Notes the start time of the last of `times`; 0 adds nothing.
pub(crate) fn note(starts: &mut Vec<i64>, times: &[i64], start: i64) {
    if start != 0 {
        starts.resize(times.len() - 1, 0);
        starts.push(start);
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StartWriter {
    start: i64,
    distance: i64,
    from: u16,
}

impl StartWriter {
    /// Writes the start time of sample `index` behind its other fields.
    pub(crate) fn put(&mut self, bits: &mut BitWriter, index: u16, t: i64, before: i64, start: i64) {
        let distance = before.wrapping_sub(start);
        if index == 0 {
            if start != 0 {
                bits.uvarint(varint::zigzag(t.wrapping_sub(start)));
                bits.mark(HEADER_AT, FIRST);
            }
        } else if self.from > 0 {
            bits.varbit_int(distance.wrapping_sub(self.distance));
            self.distance = distance;
        } else if start != self.start || index == LAST_CHANGE {
            self.from = index;
            bits.mark(HEADER_AT, index as u8);
            bits.varbit_int(distance);
            self.distance = distance;
        }
        self.start = start;
    }
}
