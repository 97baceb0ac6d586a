//! `block`: finished, immutable history in Prometheus' block format.
//!
//! Room: floor 3. A block is a folder `<ULID>/` with `meta.json`, `index`, `chunks/000001…` and `tombstones`;
//! formats are those of upstream `tsdb/docs/format`. Everything here is read through memory maps without
//! locks; nothing here knows the head.
#![forbid(unsafe_code)]

mod build;
mod chosen;
pub mod chunks;
pub mod compact;
mod decode;
mod error;
pub mod index;
pub mod meta;
pub mod postings;
mod reader;
mod select;
pub mod tombstone;

pub use build::{BlockBuilder, ChunkData};
pub use error::BlockError;
pub use meta::BlockMeta;
pub use reader::Block;
