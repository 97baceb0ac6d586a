//! A queue: one destination's way from the log to the network.
//!
//! Room: `remote::write`. A thread reads the log and fills batches (`reader`), one task hands batches that may
//! go out to senders (`send`), another keeps time: it saves the position, adapts the concurrency and sends
//! metadata. All of them end when the queue stops.

use super::batch::Batch;
use super::client::Target;
use super::metrics::{Families, Metrics};
use super::schedule::{LANES, Schedule, Ticket};
use super::{Environment, MetadataSource, position, reader, send};
use crate::config::{MetadataConfig, QueueConfig};
use model::Labels;
use model::relabel::Rule;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use storage::feed::{Feed, Position};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::remote_write::MessageType;

/// What may change while a queue runs.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) target: Target,
    pub(super) queue: QueueConfig,
    pub(super) metadata: MetadataConfig,
    pub(super) log_requests: bool,
}

/// What makes a queue start over (from its position) when it changes.
#[derive(Clone)]
pub(super) struct Fixed {
    pub(super) name: String,
    /// As metrics show it.
    pub(super) url: String,
    pub(super) message: MessageType,
    pub(super) external: Labels,
    pub(super) rules: Arc<[Rule]>,
    pub(super) send_exemplars: bool,
    pub(super) send_histograms: bool,
}

/// How the reader is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Stop {
    No = 0,
    /// At the end of the log.
    Drain = 1,
    Now = 2,
}

/// State that thread and tasks share.
pub(super) struct Shared {
    pub(super) fixed: Fixed,
    live: RwLock<Arc<Live>>,
    pub(super) feed: Arc<dyn Feed>,
    pub(super) metrics: Metrics,
    pub(super) families: Arc<Families>,
    pub(super) schedule: Mutex<Schedule<Batch>>,
    /// Room in the schedule, or a stop: the reader waits for it.
    pub(super) room: Condvar,
    /// Work for the dispatcher.
    pub(super) wake: Notify,
    /// Concurrent requests, and groups of lanes.
    concurrency: AtomicUsize,
    /// The receiver refused 2.0.
    downgraded: AtomicBool,
    stop: AtomicUsize,
    /// Counts what comes in for all queues: one of them does.
    pub(super) counts_incoming: AtomicBool,
    pub(super) reader_done: AtomicBool,
    /// Requests that wait to be tried again.
    pub(super) backing_off: AtomicUsize,
    /// Rows whose requests ended, and the time these took: for the wanted concurrency.
    pub(super) sent_rows: AtomicU64,
    pub(super) sent_nanos: AtomicU64,
    /// Rows read from the log.
    pub(super) read_rows: AtomicU64,
    /// Where the reader is.
    pub(super) read_at: Mutex<Position>,
    /// What went wrong last, until something is delivered.
    pub(super) last_error: Mutex<Option<String>>,
}

impl Shared {
    pub(super) fn live(&self) -> Arc<Live> {
        self.live.read().clone()
    }

    pub(super) fn set_live(&self, live: Live) {
        let queue = &live.queue;
        self.metrics.shard_capacity.set(queue.capacity as f64);
        self.metrics.max_samples_per_send.set(queue.max_samples_per_send as f64);
        let (min, max) = bounds(queue);
        self.metrics.shards_max.set(max as f64);
        self.metrics.shards_min.set(min as f64);
        if queue.max_shards > LANES as i64 {
            tracing::warn!(
                component = "remote",
                max_shards = queue.max_shards,
                used = LANES,
                "max_shards is above the number of lanes"
            );
        }
        let now = self.concurrency().clamp(min, max);
        self.set_concurrency(now);
        *self.live.write() = Arc::new(live);
        let _schedule = self.schedule.lock();
        self.room.notify_all();
        self.wake.notify_one();
    }

    pub(super) fn concurrency(&self) -> usize {
        self.concurrency.load(Relaxed)
    }

    fn set_concurrency(&self, n: usize) {
        self.concurrency.store(n, Relaxed);
        self.metrics.shards.set(n as f64);
    }

    /// The message that goes out now.
    pub(super) fn message(&self) -> MessageType {
        if self.downgraded.load(Relaxed) { MessageType::V1 } else { self.fixed.message }
    }

    /// The receiver takes no 2.0: from now on everything goes out as 1.0.
    pub(super) fn downgrade(&self, why: &str) {
        if !self.downgraded.swap(true, Relaxed) {
            tracing::warn!(
                component = "remote",
                remote_name = %self.fixed.name,
                url = %self.fixed.url,
                err = %why,
                "Remote write 2.0 is not supported by the receiver; falling back to 1.0"
            );
        }
    }

