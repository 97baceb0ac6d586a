//! A disk in memory that fails on demand: errors, a full disk, torn writes, power loss. Seedable, so that a
//! failure found once is found again.
//!
//! Ways to lose something:
//! * [`FaultyDisk::fail_ops`]: single operations fail and the program goes on;
//! * [`FaultyDisk::fail_syncs`]: the next fsyncs fail. What a failed fsync did not write is never written by a later
//!   one, as on Linux: the pages count as clean;
//! * [`FaultyDisk::set_full`]: there is no room for files whose path holds a text;
//! * [`FaultyDisk::set_read_only`]: nothing may be changed;
//! * [`FaultyDisk::crash_at`]: from the n-th operation on nothing reaches the disk, as if the process had died
//!   there; then [`FaultyDisk::reboot`] with [`Loss::Kill`] keeps everything flushed;
//! * [`FaultyDisk::reboot`] with [`Loss::Power`]: of what was not durable a random part is missing, torn or zero.

use disk::{DirEntry, Disk, DiskError, File, LockGuard, Map, Meta, Result, Space};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How the machine stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The process died; the system still writes what it was handed.
    Kill,
    /// Only what is durable is sure.
    Power,
}

/// Cloning shares the disk.
#[derive(Clone, Debug)]
pub struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
    inodes: BTreeMap<u64, Inode>,
    locks: BTreeSet<PathBuf>,
    next_inode: u64,
    ops: u64,
    fail_ops: BTreeSet<u64>,
    crash_at: Option<u64>,
    /// Fsyncs of files that still fail.
    fail_syncs: u64,
    read_only: bool,
    /// Paths with this text cannot grow.
    full: Option<String>,
    /// Bytes that may still be added.
    budget: Option<u64>,
    rng: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// Bytes that a failed fsync did not write; in memory only until they are written again.
    lost: Vec<std::ops::Range<usize>>,
}

impl Inode {
    /// What a successful fsync makes durable: everything but what an earlier one lost.
    fn synced(&self) -> Vec<u8> {
        let mut durable = self.data.clone();
        for range in &self.lost {
            if let Some(bytes) = durable.get_mut(range.clone()) {
                bytes.fill(0);
            }
        }
        durable
    }
}

impl FaultyDisk {
    pub fn new(seed: u64) -> Self {
        FaultyDisk(Arc::new(Mutex::new(State { rng: seed | 1, ..State::default() })))
    }

    /// As the trait object that rooms take.
    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Changing operations so far: create, append, write, truncate, sync, rename, remove, link, sync of a
    /// directory.
    pub fn ops(&self) -> u64 {
        self.0.lock().ops
    }

    /// The changing operations with these numbers (counted as [`FaultyDisk::ops`] does, the first is 1) fail;
    /// an append may leave a part behind.
    pub fn fail_ops(&self, numbers: impl IntoIterator<Item = u64>) {
        self.0.lock().fail_ops = numbers.into_iter().collect();
    }

    /// From this operation on everything fails and nothing has an effect; an append may leave a part behind.
    pub fn crash_at(&self, op: u64) {
        self.0.lock().crash_at = Some(op);
    }

    /// The next `count` fsyncs of files fail, and lose what they should have written.
    pub fn fail_syncs(&self, count: u64) {
        self.0.lock().fail_syncs = count;
    }

    /// Nothing can be added to files whose path holds `text`; an append leaves a part behind.
    pub fn set_full(&self, text: Option<&str>) {
        self.0.lock().full = text.map(str::to_owned);
    }

    /// Whether every changing operation fails with "read-only file system".
    pub fn set_read_only(&self, read_only: bool) {
        self.0.lock().read_only = read_only;
    }

    /// Bytes that may still be added before the disk is full; `None`: no end.
    pub fn set_budget(&self, bytes: Option<u64>) {
        self.0.lock().budget = bytes;
    }

