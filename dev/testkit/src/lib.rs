//! `testkit`: doubles and runners for tests.
#![forbid(unsafe_code)]

pub mod memstore;

pub use memstore::MemStore;
