//! Exposition formats: what targets answer to a scrape, and what `/metrics` and federation answer themselves.
//!
//! Room: `wire`. Slices in, entries or bytes out.

pub mod negotiate;
