//! Writing blocks from streams of series, and joining blocks.

use crate::build::{BlockBuilder, ChunkData};
use crate::error::BlockError;
use crate::meta::{BlockDesc, BlockMeta};
use crate::reader::Block;
use disk::Disk;
use model::TimeRange;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::select::EncodedChunk;
use storage::{SampleBuf, SelectHints, Series, SeriesSet, StorageError};
use ulid::Ulid;

fn store_error(e: StorageError) -> BlockError {
    BlockError::Input(e.to_string())
}

/// Writes a block with what a sorted stream of series has in the block's time range. `symbols` are all their
/// label names and values; more than needed does no harm. `progress` is told the number of series so far.
/// Gives the folder, or `None` when there was no sample.
pub fn write(
    disk: &Arc<dyn Disk>,
    parent: &Path,
    meta: BlockMeta,
    symbols: BTreeSet<Box<str>>,
    mut series: Box<dyn SeriesSet>,
    segment_bytes: u64,
    mut progress: impl FnMut(u64),
) -> Result<Option<PathBuf>, BlockError> {
    let range = TimeRange::new(meta.min_time, meta.max_time - 1);
    let mut builder = BlockBuilder::create(disk.clone(), parent, meta, symbols.into_iter(), segment_bytes)?;
    let mut done = 0;
    while let Some(one) = series.next().map_err(store_error)? {
        let chunks = chunks_within(&*one, range)?;
        if !chunks.is_empty() {
            let data: Vec<ChunkData<'_>> = chunks
                .iter()
                .map(|c| ChunkData { range: c.range, encoding: c.encoding, data: &c.data })
                .collect();
            builder.add_series(one.labels(), &data)?;
        }
        done += 1;
        progress(done);
    }
    builder.finish()
}

/// Chunks of a series, none of which reaches out of the range: those that would are encoded anew.
fn chunks_within(series: &dyn Series, range: TimeRange) -> Result<Vec<EncodedChunk>, BlockError> {
    let chunks = series.chunks(range).map_err(store_error)?;
    if chunks.iter().all(|c| range.min <= c.range.min && c.range.max <= range.max) {
        return Ok(chunks);
    }
    let mut samples = SampleBuf::default();
    series.read(range, &mut samples).map_err(store_error)?;
    storage::merge::encode(&samples).map_err(store_error)
}

/// Joins blocks (sorted by their first time; they may overlap) into one under a new name. Deleted samples are
/// left out. Of samples with the same time the one in the later block stays.
pub fn merge(
    disk: &Arc<dyn Disk>,
    parent: &Path,
    blocks: &[Arc<Block>],
    ulid: Ulid,
    segment_bytes: u64,
    progress: impl FnMut(u64),
) -> Result<Option<PathBuf>, BlockError> {
    let meta = merged_meta(blocks, ulid);
    let symbols: BTreeSet<Box<str>> =
        blocks.iter().flat_map(|b| b.symbols().map(Box::from).collect::<Vec<_>>()).collect();
    let hints = SelectHints { sorted: true, ..SelectHints::default() };
    let sets: Result<Vec<_>, StorageError> =
        blocks.iter().map(|b| b.querier(TimeRange::ALL).select(&[], &hints)).collect();
    let series = sets.and_then(storage::merge::series_sets).map_err(store_error)?;
    write(disk, parent, meta, symbols, series, segment_bytes, progress)
}

fn merged_meta(blocks: &[Arc<Block>], ulid: Ulid) -> BlockMeta {
    let metas = || blocks.iter().map(|b| b.meta());
    let min = metas().map(|m| m.min_time).min().unwrap_or(0);
    let max = metas().map(|m| m.max_time).max().unwrap_or(0);
    let mut meta = BlockMeta::level_1(ulid, min, max);
    meta.compaction.level = metas().map(|m| m.compaction.level).max().unwrap_or(0) + 1;
    let sources: BTreeSet<Ulid> = metas().flat_map(|m| m.compaction.sources.iter().copied()).collect();
    meta.compaction.sources = sources.into_iter().collect();
    meta.compaction.parents =
        metas().map(|m| BlockDesc { ulid: m.ulid, min_time: m.min_time, max_time: m.max_time }).collect();
    meta
}
