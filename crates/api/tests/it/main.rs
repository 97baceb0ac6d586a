//! The router over a store in memory: statuses, headers and bodies, byte for byte as Prometheus 3.14 gives them.

mod bad_input;
mod door;
mod errors;
mod pages;
mod replies;
mod streaming;
