//! The reader of a queue: follows the log on a thread of its own and fills batches.

use super::MetadataSource;
use super::batch::{Open, Rows, Told};
use super::metrics::{self, DROPPED_SERIES, NHCB, TOO_OLD, UNKNOWN_SERIES, raise};
use super::queue::{Live, MAX_WAITING_BYTES, Shared, Stop};
use super::schedule::Lanes;
use super::series::{Found, Table};
use hashbrown::HashMap;
use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use storage::SeriesRef;
use storage::feed::{FeedBatch, FeedExemplar, FeedReader, Position};
use wire::remote_write::MessageType;

/// Longest wait for the log, so that a stop or a new concurrency is seen.
const MAX_WAIT: Duration = Duration::from_millis(250);
/// Wait after the log could not be read.
const RETRY: Duration = Duration::from_secs(1);
/// Time between looks for series that can be forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(300);
/// Uncompressed bytes for each byte that a request may have: label texts compress at least so well.
const EXPECTED_RATIO: usize = 4;

/// Starts the thread; `None` when the system gives none.
pub(super) fn spawn(shared: Arc<Shared>, source: MetadataSource, from: Position) -> Option<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("remote-write".into());
    let spawned = thread.spawn(move || {
        Reader::new(shared.clone(), source, from).run();
        shared.reader_done.store(true, Relaxed);
        shared.wake.notify_one();
    });
    match spawned {
        Ok(handle) => Some(handle),
        Err(why) => {
            tracing::error!(component = "remote", err = %why, "Cannot start a thread for remote write");
            None
        }
    }
}

/// One group of lanes and its open batch.
struct Group {
    open: Open,
    /// Read that gave the first row.
    first_read: u64,
    since: Instant,
}

struct Reader {
    shared: Arc<Shared>,
    table: Table,
    groups: Vec<Group>,
    live: Arc<Live>,
    /// Number of the read in progress.
    read: u64,
    /// Where to begin, and again after an error.
    from: Position,
    oldest: i64,
    pending: Rows,
    read_rows: u64,
    highest: i64,
    unknown_logged: Option<Instant>,
    source: MetadataSource,
    /// When metadata of families is asked for next.
    families_at: Instant,
}

impl Reader {
    fn new(shared: Arc<Shared>, source: MetadataSource, from: Position) -> Self {
        let fixed = &shared.fixed;
        let table = Table::new(fixed.rules.clone(), fixed.external.clone());
        let live = shared.live();
        let read = shared.schedule.lock().last_read();
        let mut reader = Reader {
            table,
            groups: Vec::new(),
            live,
            read,
            from,
            oldest: i64::MIN,
            pending: Rows::default(),
            read_rows: 0,
            highest: 0,
            unknown_logged: None,
            source,
            families_at: Instant::now(),
            shared,
        };
        reader.regroup();
        reader
    }

    fn run(&mut self) {
        let mut batch = FeedBatch::default();
        while self.shared.stop() != Stop::Now {
            match self.shared.feed.open(Some(self.from)) {
                Ok(reader) => {
                    if self.follow(reader, &mut batch) {
                        return;
                    }
                }
                Err(why) => self.log_trouble(&why),
            }
            let mut schedule = self.shared.schedule.lock();
            if self.shared.stop() == Stop::No {
                self.shared.room.wait_for(&mut schedule, RETRY);
            } else {
                return;
            }
        }
    }

    fn log_trouble(&self, why: &storage::StorageError) {
        let name = &self.shared.fixed.name;
        tracing::error!(component = "remote", remote_name = %name, err = %why, "error tailing WAL");
    }

    /// Whether the reader is to end; otherwise the log must be opened again.
    fn follow(&mut self, mut reader: Box<dyn FeedReader>, batch: &mut FeedBatch) -> bool {
        let mut forget_at = Instant::now() + FORGET_EVERY;
        loop {
            let stop = self.shared.stop();
            if stop == Stop::Now {
                return true;
            }
            self.live = self.shared.live();
            if self.groups.len() != self.shared.concurrency()
                || self.groups.first().is_some_and(|g| g.open.message() != self.shared.message())
            {
                self.regroup();
            }
            let wait = if stop == Stop::Drain { Duration::ZERO } else { self.wait() };
            match reader.next(wait, batch) {
                Ok(true) => {
                    if !self.take(batch) {
                        return true;
                    }
                }
                Ok(false) if stop == Stop::Drain => {
                    self.seal_where(|_| true);
                    self.shared.schedule.lock().open_from(u64::MAX);
                    return true;
                }
                Ok(false) => {}
                Err(why) => {
                    self.log_trouble(&why);
                    return false;
                }
            }
            self.ask_for_metadata();
            let deadline = self.live.queue.batch_send_deadline.std();
            self.seal_where(|group| group.since.elapsed() >= deadline);
            let open_from = self.open_from();
            self.shared.schedule.lock().open_from(open_from);
            if forget_at <= Instant::now() {
                forget_at = Instant::now() + FORGET_EVERY;
                let forgotten = self.table.forget(&*self.shared.feed, self.from);
                let left = self.table.len();
                tracing::debug!(component = "remote", remote_name = %self.shared.fixed.name, forgotten, left, "Forgot series that are gone");
            }
        }
    }

