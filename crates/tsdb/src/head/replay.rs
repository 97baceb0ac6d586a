//! Start-up: chunks on disk, checkpoint, write-ahead log, log of late samples, in upstream's order.
//!
//! One thread reads, unpacks and decodes; this one applies, in the order of the log.

use super::entry::{Entry, HAS_LAST, HISTOGRAM, UNLOGGED};
use super::mapper::{Found, Mapper};
use super::ooo::LATE_CAP;
use super::page::{Mapped, Walk, split};
use super::postings::Index;
use super::table::{Pages, SeriesTable};
use super::tombstone::Tombstones;
use super::truncate::Retired;
use super::write::write_late;
use super::{Head, read, wal_options};
use crate::OpenError;
use crate::exemplars::{Exemplars, Stored};
use crate::metadata::MetadataStore;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::wal::record::{self, RecordType};
use crate::wal::{Damage, RecordBuf, Scratch, Segment, SegmentReader, Tombstone, Wal, WalKind, segments};
use disk::Disk;
use hashbrown::{HashMap, HashSet};
use model::{METRIC_NAME, Metadata, MetricType, Sample, TimeRange};
use parking_lot::{Mutex, RwLock};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use storage::SeriesRef;
use storage::admin::ReplayStatus;
use storage::feed::{FeedExemplar, FeedHistogram, FeedSample};

/// Samples are handed on in portions of this size.
const PORTION: usize = 8192;
/// Portions that may wait.
const AHEAD: usize = 16;

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

/// Series of a record, with canonical keys.
#[derive(Default)]
struct SeriesRows {
    rows: Vec<(u64, [u64; 2], std::ops::Range<usize>)>,
    keys: Vec<u8>,
}

/// Decoded log.
enum Decoded {
    Series(SeriesRows),
    Samples(Vec<FeedSample>),
    Tombstones(Vec<Tombstone>),
    Exemplars(Vec<FeedExemplar>),
    Metadata(Vec<(SeriesRef, Metadata)>),
    Markers(Vec<(SeriesRef, u64)>),
    /// With the number of rows of unknown schemas.
    Histograms(Vec<FeedHistogram>, u64),
    End {
        segment: u32,
        took: Duration,
    },
    Failed(disk::DiskError),
}

/// References of the log that mean nothing.
#[derive(Default)]
struct Unknown {
    series: HashSet<u64>,
    samples: u64,
    late_samples: u64,
    histograms: u64,
    exemplars: u64,
    metadata: u64,
    tombstones: u64,
    markers: u64,
}

impl Unknown {
    fn note(&mut self, table: &SeriesTable, series: SeriesRef) {
        if self.series.insert(series.0)
            && let Ok(number) = u32::try_from(series.0)
        {
            table.reserve(number);
        }
    }
}