    /// The disk as the next start finds it. Handles to the old one are of no use any more.
    pub fn reboot(&self, loss: Loss) -> FaultyDisk {
        let mut old = self.0.lock();
        let mut new = State {
            dirs: old.dirs.clone(),
            next_inode: old.next_inode,
            rng: old.random() | 1,
            ..State::default()
        };
        let mut names = old.names.clone();
        if loss == Loss::Power {
            let all: BTreeSet<PathBuf> = old.names.keys().chain(old.durable_names.keys()).cloned().collect();
            for path in all {
                let (now, durable) = (old.names.get(&path).copied(), old.durable_names.get(&path).copied());
                let chosen = if now == durable || old.random().is_multiple_of(2) { now } else { durable };
                match chosen {
                    Some(inode) => names.insert(path, inode),
                    None => names.remove(&path),
                };
            }
        }
        for inode in names.values() {
            let Some(mut file) = old.inodes.get(inode).cloned() else { continue };
            if loss == Loss::Power {
                file.data = old.after_power_loss(&file);
            }
            file.durable = file.data.clone();
            file.lost.clear();
            new.inodes.insert(*inode, file);
        }
        new.durable_names = names.clone();
        new.names = names;
        FaultyDisk(Arc::new(Mutex::new(new)))
    }

    /// Changes bytes behind everybody's back, as decay does.
    pub fn corrupt(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        if let Some(inode) = state.names.get(path).copied()
            && let Some(file) = state.inodes.get_mut(&inode)
        {
            change(&mut file.data);
            file.durable = file.data.clone();
        }
    }
}

impl State {
    fn random(&mut self) -> u64 {
        // xorshift64*: enough to choose where to cut.
        self.rng ^= self.rng >> 12;
        self.rng ^= self.rng << 25;
        self.rng ^= self.rng >> 27;
        self.rng.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.random() % (n as u64 + 1)) as usize
    }

    /// Durable bytes, and of those behind them a random part: cut, or with a hole of zeros.
    fn after_power_loss(&mut self, file: &Inode) -> Vec<u8> {
        if !file.lost.is_empty() {
            return file.durable.clone();
        }
        if !file.data.starts_with(&file.durable) {
            return if self.random().is_multiple_of(2) { file.data.clone() } else { file.durable.clone() };
        }
        let sure = file.durable.len();
        let keep = sure + self.below(file.data.len() - sure);
        let mut data = file.data[..keep].to_vec();
        if self.random().is_multiple_of(3) && keep > sure {
            let from = sure + self.below(keep - sure);
            data[from..].fill(0);
        }
        data
    }

    /// Counts a changing operation and tells whether it fails.
    fn count(&mut self, op: &'static str, path: &Path) -> Result<()> {
        self.ops += 1;
        if self.read_only {
            return Err(DiskError::new(op, path, ErrorKind::ReadOnlyFilesystem.into()));
        }
        if self.crash_at.is_some_and(|at| self.ops > at) {
            return Err(DiskError::new(op, path, Error::other("simulated crash")));
        }
        if self.fail_ops.contains(&self.ops) || self.crash_at == Some(self.ops) {
            return Err(DiskError::new(op, path, Error::other("simulated failure")));
        }
        Ok(())
    }

    /// Whether the operation just counted may leave a part behind.
    fn may_tear(&self) -> bool {
        self.crash_at.is_none_or(|at| self.ops <= at)
    }

    fn inode(&self, op: &'static str, path: &Path) -> Result<u64> {
        self.names.get(path).copied().ok_or_else(|| DiskError::new(op, path, ErrorKind::NotFound.into()))
    }

    fn parent_exists(&self, op: &'static str, path: &Path) -> Result<()> {
        match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() && !self.dirs.contains(dir) => {
                Err(DiskError::new(op, path, ErrorKind::NotFound.into()))
            }
            _ => Ok(()),
        }
    }

    fn new_file(&mut self, path: &Path) -> u64 {
        self.next_inode += 1;
        self.names.insert(path.to_owned(), self.next_inode);
        self.inodes.insert(self.next_inode, Inode::default());
        self.next_inode
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    inode: u64,
    path: PathBuf,
}

