//! Bits in bytes, most significant first: loads and stores at a bit position.

/// At least 57 bits from `pos` on, left-aligned; zeros behind the end of `data`.
#[inline(always)]
pub(crate) fn load57(data: &[u8], pos: usize) -> u64 {
    load_word(data, pos >> 3) << (pos & 7)
}

/// 64 bits from `pos` on; zeros behind the end.
#[inline(always)]
pub(crate) fn load64(data: &[u8], pos: usize) -> u64 {
    let byte = pos >> 3;
    let next = data.get(byte + 8).copied().unwrap_or(0);
    let low = u64::from(next) << (pos & 7) >> 8;
    load_word(data, byte) << (pos & 7) | low
}

#[inline(always)]
fn load_word(data: &[u8], byte: usize) -> u64 {
    match data.get(byte..).and_then(|d| d.first_chunk::<8>()) {
        Some(word) => u64::from_be_bytes(*word),
        None => load_tail(data, byte),
    }
}

/// The word at `byte`, which does not lie inside `data` completely. Short chunks of quiet series have many of
/// their samples there.
#[inline(never)]
fn load_tail(data: &[u8], byte: usize) -> u64 {
    match data.last_chunk::<8>() {
        Some(word) => {
            // 1…8 bytes behind the last whole word, more when `byte` lies behind the end.
            let past = byte + 8 - data.len();
            if past < 8 { u64::from_be_bytes(*word) << (8 * past) } else { 0 }
        }
        None => {
            let mut word = [0; 8];
            if let Some(tail) = data.get(byte..) {
                word[..tail.len()].copy_from_slice(tail);
            }
            u64::from_be_bytes(word)
        }
    }
}

/// The lowest `n` bits (1…64) of `value` written at bit `pos`. Bits before `pos` stay; bits behind the
/// written ones become undefined up to the end of the touched bytes' neighbours, except that the rest of the
/// last touched byte is zero. The caller has checked that `data` is long enough.
#[inline(always)]
pub(crate) fn store(data: &mut [u8], pos: usize, value: u64, n: u32) {
    debug_assert!((1..=64).contains(&n));
    let (byte, shift) = (pos >> 3, (pos & 7) as u32);
    let aligned = value << (64 - n);
    let kept = data[byte] & !(0xffu32 >> shift) as u8;
    let word = (u64::from(kept) << 56 | aligned >> shift).to_be_bytes();
    match data[byte..].first_chunk_mut::<8>() {
        Some(slot) => *slot = word,
        None => {
            let touched = ((shift + n).div_ceil(8) as usize).min(8);
            data[byte..byte + touched].copy_from_slice(&word[..touched]);
        }
    }
    if shift + n > 64 {
        data[byte + 8] = (aligned << (64 - shift) >> 56) as u8;
    }
}

/// A growing buffer of bits.
#[derive(Clone, Debug, Default)]
pub(crate) struct BitWriter {
    /// Longer than what is written, so that a store rarely has to look.
    bytes: Vec<u8>,
    len: usize,
}

impl BitWriter {
    /// Continues behind whole bytes.
    pub(crate) fn after(bytes: Vec<u8>) -> Self {
        let len = bytes.len() * 8;
        BitWriter { bytes, len }
    }

    /// What is written.
    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[..self.len.div_ceil(8)]
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn into_data(mut self) -> Vec<u8> {
        self.bytes.truncate(self.len.div_ceil(8));
        self.bytes
    }

    /// Overwrites the number of samples at the beginning.
    pub(crate) fn set_count(&mut self, count: u16) {
        self.bytes[..2].copy_from_slice(&count.to_be_bytes());
    }

    /// Sets bits of a byte of the header.
    pub(crate) fn mark(&mut self, at: usize, bits: u8) {
        self.bytes[at] |= bits;
    }

    /// The lowest `n` bits of `value`, whose others are zero; `n` may be 0.
    #[inline]
    pub(crate) fn put(&mut self, value: u64, n: u32) {
        if n == 0 {
            return;
        }
        if self.bytes.len() < self.len / 8 + 16 {
            self.grow();
        }
        store(&mut self.bytes, self.len, value, n);
        self.len += n as usize;
    }

    /// To the next of the sizes that allocators have, four in each doubling: most writers stop somewhere.
    #[cold]
    fn grow(&mut self) {
        let size = self.bytes.len().next_multiple_of(64);
        let more = (size / 8 + 1).next_power_of_two().max(64);
        self.bytes.reserve_exact(size + more - self.bytes.len());
        self.bytes.resize(size + more, 0);
    }
}

