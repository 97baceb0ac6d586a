//! The blocks of a data directory: loading, cleaning up, replacing, deleting.

use arc_swap::ArcSwap;
use block::{Block, BlockError};
use disk::Disk;
use meter::{Counter, Registry};
use model::TimeRange;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ulid::Ulid;

/// Unfinished and half-deleted folders, of ours and of upstream's making.
const LEFTOVERS: [&str; 3] = [".tmp-for-creation", ".tmp-for-deletion", ".tmp"];
const FOR_DELETION: &str = ".tmp-for-deletion";

/// What an earlier run has left of a block, or of a snapshot of a head. Other folders are none of our business.
fn is_leftover(name: &str) -> bool {
    LEFTOVERS
        .iter()
        .filter_map(|end| name.strip_suffix(end))
        .any(|name| name.starts_with("chunk_snapshot.") || (name.len() == 26 && name.parse::<Ulid>().is_ok()))
}

/// All loaded blocks, sorted by their first time. Readers take the list as it is and keep their blocks alive.
pub(crate) struct Blocks {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    list: ArcSwap<Vec<Arc<Block>>>,
    /// Held by whoever changes the list.
    changing: Mutex<()>,
    reloads: Counter,
    reloads_failed: Counter,
}

impl Blocks {
    /// Removes leftovers of a crash and loads what is there. A block that cannot be read is named in the log and
    /// left alone; the others are used.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        registry: &Registry,
    ) -> Result<Arc<Self>, disk::DiskError> {
        for entry in disk.list(dir)? {
            if entry.is_dir && is_leftover(&entry.name) {
                tracing::info!(
                    component = "tsdb",
                    dir = entry.name,
                    "Removing unfinished block of an earlier run"
                );
                disk.remove_dir_all(&dir.join(&entry.name))?;
            }
        }
        let blocks = Arc::new(Blocks {
            disk,
            dir: dir.to_owned(),
            list: ArcSwap::default(),
            changing: Mutex::new(()),
            reloads: registry.counter(
                "prometheus_tsdb_reloads_total",
                "Number of times the database reloaded block data from disk.",
            ),
            reloads_failed: registry.counter(
                "prometheus_tsdb_reloads_failures_total",
                "Number of times the database failed to reloadBlocks block data from disk.",
            ),
        });
        blocks.reload()?;
        blocks.show(registry);
        Ok(blocks)
    }

    fn show(self: &Arc<Self>, registry: &Registry) {
        let gauge = |name: &str, help: &str, value: fn(&[Arc<Block>]) -> f64| {
            let blocks = Arc::downgrade(self);
            registry.gauge_fn(name, help, move || blocks.upgrade().map_or(0.0, |b| value(&b.list())));
        };
        gauge("prometheus_tsdb_blocks_loaded", "Number of currently loaded data blocks", |b| b.len() as f64);
        gauge(
            "prometheus_tsdb_storage_blocks_bytes",
            "The number of bytes that are currently used for local storage by all blocks.",
            |b| b.iter().map(|b| b.size_bytes() as f64).sum(),
        );
        gauge(
            "prometheus_tsdb_symbol_table_size_bytes",
            "Size of symbol table in memory for loaded blocks",
            |b| b.iter().map(|b| b.symbols_bytes() as f64).sum(),
        );
    }

    pub(crate) fn list(&self) -> Arc<Vec<Arc<Block>>> {
        self.list.load_full()
    }

    pub(crate) fn overlapping(&self, range: TimeRange) -> Vec<Arc<Block>> {
        self.list().iter().filter(|b| b.range().overlaps(range)).cloned().collect()
    }

    /// End of the newest block that was not made of late or stale series' samples only, in ms: older in-order samples stand in
    /// blocks.
    pub(crate) fn in_order_end(&self) -> Option<i64> {
        self.list().iter().filter(|b| !b.meta().compaction.is_partial()).map(|b| b.meta().max_time).max()
    }

    /// Where the in-order samples of blocks end, when they would end earlier without these blocks.
    pub(crate) fn end_of_newest(&self, some: &[Arc<Block>]) -> Option<i64> {
        let list = self.list();
        let ours = |b: &&Arc<Block>| some.iter().any(|s| s.meta().ulid == b.meta().ulid);
        let (mine, others): (Vec<_>, Vec<_>) =
            list.iter().filter(|b| !b.meta().compaction.is_partial()).partition(ours);
        let end = |of: Vec<&Arc<Block>>| of.iter().map(|b| b.meta().max_time).max();
        let (mine, others) = (end(mine), end(others));
        mine.filter(|_| mine > others)
    }

    /// Loads folders that are not loaded yet, forgets blocks whose folder is gone, and deletes those that are marked
    /// for it or that a loaded block has replaced.
    pub(crate) fn reload(&self) -> Result<(), disk::DiskError> {
        let _changing = self.changing.lock();
        self.reloads.inc();
        let old = self.list();
        let mut loaded: Vec<Arc<Block>> = Vec::new();
        let mut broken: Vec<(Ulid, BlockError)> = Vec::new();
        let entries = self.disk.list(&self.dir).inspect_err(|_| self.reloads_failed.inc())?;
        for entry in entries.iter().filter(|e| e.is_dir) {
            let Ok(ulid) = entry.name.parse::<Ulid>() else { continue };
            if let Some(known) = old.iter().find(|b| b.meta().ulid == ulid) {
                loaded.push(known.clone());
                continue;
            }
            match Block::open(&*self.disk, &self.dir.join(&entry.name)) {
                Ok(block) => loaded.push(Arc::new(block)),
                Err(e) => broken.push((ulid, e)),
            }
        }
        let replaced: BTreeSet<Ulid> =
            loaded.iter().flat_map(|b| b.meta().compaction.parents.iter().map(|p| p.ulid)).collect();
        broken.retain(|(ulid, _)| {
            let is_replaced = replaced.contains(ulid);
            if is_replaced {
                tracing::warn!(component = "tsdb", block = %ulid, "Found a block that cannot be opened, but a compacted one replaces it: it is deleted");
                self.remove(*ulid);
            }
            !is_replaced
        });
        if !broken.is_empty() {
            self.reloads_failed.inc();
        }
        for (ulid, e) in &broken {
            tracing::error!(component = "tsdb", block = %ulid, err = %e, "Failed to open block");
        }
        let (gone, mut kept): (Vec<_>, Vec<_>) = loaded
            .into_iter()
            .partition(|b| b.meta().compaction.deletable || replaced.contains(&b.meta().ulid));
        kept.sort_by_key(|b| (b.meta().min_time, b.meta().max_time, b.meta().ulid));
        let same = old.len() == kept.len() && old.iter().zip(&kept).all(|(a, b)| Arc::ptr_eq(a, b));
        if !same {
            self.warn_of_overlaps(&kept);
            self.list.store(Arc::new(kept));
        }
        gone.iter().for_each(|b| self.remove(b.meta().ulid));
        Ok(())
    }

    fn warn_of_overlaps(&self, blocks: &[Arc<Block>]) {
        let mut end = i64::MIN;
        let overlaps = blocks.iter().filter(|b| {
            let overlaps = b.meta().min_time < end;
            end = end.max(b.meta().max_time);
            overlaps
        });
        let names: Vec<String> = overlaps.map(|b| b.meta().ulid.to_string()).collect();
        if !names.is_empty() {
            tracing::warn!(
                component = "tsdb",
                blocks = names.join(" "),
                "Overlapping blocks found during reloadBlocks"
            );
        }
    }

    /// Takes blocks out of the list and deletes their folders.
    pub(crate) fn delete(&self, gone: &[Arc<Block>]) {
        let _changing = self.changing.lock();
        let mut kept = self.list().to_vec();
        kept.retain(|b| !gone.iter().any(|g| g.meta().ulid == b.meta().ulid));
        self.list.store(Arc::new(kept));
        gone.iter().for_each(|b| self.remove(b.meta().ulid));
    }

    /// Renames first, so that a crash leaves no half block; maps of open readers stay valid.
    fn remove(&self, ulid: Ulid) {
        let name = ulid.to_string();
        let doomed = self.dir.join(format!("{name}{FOR_DELETION}"));
        let done =
            self.disk.rename(&self.dir.join(&name), &doomed).and_then(|()| self.disk.remove_dir_all(&doomed));
        match done {
            Ok(()) => tracing::info!(component = "tsdb", block = name, "Deleting obsolete block"),
            Err(e) => tracing::error!(component = "tsdb", block = name, err = %e, "Failed to delete block"),
        }
    }

    /// Changes what `meta.json` says of a block's compaction; durable on `Ok`.
    pub(crate) fn mark(
        &self,
        block: &Arc<Block>,
        change: impl FnOnce(&mut block::meta::Compaction),
    ) -> Result<(), BlockError> {
        let mut meta = block::BlockMeta::read(&*self.disk, block.dir())?;
        change(&mut meta.compaction);
        meta.write(&*self.disk, block.dir())?;
        self.reopen(block)
    }

    /// Replaces a block in the list after its files changed in place (tombstones).
    pub(crate) fn reopen(&self, block: &Arc<Block>) -> Result<(), BlockError> {
        let _changing = self.changing.lock();
        let fresh = Arc::new(Block::open(&*self.disk, block.dir())?);
        let mut list = self.list().to_vec();
        for slot in &mut list {
            if slot.meta().ulid == fresh.meta().ulid {
                *slot = fresh.clone();
            }
        }
        self.list.store(Arc::new(list));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::is_leftover;

    #[test]
    fn only_leftovers_of_ours_go() {
        for name in [
            "01ARZ3NDEKTSV4RRFFQ69G5FAV.tmp-for-creation",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV.tmp-for-deletion",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV.tmp",
            "chunk_snapshot.000001.0000000001.tmp",
        ] {
            assert!(is_leftover(name), "{name}");
        }
        for name in ["mine.tmp", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "snapshots", "wal", ".tmp"] {
            assert!(!is_leftover(name), "{name}");
        }
    }
}
