//! Selecting from a block: matchers to series ids, ids to series that decode their chunks when read.

use crate::error::BlockError;
use crate::index::ChunkMeta;
use crate::postings::{intersect, union, without};
use crate::reader::Block;
use crate::tombstone::Tombstones;
use model::{Labels, MatchOp, Matcher, TimeRange};
use std::collections::BTreeSet;
use std::sync::Arc;
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
        let ids = self.block.select_ids(matchers)?.into_iter();
        let range = hints.range.unwrap_or(self.range);
        let left = if hints.limit == 0 { usize::MAX } else { hints.limit };
        let (block, tombstones) = (self.block.clone(), self.tombstones.clone());
        Ok(Box::new(BlockSeriesSet { block, tombstones, ids, range, left }))
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

/// Reads one series after the other from the index, in label order.
struct BlockSeriesSet {
    block: Arc<Block>,
    tombstones: Arc<Tombstones>,
    ids: std::vec::IntoIter<u32>,
    range: TimeRange,
    left: usize,
}

impl SeriesSet for BlockSeriesSet {
    fn next(&mut self) -> Result<Option<Arc<dyn Series>>, StorageError> {
        if self.left == 0 {
            return Ok(None);
        }
        for id in self.ids.by_ref() {
            let (labels, mut chunks) = self.block.index.series(id)?;
            let deleted = self.tombstones.get(u64::from(id));
            let gone = |c: &ChunkMeta| deleted.iter().any(|d| d.min <= c.range.min && c.range.max <= d.max);
            chunks.retain(|c| c.range.overlaps(self.range) && !gone(c));
            if !chunks.is_empty() {
                self.left -= 1;
                let (block, deleted) = (self.block.clone(), deleted.to_vec());
                return Ok(Some(Arc::new(BlockSeries { block, labels, chunks, deleted })));
            }
        }
        Ok(None)
    }
}

struct BlockSeries {
    block: Arc<Block>,
    labels: Labels,
    chunks: Vec<ChunkMeta>,
    /// Sorted, not touching.
    deleted: Vec<TimeRange>,
}

impl BlockSeries {
    fn encoded(&self, meta: &ChunkMeta) -> Result<(u8, &[u8]), StorageError> {
        Ok(self.block.chunks.chunk(meta.reference)?)
    }

    fn decode(&self, meta: &ChunkMeta, out: &mut SampleBuf) -> Result<(), StorageError> {
        let (encoding, data) = self.encoded(meta)?;
        chunk::decode(encoding, data, &mut out.columns()).map_err(|e| {
            StorageError::Corrupt(format!("{}: chunk of {}: {e}", self.block.dir().display(), self.labels))
        })
    }
}

impl Series for BlockSeries {
    fn labels(&self) -> &Labels {
        &self.labels
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
