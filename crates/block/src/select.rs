//! Selecting from a block: matchers to series ids, ids to series that decode their chunks when read.

use crate::error::BlockError;
use crate::index::ChunkMeta;
use crate::postings::{List, Mapped, intersect, meets, settle, subtract};
use crate::reader::Block;
use crate::tombstone::Tombstones;
use model::{Labels, MatchOp, Matcher, TimeRange};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use storage::select::EncodedChunk;
use storage::{Querier, SampleBuf, SelectHints, Series, SeriesSet, StorageError};

/// A matcher that had to look at so many values is remembered.
const MANY_VALUES: usize = 64;
/// Labels of so few series are read one by one.
const FEW_SERIES: usize = 256;

/// Ids that satisfy, or refuse, a matcher.
enum Ids<'a> {
    Mapped(Mapped<'a>),
    Owned(Arc<Vec<u32>>),
}

impl List for Ids<'_> {
    fn len(&self) -> usize {
        match self {
            Ids::Mapped(list) => list.len(),
            Ids::Owned(list) => list.len(),
        }
    }

    fn at(&self, place: usize) -> u32 {
        match self {
            Ids::Mapped(list) => list.at(place),
            Ids::Owned(list) => list[place],
        }
    }
}

impl Ids<'_> {
    fn to_vec(&self) -> Vec<u32> {
        match self {
            Ids::Mapped(list) => list.iter().collect(),
            Ids::Owned(list) => list.to_vec(),
        }
    }
}

impl Block {
    /// Ids of series that satisfy all matchers, in label order.
    pub fn select_ids(&self, matchers: &[Matcher]) -> Result<Vec<u32>, BlockError> {
        let (mut wanted, mut excluded) = (Vec::new(), Vec::new());
        for matcher in matchers {
            if !matcher.matches_empty() {
                let ids = self.accepted(matcher)?;
                if ids.is_empty() {
                    return Ok(Vec::new());
                }
                wanted.push(ids);
            } else if !(matcher.op == MatchOp::Regex && matcher.regexp().is_some_and(|r| r.matches_all())) {
                // Series without the label satisfy it too: those whose value does not are taken away.
                excluded.push(self.refused(matcher)?);
            }
        }
        wanted.sort_by_key(List::len);
        let mut lists = wanted.iter();
        let mut ids = match lists.next() {
            Some(shortest) => shortest.to_vec(),
            None => self.index.all_postings()?.iter().collect(),
        };
        for list in lists {
            if ids.is_empty() {
                return Ok(ids);
            }
            ids = intersect(&ids, list);
        }
        for list in &excluded {
            subtract(&mut ids, list);
        }
        Ok(ids)
    }

