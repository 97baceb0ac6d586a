//! The remote write receiver: negotiation, limits, one write per request, the reply.
//!
//! Status codes and texts are upstream's (`storage/remote/write_handler.go` and its library). Different on
//! purpose: a 1.0 request is stored as far as it is good, and its bad rows are named with status 400 (upstream
//! rolls the whole request back, or drops series with bad labels silently); a 2.0 reply lists the first
//! offenders instead of all.

use super::collect::{Collector, MAX_OFFENDERS, Refused, show};
use hashbrown::HashSet;
use model::FloatHistogram;
use parking_lot::Mutex;
use std::sync::Arc;
use storage::{
    Batch, HistogramRow, RejectReason, Rejection, RowKind, SeriesId, WriteOutcome, Writer, WriterSource,
};
use wire::cap::{self, CapError};
use wire::remote_write::{self as rw, MessageType, Scratch, join_names, v1, v2};

/// Samples further ahead than this are refused.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;
/// What a worker's memory keeps between requests: decompressed bytes, rows of each table. Requests of usual
/// size (2,000 samples, half a megabyte) stay far below.
const KEPT_BYTES: usize = 4 << 20;
const KEPT_ROWS: usize = 1 << 15;
/// Histograms that a worker keeps the memory of, and how much room each of them may have, in buckets.
const KEPT_HISTOGRAMS: usize = 1 << 11;
const KEPT_BUCKETS: usize = 1 << 7;
/// Work memory that is kept when no request is in progress.
const MAX_IDLE: usize = 16;

/// Limits of label sets; 0 means none. They cost a walk over the labels of every series, except for `bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelLimits {
    pub count: usize,
    pub name_length: usize,
    pub value_length: usize,
    /// Encoded size of a whole set.
    pub bytes: usize,
}

impl Default for LabelLimits {
    fn default() -> Self {
        LabelLimits { count: 0, name_length: 0, value_length: 0, bytes: 256 << 10 }
    }
}

impl LabelLimits {
    pub(super) fn check(&self, key: &[u8]) -> Result<(), String> {
        if self.bytes > 0 && key.len() > self.bytes {
            return Err(format!("label set of {} bytes exceeds the limit of {}", key.len(), self.bytes));
        }
        if self.count == 0 && self.name_length == 0 && self.value_length == 0 {
            return Ok(());
        }
        let over = |n: usize, limit: usize| limit > 0 && n > limit;
        let mut count = 0;
        // A malformed key is the store's to refuse.
        for (name, value) in storage::key::iter(key).filter_map(Result::ok) {
            count += 1;
            if over(name.len(), self.name_length) {
                let limit = self.name_length;
                return Err(format!(
                    "label name length exceeds the limit of {limit} for series {}",
                    show(key)
                ));
            }
            if over(value.len(), self.value_length) {
                let limit = self.value_length;
                return Err(format!(
                    "label value length exceeds the limit of {limit} for series {}",
                    show(key)
                ));
            }
        }
        if over(count, self.count) {
            return Err(format!(
                "{count} labels exceed the limit of {} for series {}",
                self.count,
                show(key)
            ));
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub struct ReceiverOptions {
    /// Messages that are accepted (`--web.remote-write-receiver.accepted-protobuf-messages`).
    pub accepted: Vec<MessageType>,
    /// Most bytes of a body as it arrives; also for the caller, who reads it.
    pub max_body_bytes: usize,
    pub max_decoded_bytes: usize,
    pub label_limits: LabelLimits,
    /// Ours: `Content-Encoding: zstd` beside snappy. Off, as upstream knows only snappy.
    pub accept_zstd: bool,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        ReceiverOptions {
            accepted: MessageType::ALL.to_vec(),
            max_body_bytes: cap::REMOTE_WRITE_LIMIT,
            max_decoded_bytes: cap::REMOTE_WRITE_LIMIT,
            label_limits: LabelLimits::default(),
            accept_zstd: false,
        }
    }
}

/// Headers that matter; empty values count as absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestHead<'a> {
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
}

/// Rows stored, for the headers of a 2.0 reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
}

/// The reply as plain data. A text goes out as `text/plain; charset=utf-8` with
/// `X-Content-Type-Options: nosniff`; an empty one without content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteReply {
    pub status: u16,
    /// Ends with a line feed unless it is empty.
    pub body: String,
    /// Set for 2.0 messages that got as far as being decoded, and for 1.0 when a part was stored.
    pub written: Option<Written>,
}

