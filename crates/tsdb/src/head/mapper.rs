//! `chunks_head/`: full chunks on disk, in upstream's head chunk format (`tsdb/docs/format/head_chunks.md`).
//!
//! | part | bytes |
//! |---|---|
//! | file header | magic `0x0130bc91`, version 1, three zero bytes |
//! | chunk | series u64, min time u64, max time u64, encoding u8 (top bit: out of order), uvarint length, data, CRC-32C |
//!
//! A chunk is addressed by `file << 32 | offset`. New chunks gather in a buffer and are readable from there;
//! what a crash takes with it stands in the write-ahead log. Finished files are mapped.

use chunk::varint;
use disk::crc::crc32c;
use disk::scan::numbered;
use disk::{Disk, DiskError, File, Map};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use storage::StorageError;

const MAGIC: u32 = 0x0130_bc91;
const HEADER: [u8; 8] = [0x01, 0x30, 0xbc, 0x91, 1, 0, 0, 0];
const MAX_FILE_BYTES: u64 = 128 << 20;
const BUFFER_BYTES: usize = 256 << 10;
const LATE_BIT: u8 = 0x80;
/// Series, times and encoding.
const FIXED: usize = 25;
/// No chunk of the head is longer; a larger length is damage.
const MAX_CHUNK_BYTES: u64 = 16 << 20;

/// A chunk that was found while loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) at: u64,
    pub(crate) series: u64,
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) encoding: u8,
    pub(crate) late: bool,
}

struct Finished {
    map: Option<Arc<Map>>,
    max_t: i64,
}

/// The file being written.
struct Current {
    file: Option<Arc<dyn File>>,
    number: u32,
    /// Bytes flushed to the file; the buffer follows.
    flushed: u64,
    buffer: Vec<u8>,
    max_t: i64,
    /// Bytes behind `flushed` may exist, left by a failed write.
    dirty: bool,
    /// Finished files that are not known to be durable.
    unsynced: Vec<Unsynced>,
    /// Files whose fsync failed: a later one says nothing about what the failed one did not write.
    suspect: BTreeSet<u32>,
}

struct Unsynced {
    number: u32,
    file: Arc<dyn File>,
    failed: Arc<AtomicBool>,
}

/// Files that are read many times without being mapped: maps count as memory of this process.
#[derive(Default)]
pub(crate) struct PlainFiles(Mutex<BTreeMap<u32, Arc<dyn File>>>);

pub(crate) struct Mapper {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Wait until a full file is durable.
    sync_inline: bool,
    current: Mutex<Current>,
    finished: RwLock<BTreeMap<u32, Finished>>,
}

fn path_of(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:06}"))
}

