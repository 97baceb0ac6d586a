//! Reading an index from its map. In memory stand only the offsets of symbols and every 32nd entry of the
//! postings offset table.

use super::{ChunkMeta, MAGIC, TOC_BYTES, Toc};
use crate::decode::Cursor;
use crate::error::BlockError;
use crate::postings::{List as _, Mapped};
use disk::crc::crc32c;
use disk::{Access, Disk, Map};
use model::{Labels, TimeRange};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SAMPLED: usize = 32;
/// Lists of this size are remembered once they have been verified: there are few of them.
const LONG_LIST_BYTES: usize = 16 << 10;
/// Chunks of one series in a block are bounded by its time range; this bounds what a forged count allocates.
const MAX_PREALLOCATED: usize = 4096;

pub struct IndexReader {
    path: PathBuf,
    map: Arc<Map>,
    /// Offset of each symbol's length in the file.
    symbols: Vec<u32>,
    /// Symbols are valid texts in order, as they must be; when not, every series is looked at.
    symbols_sound: bool,
    /// Every 32nd value of a label name, and the last, with the offset of its entry in the file.
    values: BTreeMap<Box<str>, Vec<(Box<str>, usize)>>,
    table_end: usize,
    all_postings: Option<u64>,
    /// Offsets of long lists whose checksum was found right.
    verified: Mutex<HashSet<u64>>,
}

/// Result of reading one entry: name, value, offset of the postings.
type Entry<'a> = (&'a str, &'a str, u64);

impl IndexReader {
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, BlockError> {
        let map = disk.map(path)?;
        Self::over(map, path).map_err(|what| BlockError::corrupt(path, what))
    }

    /// Over bytes that are already in memory.
    pub fn over(map: Arc<Map>, path: &Path) -> Result<Self, String> {
        let mut head = Cursor::new(&map);
        if head.be32() != Some(MAGIC) {
            return Err("invalid magic number".into());
        }
        match head.u8() {
            Some(super::VERSION) => {}
            Some(other) => return Err(format!("unknown index file version {other}")),
            None => return Err("truncated".into()),
        }
        let toc = read_toc(&map)?;
        let mut reader = IndexReader {
            path: path.to_owned(),
            symbols: Vec::new(),
            symbols_sound: true,
            values: BTreeMap::new(),
            table_end: 0,
            all_postings: None,
            verified: Mutex::default(),
            map,
        };
        reader.read_symbols(toc.symbols)?;
        reader.read_postings_table(toc.postings_table)?;
        Ok(reader)
    }

    /// Content of a section at an offset, after its checksum was verified.
    fn section(&self, at: u64) -> Option<(usize, &[u8])> {
        let at = usize::try_from(at).ok()?;
        let mut cursor = Cursor::new(self.map.get(at..)?);
        let len = cursor.be32()? as usize;
        let content = cursor.take(len)?;
        (cursor.be32()? == crc32c(content)).then_some((at + 4, content))
    }

    fn read_symbols(&mut self, at: u64) -> Result<(), String> {
        let (from, content) = self.section(at).ok_or("symbol table is truncated or fails its checksum")?;
        let mut cursor = Cursor::new(content);
        let count = cursor.be32().ok_or("symbol table is truncated")?;
        let mut offsets = Vec::with_capacity((count as usize).min(content.len()));
        let (mut sound, mut before) = (true, None::<&[u8]>);
        for _ in 0..count {
            let at = from + content.len() - cursor.rest().len();
            offsets.push(u32::try_from(at).map_err(|_| "symbol table lies beyond 4 GiB")?);
            let symbol = cursor.bytes().ok_or("symbol table is truncated")?;
            sound &= before.is_none_or(|before| before < symbol) && std::str::from_utf8(symbol).is_ok();
            before = Some(symbol);
        }
        (self.symbols, self.symbols_sound) = (offsets, sound);
        Ok(())
    }

