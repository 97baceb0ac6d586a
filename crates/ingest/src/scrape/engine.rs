//! From a body to the append door: one pass over the text, one write.
//!
//! Synchronous; the worker calls it where blocking is allowed, because a write may wait for the log. A scrape
//! is stored as a whole or, when its text or a limit refuses it, not at all; in either case the store learns
//! which series are gone and how the scrape went.

use super::batch::{Row, Scratch, push_report, push_rows, push_stale, recycle, recycle_keeping_samples};
use super::cache::Cache;
use super::labels::Shaper;
use super::reading::{Counts, Pass, Reading, Value};
use super::report::{self, MOST, ReportSeries, Reported};
use super::state::{JobRuntime, TargetState};
use model::stale_nan;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use storage::{MetadataRow, RejectReason, RowKind, SeriesRef, WriteOutcome, Writer};
use wire::exposition::negotiate::pick_parser;
use wire::exposition::{Entry, LabelBuf, Parser, ParserOptions};

pub(super) use super::reading::Moment;

/// A reply of a target, decoded.
pub(super) struct Reply<'a> {
    pub(super) body: &'a [u8],
    pub(super) content_type: &'a str,
}

/// How a scrape ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Done {
    pub(super) error: Option<String>,
    pub(super) seconds: f64,
}

pub(super) struct Engine {
    job: Arc<JobRuntime>,
    state: Arc<TargetState>,
    writer: Box<dyn Writer>,
    cache: Cache,
    shaper: Shaper,
    report: Vec<ReportSeries>,
    /// The store did not know a reference of the report.
    report_unknown: bool,
    parser: ParserOptions,
}

impl Engine {
    pub(super) fn new(job: Arc<JobRuntime>, state: Arc<TargetState>, writer: Box<dyn Writer>) -> Self {
        let target = &state.target;
        Engine {
            shaper: Shaper::new(&job.job, &target.public),
            report: report::series(&target.public, job.job.extra_metrics),
            parser: ParserOptions {
                type_and_unit_labels: job.switches.type_and_unit_labels,
                native_histograms: target.native_histograms,
                keep_classic: target.always_classic,
                start_timestamps: job.switches.start_timestamps,
            },
            report_unknown: false,
            cache: Cache::new(),
            job,
            state,
            writer,
        }
    }

    #[cfg(test)]
    pub(super) fn replace_writer(&mut self, writer: Box<dyn Writer>) {
        self.writer = writer;
    }

    /// Takes over a changed job whose series are the same.
    pub(super) fn rejoin(self, job: Arc<JobRuntime>, state: Arc<TargetState>) -> Self {
        let fresh = Engine::new(job, state, self.writer);
        Engine { cache: self.cache, ..fresh }
    }

    /// Stores what a target answered, or that it did not. `scratch.body` is not touched. `body_bytes` is what
    /// `scrape_body_size_bytes` reports for a failed fetch.
    pub(super) fn scrape(
        &mut self,
        reply: Result<Reply<'_>, String>,
        body_bytes: i64,
        at: Moment,
        scratch: &mut Scratch,
    ) -> Done {
        scratch.clear();
        let mut counts = Counts::default();
        let mut body_bytes = body_bytes;
        let mut error = None;
        match &reply {
            Err(text) => error = Some(text.clone()),
            Ok(reply) => {
                body_bytes = i64::try_from(reply.body.len()).unwrap_or(i64::MAX);
                if let Err(text) = self.read(reply, Pass::First, at, &mut counts, scratch) {
                    tracing::debug!(component = "scrape manager", scrape_pool = %self.job.job.name, target = %self.state.target.url, err = %text, "Append failed");
                    self.forget_created(scratch);
                    scratch.clear();
                    error = Some(text);
                }
            }
        }
        let empty = reply.as_ref().is_ok_and(|r| r.body.is_empty());
        let success = error.is_none() && !empty;
        for row in &scratch.rows {
            if row.tracked {
                self.cache.track(row.entry);
            }
        }
        for entry in &scratch.kept_back {
            self.cache.track(*entry);
        }
        let seconds = at.start.elapsed().as_secs_f64();
        let values = self.report_values(error.is_none(), seconds, counts, body_bytes);
        self.store(&reply, at, &values, scratch);
        if self.cache.end(success) {
            self.job.meters.cache_flush_forced.inc();
        }
        if success {
            self.state.metadata.lock().end();
        }
        Done { error, seconds }
    }

