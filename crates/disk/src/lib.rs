//! `disk`: the only door to the file system.
//!
//! Room: floor 0. Knows nothing of series or samples. [`Disk`] and [`File`] are the contracts, [`OsDisk`] the
//! real thing; `testkit::FaultyDisk` is its twin for crash simulation.
//!
//! Three words are used throughout, here and in the rooms above:
//! * *written*: in a buffer of this process ([`Buffered::write`]); lost when the process dies;
//! * *flushed*: handed to the operating system ([`File::append`]); survives `kill -9`, not a power cut;
//! * *durable*: on the medium ([`File::sync`], and [`Disk::sync_dir`] for names); survives a power cut.
#![deny(unsafe_code)]

pub mod atomic;
mod buffered;
pub mod crc;
mod error;
pub mod lock;
mod map;
mod os;
pub mod scan;
pub mod small;
#[cfg(test)]
mod tests;
mod vfs;

pub use buffered::Buffered;
pub use error::{DiskError, Result};
pub use lock::DirLock;
pub use map::{Access, Map};
pub use os::OsDisk;
pub use vfs::{DirEntry, Disk, File, LockGuard, Meta, Space};
