//! Selecting series and reading their samples: a look under the lock of a page, then decoding without one.

mod series;

pub(super) use series::open_chunk;

use super::Head;
use super::entry::{ASIDE, HAS_LAST, HISTOGRAM, LAST_ON_DISK};
use super::mapper::PlainFiles;
use super::page::{Cells, Walk, split};
use super::table::Pages;
use super::text::Texts;
use disk::Map;
use model::{Labels, Matcher, TimeRange};
use parking_lot::{Condvar, Mutex};
use roaring::RoaringBitmap;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use storage::digest;
use storage::select::{EncodedChunk, ListSeriesSet, Newest, Stop};
use storage::{Querier, SelectHints, Series, SeriesSet, StorageError};

/// Series that are looked at before it is asked whether anybody still waits.
const BETWEEN_LOOKS: usize = 8192;

/// Queriers that are open, so that truncation can wait for those it would take samples from.
#[derive(Default)]
pub(crate) struct Readers {
    open: Mutex<Open>,
    closed: Condvar,
}

/// What is known of open queriers, by their numbers.
#[derive(Default)]
struct Open {
    /// Number of the last one.
    last: u64,
    /// The range of each, and the newest batch that it has seen.
    all: HashMap<u64, (TimeRange, u64)>,
}

impl Readers {
    /// Waits until no open querier looks at `range`.
    pub(super) fn wait(&self, range: TimeRange) {
        let mut open = self.open.lock();
        // Those who come later find what replaces the samples.
        let last = open.last;
        while open.all.iter().any(|(id, (r, _))| *id <= last && r.overlaps(range)) {
            self.closed.wait(&mut open);
        }
    }
}

impl Readers {
    /// Does something while nobody reads and nobody can begin to; nothing when somebody does.
    pub(super) fn when_idle(&self, act: impl FnOnce()) {
        let open = self.open.lock();
        if open.all.is_empty() {
            act();
        }
    }
}

/// An open querier; shared by everything it has selected.
struct Reading {
    head: Arc<Head>,
    id: u64,
    range: TimeRange,
    /// Newest batch that it has seen.
    seen: u64,
    /// The head has nothing of the range.
    outside: bool,
}

impl Drop for Reading {
    fn drop(&mut self) {
        {
            let mut open = self.head.readers.open.lock();
            open.all.remove(&self.id);
            self.head.views.closed(open.all.values().map(|(_, seen)| *seen).min());
        }
        self.head.readers.closed.notify_all();
    }
}

/// A view of the head over a time range.
pub(crate) struct HeadQuerier {
    reading: Arc<Reading>,
}

/// What series of one selection share.
struct Selection {
    reading: Arc<Reading>,
    /// Pair ids of all series, one after the other.
    pairs: Vec<u32>,
    /// For each series, where its pairs begin and how many they are.
    rows: Vec<(u32, u32)>,
    /// For each series what it shows; empty when that is all.
    shown: Vec<Labels>,
    /// For each series its digest; empty when none was asked for.
    digests: Vec<u128>,
    /// For each series its newest sample, where that is sure to be the last one that was appended; empty when
    /// none was asked for.
    last: Vec<Option<(i64, f64)>>,
    /// Something of the head had been deleted when the series were selected.
    marked: bool,
    /// Series that are the same without name, type and unit are the same with them; not known unless asked for.
    one_metric: bool,
    /// All pages of the head.
    pages: Pages,
    /// A file of full chunks, so that its map need not be looked up for each of them.
    map: OnceLock<(u32, Arc<Map>)>,
    /// How chunks on disk are read: through maps, or plainly where every one of them will be.
    files: Option<Arc<PlainFiles>>,
}

impl Selection {
    fn empty(reading: &Arc<Reading>, pages: &Pages) -> Self {
        Selection {
            reading: reading.clone(),
            pairs: Vec::new(),
            rows: Vec::new(),
            shown: Vec::new(),
            digests: Vec::new(),
            last: Vec::new(),
            marked: false,
            one_metric: false,
            pages: pages.clone(),
            map: OnceLock::new(),
            files: None,
        }
    }

    /// Adds a series by its pairs.
    fn add(&mut self, pairs: &[u32]) {
        self.rows.push((self.pairs.len() as u32, pairs.len() as u32));
        self.pairs.extend_from_slice(pairs);
    }

