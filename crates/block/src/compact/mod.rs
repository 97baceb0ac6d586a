//! Compaction: which blocks to join ([`plan`]) and joining them ([`merge`]). Pure over blocks; `tsdb` decides
//! when to run it.

mod merge;
mod plan;
mod rechunk;
mod retain;

pub use merge::{Watch, WriteRules, merge, rewrite, write};
pub use plan::{Plan, Planner, level_ranges};
pub use rechunk::Rechunk;
pub use retain::{beyond_size, beyond_time};