impl Mapper {
    /// Opens the directory and tells of every readable chunk, oldest file first; gives the number of damaged
    /// files. A torn end is cut off; from
    /// a damaged place in the middle on, chunks are dropped, as upstream does, for the log has their samples.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        sync_inline: bool,
        mut found: impl FnMut(Found),
    ) -> Result<(Mapper, u64), DiskError> {
        disk.create_dir_all(&dir)?;
        for entry in disk.list(&dir)?.iter().filter(|e| e.name.ends_with(".tmp")) {
            // A crash came while a file was written again.
            disk.remove_file(&dir.join(&entry.name))?;
        }
        let files = numbered(&*disk, &dir, "")?;
        let mut finished = BTreeMap::new();
        let mut damaged = 0u64;
        let mut broken = false;
        let mut newest = 0;
        for file in &files {
            let (Ok(number), path) = (u32::try_from(file.number), dir.join(&file.entry.name)) else {
                continue;
            };
            if broken || file.entry.len < HEADER.len() as u64 {
                damaged += u64::from(!broken && file.entry.len > 0);
                disk.remove_file(&path)?;
                continue;
            }
            newest = number;
            let map = disk.map(&path)?;
            if map.get(..4) != Some(&MAGIC.to_be_bytes()) || map.get(4) != Some(&1) {
                tracing::error!(component = "tsdb", file = %path.display(), "Loading on-disk chunks failed: invalid header");
                damaged += 1;
                broken = true;
                drop(map);
                disk.remove_file(&path)?;
                continue;
            }
            let mut max_t = i64::MIN;
            let good = scan(number, &map, |chunk| {
                max_t = max_t.max(chunk.max);
                found(chunk);
            });
            map.advise(disk::Access::Release);
            let map = if good < map.len() {
                let zeros = map[good..].iter().all(|b| *b == 0);
                if !zeros {
                    tracing::warn!(component = "tsdb", file = %path.display(), offset = good, "Damaged chunks in the head directory, the log is used instead");
                    damaged += 1;
                    broken = file.number != files.last().map_or(0, |f| f.number);
                }
                drop(map);
                disk.open_append(&path)?.truncate(good as u64)?;
                disk.map(&path)?
            } else {
                map
            };
            // Before a later file exists: were this one to lose its end, newer chunks would hide that the log
            // still has its samples.
            disk.open_append(&path)?.sync()?;
            finished.insert(number, Finished { map: Some(map), max_t });
        }
        if !finished.is_empty() {
            disk.sync_dir(&dir)?;
        }
        let current = Current {
            file: None,
            number: newest,
            flushed: 0,
            buffer: Vec::new(),
            max_t: i64::MIN,
            dirty: false,
            unsynced: Vec::new(),
            suspect: BTreeSet::new(),
        };
        let mapper =
            Mapper { disk, dir, sync_inline, current: Mutex::new(current), finished: RwLock::new(finished) };
        Ok((mapper, damaged))
    }

    /// Adds a chunk and gives its address. It can be read at once and is flushed later; see
    /// [`Mapper::flush`]. An error to write is kept for the next flush: nothing is lost, for the log has the
    /// samples.
    pub(crate) fn write(&self, series: u32, min: i64, max: i64, late: bool, data: &[u8]) -> u64 {
        self.write_as(chunk::Encoding::Xor, series, min, max, late, data)
    }

    /// [`Mapper::write`] of a chunk that is not XOR.
    pub(crate) fn write_as(
        &self,
        encoding: chunk::Encoding,
        series: u32,
        min: i64,
        max: i64,
        late: bool,
        data: &[u8],
    ) -> u64 {
        let mut current = self.current.lock();
        let room = (FIXED + varint::MAX_LEN + data.len() + 4) as u64;
        let position = current.flushed + current.buffer.len() as u64;
        if current.flushed == 0 && current.buffer.is_empty() || position + room > MAX_FILE_BYTES {
            self.next_file(&mut current);
        }
        let at = u64::from(current.number) << 32 | (current.flushed + current.buffer.len() as u64);
        let from = current.buffer.len();
        let out = &mut current.buffer;
        out.extend_from_slice(&u64::from(series).to_be_bytes());
        out.extend_from_slice(&min.to_be_bytes());
        out.extend_from_slice(&max.to_be_bytes());
        out.push(encoding.number() | if late { LATE_BIT } else { 0 });
        varint::put_u64(out, data.len() as u64);
        out.extend_from_slice(data);
        let crc = crc32c(&out[from..]);
        out.extend_from_slice(&crc.to_be_bytes());
        current.max_t = current.max_t.max(max);
        if current.buffer.len() >= BUFFER_BYTES {
            self.flush_current(&mut current);
        }
        at
    }

    /// Hands everything to the operating system.
    pub(crate) fn flush(&self) {
        self.flush_current(&mut self.current.lock());
    }

    /// [`Mapper::flush`] that tells of its failure, durable when the log is.
    pub(crate) fn settle(&self, durable: bool) -> Result<(), DiskError> {
        let mut current = self.current.lock();
        if !current.buffer.is_empty() {
            self.try_flush(&mut current)?;
        }
        if durable {
            let current = &mut *current;
            let failed = current.unsynced.iter().filter(|u| u.failed.load(Relaxed)).map(|u| u.number);
            current.suspect.extend(failed);
            while let Some(number) = current.suspect.first().copied() {
                self.write_again(current, number)?;
                current.suspect.remove(&number);
            }
            let open = current.file.iter().map(|file| (current.number, file));
            for (number, file) in current.unsynced.iter().map(|u| (u.number, &u.file)).chain(open) {
                file.sync().inspect_err(|_| {
                    current.suspect.insert(number);
                })?;
            }
            self.disk.sync_dir(&self.dir)?;
        }
        current.unsynced.clear();
        Ok(())
    }

    /// Replaces a file whose fsync failed by a durable copy: the system may count its pages as written though they
    /// are not. Addresses of chunks stay.
    fn write_again(&self, current: &mut Current, number: u32) -> Result<(), DiskError> {
        let path = path_of(&self.dir, number);
        let is_current = current.number == number && current.file.is_some();
        if !is_current && !self.finished.read().contains_key(&number) {
            // Truncated meanwhile.
            current.unsynced.retain(|u| u.number != number);
            return Ok(());
        }
        // A chunk more than fits may stand at its end.
        let mut bytes = self.disk.read(&path, MAX_FILE_BYTES * 2)?;
        if is_current {
            // What is beyond was left by a failed write.
            bytes.truncate(current.flushed as usize);
        }
        if scan(number, &bytes, |_| {}) < bytes.len() {
            // The lost pages were even read back: the log of late samples has to stay.
            return Err(DiskError::other("fsync", &path, "an earlier fsync failed and lost chunks"));
        }
        let temp = path.with_extension("tmp");
        let copied = self.disk.create(&temp).and_then(|file| {
            file.append(&bytes)?;
            file.sync()?;
            self.disk.rename(&temp, &path)?;
            Ok(file)
        });
        let copy = copied.inspect_err(|_| {
            let _ = self.disk.remove_file(&temp);
        })?;
        if is_current {
            // Also when the name does not become durable now: the old file has no name any more.
            current.file = Some(Arc::from(self.disk.open_append(&path).unwrap_or(copy)));
            current.dirty = false;
        }
        self.disk.sync_dir(&self.dir)?;
        current.unsynced.retain(|u| u.number != number);
        tracing::warn!(component = "tsdb", file = %path.display(), "Wrote head chunks again, for an earlier fsync of their file failed");
        Ok(())
    }

    fn flush_current(&self, current: &mut Current) {
        if current.buffer.is_empty() {
            return;
        }
        if let Err(e) = self.try_flush(current) {
            tracing::error!(component = "tsdb", err = %e, "Failed to write head chunks");
        }
    }

    fn try_flush(&self, current: &mut Current) -> Result<(), DiskError> {
        if current.file.is_none() {
            let file = self.disk.create(&path_of(&self.dir, current.number))?;
            current.file = Some(Arc::from(file));
        }
        let Some(file) = &current.file else { return Ok(()) };
        if current.dirty {
            file.truncate(current.flushed)?;
            current.dirty = false;
        }
        if let Err(e) = file.append(&current.buffer) {
            // A part may have arrived; cut off now if that is possible, else before the next attempt.
            current.dirty = file.truncate(current.flushed).is_err();
            return Err(e);
        }
        current.flushed += current.buffer.len() as u64;
        current.buffer.clear();
        current.buffer.shrink_to(BUFFER_BYTES * 2);
        Ok(())
    }

    /// Closes the current file and begins the next.
    fn next_file(&self, current: &mut Current) {
        self.flush_current(current);
        if !current.buffer.is_empty() {
            // Cannot be written now: the file stays open and grows a little beyond its limit.
            return;
        }
        if let Some(file) = current.file.take() {
            let failed = Arc::new(AtomicBool::new(false));
            let number = current.number;
            current.unsynced.push(Unsynced { number, file: file.clone(), failed: failed.clone() });
            let (disk, dir) = (self.disk.clone(), self.dir.clone());
            let sync = move || {
                if let Err(e) = file
                    .sync()
                    .inspect_err(|_| failed.store(true, Relaxed))
                    .and_then(|()| disk.sync_dir(&dir))
                {
                    tracing::error!(component = "tsdb", err = %e, "Failed to sync head chunks");
                }
            };
            if self.sync_inline {
                sync();
            } else if let Err(e) = std::thread::Builder::new().name("head-sync".into()).spawn(sync) {
                tracing::error!(component = "tsdb", err = %e, "Failed to sync head chunks");
            }
            let done = Finished { map: None, max_t: current.max_t };
            self.finished.write().insert(current.number, done);
        }
        current.number += 1;
        current.flushed = 0;
        current.max_t = i64::MIN;
        current.buffer.extend_from_slice(&HEADER);
    }

    /// Encoding and data of a chunk.
    pub(crate) fn read(&self, at: u64) -> Result<(u8, Vec<u8>), StorageError> {
        let (number, offset) = ((at >> 32) as u32, at & 0xffff_ffff);
        let lost = || StorageError::Corrupt(format!("head chunk {number:06}:{offset} cannot be read"));
        {
            let current = self.current.lock();
            let open = current.file.is_some() || !current.buffer.is_empty();
            if current.number == number && open {
                if let Some(from) = offset.checked_sub(current.flushed) {
                    let bytes = current.buffer.get(from as usize..).unwrap_or(&[]);
                    return parse(bytes).map(|c| (c.encoding, c.data.to_vec())).ok_or_else(lost);
                }
                if let Some(file) = current.file.clone() {
                    drop(current);
                    return read_file(&*file, offset).ok_or_else(lost);
                }
            }
        }
        let map = self.map_of(number).ok_or_else(lost)?;
        chunk_in(&map, at).map(|(encoding, data)| (encoding, data.to_vec()))
    }

    /// Series, first and last time of the first chunk in a file.
    pub(crate) fn first_of(&self, number: u64) -> Result<(u64, i64, i64), DiskError> {
        let path = self.dir.join(format!("{number:06}"));
        let mut bytes = [0; FIXED];
        if self.disk.open(&path)?.read_at(HEADER.len() as u64, &mut bytes)? < FIXED {
            return Err(DiskError::other("read", &path, "it ends in its first chunk"));
        }
        let word = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        Ok((word(0), word(8) as i64, word(16) as i64))
    }

    /// [`Mapper::read`] through plain reads of finished files.
    pub(crate) fn read_plain(&self, files: &PlainFiles, at: u64) -> Result<(u8, Vec<u8>), StorageError> {
        let number = (at >> 32) as u32;
        if !self.finished.read().contains_key(&number) {
            return self.read(at);
        }
        let mut open = files.0.lock();
        let file = match open.get(&number) {
            Some(file) => file.clone(),
            None => {
                let file = self.disk.open(&path_of(&self.dir, number));
                let file = file.map_err(|e| StorageError::Other(e.to_string()))?;
                let file: Arc<dyn File> = Arc::from(file);
                open.insert(number, file.clone());
                file
            }
        };
        drop(open);
        read_file(&*file, at & 0xffff_ffff).ok_or_else(|| {
            StorageError::Corrupt(format!("head chunk {number:06}:{} cannot be read", at & 0xffff_ffff))
        })
    }

    /// The map of a finished file, if it is mapped.
    pub(crate) fn known_map(&self, number: u32) -> Option<Arc<Map>> {
        self.finished.read().get(&number)?.map.clone()
    }

    fn map_of(&self, number: u32) -> Option<Arc<Map>> {
        if let Some(map) = self.finished.read().get(&number)?.map.clone() {
            return Some(map);
        }
        let map = self.disk.map(&path_of(&self.dir, number)).ok()?;
        self.finished.write().get_mut(&number)?.map = Some(map.clone());
        Some(map)
    }

    /// Removes the oldest files that hold nothing at or after `mint`, and begins a new file, so that what is there
    /// now can go some day however little comes. Gives the number of the oldest file that is left.
    pub(crate) fn truncate(&self, mint: i64) -> Result<u32, DiskError> {
        let current = {
            let mut current = self.current.lock();
            if current.flushed + current.buffer.len() as u64 > HEADER.len() as u64 {
                self.next_file(&mut current);
            }
            current.number
        };
        let mut finished = self.finished.write();
        while let Some((&number, file)) = finished.iter().next() {
            if file.max_t >= mint {
                break;
            }
            self.disk.remove_file(&path_of(&self.dir, number))?;
            finished.remove(&number);
            // Durably one after the other: a loss of power must not bring back an older file than one that is gone. Upstream
            // refuses gaps, and `head_late` rests on it.
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(finished.keys().next().copied().unwrap_or(current))
    }

    /// Bytes of all files, as far as flushed.
    pub(crate) fn disk_bytes(&self) -> u64 {
        numbered(&*self.disk, &self.dir, "").map_or(0, |files| files.iter().map(|f| f.entry.len).sum())
    }
}