impl WriteReply {
    fn error(status: u16, text: impl std::fmt::Display) -> Self {
        WriteReply { status, body: format!("{text}\n"), written: None }
    }

    /// Headers beside those of every reply.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if !self.body.is_empty() {
            headers.push(("Content-Type", "text/plain; charset=utf-8".to_owned()));
            headers.push(("X-Content-Type-Options", "nosniff".to_owned()));
        }
        if let Some(written) = self.written {
            headers.push((rw::EXEMPLARS_WRITTEN_HEADER, written.exemplars.to_string()));
            headers.push((rw::HISTOGRAMS_WRITTEN_HEADER, written.histograms.to_string()));
            headers.push((rw::SAMPLES_WRITTEN_HEADER, written.samples.to_string()));
        }
        headers
    }
}

/// What is kept for one sender: its writer, which learns the order of its series. One per connection.
pub struct Session {
    writer: Box<dyn Writer>,
    known_metadata: HashSet<u64>,
}

/// Memory of one request in progress.
#[derive(Default)]
struct Work {
    body: Vec<u8>,
    scratch: Scratch,
    /// Always empty here; kept for its memory.
    batch: Batch<'static>,
    /// Empty histograms, kept for theirs.
    spare: Vec<Arc<FloatHistogram>>,
    outcome: WriteOutcome,
}

impl Work {
    /// Gives the memory of an unusually large request back.
    fn shrink(&mut self) {
        if self.body.capacity() > KEPT_BYTES {
            self.body = Vec::new();
        }
        let Batch { series, samples, histograms, exemplars, metadata, .. } = &self.batch;
        let rows = [series.capacity(), histograms.capacity(), exemplars.capacity(), metadata.capacity()];
        if samples.capacity() > 4 * KEPT_ROWS || rows.into_iter().any(|rows| rows > KEPT_ROWS) {
            self.batch = Batch::default();
        }
        if self.outcome.refs.capacity() > KEPT_ROWS || self.outcome.rejected.capacity() > KEPT_ROWS / 8 {
            self.outcome = WriteOutcome::default();
        }
    }
}

/// Receives remote write requests for one store. Shared by all connections.
pub struct Receiver {
    source: Arc<dyn WriterSource>,
    options: ReceiverOptions,
    invalid_labels: meter::Counter,
    without_metadata: meter::Counter,
    idle: Mutex<Vec<Work>>,
}

impl Receiver {
    pub fn new(source: Arc<dyn WriterSource>, registry: &meter::Registry, options: ReceiverOptions) -> Self {
        Receiver {
            source,
            options,
            invalid_labels: registry.counter(
                "prometheus_api_remote_write_invalid_labels_samples_total",
                "The total number of received remote write samples and histogram samples which were rejected due to invalid labels.",
            ),
            without_metadata: registry.counter(
                "prometheus_api_remote_write_without_metadata_appended_samples_total",
                "The total number of received remote write samples (and histogram samples) which were ingested without corresponding metadata.",
            ),
            idle: Mutex::new(Vec::new()),
        }
    }

    pub fn options(&self) -> &ReceiverOptions {
        &self.options
    }

    /// A session for a new connection.
    pub fn session(&self) -> Session {
        Session { writer: self.source.writer(), known_metadata: HashSet::new() }
    }

