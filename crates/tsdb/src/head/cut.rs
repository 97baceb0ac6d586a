//! All series of the head in label order, one at a time, for writing blocks: beside their references and the order of
//! the labels nothing is held for them.

use super::Head;
use super::mapper::PlainFiles;
use super::page::Walk;
use super::read::HeadQuerier;
use model::TimeRange;
use std::sync::Arc;
use storage::{Series, SeriesSet, StorageError};

/// Texts and label pairs are looked at in portions of this size, so that no lock is held for long.
const PORTION: usize = 4096;

/// See the module text.
pub(crate) struct HeadCut {
    querier: HeadQuerier,
    files: Arc<PlainFiles>,
    series: std::vec::IntoIter<u32>,
    count: usize,
    symbols: Vec<u32>,
}

impl HeadCut {
    pub(crate) fn new(head: &Arc<Head>, range: TimeRange) -> Self {
        let querier = HeadQuerier::new(head.clone(), range);
        let series = querier.references();
        Self::over(querier, series)
    }

    /// Only these series.
    pub(crate) fn of(head: &Arc<Head>, range: TimeRange, series: Vec<u32>) -> Self {
        Self::over(HeadQuerier::new(head.clone(), range), series)
    }

    fn over(querier: HeadQuerier, series: Vec<u32>) -> Self {
        let head = querier.head().clone();
        let head = &head;
        let (symbols, ranks) = order_of_texts(head);
        let series = in_label_order(head, series, &ranks);
        let (count, files) = (series.len(), Arc::new(PlainFiles::default()));
        HeadCut { querier, files, series: series.into_iter(), count, symbols }
    }

    /// Series in the stream.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Label names and values of the series, sorted, each once. To be taken once.
    pub(crate) fn symbols(&mut self) -> impl Iterator<Item = String> + use<> {
        let head = self.querier.head().clone();
        let symbols = std::mem::take(&mut self.symbols);
        let mut from = 0;
        std::iter::from_fn(move || {
            let part = symbols.get(from..(from + PORTION).min(symbols.len())).filter(|p| !p.is_empty())?;
            from += PORTION;
            let index = head.index.read();
            Some(part.iter().map(|id| index.texts.text(*id).to_owned()).collect::<Vec<_>>())
        })
        .flatten()
    }
}

impl SeriesSet for HeadCut {
    fn next(&mut self) -> Result<Option<Arc<dyn Series>>, StorageError> {
        let found = self.series.by_ref().find_map(|series| self.querier.one(series, &self.files));
        Ok(found.map(|series| Arc::new(series) as Arc<dyn Series>))
    }
}

/// Text ids of all symbols, sorted by text and without repetition, and the place of each pair among all pairs. A text
/// id is that of a pair for its value; names stand behind the pairs.
fn order_of_texts(head: &Head) -> (Vec<u32>, Vec<u32>) {
    let (ids, pair_count) = {
        let index = head.index.read();
        let pairs = index.texts.pair_count() as u32;
        let names: Vec<u32> = (0..index.texts.name_count() as u32)
            .filter(|name| index.live_pairs(*name).next().is_some())
            .map(|name| index.texts.id_of_name(name))
            .collect();
        let live = (0..pairs).filter(|pair| !index.of_pair(*pair).is_empty());
        (live.chain(names).collect::<Vec<u32>>(), pairs as usize)
    };
    let pieces = |part: &[u32], depth: usize, keys: &mut Vec<u64>| {
        let index = head.index.read();
        keys.extend(part.iter().map(|id| piece(index.texts.text(*id), depth)));
    };
    let sorted = sort_by_keys(ids, pieces, |key| key as u8 <= PIECE as u8);
    let mut symbols: Vec<u32> = Vec::new();
    // Place of each text; equal ones share theirs.
    let mut value_ranks = vec![0u32; pair_count];
    let mut name_ranks: Vec<(u32, u32)> = Vec::new();
    let mut pairs: Vec<(u64, u32)> = Vec::with_capacity(sorted.len());
    for part in sorted.chunks(PORTION) {
        let index = head.index.read();
        for id in part {
            if symbols.last().is_none_or(|last| index.texts.text(*last) != index.texts.text(*id)) {
                symbols.push(*id);
            }
            let rank = symbols.len() as u32;
            match index.texts.name_of_id(*id) {
                Some(name) => name_ranks.push((name, rank)),
                None => {
                    value_ranks[*id as usize] = rank;
                    pairs.push((u64::from(index.texts.name_of(*id)), *id));
                }
            }
        }
    }
    drop(sorted);
    let names: std::collections::HashMap<u32, u32> = name_ranks.into_iter().collect();
    for (key, pair) in &mut pairs {
        let name = names.get(&(*key as u32)).copied().unwrap_or(0);
        *key = u64::from(name) << 32 | u64::from(value_ranks[*pair as usize]);
    }
    pairs.sort_unstable();
    let mut ranks = value_ranks;
    for (rank, (_, pair)) in (1..).zip(&pairs) {
        ranks[*pair as usize] = rank;
    }
    (symbols, ranks)
}

