//! XOR chunks (encoding 1): delta-of-delta timestamps and XORed floats.
//!
//! | part | bits |
//! |---|---|
//! | number of samples | u16, big-endian |
//! | first sample | t: signed varint; v: 64 bits |
//! | second sample | t − t0: unsigned varint; value change |
//! | others | dod: `0`, or `10`+14, `110`+17, `1110`+20, `1111`+64 bits; value change |
//!
//! A value change is the XOR with the value before: `0` none; `10` and the bits inside the current window;
//! `11`, 5 bits of leading zeros, 6 bits of length (0 means 64) and the bits inside this new window.

use crate::bits::{load57, load64, store};
use crate::encoding::{self, ChunkError};
use crate::varint;
use std::ops::RangeInclusive;

/// Bytes before the first sample.
pub const HEADER_BYTES: usize = 2;
/// No sample needs more (varint and 64 bits, or 68 + 77 bits), so no chunk of n samples is longer than
/// `HEADER_BYTES + n * MAX_SAMPLE_BYTES`.
pub const MAX_SAMPLE_BYTES: usize = 19;
/// No window of significant bits is open yet.
pub const NO_WINDOW: u8 = 0xff;

/// What an appender must remember besides the bytes. Plain data, so that a store can keep it where it likes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct XorState {
    /// Last timestamp and value; meaningless in an empty chunk.
    pub t: i64,
    pub v: f64,
    /// Last difference of timestamps; 0 before the second sample.
    pub delta: u64,
    /// Length of the chunk in bits, header included.
    pub bits: u32,
    /// Window of significant bits; [`NO_WINDOW`] in `leading` before the first.
    pub leading: u8,
    pub trailing: u8,
}

/// The buffer is too short for the sample; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grow {
    /// Bytes that the buffer needs.
    pub bytes: usize,
}

impl Default for XorState {
    fn default() -> Self {
        Self::new()
    }
}

/// Bits in the order in which they are written: a timestamp part and a value part.
#[derive(Clone, Copy, Default)]
struct Parts {
    /// Up to 80 bits: the escape of a delta-of-delta, or a varint.
    time_high: u64,
    time_high_bits: u32,
    time: u64,
    time_bits: u32,
    head: u64,
    head_bits: u32,
    body: u64,
    body_bits: u32,
}

impl XorState {
    /// The state of an empty chunk. Its buffer must begin with two zero bytes; [`XorState::append`] sees to it.
    pub const fn new() -> Self {
        XorState { t: 0, v: 0.0, delta: 0, bits: 16, leading: NO_WINDOW, trailing: 0 }
    }

    /// Used bytes of the buffer.
    pub const fn bytes(&self) -> usize {
        (self.bits as usize).div_ceil(8)
    }

    /// Appends a sample to the chunk in `buf`, whose used bytes are `buf[..self.bytes()]`; the rest of `buf` is
    /// free space of any content. When it does not suffice, nothing happens and the answer says how many
    /// bytes are needed. A chunk holds at most 65,535 samples; the caller cuts long before.
    #[inline]
    pub fn append(&mut self, buf: &mut [u8], t: i64, v: f64) -> Result<(), Grow> {
        let count =
            if self.bits == 16 { 0 } else { buf.first_chunk::<2>().map_or(0, |n| u16::from_be_bytes(*n)) };
        self.append_counted(buf, count, t, v)?;
        buf[..2].copy_from_slice(&(count + 1).to_be_bytes());
        Ok(())
    }

