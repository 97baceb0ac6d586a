//! `meta.json`: what a block is. Keys that we do not know (such as `thanos`) are kept as they are.

use crate::error::BlockError;
use disk::Disk;
use serde::{Deserialize, Serialize};
use std::path::Path;
use ulid::Ulid;

/// Longest meta.json that is read; compaction histories of real blocks stay far below.
const MAX_META_BYTES: u64 = 16 << 20;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlockMeta {
    pub ulid: Ulid,
    /// Milliseconds, included.
    #[serde(rename = "minTime")]
    pub min_time: i64,
    /// Milliseconds, excluded.
    #[serde(rename = "maxTime")]
    pub max_time: i64,
    #[serde(default)]
    pub stats: BlockStats,
    pub compaction: Compaction,
    pub version: u32,
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStats {
    #[serde(skip_serializing_if = "is_zero")]
    pub num_samples: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_float_samples: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_histogram_samples: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_series: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_chunks: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub num_tombstones: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// How many rounds of compaction; 1 is cut from a head.
    pub level: u32,
    /// The level-1 blocks whose samples are here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Ulid>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deletable: bool,
    /// The blocks that this one was made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<BlockDesc>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDesc {
    pub ulid: Ulid,
    #[serde(rename = "minTime")]
    pub min_time: i64,
    #[serde(rename = "maxTime")]
    pub max_time: i64,
}

/// Hints of `compaction.hints`, in upstream's spelling.
pub mod hints {
    /// Made of late samples only.
    pub const OUT_OF_ORDER: &str = "from-out-of-order";
    /// Made of series that had ended, before the rest of the head was due.
    pub const STALE_SERIES: &str = "from-stale-series";
    /// Made of chosen series of the head.
    pub const SELECTED_SERIES: &str = "from-selected-series";
}

impl Compaction {
    pub fn has_hint(&self, hint: &str) -> bool {
        self.hints.iter().any(|h| h == hint)
    }

    /// Whether only some of the samples of the block's time range were put into it, so that it does not say that
    /// older in-order samples stand in blocks.
    pub fn is_partial(&self) -> bool {
        [hints::OUT_OF_ORDER, hints::STALE_SERIES, hints::SELECTED_SERIES].iter().any(|h| self.has_hint(h))
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl BlockMeta {
    /// A fresh level-1 block that is its own source.
    pub fn level_1(ulid: Ulid, min_time: i64, max_time: i64) -> Self {
        BlockMeta {
            ulid,
            min_time,
            max_time,
            stats: BlockStats::default(),
            compaction: Compaction { level: 1, sources: vec![ulid], ..Compaction::default() },
            version: 1,
            other: serde_json::Map::new(),
        }
    }

    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, BlockError> {
        let path = dir.join("meta.json");
        let bytes = disk.read(&path, MAX_META_BYTES)?;
        let meta: BlockMeta =
            serde_json::from_slice(&bytes).map_err(|e| BlockError::corrupt(&path, e.to_string()))?;
        if meta.version != 1 {
            return Err(BlockError::corrupt(&path, format!("unexpected meta file version {}", meta.version)));
        }
        Ok(meta)
    }

    /// Replaces `meta.json` atomically and durably.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), BlockError> {
        let text = self.to_json();
        Ok(disk::atomic::write(disk, &dir.join("meta.json"), text.as_bytes())?)
    }

    /// Indented with tabs, as upstream writes it.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
        // Writing plain structs with string keys to memory cannot fail.
        let _ = self.serialize(&mut serializer);
        String::from_utf8(out).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_keys_survive() {
        let text = r#"{"ulid":"01ARZ3NDEKTSV4RRFFQ69G5FAV","minTime":0,"maxTime":10,"stats":{"numSamples":3},
            "compaction":{"level":1,"sources":["01ARZ3NDEKTSV4RRFFQ69G5FAV"]},"version":1,"thanos":{"labels":{"a":"b"}}}"#;
        let meta: BlockMeta = serde_json::from_str(text).expect("parses");
        assert_eq!(meta.stats.num_samples, 3);
        let again: serde_json::Value = serde_json::from_str(&meta.to_json()).expect("parses");
        let want: serde_json::Value = serde_json::from_str(text).expect("parses");
        assert_eq!(again, want);
    }
}
