//! Ordered scans of numbered files that tolerate strangers.

use crate::error::Result;
use crate::vfs::{DirEntry, Disk};
use std::path::Path;

/// A file or directory whose name carries a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    pub number: u64,
    pub entry: DirEntry,
}

/// Entries of `dir` whose name is `prefix` followed by decimal digits only, in order of the number. Other
/// names are left alone. An absent directory is empty.
pub fn numbered(disk: &dyn Disk, dir: &Path, prefix: &str) -> Result<Vec<Numbered>> {
    let entries = match disk.list(dir) {
        Err(e) if e.is_not_found() => return Ok(Vec::new()),
        other => other?,
    };
    let mut found: Vec<Numbered> = entries
        .into_iter()
        .filter_map(|entry| Some(Numbered { number: number_of(&entry.name, prefix)?, entry }))
        .collect();
    found.sort_by_key(|n| n.number);
    Ok(found)
}

/// The number in a name such as `00000012` or `checkpoint.00000003`.
pub fn number_of(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names() {
        assert_eq!(number_of("00000012", ""), Some(12));
        assert_eq!(number_of("checkpoint.00000003", "checkpoint."), Some(3));
        for stranger in ["", "checkpoint.", "checkpoint.1.tmp", "+1", "lost+found", "99999999999999999999999"]
        {
            assert_eq!(number_of(stranger, ""), None, "{stranger}");
            assert_eq!(number_of(stranger, "checkpoint."), None, "{stranger}");
        }
    }
}
