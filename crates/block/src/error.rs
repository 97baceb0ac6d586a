//! What can be wrong with a block, always with the file it is about.

use disk::DiskError;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Bytes contradict the format.
    #[error("{}: {what}", path.display())]
    Corrupt { path: PathBuf, what: String },
    /// The caller handed over something that a block cannot hold.
    #[error("block: {0}")]
    Input(String),
}

impl BlockError {
    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        BlockError::Corrupt { path: path.to_owned(), what: what.into() }
    }
}

impl From<BlockError> for storage::StorageError {
    fn from(e: BlockError) -> Self {
        match e {
            BlockError::Corrupt { .. } => storage::StorageError::Corrupt(e.to_string()),
            other => storage::StorageError::Other(other.to_string()),
        }
    }
}
