//! The file `head_tombstones`: which deletions of the log still count, and which of its samples do.
//!
//! Once blocks have what a deletion is about, the head forgets it, and late samples that come to its range from then on
//! stay. The log has its record for longer, and a replay may not take it up again. So the list of those that count
//! is written down before others are forgotten: it stands for all such records before a segment. The next
//! checkpoint that reaches this segment has the list in it.
//!
//! Samples of the log that are older than the end of the blocks are in blocks. When everything at their end was deleted no
//! block says so any more, but the log still has the samples: the file tells from when on samples of the log count.

use super::Head;
use super::tombstone::Tombstones;
use crate::wal::{Tombstone, WalError, last_checkpoint};
use disk::{Disk, DiskError, atomic};
use model::TimeRange;
use roaring::RoaringBitmap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use storage::SeriesRef;

const NAME: &str = "head_tombstones";

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Deletions in segments before this one count only when they are in the list.
    pub(super) segment: u32,
    pub(super) list: Vec<Tombstone>,
    /// Samples of the log before this time (ms) were in blocks. `i64::MIN` when the blocks tell.
    pub(super) from: i64,
}

impl Standing {
    fn text(&self) -> String {
        let mut text = format!("segment {}\n", self.segment);
        if self.from > i64::MIN {
            text += &format!("from {}\n", self.from);
        }
        for t in &self.list {
            text += &format!("{} {} {}\n", t.series.0, t.range.min, t.range.max);
        }
        text
    }

    fn parse(text: &str) -> Option<Standing> {
        let mut lines = text.lines().peekable();
        let segment = lines.next()?.strip_prefix("segment ")?.parse().ok()?;
        let from = match lines.next_if(|line| line.starts_with("from ")) {
            Some(line) => line["from ".len()..].parse().ok()?,
            None => i64::MIN,
        };
        let row = |line: &str| {
            let mut words = line.split(' ');
            let series = SeriesRef(words.next()?.parse().ok()?);
            let (min, max) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            words.next().is_none().then_some(Tombstone { series, range: TimeRange { min, max } })
        };
        Some(Standing { segment, list: lines.map(row).collect::<Option<_>>()?, from })
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Reads the file. `next` is the number of the first segment that the log does not have yet: a file that speaks of a
/// later one is about a log that was removed, and goes.
pub(super) fn read(disk: &dyn Disk, dir: &Path, next: u32) -> Result<Option<Standing>, DiskError> {
    let path = path(dir);
    if disk.meta(&path).is_err() {
        return Ok(None);
    }
    let bytes = disk.map(&path)?;
    let Some(mut standing) = std::str::from_utf8(&bytes).ok().and_then(Standing::parse) else {
        tracing::error!(component = "tsdb", path = %path.display(), "Unreadable list of deletions, all of the log count again");
        return Ok(None);
    };
    drop(bytes);
    if standing.segment > next {
        disk.remove_file(&path)?;
        return Ok(None);
    }
    if is_covered(disk, dir, &standing)? {
        standing.segment = 0;
        standing.list.clear();
    }
    Ok(Some(standing))
}

/// Whether a checkpoint has the list in it.
fn is_covered(disk: &dyn Disk, dir: &Path, standing: &Standing) -> Result<bool, DiskError> {
    Ok(last_checkpoint(disk, &dir.join("wal"))?.is_some_and(|c| c.number >= standing.segment))
}

impl Head {
    /// Writes down that only these deletions count of those that were logged so far, and that older samples of the log
    /// than `from` do not.
    fn note_standing(&self, tombstones: &Tombstones, from: i64) -> Result<(), WalError> {
        let mut noted = self.standing.lock();
        let from = noted.as_ref().map_or(i64::MIN, |s| s.from).max(from);
        let standing = Standing { segment: self.wal.cut()?, list: tombstones.records(), from };
        atomic::write(&*self.disk, &path(&self.dir), standing.text().as_bytes())?;
        *noted = Some(standing);
        Ok(())
    }

    /// Whether a time (ms) has come. The start of the log may only be moved up to there: samples that some sender dated far
    /// ahead may not keep others out for good.
    fn has_come(&self, t: i64) -> bool {
        let now = (self.options.now)().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        t <= now
    }

    /// The newest block, which ends at `end`, is about to go because everything in it was deleted: the log may not
    /// bring its samples back.
    pub(crate) fn keep_out(&self, end: i64) -> Result<(), WalError> {
        if !self.has_come(end) {
            return Ok(());
        }
        let all = self.tombstones.read().clone();
        self.note_standing(&all, end)
    }

    /// Forgets deletions that mean nothing any more when the head begins at `mint`, those of the log too. When
    /// that cannot be written down they stay: they go on covering late samples that come.
    pub(super) fn forget_tombstones(&self, mint: i64, gone: &RoaringBitmap) {
        let all = self.tombstones.read().clone();
        let mut left = all.clone();
        // Late samples may be older.
        left.truncate(mint.min(self.late_range().map_or(i64::MAX, |r| r.min)));
        gone.iter().for_each(|series| left.remove(series));
        // Where everything was deleted there may be no block up to `mint`.
        if left == all || !self.has_come(mint) {
            return;
        }
        match self.note_standing(&left, mint) {
            Ok(()) => *self.tombstones.write() = left,
            Err(e) => {
                self.metrics.truncations_failed.inc();
                tracing::error!(component = "tsdb", err = %e, "Truncating deletions of the head failed");
            }
        }
    }

    /// Removes the file when nothing depends on it any more: a checkpoint has its list, and the in-order samples of blocks
    /// end at `end`.
    pub(crate) fn drop_standing(&self, end: Option<i64>) {
        let mut noted = self.standing.lock();
        let Some(standing) = &*noted else { return };
        let is_covered = is_covered(&*self.disk, &self.dir, standing);
        let removed = match is_covered {
            Ok(true) if end.unwrap_or(i64::MIN) >= standing.from => self.disk.remove_file(&path(&self.dir)),
            Ok(_) => return,
            Err(e) => Err(e),
        };
        match removed {
            Ok(()) => *noted = None,
            Err(e) => tracing::error!(component = "tsdb", err = %e, "delete old list of deletions"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back() {
        let stone = |series, min, max| Tombstone { series: SeriesRef(series), range: TimeRange { min, max } };
        for standing in [
            Standing { segment: u32::MAX, list: vec![], from: -7 },
            Standing {
                segment: 3,
                list: vec![stone(7, -5, 12), stone(8, i64::MIN, i64::MAX)],
                from: i64::MIN,
            },
        ] {
            assert_eq!(Standing::parse(&standing.text()), Some(standing));
        }
        for text in [
            "",
            "segment",
            "segment x\n",
            "segment 1\n1 2\n",
            "segment 1\n1 2 3 4\n",
            "segment 1\n\n",
            "segment 1\nfrom\n",
        ] {
            assert_eq!(Standing::parse(text), None, "{text:?}");
        }
    }
}
