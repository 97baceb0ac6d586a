//! Sending one batch until it is delivered or must be given up.
//!
//! | answer                  | what follows                                                                  |
//! |-------------------------|-------------------------------------------------------------------------------|
//! | 2xx                     | done; a 2.0 message without counts of written rows goes out again as 1.0        |
//! | 5xx, 429 when configured, no answer | the same again, after `Retry-After` or a doubling wait, without end |
//! | 413                     | in two halves                                                                   |
//! | 415 to a 2.0 message    | as 1.0, from now on                                                             |
//! | 400 with counts         | the receiver stored the good part: the rest is counted as failed                |
//! | 400 without             | in halves down to the poisoned rows, within a budget of requests               |
//! | anything else           | counted as failed, with the receiver's text in the log                          |

use super::batch::{Batch, Rows};
use super::client::{Verdict, Written};
use super::metrics::{NHCB, TOO_OLD, raise};
use super::queue::Shared;
use super::reader::now;
use super::schedule::Ticket;
use crate::config::{MetadataConfig, QueueConfig};
use bytes::Bytes;
use model::Metadata;
use rand::RngExt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use wire::cap::SnappyEncoder;
use wire::remote_write::{MessageType, v1};

/// Requests that the search for poisoned rows of one batch may cost.
const SEARCH_REQUESTS: u32 = 64;
/// Refusals in a row after which a search is given up: the receiver refuses everything.
const SEARCH_REFUSALS: u32 = 20;

/// Sends a batch and takes it off the schedule. Cancelled, it leaves the batch undone: it comes again after
/// the next start.
pub(super) async fn send(shared: Arc<Shared>, ticket: Ticket, batch: Batch, cancel: CancellationToken) {
    let whole = batch.rows(0..batch.items.len());
    let mut sender = Sender::new(&shared, batch);
    tokio::select! {
        () = cancel.cancelled() => return,
        () = sender.run() => {}
    }
    let metrics = &shared.metrics;
    metrics.samples_pending.add(-(whole.samples as f64));
    metrics.histograms_pending.add(-(whole.histograms as f64));
    metrics.exemplars_pending.add(-(whole.exemplars as f64));
    shared.sent_rows.fetch_add(whole.all(), Relaxed);
    let took = u64::try_from(sender.busy.as_nanos()).unwrap_or(u64::MAX);
    shared.sent_nanos.fetch_add(took, Relaxed);
    shared.finish(&ticket);
}

struct Sender<'s> {
    shared: &'s Arc<Shared>,
    batch: Batch,
    /// Parts that are to be sent, the next one last.
    parts: Vec<Range<usize>>,
    message: Vec<u8>,
    encoder: SnappyEncoder,
    /// Time of requests that were answered for good. Waits and outages are left out: they must not look like
    /// a need for more concurrent requests.
    busy: Duration,
    /// Requests of a search that is under way.
    searched: u32,
    refusals: u32,
}

impl<'s> Sender<'s> {
    fn new(shared: &'s Arc<Shared>, batch: Batch) -> Self {
        let whole = 0..batch.items.len();
        let parts = vec![whole];
        let (message, encoder) = (Vec::new(), SnappyEncoder::new());
        let busy = Duration::ZERO;
        Sender { shared, batch, parts, message, encoder, busy, searched: 0, refusals: 0 }
    }

    async fn run(&mut self) {
        while let Some(part) = self.parts.pop() {
            if self.batch.message != self.shared.message() {
                self.rewrite_as_v1();
            }
            self.part(part).await;
        }
    }

    /// Rewrites the batch for the older protocol; parts keep their rows.
    fn rewrite_as_v1(&mut self) {
        match self.batch.to_v1() {
            Ok((batch, unsendable)) => {
                self.batch = batch;
                self.shared.metrics.histograms_dropped.add(NHCB, unsendable);
            }
            Err(why) => {
                // Our own bytes: this cannot happen, and if it does the rows are counted, not lost silently.
                let rows = self.batch.rows(0..self.batch.items.len());
                self.parts.clear();
                self.failed(rows, &why.to_string());
            }
        }
    }

    /// Sends one part until its fate is known; may put parts of it back.
    async fn part(&mut self, part: Range<usize>) {
        let mut attempt = 0;
        let mut backoff = Backoff::default();
        loop {
            let live = self.shared.live();
            self.strike_old(&part, &live.queue);
            let rows = self.batch.rows(part.clone());
            if rows.all() == 0 {
                return;
            }
            self.batch.write(part.clone(), &mut self.message);
            let body = match self.encoder.encode(&self.message) {
                Ok(body) => Bytes::copy_from_slice(body),
                Err(why) => return self.failed(rows, &why.to_string()),
            };
            let limit = usize::try_from(live.queue.max_bytes_per_send.0).unwrap_or(usize::MAX);
            if body.len() > limit && self.split(&part) {
                return;
            }
            let size = body.len() as u64;
            let message = self.batch.message;
            self.attempted(rows);
            let begin = Instant::now();
            let verdict = live.target.send(message, body, attempt).await;
            self.shared.metrics.batch_duration.observe(begin.elapsed().as_secs_f64());
            if let Verdict::Retry { why, after } = verdict {
                self.retried(rows);
                self.log_retry(&why, after);
                backoff.wait(self.shared, &live.queue, after).await;
                attempt += 1;
                // The message type may have changed meanwhile, by another batch.
                if self.batch.message != self.shared.message() {
                    self.parts.push(part);
                    return;
                }
                continue;
            }
            self.busy += begin.elapsed();
            self.shared.metrics.bytes.add(size);
            return self.judge(part, rows, verdict, live.log_requests);
        }
    }

