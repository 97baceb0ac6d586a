//! Writing blocks from streams of series, and joining blocks.

use super::rechunk::{Rechunk, Rechunker};
use crate::build::{BlockBuilder, ChunkData};
use crate::error::BlockError;
use crate::index::symbols::Merged;
use crate::meta::{BlockDesc, BlockMeta, hints};
use crate::reader::Block;
use disk::Disk;
use model::TimeRange;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::select::EncodedChunk;
use storage::{SampleBuf, SelectHints, Series, SeriesSet, StorageError};
use ulid::Ulid;

/// Maps of the blocks that are read are let go after so many series: they count as memory of this process.
const SERIES_BETWEEN_RELEASES: u64 = 1024;

/// How a block is written.
#[derive(Clone, Copy, Debug)]
pub struct WriteRules {
    /// Chunk segments are at most this long.
    pub segment_bytes: u64,
    pub rechunk: Rechunk,
}

/// Is told of what is being written.
pub trait Watch {
    /// So many series are done.
    fn series(&mut self, _done: u64) {}
    /// A chunk is about to be written.
    fn chunk(&mut self, _chunk: &EncodedChunk) {}
}

/// Nobody watches.
impl Watch for () {}

fn store_error(e: StorageError) -> BlockError {
    BlockError::Input(e.to_string())
}

/// Writes a block with what a sorted stream of series has in the block's time range. `symbols` are all their
/// label names and values, sorted; more than needed does no harm. Gives the folder, or `None` when there was no
/// sample.
pub fn write(
    disk: &Arc<dyn Disk>,
    parent: &Path,
    meta: BlockMeta,
    symbols: impl IntoIterator<Item: AsRef<str>>,
    series: &mut dyn SeriesSet,
    rules: WriteRules,
    watch: &mut dyn Watch,
) -> Result<Option<PathBuf>, BlockError> {
    let temporary = parent.join(format!("{}{}", meta.ulid, crate::build::TEMPORARY));
    let written = try_write(disk, parent, meta, symbols, series, rules, watch);
    if written.is_err() {
        // Best effort: the next start removes it too, but the disk may be full now.
        let _ = disk.remove_dir_all(&temporary);
    }
    written
}

fn try_write(
    disk: &Arc<dyn Disk>,
    parent: &Path,
    meta: BlockMeta,
    symbols: impl IntoIterator<Item: AsRef<str>>,
    series: &mut dyn SeriesSet,
    rules: WriteRules,
    watch: &mut dyn Watch,
) -> Result<Option<PathBuf>, BlockError> {
    let range = TimeRange::new(meta.min_time, meta.max_time - 1);
    let mut builder = BlockBuilder::create(disk.clone(), parent, meta, symbols, rules.segment_bytes)?;
    let mut rechunker = Rechunker::new(rules.rechunk);
    let mut done = 0;
    while let Some(one) = series.next().map_err(store_error)? {
        let chunks = rechunker.apply(chunks_within(&*one, range)?)?;
        if !chunks.is_empty() {
            chunks.iter().for_each(|c| watch.chunk(c));
            let data: Vec<ChunkData<'_>> = chunks
                .iter()
                .map(|c| ChunkData { range: c.range, encoding: c.encoding, data: &c.data })
                .collect();
            builder.add_series(one.labels(), &data)?;
        }
        done += 1;
        watch.series(done);
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
    storage::encode::chunks(&samples).map_err(store_error)
}

/// Lets go of the maps of blocks now and then.
struct Releasing<'a> {
    blocks: &'a [Arc<Block>],
    watch: &'a mut dyn Watch,
}

impl Watch for Releasing<'_> {
    fn series(&mut self, done: u64) {
        if done.is_multiple_of(SERIES_BETWEEN_RELEASES) {
            self.blocks.iter().for_each(|b| b.release());
        }
        self.watch.series(done);
    }

    fn chunk(&mut self, chunk: &EncodedChunk) {
        self.watch.chunk(chunk);
    }
}

/// Joins blocks (sorted by their first time; they may overlap) into one under a new name. Deleted samples are
/// left out. Of samples with the same time the one in the later block stays.
pub fn merge(
    disk: &Arc<dyn Disk>,
    parent: &Path,
    blocks: &[Arc<Block>],
    ulid: Ulid,
    rules: WriteRules,
    watch: &mut dyn Watch,
) -> Result<Option<PathBuf>, BlockError> {
    write_merged(disk, parent, blocks, merged_meta(blocks, ulid), rules, watch)
}

/// Writes one block again without what is deleted in it, as a block of the first level.
pub fn rewrite(
    disk: &Arc<dyn Disk>,
    parent: &Path,
    block: &Arc<Block>,
    ulid: Ulid,
    rules: WriteRules,
    watch: &mut dyn Watch,
) -> Result<Option<PathBuf>, BlockError> {
    let blocks = std::slice::from_ref(block);
    let mut meta = merged_meta(blocks, ulid);
    meta.compaction.level = 1;
    meta.compaction.sources = vec![ulid];
    write_merged(disk, parent, blocks, meta, rules, watch)
}

fn write_merged(
    disk: &Arc<dyn Disk>,
    parent: &Path,
    blocks: &[Arc<Block>],
    meta: BlockMeta,
    rules: WriteRules,
    watch: &mut dyn Watch,
) -> Result<Option<PathBuf>, BlockError> {
    let symbols = Merged::new(blocks.iter().map(|b| b.symbols()));
    let hints = SelectHints { sorted: true, ..SelectHints::default() };
    let sets: Result<Vec<_>, StorageError> =
        blocks.iter().map(|b| b.querier(TimeRange::ALL).select(&[], &hints)).collect();
    let mut series = sets.and_then(storage::merge::series_sets).map_err(store_error)?;
    let mut watch = Releasing { blocks, watch };
    let written = write(disk, parent, meta, symbols, &mut *series, rules, &mut watch);
    blocks.iter().for_each(|b| b.release());
    written
}

fn merged_meta(blocks: &[Arc<Block>], ulid: Ulid) -> BlockMeta {
    let metas = || blocks.iter().map(|b| b.meta());
    let min = metas().map(|m| m.min_time).min().unwrap_or(0);
    let max = metas().map(|m| m.max_time).max().unwrap_or(0);
    let mut meta = BlockMeta::level_1(ulid, min, max);
    let compaction = &mut meta.compaction;
    compaction.level = metas().map(|m| m.compaction.level).max().unwrap_or(0) + 1;
    let sources: BTreeSet<Ulid> = metas().flat_map(|m| m.compaction.sources.iter().copied()).collect();
    compaction.sources = sources.into_iter().collect();
    compaction.parents =
        metas().map(|m| BlockDesc { ulid: m.ulid, min_time: m.min_time, max_time: m.max_time }).collect();
    // A block of late samples only must not count as the end of the in-order ones, and a mixed one must.
    for (hint, all) in
        [(hints::OUT_OF_ORDER, true), (hints::STALE_SERIES, false), (hints::SELECTED_SERIES, false)]
    {
        let has = |m: &BlockMeta| m.compaction.has_hint(hint);
        if if all { metas().all(has) } else { metas().any(has) } {
            compaction.hints.push(hint.to_owned());
        }
    }
    meta
}
