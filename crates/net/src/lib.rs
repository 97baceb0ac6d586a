//! `net`: sockets, TLS, credentials.
//!
//! Room: floor 1. The HTTP client with every setting of upstream's `http_config`, and the listener with
//! upstream's `web.config.file`. Nothing here knows samples, jobs or routes.
#![forbid(unsafe_code)]

pub mod client;
pub mod config;
pub mod listen;
mod pem;
#[cfg(test)]
mod testing;
pub mod web;
