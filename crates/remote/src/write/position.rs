//! The position file of a destination: how far the log is delivered, as JSON, replaced atomically.

use disk::Disk;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use storage::feed::Position;

/// Directory of the files below the storage path.
const DIR: &str = "remote_write";
const MAX_BYTES: u64 = 64 << 10;

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    version: u32,
    name: String,
    segment: u32,
    offset: u64,
}

pub(super) fn dir(storage: &Path) -> PathBuf {
    storage.join(DIR)
}

/// Names that make no file name are replaced by their hash.
fn file_name(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.len() <= 100 && !name.starts_with('.') && !name.is_empty() && name.bytes().all(plain) {
        return format!("{name}.json");
    }
    format!("~{:016x}.json", xxhash_rust::xxh3::xxh3_64(name.as_bytes()))
}

/// What is known of a destination's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Never seen before.
    New,
    At(Position),
    /// There is a file, and it cannot be read: all that the log still has must be delivered.
    Unreadable,
}

pub(super) fn load(disk: &dyn Disk, dir: &Path, name: &str) -> Found {
    let path = dir.join(file_name(name));
    let bytes = match disk.read(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(why) if why.is_not_found() => return Found::New,
        Err(why) => {
            tracing::error!(component = "remote", remote_name = name, err = %why, "Cannot read the position of a remote write destination; sending from the start of the WAL");
            return Found::Unreadable;
        }
    };
    match serde_json::from_slice::<Saved>(&bytes) {
        Ok(Saved { version: 1, segment, offset, .. }) => Found::At(Position { segment, offset }),
        Ok(saved) => {
            tracing::error!(
                component = "remote",
                remote_name = name,
                version = saved.version,
                "Unknown version of a position file; sending from the start of the WAL"
            );
            Found::Unreadable
        }
        Err(why) => {
            tracing::error!(component = "remote", remote_name = name, err = %why, "Damaged position file; sending from the start of the WAL");
            Found::Unreadable
        }
    }
}

pub(super) fn save(disk: &dyn Disk, dir: &Path, name: &str, at: Position) -> disk::Result<()> {
    let saved = Saved { version: 1, name: name.to_owned(), segment: at.segment, offset: at.offset };
    let mut text = serde_json::to_vec(&saved).unwrap_or_default();
    text.push(b'\n');
    disk.create_dir_all(dir)?;
    disk::atomic::write(disk, &dir.join(file_name(name)), &text)
}

/// Removes the file of a destination that is gone.
pub(super) fn forget(disk: &dyn Disk, dir: &Path, name: &str) {
    if let Err(why) = disk.remove_file(&dir.join(file_name(name)))
        && !why.is_not_found()
    {
        tracing::warn!(component = "remote", remote_name = name, err = %why, "Cannot remove a position file");
    }
}

/// Removes files of destinations that are not configured.
pub(super) fn forget_others(disk: &dyn Disk, dir: &Path, names: &[String]) {
    let known: Vec<String> = names.iter().map(|n| file_name(n)).collect();
    for entry in disk.list(dir).unwrap_or_default() {
        if entry.is_dir || !entry.name.ends_with(".json") || known.contains(&entry.name) {
            continue;
        }
        tracing::info!(
            component = "remote",
            file = %entry.name,
            "Forgetting the position of a remote write destination that is no longer configured"
        );
        if let Err(why) = disk.remove_file(&dir.join(&entry.name)) {
            tracing::warn!(component = "remote", err = %why, "Cannot remove a position file");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive() {
        let temp = tempfile::tempdir().unwrap();
        let (disk, dir) = (disk::OsDisk, dir(temp.path()));
        let at = Position { segment: 7, offset: 1 << 40 };
        for name in ["a", "../../etc", "", "mit Umlaut ä", &"x".repeat(300)] {
            assert_eq!(load(&disk, &dir, name), Found::New);
            save(&disk, &dir, name, at).unwrap();
            assert_eq!(load(&disk, &dir, name), Found::At(at));
        }
        forget_others(&disk, &dir, &["a".into()]);
        assert_eq!((load(&disk, &dir, "a"), load(&disk, &dir, "")), (Found::At(at), Found::New));
        forget(&disk, &dir, "a");
        assert_eq!(load(&disk, &dir, "a"), Found::New);
    }

    #[test]
    fn damaged_files_lose_nothing() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("a.json"), "{").unwrap();
        assert_eq!(load(&disk::OsDisk, temp.path(), "a"), Found::Unreadable);
    }
}
