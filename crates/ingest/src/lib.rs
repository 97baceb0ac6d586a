//! `ingest`: what comes in: scraping and receiving.
//!
//! Room: floor 3. Turns bodies into batches for the append door; knows no store and serves no HTTP itself.
#![forbid(unsafe_code)]

pub mod receive;
pub mod scrape;
pub mod status;