    /// Takes one request: `body` as it arrived, `now` in milliseconds. Blocks until the rows are logged.
    pub fn receive(
        &self,
        session: &mut Session,
        head: &RequestHead<'_>,
        body: &[u8],
        now: i64,
    ) -> WriteReply {
        let message = match self.negotiate(head) {
            Ok(message) => message,
            Err(reply) => return reply,
        };
        let mut work = self.idle.lock().pop().unwrap_or_default();
        let reply = self.work(&mut work, session, message, head, body, now);
        work.shrink();
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(work);
        }
        reply
    }

    /// The message type and encoding that a request announces, or the reply that refuses it. Callers may use
    /// it before they read the body.
    pub fn negotiate(&self, head: &RequestHead<'_>) -> Result<MessageType, WriteReply> {
        let encoding = head.content_encoding.unwrap_or_default();
        if !(matches!(encoding, "" | "snappy") || encoding == "zstd" && self.options.accept_zstd) {
            let text = format!(
                "{encoding} encoding (compression) is not accepted by this server; only snappy is acceptable"
            );
            tracing::error!(component = "web", err = %text, "Error decoding remote write request");
            return Err(WriteReply::error(415, text));
        }
        let content_type = head.content_type.filter(|t| !t.is_empty()).unwrap_or(rw::CONTENT_TYPE);
        let message = parse_content_type(content_type).map_err(|text| {
            tracing::error!(component = "web", err = %text, "Error decoding remote write request");
            WriteReply::error(415, text)
        })?;
        if !self.options.accepted.contains(&message) {
            let text = format!(
                "{} protobuf message is not accepted by this server; only accepts {}",
                message.name(),
                join_names(&self.options.accepted)
            );
            tracing::error!(component = "web", msgType = message.name(), err = %text, "Unaccepted message type");
            return Err(WriteReply::error(415, text));
        }
        Ok(message)
    }

    fn work(
        &self,
        work: &mut Work,
        session: &mut Session,
        message: MessageType,
        head: &RequestHead<'_>,
        body: &[u8],
        now: i64,
    ) -> WriteReply {
        let Work { body: memory, scratch, batch, spare, outcome } = work;
        let body = match self.decompress(head, body, memory) {
            Ok(body) => body,
            Err(reply) => return reply,
        };
        let v2 = message == MessageType::V2;
        let fail = |status: u16, text: &dyn std::fmt::Display, written: Written| WriteReply {
            written: v2.then_some(written),
            ..WriteReply::error(status, text)
        };
        let mut collector = Collector::new(
            recycle(std::mem::take(batch), &mut Vec::new()),
            spare,
            &mut session.known_metadata,
            self.options.label_limits,
            now.saturating_add(MAX_AHEAD_MS),
            v2,
        );
        let walked = match message {
            MessageType::V1 => v1::decode(body, scratch, &mut collector),
            MessageType::V2 => v2::decode(body, scratch, &mut collector),
        };
        if let Err(why) = walked {
            *batch = recycle(collector.batch, spare);
            let name = message.name();
            tracing::error!(component = "web", protobuf_message = name, err = %why, "Error decoding remote write request");
            return fail(400, &why, Written::default());
        }
        if collector.overflowed() {
            return fail(400, &"request holds more rows than this server accepts", Written::default());
        }
        let (filled, mut refused, without_metadata) = collector.finish(scratch);
        let result = session.writer.write(&filled, outcome);
        let reply = match result {
            Err(why) => {
                // Metadata of this request was not stored either: pass it on again next time.
                session.known_metadata.clear();
                tracing::error!(component = "web", err = %why, "Error while storing the remote write request");
                fail(503, &why, Written::default())
            }
            Ok(()) => {
                let written = judge(&filled, outcome, &mut refused, v2);
                self.invalid_labels.add(refused.invalid_labels);
                if v2 {
                    self.without_metadata.add(without_metadata.min(written.samples + written.histograms));
                }
                if refused.rows == 0 {
                    WriteReply { status: 204, body: String::new(), written: v2.then_some(written) }
                } else {
                    let text = offenders(&refused);
                    tracing::error!(
                        component = "web",
                        rows = refused.rows,
                        err = refused.texts.first().map_or("", String::as_str),
                        "Rows of a remote write request were refused"
                    );
                    // In a 1.0 reply too: senders that look for the counts learn that the rest is stored.
                    WriteReply { written: Some(written), ..fail(400, &text, written) }
                }
            }
        };
        *batch = recycle(filled, spare);
        reply
    }

    fn decompress<'a>(
        &self,
        head: &RequestHead<'_>,
        body: &[u8],
        memory: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WriteReply> {
        let limit = self.options.max_body_bytes;
        if body.len() > limit {
            tracing::error!(component = "web", limitBytes = limit, "Request body exceeds the limit");
            return Err(WriteReply::error(413, format_args!("request body exceeds the {limit} bytes limit")));
        }
        let limit = self.options.max_decoded_bytes;
        let decoded = if head.content_encoding == Some("zstd") {
            cap::unzstd_into(body, limit, memory).map(|()| memory.as_slice())
        } else {
            cap::unsnappy(body, limit, memory)
        };
        decoded.map_err(|why| {
            let text = match why {
                CapError::TooLarge { .. } => "Snappy decoded size exceeds the limit",
                _ => "Error snappy decoding remote write request",
            };
            tracing::error!(component = "web", err = %why, "{text}");
            WriteReply::error(400, why)
        })
    }
}

