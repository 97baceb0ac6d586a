//! The head: every series that is being written, its recent samples, and the logs behind them.
//!
//! Room: `tsdb::head`. May touch: `wal`, `exemplars`, `disk`, `chunk`. Must not touch: blocks, the network, clocks.
//!
//! | file | holds |
//! |---|---|
//! | `entry` | one series in 64 bytes, and its open chunk |
//! | `page` | 4,096 series under one lock |
//! | `table` | key hash → reference |
//! | `text`, `postings`, `regex_cache` | interned labels, the inverted index |
//! | `canon` | checking of label sets |
//! | `write` | a batch: resolve (`resolve`, `create`), check (`verdict`), log, apply (`apply`, `histograms`, `extras`) |
//! | `ooo` | late samples of a series |
//! | `aside` | open chunks of histograms, and of floats as XOR2 |
//! | `histogram` | what a histogram must be like |
//! | `mapper` | full chunks on disk |
//! | `read` | selecting and reading |
//! | `cut`, `late_cut` | series for blocks |
//! | `views` | one state for everything that a querier selects |
//! | `replay` | start-up: decoding of the logs (`decode`), series (`series`), samples (`apply`), a snapshot (`snapshot`), the rest (`extras`), its end (`finish`) |
//! | `snapshot` | the head on disk after a clean stop |
//! | `truncate` | forgetting, checkpoints |
//!
//! Locks, in the order in which they may be taken: gate, creation, late order, views, index, shard, page, mapper. Two pages are never
//! held together. Writers hold the gate for reading during a batch, so that a series which a batch has
//! resolved cannot be collected before its samples are applied; one that meets pending samples of another
//! batch takes the gate for itself.

mod aside;
pub(crate) mod canon;
mod cut;
mod entry;
mod handed;
mod histogram;
mod late_cut;
mod mapper;
mod ooo;
mod page;
mod postings;
mod read;
mod regex_cache;
mod replay;
mod snapshot;
mod standing;
mod stats;
mod table;
mod text;
mod tombstone;
mod truncate;
mod views;
mod write;

pub(crate) use cut::HeadCut;
pub(crate) use late_cut::LateCut;
pub(crate) use read::HeadQuerier;
pub use read::{HeadChunk, HeadSeries};
pub use replay::ReplayHandle;
pub use stats::Ledger;
pub(crate) use write::HeadWriter;

use crate::exemplars::Exemplars;
use crate::metadata::MetadataStore;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::wal::{Wal, WalError, WalKind, WalOptions};
use disk::Disk;
use entry::CutRule;
use hashbrown::HashMap;
use mapper::Mapper;
use model::Labels;
use parking_lot::{Mutex, RwLock};
use postings::Index;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use table::SeriesTable;
use tombstone::Tombstones;

/// See the module text.
pub(crate) struct Head {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    options: Options,
    rule: CutRule,
    pub(crate) wal: Wal,
    /// The log of late samples; opened when it is first needed.
    wbl: OnceLock<Wal>,
    opening_wbl: Mutex<()>,
    registry: meter::Registry,
    table: SeriesTable,
    index: RwLock<Index>,
    mapper: Mapper,
    /// See the module text.
    gate: RwLock<()>,
    /// One batch with new series is logged at a time, so that nobody's samples come before the record of
    /// their series, and no record comes twice (upstream forgets what it replayed before a second one).
    creation: Mutex<()>,
    late_order: Mutex<()>,
    readers: read::Readers,
    views: views::Views,
    /// References that the log and chunks on disk have for series which are known under another one.
    /// With the newest time of samples in the log under the other one.
    aliases: Mutex<Vec<(u64, u32, i64)>>,
    window_ms: AtomicI64,
    /// Floats go to XOR2 chunks.
    xor2: AtomicBool,
    legacy_names: AtomicBool,
    /// Checkpoints that end before this segment keep every series: what was retired before a snapshot was taken is
    /// not known.
    keep_before: AtomicU32,
    /// Times of in-order samples; `i64::MAX` and `i64::MIN` while there are none.
    min_time: AtomicI64,
    max_time: AtomicI64,
    /// Times of late samples.
    late_min: AtomicI64,
    late_max: AtomicI64,
    /// Nothing older is accepted in order: it stands in blocks.
    min_valid: AtomicI64,
    tombstones: RwLock<Tombstones>,
    /// What the file [`standing`] says.
    standing: Mutex<Option<standing::Standing>>,
    /// Late chunks on disk that blocks have.
    handed: Mutex<handed::Handed>,
    /// References whose records the log still needs.
    retired: Mutex<HashMap<u32, truncate::Retired>>,
    pub(crate) exemplars: Exemplars,
    pub(crate) metadata: MetadataStore,
    pub(crate) metrics: Arc<Metrics>,
    closing: AtomicBool,
}

/// Bounds of one batch, taken at its start.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    min_valid: i64,
    head_max: i64,
    window_ms: i64,
    reject_late: bool,
    /// No other batch is under way.
    alone: bool,
}

impl Head {
    /// Earliest and latest time of samples in the head, late ones included; `None` while there are none.
    pub(crate) fn range(&self) -> Option<(i64, i64)> {
        let min = self.min_time.load(Relaxed).min(self.late_min.load(Relaxed));
        let max = self.max_time.load(Relaxed).max(self.late_max.load(Relaxed));
        (min <= max).then_some((min, max))
    }

