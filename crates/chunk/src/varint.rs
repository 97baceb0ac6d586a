//! Varints as Go's `encoding/binary` writes them: seven bits per byte, lowest first; signed ones in zigzag.

/// Longest encoding of 64 bits.
pub const MAX_LEN: usize = 10;

/// Appends an unsigned varint.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a signed varint (zigzag).
#[inline]
pub fn put_i64(out: &mut Vec<u8>, n: i64) {
    put_u64(out, zigzag(n));
}

#[inline]
pub const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

#[inline]
pub const fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Bytes that [`put_u64`] writes.
#[inline]
pub const fn len_u64(n: u64) -> usize {
    let bits = 64 - (n | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Takes an unsigned varint from the front; `None` when cut short or over 64 bits.
#[inline]
pub fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    match *rest {
        [a, after @ ..] if *a < 0x80 => {
            *rest = after;
            Some(u64::from(*a))
        }
        [a, b, after @ ..] if *b < 0x80 => {
            *rest = after;
            Some(u64::from(a & 0x7f) | u64::from(*b) << 7)
        }
        _ => take_long(rest),
    }
}

/// [`take_u64`] of three bytes and more.
fn take_long(rest: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for (i, byte) in rest.iter().enumerate().take(MAX_LEN) {
        if i == MAX_LEN - 1 && *byte > 1 {
            return None;
        }
        n |= u64::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            *rest = &rest[i + 1..];
            return Some(n);
        }
    }
    None
}

/// Takes a signed varint from the front.
#[inline]
pub fn take_i64(rest: &mut &[u8]) -> Option<i64> {
    take_u64(rest).map(unzigzag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits() {
        assert_eq!(take_u64(&mut &[0xff; 10][..]), None);
        assert_eq!(take_u64(&mut &[0x80][..]), None);
        assert_eq!(take_u64(&mut &[][..]), None);
    }

    proptest! {
        #[test]
        fn round_trip(n: u64, shift in 0u32..64) {
            let n = n >> shift;
            let mut out = Vec::new();
            put_u64(&mut out, n);
            assert_eq!(out.len(), len_u64(n));
            put_i64(&mut out, n as i64);
            let mut rest = &out[..];
            assert_eq!(take_u64(&mut rest), Some(n));
            assert_eq!(take_i64(&mut rest), Some(n as i64));
            assert!(rest.is_empty());
        }
    }
}
