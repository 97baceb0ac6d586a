//! Small text files: configuration, rules, targets, secrets. Capped reads and a cheap watch for changes.

use crate::error::{DiskError, Result};
use crate::vfs::Disk;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Longest text file read by [`read_text`] unless told otherwise.
pub const DEFAULT_LIMIT_BYTES: u64 = 64 << 20;

/// A whole UTF-8 file; longer than `limit_bytes` or not UTF-8 is an error.
pub fn read_text(disk: &dyn Disk, path: &Path, limit_bytes: u64) -> Result<String> {
    // Pseudo files (`/proc`, fifos) have no honest length, so read until the end rather than by length.
    let file = disk.open(path)?;
    let mut bytes = Vec::new();
    let mut part = vec![0; 64 << 10];
    loop {
        let got = file.read_at(bytes.len() as u64, &mut part)?;
        bytes.extend_from_slice(&part[..got]);
        if bytes.len() as u64 > limit_bytes {
            return Err(DiskError::other("read", path, format!("more than {limit_bytes} bytes")));
        }
        if got < part.len() {
            break;
        }
    }
    String::from_utf8(bytes).map_err(|_| DiskError::other("read", path, "not valid UTF-8"))
}

/// What a file looked like when last read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Absent,
    Present { len: u64, modified: Option<SystemTime>, hash: u32 },
}

/// Tells when a small file changed. Asks the file system only when called; contents are compared when length
/// or time differ, or when the time is too fresh to tell two writes apart.
#[derive(Debug)]
pub struct Watched {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    limit_bytes: u64,
    seen: Option<Seen>,
}

impl Watched {
    pub fn new(disk: Arc<dyn Disk>, path: &Path, limit_bytes: u64) -> Self {
        Watched { disk, path: path.to_owned(), limit_bytes, seen: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text when it differs from the last call's (always on the first); `None` when it is the same. A
    /// missing or unreadable file is an error each time it is asked for.
    pub fn changed(&mut self) -> Result<Option<String>> {
        let meta = match self.disk.meta(&self.path) {
            Ok(meta) => meta,
            Err(e) => {
                self.seen = Some(Seen::Absent);
                return Err(e);
            }
        };
        if let Some(Seen::Present { len, modified, .. }) = &self.seen
            && *len == meta.len
            && *modified == meta.modified
            && meta.modified.is_some_and(settled)
        {
            return Ok(None);
        }
        let text = read_text(&*self.disk, &self.path, self.limit_bytes)?;
        let hash = crate::crc::crc32c(text.as_bytes());
        let now = Seen::Present { len: meta.len, modified: meta.modified, hash };
        let same = matches!((&self.seen, &now),
            (Some(Seen::Present { len: a, hash: x, .. }), Seen::Present { len: b, hash: y, .. }) if a == b && x == y);
        self.seen = Some(now);
        Ok(if same { None } else { Some(text) })
    }
}

/// Old enough that a later write would show another time (coarse clocks tick every few milliseconds).
fn settled(modified: SystemTime) -> bool {
    modified.elapsed().is_ok_and(|age| age.as_millis() > 2000)
}