    fn report_values(&self, up: bool, seconds: f64, counts: Counts, body_bytes: i64) -> Reported {
        [
            f64::from(u8::from(up)),
            seconds,
            counts.scraped as f64,
            counts.kept as f64,
            counts.added as f64,
            self.state.target.timeout.as_secs_f64(),
            self.job.job.sample_limit as f64,
            body_bytes as f64,
        ]
    }

    /// The target is gone: marks its series and its report stale, unless somebody has written newer samples.
    pub(super) fn mark_gone(&mut self, t: i64, scratch: &mut Scratch) {
        scratch.clear();
        self.cache.vanished(&mut scratch.vanished);
        let mut batch = recycle(std::mem::take(&mut scratch.batch));
        batch.reject_out_of_order = true;
        push_stale(&mut batch, &scratch.vanished, t);
        push_report(&mut batch, &self.report, &[stale_nan(); MOST], t);
        if let Err(e) = self.writer.write(&batch, &mut scratch.outcome) {
            tracing::warn!(component = "scrape manager", scrape_pool = %self.job.job.name, target = %self.state.target.url, err = %e, "Stale commit failed");
        }
        scratch.batch = recycle(batch);
        self.cache.end(false);
    }

    /// Reads a body into rows. The error refuses the whole scrape.
    fn read(
        &mut self,
        reply: &Reply<'_>,
        pass: Pass,
        at: Moment,
        counts: &mut Counts,
        scratch: &mut Scratch,
    ) -> Result<(), String> {
        if reply.body.is_empty() {
            return Ok(());
        }
        let job = Arc::clone(&self.job);
        let picked = pick_parser(reply.content_type, job.job.fallback).inspect_err(|e| {
            tracing::error!(component = "scrape manager", scrape_pool = %job.job.name, target = %self.state.target.url, content_type = reply.content_type, err = %e, "Failed to determine correct type of scrape target.");
        })?;
        if let Some(remark) = &picked.remark {
            tracing::debug!(component = "scrape manager", scrape_pool = %job.job.name, target = %self.state.target.url, err = %remark, "Invalid content type on scrape, using fallback setting.");
        }
        let state = Arc::clone(&self.state);
        let mut metadata = state.metadata.lock();
        if pass == Pass::First {
            metadata.begin();
        }
        self.cache.rewind();
        let mut parser = Parser::new(picked.media, reply.body, self.parser);
        let mut reading = Reading {
            job: &job,
            cache: &mut self.cache,
            shaper: &mut self.shaper,
            scratch,
            counts,
            pass,
            at,
            seen: 0,
            over_buckets: false,
            out_of_bounds: 0,
            duplicates: 0,
            family: None,
        };
        while let Some(entry) = parser.next_entry().map_err(|e| e.0)? {
            match entry {
                Entry::Series(s) => {
                    let labels = |out: &mut LabelBuf| s.labels(out).map_err(|e| e.0);
                    let exemplars = s.exemplar.as_slice();
                    reading.sample(s.raw, (s.t, s.start), Value::Float(s.value), exemplars, labels)?;
                }
                Entry::Histogram(h) => {
                    let (raw, times, exemplars) = (h.raw, (h.t, h.start), h.exemplars.as_slice());
                    let labels = |out: &mut LabelBuf| h.labels(out).map_err(|e| e.0);
                    reading.sample(
                        raw,
                        times,
                        Value::Histogram(Cow::Borrowed(&h.histogram)),
                        exemplars,
                        labels,
                    )?;
                }
                Entry::Type { family, kind } => {
                    metadata.set_kind(&family, kind);
                    reading.enter(family, &metadata);
                }
                Entry::Help { family, help } => {
                    metadata.set_help(&family, &help);
                    reading.enter(family, &metadata);
                }
                Entry::Unit { family, unit } => {
                    metadata.set_unit(&family, unit);
                    reading.enter(family, &metadata);
                }
                Entry::Comment(_) => {}
            }
        }
        reading.finish()?;
        if pass == Pass::First {
            let changed =
                metadata.changed().map(|(f, m)| (f.to_owned(), m.kind, m.unit.clone(), m.help.clone()));
            scratch.metadata.extend(changed);
        }
        Ok(())
    }