    fn judge(&mut self, part: Range<usize>, rows: Rows, verdict: Verdict, log_requests: bool) {
        let newest = self.batch.newest(part.clone());
        match verdict {
            Verdict::Delivered(written) => {
                self.refusals = 0;
                if self.batch.message == MessageType::V2 && written.unwrap_or_default() == Written::default()
                {
                    self.shared.downgrade(&format!(
                        "sent v2 request with {} samples, {} histograms and {} exemplars; got 2xx, but PRW 2.0 response header statistics indicate nothing was accepted",
                        rows.samples, rows.histograms, rows.exemplars
                    ));
                    return self.parts.push(part);
                }
                if let Some(written) = written {
                    self.short(rows, written, None);
                }
                if let Some(t) = newest {
                    raise(&self.shared.metrics.highest_sent, t);
                }
                *self.shared.last_error.lock() = None;
            }
            Verdict::TooLarge(why) => {
                if !self.split(&part) {
                    self.failed(rows, &why);
                }
            }
            Verdict::Unsupported(why) if self.batch.message == MessageType::V2 => {
                self.shared.downgrade(&why);
                self.parts.push(part);
            }
            Verdict::Bad { why, written: Some(written) } => {
                if log_requests {
                    tracing::debug!(component = "remote", remote_name = %self.shared.fixed.name, err = %why, "Failed to send remote write request");
                }
                self.short(rows, written, Some(&why));
                if let Some(t) = newest {
                    raise(&self.shared.metrics.highest_sent, t);
                }
            }
            Verdict::Bad { why, written: None } => self.search(part, rows, &why),
            Verdict::Unsupported(why) | Verdict::Refused(why) => {
                self.failed(rows, &why);
                if let Some(t) = newest {
                    raise(&self.shared.metrics.highest_sent, t);
                }
            }
            // Handled by the caller.
            Verdict::Retry { .. } => self.parts.push(part),
        }
    }

    /// A receiver without partial success refused the part: look for the rows that it does not like.
    fn search(&mut self, part: Range<usize>, rows: Rows, why: &str) {
        self.searched += 1;
        self.refusals += 1;
        let given_up = self.searched > SEARCH_REQUESTS || self.refusals > SEARCH_REFUSALS;
        if !given_up && self.split(&part) {
            return;
        }
        self.failed(rows, why);
        if self.refusals > SEARCH_REFUSALS {
            // Nothing of this batch was ever liked.
            let left = std::mem::take(&mut self.parts);
            for part in left {
                let rows = self.batch.rows(part);
                self.failed(rows, why);
            }
        }
    }

    /// Puts the halves of a part back; `false` when it has only one row.
    fn split(&mut self, part: &Range<usize>) -> bool {
        if part.len() < 2 {
            return false;
        }
        let middle = part.start + part.len() / 2;
        self.parts.push(middle..part.end);
        self.parts.push(part.start..middle);
        true
    }

    fn strike_old(&mut self, part: &Range<usize>, queue: &QueueConfig) {
        if queue.sample_age_limit.0 <= 0 {
            return;
        }
        let oldest = now().saturating_sub(queue.sample_age_limit.0);
        let struck = self.batch.strike(part.clone(), oldest);
        let metrics = &self.shared.metrics;
        metrics.samples_dropped.add(TOO_OLD, struck.samples);
        metrics.histograms_dropped.add(TOO_OLD, struck.histograms);
        metrics.exemplars_dropped.add(TOO_OLD, struck.exemplars);
    }

    fn attempted(&self, rows: Rows) {
        let metrics = &self.shared.metrics;
        metrics.samples.add(rows.samples);
        metrics.histograms.add(rows.histograms);
        metrics.exemplars.add(rows.exemplars);
    }

    fn retried(&self, rows: Rows) {
        let metrics = &self.shared.metrics;
        metrics.samples_retried.add(rows.samples);
        metrics.histograms_retried.add(rows.histograms);
        metrics.exemplars_retried.add(rows.exemplars);
    }

    fn log_retry(&self, why: &str, after: Option<Duration>) {
        let (name, url) = (&self.shared.fixed.name, &self.shared.fixed.url);
        *self.shared.last_error.lock() = Some(why.to_owned());
        if let Some(duration) = after {
            tracing::info!(component = "remote", remote_name = %name, url = %url, ?duration, "Retrying after duration specified by Retry-After header");
        }
        tracing::warn!(component = "remote", remote_name = %name, url = %url, err = %why, "Failed to send batch, retrying");
    }

