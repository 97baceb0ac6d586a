//! The loop of one target: wait, fetch, store, report, until told to stop.

use super::batch::Scratch;
use super::engine::{Engine, Moment, Reply};
use super::fetch::{FetchError, Fetched, decode, fetch};
use super::state::{JobRuntime, LastScrape, TargetState};
use crate::status::Health;
use net::client::HttpClient;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use storage::WriterSource;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};

/// Scratch larger than this is not kept.
const SCRATCH_BYTES: usize = 32 << 20;

/// Wall clock in nanoseconds since the Unix epoch. Handed in, so that tests can pause time.
pub type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What a worker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Run,
    /// The target is gone: stop scraping, and mark its series stale when nobody has taken it up again.
    Retire,
    /// Stop and give the engine back.
    HandOver,
    /// The server stops.
    Shutdown,
}

/// What all workers share.
pub(super) struct Shared {
    pub(super) clock: WallClock,
    pub(super) writers: Arc<dyn WriterSource>,
    pub(super) seed: u64,
    pub(super) align: Option<Duration>,
    pub(super) stale_on_shutdown: bool,
    pub(super) scratch: Mutex<Vec<Scratch>>,
    /// Bodies that may be read and stored at the same time; bounds memory and threads.
    pub(super) slots: Semaphore,
}

impl Shared {
    fn lend(&self) -> Scratch {
        self.scratch.lock().pop().unwrap_or_default()
    }

    fn give_back(&self, scratch: Scratch) {
        let mut kept = self.scratch.lock();
        if scratch.held_bytes() <= SCRATCH_BYTES && kept.len() < 4 {
            kept.push(scratch);
        }
    }

    fn now_ns(&self) -> i64 {
        (self.clock)()
    }
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) job: Arc<JobRuntime>,
    pub(super) client: HttpClient,
    pub(super) state: Arc<TargetState>,
    /// `None` while it works.
    pub(super) engine: Option<Box<Engine>>,
    pub(super) orders: watch::Receiver<Order>,
}

impl Worker {
    /// Runs until it is ordered to stop; gives the engine back when asked to hand over.
    pub(super) async fn run(mut self) -> Option<Box<Engine>> {
        let interval = self.state.target.interval;
        let offset = self.state.target.offset(self.shared.now_ns(), self.shared.seed);
        let mut last = None;
        let order = tokio::select! {
            order = stopped(&mut self.orders) => Some(order),
            () = tokio::time::sleep(offset) => None,
        };
        if let Some(order) = order {
            return self.stop(order, last).await;
        }
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut aligned_ns = self.shared.now_ns();
        loop {
            tokio::select! {
                biased;
                order = stopped(&mut self.orders) => return self.stop(order, last).await,
                _ = ticks.tick() => {}
            }
            let start = Instant::now();
            if let Some(before) = last {
                self.observe_interval(start - before, interval);
            }
            let t_ns = self.align(&mut aligned_ns, interval);
            self.scrape(t_ns, start.into_std()).await;
            last = Some(start);
        }
    }

    fn observe_interval(&self, length: Duration, interval: Duration) {
        let label = model::duration::format_duration(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
        let meters = &self.job.meters;
        meters.interval_length.with(&[&label]).observe(length.as_secs_f64());
        meters.interval_length_histogram.with(&[&label]).observe(length.as_secs_f64());
    }

    /// The time of the samples: on schedule when the timer was late by a hair, which stores better.
    fn align(&self, aligned_ns: &mut i64, interval: Duration) -> i64 {
        let now = self.shared.now_ns();
        let Some(tolerance) = self.shared.align else { return now };
        let interval_ns = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1);
        let tolerance_ns = i64::try_from(tolerance.as_nanos()).unwrap_or(0).min(interval_ns / 100);
        let behind = now - *aligned_ns;
        if behind >= interval_ns {
            *aligned_ns += behind / interval_ns * interval_ns;
        }
        if now - *aligned_ns <= tolerance_ns { *aligned_ns } else { now }
    }

    /// A scrape that has begun is finished when the target is to go, for its timeout bounds it; only the end of
    /// the server cuts it off.
    async fn scrape(&mut self, t_ns: i64, start: std::time::Instant) {
        let state = Arc::clone(&self.state);
        let forced = state.forced_error.lock().clone();
        let forced_by_pool = forced.is_some();
        let fetched = match forced {
            Some(text) => Err(FetchError::Other(text)),
            None => tokio::select! {
                biased;
                _ = self.orders.wait_for(|order| *order == Order::Shutdown) => return,
                fetched = fetch(&self.client, &self.job, &state) => fetched,
            },
        };
        let (t, now_ms) = (t_ns.div_euclid(1_000_000), self.shared.now_ns().div_euclid(1_000_000));
        let at = Moment { t, start, now_ms };
        let job = Arc::clone(&self.job);
        let done = self
            .with_engine(move |engine, scratch| {
                let mut buffer = std::mem::take(&mut scratch.body);
                let done = store(engine, &job, &fetched, &mut buffer, at, scratch);
                scratch.body = buffer;
                done
            })
            .await;
        let Some((done, fetch_failed)) = done else { return };
        if let (Some(error), true) = (&done.error, fetch_failed && !forced_by_pool) {
            tracing::debug!(component = "scrape manager", scrape_pool = %self.job.job.name, target = %state.target.url, err = %error, "Scrape failed");
            if let Some(log) = &self.job.failure_log {
                log.failed(&self.job.job.name, &state.target.url, error);
            }
        }
        *state.last.lock() = LastScrape {
            health: if done.error.is_none() { Health::Up } else { Health::Down },
            error: done.error.unwrap_or_default(),
            start_ms: Some(t),
            duration: Duration::from_secs_f64(done.seconds),
        };
        if self.job.job.extra_metrics {
            self.job.meters.scrape_duration.observe(start.elapsed().as_secs_f64());
        }
    }