    fn pairs_of(&self, row: u32) -> &[u32] {
        let (from, count) = self.rows.get(row as usize).copied().unwrap_or_default();
        self.pairs.get(from as usize..(from + count) as usize).unwrap_or(&[])
    }
}

/// A selected series of the head.
pub struct HeadSeries {
    selection: Arc<Selection>,
    series: u32,
    /// In the selection.
    row: u32,
    /// Time of the newest in-order sample that is shown.
    newest: i64,
    labels: OnceLock<Labels>,
}

/// A chunk of the head, encoded.
pub type HeadChunk = EncodedChunk;

impl HeadQuerier {
    pub(crate) fn new(head: Arc<Head>, range: TimeRange) -> Self {
        let mut id = 0;
        let seen = head.views.open(|seen| {
            let mut open = head.readers.open.lock();
            open.last += 1;
            id = open.last;
            open.all.insert(id, (range, seen));
            open.all.values().map(|(_, seen)| *seen).min().unwrap_or(seen)
        });
        let outside = head.range().is_none_or(|(min, max)| !TimeRange::new(min, max).overlaps(range));
        HeadQuerier { reading: Arc::new(Reading { head, id, range, seen, outside }) }
    }

    pub(super) fn head(&self) -> &Arc<Head> {
        &self.reading.head
    }

    /// References of series that may have samples in the range, ascending.
    pub(super) fn references(&self) -> Vec<u32> {
        let head = &self.reading.head;
        let all = head.index.read().all.clone();
        let pages = head.table.pages();
        let mut walk = Walk::new(&pages);
        let range = self.reading.range;
        let mut found = Vec::with_capacity(all.len() as usize);
        let has = |s: &u32| {
            walk.go(*s).is_some_and(|(cells, slot)| may_have(cells, slot, range, cells.peek(slot).last_t))
        };
        found.extend(all.iter().filter(has));
        found
    }

    /// One series by reference, whose chunks on disk are read from `files`. All of it is shown: blocks are cut of
    /// what is long past.
    pub(super) fn one(&self, series: u32, files: &Arc<PlainFiles>) -> Option<HeadSeries> {
        let (page, slot) = split(series);
        let pages = self.reading.head.table.pages();
        let pairs = pages.get(page)?.as_ref()?.lock().pairs(slot).to_vec();
        // Whatever is deleted meanwhile shall not get into a block.
        let mut selection = Selection { marked: true, ..Selection::empty(&self.reading, &pages) };
        selection.add(&pairs);
        selection.files = Some(files.clone());
        let (selection, labels) = (Arc::new(selection), OnceLock::new());
        Some(HeadSeries { selection, series, row: 0, newest: i64::MAX, labels })
    }

    /// Series that satisfy the matchers and may have samples in the range, in order of their references.
    pub(crate) fn list(&self, matchers: &[Matcher], limit: usize) -> Vec<HeadSeries> {
        let found = self.list_with(matchers, limit, &SelectHints::default());
        found.map(Iterator::collect).unwrap_or_default()
    }