    /// [`XorState::append`] for a caller that counts: `count` samples are in the chunk. The header is neither
    /// read nor written, which spares a cache line; the caller puts the number there before anybody decodes.
    #[inline]
    pub fn append_counted(&mut self, buf: &mut [u8], count: u16, t: i64, v: f64) -> Result<(), Grow> {
        debug_assert!(count < u16::MAX, "chunk is full");
        let mut parts = Parts::default();
        let delta = match count {
            0 => {
                let (high, high_bits, low, low_bits) = varint_bits(varint::zigzag(t));
                (parts.time_high, parts.time_high_bits) = (high, high_bits);
                (parts.time, parts.time_bits) = (low, low_bits);
                0
            }
            1 => {
                let delta = t.wrapping_sub(self.t) as u64;
                let (high, high_bits, low, low_bits) = varint_bits(delta);
                (parts.time_high, parts.time_high_bits) = (high, high_bits);
                (parts.time, parts.time_bits) = (low, low_bits);
                delta
            }
            _ => {
                let delta = t.wrapping_sub(self.t) as u64;
                let dod = delta.wrapping_sub(self.delta) as i64;
                match dod {
                    0 => parts.time_bits = 1,
                    -8191..=8192 => (parts.time, parts.time_bits) = (0b10 << 14 | dod as u64 & 0x3fff, 16),
                    -65535..=65536 => {
                        (parts.time, parts.time_bits) = (0b110 << 17 | dod as u64 & 0x1_ffff, 20)
                    }
                    -524_287..=524_288 => {
                        (parts.time, parts.time_bits) = (0b1110 << 20 | dod as u64 & 0xf_ffff, 24)
                    }
                    _ => {
                        (parts.time_high, parts.time_high_bits) = (0b1111, 4);
                        (parts.time, parts.time_bits) = (dod as u64, 64);
                    }
                }
                delta
            }
        };
        let (mut leading, mut trailing) = (self.leading, self.trailing);
        if count == 0 {
            (parts.body, parts.body_bits) = (v.to_bits(), 64);
        } else {
            let xor = v.to_bits() ^ self.v.to_bits();
            if xor == 0 {
                parts.head_bits = 1;
            } else {
                let lead = (xor.leading_zeros() as u8).min(31);
                let trail = xor.trailing_zeros() as u8;
                if leading != NO_WINDOW && lead >= leading && trail >= trailing {
                    (parts.head, parts.head_bits) = (0b10, 2);
                } else {
                    (leading, trailing) = (lead, trail);
                    let n = 64 - u64::from(lead) - u64::from(trail);
                    (parts.head, parts.head_bits) = (0b11 << 11 | u64::from(lead) << 6 | n & 63, 13);
                }
                parts.body = xor >> trailing;
                parts.body_bits = 64 - u32::from(leading) - u32::from(trailing);
            }
        }
        self.write(buf, &parts)?;
        (self.t, self.v, self.delta) = (t, v, delta);
        (self.leading, self.trailing) = (leading, trailing);
        Ok(())
    }

    #[inline(always)]
    fn write(&mut self, buf: &mut [u8], parts: &Parts) -> Result<(), Grow> {
        let mut pos = self.bits as usize;
        let time = parts.time_high_bits + parts.time_bits;
        let total = time + parts.head_bits + parts.body_bits;
        let end = pos + total as usize;
        let bytes = end.div_ceil(8);
        if bytes > buf.len() {
            return Err(Grow { bytes });
        }
        if total <= 64 {
            // The usual case: one store. A shift by 64 would be one of an absent part.
            let mut all = parts.time_high;
            all = all << parts.time_bits | parts.time;
            all = all << parts.head_bits | parts.head;
            all = all.checked_shl(parts.body_bits).unwrap_or(0) | parts.body;
            store(buf, pos, all, total);
        } else {
            for (value, n) in [
                (parts.time_high, parts.time_high_bits),
                (parts.time, parts.time_bits),
                (parts.head, parts.head_bits),
                (parts.body, parts.body_bits),
            ] {
                if n > 0 {
                    store(buf, pos, value, n);
                    pos += n as usize;
                }
            }
        }
        self.bits = end as u32;
        Ok(())
    }

    /// The state behind the last sample of an existing chunk.
    pub fn resume(data: &[u8]) -> Result<XorState, ChunkError> {
        let count = encoding::count(data)?;
        if count == 0 {
            return Ok(XorState::new());
        }
        let mut reader = Reader::start(data)?;
        for _ in 1..count {
            reader.next();
        }
        reader.finish()?;
        Ok(XorState {
            t: reader.t,
            v: f64::from_bits(reader.v),
            delta: reader.delta,
            bits: reader.pos as u32,
            leading: if reader.windowed { reader.leading as u8 } else { NO_WINDOW },
            trailing: if reader.windowed { reader.trailing as u8 } else { 0 },
        })
    }
}