/// Bytes of text in one key.
const PIECE: usize = 7;

/// Seven bytes of a text and, below them, how many there are, or 8 when more follow: keys sort like texts.
fn piece(text: &str, depth: usize) -> u64 {
    let rest = text.as_bytes().get(depth * PIECE..).unwrap_or_default();
    let here = rest.len().min(PIECE);
    let mut key = [0; 8];
    key[..here].copy_from_slice(&rest[..here]);
    key[PIECE] = if rest.len() > PIECE { PIECE as u8 + 1 } else { here as u8 };
    u64::from_be_bytes(key)
}

/// Sorts references by the ranks of their pairs, label by label.
fn in_label_order(head: &Head, series: Vec<u32>, ranks: &[u32]) -> Vec<u32> {
    let pages = head.table.pages();
    let keys = |part: &[u32], depth: usize, keys: &mut Vec<u32>| {
        let mut walk = Walk::new(&pages);
        keys.extend(part.iter().map(|series| {
            let pair = walk.go(*series).and_then(|(cells, slot)| cells.pairs(slot).get(depth).copied());
            pair.and_then(|pair| ranks.get(pair as usize).copied()).unwrap_or(0)
        }));
    };
    sort_by_keys(series, keys, |key| key == 0)
}

/// Sorts items by a sequence of keys each: `keys(part, depth, out)` gives the key number `depth` of every item of a
/// part. Where keys are equal the next one decides, unless `ends` says that there is none; then ids do.
fn sort_by_keys<K: Ord + Copy>(
    mut items: Vec<u32>,
    keys: impl Fn(&[u32], usize, &mut Vec<K>),
    ends: impl Fn(K) -> bool,
) -> Vec<u32> {
    // Ranges of items with equal keys so far, and how many keys that are.
    let mut open = vec![(0..items.len(), 0)];
    let mut row: Vec<(K, u32)> = Vec::with_capacity(items.len());
    let mut found: Vec<K> = Vec::with_capacity(PORTION.min(items.len()));
    while let Some((range, depth)) = open.pop() {
        row.clear();
        for part in items[range.clone()].chunks(PORTION) {
            found.clear();
            keys(part, depth, &mut found);
            row.extend(found.iter().copied().zip(part.iter().copied()));
        }
        row.sort_unstable();
        let mut from = range.start;
        for equal in row.chunk_by(|a, b| a.0 == b.0) {
            let to = from + equal.len();
            if equal.len() > 1 && !ends(equal[0].0) {
                open.push((from..to, depth + 1));
            }
            from = to;
        }
        for (slot, (_, item)) in items[range].iter_mut().zip(&row) {
            *slot = *item;
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_like_texts() {
        let mut texts: Vec<String> = vec!["".into(), "a".into(), "a\0".into(), "a\0\0".into(), "ab".into()];
        for len in 5..18 {
            texts.push("x".repeat(len));
            texts.push("x".repeat(len) + "\0");
            texts.push("x".repeat(len - 1) + "é");
        }
        for copies in 0..texts.len() {
            texts.push(format!("many-of-one-prefix-{}", (copies * 7) % 13));
        }
        let by_key = |part: &[u32], depth: usize, keys: &mut Vec<u64>| {
            keys.extend(part.iter().map(|id| piece(&texts[*id as usize], depth)));
        };
        let ids: Vec<u32> = (0..texts.len() as u32).rev().collect();
        let got = sort_by_keys(ids, by_key, |key| key as u8 <= PIECE as u8);
        let mut want: Vec<u32> = (0..texts.len() as u32).collect();
        want.sort_by_key(|id| (&texts[*id as usize], *id));
        assert_eq!(got, want);
    }
}