struct Parsed<'a> {
    series: u64,
    min: i64,
    max: i64,
    encoding: u8,
    late: bool,
    data: &'a [u8],
    /// Bytes of the whole entry.
    len: usize,
}

/// Encoding and data of a chunk in the map of its file.
pub(crate) fn chunk_in(map: &Map, at: u64) -> Result<(u8, &[u8]), StorageError> {
    let (number, offset) = ((at >> 32) as u32, at & 0xffff_ffff);
    let lost = || StorageError::Corrupt(format!("head chunk {number:06}:{offset} cannot be read"));
    parse(map.get(offset as usize..).unwrap_or(&[])).map(|c| (c.encoding, c.data)).ok_or_else(lost)
}

fn parse(bytes: &[u8]) -> Option<Parsed<'_>> {
    let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    let (series, min, max) = (word(0)?, word(8)? as i64, word(16)? as i64);
    let encoding = *bytes.get(24)?;
    let mut rest = bytes.get(FIXED..)?;
    let before = rest.len();
    let len = varint::take_u64(&mut rest).filter(|n| *n <= MAX_CHUNK_BYTES)? as usize;
    let start = FIXED + before - rest.len();
    let data = bytes.get(start..start + len)?;
    let crc = bytes.get(start + len..start + len + 4)?;
    if crc32c(&bytes[..start + len]).to_be_bytes() != crc {
        return None;
    }
    let late = encoding & LATE_BIT != 0;
    Some(Parsed { series, min, max, encoding: encoding & !LATE_BIT, late, data, len: start + len + 4 })
}