/// Varint bytes of `n` as up to 16 and up to 64 bits.
fn varint_bits(n: u64) -> (u64, u32, u64, u32) {
    let mut bytes = [0u8; 16];
    let mut len = 0;
    let mut rest = n;
    loop {
        bytes[len] = rest as u8 & 0x7f;
        rest >>= 7;
        len += 1;
        if rest == 0 {
            break;
        }
        bytes[len - 1] |= 0x80;
    }
    let all = u128::from_be_bytes(bytes) >> (128 - 8 * len as u32);
    let low_bits = (8 * len as u32).min(64);
    ((all >> 64) as u64, 8 * len as u32 - low_bits, all as u64, low_bits)
}

/// An owned chunk that grows, for writers other than the head.
#[derive(Clone, Debug, Default)]
pub struct XorChunk {
    state: XorState,
    buf: Vec<u8>,
}

impl XorChunk {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, t: i64, v: f64) {
        while let Err(Grow { bytes }) = self.state.append(&mut self.buf, t, v) {
            self.buf.resize((bytes * 2).max(64), 0);
        }
    }

    pub fn state(&self) -> &XorState {
        &self.state
    }

    /// The encoded chunk so far.
    pub fn data(&self) -> &[u8] {
        self.buf.get(..self.state.bytes()).unwrap_or(&[0, 0])
    }

    pub fn clear(&mut self) {
        self.state = XorState::new();
    }
}

/// Appends all samples of a chunk to the columns. On `Err` they are as long as they were.
pub fn decode(data: &[u8], times: &mut Vec<i64>, values: &mut Vec<f64>) -> Result<(), ChunkError> {
    let count = usize::from(encoding::count(data)?);
    if count == 0 {
        return Ok(());
    }
    // Two bits per sample are the least, so a lying count cannot make the columns grow without bytes.
    if count > 1 + (data.len() - HEADER_BYTES) * 4 {
        return Err(ChunkError::Truncated);
    }
    let (from_t, from_v) = (times.len(), values.len());
    times.resize(from_t + count, 0);
    values.resize(from_v + count, 0.0);
    let done = fill(data, &mut times[from_t..], &mut values[from_v..]);
    if done.is_err() {
        times.truncate(from_t);
        values.truncate(from_v);
    }
    done
}

/// Appends the samples of a chunk whose times lie within `range`, and reads no further than it must: times ascend.
/// On `Err` the columns are as long as they were.
pub fn decode_within(
    data: &[u8],
    range: RangeInclusive<i64>,
    times: &mut Vec<i64>,
    values: &mut Vec<f64>,
) -> Result<(), ChunkError> {
    let count = usize::from(encoding::count(data)?);
    if count == 0 {
        return Ok(());
    }
    if count > 1 + (data.len() - HEADER_BYTES) * 4 {
        return Err(ChunkError::Truncated);
    }
    let (min, max) = (*range.start(), *range.end());
    let mut reader = Reader::start(data)?;
    let mut at = 1;
    while reader.t < min && at < count {
        let before = reader.pos;
        if at == 1 {
            reader.next();
        } else {
            reader.next_regular();
        }
        at += 1;
        if reader.pos - before == 2 {
            // A series that rests: likely many more samples of two zero bits each.
            at += reader.pass(min, count - at);
        }
    }
    let (from_t, from_v) = (times.len(), values.len());
    // The sample at hand, and those behind it.
    let most = count - at + 1;
    times.resize(from_t + most, 0);
    values.resize(from_v + most, 0.0);
    let kept = reader.fill_until(at, min, max, &mut times[from_t..], &mut values[from_v..]);
    let done = reader.finish();
    let kept = if done.is_ok() { kept } else { 0 };
    times.truncate(from_t + kept);
    values.truncate(from_v + kept);
    done
}

