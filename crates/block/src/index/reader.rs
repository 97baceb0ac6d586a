//! Reading an index from its map. In memory stand only the offsets of symbols and every 32nd entry of the
//! postings offset table.

use super::{ChunkMeta, MAGIC, TOC_BYTES, Toc};
use crate::decode::Cursor;
use crate::error::BlockError;
use disk::crc::crc32c;
use disk::{Disk, Map};
use model::{Labels, TimeRange};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SAMPLED: usize = 32;
/// Chunks of one series in a block are bounded by its time range; this bounds what a forged count allocates.
const MAX_PREALLOCATED: usize = 4096;

pub struct IndexReader {
    path: PathBuf,
    map: Arc<Map>,
    /// Offset of each symbol's length in the file.
    symbols: Vec<u32>,
    /// Every 32nd value of a label name, and the last, with the offset of its entry in the file.
    values: BTreeMap<Box<str>, Vec<(Box<str>, usize)>>,
    table_end: usize,
    all_postings: Option<u64>,
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
            values: BTreeMap::new(),
            table_end: 0,
            all_postings: None,
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
        for _ in 0..count {
            let at = from + content.len() - cursor.rest().len();
            offsets.push(u32::try_from(at).map_err(|_| "symbol table lies beyond 4 GiB")?);
            cursor.bytes().ok_or("symbol table is truncated")?;
        }
        self.symbols = offsets;
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
    pub fn values(&self, name: &str, mut f: impl FnMut(&str, u64) -> bool) -> Result<(), BlockError> {
        let Some((_, first)) = self.values.get(name).and_then(|list| list.first()) else { return Ok(()) };
        let mut cursor = self.table_from(*first)?;
        while !cursor.is_empty() {
            let (n, value, postings) =
                take_entry(&mut cursor).ok_or_else(|| self.corrupt("postings offset table is malformed"))?;
            if n != name || !f(value, postings) {
                break;
            }
        }
        Ok(())
    }

    fn table_from(&self, at: usize) -> Result<Cursor<'_>, BlockError> {
        let bytes = self.map.get(at..self.table_end);
        bytes.map(Cursor::new).ok_or_else(|| self.corrupt("postings offset table is malformed"))
    }

    /// Ids of series with this label pair.
    pub fn postings(&self, name: &str, value: &str) -> Result<Vec<u32>, BlockError> {
        let Some(list) = self.values.get(name) else { return Ok(Vec::new()) };
        let after = list.partition_point(|(v, _)| &**v <= value);
        let Some((_, at)) = after.checked_sub(1).and_then(|i| list.get(i)) else { return Ok(Vec::new()) };
        let mut cursor = self.table_from(*at)?;
        for _ in 0..SAMPLED {
            match take_entry(&mut cursor) {
                Some((n, v, postings)) if n == name && v == value => return self.postings_at(postings),
                Some((n, v, _)) if n == name && v < value => {}
                _ => break,
            }
        }
        Ok(Vec::new())
    }

    /// Ids of all series.
    pub fn all_postings(&self) -> Result<Vec<u32>, BlockError> {
        self.all_postings.map_or_else(|| Ok(Vec::new()), |at| self.postings_at(at))
    }

    /// The list at an offset that [`IndexReader::values`] gave.
    pub fn postings_at(&self, at: u64) -> Result<Vec<u32>, BlockError> {
        let (_, content) =
            self.section(at).ok_or_else(|| self.corrupt(format!("no valid postings at offset {at}")))?;
        let mut cursor = Cursor::new(content);
        let count = cursor.be32().unwrap_or(0) as usize;
        let ids: Vec<u32> = cursor
            .rest()
            .chunks_exact(4)
            .filter_map(|b| b.first_chunk())
            .map(|b| u32::from_be_bytes(*b))
            .collect();
        if ids.len() != count {
            return Err(
                self.corrupt(format!("postings at offset {at}: {} entries, {count} announced", ids.len()))
            );
        }
        Ok(ids)
    }

    /// Labels and chunks of a series.
    pub fn series(&self, id: u32) -> Result<(Labels, Vec<ChunkMeta>), BlockError> {
        self.read_series(id).ok_or_else(|| self.corrupt(format!("no valid series with id {id}")))
    }

    fn read_series(&self, id: u32) -> Option<(Labels, Vec<ChunkMeta>)> {
        let mut cursor = Cursor::new(self.map.get((id as usize).checked_mul(16)?..)?);
        let len = usize::try_from(cursor.uvarint()?).ok()?;
        let body = cursor.take(len)?;
        if cursor.be32()? != crc32c(body) {
            return None;
        }
        let mut cursor = Cursor::new(body);
        let count = cursor.uvarint()? as usize;
        let mut pairs = Vec::with_capacity(count.min(MAX_PREALLOCATED));
        for _ in 0..count {
            let name = self.symbol(u32::try_from(cursor.uvarint()?).ok()?)?;
            let value = self.symbol(u32::try_from(cursor.uvarint()?).ok()?)?;
            if pairs.last().is_some_and(|(before, _)| *before >= name) || value.is_empty() {
                return None;
            }
            pairs.push((name, value));
        }
        let count = cursor.uvarint()? as usize;
        let mut chunks: Vec<ChunkMeta> = Vec::with_capacity(count.min(MAX_PREALLOCATED));
        for _ in 0..count {
            let (min, base) = match chunks.last() {
                None => (cursor.varint()?, None),
                Some(last) => (last.range.max.checked_add_unsigned(cursor.uvarint()?)?, Some(last.reference)),
            };
            let max = min.checked_add_unsigned(cursor.uvarint()?)?;
            let reference = match base {
                None => cursor.uvarint()?,
                Some(base) => base.wrapping_add_signed(cursor.varint()?),
            };
            chunks.push(ChunkMeta { range: TimeRange::new(min, max), reference });
        }
        Some((Labels::from_sorted(pairs), chunks))
    }

    pub fn size_bytes(&self) -> u64 {
        self.map.len() as u64
    }
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
