//! `tsdb`: the living room: head, write-ahead log, chunks on disk, agent store.
//!
//! Room: floor 4. Implements the `storage` contracts on the directory layout of Prometheus (`wal/`, `wbl/`,
//! `chunks_head/`). Synchronous: threads belong to the caller. Only `server` and `config` name this crate.
#![forbid(unsafe_code)]

pub mod agent;
mod blocks;
mod compaction;
mod db;
mod exemplars;
pub mod feed;
mod head;
mod maintain;
mod metadata;
mod metrics;
mod options;
mod snapshot;
pub mod wal;
mod zeros;

pub use db::{Db, OpenError, read_all};
pub use head::{HeadChunk, HeadSeries, Ledger, ReplayHandle};
pub use options::{Options, Running};