    fn read_postings_table(&mut self, at: u64) -> Result<(), String> {
        let (from, content) =
            self.section(at).ok_or("postings offset table is truncated or fails its checksum")?;
        let end = from + content.len();
        let mut cursor = Cursor::new(content);
        let count = cursor.be32().ok_or("postings offset table is truncated")?;
        let mut values: BTreeMap<Box<str>, Vec<(Box<str>, usize)>> = BTreeMap::new();
        let mut current: Option<(&str, usize)> = None;
        let mut last: Option<(&str, &str, usize)> = None;
        let mut all = None;
        for _ in 0..count {
            let at = end - cursor.rest().len();
            let (name, value, postings) =
                take_entry(&mut cursor).ok_or("postings offset table is malformed")?;
            if name.is_empty() {
                all = Some(postings);
                continue;
            }
            let index = match current {
                Some((before, index)) if before == name => index + 1,
                _ => 0,
            };
            current = Some((name, index));
            if index == 0 {
                if let Some((name, value, at)) = last.take() {
                    push_last(&mut values, name, value, at);
                }
                values.insert(name.into(), Vec::new());
            }
            if index % SAMPLED == 0
                && let Some(list) = values.get_mut(name)
            {
                list.push((value.into(), at));
            }
            last = Some((name, value, at));
        }
        if let Some((name, value, at)) = last {
            push_last(&mut values, name, value, at);
        }
        (self.values, self.table_end, self.all_postings) = (values, end, all);
        Ok(())
    }

    fn corrupt(&self, what: impl Into<String>) -> BlockError {
        BlockError::corrupt(&self.path, what)
    }

    pub fn symbol(&self, number: u32) -> Option<&str> {
        let at = *self.symbols.get(number as usize)? as usize;
        std::str::from_utf8(Cursor::new(self.map.get(at..)?).bytes()?).ok()
    }

    pub fn symbols_bytes(&self) -> u64 {
        (self.symbols.len() * size_of::<u32>()) as u64
    }