    /// 2.0 carries metadata with each series; the log need not hold any.
    fn ask_for_metadata(&mut self) {
        if self.shared.message() == MessageType::V2 && self.families_at <= Instant::now() {
            let interval = self.live.metadata.send_interval.std().max(Duration::from_secs(1));
            self.families_at = Instant::now() + interval;
            self.table.learn_families(&(self.source)());
        }
    }

    /// Until the first open batch is due.
    fn wait(&self) -> Duration {
        let deadline = self.live.queue.batch_send_deadline.std();
        let due = self.groups.iter().filter(|g| !g.open.is_empty());
        due.map(|g| deadline.saturating_sub(g.since.elapsed())).min().unwrap_or(MAX_WAIT).min(MAX_WAIT)
    }

    fn open_from(&self) -> u64 {
        let open = self.groups.iter().filter(|g| !g.open.is_empty());
        open.map(|g| g.first_read).min().unwrap_or(u64::MAX)
    }

    /// Spreads the lanes over as many groups as there are concurrent requests.
    fn regroup(&mut self) {
        self.seal_where(|_| true);
        let (groups, message) = (self.shared.concurrency(), self.shared.message());
        let group = || Group { open: Open::new(message), first_read: 0, since: Instant::now() };
        self.groups = (0..groups).map(|_| group()).collect();
    }

    fn seal_where(&mut self, due: impl Fn(&Group) -> bool) {
        for at in 0..self.groups.len() {
            if !self.groups[at].open.is_empty() && due(&self.groups[at]) {
                self.seal(at);
            }
        }
    }

    fn seal(&mut self, at: usize) {
        let lanes = Lanes::of_group(at, self.groups.len());
        let group = &mut self.groups[at];
        let sealed = group.open.seal();
        let (rows, bytes) = (sealed.items.len(), sealed.bytes());
        self.flush_counts();
        self.shared.schedule.lock().push(sealed, lanes, rows, bytes, self.groups[at].first_read);
        self.shared.wake.notify_one();
    }

    /// Counts of rows are gathered here and told once per batch.
    fn flush_counts(&mut self) {
        let metrics = &self.shared.metrics;
        let pending = std::mem::take(&mut self.pending);
        metrics.samples_pending.add(pending.samples as f64);
        metrics.histograms_pending.add(pending.histograms as f64);
        metrics.exemplars_pending.add(pending.exemplars as f64);
        self.shared.read_rows.fetch_add(std::mem::take(&mut self.read_rows), Relaxed);
        raise(&metrics.highest_timestamp, self.highest);
    }

    /// Takes in a read. `false`: a stop came in between; the read is then not counted as done.
    fn take(&mut self, batch: &FeedBatch) -> bool {
        self.read += 1;
        for (series, labels) in &batch.series {
            self.table.learn(*series, labels);
        }
        if self.shared.fixed.message == MessageType::V2 {
            for (series, metadata) in &batch.metadata {
                self.table.describe(*series, metadata);
            }
        }
        let limit = self.live.queue.sample_age_limit.0;
        self.oldest = if limit > 0 { now().saturating_sub(limit) } else { i64::MIN };
        if !self.take_rows(batch) {
            return false;
        }
        self.count_incoming(batch);
        self.flush_counts();
        self.from = self.from.max(batch.end);
        *self.shared.read_at.lock() = self.from;
        let open_from = self.open_from();
        self.shared.schedule.lock().read_to(self.read, self.from, open_from);
        true
    }

    fn count_incoming(&self, batch: &FeedBatch) {
        if !self.shared.counts_incoming.load(Relaxed) {
            return;
        }
        let families = &self.shared.families;
        families.samples_in.add(batch.samples.len() as u64);
        families.exemplars_in.add(batch.exemplars.len() as u64);
        families.histograms_in.add(batch.histograms.len() as u64);
        if let Some(t) = batch.samples.iter().map(|s| s.t).chain(batch.histograms.iter().map(|h| h.t)).max() {
            raise(&families.highest_incoming, t);
        }
    }