    /// The same, with what `hints` say of labels.
    fn list_with(
        &self,
        matchers: &[Matcher],
        limit: usize,
        hints: &SelectHints,
    ) -> Result<impl Iterator<Item = HeadSeries> + use<>, StorageError> {
        let Reading { head, range, seen, outside, .. } = &*self.reading;
        let set = if *outside { RoaringBitmap::new() } else { head.index.read().select(matchers) };
        let pages = head.table.pages();
        let mut walk = Walk::new(&pages);
        let mut before = NewestBefore::default();
        let marked = !head.tombstones.read().is_empty();
        let mut selection = Selection { marked, ..Selection::empty(&self.reading, &pages) };
        selection.one_metric = hints.apart
            && head.index.read().is_one_metric(&set, |series| {
                let (page, slot) = split(series);
                let page = pages.get(page).and_then(Option::as_ref);
                page.map_or(Vec::new(), |page| page.lock().pairs(slot).to_vec())
            });
        let mut found = Vec::new();
        for (at, series) in set.into_iter().enumerate() {
            if at.is_multiple_of(BETWEEN_LOOKS) {
                hints.stop.check()?;
            }
            let Some((cells, slot)) = walk.go(series) else { continue };
            let newest = before.of(cells, series, *seen);
            if !may_have(cells, slot, *range, newest) {
                continue;
            }
            found.push((series, newest));
            if hints.newest && !marked {
                selection.last.push(last_of(cells, slot).filter(|(t, _)| *t <= newest));
            }
            selection.add(cells.pairs(slot));
            if limit > 0 && found.len() == limit {
                break;
            }
        }
        drop(walk);
        let digests_wanted = hints.digests || (hints.apart && !selection.one_metric);
        if hints.shown.is_some() || digests_wanted {
            let texts = &head.index.read().texts;
            if let Some(names) = &hints.shown {
                selection.shown = shown(&selection, texts, names, &hints.stop)?;
            }
            if digests_wanted {
                selection.digests = digests(&selection, texts, &hints.stop)?;
            }
        }
        let selection = Arc::new(selection);
        let series = move |(row, (series, newest)): (usize, (u32, i64))| {
            let (selection, labels) = (selection.clone(), OnceLock::new());
            HeadSeries { selection, series, row: row as u32, newest, labels }
        };
        Ok(found.into_iter().enumerate().map(series))
    }
}

/// Labels of these names, for each series.
fn shown(
    selection: &Selection,
    texts: &Texts,
    names: &[String],
    stop: &Stop,
) -> Result<Vec<Labels>, StorageError> {
    let mut sets = ShownSets::new(texts, names);
    let rows = 0..selection.rows.len() as u32;
    rows.map(|row| {
        if (row as usize).is_multiple_of(BETWEEN_LOOKS) {
            stop.check()?;
        }
        Ok(sets.of(selection.pairs_of(row)))
    })
    .collect()
}

/// Labels of some names. Sets are made once and shared: there are few of them as a rule.
struct ShownSets<'a> {
    texts: &'a Texts,
    names: Vec<u32>,
    /// Where each name stood in the series before. Texts of other pairs are far away in memory.
    places: Vec<usize>,
    found: Vec<usize>,
    known: HashMap<Vec<u32>, Labels>,
    key: Vec<u32>,
    last_key: Vec<u32>,
    last: Labels,
}

impl<'a> ShownSets<'a> {
    fn new(texts: &'a Texts, names: &[String]) -> Self {
        let mut names: Vec<u32> = names.iter().filter_map(|name| texts.find_name(name)).collect();
        names.sort_unstable();
        names.dedup();
        let places = vec![0; names.len()];
        let (found, known, key, last_key) = (Vec::new(), HashMap::new(), Vec::new(), Vec::new());
        ShownSets { texts, names, places, found, known, key, last_key, last: Labels::empty() }
    }

    fn of(&mut self, pairs: &[u32]) -> Labels {
        self.found.clear();
        for (name, place) in self.names.iter().zip(&mut self.places) {
            let is = |pair: &u32| self.texts.name_of(*pair) == *name;
            if !pairs.get(*place).is_some_and(is) {
                match pairs.iter().position(is) {
                    Some(at) => *place = at,
                    None => continue,
                }
            }
            self.found.push(*place);
        }
        self.found.sort_unstable();
        self.key.clear();
        self.key.extend(self.found.iter().filter_map(|at| pairs.get(*at)));
        if self.key != self.last_key {
            self.last = match self.known.get(&self.key) {
                Some(labels) => labels.clone(),
                None => {
                    let labels = Labels::from_sorted(self.key.iter().map(|pair| self.texts.label(*pair)));
                    self.known.insert(self.key.clone(), labels.clone());
                    labels
                }
            };
            self.last_key.clone_from(&self.key);
        }
        self.last.clone()
    }
}

