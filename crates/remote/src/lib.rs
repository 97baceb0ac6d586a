//! `remote`: what goes out: the remote write sender.
//!
//! Room: floor 3. Follows the store's feed and delivers it to remote destinations, from a durable position, in
//! order per series. Reads the store only through `storage::feed`, writes files only through `disk`.
#![forbid(unsafe_code)]

pub mod config;
pub mod write;