    fn take_rows(&mut self, batch: &FeedBatch) -> bool {
        // In 2.0 exemplars stand with a sample of their series: upstream's receiver takes them no other way.
        let mut by_series: HashMap<u64, Vec<&FeedExemplar>> = HashMap::new();
        let exemplars = if self.shared.fixed.send_exemplars { &batch.exemplars[..] } else { &[] };
        // As open batches have it: the queue's message may change any time.
        let v2 = self.groups.first().is_some_and(|g| g.open.message() == MessageType::V2);
        if v2 {
            for exemplar in exemplars {
                by_series.entry(exemplar.series.0).or_default().push(exemplar);
            }
        }
        let mut with = |series: SeriesRef| {
            if by_series.is_empty() { Vec::new() } else { by_series.remove(&series.0).unwrap_or_default() }
        };
        let starts = batch.sample_starts.iter().copied().chain(std::iter::repeat(0));
        for (sample, start) in batch.samples.iter().zip(starts) {
            let with = with(sample.series);
            if !self.push(sample.series, sample.t, Told::Sample(sample.v, start), &with) {
                return false;
            }
        }
        if self.shared.fixed.send_histograms {
            for row in &batch.histograms {
                let with = with(row.series);
                if !self.push(row.series, row.t, Told::Histogram(&row.histogram, row.start), &with) {
                    return false;
                }
            }
        }
        for exemplar in exemplars {
            if v2 && !by_series.contains_key(&exemplar.series.0) {
                continue;
            }
            let row = Told::Exemplar(exemplar.v, &exemplar.labels);
            if !self.push(exemplar.series, exemplar.t, row, &[]) {
                return false;
            }
        }
        true
    }

    fn push(&mut self, series: SeriesRef, t: i64, row: Told<'_>, with: &[&FeedExemplar]) -> bool {
        self.read_rows += 1 + with.len() as u64;
        if t < self.oldest {
            self.dropped(&row).add(TOO_OLD, 1);
            self.shared.metrics.exemplars_dropped.add(TOO_OLD, with.len() as u64);
            return true;
        }
        let sent = match self.table.find(series) {
            Found::Sent(sent) => sent,
            Found::Dropped => {
                self.dropped(&row).by_rule();
                self.shared.metrics.exemplars_dropped.add(DROPPED_SERIES, with.len() as u64);
                return true;
            }
            Found::Unknown => {
                self.dropped(&row).add(UNKNOWN_SERIES, 1);
                self.shared.metrics.exemplars_dropped.add(UNKNOWN_SERIES, with.len() as u64);
                self.log_unknown(series);
                return true;
            }
        };
        let groups = self.groups.len();
        let at = usize::from(sent.lane) % groups.max(1);
        let Some(group) = self.groups.get_mut(at) else { return true };
        if let Told::Histogram(h, _) = row
            && h.schema == CUSTOM_BUCKETS_SCHEMA
            && group.open.message() == MessageType::V1
        {
            self.shared.metrics.histograms_dropped.add(NHCB, 1);
            return true;
        }
        if group.open.is_empty() {
            group.first_read = self.read;
            group.since = Instant::now();
        }
        match row {
            Told::Sample(..) => self.pending.samples += 1,
            Told::Histogram(..) => self.pending.histograms += 1,
            Told::Exemplar(..) => self.pending.exemplars += 1,
        }
        self.pending.exemplars += with.len() as u64;
        self.highest = self.highest.max(t);
        let metadata = &self.table.metadata[sent.metadata as usize];
        group.open.push(&self.table.pairs, sent, metadata, t, row, with);
        let queue = &self.live.queue;
        let most = usize::try_from(queue.max_samples_per_send).unwrap_or(1);
        // As upstream: exemplars may add a tenth.
        let most = if self.shared.fixed.send_exemplars { most + most / 10 } else { most };
        let bytes = usize::try_from(queue.max_bytes_per_send.0).unwrap_or(usize::MAX);
        let full = group.open.len() >= most || group.open.bytes() >= bytes.saturating_mul(EXPECTED_RATIO);
        if full {
            self.seal(at);
            return self.wait_for_room();
        }
        true
    }

    fn dropped(&self, row: &Told<'_>) -> &metrics::Dropped {
        let metrics = &self.shared.metrics;
        match row {
            Told::Sample(..) => &metrics.samples_dropped,
            Told::Histogram(..) => &metrics.histograms_dropped,
            Told::Exemplar(..) => &metrics.exemplars_dropped,
        }
    }

    fn log_unknown(&mut self, series: SeriesRef) {
        if self.unknown_logged.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
            self.unknown_logged = Some(Instant::now());
            let name = &self.shared.fixed.name;
            tracing::warn!(component = "remote", remote_name = %name, r#ref = series.0, "Dropped sample for series that was not explicitly dropped via relabelling");
        }
    }

    /// Waits until the queue may take more. `false`: stop now.
    fn wait_for_room(&mut self) -> bool {
        let mut schedule = self.shared.schedule.lock();
        let mut waited = false;
        loop {
            if self.shared.stop() == Stop::Now {
                return false;
            }
            let live = self.shared.live();
            let capacity = usize::try_from(live.queue.capacity).unwrap_or(1);
            let most = capacity.saturating_mul(self.shared.concurrency());
            // One batch is always allowed, however small the capacity.
            if schedule.is_idle() || schedule.rows() < most && schedule.bytes() < MAX_WAITING_BYTES {
                return true;
            }
            if !waited {
                waited = true;
                self.shared.metrics.enqueue_retries.inc();
            }
            self.shared.room.wait_for(&mut schedule, RETRY);
        }
    }
}

pub(super) fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |d| d.as_millis() as i64)
}
