//! Writing postings: the series that were written are read back from the file, a few label names at a time, so that
//! memory does not grow with the number of labels.

use super::symbols::Symbols;
use crate::decode::Cursor;
use crate::error::BlockError;
use disk::File;
use std::collections::BTreeMap;

/// Entries of postings that are gathered at once, unless one label name alone has more. An entry takes 8 bytes.
const GATHERED: u64 = 1 << 20;
const READ_BYTES: usize = 1 << 18;
const SERIES_ALIGN: u64 = 16;

/// A list that was written: symbols of name and value, and how many series.
#[derive(Clone, Copy)]
pub(super) struct Written {
    pub(super) name: u32,
    pub(super) value: u32,
    pub(super) count: u32,
}

/// Names in groups whose entries fit into memory: `counts` are the entries by symbol of the name.
pub(super) fn groups(counts: &BTreeMap<u32, u64>) -> Vec<Vec<u32>> {
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut held = 0;
    for (name, count) in counts {
        match groups.last_mut() {
            Some(group) if held + count <= GATHERED => {
                group.push(*name);
                held += count;
            }
            _ => {
                groups.push(vec![*name]);
                held = *count;
            }
        }
    }
    groups
}

/// Gives `each` the sorted ids of every value of the names of one group, in order of names and values.
pub(super) fn gather(
    file: &dyn File,
    section: std::ops::Range<u64>,
    group: &[u32],
    counts: &BTreeMap<u32, u64>,
    mut each: impl FnMut(Written, &[u64]) -> Result<(), BlockError>,
) -> Result<(), BlockError> {
    // Value and id of each entry, by name. The value stands above, so that sorting groups by value and keeps
    // ids in order.
    let room = |name: &u32| Vec::with_capacity(counts.get(name).map_or(0, |n| *n as usize));
    let mut entries: Vec<Vec<u64>> = group.iter().map(room).collect();
    let last = group.last().copied().unwrap_or(0);
    scan(file, section, |id, mut labels| {
        let mut next = 0;
        while let Some((name, value)) = labels.next_pair() {
            // The names of a series are sorted, as are those of the group.
            while group.get(next).is_some_and(|n| *n < name) {
                next += 1;
            }
            if name > last {
                break;
            }
            if group.get(next) == Some(&name) {
                entries[next].push(u64::from(value) << 32 | u64::from(id));
            }
        }
    })?;
    for (name, list) in group.iter().zip(&mut entries) {
        list.sort_unstable();
        for ids in list.chunk_by(|a, b| a >> 32 == b >> 32) {
            let value = ids.first().map_or(0, |id| (id >> 32) as u32);
            each(Written { name: *name, value, count: ids.len() as u32 }, ids)?;
        }
        *list = Vec::new();
    }
    Ok(())
}

/// The labels of one series as symbols.
pub(super) struct Pairs<'a> {
    cursor: Cursor<'a>,
    left: u64,
}

impl Pairs<'_> {
    fn next_pair(&mut self) -> Option<(u32, u32)> {
        self.left = self.left.checked_sub(1)?;
        Some((self.cursor.uvarint()? as u32, self.cursor.uvarint()? as u32))
    }
}

/// Reads the series section from its first to its last byte.
fn scan(
    file: &dyn File,
    section: std::ops::Range<u64>,
    mut each: impl FnMut(u32, Pairs<'_>),
) -> Result<(), BlockError> {
    let malformed = || BlockError::corrupt(file.path(), "series that were just written cannot be read");
    let mut buffer = vec![0; READ_BYTES];
    // `buffer[..filled]` is what stands at `base` in the file.
    let (mut base, mut filled) = (section.start, 0usize);
    let mut at = section.start;
    while at < section.end {
        let from = (at - base) as usize;
        let mut cursor = Cursor::new(buffer.get(from..filled).unwrap_or_default());
        let entry = cursor.uvarint().and_then(|len| {
            let body = cursor.take(usize::try_from(len).ok()?)?;
            cursor.take(4)?;
            Some(body)
        });
        let Some(body) = entry else {
            // The rest of the entry lies behind the buffer.
            if base == at && filled == buffer.len() {
                buffer.resize(buffer.len() * 2, 0);
            }
            let before = (base, filled);
            base = at;
            filled = file.read_at(base, &mut buffer)?;
            filled = filled.min((section.end - base) as usize);
            if (base, filled) == before {
                return Err(malformed());
            }
            continue;
        };
        let end = base + (filled - cursor.rest().len()) as u64;
        let mut labels = Cursor::new(body);
        let left = labels.uvarint().ok_or_else(malformed)?;
        each((at / SERIES_ALIGN) as u32, Pairs { cursor: labels, left });
        at = end.next_multiple_of(SERIES_ALIGN);
    }
    Ok(())
}

/// Bytes of the postings offset table without its length and checksum.
pub(super) fn table_bytes(symbols: &Symbols, written: &[Written], all: u64, first: u64) -> u64 {
    let text = |len: usize| varint_len(len as u64) + len as u64;
    let mut bytes = 4 + 1 + 2 + varint_len(all);
    let mut at = first;
    for list in written {
        bytes +=
            1 + text(symbols.text(list.name).len()) + text(symbols.text(list.value).len()) + varint_len(at);
        at += list_bytes(list.count);
    }
    bytes
}

/// Bytes of a list with its length and checksum.
pub(super) fn list_bytes(count: u32) -> u64 {
    12 + u64::from(count) * 4
}

fn varint_len(n: u64) -> u64 {
    u64::from((64 - (n | 1).leading_zeros()).div_ceil(7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_varints() {
        for n in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            chunk::varint::put_u64(&mut out, n);
            assert_eq!(out.len() as u64, varint_len(n), "{n}");
        }
    }

    #[test]
    fn names_are_grouped_by_size() {
        let counts = [(1, GATHERED - 1), (2, 1), (5, 1), (7, GATHERED * 3), (9, 2)].into();
        assert_eq!(groups(&counts), [vec![1, 2], vec![5], vec![7], vec![9]]);
    }
}
