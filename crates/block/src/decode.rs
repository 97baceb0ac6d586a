//! Checked reading of the integers that block files are made of.

/// A cursor over bytes. Every read returns `None` past the end; nothing panics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub(crate) fn be32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|b| u32::from_be_bytes(*b))
    }

    pub(crate) fn be64(&mut self) -> Option<u64> {
        self.take(8)?.first_chunk().map(|b| u64::from_be_bytes(*b))
    }

    pub(crate) fn uvarint(&mut self) -> Option<u64> {
        chunk::varint::take_u64(&mut self.bytes)
    }

    /// Zig-zag, as Go's `binary.Varint`.
    pub(crate) fn varint(&mut self) -> Option<i64> {
        chunk::varint::take_i64(&mut self.bytes)
    }

    /// Bytes preceded by their length.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.uvarint()?).ok()?;
        self.take(len)
    }
}