/// An empty batch with the memory of another one; that of histograms which nobody has taken goes to `spare`. Collecting
/// an emptied vector in place keeps its allocation.
#[expect(clippy::unnecessary_filter_map, reason = "the item type changes: its lifetime does")]
fn recycle<'a>(mut batch: Batch<'_>, spare: &mut Vec<Arc<FloatHistogram>>) -> Batch<'a> {
    for HistogramRow { mut histogram, .. } in batch.histograms.drain(..) {
        if spare.len() < KEPT_HISTOGRAMS
            && let Some(h) = Arc::get_mut(&mut histogram)
            && room_of(h) <= KEPT_BUCKETS
        {
            h.clear();
            spare.push(histogram);
        }
    }
    batch.clear();
    Batch {
        series: batch.series.into_iter().filter_map(|_| None).collect(),
        samples: batch.samples,
        starts: batch.starts,
        histograms: batch.histograms,
        exemplars: batch.exemplars.into_iter().filter_map(|_| None).collect(),
        metadata: batch.metadata.into_iter().filter_map(|_| None).collect(),
        reject_out_of_order: false,
    }
}

/// Memory of the lists, in buckets of 8 bytes; spans take as much.
fn room_of(h: &FloatHistogram) -> usize {
    let spans = h.positive_spans.capacity() + h.negative_spans.capacity();
    spans + h.positive_buckets.capacity() + h.negative_buckets.capacity() + h.custom_values.capacity()
}

fn parse_content_type(text: &str) -> Result<MessageType, String> {
    let text = text.trim();
    let mut parts = text.split(';');
    if parts.next() != Some(rw::CONTENT_TYPE) {
        return Err(format!(
            "expected {} as the first (media) part, got {text} content-type",
            rw::CONTENT_TYPE
        ));
    }
    for part in parts {
        let pair: Vec<&str> = part.split('=').collect();
        let [name, value] = pair.as_slice() else {
            return Err(format!(
                "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got {part} in {text} content-type"
            ));
        };
        if *name == "proto" {
            return MessageType::parse(value).map_err(|why| format!("got {text} content type; {why}"));
        }
    }
    Ok(MessageType::V1)
}

/// Sorts the store's refusals into what fails the request and what upstream lets pass.
fn judge(batch: &Batch<'_>, outcome: &WriteOutcome, refused: &mut Refused, v2: bool) -> Written {
    let mut written =
        Written { samples: outcome.samples, histograms: outcome.histograms, exemplars: outcome.exemplars };
    for Rejection { series, kind, reason, .. } in &outcome.rejected {
        if *kind == RowKind::Exemplar {
            match reason {
                RejectReason::OutOfOrderExemplar if v2 => {}
                RejectReason::OutOfOrderExemplar | RejectReason::ExemplarTooLong => {
                    refused.silent_exemplars += 1;
                    continue;
                }
                // Upstream takes these without a word, and counts them as written.
                RejectReason::DuplicateExemplar | RejectReason::ExemplarsDisabled => {
                    written.exemplars += 1;
                    continue;
                }
                _ => continue,
            }
        }
        let row = batch.series.get(*series as usize);
        // A refused series takes all its rows with it.
        let rows = match (kind, row) {
            (RowKind::Series, Some(row)) => u64::from(
                row.samples.end.saturating_sub(row.samples.start)
                    + row.histograms.end.saturating_sub(row.histograms.start),
            ),
            _ => 1,
        };
        refused.rows += rows.saturating_sub(1);
        if matches!(reason, RejectReason::InvalidLabels(_)) {
            refused.invalid_labels += rows;
        }
        refused.add(|| match (reason, row.map(|r| r.id)) {
            (RejectReason::InvalidLabels(text), _) => text.clone(),
            (reason, Some(SeriesId::Key(key))) => format!("{reason} for series {}", show(key)),
            (reason, _) => reason.to_string(),
        });
    }
    if refused.silent_exemplars > 0 {
        let num_dropped = refused.silent_exemplars;
        tracing::warn!(component = "web", num_dropped, "Error on ingesting out-of-order exemplars");
    }
    written
}

fn offenders(refused: &Refused) -> String {
    let mut text = refused.texts.join("\n");
    let shown = refused.texts.len().min(MAX_OFFENDERS) as u64;
    if refused.rows > shown {
        text.push_str(&format!("\n{} rows were refused, the others are stored", refused.rows));
    }
    text
}