    pub(super) fn stop(&self) -> Stop {
        match self.stop.load(Relaxed) {
            0 => Stop::No,
            1 => Stop::Drain,
            _ => Stop::Now,
        }
    }

    fn set_stop(&self, stop: Stop) {
        self.stop.fetch_max(stop as usize, Relaxed);
        // Under the lock, so that a reader that is about to wait sees it.
        let _schedule = self.schedule.lock();
        self.room.notify_all();
        self.wake.notify_one();
    }

    /// Takes a batch off the schedule.
    pub(super) fn finish(&self, ticket: &Ticket) {
        self.schedule.lock().finish(ticket);
        self.room.notify_all();
        self.wake.notify_one();
    }
}

fn bounds(queue: &QueueConfig) -> (usize, usize) {
    let lanes = |n: i64| usize::try_from(n).unwrap_or(1).clamp(1, LANES);
    (lanes(queue.min_shards), lanes(queue.max_shards))
}

/// A running queue.
pub(super) struct Queue {
    pub(super) shared: Arc<Shared>,
    environment: Arc<Environment>,
    cancel: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
    pub(super) started: Instant,
}

/// Time between looks of the keeper.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between saved positions.
const SAVE_TICKS: u32 = 2;
/// Most bytes of batches that wait in memory.
pub(super) const MAX_WAITING_BYTES: usize = 64 << 20;

impl Queue {
    /// Starts at the saved position; a destination never seen before starts at the end of the log.
    pub(super) fn start(
        environment: Arc<Environment>,
        families: Arc<Families>,
        feed: Arc<dyn Feed>,
        fixed: Fixed,
        live: Live,
    ) -> Queue {
        let dir = position::dir(&environment.storage_dir);
        let at = match position::load(&*environment.disk, &dir, &fixed.name) {
            position::Found::At(at) => at,
            position::Found::Unreadable => Position::default(),
            position::Found::New => {
                let at = feed.end();
                // Known from now on: a crash before the first delivery must not lose what comes until then.
                if let Err(why) = position::save(&*environment.disk, &dir, &fixed.name, at) {
                    tracing::error!(component = "remote", remote_name = %fixed.name, err = %why, "Cannot save the position of a remote write destination");
                }
                at
            }
        };
        feed.hold(&fixed.name, at);
        let metrics = families.of(&fixed.name, &fixed.url);
        let (min, _) = bounds(&live.queue);
        let shared = Arc::new(Shared {
            live: RwLock::new(Arc::new(live.clone())),
            feed,
            metrics,
            families,
            schedule: Mutex::new(Schedule::new(at)),
            room: Condvar::new(),
            wake: Notify::new(),
            concurrency: AtomicUsize::new(min),
            downgraded: AtomicBool::new(false),
            stop: AtomicUsize::new(Stop::No as usize),
            counts_incoming: AtomicBool::new(false),
            reader_done: AtomicBool::new(false),
            backing_off: AtomicUsize::new(0),
            sent_rows: AtomicU64::new(0),
            sent_nanos: AtomicU64::new(0),
            read_rows: AtomicU64::new(0),
            read_at: Mutex::new(at),
            last_error: Mutex::new(None),
            fixed,
        });
        shared.set_live(live);
        shared.metrics.shards_desired.set(min as f64);
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let runtime = &environment.runtime;
        tasks.spawn_on(dispatch(shared.clone(), cancel.clone()), runtime);
        tasks.spawn_on(keep(shared.clone(), environment.clone(), cancel.clone(), at), runtime);
        tasks.spawn_on(metadata(shared.clone(), environment.metadata.clone(), cancel.clone()), runtime);
        tracing::info!(
            component = "remote",
            remote_name = %shared.fixed.name,
            url = %shared.fixed.url,
            segment = at.segment,
            offset = at.offset,
            "Starting remote write"
        );
        Queue { shared, environment, cancel, tasks: Mutex::new(tasks), started: Instant::now() }
    }

    /// Stops. With a deadline everything that is in the log is read and sent first, unless the destination
    /// does not answer or the time is over; what is not sent then will be, after the next start.
    pub(super) async fn stop(&self, flush: Option<Duration>, patience: Patience) {
        let (name, url) = (&self.shared.fixed.name, &self.shared.fixed.url);
        tracing::info!(component = "remote", remote_name = %name, url = %url, "Stopping remote storage...");
        if let Some(deadline) = flush {
            self.shared.set_stop(Stop::Drain);
            let _ = tokio::time::timeout(deadline, self.drained(patience)).await;
        }
        self.shared.set_stop(Stop::Now);
        self.cancel.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while let Some(ended) = tasks.join_next().await {
            if let Err(why) = ended
                && why.is_panic()
            {
                tracing::error!(component = "remote", remote_name = %name, err = %why, "A task of remote write failed");
            }
        }
        let (done, unsent) = {
            let schedule = self.shared.schedule.lock();
            (schedule.done(), schedule.rows())
        };
        save(&self.shared, &self.environment, done).await;
        if unsent > 0 {
            tracing::warn!(component = "remote", remote_name = %name, url = %url, count = unsent, "Stopped before all samples were sent; they stay in the WAL as long as the destination stays configured");
        }
        self.shared.metrics.samples_pending.set(0.0);
        self.shared.metrics.histograms_pending.set(0.0);
        self.shared.metrics.exemplars_pending.set(0.0);
        tracing::info!(component = "remote", remote_name = %name, url = %url, "Remote storage stopped.");
    }

