//! Replacing a file so that a reader sees the old or the new one, whatever happens.

use crate::error::Result;
use crate::vfs::Disk;
use std::path::{Path, PathBuf};

/// Writes a temporary neighbour, makes it durable, renames it over `path` and makes the name durable.
pub fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let temp = temp_path(path);
    let done = write_temp(disk, &temp, bytes).and_then(|()| replace(disk, &temp, path));
    if done.is_err() {
        // The temporary file is of no use to anyone; a full disk gets its space back.
        let _ = disk.remove_file(&temp);
    }
    done
}

/// Renames `from` (a file or a directory whose contents are durable) to `to`, durably. An existing directory
/// at `to` is removed first.
pub fn replace(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    if disk.meta(to).is_ok_and(|meta| meta.is_dir) {
        disk.remove_dir_all(to)?;
    }
    disk.rename(from, to)?;
    match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => disk.sync_dir(parent),
        _ => disk.sync_dir(Path::new(".")),
    }
}

fn write_temp(disk: &dyn Disk, temp: &Path, bytes: &[u8]) -> Result<()> {
    let file = disk.create(temp)?;
    file.append(bytes)?;
    file.sync()
}

fn temp_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}
