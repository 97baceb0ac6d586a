//! How a log is written, and why writing failed.

use super::compress::Compression;
use disk::DiskError;
use std::sync::Arc;

pub const DEFAULT_SEGMENT_BYTES: u64 = 128 << 20;

/// Which log it is; decides the names of its metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WalKind {
    #[default]
    Wal,
    /// The log of out-of-order samples.
    Wbl,
}

impl WalKind {
    pub(super) const fn metric_prefix(self) -> &'static str {
        match self {
            WalKind::Wal => "prometheus_tsdb_wal_",
            WalKind::Wbl => "prometheus_tsdb_out_of_order_wbl_",
        }
    }
}

#[derive(Clone, Debug)]
pub struct WalOptions {
    pub kind: WalKind,
    /// A multiple of 32 KiB. One call with more bytes gets a larger segment of its own.
    pub segment_bytes: u64,
    pub compression: Compression,
    /// Answer only when records are durable: every group commit waits for fsync.
    pub fsync: bool,
    /// Make full segments durable before going on instead of beside it; for simulation.
    pub sync_inline: bool,
}

impl Default for WalOptions {
    fn default() -> Self {
        WalOptions {
            kind: WalKind::Wal,
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            compression: Compression::Snappy,
            fsync: false,
            sync_inline: false,
        }
    }
}

/// Why records were not logged. None of them is in the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    #[error("{0}")]
    Disk(Arc<DiskError>),
    #[error("write-ahead log is closed")]
    Closed,
    #[error("invalid segment size")]
    SegmentSize,
    #[error("{0} cannot be written")]
    Unfit(String),
}

impl From<DiskError> for WalError {
    fn from(e: DiskError) -> Self {
        WalError::Disk(Arc::new(e))
    }
}

impl From<WalError> for storage::WriteError {
    fn from(e: WalError) -> Self {
        match e {
            WalError::Closed => storage::WriteError::Unavailable(e.to_string()),
            other => storage::WriteError::Log(other.to_string()),
        }
    }
}

impl From<WalError> for storage::StorageError {
    fn from(e: WalError) -> Self {
        match e {
            WalError::Closed => storage::StorageError::Unavailable(e.to_string()),
            other => storage::StorageError::Other(other.to_string()),
        }
    }
}