fn fill(data: &[u8], times: &mut [i64], values: &mut [f64]) -> Result<(), ChunkError> {
    let mut reader = Reader::start(data)?;
    let (mut at, count) = (0, times.len().min(values.len()));
    while at < count {
        let before = reader.pos;
        match at {
            0 => {}
            1 => reader.next(),
            _ => reader.next_regular(),
        }
        (times[at], values[at]) = (reader.t, f64::from_bits(reader.v));
        at += 1;
        if reader.pos - before == 2 {
            // A series that rests: likely many more samples of two zero bits each.
            let end = (at + reader.quiet()).min(count);
            values[at..end].fill(f64::from_bits(reader.v));
            times[at..end].iter_mut().for_each(|t| *t = reader.rest());
            at = end;
        }
    }
    reader.finish()
}

/// A position in a chunk. Reads zeros behind the end; [`Reader::finish`] tells whether that happened.
struct Reader<'a> {
    data: &'a [u8],
    pos: usize,
    seen: u32,
    t: i64,
    v: u64,
    delta: u64,
    leading: u32,
    trailing: u32,
    /// 64 − leading − trailing.
    width: u32,
    windowed: bool,
    bad_window: bool,
    bad_varint: bool,
}

impl<'a> Reader<'a> {
    /// Reads the first sample.
    fn start(data: &'a [u8]) -> Result<Self, ChunkError> {
        let mut rest = data.get(HEADER_BYTES..).ok_or(ChunkError::Truncated)?;
        let t = varint::take_i64(&mut rest).ok_or(ChunkError::Truncated)?;
        let v = rest.first_chunk::<8>().ok_or(ChunkError::Truncated)?;
        let pos = (data.len() - rest.len() + 8) * 8;
        Ok(Reader {
            data,
            pos,
            seen: 1,
            t,
            v: u64::from_be_bytes(*v),
            delta: 0,
            leading: 0,
            trailing: 0,
            width: 64,
            windowed: false,
            bad_window: false,
            bad_varint: false,
        })
    }

    /// Stores the sample at hand, the `seen`th, and those behind it, as far as they lie within the bounds. Gives how
    /// many they are.
    fn fill_until(
        &mut self,
        mut seen: usize,
        min: i64,
        max: i64,
        times: &mut [i64],
        values: &mut [f64],
    ) -> usize {
        let (mut at, most) = (0, times.len().min(values.len()));
        if self.t < min || self.t > max {
            return 0;
        }
        loop {
            (times[at], values[at]) = (self.t, f64::from_bits(self.v));
            at += 1;
            if at == most {
                return at;
            }
            let before = self.pos;
            if seen == 1 {
                self.next();
            } else {
                self.next_regular();
            }
            seen += 1;
            if self.t > max {
                return at;
            }
            if self.pos - before == 2 {
                // A series that rests: likely many more samples of two zero bits each.
                let quiet = self.quiet().min(most - at - 1);
                values[at..=at + quiet].fill(f64::from_bits(self.v));
                for slot in &mut times[at..at + quiet] {
                    *slot = self.t;
                    self.rest();
                }
                at += quiet;
                seen += quiet;
                if self.t > max {
                    // Those of the run that lie beyond.
                    return at - quiet + times[at - quiet..at].partition_point(|t| *t <= max);
                }
            }
        }
    }

    fn finish(&self) -> Result<(), ChunkError> {
        if self.pos > self.data.len() * 8 {
            Err(ChunkError::Truncated)
        } else if self.bad_varint {
            Err(ChunkError::Malformed("varint longer than 64 bits"))
        } else if self.bad_window {
            Err(ChunkError::Malformed("more than 64 significant bits"))
        } else {
            Ok(())
        }
    }

    /// The second or a later sample.
    fn next(&mut self) {
        if self.seen > 1 {
            return self.next_regular();
        }
        self.seen = 2;
        let mut delta = 0u64;
        for i in 0.. {
            let byte = load57(self.data, self.pos) >> 56;
            self.pos += 8;
            if i == varint::MAX_LEN - 1 && byte > 1 {
                self.bad_varint = true;
                break;
            }
            delta |= (byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                break;
            }
        }
        self.delta = delta;
        self.t = self.t.wrapping_add(delta as i64);
        let word = load57(self.data, self.pos);
        self.value(word, 0);
    }

