//! Start-up: chunks on disk, checkpoint, write-ahead log, log of late samples, in upstream's order.
//!
//! Decoders work beside (`decode`); this thread takes what they give in the order of the log, makes series, and
//! sends samples to the lanes that apply them (`apply`).

mod apply;
mod decode;
mod extras;
mod finish;
mod series;
mod snapshot;

use super::mapper::{Found, Mapper};
use super::page::split;
use super::postings::Index;
use super::snapshot::Snapshot;
use super::table::{Pages, SeriesTable};
use super::tombstone::Tombstones;
use super::{Head, read, wal_options};
use crate::OpenError;
use crate::exemplars::Exemplars;
use crate::metadata::MetadataStore;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::wal::{Damage, Segment, Wal, WalKind, segments};
use apply::{Lanes, Tally};
use decode::{AHEAD, Collector, Dealer, Decoded, Pool, decode};
use disk::Disk;
use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use series::Maker;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use storage::SeriesRef;
use storage::admin::ReplayStatus;

/// Threads of one kind, at most.
const MAX_THREADS: usize = 8;

/// Progress of a replay, readable while the store opens. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct ReplayHandle(Arc<Mutex<ReplayStatus>>);

impl ReplayHandle {
    pub fn get(&self) -> ReplayStatus {
        *self.0.lock()
    }

    pub(crate) fn start(&self, min: u64, max: u64) {
        *self.0.lock() = ReplayStatus { min, max, current: min };
    }

    pub(crate) fn at(&self, current: u64) {
        self.0.lock().current = current;
    }
}

/// Which log is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    Wal,
    /// The log of late samples.
    Late,
    Snapshot,
}

/// Why a replay ended early.
enum Failed {
    /// The snapshot is of no use: the head has to be emptied, and the log replayed without it.
    Snapshot(String),
    Open(OpenError),
}

impl From<OpenError> for Failed {
    fn from(e: OpenError) -> Self {
        Failed::Open(e)
    }
}

impl From<disk::DiskError> for Failed {
    fn from(e: disk::DiskError) -> Self {
        Failed::Open(e.into())
    }
}

/// What is in `chunks_head/`.
struct Chunks {
    /// All that are taken up, in order of their series.
    found: Vec<Found>,
    /// Addresses of all late chunks, also of those that blocks have.
    late: HashSet<u64>,
    /// Number of the oldest file.
    first_file: u64,
}

struct Replay<'a> {
    head: &'a Head,
    pages: Pages,
    /// References under which a series was known before, when it was created more than once.
    /// The time is that of the newest sample under it.
    other: HashMap<u64, (u32, i64)>,
    /// Those references, and the ones that their series have now.
    kin: HashSet<u64>,
    maker: Maker,
    /// Series for which there was no room.
    refused_series: u64,
    /// Chunks found on disk, in order of their series.
    found: &'a [Found],
    /// Where in `found` the next series probably is.
    found_at: usize,
    /// Addresses of all late chunks on disk.
    late_chunks: &'a HashSet<u64>,
    /// Number of the oldest file of chunks, also of those that are left out.
    first_file: u64,
    /// Series with markers of chunks that did not reach the disk.
    unmarked: HashSet<u32>,
    /// Whether the deletions of what is replayed count: others were forgotten.
    deletions_count: bool,
    /// A chunk on disk was left out that has samples beyond the one before it.
    left_out: bool,
    /// References of series that left the head early; blocks have their chunks.
    departed: HashSet<u64>,
    /// The record of tombstones, which follows all series of a snapshot, has come.
    tombstones_seen: bool,
    damage: Vec<Damage>,
    tally: Tally,
}

