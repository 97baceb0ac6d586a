//! Scraping: one loop per target, from discovery to the append door.
//!
//! Room: `ingest`. Fetches through `net::client`, reads with `wire::exposition`, writes through
//! `storage::append`; knows no store. [`Supervisor`] is the way in.

mod batch;
mod cache;
pub mod config;
mod engine;
mod fetch;
mod labels;
mod limit;
mod metadata;
mod meters;
mod pool;
mod reading;
mod report;
mod state;
mod supervisor;
mod synthesis;
mod target;
#[cfg(test)]
mod tests;
mod worker;

pub use config::{Globals, Job, ScrapeConfig, ScrapeConfigError};
pub use state::FailureLog;
pub use supervisor::{ApplyError, OpenFailureLog, Options, Supervisor};
pub use target::offset_seed;
pub use worker::WallClock;
