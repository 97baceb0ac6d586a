//! Reading finished segments, over damage.
//!
//! A damaged place costs the rest of its page and the records that reach into it; reading goes on at the next
//! page, where a record begins. Everything else is delivered.

use super::compress::{Compression, unpack};
use super::frame::{self, FIRST, FULL, Found, MIDDLE, PAGE_BYTES};
use super::segment::Segment;
use disk::{Disk, Map};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of a segment that hold no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub segment: u32,
    pub from: u64,
    pub to: u64,
    /// Nothing readable follows: a write that did not finish, rather than decay.
    pub torn: bool,
    pub reason: &'static str,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "corruption in segment {} at {}: {}", self.path.display(), self.from, self.reason)
    }
}

impl Damage {
    pub(super) fn log(&self) {
        tracing::warn!(
            component = "tsdb",
            segment = %self.path.display(),
            offset = self.from,
            bytes = self.to - self.from,
            torn = self.torn,
            "Skipping corrupt part of the write-ahead log: {}",
            self.reason
        );
    }
}

/// A record as it was logged.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    pub data: &'a [u8],
    /// Offsets of its first fragment and behind its last.
    pub start: u64,
    pub end: u64,
}

/// Memory for records that are compressed or lie in several fragments; reused between records.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) joined: Vec<u8>,
    pub(super) unpacked: Vec<u8>,
}

/// What comes next in a piece of a segment.
pub(super) enum Step {
    /// A record: its fragments, `joined` when there are several.
    Record {
        start: usize,
        end: usize,
        header: u8,
        whole: Option<(usize, usize)>,
    },
    /// Bytes without a record, and why.
    Lost {
        from: usize,
        to: usize,
        torn: bool,
        reason: &'static str,
    },
    End,
}

/// Finds the next record in `data` from `at` on; several fragments are joined in `joined`.
pub(super) fn step(data: &[u8], at: usize, joined: &mut Vec<u8>) -> Step {
    let mut at = at;
    // Offset of the first fragment of a record that is not complete yet, and the header bits of it.
    let mut open: Option<usize> = None;
    loop {
        let lost = |to: usize, reason| {
            let from = open.unwrap_or(at);
            let to = skip_orphans(data, to);
            Step::Lost { from, to, torn: to >= data.len(), reason }
        };
        match frame::look(data, at) {
            Found::End => match open {
                Some(_) => return lost(data.len(), "last record is torn"),
                None => return Step::End,
            },
            Found::Padding(to) => at = to.min(data.len()),
            Found::Bad(reason) => return lost((at / PAGE_BYTES + 1) * PAGE_BYTES, reason),
            Found::Fragment(fragment) => {
                let kind = fragment.kind();
                match (kind, open) {
                    (FULL, None) => {
                        let whole = Some((fragment.end - fragment.data.len(), fragment.end));
                        return Step::Record { start: at, end: fragment.end, header: fragment.header, whole };
                    }
                    (FIRST, None) => {
                        open = Some(at);
                        joined.clear();
                        joined.extend_from_slice(fragment.data);
                    }
                    (FULL | FIRST, Some(_)) => return lost(at, "record is not continued"),
                    (MIDDLE, Some(_)) => joined.extend_from_slice(fragment.data),
                    (_, Some(start)) => {
                        joined.extend_from_slice(fragment.data);
                        let header = fragment.header;
                        return Step::Record { start, end: fragment.end, header, whole: None };
                    }
                    (_, None) => return lost(at, "record without its beginning"),
                }
                at = fragment.end;
            }
        }
    }
}

/// From `at`, where a fragment, a page or the end lies: the next offset where a record may begin.
fn skip_orphans(data: &[u8], at: usize) -> usize {
    let mut at = at;
    loop {
        if at >= data.len() {
            return data.len();
        }
        match frame::look(data, at) {
            Found::Fragment(f) if matches!(f.kind(), FULL | FIRST) => return at,
            Found::Fragment(f) => at = f.end,
            Found::Padding(to) => at = to,
            Found::Bad(_) => at = (at / PAGE_BYTES + 1) * PAGE_BYTES,
            Found::End => return data.len(),
        }
    }
}

/// Where the bytes of a record are.
struct Located {
    start: usize,
    end: usize,
    place: Place,
}

enum Place {
    Map(usize, usize),
    Joined,
    Unpacked,
}

/// Reads one finished segment from a map, in place where possible. Segments are independent: several may be
/// read at the same time.
pub struct SegmentReader {
    map: Arc<Map>,
    path: PathBuf,
    number: u32,
    at: usize,
    joined: Vec<u8>,
    released: usize,
}

/// A record as it was logged, still compressed.
pub struct Packed<'a> {
    pub kind: Compression,
    pub data: &'a [u8],
    /// Offsets of its first fragment and behind its last.
    pub start: u64,
    pub end: u64,
}

/// Bytes read before the memory behind them is given back.
const RELEASE_BYTES: usize = 4 << 20;