    /// Ends when everything is sent, or when patience ends.
    async fn drained(&self, patience: Patience) {
        let mut failing = 0;
        loop {
            if self.shared.reader_done.load(Relaxed) && self.shared.schedule.lock().is_idle() {
                return;
            }
            failing = if self.shared.backing_off.load(Relaxed) > 0 { failing + 1 } else { 0 };
            if patience == Patience::WhileItAnswers && failing > FAILING_LOOKS {
                return;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }
}

/// How long a queue that stops tries to send what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// A destination that only fails is left alone: it gets the rest after the next start.
    WhileItAnswers,
    /// There is no next start.
    UntilDeadline,
}

const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// Looks in a row that find requests waiting to be tried again: about a second.
const FAILING_LOOKS: u32 = 50;

/// Saves the position and holds the log from there on.
async fn save(shared: &Arc<Shared>, environment: &Arc<Environment>, at: Position) {
    let (shared, environment) = (shared.clone(), environment.clone());
    let saved = tokio::task::spawn_blocking(move || {
        let dir = position::dir(&environment.storage_dir);
        let name = &shared.fixed.name;
        let saved = position::save(&*environment.disk, &dir, name, at);
        if let Err(why) = &saved {
            tracing::error!(component = "remote", remote_name = %name, err = %why, "Cannot save the position of a remote write destination");
        }
        // Even when it could not be saved: what lies before it is delivered.
        shared.feed.hold(name, at);
    });
    let _ = saved.await;
}

/// Hands batches to senders as their lanes become free.
async fn dispatch(shared: Arc<Shared>, cancel: CancellationToken) {
    let mut senders: JoinSet<()> = JoinSet::new();
    let mut tickets: HashMap<tokio::task::Id, Ticket> = HashMap::new();
    loop {
        loop {
            let Some((ticket, batch)) = shared.schedule.lock().take(shared.concurrency()) else { break };
            let sender = send::send(shared.clone(), ticket, batch, cancel.clone());
            let handle = senders.spawn(sender);
            tickets.insert(handle.id(), ticket);
        }
        tokio::select! {
            () = cancel.cancelled() => break,
            () = shared.wake.notified() => {}
            Some(ended) = senders.join_next_with_id() => match ended {
                Ok((id, ())) => drop(tickets.remove(&id)),
                Err(why) => {
                    // A panic must not stop the lanes: the batch counts as dropped.
                    tracing::error!(component = "remote", remote_name = %shared.fixed.name, err = %why, "A sender of remote write failed; its batch is lost");
                    if let Some(ticket) = tickets.remove(&why.id()) {
                        shared.metrics.samples_failed.add(ticket.rows as u64);
                        shared.finish(&ticket);
                    }
                }
            },
        }
    }
    while senders.join_next().await.is_some() {}
}

/// Runs the reader, saves the position, adapts the concurrency.
async fn keep(shared: Arc<Shared>, environment: Arc<Environment>, cancel: CancellationToken, at: Position) {
    let mut thread = reader::spawn(shared.clone(), environment.metadata.clone(), at);
    let mut saved = at;
    let mut pace = Pace::new(&shared);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count = 0u32;
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            _ = ticks.tick() => {}
        }
        count = count.wrapping_add(1);
        let done = shared.schedule.lock().done();
        if count.is_multiple_of(SAVE_TICKS) && done != saved {
            save(&shared, &environment, done).await;
            saved = done;
        }
        pace.look(&shared, done);
        let ended = thread.as_ref().is_none_or(std::thread::JoinHandle::is_finished);
        if ended && shared.stop() == Stop::No {
            // The reader never ends by itself: it panicked, or the thread could not be made.
            let name = &shared.fixed.name;
            tracing::error!(component = "remote", remote_name = %name, "The reader of a remote write queue ended; starting it again");
            let again = {
                let mut schedule = shared.schedule.lock();
                schedule.forget_reads();
                schedule.done()
            };
            thread = reader::spawn(shared.clone(), environment.metadata.clone(), again);
        }
    }
    let joined = tokio::task::spawn_blocking(move || thread.map(std::thread::JoinHandle::join));
    let _ = joined.await;
}

