//! The store of a server: a data directory, its head, and the doors to both.

use crate::blocks::Blocks;
use crate::head::{Head, HeadQuerier, HeadSeries, HeadWriter, Ledger, ReplayHandle};
use crate::maintain::Maintainer;
use crate::options::{Options, Running};
use crate::wal::Wal;
use disk::lock::LockError;
use disk::{DirLock, Disk, DiskError};
use meter::Registry;
use model::{Matcher, Metadata, TimeRange};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use storage::admin::{Admin, BlockInfo, HeadStats, ReplayStatus};
use storage::exemplars::{ExemplarSource, SeriesExemplars};
use storage::metadata::MetadataSource;
use storage::{Querier, Queryable, Series, StorageError, Writer, WriterSource};

/// Why a data directory could not be opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("write-ahead log: {0}")]
    Log(#[from] crate::wal::WalError),
}

struct Inner {
    head: Arc<Head>,
    maintainer: Arc<Maintainer>,
    dir: PathBuf,
    status: ReplayHandle,
    /// Given back when the last handle goes.
    _lock: Option<DirLock>,
}

/// An open data directory. Cloning shares it.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

impl Db {
    /// Opens or makes a data directory and replays it; `status` can be read meanwhile. Slow with a long log:
    /// call it on a thread of its own.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        registry: &Registry,
        status: ReplayHandle,
    ) -> Result<Db, OpenError> {
        disk.create_dir_all(dir)?;
        let lock = if options.no_lockfile { None } else { Some(DirLock::acquire(disk.clone(), dir)?) };
        let clean = match &lock {
            None => -1.0,
            Some(lock) if lock.replaced() => 0.0,
            Some(_) => 1.0,
        };
        registry
            .gauge(
                "prometheus_tsdb_clean_start",
                "-1: lockfile is disabled. 0: a lockfile from a previous execution was replaced. 1: lockfile creation was clean",
            )
            .set(clean);
        let blocks = Blocks::open(disk.clone(), dir, registry)?;
        let maintainer = Maintainer::new(disk.clone(), dir, blocks.clone(), &options, registry);
        let min_valid = blocks.in_order_end().unwrap_or(i64::MIN);
        let head = Arc::new(Head::open(disk, dir.to_owned(), options, min_valid, registry, &status)?);
        show(&head, &blocks, registry);
        Ok(Db(Arc::new(Inner { head, maintainer, dir: dir.to_owned(), status, _lock: lock })))
    }

    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Takes over what a reload may change.
    pub fn apply_config(&self, running: Running) {
        self.0.maintainer.apply_config(running);
        let head = &self.0.head;
        head.set_window(running.out_of_order_window_ms);
        head.set_xor2(running.floats_xor2);
        head.set_legacy_names(running.legacy_names);
        head.exemplars.configure(running.max_exemplars, running.out_of_order_window_ms, &head.metrics);
    }

    pub(crate) fn head(&self) -> &Arc<Head> {
        &self.0.head
    }

    pub(crate) fn maintainer(&self) -> &Maintainer {
        &self.0.maintainer
    }

    /// The write-ahead log, for a feed.
    pub fn wal(&self) -> &Wal {
        &self.0.head.wal
    }

    /// Whether the head still knows a series.
    pub fn is_live(&self, series: storage::SeriesRef) -> bool {
        self.0.head.is_live(series.0)
    }

    pub fn series_count(&self) -> u64 {
        self.0.head.series_count()
    }

    /// Times of the samples in the head; `None` while it is empty.
    pub fn head_range(&self) -> Option<TimeRange> {
        self.0.head.range().map(|(min, max)| TimeRange::new(min, max))
    }

    /// Series of the head with samples in a range, sorted by labels: what a block of that range is made of.
    pub fn head_series(&self, range: TimeRange) -> Vec<HeadSeries> {
        self.0.head.series_in(range)
    }

    /// Forgets samples before `mint`, which blocks hold by now: memory first, then the log behind a
    /// checkpoint. Segments from `hold` on stay for followers of the log.
    pub fn truncate(&self, mint: i64, hold: Option<u32>) -> Result<(), StorageError> {
        let _turn = self.maintainer().turn.lock();
        self.0.head.truncate_memory(mint)?;
        self.0.head.truncate_wal(mint, hold)?;
        Ok(())
    }

    /// Where the memory of the head is.
    pub fn ledger(&self) -> Ledger {
        self.0.head.ledger()
    }

    /// Stops writing and makes everything durable. Readers may go on.
    pub fn close(&self) -> Result<(), OpenError> {
        self.0.head.close()
    }
}

