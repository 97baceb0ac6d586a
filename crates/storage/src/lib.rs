//! `storage`: the hallway where rooms meet: contracts for appending, selecting and following samples.
//!
//! Room: floor 2. Traits and plain data only; no data of its own, no files, no tokio. A front door (`ingest`)
//! appends through [`append`], the engine and the API read through [`select`], remote write follows
//! [`feed`]. Only `server` and `config` know that `tsdb` stands behind these traits.
#![forbid(unsafe_code)]

pub mod admin;
pub mod append;
pub mod digest;
pub mod encode;
pub mod error;
pub mod exemplars;
pub mod feed;
pub mod key;
pub mod merge;
pub mod metadata;
pub mod select;
pub mod sort;

pub use append::{
    Batch, BatchSeries, ExemplarRow, HistogramRow, MetadataRow, RejectReason, Rejection, RowKind, SeriesId,
    SeriesRef, WriteOutcome, Writer, WriterSource,
};
pub use error::{StorageError, WriteError};
pub use select::{Querier, Queryable, SampleBuf, SelectHints, Series, SeriesSet};
