//! Scraping: one loop per target, from discovery to the append door.
//!
//! Room: `ingest`. Fetches through `net::client`, reads with `wire::exposition`, writes through
//! `storage::append`; knows no store.

pub mod config;
