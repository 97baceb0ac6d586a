//! The head on disk after a clean stop, so that the next start need not replay everything: upstream's
//! `chunk_snapshot.<segment>.<offset>` (`tsdb/docs/format/memory_snapshot.md`), a log of its own record types.
//!
//! | record | bytes |
//! |---|---|
//! | 1, series | reference u64, labels as in the log, 0 as i64, 1 or 0 (no open chunk); min time i64, max time i64, encoding u8, uvarint length, data, the last value |
//! | 2, tombstones | uvarint length, then version 1 and per range uvarint reference, varint min and max |
//! | 3, exemplars | as in the log |
//!
//! The name says up to where the log is in it. What upstream does not look at stands in the file `pyrrha`
//! inside. A snapshot is believed only when the log is as it was left then, and goes on behind it; see
//! [`find`]. Late samples are not in it: their log is always replayed.

use super::Head;
use super::entry::UNLOGGED;
use super::page::Cells;
use super::table::first_of;
use crate::wal::{RecordBuf, Wal, WalError, WalOptions, last_checkpoint, put_histogram, segments};
use chunk::Encoding;
use chunk::varint::{put_i64, put_u64};
use disk::{Disk, DiskError, atomic};
use meter::Registry;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use storage::{SampleBuf, SeriesRef};

const PREFIX: &str = "chunk_snapshot.";
/// Facts of ours about a snapshot.
const FACTS: &str = "pyrrha";
pub(super) const SERIES: u8 = 1;
pub(super) const TOMBSTONES: u8 = 2;
pub(super) const EXEMPLARS: u8 = 3;
pub(super) const TOMBSTONES_V1: u8 = 1;
/// Records are handed on in portions of about this size.
const FLUSH_BYTES: usize = 1 << 20;
/// Exemplars of one record (upstream's number).
const EXEMPLARS_PER_RECORD: usize = 10_000;
/// Between two lines about the progress.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// A snapshot that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) path: PathBuf,
    /// Segment of the log, and offset within, up to which it holds everything.
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// What [`FACTS`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// No series had a higher reference.
    pub(super) last_series: u32,
    /// Newest file of head chunks and its length.
    chunks: Option<(u64, u64)>,
    /// References of chunks on disk and of the log of late samples, and what their series are called now.
    /// With the newest time of samples in the log under the other reference.
    pub(super) aliases: Vec<(u64, u32, i64)>,
    /// Series that left the head early, and the time of their newest samples: some chunks on disk are of them.
    pub(super) departed: Vec<(u32, i64)>,
}

impl Facts {
    fn text(&self) -> String {
        let chunks = self.chunks.map_or(String::new(), |(file, len)| format!("chunks {file} {len}\n"));
        let aliases = self.aliases.iter().map(|(number, series, t)| format!("alias {number} {series} {t}\n"));
        let departed = self.departed.iter().map(|(series, t)| format!("departed {series} {t}\n"));
        let lists: String = aliases.chain(departed).collect();
        format!("last_series {}\n{chunks}{lists}", self.last_series)
    }

    fn parse(text: &str) -> Facts {
        let mut facts = Facts::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["last_series", n] => facts.last_series = n.parse().unwrap_or(0),
                ["alias", number, series, t] => {
                    let row = || Some((number.parse().ok()?, series.parse().ok()?, t.parse().ok()?));
                    facts.aliases.extend(row());
                }
                ["departed", series, t] => facts.departed.extend(series.parse().ok().zip(t.parse().ok())),
                ["chunks", file, len] => facts.chunks = file.parse().ok().zip(len.parse().ok()),
                _ => {}
            }
        }
        facts
    }

    pub(super) fn read(disk: &dyn Disk, snapshot: &Snapshot) -> Option<Facts> {
        let path = snapshot.path.join(FACTS);
        disk.meta(&path).ok()?;
        let bytes = disk.map(&path).ok()?;
        Some(Facts::parse(std::str::from_utf8(&bytes).ok()?))
    }
}