    /// Series that only a refused scrape had are not remembered.
    fn forget_created(&mut self, scratch: &Scratch) {
        for row in scratch.rows.iter().filter(|r| r.created) {
            self.cache.remove(row.entry);
        }
    }

    /// Writes rows, stale markers and the report.
    fn store(
        &mut self,
        reply: &Result<Reply<'_>, String>,
        at: Moment,
        values: &Reported,
        scratch: &mut Scratch,
    ) {
        self.cache.vanished(&mut scratch.vanished);
        if !scratch.vanished.is_empty() {
            self.drop_renamed(scratch);
        }
        // Whether a series that vanished is one that came back under another text is known only once the new
        // ones have their references.
        let created = scratch.rows.iter().any(|r| r.reference.0 == 0);
        let apart = !scratch.vanished.is_empty() && (created || self.job.takes_late());
        let mut unknown = false;
        if !scratch.rows.is_empty() {
            unknown = self.write_rows(scratch, !apart, values, at);
            if unknown && let Ok(reply) = reply {
                // The store has forgotten series that this cache remembers: once more, with labels.
                let vanished = std::mem::take(&mut scratch.vanished);
                scratch.clear();
                let mut ignored = Counts::default();
                if self.read(reply, Pass::Unknown, at, &mut ignored, scratch).is_ok() {
                    scratch.metadata.clear();
                    self.write_samples(scratch);
                }
                scratch.vanished = vanished;
            }
            if !apart {
                return self.write_unknown_report(values, at, scratch);
            }
        }
        if created || unknown {
            self.drop_renamed(scratch);
        }
        let mut batch = recycle(std::mem::take(&mut scratch.batch));
        batch.clear();
        batch.reject_out_of_order = true;
        push_stale(&mut batch, &scratch.vanished, at.t);
        let first_report = batch.series.len();
        push_report(&mut batch, &self.report, values, at.t);
        let written = self.writer.write(&batch, &mut scratch.outcome);
        scratch.batch = recycle(batch);
        match written {
            Ok(()) => self.take_report_refs(&scratch.outcome, first_report),
            Err(e) => self.commit_failed(&e),
        }
        self.write_unknown_report(values, at, scratch);
    }

    fn commit_failed(&self, error: &storage::WriteError) {
        tracing::error!(component = "scrape manager", scrape_pool = %self.job.job.name, target = %self.state.target.url, err = %error, "Scrape commit failed");
    }

    /// Vanished references that another text of this scrape still has are not gone.
    fn drop_renamed(&self, scratch: &mut Scratch) {
        let here: HashSet<SeriesRef> = self.cache.tracked_references().collect();
        scratch.vanished.retain(|r| !here.contains(r));
    }

    /// Writes the rows, and with them the rest when `all`. Says whether the store did not know a reference.
    fn write_rows(&mut self, scratch: &mut Scratch, all: bool, values: &Reported, at: Moment) -> bool {
        let Scratch { keys, rows, exemplars, batch, outcome, vanished, metadata, .. } = scratch;
        let mut filled = recycle_keeping_samples(std::mem::take(batch));
        filled.reject_out_of_order = !self.job.takes_late();
        push_rows(&mut filled, rows, keys, exemplars);
        filled.metadata.extend(metadata.iter().map(|(family, kind, unit, help)| MetadataRow {
            family,
            kind: *kind,
            unit,
            help,
        }));
        let mut first_report = filled.series.len();
        if all {
            push_stale(&mut filled, vanished, at.t);
            first_report = filled.series.len();
            push_report(&mut filled, &self.report, values, at.t);
        }
        let written = self.writer.write(&filled, outcome);
        *batch = recycle(filled);
        match written {
            Ok(()) => {
                if all {
                    self.take_report_refs(outcome, first_report);
                }
                self.learn(rows, outcome)
            }
            Err(e) => {
                self.commit_failed(&e);
                for row in rows.iter().filter(|r| r.created) {
                    self.cache.remove(row.entry);
                }
                false
            }
        }
    }

