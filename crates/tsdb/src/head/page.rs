//! 4,096 series with consecutive references under one lock, held for a run of samples.

use super::aside::OpenAside;
use super::entry::{Entry, HAS_LAST, HISTOGRAM, LAST_ON_DISK, LIVE};
use super::ooo::Late;
use super::views::History;
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

/// What the lock of a page guards. Tables are indexed by position, which is the slot until the page is folded.
pub(crate) struct Cells {
    /// Position by slot, of a page most of whose series are gone; 0 for those, where a dead entry stands.
    folded: Option<Box<[u16]>>,
    entries: Vec<Entry>,
    /// Reference that followed last time; 0 for the natural successor.
    next: Vec<u32>,
    /// Where the pair ids of a series begin: a count, then the ids in the order of the canonical key.
    pairs_at: Vec<u32>,
    pairs: Vec<u32>,
    /// Newest full chunk of each series: index + 1 into `links`. Empty until the first.
    newest: Vec<u32>,
    links: Vec<Link>,
    pub(crate) history: History,
    /// Out-of-order data, which few series have.
    late: HashMap<u16, Box<Late>>,
    /// Open chunks that are not XOR; a series has one of these or one in its entry.
    aside: HashMap<u16, Box<OpenAside>>,
}

impl Page {
    pub(crate) fn new() -> Self {
        let mut entries = Vec::with_capacity(PAGE_SERIES);
        entries.resize_with(PAGE_SERIES, Entry::default);
        Page(Mutex::new(Cells {
            folded: None,
            entries,
            next: vec![NONE; PAGE_SERIES],
            pairs_at: vec![0; PAGE_SERIES],
            pairs: Vec::new(),
            newest: Vec::new(),
            links: Vec::new(),
            history: History::default(),
            late: HashMap::new(),
            aside: HashMap::new(),
        }))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Cells> {
        self.0.lock()
    }
}

impl Cells {
    #[inline]
    fn position(&self, slot: usize) -> usize {
        match &self.folded {
            None => slot,
            Some(positions) => usize::from(positions[slot]),
        }
    }

    /// The entry of a slot, live or not.
    #[inline]
    pub(crate) fn entry(&mut self, slot: usize) -> &mut Entry {
        let at = self.position(slot);
        &mut self.entries[at]
    }

    #[inline]
    pub(crate) fn peek(&self, slot: usize) -> &Entry {
        &self.entries[self.position(slot)]
    }

    pub(crate) fn is_live(&self, slot: usize) -> bool {
        self.peek(slot).is(LIVE)
    }

    pub(crate) fn put(&mut self, slot: usize, entry: Entry, pairs: &[u32]) {
        self.unfold();
        if self.pairs.capacity() - self.pairs.len() < pairs.len() + 1 {
            // Doubled while the page fills, so that little is copied; what is idle then is given back. Late comers to
            // a full page take small steps.
            let full = self.entries[PAGE_SERIES - 1].is(LIVE);
            let step = if full { 2048 } else { self.pairs.len().max(2048) };
            self.pairs.reserve_exact(step.max(pairs.len() + 1));
        }
        self.pairs_at[slot] = self.pairs.len() as u32;
        self.pairs.push(pairs.len() as u32);
        self.pairs.extend_from_slice(pairs);
        self.entries[slot] = entry;
        if slot == PAGE_SERIES - 1 {
            self.pairs.shrink_to_fit();
        }
    }

    /// Pair ids of a series, sorted by label name.
    pub(crate) fn pairs(&self, slot: usize) -> &[u32] {
        let at = self.pairs_at.get(self.position(slot)).map_or(0, |at| *at as usize);
        match self.pairs.get(at) {
            Some(n) if self.is_live(slot) => self.pairs.get(at + 1..at + 1 + *n as usize).unwrap_or(&[]),
            _ => &[],
        }
    }

    /// The reference expected after this series.
    #[inline]
    pub(crate) fn successor(&self, series: u32) -> u32 {
        match self.next[self.position(split(series).1)] {
            NONE => series.wrapping_add(1),
            next => next,
        }
    }