    /// Calls the engine where blocking is allowed: a write may have to wait for the log, and a large body takes
    /// milliseconds of one core, neither of which an async worker thread should be held for. `None` after a
    /// panic, which costs the cache of this target and nothing else.
    async fn with_engine<T: Send + 'static>(
        &mut self,
        f: impl FnOnce(&mut Engine, &mut Scratch) -> T + Send + 'static,
    ) -> Option<T> {
        let _slot = self.shared.slots.acquire().await;
        let mut engine = self.engine.take()?;
        let shared = Arc::clone(&self.shared);
        let worked = tokio::task::spawn_blocking(move || {
            let mut scratch = shared.lend();
            let result = f(&mut engine, &mut scratch);
            shared.give_back(scratch);
            (engine, result)
        })
        .await;
        match worked {
            Ok((engine, result)) => {
                self.engine = Some(engine);
                Some(result)
            }
            Err(e) => {
                tracing::error!(component = "scrape manager", scrape_pool = %self.job.job.name, target = %self.state.target.url, err = %e, "Scrape panicked");
                let (job, state) = (Arc::clone(&self.job), Arc::clone(&self.state));
                self.engine = Some(Box::new(Engine::new(job, state, self.shared.writers.writer())));
                None
            }
        }
    }

    async fn stop(mut self, order: Order, last: Option<Instant>) -> Option<Box<Engine>> {
        match order {
            Order::HandOver => return self.engine,
            Order::Shutdown if self.shared.stale_on_shutdown && last.is_some() => {
                let t = self.shared.now_ns().div_euclid(1_000_000);
                self.with_engine(move |engine, scratch| engine.mark_gone(t, scratch)).await;
            }
            Order::Retire => {
                if let Some(last) = last {
                    self.retire(last).await;
                }
            }
            Order::Run | Order::Shutdown => {}
        }
        None
    }

    /// Waits until a scrape of a successor would have been stored: then markers for series that are still
    /// scraped are out of order and refused, and only those that are gone get theirs.
    async fn retire(mut self, last: Instant) {
        let interval = self.state.target.interval;
        let elapsed = last.elapsed();
        let to_tick = interval.saturating_sub(Duration::from_nanos(
            u64::try_from(elapsed.as_nanos() % interval.as_nanos().max(1)).unwrap_or(0),
        ));
        if !self.wait(to_tick).await {
            return;
        }
        let t = self.shared.now_ns().div_euclid(1_000_000);
        if self.wait(interval + interval / 10).await {
            self.with_engine(move |engine, scratch| engine.mark_gone(t, scratch)).await;
        }
    }

    /// False when the server stops meanwhile.
    async fn wait(&mut self, time: Duration) -> bool {
        tokio::select! {
            biased;
            _ = self.orders.wait_for(|order| *order == Order::Shutdown) => false,
            () = tokio::time::sleep(time) => true,
        }
    }
}

/// Decodes and stores a reply; the flag says whether fetching failed (rather than reading).
fn store(
    engine: &mut Engine,
    job: &JobRuntime,
    fetched: &Result<Fetched, FetchError>,
    buffer: &mut Vec<u8>,
    at: Moment,
    scratch: &mut Scratch,
) -> (super::engine::Done, bool) {
    let decoded = match fetched {
        Ok(fetched) => {
            decode(fetched, job, buffer).map(|body| Reply { body, content_type: &fetched.content_type })
        }
        Err(e) => Err(e.clone()),
    };
    match decoded {
        Ok(reply) => (engine.scrape(Ok(reply), 0, at, scratch), false),
        Err(e) => {
            let mut body_bytes = 0;
            if e == FetchError::BodyTooLarge {
                job.meters.body_size_limit.inc();
                body_bytes = -1;
            }
            (engine.scrape(Err(e.text().to_owned()), body_bytes, at, scratch), true)
        }
    }
}

/// Waits for an order other than to run. A pool that is gone counts as a shutdown.
async fn stopped(orders: &mut watch::Receiver<Order>) -> Order {
    match orders.wait_for(|order| *order != Order::Run).await {
        Ok(order) => *order,
        Err(_) => Order::Shutdown,
    }
}
