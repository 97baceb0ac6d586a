//! `chunk`: samples as compressed bits, in the encodings of Prometheus' blocks and head.
//!
//! Room: floor 1. Pure: slices in, columns or bytes out; no files, no locks. Bytes are not trusted: decoders
//! end with [`ChunkError`] and never panic, whatever they are fed.
#![forbid(unsafe_code)]

mod bits;
mod encoding;
pub mod histogram;
mod starts;
pub mod varint;
pub mod window;
pub mod xor;
pub mod xor2;

pub use encoding::{ChunkError, Columns, Encoding, decode, sample_count};
pub use histogram::{Appended, HistogramChunk};
pub use xor::{Grow, XorChunk, XorState};
pub use xor2::Xor2Chunk;

/// Bytes of a line of hexadecimal digits, for golden files.
#[cfg(test)]
fn unhex(line: &str) -> Vec<u8> {
    (0..line.len() / 2).map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).expect("hex")).collect()
}