struct Replay<'a> {
    head: &'a Head,
    pages: Pages,
    /// References under which a series was known before, when it was created more than once.
    /// The time is that of the newest sample under it.
    other: HashMap<u64, (u32, i64)>,
    /// Chunks found on disk, in order of their series.
    found: Vec<Found>,
    /// Addresses of the late chunks on disk.
    late_chunks: HashSet<u64>,
    /// Number of the oldest file of chunks.
    first_file: u64,
    /// Series with markers of chunks that did not reach the disk.
    unmarked: HashSet<u32>,
    unknown: Unknown,
    /// Native histograms that were left out: late ones, and malformed ones.
    late_histograms: u64,
    bad_histograms: u64,
    damage: Vec<Damage>,
    min: i64,
    max: i64,
    late_min: i64,
    late_max: i64,
    chunks: u64,
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
        let head = Head {
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
            window_ms: AtomicI64::new(options.running.out_of_order_window_ms.max(0)),
            min_time: AtomicI64::new(i64::MAX),
            max_time: AtomicI64::new(i64::MIN),
            late_min: AtomicI64::new(i64::MAX),
            late_max: AtomicI64::new(i64::MIN),
            min_valid: AtomicI64::new(min_valid),
            tombstones: RwLock::new(Tombstones::default()),
            retired: Mutex::new(HashMap::new()),
            exemplars: Exemplars::default(),
            metadata: MetadataStore::default(),
            metrics,
            closing: AtomicBool::new(false),
            options,
        };
        let running = head.options.running;
        head.exemplars.configure(running.max_exemplars, running.out_of_order_window_ms, &head.metrics);
        found.sort_by_key(|chunk| chunk.series);
        head.replay(found, status)?;
        head.metrics.replay_seconds.set(begun.elapsed().as_secs_f64());
        Ok(head)
    }

    fn replay(&self, found: Vec<Found>, status: &ReplayHandle) -> Result<(), OpenError> {
        let begun = Instant::now();
        tracing::info!(component = "tsdb", "Replaying WAL, this may take a while");
        let first_file = found.iter().map(|c| c.at >> 32).min().unwrap_or(0);
        // Late samples before the end of the blocks are in blocks, or else the log of late samples still has them.
        // Their chunks would bring back what was deleted from the blocks meanwhile.
        let min_valid = self.min_valid.load(Relaxed);
        let mut found = found;
        found.retain(|c| !c.late || c.max >= min_valid);
        // Whatever speaks of a reference keeps it from being given out again, also when its series is lost.
        found.iter().filter_map(|c| u32::try_from(c.series).ok()).for_each(|n| self.table.reserve(n));
        let late_chunks = found.iter().filter(|c| c.late).map(|c| c.at).collect();
        let mut replay = Replay {
            head: self,
            pages: self.table.pages(),
            other: HashMap::new(),
            found,
            late_chunks,
            first_file,
            unmarked: HashSet::new(),
            unknown: Unknown::default(),
            late_histograms: 0,
            bad_histograms: 0,
            damage: Vec::new(),
            min: i64::MAX,
            max: i64::MIN,
            late_min: i64::MAX,
            late_max: i64::MIN,
            chunks: 0,
        };
        let dir = self.dir.join("wal");
        let mut own = segments(&*self.disk, &dir)?;
        own.retain(|s| s.number < self.wal.first_own_segment());
        let checkpoint = crate::wal::last_checkpoint(&*self.disk, &dir)?;
        let covered = checkpoint.as_ref().map_or(0, |c| u64::from(c.number) + 1);
        own.retain(|s| u64::from(s.number) >= covered);
        let first = own.first().map_or(covered, |s| u64::from(s.number));
        let last = own.last().map_or(first, |s| u64::from(s.number));
        status.start(checkpoint.as_ref().map_or(first, |c| u64::from(c.number)), last);
        if let Some(checkpoint) = checkpoint {
            let of_checkpoint = segments(&*self.disk, &checkpoint.path)?;
            replay.run(of_checkpoint, false, &|_, _| {})?;
            tracing::info!(component = "tsdb", "WAL checkpoint loaded");
            status.at(u64::from(checkpoint.number));
        }
        let checkpoint_took = begun.elapsed();
        let wal_begun = Instant::now();
        replay.run(own, false, &|segment, took| {
            tracing::info!(component = "tsdb", segment, maxSegment = last, duration = ?took, "WAL segment loaded");
            status.at(u64::from(segment));
        })?;
        let wal_took = wal_begun.elapsed();
        let wbl_begun = Instant::now();
        let wbl_dir = self.dir.join("wbl");
        let late = segments(&*self.disk, &wbl_dir)?;
        let last = late.last().map_or(0, |s| u64::from(s.number));
        if !late.is_empty() {
            status.start(late.first().map_or(0, |s| u64::from(s.number)), last);
        }
        replay.run(late, true, &|segment, _| {
            tracing::info!(component = "tsdb", segment, maxSegment = last, "WBL segment loaded");
            status.at(u64::from(segment));
        })?;
        replay.finish(&dir, &wbl_dir)?;
        tracing::info!(
            component = "tsdb",
            checkpoint_replay_duration = ?checkpoint_took,
            wal_replay_duration = ?wal_took,
            wbl_replay_duration = ?wbl_begun.elapsed(),
            total_replay_duration = ?begun.elapsed(),
            "WAL replay completed"
        );
        Ok(())
    }
}