fn failed(e: DiskError) -> WalError {
    WalError::from(e)
}

/// Snapshots of a data directory, oldest first.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Snapshot>, DiskError> {
    let mut found = Vec::new();
    for entry in disk.list(dir)?.into_iter().filter(|e| e.is_dir) {
        let Some((segment, offset)) = entry.name.strip_prefix(PREFIX).and_then(|n| n.split_once('.')) else {
            continue;
        };
        if let (Ok(segment), Ok(offset)) = (segment.parse(), offset.parse()) {
            found.push(Snapshot { path: dir.join(&entry.name), segment, offset });
        }
    }
    found.sort_by_key(|s| (s.segment, s.offset));
    Ok(found)
}

/// Removes what a crash left half written.
fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
    for entry in disk.list(dir)?.into_iter().filter(|e| e.is_dir) {
        if entry.name.starts_with(PREFIX) && entry.name.ends_with(".tmp") {
            disk.remove_dir_all(&dir.join(&entry.name))?;
        }
    }
    Ok(())
}

/// Removes all snapshots but one. Those that stay by a failure do no harm.
pub(super) fn remove(disk: &dyn Disk, dir: &Path, but: Option<&Path>) {
    let removed = list(disk, dir).and_then(|all| {
        let others = all.iter().filter(|s| Some(s.path.as_path()) != but);
        others.map(|s| disk.remove_dir_all(&s.path)).collect::<Result<Vec<()>, DiskError>>()
    });
    if let Err(e) = removed {
        tracing::error!(component = "tsdb", err = %e, "delete old chunk snapshots");
    }
}

/// The newest snapshot of a data directory, when it can be believed: it was taken at the end of a log that was
/// closed, that log has neither changed nor been cut since, and the chunks on disk that it builds on are there.
/// Others are removed, for nobody could make use of them.
pub(super) fn find(disk: &dyn Disk, dir: &Path, chunks_damaged: bool) -> Result<Option<Snapshot>, DiskError> {
    remove_unfinished(disk, dir)?;
    let Some(newest) = list(disk, dir)?.pop() else { return Ok(None) };
    let wal = dir.join("wal");
    let log = segments(disk, &wal)?;
    let last = log.last().map_or(0, |s| s.number);
    if log.is_empty() || last < newest.segment {
        tracing::warn!(component = "tsdb", "Last WAL file is behind snapshot, removing snapshots");
        remove(disk, dir, None);
        return Ok(None);
    }
    let cut = last_checkpoint(disk, &wal)?.is_some_and(|c| c.number >= newest.segment);
    let end = log.iter().find(|s| s.number == newest.segment).map(|s| s.len);
    let reason = if cut {
        "the log was cut since"
    } else if end != Some(newest.offset) {
        "the log is not the one that it was taken of"
    } else if chunks_damaged {
        "head chunks on disk are damaged"
    } else if !has_chunks(disk, dir, Facts::read(disk, &newest)) {
        "head chunks on disk are missing"
    } else {
        return Ok(Some(newest));
    };
    // Nothing to worry about: another program ran on the directory meanwhile, or this one crashed.
    tracing::info!(component = "tsdb", dir = %newest.path.display(), reason, "Removing a chunk snapshot that is of no use, replaying the log instead");
    remove(disk, dir, None);
    Ok(None)
}

fn has_chunks(disk: &dyn Disk, dir: &Path, facts: Option<Facts>) -> bool {
    let Some((file, len)) = facts.and_then(|f| f.chunks) else { return true };
    disk.meta(&dir.join("chunks_head").join(format!("{file:06}"))).is_ok_and(|meta| meta.len >= len)
}

impl Head {
    /// Metadata in the log is not in a snapshot: whoever wants it there gets the whole replay.
    pub(super) fn takes_snapshots(&self) -> bool {
        self.options.head_snapshot && !self.options.metadata_wal_records
    }