impl Head {
    /// Opens the logs and replays them. Samples before `min_valid` are left out: they stand in blocks.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: Options,
        min_valid: i64,
        registry: &meter::Registry,
        status: &ReplayHandle,
    ) -> Result<Head, OpenError> {
        let begun = Instant::now();
        let metrics = Arc::new(Metrics::new(registry));
        tracing::info!(component = "tsdb", "Replaying on-disk memory mappable chunks if any");
        let mut found: Vec<Found> = Vec::new();
        let (mapper, damaged) =
            Mapper::open(disk.clone(), dir.join("chunks_head"), options.wal_sync, |chunk| found.push(chunk))?;
        metrics.map_corruptions.add(damaged);
        tracing::info!(
            component = "tsdb",
            duration = ?begun.elapsed(),
            "On-disk memory mappable chunks replay completed"
        );
        let wal = Wal::open(disk.clone(), &dir.join("wal"), wal_options(&options, WalKind::Wal), registry)?;
        let rule = super::CutRule {
            chunk_range: options.min_block_duration_ms.max(1),
            samples_per_chunk: options.samples_per_chunk.clamp(4, 4096),
        };
        let mut head = Head {
            disk,
            dir,
            rule,
            wal,
            wbl: OnceLock::new(),
            opening_wbl: Mutex::new(()),
            creation: Mutex::new(()),
            late_order: Mutex::new(()),
            registry: registry.clone(),
            table: SeriesTable::new(),
            index: RwLock::new(Index::new()),
            mapper,
            gate: RwLock::new(()),
            readers: read::Readers::default(),
            views: Default::default(),
            aliases: Mutex::default(),
            window_ms: AtomicI64::new(options.running.out_of_order_window_ms.max(0)),
            xor2: AtomicBool::new(options.running.floats_xor2),
            keep_before: AtomicU32::new(0),
            legacy_names: AtomicBool::new(options.running.legacy_names),
            min_time: AtomicI64::new(i64::MAX),
            max_time: AtomicI64::new(i64::MIN),
            late_min: AtomicI64::new(i64::MAX),
            late_max: AtomicI64::new(i64::MIN),
            min_valid: AtomicI64::new(min_valid),
            handed: Mutex::default(),
            tombstones: RwLock::new(Tombstones::default()),
            standing: Mutex::default(),
            retired: Mutex::new(HashMap::new()),
            exemplars: Exemplars::default(),
            metadata: MetadataStore::default(),
            metrics,
            closing: AtomicBool::new(false),
            options,
        };
        let standing = super::standing::read(&*head.disk, &head.dir, head.wal.first_own_segment())?;
        let min_valid = standing.as_ref().map_or(i64::MIN, |s| s.from).max(min_valid);
        head.min_valid.store(min_valid, Relaxed);
        head.standing = Mutex::new(standing);
        let running = head.options.running;
        head.exemplars.configure(running.max_exemplars, running.out_of_order_window_ms, &head.metrics);
        found.sort_by_key(|chunk| chunk.series);
        let first_file = found.iter().map(|c| c.at >> 32).min().unwrap_or(0);
        let late_chunks: HashSet<u64> = found.iter().filter(|c| c.late).map(|c| c.at).collect();
        let handed = super::handed::read(&*head.disk, &head.dir, &found);
        found.retain(|c| !handed.has(c));
        *head.handed.lock() = handed;
        let chunks = Chunks { found, late: late_chunks, first_file };
        let snapshot = match head.takes_snapshots() {
            true => super::snapshot::find(&*head.disk, &head.dir, damaged > 0)?,
            false => None,
        };
        match head.replay(&chunks, snapshot.as_ref(), status) {
            Ok(()) => {}
            Err(Failed::Open(e)) => return Err(e),
            Err(Failed::Snapshot(e)) => {
                head.metrics.snapshot_failures.inc();
                tracing::error!(component = "tsdb", err = e, "Failed to load chunk snapshot");
                super::snapshot::remove(&*head.disk, &head.dir, None);
                head.reset(min_valid);
                match head.replay(&chunks, None, status) {
                    Ok(()) => {}
                    Err(Failed::Open(e)) => return Err(e),
                    Err(Failed::Snapshot(e)) => {
                        tracing::error!(component = "tsdb", err = e, "No snapshot was read")
                    }
                }
            }
        }
        head.metrics.replay_seconds.set(begun.elapsed().as_secs_f64());
        Ok(head)
    }

    /// Empties the head again.
    fn reset(&mut self, min_valid: i64) {
        self.table = SeriesTable::new();
        self.index = RwLock::new(Index::new());
        for (time, none) in [
            (&self.min_time, i64::MAX),
            (&self.max_time, i64::MIN),
            (&self.late_min, i64::MAX),
            (&self.late_max, i64::MIN),
            (&self.min_valid, min_valid),
        ] {
            time.store(none, Relaxed);
        }
        self.tombstones = RwLock::default();
        self.retired = Mutex::default();
        self.exemplars = Exemplars::default();
        let running = self.options.running;
        self.exemplars.configure(running.max_exemplars, running.out_of_order_window_ms, &self.metrics);
        self.metadata = MetadataStore::default();
    }

    fn replay(
        &self,
        chunks: &Chunks,
        snapshot: Option<&Snapshot>,
        status: &ReplayHandle,
    ) -> Result<(), Failed> {
        let begun = Instant::now();
        let found = &chunks.found[..];
        // Whatever speaks of a reference keeps it from being given out again, also when its series is lost.
        found.iter().filter_map(|c| u32::try_from(c.series).ok()).for_each(|n| self.table.reserve(n));
        let mut replay = Replay {
            head: self,
            pages: self.table.pages(),
            other: HashMap::new(),
            kin: HashSet::new(),
            maker: Maker::default(),
            refused_series: 0,
            found,
            found_at: 0,
            late_chunks: &chunks.late,
            first_file: chunks.first_file,
            unmarked: HashSet::new(),
            deletions_count: true,
            left_out: false,
            departed: HashSet::new(),
            tombstones_seen: false,
            damage: Vec::new(),
            tally: Tally::default(),
        };
        let standing = self.standing.lock().clone();
        let counting_from = standing.as_ref().map_or(0, |s| s.segment);
        let snapshot_begun = Instant::now();
        if let Some(snapshot) = snapshot {
            tracing::info!(component = "tsdb", "Chunk snapshot is enabled, replaying from the snapshot");
            replay.deletions_count = counting_from <= snapshot.segment;
            replay.load(snapshot).map_err(Failed::Snapshot)?;
            tracing::info!(component = "tsdb", duration = ?snapshot_begun.elapsed(), "Chunk snapshot loading time");
        }
        let snapshot_took = snapshot_begun.elapsed();
        tracing::info!(component = "tsdb", "Replaying WAL, this may take a while");
        let dir = self.dir.join("wal");
        let mut own = segments(&*self.disk, &dir)?;
        own.retain(|s| s.number < self.wal.first_own_segment());
        let mut checkpoint = crate::wal::last_checkpoint(&*self.disk, &dir)?;
        let mut covered = checkpoint.as_ref().map_or(0, |c| u64::from(c.number) + 1);
        if let Some(snapshot) = snapshot {
            // Its segment ends where it was taken.
            checkpoint = None;
            covered = u64::from(snapshot.segment) + 1;
        }
        own.retain(|s| u64::from(s.number) >= covered);
        let first = own.first().map_or(covered, |s| u64::from(s.number));
        let last = own.last().map_or(first, |s| u64::from(s.number));
        status.start(checkpoint.as_ref().map_or(first, |c| u64::from(c.number)), last);
        if let Some(checkpoint) = checkpoint {
            let of_checkpoint = segments(&*self.disk, &checkpoint.path)?;
            replay.deletions_count = counting_from <= checkpoint.number;
            replay.run(&of_checkpoint, 0, Log::Wal, &|_, _| {})?;
            tracing::info!(component = "tsdb", "WAL checkpoint loaded");
            status.at(u64::from(checkpoint.number));
        }
        let checkpoint_took = begun.elapsed();
        let wal_begun = Instant::now();
        let loaded = |segment: u32, took: Duration| {
            tracing::info!(component = "tsdb", segment, maxSegment = last, duration = ?took, "WAL segment loaded");
            status.at(u64::from(segment));
        };
        let (before, behind) = own.split_at(own.partition_point(|s| s.number < counting_from));
        replay.deletions_count = false;
        replay.run(before, 0, Log::Wal, &loaded)?;
        replay.deletions_count = true;
        if let Some(standing) = standing {
            replay.standing(&standing.list);
        }
        replay.run(behind, 0, Log::Wal, &loaded)?;
        let wal_took = wal_begun.elapsed();
        let wbl_begun = Instant::now();
        let wbl_dir = self.dir.join("wbl");
        let late = segments(&*self.disk, &wbl_dir)?;
        let last = late.last().map_or(0, |s| u64::from(s.number));
        if !late.is_empty() {
            status.start(late.first().map_or(0, |s| u64::from(s.number)), last);
        }
        replay.run(&late, 0, Log::Late, &|segment, _| {
            tracing::info!(component = "tsdb", segment, maxSegment = last, "WBL segment loaded");
            status.at(u64::from(segment));
        })?;
        let unknown = replay.tally.unknown.count();
        if snapshot.is_some() && unknown > 0 {
            // Series that had another reference when it was taken, or were not there.
            return Err(Failed::Snapshot(format!("the log behind it has {unknown} rows of unknown series")));
        }
        if snapshot.is_some() && replay.left_out {
            // Only the whole log has their samples.
            return Err(Failed::Snapshot("head chunks on disk overlap".into()));
        }
        if snapshot.is_some() && replay.has_strange_chunks() {
            return Err(Failed::Snapshot("head chunks on disk are of series that it does not have".into()));
        }
        replay.finish(&dir, &wbl_dir)?;
        tracing::info!(
            component = "tsdb",
            checkpoint_replay_duration = ?checkpoint_took,
            wal_replay_duration = ?wal_took,
            wbl_replay_duration = ?wbl_begun.elapsed(),
            chunk_snapshot_load_duration = ?snapshot_took,
            total_replay_duration = ?begun.elapsed(),
            "WAL replay completed"
        );
        Ok(())
    }
}

