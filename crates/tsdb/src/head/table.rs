//! Finding series: sharded tables of (tag, reference) slots, and the pages that hold the series.

use super::page::{PAGE_SERIES, Page, split};
use arc_swap::ArcSwap;
use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use xxhash_rust::xxh3::xxh3_128_with_secret;

const SHARDS: usize = 16;

/// Pages at one moment. Pages are never replaced, only added and, when all their series are gone, removed.
pub(crate) type Pages = Arc<Vec<Option<Arc<Page>>>>;

#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    series: u32,
}

fn slot_hash(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

pub(crate) struct SeriesTable {
    shards: [RwLock<HashTable<Slot>>; SHARDS],
    pages: ArcSwap<Vec<Option<Arc<Page>>>>,
    grow: Mutex<()>,
    last: AtomicU32,
    count: AtomicU64,
    secret: [u8; 192],
}

impl SeriesTable {
    pub(crate) fn new() -> Self {
        SeriesTable {
            shards: std::array::from_fn(|_| RwLock::new(HashTable::new())),
            pages: ArcSwap::default(),
            grow: Mutex::new(()),
            last: AtomicU32::new(0),
            count: AtomicU64::new(0),
            secret: std::array::from_fn(|_| rand::random()),
        }
    }

    /// Identity of a key: keyed, so that nobody outside can make two keys meet.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> [u64; 2] {
        let hash = xxh3_128_with_secret(key, &self.secret);
        [hash as u64, (hash >> 64) as u64]
    }

    fn shard(&self, hash: [u64; 2]) -> &RwLock<HashTable<Slot>> {
        &self.shards[(hash[0] % SHARDS as u64) as usize]
    }

    /// The series with this identity. No page may be locked by the caller.
    pub(crate) fn find(&self, pages: &[Option<Arc<Page>>], hash: [u64; 2]) -> Option<u32> {
        let tag = hash[1] as u32;
        let table = self.shard(hash).read();
        let found = table.find(slot_hash(tag), |slot| slot.tag == tag && has_hash(pages, slot.series, hash));
        found.map(|slot| slot.series)
    }

    /// Likely series of many identities at once, 0 for unknown ones: only tags are compared, so the caller
    /// checks the identity. Without a lock or a dependency between rows their cache misses overlap.
    pub(crate) fn guess_all(&self, hashes: &[[u64; 2]], out: &mut Vec<u32>) {
        let shards: [_; SHARDS] = std::array::from_fn(|n| self.shards[n].read());
        out.clear();
        out.extend(hashes.iter().map(|hash| {
            let tag = hash[1] as u32;
            let shard = &shards[(hash[0] % SHARDS as u64) as usize];
            shard.find(slot_hash(tag), |slot| slot.tag == tag).map_or(0, |slot| slot.series)
        }));
    }

    pub(crate) fn insert(&self, hash: [u64; 2], series: u32) {
        let slot = Slot { tag: hash[1] as u32, series };
        self.shard(hash).write().insert_unique(slot_hash(slot.tag), slot, |slot| slot_hash(slot.tag));
        self.count.fetch_add(1, Relaxed);
    }

    pub(crate) fn remove(&self, hash: [u64; 2], series: u32) {
        let mut table = self.shard(hash).write();
        if let Ok(found) = table.find_entry(slot_hash(hash[1] as u32), |slot| slot.series == series) {
            found.remove();
            self.count.fetch_sub(1, Relaxed);
        }
    }

    /// Live series.
    pub(crate) fn len(&self) -> u64 {
        self.count.load(Relaxed)
    }

    pub(crate) fn pages(&self) -> Pages {
        self.pages.load_full()
    }

    /// A fresh reference; its page exists. `None` when all four billion are used up.
    pub(crate) fn allocate(&self) -> Option<u32> {
        let series = self.last.fetch_update(Relaxed, Relaxed, |n| n.checked_add(1)).ok()? + 1;
        self.ensure_page(series);
        Some(series)
    }

    /// Makes the page of a reference, and keeps later references above it.
    pub(crate) fn ensure_page(&self, series: u32) {
        self.last.fetch_max(series, Relaxed);
        let (page, _) = split(series);
        if self.pages.load().get(page).is_some_and(Option::is_some) {
            return;
        }
        let _grow = self.grow.lock();
        let mut pages: Vec<Option<Arc<Page>>> = self.pages.load().to_vec();
        if pages.len() <= page {
            pages.resize(page + 1, None);
        }
        if let Some(slot @ None) = pages.get_mut(page) {
            *slot = Some(Arc::new(Page::new()));
            self.pages.store(Arc::new(pages));
        }
    }

    /// The highest reference that was given out.
    pub(crate) fn last(&self) -> u32 {
        self.last.load(Relaxed)
    }

    /// Keeps later references above this one.
    pub(crate) fn reserve(&self, series: u32) {
        self.last.fetch_max(series, Relaxed);
    }

    /// Number of the page that gets new series.
    pub(crate) fn filling_page(&self) -> usize {
        split(self.last.load(Relaxed)).0
    }

    /// Lets go of pages without live series, except the one that is being filled.
    pub(crate) fn drop_empty_pages(&self) {
        let _grow = self.grow.lock();
        let filling = split(self.last.load(Relaxed)).0;
        let mut pages: Vec<Option<Arc<Page>>> = self.pages.load().to_vec();
        for (number, slot) in pages.iter_mut().enumerate() {
            let empty = slot.as_ref().is_some_and(|page| page.lock().live_slots().next().is_none());
            if empty && number < filling {
                *slot = None;
            }
        }
        self.pages.store(Arc::new(pages));
    }

    /// Bytes of the tables, without pages.
    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().allocation_size()).sum::<usize>()
            + self.pages.load().len() * size_of::<usize>()
    }
}

fn has_hash(pages: &[Option<Arc<Page>>], series: u32, hash: [u64; 2]) -> bool {
    let (page, slot) = split(series);
    pages.get(page).and_then(Option::as_ref).is_some_and(|page| {
        let cells = page.lock();
        cells.is_live(slot) && cells.peek(slot).hash == hash
    })
}

/// References of a page.
pub(crate) fn first_of(page: usize) -> u32 {
    (page * PAGE_SERIES) as u32
}