    /// Writes a snapshot of a closed head. A failure leaves nothing behind: the log has everything, too.
    pub(super) fn write_snapshot(&self) {
        let begun = Instant::now();
        tracing::info!(component = "tsdb", "creating chunk snapshot");
        match self.try_write_snapshot() {
            Ok((num_series, dir)) => {
                tracing::info!(component = "tsdb", duration = ?begun.elapsed(), num_series, dir = %dir.display(), "chunk snapshot complete");
            }
            Err(e) => {
                tracing::warn!(component = "tsdb", err = %e, "No chunk snapshot was taken, the next start replays the log");
            }
        }
    }

    fn try_write_snapshot(&self) -> Result<(u64, PathBuf), WalError> {
        let disk = &self.disk;
        remove_unfinished(&**disk, &self.dir).map_err(failed)?;
        let log = segments(&**disk, &self.dir.join("wal")).map_err(failed)?;
        let (segment, offset) = log.last().map_or((0, 0), |s| (s.number, s.len));
        let name = format!("{PREFIX}{segment:06}.{offset:010}");
        let (target, temp) = (self.dir.join(&name), self.dir.join(format!("{name}.tmp")));
        let written = self.write_records(&temp).and_then(|series| {
            let facts = Facts {
                last_series: self.table.last(),
                chunks: self.newest_chunks()?,
                aliases: self.aliases.lock().clone(),
                departed: self.departed(),
            };
            let file = disk.create(&temp.join(FACTS)).map_err(failed)?;
            file.append(facts.text().as_bytes()).and_then(|()| file.sync()).map_err(failed)?;
            disk.sync_dir(&temp).map_err(failed)?;
            atomic::replace(&**disk, &temp, &target).map_err(failed)?;
            Ok(series)
        });
        if written.is_err() {
            let _ = disk.remove_dir_all(&temp);
        }
        let series = written?;
        remove(&**disk, &self.dir, Some(&target));
        Ok((series, target))
    }

    fn departed(&self) -> Vec<(u32, i64)> {
        let min_valid = self.min_valid.load(Relaxed);
        let retired = self.retired.lock();
        let recent = retired.iter().filter(|(_, r)| r.newest >= min_valid);
        recent.map(|(series, r)| (*series, r.newest)).collect()
    }

    fn newest_chunks(&self) -> Result<Option<(u64, u64)>, WalError> {
        let files = disk::scan::numbered(&*self.disk, &self.dir.join("chunks_head"), "").map_err(failed)?;
        Ok(files.last().map(|f| (f.number, f.entry.len)))
    }

    fn write_records(&self, temp: &Path) -> Result<u64, WalError> {
        let options = WalOptions {
            compression: self.options.wal_compression,
            sync_inline: self.options.wal_sync_inline,
            ..WalOptions::default()
        };
        let log = Wal::open(self.disk.clone(), temp, options, &Registry::new())?;
        let done = self.write_all(&log);
        let closed = log.close();
        done.and_then(|series| closed.map(|()| series))
    }