/// Gauges that are computed when asked for.
fn show(head: &Arc<Head>, blocks: &Arc<Blocks>, registry: &Registry) {
    let gauge = |name: &str, help: &str, value: fn(&Head) -> f64| {
        let head = Arc::downgrade(head);
        registry.gauge_fn(name, help, move || head.upgrade().map_or(0.0, |head| value(&head)));
    };
    gauge("prometheus_tsdb_head_series", "Total number of series in the head block.", |h| {
        h.series_count() as f64
    });
    gauge(
        "prometheus_tsdb_head_min_time",
        "Minimum time bound of the head block. The unit is decided by the library consumer.",
        |h| h.in_order_range().0 as f64,
    );
    gauge(
        "prometheus_tsdb_head_max_time",
        "Maximum timestamp of the head block. The unit is decided by the library consumer.",
        |h| h.in_order_range().1 as f64,
    );
    gauge("prometheus_tsdb_head_min_time_seconds", "Minimum time bound of the head block.", |h| {
        (h.in_order_range().0 / 1000) as f64
    });
    gauge("prometheus_tsdb_head_max_time_seconds", "Maximum timestamp of the head block.", |h| {
        (h.in_order_range().1 / 1000) as f64
    });
    let lowest = |name: &str, help: &str, unit_ms: i64| {
        let (head, blocks) = (Arc::downgrade(head), Arc::downgrade(blocks));
        registry.gauge_fn(name, help, move || {
            let in_blocks = blocks.upgrade().and_then(|b| b.list().first().map(|b| b.meta().min_time));
            let lowest = in_blocks.or_else(|| head.upgrade().map(|h| h.in_order_range().0));
            (lowest.unwrap_or(0) / unit_ms) as f64
        });
    };
    lowest(
        "prometheus_tsdb_lowest_timestamp",
        "Lowest timestamp value stored in the database. The unit is decided by the library consumer.",
        1,
    );
    lowest(
        "prometheus_tsdb_lowest_timestamp_seconds",
        "Lowest timestamp value stored in the database.",
        1000,
    );
    gauge("prometheus_tsdb_head_chunks_storage_size_bytes", "Size of the chunks_head directory.", |h| {
        h.chunk_disk_bytes() as f64
    });
}

impl WriterSource for Db {
    fn writer(&self) -> Box<dyn Writer> {
        Box::new(HeadWriter::new(self.0.head.clone()))
    }
}

impl Queryable for Db {
    fn querier(&self, range: TimeRange) -> Result<Arc<dyn Querier>, StorageError> {
        // The head first: what leaves it while we look is in the blocks that are listed after.
        let head = HeadQuerier::new(self.0.head.clone(), range);
        let blocks = self.0.maintainer.blocks.overlapping(range);
        let mut parts: Vec<Arc<dyn Querier>> = blocks.iter().map(|b| b.querier(range)).collect();
        let in_head = self.head_range().is_some_and(|r| r.overlaps(range));
        if in_head || parts.is_empty() {
            parts.push(Arc::new(head));
        }
        Ok(storage::merge::queriers(parts))
    }
}

impl ExemplarSource for Db {
    fn select(
        &self,
        range: TimeRange,
        matchers: &[Vec<Matcher>],
    ) -> Result<Vec<SeriesExemplars>, StorageError> {
        Ok(self.0.head.exemplars.select(range, matchers))
    }
}

impl MetadataSource for Db {
    fn metadata(&self, metric: Option<&str>) -> Vec<(String, Metadata)> {
        self.0.head.metadata.list(metric)
    }
}

impl Admin for Db {
    fn delete_series(&self, range: TimeRange, matchers: &[Vec<Matcher>]) -> Result<(), StorageError> {
        let m = self.maintainer();
        let _turn = m.turn.lock();
        for all in matchers {
            for block in m.blocks.overlapping(range) {
                block.delete(&*m.disk, range, all)?;
                m.blocks.reopen(&block)?;
            }
            self.0.head.delete(range, all)?;
        }
        Ok(())
    }

    fn clean_tombstones(&self) -> Result<(), StorageError> {
        // Deleted samples of the head are left out when its block is written.
        let m = self.maintainer();
        let _turn = m.turn.lock();
        let begun = Instant::now();
        let blocks = m.blocks.list();
        let mut with_tombstones = blocks.iter().filter(|b| !b.tombstones().is_empty());
        let cleaned = with_tombstones.try_for_each(|block| m.rewrite(self.head(), block));
        m.tombstones_cleaned.observe(begun.elapsed().as_secs_f64());
        Ok(cleaned?)
    }

    fn snapshot(&self, skip_head: bool) -> Result<String, StorageError> {
        self.write_snapshot(skip_head)
    }

    fn head_stats(&self, limit: usize) -> Result<HeadStats, StorageError> {
        Ok(self.0.head.stats(limit))
    }

    fn replay_status(&self) -> ReplayStatus {
        self.0.status.get()
    }

    fn blocks(&self) -> Vec<BlockInfo> {
        let list = self.0.maintainer.blocks.list();
        list.iter().map(|b| BlockInfo { meta_json: b.meta().to_json() }).collect()
    }
}

/// Reads all samples of a series, for tests and tools.
pub fn read_all(series: &dyn Series) -> Result<storage::SampleBuf, StorageError> {
    let mut out = storage::SampleBuf::default();
    series.read(TimeRange::ALL, &mut out)?;
    Ok(out)
}
