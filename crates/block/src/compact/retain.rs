//! Which blocks retention no longer keeps, by upstream's rules.

use crate::reader::Block;
use std::sync::Arc;

fn newest_first(blocks: &[Arc<Block>]) -> Vec<Arc<Block>> {
    let mut list = blocks.to_vec();
    list.sort_by_key(|b| std::cmp::Reverse(b.meta().max_time));
    list
}

/// Blocks that end at least `retention_ms` before the end of the newest block, and all older ones; 0 keeps all.
pub fn beyond_time(blocks: &[Arc<Block>], retention_ms: i64) -> Vec<Arc<Block>> {
    let mut list = newest_first(blocks);
    let Some(newest) = list.first().map(|b| b.meta().max_time) else { return list };
    let old = |b: &Arc<Block>| newest.saturating_sub(b.meta().max_time) >= retention_ms;
    match list.iter().position(old) {
        Some(from) if retention_ms > 0 => list.split_off(from),
        _ => Vec::new(),
    }
}

/// The oldest blocks that do not fit into `limit_bytes` together with the newer ones and with `other_bytes`, which
/// log and head chunks take; 0 keeps all.
pub fn beyond_size(blocks: &[Arc<Block>], limit_bytes: u64, other_bytes: u64) -> Vec<Arc<Block>> {
    let mut list = newest_first(blocks);
    let mut total = other_bytes;
    let over = |b: &Arc<Block>| {
        total = total.saturating_add(b.size_bytes());
        total > limit_bytes
    };
    match list.iter().position(over) {
        Some(from) if limit_bytes > 0 => list.split_off(from),
        _ => Vec::new(),
    }
}