    /// All symbols, sorted.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        (0..self.symbols.len() as u32).filter_map(|i| self.symbol(i))
    }

    /// Label names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(|n| &**n)
    }

    /// Calls `f` with every value of a label, sorted, and the offset of its postings, until `f` says false.
    pub fn values(&self, name: &str, f: impl FnMut(&str, u64) -> bool) -> Result<(), BlockError> {
        self.values_with(name, "", f)
    }

    /// [`IndexReader::values`] that begin with `prefix`.
    pub fn values_with(
        &self,
        name: &str,
        prefix: &str,
        mut f: impl FnMut(&str, u64) -> bool,
    ) -> Result<(), BlockError> {
        let Some(list) = self.values.get(name) else { return Ok(()) };
        let before = list.partition_point(|(v, _)| &**v <= prefix).saturating_sub(1);
        let Some((_, first)) = list.get(before) else { return Ok(()) };
        let mut cursor = self.table_from(*first)?;
        while !cursor.is_empty() {
            let (n, value, postings) =
                take_entry(&mut cursor).ok_or_else(|| self.corrupt("postings offset table is malformed"))?;
            if n != name {
                break;
            }
            if value.starts_with(prefix) {
                if !f(value, postings) {
                    break;
                }
            } else if value > prefix {
                break;
            }
        }
        Ok(())
    }

    fn table_from(&self, at: usize) -> Result<Cursor<'_>, BlockError> {
        let bytes = self.map.get(at..self.table_end);
        bytes.map(Cursor::new).ok_or_else(|| self.corrupt("postings offset table is malformed"))
    }

    /// Ids of series with this label pair; `None` when no series has it.
    pub fn postings(&self, name: &str, value: &str) -> Result<Option<Mapped<'_>>, BlockError> {
        let Some(list) = self.values.get(name) else { return Ok(None) };
        let after = list.partition_point(|(v, _)| &**v <= value);
        let Some((_, at)) = after.checked_sub(1).and_then(|i| list.get(i)) else { return Ok(None) };
        let mut cursor = self.table_from(*at)?;
        for _ in 0..SAMPLED {
            match take_entry(&mut cursor) {
                Some((n, v, postings)) if n == name && v == value => {
                    return self.postings_at(postings).map(Some);
                }
                Some((n, v, _)) if n == name && v < value => {}
                _ => break,
            }
        }
        Ok(None)
    }

    /// Ids of all series.
    pub fn all_postings(&self) -> Result<Mapped<'_>, BlockError> {
        self.all_postings.map_or_else(|| Ok(Mapped::new(&[])), |at| self.postings_at(at))
    }

    /// The list at an offset that [`IndexReader::values`] gave. The checksum of a long one is verified once.
    pub fn postings_at(&self, at: u64) -> Result<Mapped<'_>, BlockError> {
        let broken = || self.corrupt(format!("no valid postings at offset {at}"));
        let known = self.verified.lock().contains(&at);
        let content = if known { self.content(at) } else { self.section(at).map(|(_, content)| content) };
        let content = content.ok_or_else(broken)?;
        if !known && content.len() >= LONG_LIST_BYTES {
            self.verified.lock().insert(at);
        }
        let (count, ids) = content.split_first_chunk::<4>().ok_or_else(broken)?;
        let (count, list) = (u32::from_be_bytes(*count) as usize, Mapped::new(ids));
        if list.len() != count {
            return Err(
                self.corrupt(format!("postings at offset {at}: {} entries, {count} announced", list.len()))
            );
        }
        Ok(list)
    }

    /// Length of the list at an offset, as it says itself.
    pub fn postings_len(&self, at: u64) -> usize {
        let count = self.content(at).and_then(|content| content.first_chunk::<4>());
        count.map_or(0, |n| u32::from_be_bytes(*n) as usize)
    }

    /// Content of a section at an offset, unverified.
    fn content(&self, at: u64) -> Option<&[u8]> {
        let mut cursor = Cursor::new(self.map.get(usize::try_from(at).ok()?..)?);
        let len = cursor.be32()? as usize;
        cursor.take(len)
    }

    /// Tells of the symbols of the labels of a series, names and values. Unverified.
    pub fn series_symbols(&self, id: u32, mut f: impl FnMut(u32, u32)) -> Option<()> {
        let mut cursor = Cursor::new(self.map.get((id as usize).checked_mul(16)?..)?);
        cursor.uvarint()?;
        for _ in 0..cursor.uvarint()? {
            f(u32::try_from(cursor.uvarint()?).ok()?, u32::try_from(cursor.uvarint()?).ok()?);
        }
        Some(())
    }

    /// Labels and chunks of a series.
    pub fn series(&self, id: u32) -> Result<(Labels, Vec<ChunkMeta>), BlockError> {
        let mut chunks = Vec::new();
        self.series_chunks(id, &mut chunks)?;
        let labels = self.labels(id, None).ok_or_else(|| self.no_series(id))?;
        Ok((labels, chunks))
    }

    fn no_series(&self, id: u32) -> BlockError {
        self.corrupt(format!("no valid series with id {id}"))
    }

    /// Appends the chunks of a series; gives its labels as symbols. Names are sorted and unique, values not
    /// empty, and the checksum is right.
    pub fn series_chunks(&self, id: u32, chunks: &mut Vec<ChunkMeta>) -> Result<SymbolPairs<'_>, BlockError> {
        self.read_chunks(id, chunks).ok_or_else(|| self.no_series(id))
    }

    /// Bytes of a series without length and checksum.
    fn series_body(&self, id: u32, verify: bool) -> Option<&[u8]> {
        let mut cursor = Cursor::new(self.map.get((id as usize).checked_mul(16)?..)?);
        let len = usize::try_from(cursor.uvarint()?).ok()?;
        let body = cursor.take(len)?;
        (!verify || cursor.be32()? == crc32c(body)).then_some(body)
    }

    fn read_chunks(&self, id: u32, chunks: &mut Vec<ChunkMeta>) -> Option<SymbolPairs<'_>> {
        let body = self.series_body(id, true)?;
        let mut cursor = Cursor::new(body);
        let count = cursor.uvarint()?;
        let labels = SymbolPairs { cursor, left: count };
        let (mut before, limit) = (None, self.symbols.len() as u32);
        for _ in 0..count {
            let (name, value) = take_pair(&mut cursor)?;
            // Symbols are sorted, so their numbers sort like the texts, and only the first can be empty.
            if before.is_some_and(|before| before >= name) || name.max(value) >= limit {
                return None;
            }
            if value == 0 && self.symbol(0)?.is_empty() {
                return None;
            }
            before = Some(name);
        }
        if !self.symbols_sound {
            self.labels(id, None)?;
        }
        let count = cursor.uvarint()? as usize;
        chunks.reserve(count.min(MAX_PREALLOCATED));
        let mut last: Option<ChunkMeta> = None;
        for _ in 0..count {
            let min = match &last {
                None => cursor.varint()?,
                Some(last) => last.range.max.checked_add_unsigned(cursor.uvarint()?)?,
            };
            let max = min.checked_add_unsigned(cursor.uvarint()?)?;
            let reference = match &last {
                None => cursor.uvarint()?,
                Some(last) => last.reference.wrapping_add_signed(cursor.varint()?),
            };
            let meta = ChunkMeta { range: TimeRange::new(min, max), reference };
            chunks.push(meta);
            last = Some(meta);
        }
        Some(labels)
    }

    /// Labels of a series whose checksum was verified before: all, or those whose names are among these symbols.
    /// `None` when it is damaged.
    pub fn labels(&self, id: u32, names: Option<&[u32]>) -> Option<Labels> {
        if names.is_some_and(<[u32]>::is_empty) {
            return Some(Labels::empty());
        }
        let mut cursor = Cursor::new(self.series_body(id, false)?);
        let count = cursor.uvarint()?;
        let mut pairs = Vec::with_capacity((count as usize).min(MAX_PREALLOCATED));
        for _ in 0..count {
            let (name, value) = take_pair(&mut cursor)?;
            if names.is_none_or(|names| names.contains(&name)) {
                let (name, value) = (self.symbol(name)?, self.symbol(value)?);
                if pairs.last().is_some_and(|(before, _)| *before >= name) || value.is_empty() {
                    return None;
                }
                pairs.push((name, value));
            }
        }
        Some(Labels::from_sorted(pairs))
    }

    /// Symbols of those texts that are any.
    pub fn symbols_of(&self, texts: &[String]) -> Vec<u32> {
        let find = |text: &String| {
            let (mut from, mut to) = (0, self.symbols.len() as u32);
            while from < to {
                let middle = from + (to - from) / 2;
                match self.symbol(middle)?.cmp(text) {
                    std::cmp::Ordering::Less => from = middle + 1,
                    std::cmp::Ordering::Equal => return Some(middle),
                    std::cmp::Ordering::Greater => to = middle,
                }
            }
            None
        };
        texts.iter().filter_map(find).collect()
    }

    pub fn symbol_count(&self) -> usize {
        self.symbols.len()
    }

    pub(crate) fn release(&self) {
        self.map.advise(Access::Release);
    }

    pub fn size_bytes(&self) -> u64 {
        self.map.len() as u64
    }
}

