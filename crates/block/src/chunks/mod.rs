//! Chunk segments: `chunks/000001` and so on.
//!
//! A segment starts with the magic `85bd40dd`, version 1 and three zero bytes. Then chunks: `uvarint` data
//! length, one byte encoding, data, CRC-32C (big-endian) of encoding and data. A chunk's reference is the
//! segment's number (from 0) in the upper and its offset in the lower four bytes.

mod reader;
mod writer;

pub use reader::ChunkReader;
pub use writer::ChunkWriter;

pub(crate) const MAGIC: u32 = 0x85bd_40dd;
pub(crate) const HEADER_BYTES: usize = 8;
/// Upstream's segment size.
pub const DEFAULT_SEGMENT_BYTES: u64 = 512 << 20;