/// Digests of all series, each pair being looked at once.
fn digests(selection: &Selection, texts: &Texts, stop: &Stop) -> Result<Vec<u128>, StorageError> {
    let make = |pair: u32| {
        let (name, value) = texts.label(pair);
        digest::pair(digest::text(name), digest::text(value))
    };
    // A table of all pairs would cost more than it spares where few series are selected.
    let few = selection.pairs.len() < texts.pair_count() / 64;
    let mut known = vec![0u128; if few { 0 } else { texts.pair_count() }];
    let mut of_pair = |pair: u32| match known.get_mut(pair as usize) {
        Some(0) => {
            known[pair as usize] = make(pair);
            known[pair as usize]
        }
        Some(known) => *known,
        None => make(pair),
    };
    let rows = 0..selection.rows.len() as u32;
    rows.map(|row| {
        if (row as usize).is_multiple_of(BETWEEN_LOOKS) {
            stop.check()?;
        }
        Ok(selection.pairs_of(row).iter().fold(0, |sum: u128, pair| sum.wrapping_add(of_pair(*pair))))
    })
    .collect()
}

impl HeadQuerier {
    /// Pairs that some series carry, each once.
    fn pairs_of(&self, set: &RoaringBitmap) -> HashSet<u32> {
        let pages = self.reading.head.table.pages();
        let mut walk = Walk::new(&pages);
        let mut out = HashSet::new();
        for series in set {
            if let Some((cells, slot)) = walk.go(series) {
                out.extend(cells.pairs(slot));
            }
        }
        out
    }
}

/// Time and value of the last sample that was appended, if it is the newest and a float.
fn last_of(cells: &Cells, slot: usize) -> Option<(i64, f64)> {
    let entry = cells.peek(slot);
    let plain = entry.has_open() && !entry.is(ASIDE | HISTOGRAM | LAST_ON_DISK) && cells.late(slot).is_none();
    plain.then(|| (entry.last_t, f64::from_bits(entry.last_v)))
}

/// Whether a series may have samples within the range, its newest in-order one being at `newest`.
fn may_have(cells: &Cells, slot: usize, range: TimeRange, newest: i64) -> bool {
    if !cells.is_live(slot) || !cells.has_data(slot) {
        return false;
    }
    cells.late(slot).is_some() || (newest >= range.min && newest != i64::MIN)
}

/// Newest times that a view shows, of the series of one page.
#[derive(Default)]
struct NewestBefore {
    page: Option<usize>,
    times: HashMap<usize, i64>,
}

impl NewestBefore {
    /// Time of the newest in-order sample of a series that a view shows; `i64::MIN` for none.
    fn of(&mut self, cells: &Cells, series: u32, seen: u64) -> i64 {
        let (page, slot) = split(series);
        if self.page != Some(page) {
            self.page = Some(page);
            self.times.clear();
            cells.history.since(seen, |slot, t| {
                self.times.entry(slot).or_insert(t);
            });
        }
        let entry = cells.peek(slot);
        let now = if entry.is(HAS_LAST) { entry.last_t } else { i64::MIN };
        if self.times.is_empty() { now } else { self.times.get(&slot).copied().unwrap_or(now) }
    }
}

impl Querier for HeadQuerier {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet>, StorageError> {
        let limit = if hints.sorted { 0 } else { hints.limit };
        let found = self.list_with(matchers, limit, hints)?;
        if !hints.sorted {
            let mut one_metric = hints.apart;
            let list = found.map(|series| {
                one_metric &= series.selection.one_metric;
                Arc::new(series) as Arc<dyn Series>
            });
            let list = list.collect();
            return Ok(Box::new(ListSeriesSet::new(list).of_one_metric(one_metric)));
        }
        let mut list: Vec<HeadSeries> = found.collect();
        {
            // One lock for all labels.
            let index = self.reading.head.index.read();
            for (at, series) in list.iter().enumerate() {
                if at.is_multiple_of(BETWEEN_LOOKS) {
                    hints.stop.check()?;
                }
                let labels = series.pairs().iter().map(|pair| index.texts.label(*pair));
                let _ = series.labels.set(Labels::from_sorted(labels));
            }
        }
        list = storage::sort::until(list, &hints.stop, |a, b| a.labels().cmp(b.labels()))?;
        if hints.limit > 0 {
            list.truncate(hints.limit);
        }
        let list = list.into_iter().map(|series| Arc::new(series) as Arc<dyn Series>).collect();
        Ok(Box::new(ListSeriesSet::new(list)))
    }