/// Finds how many concurrent requests are needed.
struct Pace {
    at: Instant,
    /// Where delivery was, and how much lay behind it.
    read_at: Position,
    backlog: u64,
    sent_rows: u64,
    sent_nanos: u64,
    read_rows: u64,
    /// Averages over about ten seconds.
    rows_in: f64,
    seconds_per_row: f64,
    bytes_per_row: f64,
    calm: u32,
}

/// Looks without a need for the present concurrency before it is lowered.
const CALM_LOOKS: u32 = 10;

impl Pace {
    fn new(shared: &Shared) -> Self {
        let read_at = *shared.read_at.lock();
        Pace {
            at: Instant::now(),
            read_at,
            backlog: shared.feed.backlog_bytes(read_at),
            sent_rows: 0,
            sent_nanos: 0,
            read_rows: 0,
            rows_in: 0.0,
            seconds_per_row: 0.0,
            bytes_per_row: 20.0,
            calm: 0,
        }
    }

    fn look(&mut self, shared: &Shared, done: Position) {
        let elapsed = self.at.elapsed().as_secs_f64().max(0.001);
        self.at = Instant::now();
        let read_at = *shared.read_at.lock();
        let behind_old = shared.feed.backlog_bytes(self.read_at);
        let backlog = shared.feed.backlog_bytes(read_at);
        let grown = behind_old.saturating_sub(self.backlog);
        let consumed = behind_old.saturating_sub(backlog);
        let step = |counter: &AtomicU64, before: &mut u64| {
            let now = counter.load(Relaxed);
            let by = now.saturating_sub(*before);
            *before = now;
            by as f64
        };
        let read = step(&shared.read_rows, &mut self.read_rows);
        let sent = step(&shared.sent_rows, &mut self.sent_rows);
        let seconds = step(&shared.sent_nanos, &mut self.sent_nanos) / 1e9;
        (self.read_at, self.backlog) = (read_at, backlog);
        let blend = |old: f64, new: f64| if old == 0.0 { new } else { 0.8 * old + 0.2 * new };
        if read > 100.0 && consumed > 0 {
            self.bytes_per_row = blend(self.bytes_per_row, consumed as f64 / read).max(1.0);
        }
        self.rows_in = blend(self.rows_in, grown as f64 / self.bytes_per_row / elapsed);
        if sent > 0.0 {
            self.seconds_per_row = blend(self.seconds_per_row, seconds / sent);
        }
        shared.metrics.backlog_bytes.set(shared.feed.backlog_bytes(done) as f64);
        shared.metrics.segment.set(f64::from(read_at.segment));
        // As upstream: keep up with what comes in, and catch up on a twentieth of the backlog each second.
        let pending = backlog as f64 / self.bytes_per_row + shared.schedule.lock().rows() as f64;
        let desired = self.seconds_per_row * (self.rows_in + 0.05 * pending);
        if sent > 0.0 {
            shared.metrics.shards_desired.set(desired);
        }
        self.adapt(shared, desired);
    }

    fn adapt(&mut self, shared: &Shared, desired: f64) {
        let (min, max) = bounds(&shared.live().queue);
        let now = shared.concurrency();
        let wanted = (desired.ceil() as usize).clamp(min, max);
        // More requests do not help a receiver that is in trouble.
        if shared.backing_off.load(Relaxed) > 0 {
            self.calm = 0;
            return;
        }
        let next = if wanted as f64 > now as f64 * 1.3 {
            self.calm = 0;
            // Not in one leap: the time of a request grows with their number.
            wanted.min(now * 2)
        } else if (wanted as f64) < now as f64 * 0.7 {
            self.calm += 1;
            if self.calm < CALM_LOOKS {
                return;
            }
            self.calm = 0;
            wanted.max(now / 2)
        } else {
            self.calm = 0;
            return;
        };
        let next = next.clamp(min, max);
        if next != now {
            tracing::info!(component = "remote", remote_name = %shared.fixed.name, url = %shared.fixed.url, from = now, to = next, "Remote storage resharding");
            shared.set_concurrency(next);
            shared.wake.notify_one();
        }
    }
}

/// Sends metadata of 1.0 at its interval.
async fn metadata(shared: Arc<Shared>, source: MetadataSource, cancel: CancellationToken) {
    loop {
        let config = shared.live().metadata.clone();
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(config.send_interval.std().max(Duration::from_millis(10))) => {}
        }
        if config.send && shared.message() == MessageType::V1 && shared.stop() == Stop::No {
            let entries = source();
            tokio::select! {
                () = cancel.cancelled() => return,
                () = send::send_metadata(&shared, &config, &entries) => {}
            }
        }
    }
}
