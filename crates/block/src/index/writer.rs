//! Writing an index in one pass over sorted series.

use super::{MAGIC, Toc, VERSION};
use crate::error::BlockError;
use chunk::varint::{put_i64, put_u64};
use disk::crc::{Crc, crc32c};
use disk::{Buffered, Disk};
use model::{Labels, TimeRange};
use std::collections::HashMap;
use std::path::Path;

const BUFFER_BYTES: usize = 1 << 20;
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
    out: Buffered,
    toc: Toc,
    symbols: HashMap<Box<str>, u32>,
    names_in_order: Vec<Box<str>>,
    /// Series ids by symbols of name and value. Ids grow, so the lists are sorted.
    postings: HashMap<(u32, u32), Vec<u32>>,
    all: Vec<u32>,
    last: Option<Labels>,
    scratch: Vec<u8>,
}

impl IndexWriter {
    /// `symbols`: every label name and value of the series to come, sorted, without duplicates.
    pub fn create(
        disk: &dyn Disk,
        path: &Path,
        symbols: impl ExactSizeIterator<Item = Box<str>>,
    ) -> Result<Self, BlockError> {
        let mut out = Buffered::new(disk.create(path)?, BUFFER_BYTES)?;
        out.write(&MAGIC.to_be_bytes())?;
        out.write(&[VERSION])?;
        let mut writer = IndexWriter {
            out,
            toc: Toc::default(),
            symbols: HashMap::with_capacity(symbols.len()),
            names_in_order: Vec::with_capacity(symbols.len()),
            postings: HashMap::new(),
            all: Vec::new(),
            last: None,
            scratch: Vec::new(),
        };
        writer.write_symbols(symbols)?;
        writer.pad(SERIES_ALIGN)?;
        writer.toc.series = writer.out.position();
        Ok(writer)
    }

    fn write_symbols(&mut self, symbols: impl ExactSizeIterator<Item = Box<str>>) -> Result<(), BlockError> {
        self.toc.symbols = self.out.position();
        let mut section = (symbols.len() as u32).to_be_bytes().to_vec();
        for (i, symbol) in symbols.enumerate() {
            if self.names_in_order.last().is_some_and(|before| before >= &symbol) {
                return Err(BlockError::Input(format!("symbol {symbol:?} is out of order")));
            }
            put_u64(&mut section, symbol.len() as u64);
            section.extend_from_slice(symbol.as_bytes());
            self.symbols.insert(symbol.clone(), i as u32);
            self.names_in_order.push(symbol);
        }
        self.write_section(&section)
    }

    /// Length, content, checksum.
    fn write_section(&mut self, content: &[u8]) -> Result<(), BlockError> {
        let len = u32::try_from(content.len()).map_err(|_| {
            BlockError::Input(format!("index section of {} bytes is too large", content.len()))
        })?;
        self.out.write(&len.to_be_bytes())?;
        self.out.write(content)?;
        Ok(self.out.write(&crc32c(content).to_be_bytes())?)
    }

    fn pad(&mut self, align: u64) -> Result<(), BlockError> {
        let over = self.out.position() % align;
        if over != 0 {
            self.out.write(&[0; 16][..(align - over) as usize])?;
        }
        Ok(())
    }

    fn symbol(&self, text: &str) -> Result<u32, BlockError> {
        let found = self.symbols.get(text).copied();
        found.ok_or_else(|| BlockError::Input(format!("symbol {text:?} was not announced")))
    }

    /// Adds a series; its labels must come after those of the series before, its chunks in order of time.
    pub fn add_series(&mut self, labels: &Labels, chunks: &[ChunkMeta]) -> Result<(), BlockError> {
        if self.last.as_ref().is_some_and(|before| before >= labels) {
            return Err(BlockError::Input(format!("out-of-order series added with label set {labels}")));
        }
        self.pad(SERIES_ALIGN)?;
        let id = u32::try_from(self.out.position() / SERIES_ALIGN)
            .map_err(|_| BlockError::Input("series section exceeds 64 GiB".into()))?;

        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        put_u64(&mut body, labels.len() as u64);
        for (name, value) in labels {
            let pair = (self.symbol(name)?, self.symbol(value)?);
            put_u64(&mut body, u64::from(pair.0));
            put_u64(&mut body, u64::from(pair.1));
            self.postings.entry(pair).or_default().push(id);
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
        self.all.push(id);
        self.last = Some(labels.clone());
        Ok(())
    }

    fn write_postings(&mut self, ids: &[u32]) -> Result<u64, BlockError> {
        self.pad(4)?;
        let at = self.out.position();
        let mut section = Vec::with_capacity(4 + ids.len() * 4);
        section.extend_from_slice(&(ids.len() as u32).to_be_bytes());
        for id in ids {
            section.extend_from_slice(&id.to_be_bytes());
        }
        self.write_section(&section)?;
        Ok(at)
    }

    /// Writes postings, their table and the table of contents; durable on `Ok`.
    pub fn finish(mut self) -> Result<(), BlockError> {
        self.toc.label_indices = self.out.position();
        self.pad(4)?;
        self.toc.postings = self.out.position();
        let all = std::mem::take(&mut self.all);
        let mut entries: Vec<((u32, u32), Vec<u32>)> =
            std::mem::take(&mut self.postings).into_iter().collect();
        // Symbols are sorted, so their numbers sort like the texts.
        entries.sort_unstable_by_key(|(pair, _)| *pair);

        let mut table = (entries.len() as u32 + 1).to_be_bytes().to_vec();
        let push = |table: &mut Vec<u8>, name: &str, value: &str, at: u64| {
            table.push(2);
            for text in [name, value] {
                put_u64(table, text.len() as u64);
                table.extend_from_slice(text.as_bytes());
            }
            put_u64(table, at);
        };
        let at = self.write_postings(&all)?;
        push(&mut table, "", "", at);
        for ((name, value), ids) in entries {
            let at = self.write_postings(&ids)?;
            let text = |symbol: u32| self.names_in_order.get(symbol as usize).map_or("", |t| t);
            push(&mut table, text(name), text(value), at);
        }
        self.toc.label_indices_table = self.out.position();
        self.toc.postings_table = self.out.position();
        self.write_section(&table)?;

        let mut toc = Vec::with_capacity(super::TOC_BYTES);
        let Toc { symbols, series, label_indices, label_indices_table, postings, postings_table } = self.toc;
        for offset in [symbols, series, label_indices, label_indices_table, postings, postings_table] {
            toc.extend_from_slice(&offset.to_be_bytes());
        }
        let mut crc = Crc::new();
        crc.update(&toc);
        toc.extend_from_slice(&crc.finish().to_be_bytes());
        self.out.write(&toc)?;
        Ok(self.out.sync()?)
    }
}
