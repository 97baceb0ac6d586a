//! CRC-32C (Castagnoli), the checksum of every format of the house.

use crc_fast::{CrcAlgorithm, Digest};

/// Checksum of one piece.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// A checksum over several pieces.
#[derive(Clone, Debug)]
pub struct Crc(Digest);

impl Default for Crc {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc {
    pub fn new() -> Self {
        Crc(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(&self) -> u32 {
        self.0.finalize() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
        let mut crc = Crc::new();
        crc.update(b"1234");
        crc.update(b"56789");
        assert_eq!(crc.finish(), 0xe306_9283);
    }
}
