//! The write-ahead log: segments of 32 KiB pages with records in fragments, byte-compatible with Prometheus.
//!
//! Room: `tsdb::wal`. May touch: `disk`, record types of `storage::feed`. Must not touch: series tables, chunks.
//! Invariant: [`Wal::log`] answers `Ok` only when the records are flushed (or durable, when so configured),
//! and what it answered `Err` for is cut off again before the next record is written.
//!
//! Format: features.md §G.3, upstream `tsdb/docs/format/wal.md`.
//!
//! | file | holds |
//! |---|---|
//! | [`record`] | the types of records, [`RecordBuf`] to encode them, decoders into reusable vectors |
//! | `frame` | fragments and pages: bytes of a record ↔ bytes of a segment |
//! | `segment` | names and lists of segments and checkpoints |
//! | `writer` | [`Wal`]: group commit, rotation, roll back |
//! | `reader` | [`SegmentReader`], [`LogReader`]: finished segments, over damage |
//! | `repair` | setting damaged bytes aside |
//! | `checkpoint` | what must survive of removed segments |
//! | `tail` | [`Tail`]: following the log as it grows |

mod checkpoint;
mod compress;
mod frame;
mod metrics;
mod options;
mod reader;
pub mod record;
mod record_buf;
mod repair;
mod segment;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use checkpoint::{CheckpointStats, checkpoint};
pub use compress::Compression;
pub(crate) use compress::unpack;
pub use frame::PAGE_BYTES;
pub use options::{DEFAULT_SEGMENT_BYTES, WalError, WalKind, WalOptions};
pub use reader::{Damage, LogReader, Packed, RawRecord, Scratch, SegmentReader};
pub use record::{RecordError, RecordType, Tombstone};
pub(crate) use record_buf::put_histogram;
pub use record_buf::{HistogramEntry, RecordBuf};
pub use repair::{quarantine, quarantine_all};
pub use segment::{
    Checkpoint, Segment, delete_checkpoints, delete_temp_checkpoints, last_checkpoint, segment_name, segments,
};
pub use storage::feed::Position;
pub use tail::{Losses, Tail};
pub use writer::Wal;