    /// Ids of the values that satisfy a matcher which the empty value does not satisfy.
    fn accepted(&self, matcher: &Matcher) -> Result<Ids<'_>, BlockError> {
        let name = &matcher.name;
        match (matcher.op, matcher.regexp()) {
            (MatchOp::Equal, _) => self.literal(name, &matcher.value),
            (MatchOp::NotEqual, _) => self.any_value(name),
            (MatchOp::Regex, Some(re)) => match re.set_matches() {
                Some(values) => self.literals(name, values),
                None if matcher.value == ".+" => self.any_value(name),
                None => self.scan(matcher, re.prefix(), |v| re.is_match(v)),
            },
            _ => self.scan(matcher, "", |v| matcher.matches(v)),
        }
    }

    /// Ids of the values that do not satisfy a matcher which the empty value satisfies.
    fn refused(&self, matcher: &Matcher) -> Result<Ids<'_>, BlockError> {
        let name = &matcher.name;
        match (matcher.op, matcher.regexp()) {
            (MatchOp::Equal, _) => self.any_value(name),
            (MatchOp::NotEqual, _) => self.literal(name, &matcher.value),
            (MatchOp::NotRegex, Some(re)) => match re.set_matches() {
                Some(values) => self.literals(name, values),
                None if matcher.value == ".+" => self.any_value(name),
                None => self.scan(matcher, re.prefix(), |v| re.is_match(v)),
            },
            _ => self.scan(matcher, "", |v| !matcher.matches(v)),
        }
    }

    fn literal(&self, name: &str, value: &str) -> Result<Ids<'_>, BlockError> {
        Ok(Ids::Mapped(self.index.postings(name, value)?.unwrap_or(Mapped::new(&[]))))
    }

    fn literals(&self, name: &str, values: &[String]) -> Result<Ids<'_>, BlockError> {
        if let [one] = values {
            return self.literal(name, one);
        }
        let mut ids = Vec::new();
        for value in values {
            ids.extend(self.index.postings(name, value)?.iter().flat_map(Mapped::iter));
        }
        settle(&mut ids);
        Ok(Ids::Owned(Arc::new(ids)))
    }

    /// Series that have the label at all.
    fn any_value(&self, name: &str) -> Result<Ids<'_>, BlockError> {
        let (mut offsets, mut count) = (Vec::new(), 0);
        self.index.values(name, |_, at| {
            offsets.push(at);
            count += self.index.postings_len(at);
            true
        })?;
        let all = self.index.all_postings()?;
        // A series has a label once: as many entries as series are all series.
        if count == all.len() { Ok(Ids::Mapped(all)) } else { self.union(&offsets) }
    }

    /// Ids of the values that begin with `prefix` and that `keep` takes; remembered where many were looked at.
    fn scan(
        &self,
        matcher: &Matcher,
        prefix: &str,
        keep: impl Fn(&str) -> bool,
    ) -> Result<Ids<'_>, BlockError> {
        if let Some(ids) = self.chosen.get(matcher) {
            return Ok(Ids::Owned(ids));
        }
        let (mut offsets, mut seen) = (Vec::new(), 0);
        self.index.values_with(&matcher.name, prefix, |value, at| {
            seen += 1;
            if keep(value) {
                offsets.push(at);
            }
            true
        })?;
        let ids = self.union(&offsets)?;
        if let (true, Ids::Owned(ids)) = (seen >= MANY_VALUES, &ids) {
            self.chosen.put(matcher, ids);
        }
        Ok(ids)
    }

    fn union(&self, offsets: &[u64]) -> Result<Ids<'_>, BlockError> {
        if let [one] = offsets {
            return Ok(Ids::Mapped(self.index.postings_at(*one)?));
        }
        let mut ids = Vec::new();
        for at in offsets {
            ids.extend(self.index.postings_at(*at)?.iter());
        }
        settle(&mut ids);
        Ok(Ids::Owned(Arc::new(ids)))
    }

    /// A view of this block over a time range.
    pub fn querier(self: &Arc<Self>, range: TimeRange) -> Arc<dyn Querier> {
        Arc::new(BlockQuerier { block: self.clone(), tombstones: self.tombstones(), range })
    }
}

struct BlockQuerier {
    block: Arc<Block>,
    tombstones: Arc<Tombstones>,
    range: TimeRange,
}

impl Querier for BlockQuerier {
    fn select(&self, matchers: &[Matcher], hints: &SelectHints) -> Result<Box<dyn SeriesSet>, StorageError> {
        let ids = self.block.select_ids(matchers)?;
        let range = hints.range.unwrap_or(self.range);
        let left = if hints.limit == 0 { usize::MAX } else { hints.limit };
        let symbols =
            (hints.digests || hints.apart).then(|| SymbolDigests::for_series(ids.len(), &self.block));
        let view = View {
            block: self.block.clone(),
            tombstones: self.tombstones.clone(),
            shown: hints
                .shown
                .as_ref()
                .map(|names| Shown { names: self.block.index.symbols_of(names), known: Mutex::default() }),
        };
        let ids = ids.into_iter();
        Ok(Box::new(BlockSeriesSet { view: Arc::new(view), ids, range, left, symbols, scratch: Vec::new() }))
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        if matchers.is_empty() {
            return Ok(self.block.index.names().take(limit).map(str::to_owned).collect());
        }
        let mut seen: BTreeSet<u32> = BTreeSet::new();
        let mut last = u32::MAX;
        for id in self.block.select_ids(matchers)? {
            let note = |name, _| {
                if name != last {
                    last = name;
                    seen.insert(name);
                }
            };
            self.block.index.series_symbols(id, note);
        }
        // Symbols are sorted, so their numbers sort like the texts.
        let names = seen.into_iter().filter_map(|symbol| self.block.index.symbol(symbol));
        Ok(names.take(limit).map(str::to_owned).collect())
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut values = Vec::new();
        if matchers.is_empty() {
            self.block.index.values(name, |value, _| {
                values.push(value.to_owned());
                values.len() < limit
            })?;
            return Ok(values);
        }
        // Conditions on this label choose among its values; the others choose series.
        let (own, others): (Vec<_>, Vec<_>) = matchers.iter().cloned().partition(|m| m.name == name);
        let index = &self.block.index;
        let fits = |value: &str| own.iter().all(|m| m.matches(value));
        let ids = if others.is_empty() { None } else { Some(self.block.select_ids(&others)?) };
        if let Some(ids) = ids.as_ref().filter(|ids| ids.len() <= FEW_SERIES) {
            return self.values_of(ids, name, fits, limit);
        }
        let mut broken = None;
        index.values(name, |value, at| {
            let has = || match &ids {
                None => Ok(true),
                Some(ids) => index.postings_at(at).map(|list| meets(&list, ids.as_slice())),
            };
            if fits(value) {
                match has() {
                    Ok(true) => values.push(value.to_owned()),
                    Ok(false) => {}
                    Err(e) => broken = Some(e),
                }
            }
            values.len() < limit && broken.is_none()
        })?;
        match broken {
            None => Ok(values),
            Some(e) => Err(e.into()),
        }
    }
}

