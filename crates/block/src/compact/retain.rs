//! Which blocks retention no longer keeps.

use crate::reader::Block;
use std::sync::Arc;

/// Limits; 0 means without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds before the end of the newest block.
    pub time_ms: i64,
    /// Bytes of blocks, log and head chunks together.
    pub size_bytes: u64,
}

/// Blocks to delete, by upstream's rules: by time those that end more than the retention before the newest
/// block's end; by size the oldest until everything fits. `other_bytes` is what log and head chunks take.
pub fn beyond(blocks: &[Arc<Block>], retention: Retention, other_bytes: u64) -> Vec<Arc<Block>> {
    let mut newest_first: Vec<&Arc<Block>> = blocks.iter().collect();
    newest_first.sort_by_key(|b| std::cmp::Reverse(b.meta().max_time));
    let Some(newest) = newest_first.first().map(|b| b.meta().max_time) else { return Vec::new() };
    let mut total = other_bytes;
    newest_first
        .into_iter()
        .filter(|block| {
            total = total.saturating_add(block.size_bytes());
            let old =
                retention.time_ms > 0 && newest.saturating_sub(block.meta().max_time) >= retention.time_ms;
            let large = retention.size_bytes > 0 && total > retention.size_bytes;
            old || large || block.meta().compaction.deletable
        })
        .cloned()
        .collect()
}
