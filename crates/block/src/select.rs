//! Selecting from a block: matchers to series ids, ids to series that decode their chunks when read.

use crate::error::BlockError;
use crate::index::ChunkMeta;
use crate::postings::{intersect, union, without};
use crate::reader::Block;
use crate::tombstone::Tombstones;
use model::{Labels, MatchOp, Matcher, TimeRange};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use storage::select::EncodedChunk;
use storage::{Querier, SampleBuf, SelectHints, Series, SeriesSet, StorageError};

impl Block {
    /// Ids of series that satisfy all matchers, in label order.
    pub fn select_ids(&self, matchers: &[Matcher]) -> Result<Vec<u32>, BlockError> {
        let mut found: Option<Vec<u32>> = None;
        let mut excluded = Vec::new();
        for matcher in matchers {
            if matcher.matches_empty() {
                // Series without the label satisfy it too: take away those whose value does not.
                let ids = self.ids_of_values(&matcher.name, |v| !matcher.matches(v))?;
                excluded.push(ids);
            } else {
                let ids = match (matcher.op, matcher.regexp().and_then(|r| r.set_matches())) {
                    (MatchOp::Equal, _) => self.index.postings(&matcher.name, &matcher.value)?,
                    (MatchOp::Regex, Some(values)) => {
                        let lists: Result<Vec<_>, _> =
                            values.iter().map(|v| self.index.postings(&matcher.name, v)).collect();
                        union(&lists?)
                    }
                    _ => self.ids_of_values(&matcher.name, |v| matcher.matches(v))?,
                };
                found = Some(found.map_or_else(|| ids.clone(), |before| intersect(&before, &ids)));
                if found.as_ref().is_some_and(Vec::is_empty) {
                    return Ok(Vec::new());
                }
            }
        }
        let mut ids = match found {
            Some(ids) => ids,
            None => self.index.all_postings()?,
        };
        for list in excluded {
            ids = without(&ids, &list);
        }
        Ok(ids)
    }

    fn ids_of_values(&self, name: &str, keep: impl Fn(&str) -> bool) -> Result<Vec<u32>, BlockError> {
        let mut offsets = Vec::new();
        self.index.values(name, |value, at| {
            if keep(value) {
                offsets.push(at);
            }
            true
        })?;
        let lists: Result<Vec<_>, _> = offsets.into_iter().map(|at| self.index.postings_at(at)).collect();
        Ok(union(&lists?))
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
        let symbols = hints.digests.then(|| SymbolDigests::for_series(ids.len(), &self.block));
        let view = View {
            block: self.block.clone(),
            tombstones: self.tombstones.clone(),
            shown: hints.shown.as_ref().map(|names| self.block.index.symbols_of(names)),
        };
        let ids = ids.into_iter();
        Ok(Box::new(BlockSeriesSet { view: Arc::new(view), ids, range, left, symbols, scratch: Vec::new() }))
    }

    fn label_names(&self, matchers: &[Matcher], limit: usize) -> Result<Vec<String>, StorageError> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        if matchers.is_empty() {
            return Ok(self.block.index.names().take(limit).map(str::to_owned).collect());
        }
        let mut names = BTreeSet::new();
        for id in self.block.select_ids(matchers)? {
            names.extend(self.block.index.series(id)?.0.iter().map(|(n, _)| n.to_owned()));
        }
        Ok(names.into_iter().take(limit).collect())
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
        let ids = self.block.select_ids(matchers)?;
        let mut lists = Vec::new();
        self.block.index.values(name, |value, at| {
            lists.push((value.to_owned(), at));
            true
        })?;
        for (value, at) in lists {
            if values.len() == limit {
                break;
            }
            if !intersect(&self.block.index.postings_at(at)?, &ids).is_empty() {
                values.push(value);
            }
        }
        Ok(values)
    }
}

/// What the series of one selection share.
struct View {
    block: Arc<Block>,
    tombstones: Arc<Tombstones>,
    /// Symbols of the label names that are asked for.
    shown: Option<Vec<u32>>,
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
        chunk::decode(encoding, data, &mut out.columns()).map_err(|e| {
            let dir = self.view.block.dir().display();
            StorageError::Corrupt(format!("{dir}: chunk of {}: {e}", self.labels()))
        })
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
            Some(names) => self.view.block.index.labels(self.id, Some(names)).unwrap_or_default(),
        }
    }

    fn digest(&self) -> u128 {
        self.digest.unwrap_or_else(|| storage::digest::labels(self.labels()))
    }

    fn read(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        for meta in self.chunks.iter().filter(|c| c.range.overlaps(range)) {
            let from = out.len();
            self.decode(meta, out)?;
            let whole = range.min <= meta.range.min && meta.range.max <= range.max;
            if !whole || self.deleted.iter().any(|d| d.overlaps(meta.range)) {
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
                found.extend(storage::merge::encode(&samples)?);
                continue;
            }
            let (encoding, data) = self.encoded(meta)?;
            found.push(EncodedChunk { range: meta.range, encoding, data: data.to_vec() });
        }
        Ok(found)
    }
}
