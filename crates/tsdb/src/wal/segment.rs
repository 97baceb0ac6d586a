//! Names and lists of segments and checkpoints.

use disk::{Disk, Result, scan};
use std::path::{Path, PathBuf};

const CHECKPOINT_PREFIX: &str = "checkpoint.";

/// A segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub number: u32,
    pub path: PathBuf,
    pub len: u64,
}

/// A checkpoint directory: what survived of the segments up to and including `number`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub number: u32,
    pub path: PathBuf,
}

pub fn segment_name(number: u32) -> String {
    format!("{number:08}")
}

/// Segments of a log directory in order. Strangers are left alone; an absent directory has none.
pub fn segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<Segment>> {
    let found = scan::numbered(disk, dir, "")?;
    Ok(found
        .into_iter()
        .filter(|n| !n.entry.is_dir)
        .filter_map(|n| {
            let number = u32::try_from(n.number).ok()?;
            Some(Segment { number, path: dir.join(&n.entry.name), len: n.entry.len })
        })
        .collect())
}

fn checkpoints(disk: &dyn Disk, dir: &Path) -> Result<Vec<Checkpoint>> {
    let found = scan::numbered(disk, dir, CHECKPOINT_PREFIX)?;
    Ok(found
        .into_iter()
        .filter(|n| n.entry.is_dir)
        .filter_map(|n| {
            let number = u32::try_from(n.number).ok()?;
            Some(Checkpoint { number, path: dir.join(&n.entry.name) })
        })
        .collect())
}

pub(super) fn checkpoint_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{CHECKPOINT_PREFIX}{number:08}"))
}

/// The newest checkpoint.
pub fn last_checkpoint(disk: &dyn Disk, dir: &Path) -> Result<Option<Checkpoint>> {
    Ok(checkpoints(disk, dir)?.pop())
}

/// Removes checkpoints older than `number`.
pub fn delete_checkpoints(disk: &dyn Disk, dir: &Path, number: u32) -> Result<()> {
    for old in checkpoints(disk, dir)? {
        if old.number < number {
            disk.remove_dir_all(&old.path)?;
        }
    }
    Ok(())
}

/// Removes checkpoints that were never finished.
pub fn delete_temp_checkpoints(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let entries = match disk.list(dir) {
        Err(e) if e.is_not_found() => return Ok(()),
        other => other?,
    };
    for entry in entries {
        if entry.is_dir && entry.name.starts_with(CHECKPOINT_PREFIX) && entry.name.ends_with(".tmp") {
            disk.remove_dir_all(&dir.join(&entry.name))?;
        }
    }
    Ok(())
}
