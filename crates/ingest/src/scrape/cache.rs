//! The cache of a target: raw metric text to series reference, and which series the last scrape had.
//!
//! The text itself is not kept: a keyed 128-bit hash with a secret of this process stands for it, 40 bytes
//! per series. Targets repeat their order, so the successor of the entry before is tried first and the table
//! is asked only when that fails.

use super::synthesis::{Beginning, Origin};
use hashbrown::HashTable;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use storage::SeriesRef;
use xxhash_rust::xxh3::xxh3_128_with_secret;

const SECRET_BYTES: usize = 192;

/// Random for each process, so that nobody can make texts that collide.
static SECRET: LazyLock<[u8; SECRET_BYTES]> = LazyLock::new(|| {
    let random = RandomState::new();
    let mut secret = [0; SECRET_BYTES];
    for (i, chunk) in secret.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&random.hash_one(i).to_le_bytes());
    }
    secret
});

/// Position of an entry.
pub(super) type EntryId = u32;

/// No entry follows.
const NONE: EntryId = EntryId::MAX;
/// Iteration at which nothing has been seen yet.
const NEVER: u32 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// No reference yet; its labels have to be written.
    New,
    Ref(SeriesRef),
    /// Relabelling drops it.
    Dropped,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: (u64, u64),
    /// 0: none.
    reference: SeriesRef,
    dropped: bool,
    free: bool,
    /// Iterations, starting with 1.
    seen: u32,
    tracked: u32,
    /// The entry that followed in the last scrape.
    next: EntryId,
}

#[derive(Debug)]
pub(super) struct Cache {
    entries: Vec<Entry>,
    free: Vec<EntryId>,
    table: HashTable<EntryId>,
    iteration: u32,
    /// Entry found last; its `next` is the guess.
    last: EntryId,
    first: EntryId,
    /// Entries after the last success.
    successful: usize,
    /// Series that count up, by the hash of their text, where starts are made up.
    origins: HashMap<(u64, u64), Origin>,
}

/// Result of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: EntryId,
    pub(super) known: Known,
    /// The same text stood in this scrape before.
    pub(super) again: bool,
    /// Made by this look-up.
    pub(super) created: bool,
}

impl Cache {
    pub(super) fn new() -> Self {
        Cache {
            entries: Vec::new(),
            free: Vec::new(),
            table: HashTable::new(),
            iteration: NEVER + 1,
            last: NONE,
            first: NONE,
            successful: 0,
            origins: HashMap::new(),
        }
    }

    /// Starts a pass over a body.
    pub(super) fn rewind(&mut self) {
        self.last = NONE;
    }

    /// Finds the entry of a text or makes one.
    #[inline]
    pub(super) fn find(&mut self, raw: &[u8]) -> Found {
        let wide = xxh3_128_with_secret(raw, SECRET.as_slice());
        let hash = (wide as u64, (wide >> 64) as u64);
        let guess = match self.entries.get(self.last as usize) {
            Some(last) => last.next,
            None => self.first,
        };
        let (id, created) = match self.entries.get(guess as usize) {
            Some(entry) if entry.hash == hash && !entry.free => (guess, false),
            _ => self.probe(hash),
        };
        let iteration = self.iteration;
        self.last = id;
        let Some(entry) = self.entries.get_mut(id as usize) else {
            // `probe` gives positions that exist.
            return Found { id, known: Known::New, again: false, created };
        };
        let again = entry.seen == iteration;
        entry.seen = iteration;
        let known = match (entry.dropped, entry.reference) {
            (true, _) => Known::Dropped,
            (_, SeriesRef(0)) => Known::New,
            (_, reference) => Known::Ref(reference),
        };
        Found { id, known, again, created }
    }

    #[cold]
    #[inline(never)]
    fn probe(&mut self, hash: (u64, u64)) -> (EntryId, bool) {
        let entries = &self.entries;
        let same = |id: &EntryId| entries.get(*id as usize).is_some_and(|e| e.hash == hash);
        let (id, created) = match self.table.find(hash.0, same) {
            Some(id) => (*id, false),
            None => (self.insert(hash), true),
        };
        match self.entries.get_mut(self.last as usize) {
            Some(last) => last.next = id,
            None => self.first = id,
        }
        (id, created)
    }

