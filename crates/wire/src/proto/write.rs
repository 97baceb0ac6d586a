//! The writer: appends to a byte vector.

use super::WireType;

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    let mut bytes = [0u8; 10];
    let mut len = 0;
    for byte in &mut bytes {
        len += 1;
        if n < 0x80 {
            *byte = n as u8;
            break;
        }
        *byte = (n & 0x7f) as u8 | 0x80;
        n >>= 7;
    }
    out.extend_from_slice(bytes.get(..len).unwrap_or_default());
}

/// Bytes of a varint.
#[inline]
pub const fn varint_len(n: u64) -> usize {
    let bits = u64::BITS - (n | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Bytes of a length-delimited field with a field number below 16.
#[inline]
pub const fn len_field(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

#[inline]
pub fn put_tag(out: &mut Vec<u8>, number: u32, wire: WireType) {
    let wire = match wire {
        WireType::Varint => 0,
        WireType::Fixed64 => 1,
        WireType::Len => 2,
        WireType::Fixed32 => 5,
    };
    put_varint(out, u64::from(number) << 3 | wire);
}

/// Appends a bytes, string or message field, also when it is empty.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, WireType::Len);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends an integer field unless it is zero (proto3).
#[inline]
pub fn put_uint(out: &mut Vec<u8>, number: u32, n: u64) {
    if n != 0 {
        put_tag(out, number, WireType::Varint);
        put_varint(out, n);
    }
}

/// Appends a double field unless all its bits are zero (proto3; a negative zero is kept).
#[inline]
pub fn put_double(out: &mut Vec<u8>, number: u32, v: f64) {
    if v.to_bits() != 0 {
        put_tag(out, number, WireType::Fixed64);
        out.extend_from_slice(&v.to_bits().to_le_bytes());
    }
}

#[inline]
pub const fn zigzag32(n: i32) -> u64 {
    ((n << 1) ^ (n >> 31)) as u32 as u64
}

#[inline]
pub const fn zigzag64(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Cursor, ProtoError};
    use proptest::prelude::*;

    fn check(bytes: &[u8], want: Result<u64, ProtoError>) {
        assert_eq!(Cursor::new(bytes).varint(), want, "{bytes:x?}");
    }

    #[test]
    fn varint_edges() {
        check(&[], Err(ProtoError::Eof));
        check(&[0x80], Err(ProtoError::Eof));
        check(&[0x80; 8], Err(ProtoError::Eof));
        check(&[0xff; 10], Err(ProtoError::Overflow));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Ok(u64::MAX));
        check(&[0x80, 0x00], Ok(0));
        check(&[0x80, 0x80, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff], Ok(1 << 14));
    }

    #[test]
    fn tags_are_checked() {
        let bad = |bytes: &[u8]| Cursor::new(bytes).field("M").unwrap_err().to_string();
        assert_eq!(bad(&[0x00]), "proto: M: illegal tag 0 (wire type 0)");
        assert_eq!(bad(&[0x0c]), "proto: M: wiretype end group for non-group");
        assert_eq!(bad(&[0x0b]), "proto: illegal wireType 3");
    }

    proptest! {
        #[test]
        fn varint_round_trip(shift in 0u32..64, n in any::<u64>(), tail in 0usize..9) {
            let n = n >> shift;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, n);
            prop_assert_eq!(bytes.len(), varint_len(n));
            bytes.extend(std::iter::repeat_n(0xaa, tail));
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(cursor.varint(), Ok(n));
            prop_assert_eq!(cursor.rest().len(), tail);
            let only = (tail == 0).then_some(n);
            prop_assert_eq!(Cursor::new(&bytes).only_varint(), Ok(only));
        }

        #[test]
        fn zigzag_round_trip(n in any::<i64>(), m in any::<i32>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, zigzag64(n));
            put_varint(&mut bytes, zigzag32(m));
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(cursor.sint(), Ok(n));
            prop_assert_eq!(cursor.sint(), Ok(i64::from(m)));
        }
    }
}