impl BlockQuerier {
    /// Values that the given series have.
    fn values_of(
        &self,
        ids: &[u32],
        name: &str,
        fits: impl Fn(&str) -> bool,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let index = &self.block.index;
        let mut found: BTreeSet<u32> = BTreeSet::new();
        for id in ids {
            let note = |n, value| {
                if index.symbol(n) == Some(name) {
                    found.insert(value);
                }
            };
            index.series_symbols(*id, note);
        }
        let values = found.into_iter().filter_map(|symbol| index.symbol(symbol));
        Ok(values.filter(|v| fits(v)).take(limit).map(str::to_owned).collect())
    }
}

/// What the series of one selection share.
struct View {
    block: Arc<Block>,
    tombstones: Arc<Tombstones>,
    /// Labels that are asked for.
    shown: Option<Shown>,
}

/// Few labels of many series: sets are made once and shared, for there are few of them as a rule.
struct Shown {
    /// Symbols of the names.
    names: Vec<u32>,
    known: Mutex<KnownSets>,
}

/// Label sets by their symbols, names and values.
#[derive(Default)]
struct KnownSets {
    sets: HashMap<Vec<u32>, Labels>,
    key: Vec<u32>,
    last_key: Vec<u32>,
    last: Labels,
}

impl Shown {
    fn of(&self, block: &Block, id: u32) -> Labels {
        if self.names.is_empty() {
            return Labels::empty();
        }
        let known = &mut *self.known.lock();
        known.key.clear();
        block.index.series_symbols(id, |name, value| {
            if self.names.contains(&name) {
                known.key.extend([name, value]);
            }
        });
        if known.key != known.last_key {
            known.last = match known.sets.get(&known.key) {
                Some(labels) => labels.clone(),
                None => {
                    let labels = block.index.labels(id, Some(&self.names)).unwrap_or_default();
                    known.sets.insert(known.key.clone(), labels.clone());
                    labels
                }
            };
            known.last_key.clone_from(&known.key);
        }
        known.last.clone()
    }
}

/// Digests of symbols, made when first needed.
enum SymbolDigests {
    /// 0 for those that are not made yet.
    Many(Vec<u128>),
    Few(HashMap<u32, u128>),
}

impl SymbolDigests {
    fn for_series(count: usize, block: &Block) -> Self {
        let symbols = block.index.symbol_count();
        if count >= symbols / 64 { Self::Many(vec![0; symbols]) } else { Self::Few(HashMap::new()) }
    }

    fn get(&mut self, symbol: u32, block: &Block) -> u128 {
        let make = || block.index.symbol(symbol).map_or(0, storage::digest::text);
        match self {
            Self::Few(known) => *known.entry(symbol).or_insert_with(make),
            Self::Many(known) => match known.get_mut(symbol as usize) {
                Some(digest) => {
                    if *digest == 0 {
                        *digest = make();
                    }
                    *digest
                }
                None => 0,
            },
        }
    }
}

/// Reads one series after the other from the index, in label order.
struct BlockSeriesSet {
    view: Arc<View>,
    ids: std::vec::IntoIter<u32>,
    range: TimeRange,
    left: usize,
    /// Set when digests are asked for.
    symbols: Option<SymbolDigests>,
    scratch: Vec<ChunkMeta>,
}

