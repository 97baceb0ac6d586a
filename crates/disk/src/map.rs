//! Read-only maps of finished files. The only file with `unsafe`.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::ops::Deref;

/// The bytes of a finished file. Share as `Arc<Map>`; indexing is bounds-checked as on every slice.
pub struct Map(Bytes);

enum Bytes {
    Mapped(memmap2::Mmap),
    /// Empty files cannot be mapped, and simulated disks have nothing to map.
    Owned(Vec<u8>),
}

/// How a map will be read; the system may read ahead less or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Random,
    Sequential,
    /// Not needed for now: pages may go.
    Release,
}

impl Map {
    pub(crate) fn of_file(file: &fs::File) -> io::Result<Map> {
        if file.metadata()?.len() == 0 {
            return Ok(Map::of_bytes(Vec::new()));
        }
        // SAFETY: the map is read-only and private to this struct. `Disk::map` is for finished files: they are
        // renamed into place, removed or renamed over, but never rewritten or shortened while the data
        // directory is locked by this process, so the bytes behind the slice do not change or vanish.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Map(Bytes::Mapped(map)))
    }

    /// A map over memory.
    pub fn of_bytes(bytes: Vec<u8>) -> Map {
        Map(Bytes::Owned(bytes))
    }

    /// Tells the system how the bytes will be used. A hint: failures do not matter.
    pub fn advise(&self, access: Access) {
        let Bytes::Mapped(map) = &self.0 else { return };
        let _ = match access {
            Access::Random => map.advise(memmap2::Advice::Random),
            Access::Sequential => map.advise(memmap2::Advice::Sequential),
            // SAFETY: the map is read-only and backed by a file; dropped pages are read again on next use.
            Access::Release => unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) },
        };
    }

    /// Tells the system that a range is not needed for now: its whole pages may go. A hint, too.
    pub fn release(&self, range: std::ops::Range<usize>) {
        const PAGE: usize = 4096;
        let Bytes::Mapped(map) = &self.0 else { return };
        let (from, to) = (range.start.next_multiple_of(PAGE), range.end.min(map.len()) / PAGE * PAGE);
        if from < to {
            // SAFETY: the map is read-only and backed by a file; dropped pages are read again on next use.
            let _ =
                unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, from, to - from) };
        }
    }
}

impl Deref for Map {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Map({} bytes)", self.len())
    }
}