impl Replay<'_> {
    /// Replays segments; `late`: of the log of late samples.
    fn run(&mut self, list: Vec<Segment>, late: bool, done: &dyn Fn(u32, Duration)) -> Result<(), OpenError> {
        if list.is_empty() {
            return Ok(());
        }
        let (send, receive) = sync_channel::<Decoded>(AHEAD);
        let (give, spare) = sync_channel::<Vec<FeedSample>>(AHEAD);
        let (disk, table) = (self.head.disk.clone(), &self.head.table);
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || decode(&*disk, table, &list, &send, &spare));
            let mut failed = None;
            for item in receive {
                match item {
                    Decoded::Series(rows) => self.series(&rows),
                    Decoded::Samples(samples) if late => self.late_samples(samples, &give),
                    Decoded::Samples(samples) => self.samples(samples, &give),
                    Decoded::Tombstones(list) => self.tombstones(&list),
                    Decoded::Exemplars(list) => self.exemplars(list),
                    Decoded::Metadata(list) => self.metadata(&list),
                    Decoded::Markers(list) => self.markers(&list),
                    Decoded::Histograms(rows, bad) => {
                        self.bad_histograms += bad;
                        if late {
                            self.late_histograms += rows.len() as u64;
                        } else {
                            self.histograms(&rows);
                        }
                    }
                    Decoded::End { segment, took } => done(segment, took),
                    Decoded::Failed(e) => failed = Some(e),
                }
            }
            let damage = reader.join().unwrap_or_default();
            self.damage.extend(damage);
            failed.map_or(Ok(()), |e| Err(OpenError::Disk(e)))
        })
    }

    /// Our reference for one of the log.
    fn own(&self, series: SeriesRef) -> u32 {
        if let Some(other) = (!self.other.is_empty()).then(|| self.other.get(&series.0)).flatten() {
            return other.0;
        }
        u32::try_from(series.0).unwrap_or(0)
    }

    fn series(&mut self, rows: &SeriesRows) {
        let head = self.head;
        let mut index = head.index.write();
        let mut before: Vec<u32> = Vec::new();
        let mut ids: Vec<u32> = Vec::new();
        for (number, hash, key) in &rows.rows {
            let key = &rows.keys[key.clone()];
            // Given out once, never again: the log may still speak of it.
            if let Ok(number) = u32::try_from(*number) {
                head.table.reserve(number);
            }
            if let Some(known) = head.table.find(&self.pages, *hash) {
                if u64::from(known) != *number {
                    self.other.entry(*number).or_insert((known, i64::MIN)).0 = known;
                }
                self.attach(*number, known);
                continue;
            }
            // References beyond 32 bits get one of ours.
            let free = u32::try_from(*number).ok().filter(|n| *n != 0 && !is_taken(&self.pages, *n));
            let series = match free {
                Some(series) => {
                    head.table.ensure_page(series);
                    series
                }
                None => {
                    let Some(series) = head.table.allocate() else { continue };
                    self.other.insert(*number, (series, i64::MIN));
                    series
                }
            };
            ids.clear();
            for (at, label) in storage::key::iter(key).enumerate() {
                let Ok((name, value)) = label else { break };
                let hint = before.get(at).copied().filter(|pair| index.texts.label(*pair) == (name, value));
                let Some(id) = hint.or_else(|| index.texts.intern(name, value)) else { break };
                ids.push(id);
            }
            let (page, slot) = split(series);
            if self.pages.get(page).is_none_or(Option::is_none) {
                self.pages = head.table.pages();
            }
            if let Some(Some(page)) = self.pages.get(page) {
                let mut entry = Entry::new(*hash);
                entry.flags &= !UNLOGGED;
                page.lock().put(slot, entry, &ids);
            }
            head.table.insert(*hash, series);
            index.add(series, &ids);
            std::mem::swap(&mut before, &mut ids);
            self.attach(*number, series);
        }
    }

    /// Gives a series the chunks that stand on disk under `number`.
    fn attach(&mut self, number: u64, series: u32) {
        let from = self.found.partition_point(|chunk| chunk.series < number);
        let mut chunks = self.found[from..].iter().take_while(|c| c.series == number).peekable();
        if chunks.peek().is_none() {
            return;
        }
        let min_valid = self.head.min_valid.load(Relaxed);
        let mut walk = Walk::new(&self.pages);
        let Some((cells, slot)) = walk.go(series) else { return };
        let mut all: Vec<Mapped> = cells.mapped(slot).collect();
        for chunk in chunks {
            if chunk::Encoding::from_number(chunk.encoding).is_none() {
                continue;
            }
            let mapped = Mapped { at: chunk.at, min: chunk.min, max: chunk.max };
            if chunk.late {
                let late = cells.late_mut(slot);
                if let Err(at) = late.mapped.binary_search_by_key(&mapped.at, |c| c.at) {
                    // In the order in which they were written, also under two references: of two samples
                    // of one time the first one wins.
                    late.mapped.insert(at, mapped);
                    self.late_min = self.late_min.min(mapped.min);
                    self.late_max = self.late_max.max(mapped.max);
                }
            } else if chunk.max >= min_valid {
                all.push(mapped);
            }
        }
        all.sort_by_key(|c| (c.min, c.at));
        all.dedup();
        cells.clear_mapped(slot);
        let (mut last, mut newest) = (None, 0);
        for chunk in all {
            // Chunks of a series created twice may overlap; the log has what is left out.
            if last.is_none_or(|max| chunk.min > max) {
                cells.add_mapped(slot, chunk);
                last = Some(chunk.max);
                newest = chunk.at;
                self.min = self.min.min(chunk.min);
                self.max = self.max.max(chunk.max);
                self.chunks += 1;
            }
        }
        if let Some(max) = last {
            let open = cells.open_min(slot);
            let entry = cells.peek(slot);
            let behind = match open {
                None => !entry.is(HAS_LAST) || entry.last_t < max,
                Some(min) => min <= max,
            };
            if behind {
                cells.drop_open(slot);
                let entry = cells.entry(slot);
                entry.set_last_on_disk(max);
                entry.flags &= !HISTOGRAM;
                let of =
                    self.found[from..].iter().take_while(|c| c.series == number).find(|c| c.at == newest);
                if of.is_some_and(|c| is_histogram(c.encoding)) {
                    entry.flags |= HISTOGRAM;
                }
            }
        }
    }

    fn samples(&mut self, mut samples: Vec<FeedSample>, give: &SyncSender<Vec<FeedSample>>) {
        let min_valid = self.head.min_valid.load(Relaxed);
        let (mapper, rule) = (&self.head.mapper, self.head.rule);
        let mut walk = Walk::new(&self.pages);
        for s in &samples {
            if s.t < min_valid {
                continue;
            }
            let mut series = s.series.0 as u32;
            if !self.other.is_empty() || s.series.0 > u64::from(u32::MAX) {
                series = u32::try_from(s.series.0).unwrap_or(0);
                if let Some(other) = self.other.get_mut(&s.series.0) {
                    other.1 = other.1.max(s.t);
                    series = other.0;
                }
            }
            let live = walk.go(series).filter(|(cells, slot)| cells.is_live(*slot));
            let Some((cells, slot)) = live else {
                self.unknown.samples += 1;
                self.unknown.note(&self.head.table, s.series);
                continue;
            };
            let entry = cells.entry(slot);
            if entry.is(HAS_LAST) && s.t <= entry.last_t {
                continue;
            }
            if entry.is(HISTOGRAM) {
                super::histogram::close(mapper, cells, slot, series);
            }
            let (closed, opened) = cells.entry(slot).append(Sample { t: s.t, v: s.v }, rule);
            self.chunks += u64::from(opened);
            if let Some(chunk) = closed {
                let at = mapper.write(series, chunk.min, chunk.max, false, &chunk.bytes);
                cells.add_mapped(slot, Mapped { at, min: chunk.min, max: chunk.max });
            }
            self.min = self.min.min(s.t);
            self.max = self.max.max(s.t);
        }
        samples.clear();
        let _ = give.try_send(samples);
    }

    fn histograms(&mut self, rows: &[FeedHistogram]) {
        let head = self.head;
        let min_valid = head.min_valid.load(Relaxed);
        let mut walk = Walk::new(&self.pages);
        for row in rows {
            if row.t < min_valid {
                continue;
            }
            let mut series = u32::try_from(row.series.0).unwrap_or(0);
            if let Some(other) = self.other.get_mut(&row.series.0) {
                other.1 = other.1.max(row.t);
                series = other.0;
            }
            let live = walk.go(series).filter(|(cells, slot)| cells.is_live(*slot));
            let Some((cells, slot)) = live else {
                self.unknown.histograms += 1;
                self.unknown.series.insert(row.series.0);
                continue;
            };
            let entry = cells.entry(slot);
            if entry.is(HAS_LAST) && row.t <= entry.last_t {
                continue;
            }
            if !super::histogram::is_sound(&row.histogram) {
                self.bad_histograms += 1;
                continue;
            }
            let moved =
                super::histogram::append(&head.mapper, head.rule, cells, slot, series, row.t, &row.histogram);
            self.chunks += moved.opened;
            self.min = self.min.min(row.t);
            self.max = self.max.max(row.t);
        }
    }

    fn late_samples(&mut self, mut samples: Vec<FeedSample>, give: &SyncSender<Vec<FeedSample>>) {
        let mut walk = Walk::new(&self.pages);
        for s in &samples {
            let series = self.own(s.series);
            if let Some(other) = self.other.get_mut(&s.series.0) {
                // The log of late samples knows no checkpoints.
                other.1 = i64::MAX;
            }
            let live = walk.go(series).filter(|(cells, slot)| cells.is_live(*slot));
            let Some((cells, slot)) = live else {
                self.unknown.late_samples += 1;
                self.unknown.note(&self.head.table, s.series);
                continue;
            };
            let late = cells.late_mut(slot);
            // A marker usually comes soon and says that a chunk has them.
            if late.open.len() >= 4 * LATE_CAP {
                let mapped = write_late(self.head, series, &late.open);
                late.open.clear();
                late.mapped.push(mapped);
            }
            if late.insert(Sample { t: s.t, v: s.v }) {
                self.late_min = self.late_min.min(s.t);
                self.late_max = self.late_max.max(s.t);
            }
        }
        samples.clear();
        let _ = give.try_send(samples);
    }

    fn markers(&mut self, list: &[(SeriesRef, u64)]) {
        let mut walk = Walk::new(&self.pages);
        for (series, at) in list {
            // A chunk that is neither there nor older than all that is there did not reach the disk; what the
            // log holds of it is all there is.
            let chunk = self.late_chunks.contains(at).then(|| self.times_of(*at)).flatten();
            if chunk.is_none() && *at >> 32 >= self.first_file {
                self.unmarked.insert(self.own(*series));
                continue;
            }
            match walk.go(self.own(*series)).filter(|(cells, slot)| cells.is_live(*slot)) {
                Some((cells, slot)) => {
                    // Exactly what the chunk has: what was logged again behind the marker may be torn.
                    let open = &mut cells.late_mut(slot).open;
                    open.retain(|s| chunk.as_ref().is_some_and(|times| times.binary_search(&s.t).is_err()));
                }
                None => self.unknown.markers += 1,
            }
        }
    }

    /// Times of a chunk on disk.
    fn times_of(&self, at: u64) -> Option<Vec<i64>> {
        let (encoding, data) = self.head.mapper.read(at).ok()?;
        let (mut times, mut floats, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
        let mut columns =
            chunk::Columns { times: &mut times, floats: &mut floats, histograms: &mut histograms };
        chunk::decode(encoding, &data, &mut columns).ok()?;
        Some(times)
    }

    fn tombstones(&mut self, list: &[Tombstone]) {
        let mut tombstones = self.head.tombstones.write();
        for t in list {
            let series = self.own(t.series);
            // The reference was given out once, even when its series record is gone by now.
            if series != 0 {
                self.head.table.reserve(series);
            }
            // Also before the start of the head, for late samples.
            if is_taken(&self.pages, series) {
                tombstones.add(series, TimeRange::new(t.range.min, t.range.max));
            } else {
                self.unknown.tombstones += 1;
            }
        }
    }

    fn exemplars(&mut self, list: Vec<FeedExemplar>) {
        let min_valid = self.head.min_valid.load(Relaxed);
        for e in list {
            if e.t < min_valid {
                continue;
            }
            let series = self.own(e.series);
            if !is_taken(&self.pages, series) {
                self.unknown.exemplars += 1;
                continue;
            }
            let labels = || self.head.labels(series).unwrap_or_default();
            // Refused ones were refused when they came, too.
            let _ =
                self.head.exemplars.add(series, Stored::new(e.t, e.v, e.labels), labels, &self.head.metrics);
        }
    }

    fn metadata(&mut self, list: &[(SeriesRef, Metadata)]) {
        for (series, metadata) in list {
            match self.head.labels(self.own(*series)) {
                Some(labels) => {
                    let family = family_of(labels.value(METRIC_NAME), metadata.kind);
                    self.head.metadata.put(family, metadata.kind, &metadata.unit, &metadata.help);
                }
                None => self.unknown.metadata += 1,
            }
        }
    }

    /// Logs late samples again whose chunks are lost: the next start, with other chunks on disk, may take the
    /// markers of the lost ones for good.
    fn log_unmarked(&self) -> Result<(), OpenError> {
        if self.unmarked.is_empty() {
            return Ok(());
        }
        let mut records = RecordBuf::new();
        let mut record = records.samples();
        let mut walk = Walk::new(&self.pages);
        for series in &self.unmarked {
            let late = walk.go(*series).and_then(|(cells, slot)| cells.late(slot));
            for s in late.map_or(&[][..], |late| &late.open) {
                record.push(SeriesRef(u64::from(*series)), s.t, s.v);
            }
        }
        drop(record);
        self.head.wbl()?.log(&records)?;
        Ok(())
    }

    /// Publishes times and figures, sets damaged places aside, and says what was not understood.
    fn finish(self, wal: &std::path::Path, wbl: &std::path::Path) -> Result<(), OpenError> {
        let head = self.head;
        head.saw(self.min, self.max);
        head.saw_late(self.late_min, self.late_max);
        head.metrics.chunks.set(self.chunks as f64);
        head.metrics.chunks_created.add(self.chunks);
        let segment = head.wal.first_own_segment();
        let doubles = self.other.iter().filter_map(|(number, (_, newest))| {
            Some((u32::try_from(*number).ok()?, Retired { segment, newest: *newest }))
        });
        head.retired.lock().extend(doubles);
        head.mapper.flush();
        self.log_unmarked()?;
        if !self.damage.is_empty() {
            head.metrics.wal_corruptions.add(self.damage.len() as u64);
            for dir in [wal, wbl] {
                crate::wal::quarantine_all(&*head.disk, dir, &self.damage)?;
            }
        }
        let u = &self.unknown;
        if u.samples + u.late_samples + u.histograms + u.exemplars + u.metadata + u.tombstones + u.markers > 0
        {
            tracing::warn!(
                component = "tsdb",
                series = u.series.len(),
                samples = u.samples,
                late_samples = u.late_samples,
                histograms = u.histograms,
                exemplars = u.exemplars,
                metadata = u.metadata,
                tombstones = u.tombstones,
                mmap_markers = u.markers,
                "Unknown series references"
            );
            head.metrics.unknown_series.add(u.series.len() as u64);
            head.metrics.unknown_samples.add(u.samples);
            head.metrics.unknown_histograms.add(u.histograms);
            head.metrics.unknown_exemplars.add(u.exemplars);
            head.metrics.unknown_metadata.add(u.metadata);
            head.metrics.unknown_tombstones.add(u.tombstones);
            head.metrics.late_unknown_samples.add(u.late_samples);
            head.metrics.late_unknown_markers.add(u.markers);
        }
        if self.late_histograms > 0 {
            tracing::warn!(
                component = "tsdb",
                samples = self.late_histograms,
                "Out-of-order native histograms in the log are not stored by this version"
            );
        }
        if self.bad_histograms > 0 {
            tracing::warn!(
                component = "tsdb",
                samples = self.bad_histograms,
                "Malformed native histograms in the log were left out"
            );
        }
        Ok(())
    }
}