impl SeriesSet for BlockSeriesSet {
    fn next(&mut self) -> Result<Option<Arc<dyn Series>>, StorageError> {
        if self.left == 0 {
            return Ok(None);
        }
        let block = &self.view.block;
        for id in self.ids.by_ref() {
            let chunks = &mut self.scratch;
            chunks.clear();
            let labels = block.index.series_chunks(id, chunks)?;
            let deleted = self.view.tombstones.get(u64::from(id));
            let gone = |c: &ChunkMeta| deleted.iter().any(|d| d.min <= c.range.min && c.range.max <= d.max);
            chunks.retain(|c| c.range.overlaps(self.range) && !gone(c));
            if !chunks.is_empty() {
                self.left -= 1;
                let digest = self.symbols.as_mut().map(|symbols| {
                    labels.pairs().fold(0, |sum: u128, (name, value)| {
                        let (name, value) = (symbols.get(name, block), symbols.get(value, block));
                        sum.wrapping_add(storage::digest::pair(name, value))
                    })
                });
                return Ok(Some(Arc::new(BlockSeries {
                    view: self.view.clone(),
                    id,
                    labels: OnceLock::new(),
                    digest,
                    chunks: chunks.as_slice().into(),
                    deleted: deleted.to_vec(),
                })));
            }
        }
        Ok(None)
    }
}

struct BlockSeries {
    view: Arc<View>,
    id: u32,
    labels: OnceLock<Labels>,
    digest: Option<u128>,
    chunks: Box<[ChunkMeta]>,
    /// Sorted, not touching.
    deleted: Vec<TimeRange>,
}

impl BlockSeries {
    fn encoded(&self, meta: &ChunkMeta) -> Result<(u8, &[u8]), StorageError> {
        Ok(self.view.block.chunks.chunk(meta.reference)?)
    }

    fn decode(&self, meta: &ChunkMeta, out: &mut SampleBuf) -> Result<(), StorageError> {
        let (encoding, data) = self.encoded(meta)?;
        chunk::decode(encoding, data, &mut out.columns()).map_err(|e| self.corrupt(&e))
    }

    /// Decodes a chunk no further than the range needs; false, and nothing done, when its encoding has no way to.
    fn decode_within(
        &self,
        meta: &ChunkMeta,
        range: TimeRange,
        out: &mut SampleBuf,
    ) -> Result<bool, StorageError> {
        let (encoding, data) = self.encoded(meta)?;
        if encoding != chunk::Encoding::Xor.number() {
            return Ok(false);
        }
        chunk::xor::decode_within(data, range.min..=range.max, &mut out.times, &mut out.floats)
            .map_err(|e| self.corrupt(&e))?;
        Ok(true)
    }

    fn corrupt(&self, e: &chunk::ChunkError) -> StorageError {
        let dir = self.view.block.dir().display();
        StorageError::Corrupt(format!("{dir}: chunk of {}: {e}", self.labels()))
    }
}

impl Series for BlockSeries {
    fn labels(&self) -> &Labels {
        // The set has read the series before it was handed out: its bytes are whole and its checksum is right.
        self.labels.get_or_init(|| self.view.block.index.labels(self.id, None).unwrap_or_default())
    }

    fn shown(&self) -> Labels {
        match &self.view.shown {
            None => self.labels().clone(),
            Some(shown) => shown.of(&self.view.block, self.id),
        }
    }

    fn digest(&self) -> u128 {
        self.digest.unwrap_or_else(|| storage::digest::labels(self.labels()))
    }

    fn read(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        for meta in self.chunks.iter().filter(|c| c.range.overlaps(range)) {
            let from = out.len();
            let whole = range.min <= meta.range.min && meta.range.max <= range.max;
            let marked = self.deleted.iter().any(|d| d.overlaps(meta.range));
            if !whole && !marked && self.decode_within(meta, range, out)? {
                continue;
            }
            self.decode(meta, out)?;
            if !whole || marked {
                let deleted = |t: i64| self.deleted.iter().any(|d| d.contains(t));
                out.retain_from(from, |t| range.contains(t) && !deleted(t));
            }
        }
        Ok(())
    }

    fn chunks(&self, range: TimeRange) -> Result<Vec<EncodedChunk>, StorageError> {
        let mut found = Vec::new();
        for meta in self.chunks.iter().filter(|c| c.range.overlaps(range)) {
            if self.deleted.iter().any(|d| d.overlaps(meta.range)) {
                let mut samples = SampleBuf::default();
                self.decode(meta, &mut samples)?;
                samples.retain_from(0, |t| !self.deleted.iter().any(|d| d.contains(t)));
                found.extend(storage::encode::chunks(&samples)?);
                continue;
            }
            let (encoding, data) = self.encoded(meta)?;
            found.push(EncodedChunk { range: meta.range, encoding, data: data.to_vec() });
        }
        Ok(found)
    }
}
