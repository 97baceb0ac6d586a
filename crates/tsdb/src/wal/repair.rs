//! Setting damaged bytes aside, so that any reader, also upstream's, reads the log without an error.
//!
//! Nothing moves: positions that others remember stay right. A torn tail is cut off and kept in a file beside
//! the segment; damage further up is overwritten with zeros and with records of a type that every reader
//! skips, in a copy that replaces the segment, while the original stays beside it.

use super::frame::{self, FULL, Found, HEADER_BYTES, PAGE_BYTES};
use super::reader::Damage;
use disk::crc::crc32c;
use disk::{Disk, DiskError, Result, atomic};
use std::path::{Path, PathBuf};

/// Files with bad bytes kept in a log directory; beyond it the oldest goes.
const KEPT_FILES: usize = 8;
const SUFFIX: &str = ".corrupt";
/// Type of records that nobody knows.
const SKIPPED: u8 = 255;

/// Sets the damage of one segment aside. `damage` is what a reader found in it, in order. Gives the file that
/// keeps the bad bytes. The segment must not be open for writing.
pub fn quarantine(disk: &dyn Disk, segment: &Path, damage: &[Damage]) -> Result<PathBuf> {
    let Some(first) = damage.first() else {
        return Err(DiskError::other("repair", segment, "nothing is damaged"));
    };
    let kept = free_name(disk, segment, first.from);
    let original = disk.map(segment)?;
    if let [only] = damage
        && only.torn
    {
        let from = usize::try_from(only.from).unwrap_or(usize::MAX);
        atomic::write(disk, &kept, original.get(from..).unwrap_or(&[]))?;
        drop(original);
        let file = disk.open_append(segment)?;
        file.truncate(only.from)?;
        file.sync()?;
    } else {
        atomic::write(disk, &kept, &original)?;
        let mut bytes = original.to_vec();
        drop(original);
        for place in damage {
            scrub(&mut bytes, place);
        }
        atomic::write(disk, segment, &bytes)?;
    }
    tracing::warn!(
        component = "tsdb",
        segment = %segment.display(),
        offset = first.from,
        file = %kept.display(),
        "Corrupt part of the write-ahead log was set aside"
    );
    forget_oldest(disk, segment)?;
    Ok(kept)
}

/// [`quarantine`] for all damage that a reader found in the segments of `dir`; damage elsewhere (checkpoints)
/// is left alone. Gives the number of segments repaired.
pub fn quarantine_all(disk: &dyn Disk, dir: &Path, damage: &[Damage]) -> Result<usize> {
    let own: Vec<Damage> = damage.iter().filter(|d| d.path.parent() == Some(dir)).cloned().collect();
    let mut repaired = 0;
    for segment in own.chunk_by(|a, b| a.path == b.path) {
        quarantine(disk, &segment[0].path, segment)?;
        repaired += 1;
    }
    Ok(repaired)
}

/// Makes `from..to` readable without a record in it.
fn scrub(bytes: &mut Vec<u8>, place: &Damage) {
    let from = usize::try_from(place.from).unwrap_or(usize::MAX).min(bytes.len());
    if place.torn {
        return bytes.truncate(from);
    }
    let to = usize::try_from(place.to).unwrap_or(usize::MAX).min(bytes.len());
    let mut at = from;
    while at < to {
        let page_end = ((at / PAGE_BYTES + 1) * PAGE_BYTES).min(bytes.len());
        let end = match frame::look(bytes, at) {
            Found::Fragment(f) => Some(f.end),
            _ => None,
        };
        match end {
            Some(end) => {
                let (head, data) = bytes[at..end].split_at_mut(HEADER_BYTES);
                data.fill(0);
                if let Some(kind) = data.first_mut() {
                    *kind = SKIPPED;
                }
                head[0] = FULL;
                head[3..7].copy_from_slice(&crc32c(data).to_be_bytes());
                at = end;
            }
            None => {
                bytes[at..page_end].fill(0);
                at = page_end;
            }
        }
    }
}

fn free_name(disk: &dyn Disk, segment: &Path, offset: u64) -> PathBuf {
    let base = segment.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = |n: u32| match n {
        0 => segment.with_file_name(format!("{base}.{offset}{SUFFIX}")),
        n => segment.with_file_name(format!("{base}.{offset}-{n}{SUFFIX}")),
    };
    (0..).map(name).find(|path| !disk.exists(path)).unwrap_or_default()
}

fn forget_oldest(disk: &dyn Disk, segment: &Path) -> Result<()> {
    let Some(dir) = segment.parent() else { return Ok(()) };
    let mut kept: Vec<_> = disk.list(dir)?.into_iter().filter(|e| e.name.ends_with(SUFFIX)).collect();
    // Names begin with the number of their segment, so this is the order of age.
    let surplus = kept.len().saturating_sub(KEPT_FILES);
    for old in kept.drain(..surplus) {
        disk.remove_file(&dir.join(old.name))?;
    }
    Ok(())
}
