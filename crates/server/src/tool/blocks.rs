//! Reading a data directory without its lock and without changing it; `tsdb list`.

use super::progress::Progress;
use super::text::{base2_bytes, go_duration, go_time, table};
use super::{failed, one};
use block::chunks::ChunkReader;
use block::index::IndexReader;
use block::{Block, BlockMeta};
use clap::ArgMatches;
use disk::{Disk, OsDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ulid::Ulid;

/// Folders of blocks in a data directory, by name.
pub(crate) fn folders(dir: &Path) -> Result<Vec<(Ulid, PathBuf)>, String> {
    let meta = OsDisk
        .meta(dir)
        .map_err(|_| format!("opening the db dir: stat {}: no such file or directory", dir.display()))?;
    if !meta.is_dir {
        return Err(format!("opening the db dir: {} is not a directory", dir.display()));
    }
    let entries = OsDisk.list(dir).map_err(|e| e.to_string())?;
    let named = entries.into_iter().filter(|e| e.is_dir);
    Ok(named.filter_map(|e| Some((Ulid::from_string(&e.name).ok()?, dir.join(&e.name)))).collect())
}

/// All blocks, sorted by their first time. One whose `meta.json` cannot be read counts as unfinished: it is named on
/// standard error and left out.
pub(crate) fn open_all(dir: &Path) -> Result<Vec<Arc<Block>>, String> {
    let mut blocks = Vec::new();
    let folders = folders(dir)?;
    let mut progress = Progress::new("Opening", "blocks", folders.len());
    for (done, (ulid, folder)) in folders.into_iter().enumerate() {
        progress.at(done);
        if let Err(e) = BlockMeta::read(&OsDisk, &folder) {
            eprintln!("skipping block {ulid}: {e}");
            continue;
        }
        let corrupted = |e: &dyn std::fmt::Display| format!("corrupted block {ulid}: {e}");
        OsDisk.list(&folder.join("chunks")).map_err(|e| corrupted(&e))?;
        let block = Block::open(&OsDisk, &folder).map_err(|e| corrupted(&e))?;
        blocks.push(Arc::new(block));
    }
    blocks.sort_by_key(|b| b.meta().min_time);
    Ok(blocks)
}

/// One block's files, for who looks at more than its series.
pub(crate) struct Parts {
    pub(crate) meta: BlockMeta,
    pub(crate) index: IndexReader,
    pub(crate) chunks: ChunkReader,
}

impl Parts {
    pub(crate) fn open(folder: &Path) -> Result<Parts, String> {
        let opened = || -> Result<Parts, block::BlockError> {
            Ok(Parts {
                meta: BlockMeta::read(&OsDisk, folder)?,
                index: IndexReader::open(&OsDisk, &folder.join("index"))?,
                chunks: ChunkReader::open(&OsDisk, &folder.join("chunks"))?,
            })
        };
        opened().map_err(|e| e.to_string())
    }
}

/// Bytes of all files of a block.
fn size(folder: &Path) -> u64 {
    let len =
        |dir: &Path| -> u64 { OsDisk.list(dir).map_or(0, |entries| entries.iter().map(|e| e.len).sum()) };
    len(folder) + len(&folder.join("chunks"))
}

/// Rows of `tsdb list`.
pub(crate) fn rows(blocks: &[(BlockMeta, PathBuf)], header: bool, readable: bool) -> String {
    const HEADER: [&str; 8] =
        ["BLOCK ULID", "MIN TIME", "MAX TIME", "DURATION", "NUM SAMPLES", "NUM CHUNKS", "NUM SERIES", "SIZE"];
    let time = |ms: i64| if readable { go_time(ms) } else { ms.to_string() };
    let mut rows = Vec::new();
    if header {
        rows.push(HEADER.map(str::to_owned).to_vec());
    }
    for (meta, folder) in blocks {
        let bytes = size(folder);
        rows.push(vec![
            meta.ulid.to_string(),
            time(meta.min_time),
            time(meta.max_time),
            go_duration(meta.max_time.saturating_sub(meta.min_time)),
            meta.stats.num_samples.to_string(),
            meta.stats.num_chunks.to_string(),
            meta.stats.num_series.to_string(),
            if readable { base2_bytes(bytes) } else { bytes.to_string() },
        ]);
    }
    table(&rows, 13, 2)
}

/// `tsdb list`
pub(crate) fn list(m: &ArgMatches) -> u8 {
    match open_all(Path::new(one(m, "db path"))) {
        Ok(blocks) => {
            let listed: Vec<(BlockMeta, PathBuf)> =
                blocks.iter().map(|b| (b.meta().clone(), b.dir().to_owned())).collect();
            put!("{}", rows(&listed, true, m.get_flag("human-readable")));
            0
        }
        Err(e) => failed(e),
    }
}
