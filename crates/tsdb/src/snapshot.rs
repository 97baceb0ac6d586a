//! Snapshots: hard links to all blocks, and a block of what the head holds.

use crate::db::Db;
use crate::head::HeadCut;
use block::BlockMeta;
use block::compact::{Rechunk, WriteRules};
use model::TimeRange;
use std::path::Path;
use std::time::UNIX_EPOCH;
use storage::StorageError;
use ulid::Ulid;

fn failed(e: impl std::fmt::Display) -> StorageError {
    StorageError::Other(e.to_string())
}

/// `20060102T150405Z-<16 hex digits>`, as upstream names snapshots.
fn name(now_secs: u64, random: u64) -> String {
    let (days, secs) = ((now_secs / 86_400) as i64, now_secs % 86_400);
    // Civil date from days since the epoch, in years that begin with March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{year:04}{month:02}{day:02}T{h:02}{m:02}{s:02}Z-{random:016x}")
}

impl Db {
    pub(crate) fn write_snapshot(&self, skip_head: bool) -> Result<String, StorageError> {
        let m = self.maintainer();
        let _turn = m.turn.lock();
        let now = (m.now)().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = name(now.as_secs(), rand::random());
        let target = m.dir.join("snapshots").join(&name);
        let done = self.fill_snapshot(&target, now.as_millis() as u64, skip_head);
        if done.is_err() {
            // Half a snapshot is of no use to anyone; a full disk gets its space back.
            let _ = m.disk.remove_dir_all(&target);
        }
        done.map(|()| name)
    }

    fn fill_snapshot(&self, target: &Path, now_ms: u64, skip_head: bool) -> Result<(), StorageError> {
        let m = self.maintainer();
        m.disk.create_dir_all(target).map_err(failed)?;
        for block in m.blocks.list().iter() {
            let to = target.join(block.meta().ulid.to_string());
            m.disk.create_dir_all(&to.join("chunks")).map_err(failed)?;
            self.link(&block.dir().join("chunks"), &to.join("chunks"))?;
            self.link(block.dir(), &to)?;
        }
        let head = self.head();
        if let (false, Some((min, max))) = (skip_head, head.range()) {
            let range = TimeRange::new(min, max);
            let mut cut = HeadCut::new(head, range);
            let symbols = cut.symbols();
            let meta = BlockMeta::level_1(Ulid::from_parts(now_ms, rand::random()), min, max + 1);
            let rules = WriteRules { segment_bytes: m.segment_bytes, rechunk: Rechunk::default() };
            block::compact::write(&m.disk, target, meta, symbols, &mut cut, rules, &mut ())
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Links the files of a folder; those that change in place are copied.
    fn link(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let disk = &*self.maintainer().disk;
        for entry in disk.list(from).map_err(failed)? {
            let (source, copy) = (from.join(&entry.name), to.join(&entry.name));
            if entry.is_dir {
                continue;
            }
            // Both are replaced by renaming, so the linked file keeps its content.
            disk.hard_link(&source, &copy).map_err(failed)?;
        }
        disk.sync_dir(to).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_dates() {
        assert_eq!(super::name(0, 1), "19700101T000000Z-0000000000000001");
        assert_eq!(super::name(1_709_210_096, 255), "20240229T123456Z-00000000000000ff");
    }
}
