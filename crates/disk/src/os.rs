//! The real disk.

use crate::error::{At, DiskError, Result};
use crate::map::Map;
use crate::vfs::{DirEntry, Disk, File, LockGuard, Meta, Space};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl OsDisk {
    /// As the trait object that rooms take.
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(OsDisk)
    }
}

#[derive(Debug)]
struct OsFile {
    file: fs::File,
    path: PathBuf,
}

impl OsFile {
    fn boxed(file: fs::File, path: &Path) -> Box<dyn File> {
        Box::new(OsFile { file, path: path.to_owned() })
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path) -> Result<Box<dyn File>> {
        Ok(OsFile::boxed(fs::File::open(path).at("open", path)?, path))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).append(true).create(true).open(path).at("open", path)?;
        Ok(OsFile::boxed(file, path))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn File>> {
        // Not opened for appending: Linux ignores the offset of positional writes to such files.
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(path).at("open", path)?;
        Ok(OsFile::boxed(file, path))
    }

    fn map(&self, path: &Path) -> Result<Arc<Map>> {
        let file = fs::File::open(path).at("open", path)?;
        Ok(Arc::new(Map::of_file(&file).at("mmap", path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).at("rename", from)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).at("remove", path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        match fs::remove_dir_all(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other.at("remove", path),
        }
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path).at("mkdir", path)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        fs::hard_link(from, to).at("link", from)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        fs::File::open(dir).and_then(|d| d.sync_all()).at("fsync", dir)
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir).at("open", dir)? {
            let entry = entry.at("readdir", dir)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // A file may vanish between listing and asking; then it is simply not there.
            let Ok(meta) = fs::metadata(entry.path()) else { continue };
            let len = if meta.is_dir() { 0 } else { meta.len() };
            entries.push(DirEntry { name, is_dir: meta.is_dir(), len });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn meta(&self, path: &Path) -> Result<Meta> {
        let meta = fs::metadata(path).at("stat", path)?;
        let len = if meta.is_dir() { 0 } else { meta.len() };
        Ok(Meta { is_dir: meta.is_dir(), len, modified: meta.modified().ok() })
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>> {
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).at("open", path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(OsLock { _file: file })),
            Err(fs::TryLockError::WouldBlock) => {
                Err(DiskError::new("flock", path, ErrorKind::WouldBlock.into()))
            }
            Err(fs::TryLockError::Error(e)) => Err(DiskError::new("flock", path, e)),
        }
    }

    fn space(&self, path: &Path) -> Result<Space> {
        let stat = rustix::fs::statvfs(path).map_err(std::io::Error::from).at("statfs", path)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        Ok(Space { free, total: stat.f_blocks.saturating_mul(stat.f_frsize) })
    }
}

#[derive(Debug)]
struct OsLock {
    /// The lock lives as long as the descriptor.
    _file: fs::File,
}
impl LockGuard for OsLock {}

impl File for OsFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn append(&self, bytes: &[u8]) -> Result<()> {
        (&self.file).write_all(bytes).at("write", &self.path)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).at("write", &self.path)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        let mut got = 0;
        while got < into.len() {
            match self.file.read_at(&mut into[got..], offset + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(DiskError::new("read", &self.path, e)),
            }
        }
        Ok(got)
    }

    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata().at("stat", &self.path)?.len())
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.file.set_len(len).at("truncate", &self.path)?;
        // A file that is not in append mode keeps its cursor; the next append belongs at the new end.
        use std::io::{Seek, SeekFrom};
        (&self.file).seek(SeekFrom::Start(len)).at("seek", &self.path).map(drop)
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().at("fsync", &self.path)
    }
}
