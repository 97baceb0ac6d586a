//! 4,096 series with consecutive references under one lock, held for a run of samples.

use super::entry::{Entry, HAS_LAST, LIVE};
use super::ooo::Late;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

/// Series per page.
///
/// Large enough that a batch in shuffled order meets each page a few times even with a million series: every
/// lock is a barrier for the loads around it. Small enough that senders rarely wait for each other.
pub(crate) const PAGE_SERIES: usize = 4096;
const NONE: u32 = 0;

/// Page and slot of a reference.
#[inline]
pub(crate) const fn split(series: u32) -> (usize, usize) {
    (series as usize / PAGE_SERIES, series as usize % PAGE_SERIES)
}

/// A full chunk on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) at: u64,
    pub(crate) min: i64,
    pub(crate) max: i64,
}

/// [`Mapped`] packed, linked to the chunk before it.
#[derive(Clone, Copy)]
struct Link {
    at: u64,
    min: i64,
    span: u32,
    /// Index + 1 of the older chunk.
    before: u32,
}

pub(crate) struct Page(Mutex<Cells>);

/// What the lock of a page guards.
pub(crate) struct Cells {
    entries: Vec<Entry>,
    /// Reference that followed last time; 0 for the natural successor.
    next: Vec<u32>,
    /// Where the pair ids of a series begin: a count, then the ids in the order of the canonical key.
    pairs_at: Vec<u32>,
    pairs: Vec<u32>,
    /// Newest full chunk of each series: index + 1 into `links`. Empty until the first.
    newest: Vec<u32>,
    links: Vec<Link>,
    /// Out-of-order data, which few series have.
    late: HashMap<u16, Box<Late>>,
}

impl Page {
    pub(crate) fn new() -> Self {
        let mut entries = Vec::with_capacity(PAGE_SERIES);
        entries.resize_with(PAGE_SERIES, Entry::default);
        Page(Mutex::new(Cells {
            entries,
            next: vec![NONE; PAGE_SERIES],
            pairs_at: vec![0; PAGE_SERIES],
            pairs: Vec::new(),
            newest: Vec::new(),
            links: Vec::new(),
            late: HashMap::new(),
        }))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Cells> {
        self.0.lock()
    }
}

impl Cells {
    /// The entry of a slot, live or not.
    #[inline]
    pub(crate) fn entry(&mut self, slot: usize) -> &mut Entry {
        &mut self.entries[slot % PAGE_SERIES]
    }

    #[inline]
    pub(crate) fn peek(&self, slot: usize) -> &Entry {
        &self.entries[slot % PAGE_SERIES]
    }

    pub(crate) fn is_live(&self, slot: usize) -> bool {
        self.peek(slot).is(LIVE)
    }

    pub(crate) fn put(&mut self, slot: usize, entry: Entry, pairs: &[u32]) {
        if self.pairs.capacity() - self.pairs.len() < pairs.len() + 1 {
            // Small steps instead of doubling: at most 8 KiB are ever idle.
            self.pairs.reserve_exact(2048.max(pairs.len() + 1));
        }
        self.pairs_at[slot] = self.pairs.len() as u32;
        self.pairs.push(pairs.len() as u32);
        self.pairs.extend_from_slice(pairs);
        self.entries[slot] = entry;
    }

    /// Pair ids of a series, sorted by label name.
    pub(crate) fn pairs(&self, slot: usize) -> &[u32] {
        let at = self.pairs_at.get(slot).map_or(0, |at| *at as usize);
        match self.pairs.get(at) {
            Some(n) if self.is_live(slot) => self.pairs.get(at + 1..at + 1 + *n as usize).unwrap_or(&[]),
            _ => &[],
        }
    }

    /// The reference expected after this series.
    #[inline]
    pub(crate) fn successor(&self, series: u32) -> u32 {
        match self.next[series as usize % PAGE_SERIES] {
            NONE => series.wrapping_add(1),
            next => next,
        }
    }

    pub(crate) fn learn(&mut self, series: u32, next: u32) {
        self.next[series as usize % PAGE_SERIES] = if next == series.wrapping_add(1) { NONE } else { next };
    }

