//! Following the log as it grows: what has been logged, in order, from a position on.

use super::compress::{Compression, unpack};
use super::frame::PAGE_BYTES;
use super::options::WalError;
use super::reader::{Damage, Scratch, Step, step};
use super::segment::{segment_name, segments};
use super::writer::Wal;
use disk::File;
use std::time::Duration;
use storage::feed::Position;

/// Read at once; a longer record makes the buffer grow for a while.
const READ_BYTES: usize = 256 << 10;

/// A reader that never sees anything but whole, logged records. One thread.
pub struct Tail {
    wal: Wal,
    at: Position,
    file: Option<(u32, Box<dyn File>)>,
    /// Bytes of the segment from `from` on; `from` is the beginning of a page.
    buffer: Vec<u8>,
    from: u64,
    scratch: Scratch,
    losses: Losses,
}

/// What a tail had to skip since it was asked last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// The position was no longer in the log: reading went on at the oldest segment kept.
    pub jumped: u64,
    pub damage: Vec<Damage>,
}

impl Tail {
    /// From a position that a log gave, in this run of the program or in an earlier one.
    pub fn new(wal: &Wal, at: Position) -> Self {
        Tail {
            wal: wal.clone(),
            at,
            file: None,
            buffer: Vec::new(),
            from: 0,
            scratch: Scratch::default(),
            losses: Losses::default(),
        }
    }

    /// Behind the last record that was delivered.
    pub fn position(&self) -> Position {
        self.at
    }

    /// What was skipped since the last call.
    pub fn take_losses(&mut self) -> Losses {
        std::mem::take(&mut self.losses)
    }

    /// Waits until something may be there to read, at most `wait`; event-driven.
    pub fn wait(&self, wait: Duration) {
        self.wal.0.wait_beyond(self.at, wait);
    }

    /// The next logged record and the position behind it; `None` when everything was delivered.
    #[allow(clippy::should_implement_trait, reason = "the record borrows the tail")]
    pub fn next(&mut self) -> Result<Option<(&[u8], Position)>, WalError> {
        loop {
            let end = self.wal.end();
            if self.at.segment > end.segment
                || (self.at.segment == end.segment && self.at.offset > end.offset)
            {
                // A position of another log, or from before it was removed.
                self.jump()?;
            }
            let Some(limit) = self.limit(end)? else { continue };
            if self.at.offset >= limit {
                if self.at.segment >= end.segment {
                    return Ok(None);
                }
                self.go_to(Position { segment: self.at.segment + 1, offset: 0 });
                continue;
            }
            let covered = self.fill(limit)?;
            let at = (self.at.offset - self.from) as usize;
            let (offset, header, whole) = match step(&self.buffer, at, &mut self.scratch.joined) {
                Step::End => {
                    self.at.offset = covered;
                    continue;
                }
                Step::Lost { torn: true, .. } if covered < limit => {
                    self.extend(limit)?;
                    continue;
                }
                Step::Lost { from, to, torn, reason } => {
                    self.lost(from, to, torn, reason);
                    continue;
                }
                Step::Record { start: _, end, header, whole } => (end, header, whole),
            };
            let start = self.at.offset;
            self.at.offset = self.from + offset as u64;
            let packed = whole.map_or(&self.scratch.joined[..], |(from, to)| &self.buffer[from..to]);
            let kind = Compression::of_header(header);
            if kind == Compression::None {
                // Borrowed anew: the loop above would hold the borrow for its other rounds too.
                let data = match whole {
                    Some((from, to)) => &self.buffer[from..to],
                    None => &self.scratch.joined,
                };
                return Ok(Some((data, self.at)));
            }
            if unpack(kind, packed, &mut self.scratch.unpacked).is_err() {
                let (from, to) = ((start - self.from) as usize, offset);
                self.lost(from, to, false, "bad compressed data");
                continue;
            }
            return Ok(Some((&self.scratch.unpacked, self.at)));
        }
    }

    fn go_to(&mut self, at: Position) {
        if at.segment != self.at.segment {
            self.file = None;
            self.buffer.clear();
            self.from = 0;
        }
        self.at = at;
    }

    fn lost(&mut self, from: usize, to: usize, torn: bool, reason: &'static str) {
        let damage = Damage {
            path: self.wal.dir().join(segment_name(self.at.segment)),
            segment: self.at.segment,
            from: self.from + from as u64,
            to: self.from + to as u64,
            torn,
            reason,
        };
        self.at.offset = damage.to.max(self.at.offset + 1);
        damage.log();
        self.losses.damage.push(damage);
    }

    /// Goes on at the oldest segment kept.
    fn jump(&mut self) -> Result<(), WalError> {
        let kept = segments(&**self.wal.disk(), self.wal.dir())?;
        let end = self.wal.end();
        let next = kept.iter().find(|s| s.number > self.at.segment).or(kept.first());
        let segment = next.map_or(end.segment, |s| s.number.min(end.segment));
        self.file = None;
        self.buffer.clear();
        self.from = 0;
        self.at = Position { segment, offset: 0 };
        self.losses.jumped += 1;
        Ok(())
    }

    /// Offset up to which the current segment may be read; opens it. `None` when it was gone.
    fn limit(&mut self, end: Position) -> Result<Option<u64>, WalError> {
        if self.file.as_ref().is_none_or(|(segment, _)| *segment != self.at.segment) {
            let path = self.wal.dir().join(segment_name(self.at.segment));
            match self.wal.disk().open(&path) {
                Ok(file) => self.file = Some((self.at.segment, file)),
                Err(e) if e.is_not_found() => {
                    self.jump()?;
                    return Ok(None);
                }
                Err(e) => return Err(e.into()),
            }
        }
        match &self.file {
            Some((_, file)) if self.at.segment < end.segment => Ok(Some(file.len()?)),
            _ => Ok(Some(end.offset)),
        }
    }

    /// Has the buffer hold bytes at the current offset. Gives the offset behind the buffer.
    fn fill(&mut self, limit: u64) -> Result<u64, WalError> {
        let covered = self.from + self.buffer.len() as u64;
        if self.at.offset >= self.from && self.at.offset < covered {
            return Ok(covered);
        }
        self.buffer.clear();
        self.buffer.shrink_to(READ_BYTES);
        self.from = self.at.offset - self.at.offset % PAGE_BYTES as u64;
        self.extend(limit)
    }

    /// Doubles the buffer, at most up to `limit`.
    fn extend(&mut self, limit: u64) -> Result<u64, WalError> {
        let Some((_, file)) = &self.file else { return Ok(self.from) };
        let old = self.buffer.len();
        let most = usize::try_from(limit - self.from).unwrap_or(usize::MAX);
        // At the live end single records arrive; read what is there rather than a fixed amount.
        let new = (old * 2).max(READ_BYTES).min(most);
        self.buffer.resize(new, 0);
        let got = file.read_at(self.from + old as u64, &mut self.buffer[old..])?;
        self.buffer.truncate(old + got);
        Ok(self.from + self.buffer.len() as u64)
    }
}