    /// Counts what a receiver did not store.
    fn short(&self, rows: Rows, written: Written, why: Option<&str>) {
        let lost = Rows {
            samples: rows.samples.saturating_sub(written.samples),
            histograms: rows.histograms.saturating_sub(written.histograms),
            exemplars: rows.exemplars.saturating_sub(written.exemplars),
        };
        match why {
            Some(why) => self.failed(lost, why),
            None if lost.all() > 0 => self.failed(
                lost,
                "we got 2xx status code from the Receiver yet statistics indicate some data was not written; investigation needed",
            ),
            None => {}
        }
    }

    fn failed(&self, rows: Rows, why: &str) {
        let metrics = &self.shared.metrics;
        metrics.samples_failed.add(rows.samples);
        metrics.histograms_failed.add(rows.histograms);
        metrics.exemplars_failed.add(rows.exemplars);
        *self.shared.last_error.lock() = Some(why.to_owned());
        tracing::error!(
            component = "remote",
            remote_name = %self.shared.fixed.name,
            url = %self.shared.fixed.url,
            failedSampleCount = rows.samples,
            failedHistogramCount = rows.histograms,
            failedExemplarCount = rows.exemplars,
            err = %why,
            "non-recoverable error"
        );
    }
}

/// Waits between attempts: doubling, with up to a tenth of chance so that many senders do not come at once.
#[derive(Default)]
struct Backoff {
    next: Option<Duration>,
}

impl Backoff {
    async fn wait(&mut self, shared: &Shared, queue: &QueueConfig, after: Option<Duration>) {
        let (min, max) = (queue.min_backoff.std(), queue.max_backoff.std());
        let wait = after.unwrap_or_else(|| self.next.unwrap_or(min).min(max));
        self.next = Some((wait * 2).clamp(min, max));
        let jitter = wait.mul_f64(rand::rng().random_range(0.0..0.1));
        shared.backing_off.fetch_add(1, Relaxed);
        // Also when the sender is dropped while it waits.
        let _count = BackingOff(shared);
        tokio::time::sleep(wait + jitter).await;
    }
}

struct BackingOff<'s>(&'s Shared);

impl Drop for BackingOff<'_> {
    fn drop(&mut self) {
        self.0.backing_off.fetch_sub(1, Relaxed);
    }
}

/// Sends metadata of families in requests of their own; gives up when the next interval comes.
pub(super) async fn send_metadata(
    shared: &Arc<Shared>,
    config: &MetadataConfig,
    entries: &[(String, Metadata)],
) {
    let metrics = &shared.metrics;
    let most = usize::try_from(config.max_samples_per_send).unwrap_or(1).max(1);
    let mut encoder = SnappyEncoder::new();
    let deadline = tokio::time::Instant::now() + config.send_interval.std();
    for chunk in entries.chunks(most) {
        let mut message = Vec::new();
        for (family, metadata) in chunk {
            v1::push_metadata(&mut message, family, metadata.kind, &metadata.help, &metadata.unit);
        }
        let Ok(body) = encoder.encode(&message).map(Bytes::copy_from_slice) else { continue };
        let size = body.len() as u64;
        let sent = tokio::time::timeout_at(deadline, send_one(shared, body, chunk.len() as u64)).await;
        let why = match sent {
            Ok(Ok(())) => {
                metrics.metadata.add(chunk.len() as u64);
                metrics.metadata_bytes.add(size);
                continue;
            }
            Ok(Err(why)) => why,
            Err(_) => "no success until the next interval".to_owned(),
        };
        metrics.metadata_failed.add(chunk.len() as u64);
        tracing::error!(component = "remote", remote_name = %shared.fixed.name, url = %shared.fixed.url, count = chunk.len(), err = %why, "non-recoverable error while sending metadata");
    }
}

async fn send_one(shared: &Arc<Shared>, body: Bytes, count: u64) -> Result<(), String> {
    let mut backoff = Backoff::default();
    for attempt in 0.. {
        let live = shared.live();
        let begin = Instant::now();
        let verdict = live.target.send(MessageType::V1, body.clone(), attempt).await;
        shared.metrics.batch_duration.observe(begin.elapsed().as_secs_f64());
        match verdict {
            Verdict::Delivered(_) => return Ok(()),
            Verdict::Retry { why, after } => {
                shared.metrics.metadata_retried.add(count);
                tracing::warn!(component = "remote", remote_name = %shared.fixed.name, err = %why, "Failed to send batch, retrying");
                backoff.wait(shared, &live.queue, after).await;
            }
            Verdict::TooLarge(why)
            | Verdict::Unsupported(why)
            | Verdict::Refused(why)
            | Verdict::Bad { why, .. } => return Err(why),
        }
    }
    Ok(())
}
