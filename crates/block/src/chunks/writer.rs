//! Writing chunk segments, one after the other.

use super::{HEADER_BYTES, MAGIC};
use crate::error::BlockError;
use disk::{Buffered, Disk};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BUFFER_BYTES: usize = 1 << 20;

/// Writes chunks in the order in which the index will name them.
pub struct ChunkWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    current: Option<Buffered>,
    /// Segments begun so far.
    segments: u64,
    scratch: Vec<u8>,
}

impl ChunkWriter {
    pub fn create(disk: Arc<dyn Disk>, dir: &Path, segment_bytes: u64) -> Result<Self, BlockError> {
        disk.create_dir_all(dir)?;
        let dir = dir.to_owned();
        Ok(ChunkWriter { disk, dir, segment_bytes, current: None, segments: 0, scratch: Vec::new() })
    }

    /// Appends one chunk; gives its reference.
    pub fn write(&mut self, encoding: u8, data: &[u8]) -> Result<u64, BlockError> {
        self.scratch.clear();
        chunk::varint::put_u64(&mut self.scratch, data.len() as u64);
        let from = self.scratch.len();
        self.scratch.push(encoding);
        self.scratch.extend_from_slice(data);
        let crc = disk::crc::crc32c(&self.scratch[from..]);
        self.scratch.extend_from_slice(&crc.to_be_bytes());

        let full = |w: &Buffered| w.position() + self.scratch.len() as u64 > self.segment_bytes;
        if self.current.as_ref().is_none_or(full) {
            self.next_segment()?;
        }
        let Some(current) = self.current.as_mut() else {
            return Err(BlockError::Input("no chunk segment is open".into()));
        };
        let reference = (self.segments - 1) << 32 | current.position();
        current.write(&self.scratch)?;
        Ok(reference)
    }

    fn next_segment(&mut self) -> Result<(), BlockError> {
        self.finish_segment()?;
        self.segments += 1;
        let file = self.disk.create(&self.dir.join(format!("{:06}", self.segments)))?;
        let mut buffered = Buffered::new(file, BUFFER_BYTES)?;
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&MAGIC.to_be_bytes());
        header[4] = 1;
        buffered.write(&header)?;
        self.current = Some(buffered);
        Ok(())
    }

    fn finish_segment(&mut self) -> Result<(), BlockError> {
        match self.current.take() {
            Some(mut current) => Ok(current.sync()?),
            None => Ok(()),
        }
    }

    /// Makes all segments durable.
    pub fn finish(mut self) -> Result<(), BlockError> {
        self.finish_segment()?;
        Ok(self.disk.sync_dir(&self.dir)?)
    }
}
