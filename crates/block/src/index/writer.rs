//! Writing an index in one pass over sorted series; postings are gathered from the file afterwards.

use super::postings_writer::{Written, gather, groups, list_bytes, table_bytes};
use super::symbols::Symbols;
use super::{MAGIC, Toc, VERSION};
use crate::error::BlockError;
use chunk::varint::{put_i64, put_u64};
use disk::crc::{Crc, crc32c};
use disk::{Buffered, Disk};
use model::{Labels, TimeRange};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1 << 19;
const SERIES_ALIGN: u64 = 16;

/// A chunk as the index names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkMeta {
    /// First and last sample, milliseconds, both included.
    pub range: TimeRange,
    pub reference: u64,
}

/// Call order: [`IndexWriter::create`] with all symbols, [`IndexWriter::add_series`] in order of the labels,
/// [`IndexWriter::finish`].
pub struct IndexWriter {
    path: PathBuf,
    out: Buffered,
    toc: Toc,
    symbols: Symbols,
    /// How many series have each label name, by symbol.
    names: BTreeMap<u32, u64>,
    /// Ids of all series. They grow, so the list is sorted.
    all: Vec<u32>,
    last: Labels,
    /// Symbols of the labels of the series before.
    last_pairs: Vec<(u32, u32)>,
    pairs: Vec<(u32, u32)>,
    scratch: Vec<u8>,
}

