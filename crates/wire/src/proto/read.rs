//! The reader: a cursor over borrowed bytes.

use super::ProtoError;

/// How a field's value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireType {
    Varint,
    Fixed64,
    Len,
    Fixed32,
}

impl WireType {
    const fn number(self) -> u8 {
        match self {
            WireType::Varint => 0,
            WireType::Fixed64 => 1,
            WireType::Len => 2,
            WireType::Fixed32 => 5,
        }
    }
}

/// A field's number and layout; its value comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub number: u32,
    pub wire: WireType,
}

impl Field {
    /// Refuses a known field in another layout than its own.
    #[inline]
    pub fn expect(self, wire: WireType, name: &'static str) -> Result<(), ProtoError> {
        if self.wire == wire {
            Ok(())
        } else {
            Err(ProtoError::WrongWire { wire: self.wire.number(), field: name })
        }
    }
}

/// Reads forward over borrowed bytes. After an error only dropping it makes sense.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is not read yet.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte without reading it.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Steps over `n` bytes.
    #[inline]
    pub fn advance(&mut self, n: usize) -> Result<(), ProtoError> {
        self.rest = self.rest.get(n..).ok_or(ProtoError::Eof)?;
        Ok(())
    }

    /// A varint of up to ten bytes.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, ProtoError> {
        match self.rest {
            [a, rest @ ..] if *a < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*a))
            }
            [a, b, rest @ ..] if *b < 0x80 => {
                self.rest = rest;
                Ok(u64::from(a & 0x7f) | u64::from(*b) << 7)
            }
            _ => self.varint_long(),
        }
    }

    /// Varints of three and more bytes: eight bytes at once when there are eight, as for timestamps.
    #[inline]
    fn varint_long(&mut self) -> Result<u64, ProtoError> {
        if let Some(word) = self.rest.first_chunk::<8>() {
            let word = u64::from_le_bytes(*word);
            let stops = !word & 0x8080_8080_8080_8080;
            if stops != 0 {
                let bytes = (stops.trailing_zeros() as usize >> 3) + 1;
                // Everything up to the byte without a continuation bit, seven bits of each byte packed.
                let x = word & (stops ^ stops.wrapping_sub(1)) & 0x7f7f_7f7f_7f7f_7f7f;
                let x = ((x & 0x7f00_7f00_7f00_7f00) >> 1) | (x & 0x007f_007f_007f_007f);
                let x = ((x & 0x3fff_0000_3fff_0000) >> 2) | (x & 0x0000_3fff_0000_3fff);
                let x = ((x & 0x0fff_ffff_0000_0000) >> 4) | (x & 0x0000_0000_0fff_ffff);
                self.advance(bytes)?;
                return Ok(x);
            }
        }
        self.varint_slow()
    }

    #[cold]
    fn varint_slow(&mut self) -> Result<u64, ProtoError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (&byte, after) = self.rest.split_first().ok_or(ProtoError::Eof)?;
            self.rest = after;
            // Bits above 64 fall off, as in upstream's decoders.
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtoError::Overflow)
    }

    /// A length and that many bytes.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], ProtoError> {
        let len = usize::try_from(self.varint()?).map_err(|_| ProtoError::Eof)?;
        let (bytes, after) = self.rest.split_at_checked(len).ok_or(ProtoError::Eof)?;
        self.rest = after;
        Ok(bytes)
    }

    /// A length and a message of that many bytes.
    #[inline]
    pub fn message(&mut self) -> Result<Cursor<'a>, ProtoError> {
        self.bytes().map(Cursor::new)
    }

    #[inline]
    pub fn fixed64(&mut self) -> Result<u64, ProtoError> {
        let (word, after) = self.rest.split_first_chunk::<8>().ok_or(ProtoError::Eof)?;
        self.rest = after;
        Ok(u64::from_le_bytes(*word))
    }

    #[inline]
    pub fn double(&mut self) -> Result<f64, ProtoError> {
        self.fixed64().map(f64::from_bits)
    }

    /// A signed integer in zigzag form.
    #[inline]
    pub fn sint(&mut self) -> Result<i64, ProtoError> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    /// A varint that fills all the rest. Six bytes, as present timestamps take, are read at once.
    #[inline]
    pub fn only_varint(mut self) -> Result<Option<u64>, ProtoError> {
        if let &[a, b, c, d, e, f] = self.rest {
            let word = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
            if word & 0x8080_8080_8080 == 0x0080_8080_8080 {
                let x = word & 0x7f7f_7f7f_7f7f;
                let x = ((x & 0x7f00_7f00_7f00) >> 1) | (x & 0x007f_007f_007f);
                let x = ((x & 0x0000_3fff_0000) >> 2) | (x & 0x3fff_0000_3fff);
                // Now three groups of 14 bits: at 0, 14 and 32.
                return Ok(Some((x & 0x0fff_ffff) | (x >> 32) << 28));
            }
        }
        let value = self.varint()?;
        Ok(self.is_empty().then_some(value))
    }

    /// The next field, or `None` at the end of the message, whose name errors mention.
    #[inline(always)]
    pub fn field(&mut self, message: &'static str) -> Result<Option<Field>, ProtoError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Len,
            5 => WireType::Fixed32,
            4 => return Err(ProtoError::EndGroup { message }),
            wire => return Err(ProtoError::IllegalWire { wire: wire as u8 }),
        };
        // Field numbers are signed 32-bit in upstream's decoders; zero and beyond are refused.
        match u32::try_from(tag >> 3) {
            Ok(number) if number > 0 && number <= i32::MAX as u32 => Ok(Some(Field { number, wire })),
            other => {
                let field = other.unwrap_or(0);
                Err(ProtoError::IllegalTag { message, field, wire: wire.number() })
            }
        }
    }

    /// Steps over the value of a field that is not ours.
    pub fn skip(&mut self, field: Field) -> Result<(), ProtoError> {
        match field.wire {
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed64 => self.advance(8),
            WireType::Len => self.bytes().map(drop),
            WireType::Fixed32 => self.advance(4),
        }
    }
}