fn read_file(file: &dyn File, offset: u64) -> Option<(u8, Vec<u8>)> {
    let mut bytes = vec![0; 1536];
    let got = file.read_at(offset, &mut bytes).ok()?;
    bytes.truncate(got);
    if let Some(chunk) = parse(&bytes) {
        return Some((chunk.encoding, chunk.data.to_vec()));
    }
    // Longer than usual.
    let mut rest = bytes.get(FIXED..)?;
    let len = varint::take_u64(&mut rest).filter(|n| *n <= MAX_CHUNK_BYTES)? as usize;
    bytes.resize(FIXED + varint::MAX_LEN + len + 4, 0);
    let got = file.read_at(offset, &mut bytes).ok()?;
    parse(bytes.get(..got)?).map(|c| (c.encoding, c.data.to_vec()))
}

/// Tells of each chunk of a file; gives the length up to which it is sound.
fn scan(number: u32, bytes: &[u8], mut found: impl FnMut(Found)) -> usize {
    let mut at = HEADER.len();
    while let Some(chunk) = bytes.get(at..).filter(|rest| !rest.is_empty()).and_then(parse) {
        // A run of zeros is preallocated space: no series has the number 0.
        if chunk.series == 0 {
            break;
        }
        let Parsed { series, min, max, encoding, late, len, .. } = chunk;
        found(Found { at: u64::from(number) << 32 | at as u64, series, min, max, encoding, late });
        at += len;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::OsDisk;

    #[test]
    fn chunks_come_back_and_torn_ends_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let (mapper, _) = Mapper::open(disk.clone(), dir.path().to_owned(), true, |_| {}).unwrap();
        let data = |n: u8| vec![n; 200 + usize::from(n) * 20];
        let refs: Vec<u64> =
            (0..100u8).map(|n| mapper.write(u32::from(n) + 1, 10, 20, n % 2 == 1, &data(n))).collect();
        assert_eq!(refs[0], 1 << 32 | 8);
        for flushed in [false, true] {
            for n in 0..100u8 {
                assert_eq!(mapper.read(refs[usize::from(n)]).unwrap(), (1, data(n)), "{n} {flushed}");
            }
            mapper.flush();
        }
        drop(mapper);
        let file = path_of(dir.path(), 1);
        let whole = disk.meta(&file).unwrap().len;
        disk.open_append(&file).unwrap().append(b"torn").unwrap();
        let mut seen = Vec::new();
        let (mapper, damaged) =
            Mapper::open(disk.clone(), dir.path().to_owned(), true, |c| seen.push((c.at, c.series, c.late)))
                .unwrap();
        assert_eq!((seen.len(), seen[99], damaged), (100, (refs[99], 100, true), 1));
        assert_eq!(disk.meta(&file).unwrap().len, whole);
        let next = mapper.write(7, 30, 40, false, b"abc");
        assert_eq!(next, 2 << 32 | 8);
        assert_eq!(mapper.read(refs[5]).unwrap().1, data(5));
        assert_eq!(mapper.read(next).unwrap().1, b"abc");
        assert!(mapper.read(3 << 32).is_err());
        mapper.truncate(25).unwrap();
        assert!(mapper.read(refs[5]).is_err());
    }
}