    fn newest(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Option<Newest>, StorageError> {
        let Reading { head, seen, outside, .. } = &*self.reading;
        let (Some(names), Some(range)) = (&hints.shown, hints.range) else { return Ok(None) };
        if !head.tombstones.read().is_empty() {
            return Ok(None);
        }
        let mut all = Newest::default();
        if *outside {
            return Ok(Some(all));
        }
        let index = head.index.read();
        let pages = head.table.pages();
        let mut others = Selection::empty(&self.reading, &pages);
        let (mut walk, mut before) = (Walk::new(&pages), NewestBefore::default());
        let mut shown = ShownSets::new(&index.texts, names);
        let mut left = Vec::new();
        for (at, series) in index.select(matchers).into_iter().enumerate() {
            if at.is_multiple_of(BETWEEN_LOOKS) {
                hints.stop.check()?;
            }
            let Some((cells, slot)) = walk.go(series) else { continue };
            let newest = before.of(cells, series, *seen);
            if !may_have(cells, slot, range, newest) {
                continue;
            }
            let labels = shown.of(cells.pairs(slot));
            match last_of(cells, slot).filter(|(t, _)| *t <= newest && range.contains(*t)) {
                Some(sample) => all.samples.push(sample),
                None => {
                    left.push((all.samples.len(), series, newest));
                    others.add(cells.pairs(slot));
                    others.shown.push(labels.clone());
                    all.samples.push((0, 0.0));
                }
            }
            all.labels.push(labels);
        }
        drop(walk);
        let selection = Arc::new(others);
        all.others.extend(left.into_iter().enumerate().map(|(row, (place, series, newest))| {
            let (selection, labels) = (selection.clone(), OnceLock::new());
            let series = HeadSeries { selection, series, row: row as u32, newest, labels };
            (place, Arc::new(series) as Arc<dyn Series>)
        }));
        Ok(Some(all))
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        if self.reading.outside {
            return Ok(Vec::new());
        }
        let index = self.reading.head.index.read();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        if matchers.is_empty() {
            let count = index.texts.name_count() as u32;
            names.extend(
                (0..count).filter(|n| index.live_pairs(*n).next().is_some()).map(|n| index.texts.name(n)),
            );
        } else {
            let set = index.select(matchers);
            if set.len() < index.texts.pair_count() as u64 / 4 {
                // Few series of many pairs: what they carry themselves.
                for pair in self.pairs_of(&set) {
                    names.insert(index.texts.name(index.texts.name_of(pair)));
                }
                let limit = if limit == 0 { usize::MAX } else { limit };
                return Ok(names.into_iter().take(limit).map(str::to_owned).collect());
            }
            for name in 0..index.texts.name_count() as u32 {
                if index.live_pairs(name).any(|pair| index.of_pair(pair).meets(&set)) {
                    names.insert(index.texts.name(name));
                }
            }
        }
        let limit = if limit == 0 { usize::MAX } else { limit };
        Ok(names.into_iter().take(limit).map(str::to_owned).collect())
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        if self.reading.outside {
            return Ok(Vec::new());
        }
        let index = self.reading.head.index.read();
        let Some(id) = index.texts.find_name(name) else { return Ok(Vec::new()) };
        // Conditions on this very label choose among its values; the others choose series.
        let (own, others): (Vec<_>, Vec<_>) = matchers.iter().cloned().partition(|m| m.name == name);
        let fits = |value: &str| own.iter().all(|m| m.matches(value));
        let mut values: Vec<&str> = if others.is_empty() {
            index.pairs_with(id, own.iter()).into_iter().map(|pair| index.texts.value(pair)).collect()
        } else {
            let set = index.select(&others);
            if set.len() < index.texts.pairs_of(id).len() as u64 / 4 {
                let pairs = self.pairs_of(&set).into_iter().filter(|pair| index.texts.name_of(*pair) == id);
                pairs.map(|pair| index.texts.value(pair)).filter(|value| fits(value)).collect()
            } else {
                let meets = |pair: &u32| index.of_pair(*pair).meets(&set);
                let pairs = index.pairs_with(id, own.iter()).into_iter().filter(meets);
                pairs.map(|pair| index.texts.value(pair)).collect()
            }
        };
        if limit > 0 && limit < values.len() {
            // The first ones, before they are put in order.
            values.select_nth_unstable(limit - 1);
            values.truncate(limit);
        }
        values.sort_unstable();
        Ok(values.into_iter().map(str::to_owned).collect())
    }
}
