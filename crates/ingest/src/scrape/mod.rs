//! Scraping: one loop per target, from discovery to the append door.
//!
//! Room: `ingest`. Fetches through `net::client`, reads with `wire::exposition`, writes through
//! `storage::append`; knows no store. [`Supervisor`] is the way in.

mod cache;
pub mod config;
mod engine;
mod labels;
mod limit;
mod metadata;
mod meters;
mod report;
mod state;
mod target;

pub use config::{Globals, Job, ScrapeConfig, ScrapeConfigError};
pub use state::FailureLog;
pub use target::offset_seed;
