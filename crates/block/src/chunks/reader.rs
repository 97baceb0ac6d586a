//! Reading chunks from mapped segments.

use super::{HEADER_BYTES, MAGIC};
use crate::decode::Cursor;
use crate::error::BlockError;
use disk::{Access, Disk, Map, scan};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub struct ChunkReader {
    dir: PathBuf,
    segments: Vec<Arc<Map>>,
}

impl ChunkReader {
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, BlockError> {
        let mut segments = Vec::new();
        for found in scan::numbered(disk, dir, "")? {
            let path = dir.join(&found.entry.name);
            let map = disk.map(&path)?;
            let mut head = Cursor::new(&map);
            if head.be32() != Some(MAGIC) {
                return Err(BlockError::corrupt(&path, "invalid magic number"));
            }
            if head.u8() != Some(1) {
                return Err(BlockError::corrupt(&path, "invalid chunk format version"));
            }
            segments.push(map);
        }
        Ok(ChunkReader { dir: dir.to_owned(), segments })
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.len() as u64).sum()
    }

    pub(crate) fn release(&self) {
        self.segments.iter().for_each(|s| s.advise(Access::Release));
    }

    /// Encoding and data of a chunk; its checksum is verified.
    pub fn chunk(&self, reference: u64) -> Result<(u8, &[u8]), BlockError> {
        let (segment, offset) = ((reference >> 32) as usize, (reference & 0xffff_ffff) as usize);
        self.read(segment, offset).ok_or_else(|| {
            let path = self.dir.join(format!("{:06}", segment + 1));
            BlockError::corrupt(&path, format!("no valid chunk at offset {offset}"))
        })
    }

    fn read(&self, segment: usize, offset: usize) -> Option<(u8, &[u8])> {
        let map = self.segments.get(segment)?;
        if offset < HEADER_BYTES {
            return None;
        }
        let mut cursor = Cursor::new(map.get(offset..)?);
        let len = usize::try_from(cursor.uvarint()?).ok()?;
        let body = cursor.take(len.checked_add(1)?)?;
        if cursor.be32()? != disk::crc::crc32c(body) {
            return None;
        }
        body.split_first().map(|(encoding, data)| (*encoding, data))
    }
}
