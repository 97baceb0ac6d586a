//! What can go wrong, always with the operation and the path.

use std::io;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, DiskError>;

/// A failed file operation. Reads like Go's: `open /data/lock: permission denied`.
#[derive(Debug, thiserror::Error)]
#[error("{op} {}: {}", path.display(), plain(source))]
pub struct DiskError {
    pub op: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl DiskError {
    pub fn new(op: &'static str, path: &Path, source: io::Error) -> Self {
        DiskError { op, path: path.to_owned(), source }
    }

    /// One with a text of our own, e.g. for a limit.
    pub fn other(op: &'static str, path: &Path, text: impl Into<String>) -> Self {
        DiskError { op, path: path.to_owned(), source: io::Error::other(text.into()) }
    }

    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    pub fn is_not_found(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }

    /// No space left, quota used up or file too large: may pass when space returns.
    pub fn is_no_space(&self) -> bool {
        matches!(
            self.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

/// The text of the operating system without Rust's number behind it, in lower case as Go has it.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(_) => text.split(" (os error").next().unwrap_or("").to_lowercase(),
        None => text,
    }
}

/// Adds operation and path to a plain I/O result.
pub(crate) trait At<T> {
    fn at(self, op: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, op: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| DiskError::new(op, path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_like_gos() {
        let check = |source: io::Error, want: &str| {
            assert_eq!(DiskError::new("open", Path::new("/x"), source).to_string(), want);
        };
        check(io::Error::from_raw_os_error(2), "open /x: no such file or directory");
        check(io::Error::other("Too Big"), "open /x: Too Big");
    }
}
