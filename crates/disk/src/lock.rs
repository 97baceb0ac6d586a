//! The lock of a data directory: one process per directory, also between us and upstream (`flock` on `lock`).

use crate::error::DiskError;
use crate::vfs::{Disk, LockGuard};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A held data directory. Dropping gives it back and removes the file.
#[derive(Debug)]
pub struct DirLock {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    replaced: bool,
    guard: Option<Box<dyn LockGuard>>,
}

/// Why a data directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("lock DB directory: {} is locked by another process", path.display())]
    Held { path: PathBuf },
    #[error("lock DB directory: {0}")]
    Disk(#[from] DiskError),
}

impl DirLock {
    /// Locks `<dir>/lock`; makes the directory when absent.
    pub fn acquire(disk: Arc<dyn Disk>, dir: &Path) -> Result<DirLock, LockError> {
        disk.create_dir_all(dir)?;
        let path = dir.join("lock");
        let replaced = disk.exists(&path);
        match disk.lock(&path) {
            Ok(guard) => Ok(DirLock { disk, path, replaced, guard: Some(guard) }),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Err(LockError::Held { path }),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether a lock file was left behind by a process that did not stop cleanly (`*_clean_start` 0, else 1).
    pub fn replaced(&self) -> bool {
        self.replaced
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        self.guard = None;
        // Left behind, the file only makes the next start look unclean.
        let _ = self.disk.remove_file(&self.path);
    }
}
