//! What a store can be told: at start, and while it runs.

use crate::wal::Compression;

/// Larger chunks make blocks smaller and a query of one moment dearer.
pub const DEFAULT_COMPACTION_CHUNK_SAMPLES: usize = 480;

/// Options at start. Defaults are upstream's.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of the shortest block, in ms: head chunks never cross a multiple of it.
    pub min_block_duration_ms: i64,
    /// Length of the longest block, in ms.
    pub max_block_duration_ms: i64,
    /// Samples after which a chunk is full.
    pub samples_per_chunk: u16,
    pub wal_segment_bytes: u64,
    pub wal_compression: Compression,
    /// Makes every acknowledgement wait until its records are on the medium.
    pub wal_sync: bool,
    /// Make full segments of the log durable before going on instead of beside it; for simulation.
    pub wal_sync_inline: bool,
    /// Chunk files of blocks are at most this long.
    pub block_segment_bytes: u64,
    /// A Thanos shipper's meta file: blocks are compacted up to the first of level 1 that it does not list as
    /// uploaded.
    pub delay_compact_file: Option<std::path::PathBuf>,
    /// Join blocks that overlap in time.
    pub overlapping_compaction: bool,
    /// Float chunks are joined up to this many samples where blocks are; 0 leaves them as the head wrote them.
    pub compaction_chunk_samples: usize,
    /// Writing the oldest part of the head waits for a random time of up to so many percent of the shortest block;
    /// 0 for no wait.
    pub compaction_delay_percent: u32,
    /// Bytes of log that followers may hold back at most; 0 for no limit.
    pub hold_budget_bytes: u64,
    /// Write a snapshot of the head on a clean stop, and start from one.
    pub head_snapshot: bool,
    /// Keep no lock file in the data directory.
    pub no_lockfile: bool,
    /// Series at most; 0 for no ceiling. Known series go on when it is reached.
    pub max_series: u64,
    /// Write metadata of families to the log (feature `metadata-wal-records`).
    pub metadata_wal_records: bool,
    /// Families whose metadata is remembered, at most.
    pub max_metadata: usize,
    /// Log and store start timestamps of samples (feature `st-storage`); needs `floats_xor2`.
    pub store_starts: bool,
    /// Precede a sample by a zero at its start timestamp (feature `created-timestamp-zero-ingestion`).
    pub start_zeros: bool,
    /// Histogram chunks keep start timestamps (feature `histograms-st-encoding`).
    pub histogram_starts: bool,
    /// The wall clock, for names and to see what was dated ahead: it may jump.
    pub now: fn() -> std::time::SystemTime,
    /// What may change later.
    pub running: Running,
}

/// What a reload may change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Running {
    /// How far behind the newest sample of the head a sample may be, in ms; 0 refuses late samples.
    pub out_of_order_window_ms: i64,
    /// Exemplars kept in memory; 0 disables them.
    pub max_exemplars: usize,
    /// Blocks that end longer than this before the newest block are deleted, in ms; 0 keeps them for ever.
    pub retention_time_ms: i64,
    /// Oldest blocks are deleted while the data directory takes more than this; 0 for no limit.
    pub retention_bytes: u64,
    /// The same as a share of the file system, in percent; prevails over bytes. 0 for no limit.
    pub retention_percent: f64,
    /// New chunks of floats are XOR2 (`storage.tsdb.chunk_encoding.floats: xor2`).
    pub floats_xor2: bool,
    /// Metric and label names must be legal without quotes (`metric_name_validation_scheme: legacy`).
    pub legacy_names: bool,
    /// Share of stale series in the head from which on they are written to a block of their own; 0 for never.
    pub stale_series_threshold: f64,
}

impl Default for Running {
    fn default() -> Self {
        Running {
            out_of_order_window_ms: 0,
            max_exemplars: 100_000,
            retention_time_ms: 15 * 24 * 3_600_000,
            retention_bytes: 0,
            retention_percent: 0.0,
            floats_xor2: false,
            legacy_names: false,
            stale_series_threshold: 0.0,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            min_block_duration_ms: 2 * 3_600_000,
            max_block_duration_ms: 36 * 3_600_000,
            samples_per_chunk: 120,
            wal_segment_bytes: crate::wal::DEFAULT_SEGMENT_BYTES,
            wal_compression: Compression::Snappy,
            wal_sync: false,
            wal_sync_inline: false,
            block_segment_bytes: block::chunks::DEFAULT_SEGMENT_BYTES,
            delay_compact_file: None,
            overlapping_compaction: true,
            compaction_chunk_samples: DEFAULT_COMPACTION_CHUNK_SAMPLES,
            compaction_delay_percent: 0,
            hold_budget_bytes: 0,
            head_snapshot: true,
            no_lockfile: false,
            max_series: 0,
            metadata_wal_records: false,
            max_metadata: 100_000,
            store_starts: false,
            start_zeros: false,
            histogram_starts: false,
            now: std::time::SystemTime::now,
            running: Running::default(),
        }
    }
}
