//! Building a block: series in order go to chunk segments and index; the folder appears under its name only
//! when everything in it is durable.

use crate::chunks::ChunkWriter;
use crate::error::BlockError;
use crate::index::{ChunkMeta, IndexWriter};
use crate::meta::BlockMeta;
use crate::tombstone::Tombstones;
use disk::Disk;
use model::{Labels, TimeRange};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders with this ending are unfinished; upstream and we remove them at start.
pub const TEMPORARY: &str = ".tmp-for-creation";

/// A chunk to be written.
#[derive(Clone, Copy, Debug)]
pub struct ChunkData<'a> {
    /// First and last sample, milliseconds, both included.
    pub range: TimeRange,
    pub encoding: u8,
    pub data: &'a [u8],
}

/// Writes one block. Dropped without [`BlockBuilder::finish`], it leaves a temporary folder that the next start
/// removes.
pub struct BlockBuilder {
    disk: Arc<dyn Disk>,
    parent: PathBuf,
    temporary: PathBuf,
    meta: BlockMeta,
    chunks: ChunkWriter,
    index: IndexWriter,
    metas: Vec<ChunkMeta>,
}

impl BlockBuilder {
    /// `symbols`: all label names and values of the series to come, sorted, without duplicates.
    pub fn create(
        disk: Arc<dyn Disk>,
        parent: &Path,
        meta: BlockMeta,
        symbols: impl IntoIterator<Item: AsRef<str>>,
        segment_bytes: u64,
    ) -> Result<Self, BlockError> {
        let temporary = parent.join(format!("{}{TEMPORARY}", meta.ulid));
        disk.remove_dir_all(&temporary)?;
        disk.create_dir_all(&temporary)?;
        let chunks = ChunkWriter::create(disk.clone(), &temporary.join("chunks"), segment_bytes)?;
        let index = IndexWriter::create(&*disk, &temporary.join("index"), symbols)?;
        let parent = parent.to_owned();
        Ok(BlockBuilder { disk, parent, temporary, meta, chunks, index, metas: Vec::new() })
    }

    /// Adds a series after the one before in label order; chunks in order of time, not overlapping.
    pub fn add_series(&mut self, labels: &Labels, chunks: &[ChunkData<'_>]) -> Result<(), BlockError> {
        self.metas.clear();
        for chunk in chunks {
            let reference = self.chunks.write(chunk.encoding, chunk.data)?;
            self.metas.push(ChunkMeta { range: chunk.range, reference });
            let samples = u64::from(chunk::sample_count(chunk.encoding, chunk.data).unwrap_or(0));
            let stats = &mut self.meta.stats;
            stats.num_samples += samples;
            match chunk::Encoding::from_number(chunk.encoding) {
                Some(chunk::Encoding::Xor | chunk::Encoding::Xor2) => stats.num_float_samples += samples,
                _ => stats.num_histogram_samples += samples,
            }
        }
        self.index.add_series(labels, &self.metas)?;
        self.meta.stats.num_series += 1;
        self.meta.stats.num_chunks += chunks.len() as u64;
        Ok(())
    }

    /// Makes the block durable under its name; gives its folder. A block without series is not kept.
    pub fn finish(self) -> Result<Option<PathBuf>, BlockError> {
        self.chunks.finish()?;
        self.index.finish(&*self.disk)?;
        if self.meta.stats.num_series == 0 {
            self.disk.remove_dir_all(&self.temporary)?;
            return Ok(None);
        }
        Tombstones::default().write(&*self.disk, &self.temporary)?;
        self.meta.write(&*self.disk, &self.temporary)?;
        self.disk.sync_dir(&self.temporary)?;
        let dir = self.parent.join(self.meta.ulid.to_string());
        disk::atomic::replace(&*self.disk, &self.temporary, &dir)?;
        Ok(Some(dir))
    }
}