/// Reads bits one field after the other. Behind the end it reads zeros; [`BitReader::overrun`] tells.
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    pos: usize,
}

/// A window of significant bits, as XORed floats use it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    leading: u32,
    trailing: u32,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        BitReader { data, pos: 0 }
    }

    pub(crate) fn overrun(&self) -> bool {
        self.pos > self.data.len() * 8
    }

    /// `n` bits, at most 64; `n` may be 0.
    #[inline]
    pub(crate) fn take(&mut self, n: u32) -> u64 {
        let word = load64(self.data, self.pos);
        self.pos += n as usize;
        if n == 0 { 0 } else { word >> (64 - n) }
    }

    pub(crate) fn float(&mut self) -> f64 {
        f64::from_bits(self.take(64))
    }

    /// Number of ones before the next zero, at most `most`; the zero is consumed.
    #[inline]
    pub(crate) fn ones(&mut self, most: u32) -> u32 {
        let ones = (!load57(self.data, self.pos)).leading_zeros().min(most);
        self.pos += (ones + u32::from(ones < most)) as usize;
        ones
    }

    /// Signed number of `n` bits whose lowest value stands for its positive twin (upstream's bit ranges).
    #[inline]
    fn ranged(&mut self, n: u32) -> i64 {
        let bits = self.take(n);
        if bits > 1 << (n - 1) { bits.wrapping_sub(1 << n) as i64 } else { bits as i64 }
    }

    /// Upstream's varbit integer: a prefix of ones tells the number of bits.
    pub(crate) fn varbit_int(&mut self) -> i64 {
        match VARBIT_BITS[self.ones(8) as usize] {
            0 => 0,
            64 => self.take(64) as i64,
            n => self.ranged(n),
        }
    }

    pub(crate) fn varbit_uint(&mut self) -> u64 {
        let n = VARBIT_BITS[self.ones(8) as usize];
        self.take(n)
    }

    /// A varint of bytes; `None` when over 64 bits.
    pub(crate) fn uvarint(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for i in 0..crate::varint::MAX_LEN {
            let byte = self.take(8);
            if i == crate::varint::MAX_LEN - 1 && byte > 1 {
                return None;
            }
            n |= (byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    /// The significant bits of an open window.
    pub(crate) fn in_window(&mut self, window: Window) -> u64 {
        let width = 64 - window.leading - window.trailing;
        self.take(width) << window.trailing
    }

    /// 5 bits of leading zeros, 6 bits of length; false when they contradict each other.
    #[must_use]
    pub(crate) fn open_window(&mut self, window: &mut Window) -> bool {
        let leading = self.take(5) as u32;
        let width = match self.take(6) as u32 {
            0 => 64,
            n => n,
        };
        if leading + width > 64 {
            return false;
        }
        *window = Window { leading, trailing: 64 - leading - width };
        true
    }

    /// A value change as in XOR chunks; false when malformed.
    #[must_use]
    pub(crate) fn xor(&mut self, value: &mut u64, window: &mut Window) -> bool {
        match self.ones(2) {
            0 => return true,
            1 => {}
            _ => {
                if !self.open_window(window) {
                    return false;
                }
            }
        }
        *value ^= self.in_window(*window);
        true
    }
}

/// Bits behind each prefix of a varbit.
const VARBIT_BITS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/// By the bits that a number needs: the bits of its whole varbit, and those behind the prefix.
const VARBIT_CODES: [(u8, u8); 66] = {
    let mut codes = [(0, 0); 66];
    let mut need = 0;
    while need < codes.len() {
        let mut class = 0;
        while class < 8 && VARBIT_BITS[class] < need as u32 {
            class += 1;
        }
        let prefix = if class < 8 { class as u8 + 1 } else { 8 };
        codes[need] = (prefix + VARBIT_BITS[class] as u8, VARBIT_BITS[class] as u8);
        need += 1;
    }
    codes
};

/// The bits that a signed number needs: `b` bits hold -(2^(b-1) - 1) to 2^(b-1), and none hold zero.
#[inline(always)]
fn need_of(n: i64) -> u32 {
    let magnitude = if n > 0 { n as u64 - 1 } else { n.wrapping_neg() as u64 };
    if n == 0 { 0 } else { 65 - magnitude.leading_zeros() }
}

/// The window of significant bits that was last written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastWindow {
    /// Beyond 64 before the first was.
    leading: u8,
    trailing: u8,
}

impl Default for LastWindow {
    fn default() -> Self {
        LastWindow { leading: u8::MAX, trailing: 0 }
    }
}

impl BitWriter {
    pub(crate) fn varbit_int(&mut self, n: i64) {
        let need = need_of(n);
        self.varbit((0..8).find(|class| need <= VARBIT_BITS[*class]).unwrap_or(8), n as u64);
    }

    /// As [`BitWriter::varbit_int`] of each: what does not fill a byte yet stays in a register.
    #[inline]
    pub(crate) fn varbit_ints(&mut self, numbers: impl Iterator<Item = i64>) {
        let (mut at, mut filled, mut word) = self.open_byte();
        for n in numbers {
            let (width, bits) = VARBIT_CODES[need_of(n) as usize];
            let (width, bits) = (u32::from(width), u32::from(bits));
            if width > 32 {
                self.len = at * 8 + filled as usize;
                self.varbit_int(n);
                (at, filled, word) = self.open_byte();
                continue;
            }
            let prefix = (1u64 << (width - bits)) - 2;
            let code = prefix << bits | n as u64 & ((1 << bits) - 1);
            word |= code << (64 - filled - width);
            filled += width;
            let slot = match self.bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>()) {
                Some(slot) => slot,
                None => self.slot(at),
            };
            *slot = word.to_be_bytes();
            let whole = filled >> 3;
            at += whole as usize;
            word <<= whole * 8;
            filled &= 7;
        }
        self.len = at * 8 + filled as usize;
    }

    /// The byte that is being filled: its place, how many bits it has, and these in front.
    #[inline]
    fn open_byte(&self) -> (usize, u32, u64) {
        let (at, filled) = (self.len >> 3, (self.len & 7) as u32);
        let byte = self.bytes.get(at).copied().unwrap_or(0) & !(0xffu32 >> filled) as u8;
        (at, filled, u64::from(byte) << 56)
    }

    #[cold]
    fn slot(&mut self, at: usize) -> &mut [u8; 8] {
        while self.bytes.len() < at + 8 {
            self.grow();
        }
        self.bytes[at..].first_chunk_mut().expect("it has grown")
    }

    pub(crate) fn varbit_uint(&mut self, n: u64) {
        let class = (0..8).find(|class| n >> VARBIT_BITS[*class] == 0).unwrap_or(8);
        self.varbit(class, n);
    }

    fn varbit(&mut self, class: usize, n: u64) {
        // A prefix of ones, closed by a zero unless it is the longest.
        if class == 8 {
            self.put(0xff, 8);
            return self.put(n, 64);
        }
        let (prefix, bits) = ((1u64 << (class + 1)) - 2, VARBIT_BITS[class]);
        let width = class as u32 + 1 + bits;
        let value = n & ((1 << bits) - 1);
        if width <= 64 {
            return self.put(prefix << bits | value, width);
        }
        self.put(prefix, class as u32 + 1);
        self.put(value, bits);
    }

    pub(crate) fn uvarint(&mut self, n: u64) {
        let mut bytes = Vec::with_capacity(crate::varint::MAX_LEN);
        crate::varint::put_u64(&mut bytes, n);
        for byte in bytes {
            self.put(u64::from(byte), 8);
        }
    }

    /// A value change as in XOR chunks.
    pub(crate) fn xor(&mut self, change: u64, window: &mut LastWindow) {
        if change == 0 {
            return self.put(0, 1);
        }
        let (leading, trailing) = (change.leading_zeros().min(31), change.trailing_zeros());
        let (l, t) = (u32::from(window.leading), u32::from(window.trailing));
        if leading >= l && trailing >= t {
            let width = 64 - l - t;
            if width <= 62 {
                return self.put(0b10 << width | change >> t, width + 2);
            }
            self.put(0b10, 2);
            self.put(change >> t, width);
            return;
        }
        self.put(0b11, 2);
        self.open_window(change, leading, trailing);
        *window = LastWindow { leading: leading as u8, trailing: trailing as u8 };
    }

    /// Describes a window and writes the bits inside.
    pub(crate) fn open_window(&mut self, change: u64, leading: u32, trailing: u32) {
        let width = 64 - leading - trailing;
        self.put(u64::from(leading), 5);
        self.put(u64::from(width) & 63, 6);
        self.put(change >> trailing, width);
    }
}
