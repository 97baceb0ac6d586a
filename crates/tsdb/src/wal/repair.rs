//! Setting damaged bytes aside, so that any reader, also upstream's, reads the log without an error.
//!
//! Nothing moves: positions that others remember stay right. A torn tail is cut off and kept in a file beside
//! the segment; damage further up is overwritten with zeros and with empty records, in a copy that replaces the segment, while the original stays beside it.

use super::compress::Compression;
use super::frame::{self, FULL, Found, HEADER_BYTES, PAGE_BYTES};
use super::reader::Damage;
use super::record::RecordType;
use disk::crc::crc32c;
use disk::{Disk, DiskError, Result, atomic};
use std::path::{Path, PathBuf};

/// Files with bad bytes kept in a log directory; beyond it the oldest goes.
const KEPT_FILES: usize = 8;
const SUFFIX: &str = ".corrupt";

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
    forget_oldest(disk, &kept)?;
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
            Some(end) if fill(&mut bytes[at..end]) => at = end,
            _ => {
                bytes[at..page_end].fill(0);
                at = page_end;
            }
        }
    }
}

/// Fills the place of a fragment exactly with empty samples records: the one thing that every reader of every
/// version takes without a word (upstream's agent calls records of unknown types corrupt). Cannot be done for
/// 7 and 9 bytes.
fn fill(place: &mut [u8]) -> bool {
    const EMPTY: [u8; 1] = [RecordType::Samples as u8];
    let step = HEADER_BYTES + EMPTY.len();
    // A record of 8 bytes does it where 8 divides the place; before it one of another length, which Snappy
    // gives: its length and its literal may be written in more bytes than they need.
    let odd = match place.len() % step {
        0 => 0,
        1 => 2 * step + 1,
        n => step + n,
    };
    if odd > place.len() || place.len() < step {
        return false;
    }
    let (first, rest) = place.split_at_mut(odd);
    if !first.is_empty() {
        let data = stretched_snappy(EMPTY[0], odd - HEADER_BYTES);
        put_full(first, &data, Compression::Snappy.flag());
    }
    rest.chunks_exact_mut(step).for_each(|slot| put_full(slot, &EMPTY, 0));
    true
}

fn put_full(slot: &mut [u8], data: &[u8], flag: u8) {
    slot[0] = FULL | flag;
    slot[1..3].copy_from_slice(&(data.len() as u16).to_be_bytes());
    slot[3..7].copy_from_slice(&crc32c(data).to_be_bytes());
    slot[HEADER_BYTES..].copy_from_slice(data);
}

/// A Snappy block of `len` bytes (3 to 11) that holds one byte.
fn stretched_snappy(byte: u8, len: usize) -> Vec<u8> {
    let spare = len - 3;
    let in_literal = spare.min(4);
    let in_length = spare - in_literal;
    let mut block = Vec::with_capacity(len);
    // The uncompressed length, 1, as a varint with needless zero groups.
    block.push(if in_length == 0 { 1 } else { 0x81 });
    block.extend((1..=in_length).map(|i| if i == in_length { 0 } else { 0x80 }));
    // The tag of a literal: its length less one here, or in as many bytes as 60 to 63 tell.
    block.push(if in_literal == 0 { 0 } else { (59 + in_literal as u8) << 2 });
    block.resize(block.len() + in_literal, 0);
    block.push(byte);
    block
}

fn free_name(disk: &dyn Disk, segment: &Path, offset: u64) -> PathBuf {
    let base = segment.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = |n: u32| match n {
        0 => segment.with_file_name(format!("{base}.{offset}{SUFFIX}")),
        n => segment.with_file_name(format!("{base}.{offset}-{n}{SUFFIX}")),
    };
    (0..).map(name).find(|path| !disk.exists(path)).unwrap_or_default()
}

/// Removes the files of the oldest segments, never the newest file.
fn forget_oldest(disk: &dyn Disk, newest: &Path) -> Result<()> {
    let Some(dir) = newest.parent() else { return Ok(()) };
    let mut kept: Vec<PathBuf> =
        disk.list(dir)?.iter().filter(|e| e.name.ends_with(SUFFIX)).map(|e| dir.join(&e.name)).collect();
    kept.retain(|path| path != newest);
    let surplus = (kept.len() + 1).saturating_sub(KEPT_FILES);
    // Names begin with the number of their segment, so this is about the order of age.
    kept.drain(..surplus).try_for_each(|old| disk.remove_file(&old))
}

#[cfg(test)]
mod tests {
    use super::super::compress::unpack;
    use super::*;

    #[test]
    fn every_place_can_be_filled() {
        for len in (8..2000).filter(|len| *len != 9) {
            let mut place = vec![0xff; len];
            assert!(fill(&mut place), "{len} bytes");
            let (mut at, mut out) = (0, Vec::new());
            while at < len {
                let Found::Fragment(f) = frame::look(&place, at) else { panic!("{len} bytes at {at}") };
                unpack(Compression::of_header(f.header), f.data, &mut out).expect("unpacks");
                assert_eq!(out, [2]);
                at = f.end;
            }
            assert_eq!(at, len);
        }
    }
}