#[derive(Debug)]
struct FaultyLock {
    disk: FaultyDisk,
    path: PathBuf,
}

impl LockGuard for FaultyLock {}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        self.disk.0.lock().locks.remove(&self.path);
    }
}

impl FaultyDisk {
    fn file(&self, inode: u64, path: &Path) -> Box<dyn File> {
        Box::new(FaultyFile { disk: self.clone(), inode, path: path.to_owned() })
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> Result<Box<dyn File>> {
        let inode = self.0.lock().inode("open", path)?;
        Ok(self.file(inode, path))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn File>> {
        let mut state = self.0.lock();
        let inode = match state.names.get(path).copied() {
            Some(inode) => inode,
            None => {
                state.parent_exists("open", path)?;
                state.count("open", path)?;
                state.new_file(path)
            }
        };
        drop(state);
        Ok(self.file(inode, path))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn File>> {
        let mut state = self.0.lock();
        state.parent_exists("open", path)?;
        state.count("open", path)?;
        let inode = state.new_file(path);
        drop(state);
        Ok(self.file(inode, path))
    }

    fn map(&self, path: &Path) -> Result<Arc<Map>> {
        let state = self.0.lock();
        let inode = state.inode("open", path)?;
        let bytes = state.inodes.get(&inode).map(|f| f.data.clone()).unwrap_or_default();
        Ok(Arc::new(Map::of_bytes(bytes)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.0.lock();
        state.count("rename", from)?;
        if state.dirs.contains(from) {
            // A directory moves with everything below it; its files keep their durability.
            let moved = |path: &Path| path.strip_prefix(from).ok().map(|rest| to.join(rest));
            let state = &mut *state;
            for names in [&mut state.names, &mut state.durable_names] {
                *names = std::mem::take(names)
                    .into_iter()
                    .map(|(path, inode)| (moved(&path).unwrap_or(path), inode))
                    .collect();
            }
            state.dirs = state.dirs.iter().map(|path| moved(path).unwrap_or_else(|| path.clone())).collect();
            state.dirs.insert(to.to_owned());
            return Ok(());
        }
        let inode = state.inode("rename", from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        let mut state = self.0.lock();
        state.count("remove", path)?;
        state.inode("remove", path)?;
        state.names.remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        let mut state = self.0.lock();
        state.count("remove", path)?;
        state.names.retain(|name, _| !name.starts_with(path));
        state.dirs.retain(|name| !name.starts_with(path));
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> Result<()> {
        let mut state = self.0.lock();
        if state.read_only && !state.dirs.contains(path) {
            return Err(DiskError::new("mkdir", path, ErrorKind::ReadOnlyFilesystem.into()));
        }
        for dir in path.ancestors() {
            state.dirs.insert(dir.to_owned());
        }
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.0.lock();
        state.count("link", from)?;
        let inode = state.inode("link", from)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let mut state = self.0.lock();
        state.count("fsync", dir)?;
        let state = &mut *state;
        state.durable_names.retain(|path, _| path.parent() != Some(dir));
        for (path, inode) in &state.names {
            if path.parent() == Some(dir) {
                state.durable_names.insert(path.clone(), *inode);
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let state = self.0.lock();
        if !state.dirs.contains(dir) {
            return Err(DiskError::new("open", dir, ErrorKind::NotFound.into()));
        }
        let name_of = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let files =
            state.names.iter().filter(|(path, _)| path.parent() == Some(dir)).filter_map(|(path, inode)| {
                let len = state.inodes.get(inode).map_or(0, |f| f.data.len() as u64);
                Some(DirEntry { name: name_of(path)?, is_dir: false, len })
            });
        let dirs = state.dirs.iter().filter(|path| path.parent() == Some(dir));
        let dirs = dirs.filter_map(|path| Some(DirEntry { name: name_of(path)?, is_dir: true, len: 0 }));
        let mut entries: Vec<_> = files.chain(dirs).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn meta(&self, path: &Path) -> Result<Meta> {
        let state = self.0.lock();
        if state.dirs.contains(path) {
            return Ok(Meta { is_dir: true, len: 0, modified: None });
        }
        let inode = state.inode("stat", path)?;
        let len = state.inodes.get(&inode).map_or(0, |f| f.data.len() as u64);
        Ok(Meta { is_dir: false, len, modified: None })
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>> {
        let mut state = self.0.lock();
        if state.read_only {
            return Err(DiskError::new("open", path, ErrorKind::ReadOnlyFilesystem.into()));
        }
        if !state.locks.insert(path.to_owned()) {
            return Err(DiskError::new("flock", path, ErrorKind::WouldBlock.into()));
        }
        if !state.names.contains_key(path) {
            state.new_file(path);
        }
        Ok(Box::new(FaultyLock { disk: self.clone(), path: path.to_owned() }))
    }

    fn space(&self, _path: &Path) -> Result<Space> {
        let free = self.0.lock().budget.unwrap_or(1 << 40);
        Ok(Space { free, total: 1 << 40 })
    }
}

impl FaultyFile {
    fn with<T>(&self, f: impl FnOnce(&mut Inode) -> T) -> T {
        let mut state = self.disk.0.lock();
        f(state.inodes.entry(self.inode).or_default())
    }
}

impl File for FaultyFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn append(&self, bytes: &[u8]) -> Result<()> {
        let mut state = self.disk.0.lock();
        let mut done = state.count("write", &self.path);
        let mut kept = bytes.len();
        let full =
            state.full.as_ref().is_some_and(|text| self.path.to_string_lossy().contains(text.as_str()));
        if full && done.is_ok() {
            done = Err(DiskError::new("write", &self.path, ErrorKind::StorageFull.into()));
        }
        if done.is_err() {
            kept = if state.may_tear() { state.below(bytes.len()) } else { 0 };
        }
        if let Some(budget) = state.budget
            && (kept as u64) > budget
        {
            kept = budget as usize;
            done = done.and(Err(DiskError::new("write", &self.path, ErrorKind::StorageFull.into())));
        }
        if let Some(budget) = &mut state.budget {
            *budget -= kept as u64;
        }
        if let Some(file) = state.inodes.get_mut(&self.inode) {
            file.data.extend_from_slice(&bytes[..kept]);
        }
        done
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.disk.0.lock().count("write", &self.path)?;
        self.with(|file| {
            let (from, to) = (offset as usize, offset as usize + bytes.len());
            if file.data.len() < to {
                file.data.resize(to, 0);
            }
            file.data[from..to].copy_from_slice(bytes);
        });
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        Ok(self.with(|file| {
            let tail = file.data.get(offset as usize..).unwrap_or(&[]);
            let n = tail.len().min(into.len());
            into[..n].copy_from_slice(&tail[..n]);
            n
        }))
    }

    fn len(&self) -> Result<u64> {
        Ok(self.with(|file| file.data.len() as u64))
    }

    fn truncate(&self, len: u64) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.count("truncate", &self.path)?;
        let state = &mut *state;
        if let Some(file) = state.inodes.get_mut(&self.inode) {
            let freed = (file.data.len() as u64).saturating_sub(len);
            file.data.resize(len as usize, 0);
            file.lost.retain_mut(|lost| {
                lost.end = lost.end.min(len as usize);
                lost.start < lost.end
            });
            if let Some(budget) = &mut state.budget {
                *budget += freed;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.count("fsync", &self.path)?;
        let fails = state.fail_syncs > 0;
        state.fail_syncs = state.fail_syncs.saturating_sub(1);
        let Some(file) = state.inodes.get_mut(&self.inode) else { return Ok(()) };
        if fails {
            let (sure, end) = (file.durable.len(), file.data.len());
            if sure < end {
                file.lost.push(sure..end);
            }
            return Err(DiskError::new("fsync", &self.path, Error::other("simulated failure")));
        }
        file.durable = file.synced();
        Ok(())
    }
}
