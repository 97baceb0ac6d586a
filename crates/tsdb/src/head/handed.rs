//! The file `head_late`: which late chunks in `chunks_head/` are in blocks.
//!
//! Such a chunk stays on disk until its whole file may go. Taken up again at a start, it would be late once more, be
//! written to blocks a second time, and bring back what was deleted from them meanwhile. Times alone cannot tell: upstream
//! writes in-order blocks first, and may be stopped before it comes to late samples that are older. So what is handed
//! over is written down. Chunks that this says nothing of are taken up, as upstream takes up all.

use super::Head;
use super::mapper::Found;
use crate::wal::WalError;
use disk::{Disk, atomic};
use std::path::{Path, PathBuf};

const NAME: &str = "head_late";
/// A few lines; see [`Handed::add`].
const MAX_BYTES: u64 = 1 << 20;

/// Series, first and last ms of the first chunk of a file: whether it is still the same file. Numbers begin anew
/// when there are no files any more.
type Identity = (u64, i64, i64);

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Handed {
    /// Late chunks at addresses below the first that end before the second, in ms, are in blocks. Addresses rise,
    /// times fall.
    rules: Vec<(u64, i64)>,
    /// The file of the last address below the highest one.
    file: u64,
    identity: Identity,
}

impl Handed {
    pub(super) fn has(&self, chunk: &Found) -> bool {
        chunk.late && self.rules.iter().any(|(before, end)| chunk.at < *before && chunk.max < *end)
    }

    /// Adds a rule, and drops those that it includes.
    fn add(&mut self, before: u64, end: i64) {
        self.rules.retain(|(b, e)| *b > before || *e > end);
        if !self.rules.iter().any(|(b, e)| *b >= before && *e >= end) {
            self.rules.push((before, end));
            self.rules.sort_unstable();
        }
    }

    fn text(&self) -> String {
        let (series, min, max) = self.identity;
        let mut text = format!("file {} {series} {min} {max}\n", self.file);
        for (before, end) in &self.rules {
            text += &format!("before {before} {end}\n");
        }
        text
    }

    fn parse(text: &str) -> Option<Handed> {
        let mut lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let (file, identity) = match lines.next()?[..] {
            ["file", file, series, min, max] => {
                (file.parse().ok()?, (series.parse().ok()?, min.parse().ok()?, max.parse().ok()?))
            }
            _ => return None,
        };
        let rule = |words: Vec<&str>| match words[..] {
            ["before", before, end] => Some((before.parse().ok()?, end.parse().ok()?)),
            _ => None,
        };
        Some(Handed { rules: lines.map(rule).collect::<Option<_>>()?, file, identity })
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Reads the file. Empty when there is none, or when it is about other chunks than those that are there.
pub(super) fn read(disk: &dyn Disk, dir: &Path, found: &[Found]) -> Handed {
    let path = path(dir);
    if disk.meta(&path).is_err() {
        return Handed::default();
    }
    let bytes = disk.read(&path, MAX_BYTES).unwrap_or_default();
    let Some(handed) = std::str::from_utf8(&bytes).ok().and_then(Handed::parse) else {
        tracing::error!(component = "tsdb", path = %path.display(), "Unreadable list of late chunks in blocks, all of them are taken up again");
        return Handed::default();
    };
    let first = found.iter().filter(|c| c.at >> 32 == handed.file).min_by_key(|c| c.at);
    let is_it = first.is_some_and(|c| (c.series, c.min, c.max) == handed.identity);
    if is_it { handed } else { Handed::default() }
}

impl Head {
    /// Writes down that blocks have all late chunks up to and including the one at `newest` which end before `end`, in
    /// ms. Durable on `Ok`.
    pub(super) fn note_handed(&self, newest: u64, end: i64) -> Result<(), WalError> {
        // The chunks first: their addresses must not be given out again after a loss of power.
        self.mapper.settle(true)?;
        let mut handed = self.handed.lock();
        let mut next = handed.clone();
        next.add(newest + 1, end);
        if next.rules.last().is_some_and(|(before, _)| *before == newest + 1) {
            next.file = newest >> 32;
            next.identity = self.mapper.first_of(newest >> 32)?;
        }
        if next != *handed {
            atomic::write(&*self.disk, &path(&self.dir), next.text().as_bytes())?;
            *handed = next;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(at: u64, max: i64) -> Found {
        Found { at, series: 1, min: 0, max, encoding: 1, late: true }
    }

    #[test]
    fn comes_back() {
        let mut handed = Handed { file: 7, identity: (3, -5, i64::MAX), ..Handed::default() };
        handed.add(100, 50);
        assert_eq!(Handed::parse(&handed.text()), Some(handed));
        for text in ["", "file 1 2 3\n", "file 1 2 3 4\nbefore 1\n", "file 1 2 3 4\n\n", "before 1 2\n"] {
            assert_eq!(Handed::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn rules_include_others() {
        let mut handed = Handed::default();
        handed.add(100, 50);
        assert!(handed.has(&chunk(99, 49)) && !handed.has(&chunk(100, 49)) && !handed.has(&chunk(99, 50)));
        assert!(!handed.has(&Found { late: false, ..chunk(99, 49) }));
        // A later cut that goes less far in time.
        handed.add(200, 40);
        assert_eq!(handed.rules, [(100, 50), (200, 40)]);
        assert!(handed.has(&chunk(99, 49)) && handed.has(&chunk(199, 39)) && !handed.has(&chunk(199, 40)));
        handed.add(150, 30);
        assert_eq!(handed.rules, [(100, 50), (200, 40)]);
        handed.add(200, 60);
        assert_eq!(handed.rules, [(200, 60)]);
    }
}