    pub(crate) fn learn(&mut self, series: u32, next: u32) {
        let at = self.position(split(series).1);
        self.next[at] = if next == series.wrapping_add(1) { NONE } else { next };
    }

    /// Notes a full chunk, newer than those before it.
    pub(crate) fn add_mapped(&mut self, slot: usize, chunk: Mapped) {
        if self.newest.is_empty() {
            self.newest = vec![NONE; self.entries.len()];
        }
        if self.links.len() == self.links.capacity() {
            self.links.reserve_exact(if self.links.is_empty() { 64 } else { 512 });
        }
        let span = chunk.max.saturating_sub(chunk.min).clamp(0, i64::from(u32::MAX)) as u32;
        let at = self.position(slot);
        self.links.push(Link { at: chunk.at, min: chunk.min, span, before: self.newest[at] });
        self.newest[at] = self.links.len() as u32;
    }

    /// Full chunks of a series, newest first.
    pub(crate) fn mapped(&self, slot: usize) -> impl Iterator<Item = Mapped> {
        self.mapped_at(self.position(slot))
    }

    fn mapped_at(&self, position: usize) -> impl Iterator<Item = Mapped> {
        let mut at = self.newest.get(position).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let link = self.links.get((at as usize).checked_sub(1)?)?;
            at = link.before;
            Some(Mapped { at: link.at, min: link.min, max: link.min + i64::from(link.span) })
        })
    }

    pub(crate) fn clear_mapped(&mut self, slot: usize) {
        let at = self.position(slot);
        if let Some(newest) = self.newest.get_mut(at) {
            *newest = NONE;
        }
    }

    pub(crate) fn late(&self, slot: usize) -> Option<&Late> {
        self.late.get(&(slot as u16)).map(|late| &**late)
    }

    /// Whether any series of the page has out-of-order data.
    pub(crate) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    pub(crate) fn late_mut(&mut self, slot: usize) -> &mut Late {
        self.late.entry(slot as u16).or_default()
    }

    pub(crate) fn drop_late(&mut self, slot: usize) {
        self.late.remove(&(slot as u16));
    }

    pub(crate) fn aside(&self, slot: usize) -> Option<&OpenAside> {
        self.aside.get(&(slot as u16)).map(|open| &**open)
    }

    pub(crate) fn aside_mut(&mut self, slot: usize) -> Option<&mut OpenAside> {
        self.aside.get_mut(&(slot as u16)).map(|open| &mut **open)
    }

    pub(crate) fn set_aside(&mut self, slot: usize, open: OpenAside) {
        self.aside.insert(slot as u16, Box::new(open));
    }

    pub(crate) fn take_aside(&mut self, slot: usize) -> Option<Box<OpenAside>> {
        self.aside.remove(&(slot as u16))
    }

    /// Earliest time in the open chunk.
    pub(crate) fn open_min(&self, slot: usize) -> Option<i64> {
        let entry = self.peek(slot);
        if entry.has_open() {
            return Some(entry.open_min());
        }
        if self.aside.is_empty() { None } else { self.aside(slot).map(OpenAside::min) }
    }

    /// Drops the open chunk; the last sample stays known.
    pub(crate) fn drop_open(&mut self, slot: usize) {
        self.entry(slot).drop_open();
        self.take_aside(slot);
    }

    /// Whether the newest sample says that the series has ended.
    pub(crate) fn is_stale(&self, slot: usize) -> bool {
        let entry = self.peek(slot);
        entry.is(HAS_LAST)
            && !entry.is(LAST_ON_DISK)
            && !entry.is(HISTOGRAM)
            && model::is_stale_nan(f64::from_bits(entry.last_v))
    }

    /// Whether any sample of the series can be found here.
    pub(crate) fn has_data(&self, slot: usize) -> bool {
        self.peek(slot).is(HAS_LAST) || self.late.contains_key(&(slot as u16))
    }

    /// Rewrites the links, keeping chunks for which `keep` says true. Gives how many went.
    pub(crate) fn retain_mapped(&mut self, keep: impl Fn(&Mapped) -> bool) -> u64 {
        let mut gone = 0;
        let mut links = Vec::new();
        let mut kept: Vec<Mapped> = Vec::new();
        for at in 0..self.newest.len() {
            kept.clear();
            for chunk in self.mapped_at(at) {
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
            self.newest[at] = before;
        }
        links.shrink_to_fit();
        self.links = links;
        gone
    }

    /// Forgets a series. Its slot is not used again.
    pub(crate) fn remove(&mut self, slot: usize) {
        *self.entry(slot) = Entry::default();
        let at = self.position(slot);
        self.next[at] = NONE;
        self.clear_mapped(slot);
        self.drop_late(slot);
        self.take_aside(slot);
    }

    /// Gives back the memory of series that are gone, when most are. No series may come to this page later.
    pub(crate) fn fold(&mut self) {
        let live: Vec<usize> = self.live_slots().collect();
        if live.len() * 2 > self.entries.len() {
            return;
        }
        let mut positions = vec![0u16; PAGE_SERIES].into_boxed_slice();
        let mut entries = Vec::with_capacity(live.len() + 1);
        entries.push(Entry::default());
        let (mut next, mut pairs_at, mut newest) = (vec![NONE], vec![0], vec![NONE]);
        for slot in live {
            let at = self.position(slot);
            positions[slot] = entries.len() as u16;
            entries.push(std::mem::take(&mut self.entries[at]));
            next.push(self.next[at]);
            pairs_at.push(self.pairs_at[at]);
            newest.push(self.newest.get(at).copied().unwrap_or(NONE));
        }
        (self.entries, self.next, self.pairs_at, self.newest) = (entries, next, pairs_at, newest);
        self.folded = Some(positions);
        self.rewrite_pairs(|pair| pair);
    }

    /// Back to one position per slot: a page that gets a series again, which is rare.
    fn unfold(&mut self) {
        let Some(positions) = self.folded.take() else { return };
        let mut entries = Vec::with_capacity(PAGE_SERIES);
        entries.resize_with(PAGE_SERIES, Entry::default);
        let (mut next, mut pairs_at, mut newest) =
            (vec![NONE; PAGE_SERIES], vec![0; PAGE_SERIES], vec![NONE; PAGE_SERIES]);
        for (slot, at) in positions.iter().enumerate().filter(|(_, at)| **at != 0) {
            let at = usize::from(*at);
            entries[slot] = std::mem::take(&mut self.entries[at]);
            (next[slot], pairs_at[slot], newest[slot]) = (self.next[at], self.pairs_at[at], self.newest[at]);
        }
        (self.entries, self.next, self.pairs_at, self.newest) = (entries, next, pairs_at, newest);
    }

    /// Gives every pair id its new number, leaving out those of series that are gone.
    pub(crate) fn rewrite_pairs(&mut self, number: impl Fn(u32) -> u32) {
        let mut pairs: Vec<u32> = Vec::new();
        let slots: Vec<usize> = self.live_slots().collect();
        for slot in slots {
            let from = pairs.len();
            let old = self.pairs(slot);
            pairs.push(old.len() as u32);
            pairs.extend(old.iter().map(|pair| number(*pair)));
            let at = self.position(slot);
            self.pairs_at[at] = from as u32;
        }
        pairs.shrink_to_fit();
        self.pairs = pairs;
    }

    pub(crate) fn live_slots(&self) -> impl Iterator<Item = usize> {
        (0..PAGE_SERIES).filter(|slot| self.is_live(*slot))
    }

    /// Bytes of entries and side tables, of pair ids, and of open chunks.
    pub(crate) fn bytes(&self) -> (usize, usize, usize) {
        let aside: usize = self.aside.values().map(|open| open.bytes()).sum();
        let buffers = self.entries.iter().map(Entry::buffer_bytes).sum::<usize>() + aside;
        let tables = self.entries.len() * (size_of::<Entry>() + 8)
            + self.folded.as_ref().map_or(0, |f| f.len() * 2)
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