impl Replay<'_> {
    /// Replays segments of a log, the first one behind the offset `from`.
    fn run(
        &mut self,
        list: &[Segment],
        from: u64,
        log: Log,
        done: &dyn Fn(u32, Duration),
    ) -> Result<(), OpenError> {
        if list.is_empty() {
            return Ok(());
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let late = log == Log::Late;
        let (decoders, lanes) = if late { (1, 1) } else { (threads, threads) };
        let head = self.head;
        let pool = Pool::default();
        std::thread::scope(|scope| {
            let (back, used) = channel();
            let (mut to, mut decoded) = (Vec::new(), Vec::new());
            for _ in 0..decoders {
                let (send, parcels) = sync_channel(AHEAD);
                let (done, receive) = sync_channel(AHEAD);
                let (table, pool) = (&head.table, &pool);
                scope.spawn(move || decode(&parcels, &done, table, pool, log, lanes));
                to.push(send);
                decoded.push(receive);
            }
            let dealer = Dealer::new(to, used);
            scope.spawn(move || dealer.read(&*head.disk, list, from));
            let mut lanes = if late { Lanes::default() } else { Lanes::start(scope, head, &pool, lanes) };
            let mut collector = Collector { decoders: decoded, next: 0, back };
            let mut failed = None;
            while let Some(mut parcel) = collector.next() {
                self.damage.append(&mut parcel.damage);
                for item in parcel.items.drain(..) {
                    match item {
                        Decoded::End { segment, took } => done(segment, took),
                        Decoded::Failed(e) => failed = Some(e),
                        Decoded::Samples(samples) if late => {
                            for samples in samples {
                                self.late_samples(samples.iter().map(|s| (*s, 0)));
                                pool.give(samples);
                            }
                        }
                        Decoded::Started(samples) if late => self.late_samples(samples),
                        Decoded::Histograms(rows, bad) if late => {
                            self.tally.bad_histograms += bad;
                            self.late_histograms(&rows);
                        }
                        item => self.take(item, &mut lanes),
                    }
                }
                collector.give_back(parcel);
            }
            self.tally.add(lanes.end());
            head.index.write().flush(&mut self.maker.runs);
            failed.map_or(Ok(()), |e| Err(OpenError::Disk(e)))
        })
    }

    fn take(&mut self, item: Decoded, lanes: &mut Lanes<'_>) {
        match item {
            Decoded::Series(rows) => self.series(lanes, &rows),
            Decoded::Samples(samples) => self.samples(lanes, samples),
            Decoded::Started(samples) => self.started(lanes, samples),
            Decoded::Restored(restored) => self.restore(lanes, restored),
            Decoded::Broken(why) => self.tally.broken = self.tally.broken.take().or(Some(why)),
            Decoded::Tombstones(list) => {
                self.tombstones_seen = true;
                self.tombstones(lanes, &list);
            }
            Decoded::Exemplars(list) => self.exemplars(list),
            Decoded::Metadata(list) => self.metadata(&list),
            Decoded::Markers(list) => self.markers(&list),
            Decoded::Histograms(rows, bad) => {
                self.tally.bad_histograms += bad;
                self.histograms(lanes, rows);
            }
            Decoded::End { .. } | Decoded::Failed(_) => {}
        }
    }

    /// Our reference for one of the log.
    fn own(&self, series: SeriesRef) -> u32 {
        if let Some(other) = (!self.other.is_empty()).then(|| self.other.get(&series.0)).flatten() {
            return other.0;
        }
        u32::try_from(series.0).unwrap_or(0)
    }
}

fn is_taken(pages: &Pages, series: u32) -> bool {
    let (page, slot) = split(series);
    series != 0 && pages.get(page).and_then(Option::as_ref).is_some_and(|p| p.lock().is_live(slot))
}
