//! The contracts: what a disk and an open file can do, and how safe data is after each call.

use crate::error::{DiskError, Result};
use crate::map::Map;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// What is known about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub is_dir: bool,
    /// Bytes; 0 for directories.
    pub len: u64,
    pub modified: Option<SystemTime>,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
    /// Bytes; 0 for directories.
    pub len: u64,
}

/// Space of the file system that holds a path, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Available to this process.
    pub free: u64,
    pub total: u64,
}

/// An exclusive lock between processes; given back on drop.
pub trait LockGuard: Send + Sync + Debug {}

/// A file system. Cheap to share as `Arc<dyn Disk>`.
///
/// Names are durable only after [`Disk::sync_dir`] of their directory; contents only after [`File::sync`].
pub trait Disk: Send + Sync + Debug {
    /// Opens an existing file for reading.
    fn open(&self, path: &Path) -> Result<Box<dyn File>>;
    /// Opens a file for appending and reading; makes it when absent.
    fn open_append(&self, path: &Path) -> Result<Box<dyn File>>;
    /// Makes an empty file, replacing what was there.
    fn create(&self, path: &Path) -> Result<Box<dyn File>>;
    /// Maps a finished file for reading. The caller promises that nobody shortens it while mapped; a file
    /// that is replaced is renamed over, which leaves the old map intact.
    fn map(&self, path: &Path) -> Result<Arc<Map>>;
    /// Replaces `to` if it exists (a directory only when empty). Atomic, not yet durable.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    fn remove_file(&self, path: &Path) -> Result<()>;
    /// With everything below it; `Ok` when it is absent.
    fn remove_dir_all(&self, path: &Path) -> Result<()>;
    /// With its parents; `Ok` when it exists.
    fn create_dir_all(&self, path: &Path) -> Result<()>;
    /// Another name for a file; where links are impossible the caller copies.
    fn hard_link(&self, from: &Path, to: &Path) -> Result<()>;
    /// Makes created, renamed and removed names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> Result<()>;
    /// Entries in order of their names. Names that are not UTF-8 are left out: none of ours.
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>>;
    fn meta(&self, path: &Path) -> Result<Meta>;
    /// Takes the lock of `path`, making the file when absent; fails at once with `WouldBlock` when another
    /// holder lives.
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>>;
    fn space(&self, path: &Path) -> Result<Space>;

    fn exists(&self, path: &Path) -> bool {
        self.meta(path).is_ok()
    }

    /// The whole file; one longer than `limit_bytes` is refused.
    fn read(&self, path: &Path, limit_bytes: u64) -> Result<Vec<u8>> {
        let file = self.open(path)?;
        let len = file.len()?;
        if len > limit_bytes {
            return Err(DiskError::other(
                "read",
                path,
                format!("{len} bytes, at most {limit_bytes} allowed"),
            ));
        }
        let mut bytes = vec![0; len as usize];
        let got = file.read_at(0, &mut bytes)?;
        bytes.truncate(got);
        Ok(bytes)
    }
}

/// An open file. Methods take `&self`; appends from several threads must be ordered by the caller.
pub trait File: Send + Sync + Debug {
    fn path(&self) -> &Path;
    /// Appends all bytes at the end: flushed on `Ok`. On `Err` a part may have been appended; the caller
    /// knows the length from before and may [`File::truncate`] to it.
    fn append(&self, bytes: &[u8]) -> Result<()>;
    /// Overwrites in place, for fixed slots such as table-of-contents headers: flushed on `Ok`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Fills `into` from `offset`; fewer bytes only at the end of the file.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize>;
    fn len(&self) -> Result<u64>;
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Sets the length.
    fn truncate(&self, len: u64) -> Result<()>;
    /// Makes contents and length durable.
    fn sync(&self) -> Result<()>;
}