/// Family of a series: histograms and summaries have several series names.
fn family_of(name: &str, kind: MetricType) -> &str {
    let suffixes: &[&str] = match kind {
        MetricType::Histogram | MetricType::GaugeHistogram => &["_bucket", "_sum", "_count"],
        MetricType::Summary => &["_sum", "_count"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

fn is_histogram(encoding: u8) -> bool {
    use chunk::Encoding::*;
    let kinds = [Histogram, FloatHistogram, HistogramSt, FloatHistogramSt];
    chunk::Encoding::from_number(encoding).is_some_and(|e| kinds.contains(&e))
}

fn is_taken(pages: &Pages, series: u32) -> bool {
    let (page, slot) = split(series);
    series != 0 && pages.get(page).and_then(Option::as_ref).is_some_and(|p| p.lock().is_live(slot))
}

/// Reads and decodes segments; gives the damaged places.
fn decode(
    disk: &dyn Disk,
    table: &SeriesTable,
    list: &[Segment],
    send: &SyncSender<Decoded>,
    spare: &Receiver<Vec<FeedSample>>,
) -> Vec<Damage> {
    let mut damage = Vec::new();
    let mut scratch = Scratch::default();
    for segment in list {
        let begun = Instant::now();
        let mut reader = match SegmentReader::open(disk, segment) {
            Ok(reader) => reader,
            Err(e) => {
                let _ = send.send(Decoded::Failed(e));
                return damage;
            }
        };
        let mut samples: Vec<FeedSample> = Vec::new();
        while let Some(next) = reader.next(&mut scratch) {
            let record = match next {
                Ok(record) => record.data,
                Err(place) => {
                    tracing::warn!(component = "tsdb", err = %place, "Skipping corrupt part of the write-ahead log");
                    damage.push(place);
                    continue;
                }
            };
            let kind = RecordType::of(record);
            let more = matches!(kind, Some(RecordType::Samples | RecordType::SamplesV2));
            if !samples.is_empty() && (!more || samples.len() >= PORTION) {
                let next = spare.try_recv().unwrap_or_default();
                if send.send(Decoded::Samples(std::mem::replace(&mut samples, next))).is_err() {
                    return damage;
                }
            }
            let item = match decode_record(kind, record, table, &mut samples) {
                Ok(item) => item,
                Err(e) => {
                    tracing::warn!(component = "tsdb", segment = segment.number, err = %e, "Skipping a record that cannot be decoded");
                    None
                }
            };
            if let Some(item) = item
                && send.send(item).is_err()
            {
                return damage;
            }
        }
        if !samples.is_empty() && send.send(Decoded::Samples(samples)).is_err() {
            return damage;
        }
        let _ = send.send(Decoded::End { segment: segment.number, took: begun.elapsed() });
    }
    damage
}

fn decode_record(
    kind: Option<RecordType>,
    record: &[u8],
    table: &SeriesTable,
    samples: &mut Vec<FeedSample>,
) -> Result<Option<Decoded>, record::RecordError> {
    Ok(match kind {
        Some(RecordType::Series) => {
            let mut rows = SeriesRows::default();
            record::series(record, |series, labels| {
                let from = rows.keys.len();
                storage::key::push_labels(&mut rows.keys, &labels.to_labels());
                let hash = table.hash(&rows.keys[from..]);
                rows.rows.push((series.0, hash, from..rows.keys.len()));
            })?;
            Some(Decoded::Series(rows))
        }
        Some(RecordType::Samples | RecordType::SamplesV2) => {
            record::samples(record, samples)?;
            None
        }
        Some(RecordType::Tombstones) => {
            let mut list = Vec::new();
            record::tombstones(record, &mut list)?;
            Some(Decoded::Tombstones(list))
        }
        Some(RecordType::Exemplars) => {
            let mut list = Vec::new();
            record::exemplars(record, &mut list)?;
            Some(Decoded::Exemplars(list))
        }
        Some(RecordType::Metadata) => {
            let mut list = Vec::new();
            record::metadata(record, &mut list)?;
            Some(Decoded::Metadata(list))
        }
        Some(RecordType::MmapMarkers) => {
            let mut list = Vec::new();
            record::mmap_markers(record, &mut list)?;
            Some(Decoded::Markers(list))
        }
        Some(_) => {
            let mut list = Vec::new();
            let unknown = record::histograms(record, &mut list)?;
            Some(Decoded::Histograms(list, unknown))
        }
        // Types that we do not know are left out, as upstream does.
        None => None,
    })
}
