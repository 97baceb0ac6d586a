//! XOR2 chunks (encoding 4): one control prefix for timestamp and value, stale markers without a value.
//!
//! | part | bits |
//! |---|---|
//! | number of samples | u16, big-endian |
//! | start times | u8: `0x80` the first sample has one; low 7 bits: sample from which on each has one, 0 none |
//! | first sample | t: signed varint; v: 64 bits |
//! | second sample | t − t0: unsigned varint; value |
//! | others | `0` on schedule, unchanged; `10` on schedule, changed; `110`+13, `1110`+20, `11110`+64 bits of delta of delta, value; `11111` on schedule, stale |
//!
//! A value is `0` unchanged, `10` in the window, `110` in a new window, `111` stale; behind `10` only `0` in the
//! window, `1` in a new one. Stale markers leave the value that changes are counted from. Start times: see
//! [`crate::starts`].

use crate::bits::{BitReader, BitWriter, Window};
use crate::encoding::{self, ChunkError, Columns};
use crate::starts::{StartReader, StartWriter, VARINT, note};
use crate::varint;
use model::{STALE_NAN_BITS, is_stale_nan};

pub const HEADER_BYTES: usize = 3;

const WINDOW: ChunkError = ChunkError::Malformed("more than 64 significant bits");

/// Appends all samples of a chunk to the columns. On `Err` they are as long as they were.
pub(crate) fn decode(data: &[u8], into: &mut Columns<'_>) -> Result<(), ChunkError> {
    into.all_or_nothing(|into| fill(data, into))
}

fn fill(data: &[u8], into: &mut Columns<'_>) -> Result<(), ChunkError> {
    let count = usize::from(encoding::count(data)?);
    if count == 0 {
        return Ok(());
    }
    let mut starts = StartReader::new(*data.get(2).ok_or(ChunkError::Truncated)?);
    let mut bits = BitReader::new(&data[HEADER_BYTES..]);
    let mut t = varint::unzigzag(bits.uvarint().ok_or(VARINT)?);
    let mut value = bits.take(64);
    // Changes are counted from the last value that is not a stale marker.
    let mut base = if value == STALE_NAN_BITS { 0 } else { value };
    let mut window = Window::default();
    let mut delta = 0i64;
    for index in 0..count {
        if index == 1 {
            delta = bits.uvarint().ok_or(VARINT)? as i64;
            value = take_value(&mut bits, &mut base, &mut window)?;
        } else if index > 1 {
            match bits.ones(5) {
                0 => value = base,
                1 => {
                    if bits.take(1) == 1 && !bits.open_window(&mut window) {
                        return Err(WINDOW);
                    }
                    base ^= bits.in_window(window);
                    value = base;
                }
                5 => value = STALE_NAN_BITS,
                ones => {
                    let width = match ones {
                        2 => 13,
                        3 => 20,
                        _ => 64,
                    };
                    // Plain two's complement here, unlike in XOR chunks.
                    let dod = (bits.take(width) << (64 - width)) as i64 >> (64 - width);
                    delta = delta.wrapping_add(dod);
                    value = take_value(&mut bits, &mut base, &mut window)?;
                }
            }
        }
        let before = t;
        if index > 0 {
            t = t.wrapping_add(delta);
        }
        let start = starts.next(&mut bits, index, t, before)?;
        if bits.overrun() {
            return Err(ChunkError::Truncated);
        }
        into.times.push(t);
        into.floats.push(f64::from_bits(value));
        note(into.starts, into.times, start);
    }
    Ok(())
}

fn take_value(bits: &mut BitReader<'_>, base: &mut u64, window: &mut Window) -> Result<u64, ChunkError> {
    match bits.ones(3) {
        0 => return Ok(*base),
        1 => {}
        2 => {
            if !bits.open_window(window) {
                return Err(WINDOW);
            }
        }
        _ => return Ok(STALE_NAN_BITS),
    }
    *base ^= bits.in_window(*window);
    Ok(*base)
}

/// A chunk that grows.
#[derive(Clone, Debug)]
pub struct Xor2Chunk {
    bits: BitWriter,
    count: u16,
    t: i64,
    delta: i64,
    base: u64,
    window: Option<(u32, u32)>,
    starts: StartWriter,
}

impl Default for Xor2Chunk {
    fn default() -> Self {
        Self::new()
    }
}

impl Xor2Chunk {
    pub fn new() -> Self {
        let bits = BitWriter::after(vec![0; HEADER_BYTES]);
        Xor2Chunk { bits, count: 0, t: 0, delta: 0, base: 0, window: None, starts: StartWriter::default() }
    }

    pub fn data(&self) -> &[u8] {
        self.bits.data()
    }

    pub fn len(&self) -> u16 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Memory, about.
    pub fn memory(&self) -> usize {
        self.bits.memory()
    }

    /// At most 65,535 samples; the caller cuts long before. `start`: start timestamp in ms, 0 for none.
    pub fn push(&mut self, t: i64, start: i64, v: f64) {
        debug_assert!(self.count < u16::MAX, "chunk is full");
        let delta = if self.count == 0 { 0 } else { t.wrapping_sub(self.t) };
        match self.count {
            0 => {
                self.bits.uvarint(varint::zigzag(t));
                self.bits.put(v.to_bits(), 64);
            }
            1 => {
                self.bits.uvarint(delta as u64);
                self.value(v);
            }
            _ => self.joint(delta.wrapping_sub(self.delta), v),
        }
        self.starts.put(&mut self.bits, self.count, t, self.t, start);
        (self.t, self.delta) = (t, delta);
        if !is_stale_nan(v) {
            self.base = v.to_bits();
        }
        self.count += 1;
        self.bits.set_count(self.count);
    }

    fn joint(&mut self, dod: i64, v: f64) {
        let change = v.to_bits() ^ self.base;
        match dod {
            0 if is_stale_nan(v) => return self.bits.put(0b11111, 5),
            0 if change == 0 => return self.bits.put(0, 1),
            0 => {
                self.bits.put(0b10, 2);
                return self.change(change, (0, 1), (1, 1));
            }
            -4096..=4095 => self.bits.put(0b110 << 13 | dod as u64 & 0x1fff, 16),
            -524_288..=524_287 => self.bits.put(0b1110 << 20 | dod as u64 & 0xf_ffff, 24),
            _ => {
                self.bits.put(0b11110, 5);
                self.bits.put(dod as u64, 64);
            }
        }
        self.value(v);
    }

    fn value(&mut self, v: f64) {
        let change = v.to_bits() ^ self.base;
        if is_stale_nan(v) {
            self.bits.put(0b111, 3);
        } else if change == 0 {
            self.bits.put(0, 1);
        } else {
            self.change(change, (0b10, 2), (0b110, 3));
        }
    }

    /// A change inside the window after the control bits `reuse`, or in a new window after `open`.
    fn change(&mut self, change: u64, reuse: (u64, u32), open: (u64, u32)) {
        let (leading, trailing) = (change.leading_zeros().min(31), change.trailing_zeros());
        match self.window {
            Some((l, t)) if leading >= l && trailing >= t => {
                self.bits.put(reuse.0, reuse.1);
                self.bits.put(change >> t, 64 - l - t);
            }
            _ => {
                self.bits.put(open.0, open.1);
                self.bits.open_window(change, leading, trailing);
                self.window = Some((leading, trailing));
            }
        }
    }
}

#[cfg(test)]
#[path = "xor2_tests.rs"]
mod tests;
