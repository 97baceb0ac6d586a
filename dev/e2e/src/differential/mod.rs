//! The differential test of the query language: random queries over the same data, put to Prometheus and to ours.
//!
//! Everything follows from a seed. `cargo run --release -p e2e --bin differential -- --help` is the large run; the
//! end-to-end tests make a small one.

pub mod compare;
pub mod data;
mod explain;
pub mod grammar;
mod histogram;
pub mod mutate;
pub mod rng;
pub mod run;
mod shrink;
pub mod tree;
mod words;