impl IndexWriter {
    /// `symbols`: every label name and value of the series to come, sorted, without duplicates.
    pub fn create(
        disk: &dyn Disk,
        path: &Path,
        symbols: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<Self, BlockError> {
        let mut out = Buffered::new(disk.create(path)?, BUFFER_BYTES)?;
        out.write(&MAGIC.to_be_bytes())?;
        out.write(&[VERSION])?;
        let mut writer = IndexWriter {
            path: path.to_owned(),
            out,
            toc: Toc::default(),
            symbols: Symbols::new(symbols)?,
            names: BTreeMap::new(),
            all: Vec::new(),
            last: Labels::empty(),
            last_pairs: Vec::new(),
            pairs: Vec::new(),
            scratch: Vec::new(),
        };
        writer.toc.symbols = writer.out.position();
        let IndexWriter { out, symbols, .. } = &mut writer;
        write_section(out, symbols.section())?;
        writer.pad(SERIES_ALIGN)?;
        writer.toc.series = writer.out.position();
        Ok(writer)
    }

    fn pad(&mut self, align: u64) -> Result<(), BlockError> {
        let over = self.out.position() % align;
        if over != 0 {
            self.out.write(&[0; 16][..(align - over) as usize])?;
        }
        Ok(())
    }

    fn symbol(&self, text: &str) -> Result<u32, BlockError> {
        self.symbols.find(text).ok_or_else(|| BlockError::Input(format!("symbol {text:?} was not announced")))
    }

    /// Fills `pairs`. Neighbours share most labels, so those of the series before are looked at first.
    fn resolve(&mut self, labels: &Labels) -> Result<(), BlockError> {
        let mut pairs = std::mem::take(&mut self.pairs);
        pairs.clear();
        let mut before = self.last.iter().zip(&self.last_pairs);
        let mut candidate = before.next();
        for (name, value) in labels {
            while candidate.is_some_and(|((n, _), _)| n < name) {
                candidate = before.next();
            }
            pairs.push(match candidate {
                Some(((n, v), pair)) if n == name && v == value => *pair,
                Some(((n, _), pair)) if n == name => (pair.0, self.symbol(value)?),
                _ => (self.symbol(name)?, self.symbol(value)?),
            });
        }
        self.pairs = pairs;
        Ok(())
    }

    /// Adds a series; its labels must come after those of the series before, its chunks in order of time.
    pub fn add_series(&mut self, labels: &Labels, chunks: &[ChunkMeta]) -> Result<(), BlockError> {
        if !self.all.is_empty() && self.last >= *labels {
            return Err(BlockError::Input(format!("out-of-order series added with label set {labels}")));
        }
        self.pad(SERIES_ALIGN)?;
        let id = u32::try_from(self.out.position() / SERIES_ALIGN)
            .map_err(|_| BlockError::Input("series section exceeds 64 GiB".into()))?;
        self.resolve(labels)?;

        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        put_u64(&mut body, self.pairs.len() as u64);
        for (name, value) in &self.pairs {
            put_u64(&mut body, u64::from(*name));
            put_u64(&mut body, u64::from(*value));
        }
        put_u64(&mut body, chunks.len() as u64);
        let mut before: Option<&ChunkMeta> = None;
        for chunk in chunks {
            let span = chunk.range.max.wrapping_sub(chunk.range.min) as u64;
            match before {
                None => {
                    put_i64(&mut body, chunk.range.min);
                    put_u64(&mut body, span);
                    put_u64(&mut body, chunk.reference);
                }
                Some(last) => {
                    if chunk.range.min <= last.range.max {
                        self.scratch = body;
                        return Err(BlockError::Input(format!("chunks of {labels} overlap")));
                    }
                    put_u64(&mut body, (chunk.range.min - last.range.max) as u64);
                    put_u64(&mut body, span);
                    put_i64(&mut body, chunk.reference.wrapping_sub(last.reference) as i64);
                }
            }
            before = Some(chunk);
        }
        let mut head = Vec::with_capacity(5);
        put_u64(&mut head, body.len() as u64);
        self.out.write(&head)?;
        self.out.write(&body)?;
        self.out.write(&crc32c(&body).to_be_bytes())?;
        self.scratch = body;
        for (name, _) in &self.pairs {
            *self.names.entry(*name).or_default() += 1;
        }
        self.all.push(id);
        self.last = labels.clone();
        std::mem::swap(&mut self.last_pairs, &mut self.pairs);
        Ok(())
    }

    /// Writes postings, their table and the table of contents; durable on `Ok`.
    pub fn finish(mut self, disk: &dyn Disk) -> Result<(), BlockError> {
        let series_end = self.out.position();
        self.toc.label_indices = series_end;
        self.pad(4)?;
        self.toc.postings = self.out.position();
        let all = std::mem::take(&mut self.all);
        write_list(&mut self.out, &mut self.scratch, all.len(), all.iter().copied())?;
        let first = self.out.position();
        let count = all.len() as u32;
        drop(all);
        let written = self.write_postings(disk, series_end)?;
        debug_assert_eq!(
            self.out.position(),
            first + written.iter().map(|w| list_bytes(w.count)).sum::<u64>()
        );

        self.toc.label_indices_table = self.out.position();
        self.toc.postings_table = self.out.position();
        self.write_table(&written, first - list_bytes(count), first)?;

        let mut toc = Vec::with_capacity(super::TOC_BYTES);
        let Toc { symbols, series, label_indices, label_indices_table, postings, postings_table } = self.toc;
        for offset in [symbols, series, label_indices, label_indices_table, postings, postings_table] {
            toc.extend_from_slice(&offset.to_be_bytes());
        }
        toc.extend_from_slice(&crc32c(&toc).to_be_bytes());
        self.out.write(&toc)?;
        Ok(self.out.sync()?)
    }

    /// Lists of all pairs, one behind the other.
    fn write_postings(&mut self, disk: &dyn Disk, series_end: u64) -> Result<Vec<Written>, BlockError> {
        let mut written: Vec<Written> = Vec::new();
        if self.names.is_empty() {
            return Ok(written);
        }
        self.out.flush()?;
        let file = disk.open(&self.path)?;
        let IndexWriter { out, scratch, names, .. } = self;
        for group in groups(names) {
            gather(&*file, self.toc.series..series_end, &group, names, |list, ids| {
                written.push(list);
                write_list(out, scratch, ids.len(), ids.iter().map(|id| *id as u32))
            })?;
        }
        Ok(written)
    }

    /// The postings offset table, sorted by the texts: symbols are sorted, so their numbers sort like them.
    fn write_table(&mut self, written: &[Written], all: u64, first: u64) -> Result<(), BlockError> {
        let bytes = table_bytes(&self.symbols, written, all, first);
        let len = u32::try_from(bytes)
            .map_err(|_| BlockError::Input(format!("index section of {bytes} bytes is too large")))?;
        let IndexWriter { out, symbols, scratch, .. } = self;
        out.write(&len.to_be_bytes())?;
        let mut crc = Crc::new();
        scratch.clear();
        scratch.extend_from_slice(&(written.len() as u32 + 1).to_be_bytes());
        push_entry(scratch, "", "", all);
        let mut at = first;
        for list in written {
            push_entry(scratch, symbols.text(list.name), symbols.text(list.value), at);
            at += list_bytes(list.count);
            if scratch.len() >= BUFFER_BYTES {
                crc.update(scratch);
                out.write(scratch)?;
                scratch.clear();
            }
        }
        crc.update(scratch);
        out.write(scratch)?;
        Ok(out.write(&crc.finish().to_be_bytes())?)
    }
}

/// Length, content, checksum.
fn write_section(out: &mut Buffered, content: &[u8]) -> Result<(), BlockError> {
    let len = u32::try_from(content.len())
        .map_err(|_| BlockError::Input(format!("index section of {} bytes is too large", content.len())))?;
    out.write(&len.to_be_bytes())?;
    out.write(content)?;
    Ok(out.write(&crc32c(content).to_be_bytes())?)
}

/// A postings list. Every one is a multiple of four bytes long, so that all of them are aligned as the format asks.
fn write_list(
    out: &mut Buffered,
    scratch: &mut Vec<u8>,
    count: usize,
    ids: impl Iterator<Item = u32>,
) -> Result<(), BlockError> {
    scratch.clear();
    scratch.extend_from_slice(&(count as u32).to_be_bytes());
    scratch.extend(ids.flat_map(u32::to_be_bytes));
    write_section(out, scratch)
}

fn push_entry(table: &mut Vec<u8>, name: &str, value: &str, at: u64) {
    table.push(2);
    for text in [name, value] {
        put_u64(table, text.len() as u64);
        table.extend_from_slice(text.as_bytes());
    }
    put_u64(table, at);
}
