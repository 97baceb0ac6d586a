//! Fragments and pages: how the bytes of a record lie in a segment.
//!
//! A segment is a row of 32 KiB pages. A fragment has 7 bytes of header and lies within one page:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | low 3 bits: 1 full, 2 first, 3 middle, 4 last; `0x08` snappy, `0x10` zstd |
//! | 1 | 2 | length of the data, big-endian |
//! | 3 | 4 | CRC-32C of the data |
//!
//! Where fewer than 7 bytes are left in a page, or at a byte 0 in place of a header, the rest of the page is
//! zero.

use disk::crc::crc32c;

pub const PAGE_BYTES: usize = 32 << 10;
pub(super) const HEADER_BYTES: usize = 7;

pub(super) const FULL: u8 = 1;
pub(super) const FIRST: u8 = 2;
pub(super) const MIDDLE: u8 = 3;
pub(super) const LAST: u8 = 4;
pub(super) const KIND_MASK: u8 = 7;

/// Appends a record that begins at `offset` of its segment, and gives the offset behind it. `flag` tells the
/// compression. `parts` counts fragments.
pub(super) fn put(out: &mut Vec<u8>, offset: u64, record: &[u8], flag: u8, parts: &mut u64) -> u64 {
    let mut at = offset;
    let mut rest = record;
    let mut first = true;
    loop {
        let room = PAGE_BYTES - (at % PAGE_BYTES as u64) as usize - HEADER_BYTES;
        let (part, after) = rest.split_at(rest.len().min(room));
        let kind = match (first, after.is_empty()) {
            (true, true) => FULL,
            (true, false) => FIRST,
            (false, false) => MIDDLE,
            (false, true) => LAST,
        };
        out.push(kind | flag);
        out.extend_from_slice(&(part.len() as u16).to_be_bytes());
        out.extend_from_slice(&crc32c(part).to_be_bytes());
        out.extend_from_slice(part);
        *parts += 1;
        at += (HEADER_BYTES + part.len()) as u64;
        let left = PAGE_BYTES - (at % PAGE_BYTES as u64) as usize;
        if left < HEADER_BYTES {
            out.resize(out.len() + left, 0);
            at += left as u64;
        }
        (rest, first) = (after, false);
        if rest.is_empty() {
            return at;
        }
    }
}

/// Offset behind a record of `len` bytes that begins at `offset`.
pub(super) fn end_after(offset: u64, len: usize) -> u64 {
    let (mut at, mut rest) = (offset, len);
    loop {
        let room = PAGE_BYTES - (at % PAGE_BYTES as u64) as usize - HEADER_BYTES;
        let part = rest.min(room);
        at += (HEADER_BYTES + part) as u64;
        let left = PAGE_BYTES - (at % PAGE_BYTES as u64) as usize;
        if left < HEADER_BYTES {
            at += left as u64;
        }
        rest -= part;
        if rest == 0 {
            return at;
        }
    }
}

/// Zeros from `offset` to the end of its page; none at the beginning of a page.
pub(super) fn padding(offset: u64) -> usize {
    (PAGE_BYTES - (offset % PAGE_BYTES as u64) as usize) % PAGE_BYTES
}

/// One fragment of a segment.
pub(super) struct Fragment<'a> {
    pub(super) header: u8,
    pub(super) data: &'a [u8],
    /// Offset behind it.
    pub(super) end: usize,
}

/// What lies at an offset of a segment.
pub(super) enum Found<'a> {
    Fragment(Fragment<'a>),
    /// Zeros up to this offset, where a page begins.
    Padding(usize),
    /// The bytes end.
    End,
    /// Nothing that a writer would write.
    Bad(&'static str),
}

impl Fragment<'_> {
    pub(super) fn kind(&self) -> u8 {
        self.header & KIND_MASK
    }
}

/// Looks at the fragment at `at`. `data` are the bytes of the segment (or of whole pages of it).
pub(super) fn look(data: &[u8], at: usize) -> Found<'_> {
    let page_end = (at / PAGE_BYTES + 1) * PAGE_BYTES;
    let page = &data[at.min(data.len())..page_end.min(data.len())];
    let Some(header) = page.first() else { return Found::End };
    if header & KIND_MASK == 0 || page_end - at < HEADER_BYTES {
        return match page.iter().all(|b| *b == 0) {
            true => Found::Padding(page_end),
            false => Found::Bad("unexpected non-zero byte in padded page"),
        };
    }
    let Some((head, rest)) = page.split_first_chunk::<HEADER_BYTES>() else {
        return Found::Bad("header is cut short");
    };
    let len = usize::from(u16::from_be_bytes([head[1], head[2]]));
    if len > page_end - at - HEADER_BYTES {
        return Found::Bad("fragment is longer than its page");
    }
    let Some(bytes) = rest.get(..len) else { return Found::Bad("fragment is cut short") };
    if crc32c(bytes) != u32::from_be_bytes([head[3], head[4], head[5], head[6]]) {
        return Found::Bad("unexpected checksum");
    }
    if header & KIND_MASK > LAST {
        return Found::Bad("unexpected fragment type");
    }
    Found::Fragment(Fragment { header: *header, data: bytes, end: at + HEADER_BYTES + len })
}
