//! What is pushed to us: remote write.
//!
//! Room: `ingest`. Takes headers and bodies as plain data and answers as plain data; the server of `api` owns
//! the sockets. Synchronous: call it where blocking is allowed.

mod collect;
pub mod remote_write;
#[cfg(test)]
mod tests;

pub use remote_write::{LabelLimits, Receiver, ReceiverOptions, RequestHead, Session, WriteReply, Written};