impl SegmentReader {
    pub fn open(disk: &dyn Disk, segment: &Segment) -> disk::Result<SegmentReader> {
        let map = disk.map(&segment.path)?;
        map.advise(disk::Access::Sequential);
        let path = segment.path.clone();
        Ok(SegmentReader { map, path, number: segment.number, at: 0, joined: Vec::new(), released: 0 })
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    /// Offset behind the last record or damage.
    pub fn offset(&self) -> u64 {
        self.at as u64
    }

    /// Continues at an offset where a record begins. An offset inside of one shows as damage.
    pub fn seek(&mut self, offset: u64) {
        self.at = usize::try_from(offset).unwrap_or(usize::MAX).min(self.map.len());
    }

    /// The next record or damage without unpacking it; `None` at the end.
    pub fn next_packed(&mut self) -> Option<Result<Packed<'_>, Damage>> {
        match step(&self.map, self.at, &mut self.joined) {
            Step::End => None,
            Step::Lost { from, to, torn, reason } => {
                self.at = to.max(self.at + 1);
                Some(Err(self.damage(from, to, torn, reason)))
            }
            Step::Record { start, end, header, whole } => {
                self.at = end;
                let data = whole.map_or(&self.joined[..], |(from, to)| &self.map[from..to]);
                let kind = Compression::of_header(header);
                Some(Ok(Packed { kind, data, start: start as u64, end: end as u64 }))
            }
        }
    }

    /// Gives back the memory of what was read.
    pub fn release(&mut self) {
        if self.at >= self.released + RELEASE_BYTES {
            self.map.release(self.released..self.at);
            self.released = self.at;
        }
    }

    /// The next record or damage; `None` at the end. The record lives until the next call.
    pub fn next<'a>(&'a mut self, scratch: &'a mut Scratch) -> Option<Result<RawRecord<'a>, Damage>> {
        match self.advance(scratch)? {
            Ok(located) => Some(Ok(self.record(located, scratch))),
            Err(damage) => Some(Err(damage)),
        }
    }

    /// Moves behind the next record and tells where its bytes are.
    fn advance(&mut self, scratch: &mut Scratch) -> Option<Result<Located, Damage>> {
        self.release();
        let data: &[u8] = &self.map;
        match step(data, self.at, &mut scratch.joined) {
            Step::End => None,
            Step::Lost { from, to, torn, reason } => {
                self.at = to.max(self.at + 1);
                Some(Err(self.damage(from, to, torn, reason)))
            }
            Step::Record { start, end, header, whole } => {
                self.at = end;
                let kind = Compression::of_header(header);
                let place = if kind == Compression::None {
                    whole.map_or(Place::Joined, |(from, to)| Place::Map(from, to))
                } else {
                    let packed = whole.map_or(&scratch.joined[..], |(from, to)| &data[from..to]);
                    if unpack(kind, packed, &mut scratch.unpacked).is_err() {
                        return Some(Err(self.damage(start, end, false, "bad compressed data")));
                    }
                    Place::Unpacked
                };
                Some(Ok(Located { start, end, place }))
            }
        }
    }

    fn record<'a>(&'a self, located: Located, scratch: &'a Scratch) -> RawRecord<'a> {
        let data = match located.place {
            Place::Map(from, to) => &self.map[from..to],
            Place::Joined => &scratch.joined,
            Place::Unpacked => &scratch.unpacked,
        };
        RawRecord { data, start: located.start as u64, end: located.end as u64 }
    }

    fn damage(&self, from: usize, to: usize, torn: bool, reason: &'static str) -> Damage {
        let (from, to) = (from as u64, to as u64);
        Damage { path: self.path.clone(), segment: self.number, from, to, torn, reason }
    }
}

/// Reads segments one after the other. Damage is collected, logged once and read over.
pub struct LogReader {
    disk: Arc<dyn Disk>,
    segments: std::vec::IntoIter<Segment>,
    current: Option<SegmentReader>,
    scratch: Scratch,
    damage: Vec<Damage>,
}

impl LogReader {
    /// Over the given segments, in their order.
    pub fn new(disk: Arc<dyn Disk>, segments: Vec<Segment>) -> Self {
        LogReader {
            disk,
            segments: segments.into_iter(),
            current: None,
            scratch: Scratch::default(),
            damage: Vec::new(),
        }
    }

    /// Number of the segment of the last record.
    pub fn segment(&self) -> Option<u32> {
        self.current.as_ref().map(SegmentReader::number)
    }

    /// The next record, `Ok(None)` at the end. An error is one of the disk.
    #[allow(clippy::should_implement_trait, reason = "the record borrows the reader")]
    pub fn next(&mut self) -> disk::Result<Option<RawRecord<'_>>> {
        let located = loop {
            let Some(current) = &mut self.current else {
                match self.segments.next() {
                    None => return Ok(None),
                    Some(segment) => self.current = Some(SegmentReader::open(&*self.disk, &segment)?),
                }
                continue;
            };
            match current.advance(&mut self.scratch) {
                None => self.current = None,
                Some(Err(damage)) => {
                    damage.log();
                    self.damage.push(damage);
                }
                Some(Ok(located)) => break located,
            }
        };
        Ok(self.current.as_ref().map(|current| current.record(located, &self.scratch)))
    }

    /// What was read over so far.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    pub fn into_damage(self) -> Vec<Damage> {
        self.damage
    }
}