    fn insert(&mut self, hash: (u64, u64)) -> EntryId {
        let entry = Entry {
            hash,
            reference: SeriesRef(0),
            dropped: false,
            free: false,
            seen: NEVER,
            tracked: NEVER,
            next: NONE,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as EntryId
            }
        };
        let entries = &self.entries;
        self.table.insert_unique(hash.0, id, |id| entries[*id as usize].hash.0);
        id
    }

    pub(super) fn remove(&mut self, id: EntryId) {
        let Some(entry) = self.entries.get_mut(id as usize).filter(|e| !e.free) else { return };
        entry.free = true;
        let hash = entry.hash;
        if !self.origins.is_empty() {
            self.origins.remove(&hash);
        }
        if let Ok(found) = self.table.find_entry(hash.0, |other| *other == id) {
            found.remove();
            self.free.push(id);
        }
    }

    pub(super) fn set_dropped(&mut self, id: EntryId) {
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.dropped = true;
        }
    }

    pub(super) fn set_reference(&mut self, id: EntryId, reference: SeriesRef) {
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.reference = reference;
        }
    }

    /// From now on the beginning of this series is followed.
    pub(super) fn follow_beginning(&mut self, id: EntryId) {
        if let Some(entry) = self.entries.get(id as usize) {
            self.origins.entry(entry.hash).or_default();
        }
    }

    pub(super) fn origin(&mut self, id: EntryId) -> Option<&mut Origin> {
        self.origins.get_mut(&self.entries.get(id as usize)?.hash)
    }

    /// What the series began with says nothing any more.
    pub(super) fn forget_beginning(&mut self, id: EntryId) {
        if let Some(origin) = self.origin(id) {
            origin.beginning = Beginning::Unknown;
        }
    }

    /// Number of this scrape.
    pub(super) fn iteration(&self) -> u32 {
        self.iteration
    }

    /// The series counts for staleness in this scrape.
    pub(super) fn track(&mut self, id: EntryId) {
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.tracked = self.iteration;
        }
    }

    /// References that were tracked in the scrape before and are not in this one.
    pub(super) fn vanished(&self, out: &mut Vec<SeriesRef>) {
        let before = self.iteration - 1;
        out.extend(
            self.entries
                .iter()
                .filter(|e| e.tracked == before && before != NEVER && !e.free && e.reference.0 != 0)
                .map(|e| e.reference),
        );
    }

    /// Whether a reference is tracked in this scrape.
    pub(super) fn tracked_references(&self) -> impl Iterator<Item = SeriesRef> {
        let now = self.iteration;
        self.entries.iter().filter(move |e| e.tracked == now && !e.free).map(|e| e.reference)
    }

    /// Ends the scrape. After a success entries that were not seen are forgotten; after a failure only when
    /// failures have made the cache grow beyond measure. Says whether that happened.
    pub(super) fn end(&mut self, success: bool) -> bool {
        let count = self.table.len();
        let forced = !success && count > self.successful * 2 + 1000;
        if success || forced {
            let unseen: Vec<EntryId> = (0..self.entries.len() as EntryId)
                .filter(|id| {
                    let entry = &self.entries[*id as usize];
                    !entry.free && entry.seen != self.iteration
                })
                .collect();
            for id in unseen {
                self.remove(id);
            }
        }
        if success {
            self.successful = count;
        }
        self.iteration += 1;
        if self.entries.len() > 64 && self.free.len() > self.entries.len() / 2 {
            self.compact();
        }
        forced
    }

    /// Gives memory back when most entries are free.
    fn compact(&mut self) {
        let kept: Vec<Entry> =
            self.entries.iter().filter(|e| !e.free).map(|e| Entry { next: NONE, ..*e }).collect();
        let mut table = HashTable::with_capacity(kept.len());
        for (id, entry) in kept.iter().enumerate() {
            table.insert_unique(entry.hash.0, id as EntryId, |id| kept[*id as usize].hash.0);
        }
        (self.entries, self.table, self.free) = (kept, table, Vec::new());
        (self.first, self.last) = (NONE, NONE);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(cache: &mut Cache, texts: &[&str]) -> Vec<SeriesRef> {
        cache.rewind();
        for text in texts {
            let found = cache.find(text.as_bytes());
            cache.set_reference(found.id, SeriesRef(u64::from(text.as_bytes()[0])));
            cache.track(found.id);
        }
        let mut gone = Vec::new();
        cache.vanished(&mut gone);
        cache.end(true);
        gone
    }

    #[test]
    fn vanished_series_are_found_once() {
        let mut cache = Cache::new();
        assert_eq!(scrape(&mut cache, &["a", "b", "c"]), []);
        assert_eq!(scrape(&mut cache, &["a", "c"]), [SeriesRef(u64::from(b'b'))]);
        assert_eq!(scrape(&mut cache, &["c", "a"]), []);
        assert_eq!(cache.len(), 2);
        let mut gone = scrape(&mut cache, &[]);
        gone.sort();
        assert_eq!(gone.len(), 2);
        assert_eq!(scrape(&mut cache, &[]), []);
    }

    #[test]
    fn the_same_text_twice_is_noticed() {
        let mut cache = Cache::new();
        assert!(!cache.find(b"a").again);
        let second = cache.find(b"a");
        assert!(second.again && !second.created);
    }

    #[test]
    fn failures_do_not_grow_the_cache_for_ever() {
        let mut cache = Cache::new();
        let mut forced = 0;
        for round in 0..20 {
            for i in 0..100 {
                cache.find(format!("m{round}_{i}").as_bytes());
            }
            forced += usize::from(cache.end(false));
        }
        assert!(forced > 0 && cache.len() < 1200);
    }
}
