//! The series of an agent: identity and newest sample, nothing else; labels live in the log.
//!
//! Series are found by a keyed 128-bit hash of their canonical key, in 16 shards, and lie in pages of 1,024
//! successive references with one lock each. Locks are taken in this order: shard, then pages, then one page.

use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use xxhash_rust::xxh3::xxh3_128_with_secret;

const SHARDS: usize = 16;
pub(super) const PAGE_SERIES: u64 = 1024;

/// The entry holds a series.
const LIVE: u8 = 1;
/// Its series record is in the log.
const LOGGED: u8 = 2;

pub(super) type Identity = [u64; 2];

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    hash: Identity,
    /// Newest sample; `i64::MIN` before the first.
    pub(super) last_t: i64,
    pub(super) last_v: u64,
    flags: u8,
}

impl Entry {
    pub(super) fn is_live(&self) -> bool {
        self.flags & LIVE != 0
    }

    pub(super) fn is_logged(&self) -> bool {
        self.flags & LOGGED != 0
    }

    pub(super) fn is(&self, hash: Identity) -> bool {
        self.is_live() && self.hash == hash
    }

    pub(super) fn set_logged(&mut self) {
        self.flags |= LOGGED;
    }
}

pub(super) struct Page(Mutex<Vec<Entry>>);

impl Page {
    fn new() -> Self {
        Page(Mutex::new(vec![Entry::default(); PAGE_SERIES as usize]))
    }

    pub(super) fn lock(&self) -> parking_lot::MutexGuard<'_, Vec<Entry>> {
        self.0.lock()
    }
}

#[derive(Clone, Copy)]
struct Slot {
    hash: Identity,
    series: u64,
}

pub(super) struct SeriesTable {
    shards: [RwLock<HashTable<Slot>>; SHARDS],
    /// By reference / 1,024. A map, for references come from files that others may have written.
    pages: RwLock<HashMap<u64, Arc<Page>>>,
    last: AtomicU64,
    count: AtomicU64,
    secret: [u8; 192],
}

/// Page number and index of a reference.
pub(super) fn place(series: u64) -> (u64, usize) {
    (series / PAGE_SERIES, (series % PAGE_SERIES) as usize)
}

impl SeriesTable {
    pub(super) fn new() -> Self {
        let mut secret = [0; 192];
        rand::fill(&mut secret);
        SeriesTable {
            shards: std::array::from_fn(|_| RwLock::default()),
            pages: RwLock::default(),
            last: AtomicU64::new(0),
            count: AtomicU64::new(0),
            secret,
        }
    }

    /// Identity of a key: keyed, so that nobody outside can make two keys meet.
    pub(super) fn hash(&self, key: &[u8]) -> Identity {
        let hash = xxh3_128_with_secret(key, &self.secret);
        [hash as u64, (hash >> 64) as u64]
    }

    fn shard(&self, hash: Identity) -> &RwLock<HashTable<Slot>> {
        &self.shards[(hash[1] % SHARDS as u64) as usize]
    }

    pub(super) fn len(&self) -> u64 {
        self.count.load(Relaxed)
    }

    pub(super) fn page(&self, number: u64) -> Option<Arc<Page>> {
        self.pages.read().get(&number).cloned()
    }

    fn page_or_new(&self, number: u64) -> Arc<Page> {
        if let Some(page) = self.page(number) {
            return page;
        }
        self.pages.write().entry(number).or_insert_with(|| Arc::new(Page::new())).clone()
    }

    /// Calls `f` with a live entry.
    pub(super) fn with<T>(&self, series: u64, f: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let (number, index) = place(series);
        let page = self.page(number)?;
        let mut entries = page.lock();
        entries.get_mut(index).filter(|entry| entry.is_live()).map(f)
    }

    pub(super) fn is_live(&self, series: u64) -> bool {
        self.with(series, |_| ()).is_some()
    }

    pub(super) fn find(&self, hash: Identity) -> Option<u64> {
        self.shard(hash).read().find(hash[0], |slot| slot.hash == hash).map(|slot| slot.series)
    }

    /// The series with this identity, made when new; the second is whether it was. `None` when it is new and
    /// `limit` series (0: any number) exist.
    pub(super) fn find_or_create(&self, hash: Identity, limit: u64) -> Option<(u64, bool)> {
        let mut shard = self.shard(hash).write();
        if let Some(slot) = shard.find(hash[0], |slot| slot.hash == hash) {
            return Some((slot.series, false));
        }
        if limit > 0 && self.len() >= limit {
            return None;
        }
        let series = self.last.fetch_add(1, Relaxed) + 1;
        self.put(series, hash, LIVE);
        shard.insert_unique(hash[0], Slot { hash, series }, |slot| slot.hash[0]);
        Some((series, true))
    }

    /// Takes over a series of the log. When one with this identity exists, that one stays and is the answer.
    pub(super) fn restore(&self, series: u64, hash: Identity) -> Option<u64> {
        self.last.fetch_max(series, Relaxed);
        let mut shard = self.shard(hash).write();
        if let Some(slot) = shard.find(hash[0], |slot| slot.hash == hash) {
            return Some(slot.series);
        }
        if self.is_live(series) {
            // One reference for two series: a damaged log. The first keeps it.
            return Some(series);
        }
        self.put(series, hash, LIVE | LOGGED);
        shard.insert_unique(hash[0], Slot { hash, series }, |slot| slot.hash[0]);
        None
    }

    fn put(&self, series: u64, hash: Identity, flags: u8) {
        let (number, index) = place(series);
        let page = self.page_or_new(number);
        if let Some(entry) = page.lock().get_mut(index) {
            *entry = Entry { hash, last_t: i64::MIN, last_v: 0, flags };
        }
        self.count.fetch_add(1, Relaxed);
    }

    /// Forgets series whose newest sample is older than `mint`, and gives them. No writer may be at work.
    pub(super) fn collect(&self, mint: i64) -> Vec<u64> {
        let mut pages: Vec<(u64, Arc<Page>)> =
            self.pages.read().iter().map(|(number, page)| (*number, page.clone())).collect();
        pages.sort_by_key(|(number, _)| *number);
        let (mut gone, mut empty) = (Vec::new(), Vec::new());
        for (number, page) in pages {
            let mut entries = page.lock();
            let mut live = false;
            for (index, entry) in entries.iter_mut().enumerate().filter(|(_, entry)| entry.is_live()) {
                if entry.last_t >= mint {
                    live = true;
                    continue;
                }
                gone.push((number * PAGE_SERIES + index as u64, entry.hash));
                *entry = Entry::default();
            }
            if !live && number != place(self.last.load(Relaxed)).0 {
                empty.push(number);
            }
        }
        for (series, hash) in &gone {
            let mut shard = self.shard(*hash).write();
            if let Ok(slot) = shard.find_entry(hash[0], |slot| slot.series == *series) {
                slot.remove();
            }
        }
        let mut pages = self.pages.write();
        for number in empty {
            pages.remove(&number);
        }
        self.count.fetch_sub(gone.len() as u64, Relaxed);
        gone.into_iter().map(|(series, _)| series).collect()
    }
}
