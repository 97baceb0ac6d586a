//! The file `head_tombstones`: which deletions of the log still count.
//!
//! Once blocks have what a deletion is about, the head forgets it, and late samples that come to its range from then on
//! stay. The log has its record for longer, and a replay may not take it up again. So the list of those that count
//! is written down before others are forgotten: it stands for all such records before a segment. The next
//! checkpoint that reaches this segment has the list in it, and the file goes.

use super::Head;
use super::tombstone::Tombstones;
use crate::wal::{Tombstone, WalError, last_checkpoint};
use disk::{Disk, DiskError, atomic};
use model::TimeRange;
use std::path::{Path, PathBuf};
use storage::SeriesRef;

const NAME: &str = "head_tombstones";

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Deletions in segments before this one count only when they are in the list.
    pub(super) segment: u32,
    pub(super) list: Vec<Tombstone>,
}

impl Standing {
    fn text(&self) -> String {
        let mut text = format!("segment {}\n", self.segment);
        for t in &self.list {
            text += &format!("{} {} {}\n", t.series.0, t.range.min, t.range.max);
        }
        text
    }

    fn parse(text: &str) -> Option<Standing> {
        let mut lines = text.lines();
        let segment = lines.next()?.strip_prefix("segment ")?.parse().ok()?;
        let row = |line: &str| {
            let mut words = line.split(' ');
            let series = SeriesRef(words.next()?.parse().ok()?);
            let (min, max) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            words.next().is_none().then_some(Tombstone { series, range: TimeRange { min, max } })
        };
        Some(Standing { segment, list: lines.map(row).collect::<Option<_>>()? })
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Reads the file; `None` when there is none, or when it is not about this log: `next` is the number of the first
/// segment that the log does not have yet.
pub(super) fn read(disk: &dyn Disk, dir: &Path, next: u32) -> Result<Option<Standing>, DiskError> {
    let path = path(dir);
    if disk.meta(&path).is_err() {
        return Ok(None);
    }
    let bytes = disk.map(&path)?;
    let Some(standing) = std::str::from_utf8(&bytes).ok().and_then(Standing::parse) else {
        tracing::error!(component = "tsdb", path = %path.display(), "Unreadable list of deletions, all of the log count again");
        return Ok(None);
    };
    let covered = last_checkpoint(disk, &dir.join("wal"))?.is_some_and(|c| c.number >= standing.segment);
    Ok((!covered && standing.segment <= next).then_some(standing))
}

impl Head {
    /// Writes down that only these deletions count of those that were logged so far.
    pub(super) fn note_standing(&self, tombstones: &Tombstones) -> Result<(), WalError> {
        let list = tombstones.records();
        let standing = Standing { segment: self.wal.cut()?, list };
        Ok(atomic::write(&*self.disk, &path(&self.dir), standing.text().as_bytes())?)
    }

    /// Removes the file when a checkpoint up to `to` stands for it.
    pub(super) fn drop_covered_standing(&self, to: u32) {
        let file = path(&self.dir);
        if self.disk.meta(&file).is_err() {
            return;
        }
        let next = self.wal.end().segment;
        let removed = match read(&*self.disk, &self.dir, next) {
            Ok(Some(standing)) if standing.segment > to => Ok(()),
            Ok(_) => self.disk.remove_file(&file),
            Err(e) => Err(e),
        };
        if let Err(e) = removed {
            // It is ignored as it is.
            tracing::error!(component = "tsdb", err = %e, "delete old list of deletions");
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
            Standing { segment: u32::MAX, list: vec![] },
            Standing { segment: 3, list: vec![stone(7, -5, 12), stone(8, i64::MIN, i64::MAX)] },
        ] {
            assert_eq!(Standing::parse(&standing.text()), Some(standing));
        }
        for text in
            ["", "segment", "segment x\n", "segment 1\n1 2\n", "segment 1\n1 2 3 4\n", "segment 1\n\n"]
        {
            assert_eq!(Standing::parse(text), None, "{text:?}");
        }
    }
}
