//! `testkit`: doubles and runners for tests.
#![forbid(unsafe_code)]

pub mod faulty_disk;
pub mod memstore;
#[cfg(feature = "promqltest")]
pub mod promqltest;

pub use faulty_disk::{FaultyDisk, Loss};
pub use memstore::MemStore;
