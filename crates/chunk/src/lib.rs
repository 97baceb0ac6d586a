//! `chunk`: samples as compressed bits, in the encodings of Prometheus' blocks and head.
//!
//! Room: floor 1. Pure: slices in, columns or bytes out; no files, no locks. Bytes are not trusted: decoders
//! end with [`ChunkError`] and never panic, whatever they are fed.
#![forbid(unsafe_code)]

mod bits;
mod encoding;
pub mod varint;
pub mod window;
pub mod xor;

pub use encoding::{ChunkError, Columns, Encoding, decode, sample_count};
pub use xor::{Grow, XorChunk, XorState};