    /// Writes only the rows.
    fn write_samples(&mut self, scratch: &mut Scratch) {
        if scratch.rows.is_empty() {
            return;
        }
        let Scratch { keys, rows, exemplars, batch, outcome, .. } = scratch;
        let mut filled = recycle_keeping_samples(std::mem::take(batch));
        filled.reject_out_of_order = !self.job.takes_late();
        push_rows(&mut filled, rows, keys, exemplars);
        match self.writer.write(&filled, outcome) {
            Ok(()) => {
                self.learn(rows, outcome);
            }
            Err(e) => self.commit_failed(&e),
        }
        *batch = recycle(filled);
    }

    /// Takes over references and counts refusals. Says whether a reference was unknown.
    fn learn(&mut self, rows: &[Row], outcome: &WriteOutcome) -> bool {
        for (row, reference) in rows.iter().zip(&outcome.refs) {
            if *reference != row.reference && reference.0 != 0 {
                self.cache.set_reference(row.entry, *reference);
            } else if reference.0 == 0 && row.created {
                self.cache.remove(row.entry);
            }
        }
        if outcome.rejected.is_empty() {
            return false;
        }
        let meters = &self.job.meters;
        let (mut unknown, mut late, mut twice, mut bounds, mut exemplars, mut other) =
            (false, 0, 0, 0, 0, None);
        for refused in &outcome.rejected {
            let Some(row) = rows.get(refused.series as usize) else { continue };
            if refused.kind != RowKind::Exemplar && refused.reason != RejectReason::UnknownRef {
                self.cache.forget_beginning(row.entry);
            }
            match (&refused.reason, refused.kind) {
                (RejectReason::UnknownRef, _) => {
                    unknown = true;
                    self.cache.set_reference(row.entry, SeriesRef(0));
                }
                (RejectReason::OutOfOrderExemplar, _) => exemplars += 1,
                (_, RowKind::Exemplar) => {}
                (RejectReason::OutOfOrder, _) => late += 1,
                (RejectReason::DuplicateTimestamp, _) => twice += 1,
                (RejectReason::OutOfBounds | RejectReason::TooOld, _) => bounds += 1,
                (reason, _) => other = Some(reason),
            }
        }
        meters.out_of_order.add(late);
        meters.duplicate.add(twice);
        meters.out_of_bounds.add(bounds);
        meters.exemplar_out_of_order.add(exemplars);
        self.warn(late, "Error on ingesting out-of-order samples");
        self.warn(twice, "Error on ingesting samples with different value but same timestamp");
        self.warn(bounds, "Error on ingesting samples that are too old or are too far into the future");
        self.warn(exemplars, "Error on ingesting out-of-order exemplars");
        if let Some(reason) = other {
            tracing::warn!(component = "scrape manager", scrape_pool = %self.job.job.name, target = %self.state.target.url, err = %reason, "Error on ingesting samples");
        }
        unknown
    }

    fn warn(&self, dropped: u64, what: &str) {
        if dropped > 0 {
            tracing::warn!(component = "scrape manager", scrape_pool = %self.job.job.name, target = %self.state.target.url, num_dropped = dropped, "{what}");
        }
    }

    /// Reports whose reference the store did not know go once more, with labels.
    fn write_unknown_report(&mut self, values: &Reported, at: Moment, scratch: &mut Scratch) {
        if !std::mem::take(&mut self.report_unknown) {
            return;
        }
        let mut batch = recycle(std::mem::take(&mut scratch.batch));
        batch.clear();
        push_report(&mut batch, &self.report, values, at.t);
        let written = self.writer.write(&batch, &mut scratch.outcome);
        scratch.batch = recycle(batch);
        match written {
            Ok(()) => self.take_report_refs(&scratch.outcome, 0),
            Err(e) => self.commit_failed(&e),
        }
    }

    /// Takes over references of the report, whose series stand in the batch from `first` on.
    fn take_report_refs(&mut self, outcome: &WriteOutcome, first: usize) {
        for (series, reference) in self.report.iter_mut().zip(outcome.refs.get(first..).unwrap_or_default()) {
            series.reference = *reference;
        }
        self.report_unknown = false;
        for refused in &outcome.rejected {
            let at = (refused.series as usize).checked_sub(first);
            if refused.reason == RejectReason::UnknownRef
                && let Some(series) = at.and_then(|at| self.report.get_mut(at))
            {
                series.reference = SeriesRef(0);
                self.report_unknown = true;
            }
        }
    }
}
