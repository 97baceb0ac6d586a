//! Compaction: which blocks to join ([`plan`]) and joining them ([`merge`]). Pure over blocks; `tsdb` decides
//! when to run it.

mod merge;
mod plan;
mod retain;

pub use merge::{merge, write};
pub use plan::{Plan, level_ranges, plan};
pub use retain::{Retention, beyond};
