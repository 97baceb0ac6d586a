//! The symbol table while an index is written: texts in one buffer, found again by hash.

use crate::error::BlockError;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// Sorted texts, numbered from 0. The buffer is the content of the symbol section as it goes to the file.
pub(super) struct Symbols {
    section: Vec<u8>,
    /// Where the text of each symbol begins and ends in `section`.
    spans: Vec<(u32, u32)>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Symbols {
    pub(super) fn new(texts: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, BlockError> {
        let mut symbols = Symbols {
            section: vec![0; 4],
            spans: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        };
        let mut last = (0, 0);
        for text in texts {
            let text = text.as_ref();
            if !symbols.spans.is_empty() && symbols.at(last) >= text {
                return Err(BlockError::Input(format!("symbol {text:?} is out of order")));
            }
            chunk::varint::put_u64(&mut symbols.section, text.len() as u64);
            let from = symbols.section.len();
            symbols.section.extend_from_slice(text.as_bytes());
            last = (from as u32, symbols.section.len() as u32);
            if u32::try_from(symbols.section.len()).is_err() {
                return Err(BlockError::Input("symbol table exceeds 4 GiB".into()));
            }
            symbols.spans.push(last);
        }
        let count = symbols.spans.len() as u32;
        symbols.section[..4].copy_from_slice(&count.to_be_bytes());
        symbols.spans.shrink_to_fit();
        let Symbols { section, spans, table, hasher } = &mut symbols;
        table.reserve(spans.len(), |_| 0);
        for number in 0..count {
            let hash = hasher.hash_one(text_of(section, spans[number as usize]));
            table.insert_unique(hash, number, |n| hasher.hash_one(text_of(section, spans[*n as usize])));
        }
        Ok(symbols)
    }

    /// Content of the section in the file.
    pub(super) fn section(&self) -> &[u8] {
        &self.section
    }

    fn at(&self, span: (u32, u32)) -> &str {
        std::str::from_utf8(text_of(&self.section, span)).unwrap_or_default()
    }

    /// Text of a symbol; empty for a number that was not given out.
    pub(super) fn text(&self, number: u32) -> &str {
        self.spans.get(number as usize).map_or("", |span| self.at(*span))
    }

    pub(super) fn find(&self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text.as_bytes());
        let same = |n: &u32| text_of(&self.section, self.spans[*n as usize]) == text.as_bytes();
        self.table.find(hash, same).copied()
    }
}

fn text_of(section: &[u8], (from, to): (u32, u32)) -> &[u8] {
    section.get(from as usize..to as usize).unwrap_or_default()
}

/// Sorted streams of texts as one, each text once. The streams are few, so the smallest head is found by looking
/// at all of them.
pub(crate) struct Merged<'a, I: Iterator<Item = &'a str>> {
    streams: Vec<std::iter::Peekable<I>>,
}

impl<'a, I: Iterator<Item = &'a str>> Merged<'a, I> {
    pub(crate) fn new(streams: impl IntoIterator<Item = I>) -> Self {
        Merged { streams: streams.into_iter().map(Iterator::peekable).collect() }
    }
}

impl<'a, I: Iterator<Item = &'a str>> Iterator for Merged<'a, I> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let smallest = self.streams.iter_mut().filter_map(|s| s.peek().copied()).min()?;
        for stream in &mut self.streams {
            stream.next_if(|text| *text <= smallest);
        }
        Some(smallest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_by_number_and_by_text() {
        let texts: Vec<String> = (0..1000).map(|n| format!("text-{n:04}")).collect();
        let symbols = Symbols::new(&texts).expect("sorted");
        for (number, text) in (0..).zip(&texts) {
            assert_eq!(symbols.find(text), Some(number));
            assert_eq!(symbols.text(number), text);
        }
        assert_eq!(symbols.find("nope"), None);
        assert_eq!(symbols.text(1000), "");
        assert!(Symbols::new(["b", "a"]).is_err());
        assert!(Symbols::new(["", ""]).is_err());
        assert!(Symbols::new(["", "a"]).is_ok());
    }

    #[test]
    fn streams_merge() {
        let streams = [vec!["", "a", "c"], vec!["a", "b", "d"], vec![], vec!["d"]];
        let merged: Vec<&str> = Merged::new(streams.iter().map(|s| s.iter().copied())).collect();
        assert_eq!(merged, ["", "a", "b", "c", "d"]);
    }
}