/// Labels of a series as numbers of symbols: name and value.
pub struct SymbolPairs<'a> {
    cursor: Cursor<'a>,
    left: u64,
}

impl SymbolPairs<'_> {
    pub fn pairs(mut self) -> impl Iterator<Item = (u32, u32)> {
        std::iter::from_fn(move || {
            self.left = self.left.checked_sub(1)?;
            take_pair(&mut self.cursor)
        })
    }
}

fn take_pair(cursor: &mut Cursor<'_>) -> Option<(u32, u32)> {
    Some((u32::try_from(cursor.uvarint()?).ok()?, u32::try_from(cursor.uvarint()?).ok()?))
}

fn push_last(values: &mut BTreeMap<Box<str>, Vec<(Box<str>, usize)>>, name: &str, value: &str, at: usize) {
    if let Some(list) = values.get_mut(name)
        && list.last().is_some_and(|(v, _)| &**v != value)
    {
        list.push((value.into(), at));
    }
}

fn take_entry<'a>(cursor: &mut Cursor<'a>) -> Option<Entry<'a>> {
    if cursor.u8()? != 2 {
        return None;
    }
    let name = std::str::from_utf8(cursor.bytes()?).ok()?;
    let value = std::str::from_utf8(cursor.bytes()?).ok()?;
    Some((name, value, cursor.uvarint()?))
}

fn read_toc(map: &[u8]) -> Result<Toc, String> {
    let bytes = map.last_chunk::<TOC_BYTES>().ok_or("truncated")?;
    let (offsets, crc) = bytes.split_at(TOC_BYTES - 4);
    if Cursor::new(crc).be32() != Some(crc32c(offsets)) {
        return Err("table of contents fails its checksum".into());
    }
    let mut cursor = Cursor::new(offsets);
    let mut next = || cursor.be64().unwrap_or(0);
    Ok(Toc {
        symbols: next(),
        series: next(),
        label_indices: next(),
        label_indices_table: next(),
        postings: next(),
        postings_table: next(),
    })
}