    /// The third or a later sample.
    #[inline(always)]
    fn next_regular(&mut self) {
        let word = load57(self.data, self.pos);
        if word >> 63 == 0 {
            // On schedule.
            self.t = self.t.wrapping_add(self.delta as i64);
            if word >> 62 == 0 {
                self.pos += 2;
                return;
            }
            self.value(word << 1, 1);
        } else if word >> 62 == 0b10 {
            self.step((word << 2) >> 50, 14);
            self.value(word << 16, 16);
        } else {
            self.rare(word);
        }
    }

    /// How many samples from here on are on schedule and unchanged, as far as one word shows.
    #[inline(always)]
    fn quiet(&self) -> usize {
        let word = load57(self.data, self.pos);
        (word | 1 << 7).leading_zeros() as usize / 2
    }

    /// Passes such a sample; gives its time.
    #[inline(always)]
    fn rest(&mut self) -> i64 {
        self.pos += 2;
        self.t = self.t.wrapping_add(self.delta as i64);
        self.t
    }

    /// Passes samples that are on schedule and unchanged until one is not earlier than `min`, at most `most` of those
    /// that one word shows. Gives how many.
    #[inline(always)]
    fn pass(&mut self, min: i64, most: usize) -> usize {
        let quiet = self.quiet().min(most);
        let mut passed = 0;
        while passed < quiet && self.t < min {
            self.rest();
            passed += 1;
        }
        passed
    }

    /// Larger jumps in time.
    #[inline(never)]
    fn rare(&mut self, word: u64) {
        if word >> 61 == 0b110 {
            self.step((word << 3) >> 47, 17);
            self.pos += 20;
        } else if word >> 60 == 0b1110 {
            self.step((word << 4) >> 44, 20);
            self.pos += 24;
        } else {
            self.delta = self.delta.wrapping_add(load64(self.data, self.pos + 4));
            self.t = self.t.wrapping_add(self.delta as i64);
            self.pos += 68;
        }
        let word = load57(self.data, self.pos);
        self.value(word, 0);
    }

    /// A delta-of-delta of `n` bits: two's complement, except that the lowest number means its positive twin.
    #[inline(always)]
    fn step(&mut self, bits: u64, n: u32) {
        let negative = u64::from(bits > 1 << (n - 1)) << n;
        self.delta = self.delta.wrapping_add(bits.wrapping_sub(negative));
        self.t = self.t.wrapping_add(self.delta as i64);
    }

    /// A value change. `word` has the bits from `pos + used` on, left-aligned, 57 − `used` of them valid
    /// (at least 41).
    #[inline(always)]
    fn value(&mut self, word: u64, used: u32) {
        if word >> 63 == 0 {
            self.pos += used as usize + 1;
            return;
        }
        let (word, used) = if word >> 62 == 0b10 {
            (word << 2, used + 2)
        } else {
            let leading = (word >> 57) as u32 & 31;
            let width = (word >> 51) as u32 & 63;
            self.open_window(leading, if width == 0 { 64 } else { width });
            (word << 13, used + 13)
        };
        let pos = self.pos + used as usize;
        let bits = if used + self.width <= 57 { word } else { load64(self.data, pos) };
        self.v ^= bits >> (64 - self.width) << self.trailing;
        self.pos = pos + self.width as usize;
    }

    #[inline(always)]
    fn open_window(&mut self, leading: u32, width: u32) {
        self.windowed = true;
        if leading + width > 64 {
            // Reported at the end; until then any legal window will do.
            self.bad_window = true;
            (self.leading, self.trailing, self.width) = (0, 0, 64);
        } else {
            (self.leading, self.trailing, self.width) = (leading, 64 - leading - width, width);
        }
    }
}

#[cfg(test)]
#[path = "xor_tests.rs"]
pub(crate) mod tests;