    /// Notes a full chunk, newer than those before it.
    pub(crate) fn add_mapped(&mut self, slot: usize, chunk: Mapped) {
        if self.newest.is_empty() {
            self.newest = vec![NONE; PAGE_SERIES];
        }
        if self.links.len() == self.links.capacity() {
            self.links.reserve_exact(if self.links.is_empty() { 64 } else { 512 });
        }
        let span = chunk.max.saturating_sub(chunk.min).clamp(0, i64::from(u32::MAX)) as u32;
        self.links.push(Link { at: chunk.at, min: chunk.min, span, before: self.newest[slot] });
        self.newest[slot] = self.links.len() as u32;
    }

    /// Full chunks of a series, newest first.
    pub(crate) fn mapped(&self, slot: usize) -> impl Iterator<Item = Mapped> {
        let mut at = self.newest.get(slot).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let link = self.links.get((at as usize).checked_sub(1)?)?;
            at = link.before;
            Some(Mapped { at: link.at, min: link.min, max: link.min + i64::from(link.span) })
        })
    }

    pub(crate) fn clear_mapped(&mut self, slot: usize) {
        if let Some(newest) = self.newest.get_mut(slot) {
            *newest = NONE;
        }
    }

    pub(crate) fn late(&self, slot: usize) -> Option<&Late> {
        self.late.get(&(slot as u16)).map(|late| &**late)
    }

    pub(crate) fn late_mut(&mut self, slot: usize) -> &mut Late {
        self.late.entry(slot as u16).or_default()
    }

    pub(crate) fn drop_late(&mut self, slot: usize) {
        self.late.remove(&(slot as u16));
    }

    /// Whether any sample of the series can be found here.
    pub(crate) fn has_data(&self, slot: usize) -> bool {
        self.peek(slot).is(HAS_LAST) || self.late.contains_key(&(slot as u16))
    }

    /// Rewrites the links, keeping chunks for which `keep` says true. Gives how many went.
    pub(crate) fn retain_mapped(&mut self, keep: impl Fn(&Mapped) -> bool) -> u64 {
        let mut gone = 0;
        let mut links = Vec::new();
        for slot in 0..self.newest.len() {
            let mut kept: Vec<Mapped> = Vec::new();
            for chunk in self.mapped(slot) {
                if keep(&chunk) {
                    kept.push(chunk);
                } else {
                    gone += 1;
                }
            }
            let mut before = NONE;
            for chunk in kept.iter().rev() {
                let span = chunk.max.saturating_sub(chunk.min).clamp(0, i64::from(u32::MAX)) as u32;
                links.push(Link { at: chunk.at, min: chunk.min, span, before });
                before = links.len() as u32;
            }
            self.newest[slot] = before;
        }
        links.shrink_to_fit();
        self.links = links;
        gone
    }

    /// Forgets a series. Its slot is not used again.
    pub(crate) fn remove(&mut self, slot: usize) {
        self.entries[slot] = Entry::default();
        self.next[slot] = NONE;
        self.clear_mapped(slot);
        self.drop_late(slot);
    }

    pub(crate) fn live_slots(&self) -> impl Iterator<Item = usize> {
        (0..PAGE_SERIES).filter(|slot| self.is_live(*slot))
    }

    /// Bytes of entries and side tables, of pair ids, and of open chunks.
    pub(crate) fn bytes(&self) -> (usize, usize, usize) {
        let buffers: usize = self.entries.iter().map(Entry::buffer_bytes).sum();
        let tables = PAGE_SERIES * (size_of::<Entry>() + 8)
            + self.newest.capacity() * 4
            + self.links.capacity() * size_of::<Link>();
        (tables, self.pairs.capacity() * 4, buffers)
    }
}

/// Pages of a snapshot, with at most one of them locked: a run of samples locks each page once.
pub(crate) struct Walk<'a> {
    pages: &'a [Option<Arc<Page>>],
    at: usize,
    guard: Option<MutexGuard<'a, Cells>>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(pages: &'a [Option<Arc<Page>>]) -> Self {
        Walk { pages, at: usize::MAX, guard: None }
    }

    /// Cells and slot of a reference; `None` when there is no such page.
    #[inline]
    pub(crate) fn go(&mut self, series: u32) -> Option<(&mut Cells, usize)> {
        let (page, slot) = split(series);
        if page != self.at || self.guard.is_none() {
            // Unlock first: two pages are never held together.
            self.guard = None;
            self.guard = Some(self.pages.get(page)?.as_ref()?.lock());
            self.at = page;
        }
        Some((self.guard.as_mut()?, slot))
    }

    /// Unlocks.
    pub(crate) fn leave(&mut self) {
        self.guard = None;
    }
}
