//! The `index` file, version 2: symbols, series, postings and the table that finds them.
//!
//! Order in the file: magic `baaad700` and version byte, symbol table, series (each aligned to 16 bytes; the
//! id of a series is its offset divided by 16), postings lists (aligned to 4), postings offset table, table of
//! contents. Every section carries its length and a CRC-32C. Integers of fixed width are big-endian. Source:
//! upstream `tsdb/docs/format/index.md`.

mod postings_writer;
mod reader;
pub(crate) mod symbols;
mod writer;

pub use reader::IndexReader;
pub use writer::{ChunkMeta, IndexWriter};

pub(crate) const MAGIC: u32 = 0xbaaa_d700;
pub(crate) const VERSION: u8 = 2;
/// Six offsets of 8 bytes and a checksum.
pub(crate) const TOC_BYTES: usize = 6 * 8 + 4;

/// Offsets of the sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Toc {
    pub(crate) symbols: u64,
    pub(crate) series: u64,
    pub(crate) label_indices: u64,
    pub(crate) label_indices_table: u64,
    pub(crate) postings: u64,
    pub(crate) postings_table: u64,
}
