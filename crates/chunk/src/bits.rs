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

#[cold]
fn load_tail(data: &[u8], byte: usize) -> u64 {
    let mut word = [0; 8];
    if let Some(tail) = data.get(byte..) {
        word[..tail.len()].copy_from_slice(tail);
    }
    u64::from_be_bytes(word)
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
    pub(crate) bytes: Vec<u8>,
    pub(crate) len: usize,
}

impl BitWriter {
    /// Continues behind whole bytes.
    pub(crate) fn after(bytes: Vec<u8>) -> Self {
        let len = bytes.len() * 8;
        BitWriter { bytes, len }
    }

    /// The lowest `n` bits of `value`; `n` may be 0.
    pub(crate) fn put(&mut self, value: u64, n: u32) {
        if n == 0 {
            return;
        }
        let end = self.len + n as usize;
        self.bytes.resize(end.div_ceil(8), 0);
        store(&mut self.bytes, self.len, value, n);
        self.len = end;
    }
}
