//! An open block.

use crate::chosen::Chosen;
use crate::chunks::ChunkReader;
use crate::error::BlockError;
use crate::index::IndexReader;
use crate::meta::BlockMeta;
use crate::tombstone::Tombstones;
use disk::Disk;
use model::{Matcher, TimeRange};
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A block's files, mapped. Immutable but for its tombstones; readers keep it alive by `Arc`, so its folder may
/// be removed while a query still reads it.
pub struct Block {
    dir: PathBuf,
    pub(crate) index: IndexReader,
    pub(crate) chunks: ChunkReader,
    pub(crate) chosen: Chosen,
    tombstones: RwLock<Arc<Tombstones>>,
    meta: BlockMeta,
}

impl Block {
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, BlockError> {
        let meta = BlockMeta::read(disk, dir)?;
        let index = IndexReader::open(disk, &dir.join("index"))?;
        let chunks = ChunkReader::open(disk, &dir.join("chunks"))?;
        let tombstones = RwLock::new(Arc::new(Tombstones::read(disk, dir)?));
        // Opening read the index's tables, most of which nobody needs soon.
        index.release();
        Ok(Block { dir: dir.to_owned(), index, chunks, chosen: Chosen::default(), tombstones, meta })
    }

    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Milliseconds, both ends included.
    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.meta.min_time, self.meta.max_time - 1)
    }

    /// Bytes of index and chunks.
    pub fn size_bytes(&self) -> u64 {
        self.index.size_bytes() + self.chunks.size_bytes()
    }

    /// Memory that the symbol table takes, in bytes.
    pub fn symbols_bytes(&self) -> u64 {
        self.index.symbols_bytes()
    }

    /// Every label name and value of the block, sorted.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.index.symbols()
    }

    /// Lets the system take back the memory of the maps; what is read next comes from the page cache.
    pub fn release(&self) {
        self.index.release();
        self.chunks.release();
    }

    pub fn tombstones(&self) -> Arc<Tombstones> {
        self.tombstones.read().clone()
    }

    /// Marks samples of the series that satisfy all matchers as deleted; durable on `Ok`.
    pub fn delete(&self, disk: &dyn Disk, range: TimeRange, matchers: &[Matcher]) -> Result<(), BlockError> {
        let ids = self.select_ids(matchers)?;
        if ids.is_empty() || !range.overlaps(self.range()) {
            return Ok(());
        }
        let mut slot = self.tombstones.write();
        let mut marked = Tombstones::clone(&slot);
        for id in ids {
            let (_, chunks) = self.index.series(id)?;
            let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { continue };
            let all = TimeRange::new(first.range.min, last.range.max);
            if range.overlaps(all) {
                marked.add(u64::from(id), TimeRange::new(range.min.max(all.min), range.max.min(all.max)));
            }
        }
        marked.write(disk, &self.dir)?;
        let mut meta = BlockMeta::read(disk, &self.dir)?;
        meta.stats.num_tombstones = marked.count();
        meta.write(disk, &self.dir)?;
        *slot = Arc::new(marked);
        Ok(())
    }
}
