//! Side doors of a store: deletion, snapshot, statistics.

use crate::error::StorageError;
use model::{Matcher, TimeRange};

/// A name and a count, for the top lists of `/api/v1/status/tsdb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameCount {
    pub name: String,
    pub value: u64,
}

/// Figures of the head.
#[derive(Clone, Debug, Default)]
pub struct HeadStats {
    pub num_series: u64,
    pub num_label_pairs: u64,
    pub chunk_count: u64,
    /// Milliseconds; `i64::MAX` and `i64::MIN` while empty, as upstream.
    pub min_time: i64,
    pub max_time: i64,
    pub series_by_metric: Vec<NameCount>,
    pub label_values_by_label: Vec<NameCount>,
    pub memory_by_label: Vec<NameCount>,
    pub series_by_label_pair: Vec<NameCount>,
}

/// Progress of the log replay, in segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayStatus {
    pub min: u64,
    pub max: u64,
    pub current: u64,
}

/// One immutable block.
#[derive(Clone, Debug)]
pub struct BlockInfo {
    /// meta.json as it stands on disk.
    pub meta_json: String,
}

pub trait Admin: Send + Sync {
    /// Marks samples as deleted.
    fn delete_series(&self, range: TimeRange, matchers: &[Vec<Matcher>]) -> Result<(), StorageError>;
    fn clean_tombstones(&self) -> Result<(), StorageError>;
    /// Writes a snapshot below `<data>/snapshots` and gives its name.
    fn snapshot(&self, skip_head: bool) -> Result<String, StorageError>;
    fn head_stats(&self, limit: usize) -> Result<HeadStats, StorageError>;
    fn replay_status(&self) -> ReplayStatus;
    fn blocks(&self) -> Vec<BlockInfo>;
}
