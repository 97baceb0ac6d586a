//! Why a query failed, in upstream's words.

use storage::StorageError;

/// Which bound of memory a query met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What one query may hold.
    Query,
    /// What all queries may hold together.
    Total,
    /// What the process may use; the query was not begun.
    Process,
}

impl Refused {
    pub const ALL: [Refused; 3] = [Refused::Query, Refused::Total, Refused::Process];

    pub const fn as_str(self) -> &'static str {
        match self {
            Refused::Query => "query",
            Refused::Total => "total",
            Refused::Process => "process",
        }
    }
}

/// Failure of a query. The HTTP API's `errorType` for each variant is given by [`QueryError::error_type`].
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is not PromQL, or asks for a feature that is off: `bad_data`, 400.
    #[error("{0}")]
    Parse(String),
    /// The deadline passed: `timeout`, 503.
    #[error("query timed out in {0}")]
    Timeout(&'static str),
    /// The caller cancelled: `canceled`, 499 (or 503).
    #[error("query was canceled in {0}")]
    Canceled(&'static str),
    /// Over `max_samples`: `execution`, 422.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// Over a bound of memory; the text says what was asked for and what is allowed: `execution`, 422.
    #[error("{1}")]
    Memory(Refused, String),
    /// The store gave no view of its data: `unavailable`, 503, when it is not ready; else `execution`, 422.
    #[error("{0}")]
    Open(StorageError),
    /// The store failed while series were selected or read: `execution`, 422, as upstream; `unavailable`, 503,
    /// when it is not ready.
    #[error("expanding series: {0}")]
    Storage(#[from] StorageError),
    /// The expression cannot be evaluated over this data: `execution`, 422.
    #[error("{0}")]
    Execution(String),
}

impl QueryError {
    /// The API's `errorType`.
    pub fn error_type(&self) -> &'static str {
        match self {
            QueryError::Parse(_) => "bad_data",
            QueryError::Timeout(_) => "timeout",
            QueryError::Canceled(_) => "canceled",
            QueryError::Storage(StorageError::Cancelled) | QueryError::Open(StorageError::Cancelled) => {
                "canceled"
            }
            QueryError::Storage(StorageError::Unavailable(_))
            | QueryError::Open(StorageError::Unavailable(_)) => "unavailable",
            QueryError::Storage(_)
            | QueryError::Open(_)
            | QueryError::TooManySamples
            | QueryError::Memory(..)
            | QueryError::Execution(_) => "execution",
        }
    }

    pub(crate) fn exec(text: impl Into<String>) -> Self {
        QueryError::Execution(text.into())
    }
}
