//! A buffer in front of a file, for writers of many small pieces.

use crate::error::Result;
use crate::vfs::File;

/// Collects small writes. Nothing is flushed on drop: a writer that is not told to finish has failed.
#[derive(Debug)]
pub struct Buffered {
    file: Box<dyn File>,
    buffer: Vec<u8>,
    capacity: usize,
    flushed: u64,
}

impl Buffered {
    /// `capacity` in bytes. Positions count from the length that the file has now.
    pub fn new(file: Box<dyn File>, capacity: usize) -> Result<Self> {
        let flushed = file.len()?;
        Ok(Buffered { file, buffer: Vec::with_capacity(capacity), capacity, flushed })
    }

    /// Where the next byte goes.
    pub fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Written on `Ok`; flushed as far as the buffer overflowed.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > self.capacity {
            self.flush()?;
            if bytes.len() >= self.capacity {
                self.file.append(bytes)?;
                self.flushed += bytes.len() as u64;
                return Ok(());
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Everything written so far is flushed on `Ok`.
    pub fn flush(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.file.append(&self.buffer)?;
            self.flushed += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Everything written so far is durable on `Ok`.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.file.sync()
    }

    /// The file behind; what is in the buffer is not in it yet.
    pub fn file(&self) -> &dyn File {
        &*self.file
    }
}
