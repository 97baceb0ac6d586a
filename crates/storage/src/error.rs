//! Refusals and failures at the doors.

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The store cannot answer now (replaying, closing): HTTP 503.
    #[error("{0}")]
    Unavailable(String),
    /// Stored bytes contradict their format; names file and position.
    #[error("{0}")]
    Corrupt(String),
    /// The caller cancelled.
    #[error("query was canceled")]
    Cancelled,
    #[error("{0}")]
    Other(String),
}

/// Why a whole batch was not written. Nothing of it is stored; the sender should try again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// Not ready yet or closing: HTTP 503.
    #[error("{0}")]
    Unavailable(String),
    /// The log cannot be written (disk full, I/O error): HTTP 503 or 500; the store stays readable.
    #[error("write to WAL: {0}")]
    Log(String),
}