    fn write_all(&self, log: &Wal) -> Result<u64, WalError> {
        let (mut out, mut record) = (RecordBuf::new(), Vec::new());
        let (mut series, all, mut told) = (0u64, self.table.len(), Instant::now());
        for (number, page) in self.table.pages().iter().enumerate() {
            let Some(page) = page else { continue };
            let cells = page.lock();
            // A series that the log does not know has no samples; once restored it would seem to be known.
            for slot in cells.live_slots().filter(|slot| !cells.peek(*slot).is(UNLOGGED)) {
                self.series_record(&mut record, first_of(number) + slot as u32, &cells, slot)?;
                out.raw(&record);
                series += 1;
            }
            drop(cells);
            if out.byte_len() > FLUSH_BYTES {
                log.log(&out)?;
                out.clear();
            }
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                tracing::info!(component = "tsdb", series, of = all, "chunk snapshot progress");
            }
        }
        record.clear();
        self.tombstones_record(&mut record);
        out.raw(&record);
        log.log(&out)?;
        let exemplars = self.exemplars.in_order_of_arrival();
        for part in exemplars.chunks(EXEMPLARS_PER_RECORD) {
            out.clear();
            let mut rows = out.exemplars();
            for (series, e) in part {
                rows.push(SeriesRef(u64::from(*series)), e.t, e.v, &e.labels);
            }
            drop(rows);
            let mut again = RecordBuf::new();
            for row in out.iter() {
                record.clear();
                record.push(EXEMPLARS);
                record.extend_from_slice(row.get(1..).unwrap_or(&[]));
                again.raw(&record);
            }
            log.log(&again)?;
        }
        Ok(series)
    }

    fn series_record(
        &self,
        out: &mut Vec<u8>,
        series: u32,
        cells: &Cells,
        slot: usize,
    ) -> Result<(), WalError> {
        out.clear();
        out.push(SERIES);
        out.extend_from_slice(&u64::from(series).to_be_bytes());
        let pairs = cells.pairs(slot);
        put_u64(out, pairs.len() as u64);
        {
            // Nobody makes series any more; readers may hold it, too.
            let index = self.index.read();
            for pair in pairs {
                let (name, value) = index.texts.label(*pair);
                crate::wal::record::push_label(out, name.as_bytes(), value.as_bytes());
            }
        }
        out.extend_from_slice(&0i64.to_be_bytes());
        let entry = cells.peek(slot);
        let Some((encoding, open)) = super::read::open_chunk(cells, slot) else {
            put_u64(out, 0);
            return Ok(());
        };
        put_u64(out, 1);
        out.extend_from_slice(&open.min.to_be_bytes());
        out.extend_from_slice(&open.max.to_be_bytes());
        out.push(encoding);
        put_u64(out, open.bytes.len() as u64);
        out.extend_from_slice(&open.bytes);
        let unfit = || WalError::Unfit(format!("open chunk of series {series} with encoding {encoding}"));
        let Some(encoding) = Encoding::from_number(encoding) else { return Err(unfit()) };
        if !encoding.is_histogram() {
            // Once the last four samples; readers look at the last value only.
            out.resize(out.len() + 7 * 8, 0);
            out.extend_from_slice(&entry.last_v.to_be_bytes());
            return Ok(());
        }
        let mut rows = SampleBuf::default();
        chunk::decode(encoding.number(), &open.bytes, &mut rows.columns()).map_err(|_| unfit())?;
        let (_, last) = rows.histograms.last().ok_or_else(unfit)?;
        put_histogram(out, last, encoding.is_integer());
        Ok(())
    }

    fn tombstones_record(&self, out: &mut Vec<u8>) {
        let mut body = vec![TOMBSTONES_V1];
        for (series, range) in self.tombstones.read().iter() {
            put_u64(&mut body, u64::from(series));
            put_i64(&mut body, range.min);
            put_i64(&mut body, range.max);
        }
        out.push(TOMBSTONES);
        put_u64(out, body.len() as u64);
        out.extend_from_slice(&body);
    }

    /// Removes snapshots that a checkpoint up to `to` makes useless.
    pub(super) fn drop_covered_snapshots(&self, to: u32) {
        let all = list(&*self.disk, &self.dir).unwrap_or_default();
        for snapshot in all.into_iter().filter(|s| s.segment <= to) {
            if let Err(e) = self.disk.remove_dir_all(&snapshot.path) {
                tracing::error!(component = "tsdb", err = %e, "delete old chunk snapshots");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_back() {
        for facts in [
            Facts { last_series: 7, chunks: Some((3, 4096)), ..Facts::default() },
            Facts {
                last_series: u32::MAX,
                chunks: None,
                aliases: vec![(1 << 40, 7, i64::MIN), (9, 8, 5)],
                departed: vec![(3, 4), (5, i64::MAX)],
            },
        ] {
            assert_eq!(Facts::parse(&facts.text()), facts);
        }
        assert_eq!(Facts::parse("later: things\nlast_series x\n"), Facts::default());
    }
}