    /// Times of in-order samples as upstream shows them: `i64::MAX` and `i64::MIN` while there are none.
    pub(crate) fn in_order_range(&self) -> (i64, i64) {
        (self.min_time.load(Relaxed), self.max_time.load(Relaxed))
    }

    pub(crate) fn series_count(&self) -> u64 {
        self.table.len()
    }

    pub(crate) fn is_live(&self, series: u64) -> bool {
        let Ok(series) = u32::try_from(series) else { return false };
        let (page, slot) = page::split(series);
        self.table.pages().get(page).and_then(Option::as_ref).is_some_and(|p| p.lock().is_live(slot))
    }

    /// Labels of a live series.
    pub(crate) fn labels(&self, series: u32) -> Option<Labels> {
        let (page, slot) = page::split(series);
        let pages = self.table.pages();
        let pairs = {
            let cells = pages.get(page)?.as_ref()?.lock();
            cells.is_live(slot).then(|| cells.pairs(slot).to_vec())?
        };
        let index = self.index.read();
        Some(Labels::from_sorted(pairs.iter().map(|pair| index.texts.label(*pair))))
    }

    /// Bounds for a batch whose first sample is at `first`; an empty head begins there, as upstream's.
    fn bounds(&self, first: Option<i64>, reject_late: bool) -> Bounds {
        if let Some(first) = first
            && self.max_time.load(Relaxed) == i64::MIN
        {
            let _ = self.max_time.compare_exchange(i64::MIN, first, Relaxed, Relaxed);
            let _ = self.min_time.compare_exchange(i64::MAX, first, Relaxed, Relaxed);
        }
        let head_max = self.max_time.load(Relaxed);
        let recent = head_max.saturating_sub(self.rule.chunk_range / 2);
        Bounds {
            min_valid: recent.max(self.min_valid.load(Relaxed)),
            head_max,
            window_ms: self.window_ms.load(Relaxed),
            reject_late,
            alone: false,
        }
    }

    /// What is written besides floats as XOR.
    fn kinds(&self) -> aside::Kinds {
        aside::Kinds { xor2: self.xor2.load(Relaxed), histogram_starts: self.options.histogram_starts }
    }

    /// Start timestamps of a batch's samples, as far as they are stored.
    fn starts_of<'b>(&self, batch: &'b storage::Batch<'_>) -> &'b [i64] {
        if self.options.store_starts { &batch.starts } else { &[] }
    }

    fn place<'a>(&'a self, cells: &'a mut page::Cells, slot: usize, series: u32) -> aside::Place<'a> {
        let (mapper, rule, kinds) = (&self.mapper, self.rule, self.kinds());
        aside::Place { mapper, rule, kinds, cells, slot, series }
    }

    fn saw(&self, min: i64, max: i64) {
        if min <= max {
            self.min_time.fetch_min(min, Relaxed);
            self.max_time.fetch_max(max, Relaxed);
        }
    }

    fn saw_late(&self, min: i64, max: i64) {
        if min <= max {
            self.late_min.fetch_min(min, Relaxed);
            self.late_max.fetch_max(max, Relaxed);
        }
    }

    /// The log of late samples.
    fn wbl(&self) -> Result<&Wal, WalError> {
        if let Some(wbl) = self.wbl.get() {
            return Ok(wbl);
        }
        let _one = self.opening_wbl.lock();
        if let Some(wbl) = self.wbl.get() {
            return Ok(wbl);
        }
        let wbl = Wal::open(
            self.disk.clone(),
            &self.dir.join("wbl"),
            wal_options(&self.options, WalKind::Wbl),
            &self.registry,
        )?;
        Ok(self.wbl.get_or_init(|| wbl))
    }

    pub(crate) fn set_window(&self, window_ms: i64) {
        self.window_ms.store(window_ms.max(0), Relaxed);
    }

    pub(crate) fn set_xor2(&self, xor2: bool) {
        self.xor2.store(xor2, Relaxed);
    }

    pub(crate) fn set_legacy_names(&self, legacy: bool) {
        self.legacy_names.store(legacy, Relaxed);
    }

    pub(crate) fn chunk_disk_bytes(&self) -> u64 {
        self.mapper.disk_bytes()
    }

    /// Stops writing, makes everything durable and takes a snapshot.
    pub(crate) fn close(&self) -> Result<(), crate::OpenError> {
        let again = self.closing.swap(true, Relaxed);
        // Batches that are under way end first.
        let _gate = self.gate.write();
        self.mapper.settle(true)?;
        if let Some(wbl) = self.wbl.get() {
            wbl.close()?;
        }
        self.wal.close()?;
        if self.takes_snapshots() && !again && self.table.len() > 0 {
            self.write_snapshot();
        }
        Ok(())
    }
}

pub(crate) fn wal_options(options: &Options, kind: WalKind) -> WalOptions {
    WalOptions {
        kind,
        segment_bytes: options.wal_segment_bytes,
        compression: options.wal_compression,
        fsync: options.wal_sync,
        sync_inline: options.wal_sync_inline,
    }
}
