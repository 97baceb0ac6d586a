//! `wire`: bytes on the wire: compression, protobuf, remote write, exposition formats.
//!
//! Room: floor 1. Decoders and encoders over byte slices; no sockets, no files, no clocks, no tokio. Bytes from
//! outside never panic and every decoded size has a ceiling.
#![forbid(unsafe_code)]

pub mod cap;
pub mod exposition;
pub mod proto;
pub mod remote_write;
