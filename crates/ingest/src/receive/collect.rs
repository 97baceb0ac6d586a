//! From walked rows to a batch: the sink of the remote write decoders.
//!
//! The batch borrows keys from the body; those that had to be put together lie in the request's arena, which
//! grows while it is walked, so they are put in at the end.

use super::remote_write::LabelLimits;
use hashbrown::HashSet;
use model::{FloatHistogram, MetricType, Sample};
use std::ops::Range;
use std::sync::Arc;
use storage::{Batch, BatchSeries, ExemplarRow, HistogramRow, MetadataRow, SeriesId};
use wire::remote_write::{BadRow, Counts, Key, Scratch, SeriesMetadata, Sink, v2};
use xxhash_rust::xxh3::Xxh3;

/// Weight of all rows of a request, in units of a sample (16 bytes): about 64 MB of tables. A request within
/// the byte ceiling reaches it only when it is made of empty messages.
const MAX_WEIGHT: u64 = 4 << 20;
const SERIES_WEIGHT: u64 = 4;
const EXEMPLAR_WEIGHT: u64 = 3;
const HISTOGRAM_WEIGHT: u64 = 16;
/// Families whose metadata a session remembers to have passed on.
const MAX_KNOWN_METADATA: usize = 1 << 16;
/// Texts of bad rows that are kept for the reply.
pub(super) const MAX_OFFENDERS: usize = 10;

/// Rows refused before the store saw them.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused {
    /// The first of them, as the reply shows them.
    pub(super) texts: Vec<String>,
    pub(super) rows: u64,
    /// Samples and histograms of series with bad labels.
    pub(super) invalid_labels: u64,
    /// Exemplars that upstream drops without failing the request.
    pub(super) silent_exemplars: u64,
}

impl Refused {
    pub(super) fn add(&mut self, text: impl FnOnce() -> String) {
        self.rows += 1;
        if self.texts.len() < MAX_OFFENDERS {
            self.texts.push(text());
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Late {
    /// A series without samples, which upstream refuses in 2.0.
    Empty,
    Future {
        rows: u32,
    },
}

/// Collects a batch. `'a`: the decompressed body.
pub(super) struct Collector<'a, 's> {
    pub(super) batch: Batch<'a>,
    /// Series rows whose key lies in the arena.
    series_keys: Vec<(u32, Range<u32>)>,
    exemplar_keys: Vec<(u32, Range<u32>)>,
    /// Refusals whose text shows a key, which may not be at hand before the end of the walk.
    late: Vec<(Late, Key<'a>)>,
    pub(super) refused: Refused,
    pub(super) without_metadata: u64,
    /// Empty histograms, for their memory.
    spare: &'s mut Vec<Arc<FloatHistogram>>,
    known_metadata: &'s mut HashSet<u64>,
    last_metadata: Option<SeriesMetadata<'a>>,
    limits: LabelLimits,
    /// Latest time that is accepted.
    max_time: i64,
    future: Counts,
    v2: bool,
    weight: u64,
}

impl<'a, 's> Collector<'a, 's> {
    pub(super) fn new(
        batch: Batch<'a>,
        spare: &'s mut Vec<Arc<FloatHistogram>>,
        known_metadata: &'s mut HashSet<u64>,
        limits: LabelLimits,
        max_time: i64,
        v2: bool,
    ) -> Self {
        if known_metadata.len() > MAX_KNOWN_METADATA {
            known_metadata.clear();
        }
        Collector {
            batch,
            series_keys: Vec::new(),
            exemplar_keys: Vec::new(),
            late: Vec::new(),
            refused: Refused::default(),
            without_metadata: 0,
            spare,
            known_metadata,
            last_metadata: None,
            limits,
            max_time,
            future: Counts::default(),
            v2,
            weight: 0,
        }
    }

    /// Whether the request is too large in rows; they were no longer kept.
    pub(super) fn overflowed(&self) -> bool {
        self.weight > MAX_WEIGHT
    }

    fn room(&mut self, weight: u64) -> bool {
        self.weight += weight;
        self.weight <= MAX_WEIGHT
    }

    /// Puts in the keys that lie in the arena, checks label limits, and gives the batch.
    pub(super) fn finish(mut self, scratch: &'a Scratch) -> (Batch<'a>, Refused, u64) {
        for (row, range) in std::mem::take(&mut self.series_keys) {
            if let Some(series) = self.batch.series.get_mut(row as usize) {
                series.id = SeriesId::Key(scratch.bytes(&range));
            }
        }
        for (row, range) in std::mem::take(&mut self.exemplar_keys) {
            if let Some(exemplar) = self.batch.exemplars.get_mut(row as usize) {
                exemplar.labels = scratch.bytes(&range);
            }
        }
        for (late, key) in std::mem::take(&mut self.late) {
            let bytes = match &key {
                Key::Body(bytes) => bytes,
                Key::Arena(range) => scratch.bytes(range),
            };
            let (rows, why) = match late {
                Late::Empty => (1, "TimeSeries must contain at least one sample or histogram"),
                Late::Future { rows } => (rows, "out of bounds: timestamp is too far in the future"),
            };
            self.refused.add(|| format!("{why} for series {}", show(bytes)));
            self.refused.rows += u64::from(rows.saturating_sub(1));
        }
        self.enforce_limits();
        (self.batch, self.refused, self.without_metadata)
    }

    fn enforce_limits(&mut self) {
        let (limits, refused) = (self.limits, &mut self.refused);
        self.batch.series.retain(|series| {
            let SeriesId::Key(key) = series.id else { return true };
            match limits.check(key) {
                Ok(()) => true,
                Err(why) => {
                    let rows = u64::from(len(&series.samples) + len(&series.histograms));
                    refused.invalid_labels += rows;
                    refused.add(|| why);
                    refused.rows += rows.saturating_sub(1);
                    false
                }
            }
        });
    }

    /// Only the first are shown; the rest is counted at once, so that the list stays short.
    fn late(&mut self, late: Late, key: Key<'a>) {
        if self.late.len() < MAX_OFFENDERS {
            self.late.push((late, key));
            return;
        }
        self.refused.rows += match late {
            Late::Empty => 1,
            Late::Future { rows } => u64::from(rows),
        };
    }

    fn drop_rows(&mut self, counts: Counts) {
        let keep = |len: usize, n: u32| len.saturating_sub(n as usize);
        self.batch.samples.truncate(keep(self.batch.samples.len(), counts.samples));
        self.batch.starts.truncate(self.batch.samples.len());
        self.batch.histograms.truncate(keep(self.batch.histograms.len(), counts.histograms));
        let exemplars = keep(self.batch.exemplars.len(), counts.exemplars);
        self.batch.exemplars.truncate(exemplars);
        while self.exemplar_keys.last().is_some_and(|(row, _)| *row as usize >= exemplars) {
            self.exemplar_keys.pop();
        }
    }

    fn metadata_of(&mut self, metadata: Option<SeriesMetadata<'a>>, rows: u32) {
        let Some(metadata) = metadata else {
            self.without_metadata += u64::from(rows);
            return;
        };
        // Series of a family stand together: their texts are the same slices of the body.
        let same = |a: &str, b: &str| std::ptr::eq(a, b);
        if self.last_metadata.is_some_and(|last| {
            last.kind == metadata.kind
                && same(last.metric, metadata.metric)
                && same(last.help, metadata.help)
                && same(last.unit, metadata.unit)
        }) {
            return;
        }
        self.last_metadata = Some(metadata);
        let family = v2::family_of(metadata.metric, metadata.kind);
        let mut hash = Xxh3::new();
        for text in [family, metadata.help, metadata.unit] {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(&[metadata.kind as u8]);
        if self.known_metadata.insert(hash.digest()) {
            let SeriesMetadata { kind, help, unit, .. } = metadata;
            self.batch.metadata.push(MetadataRow { family, kind, unit, help });
        }
    }
}

impl<'a> Sink<'a> for Collector<'a, '_> {
    #[inline]
    fn sample(&mut self, t: i64, v: f64, start: i64) {
        if self.room(1) {
            if start != 0 {
                self.batch.starts.resize(self.batch.samples.len(), 0);
                self.batch.starts.push(start);
            }
            self.batch.samples.push(Sample { t, v });
        }
        self.future.samples += u32::from(t > self.max_time);
    }

    fn histogram(&mut self, t: i64, histogram: Arc<FloatHistogram>, start: i64) {
        if self.room(HISTOGRAM_WEIGHT) {
            self.batch.histograms.push(HistogramRow { t, start, histogram });
        }
        self.future.histograms += u32::from(t > self.max_time);
    }

    fn spare(&mut self) -> Arc<FloatHistogram> {
        self.spare.pop().unwrap_or_default()
    }

    fn exemplar(&mut self, labels: Key<'a>, t: i64, v: f64) {
        if !self.room(EXEMPLAR_WEIGHT) {
            return;
        }
        let labels = match labels {
            Key::Body(bytes) => bytes,
            Key::Arena(range) => {
                self.exemplar_keys.push((self.batch.exemplars.len() as u32, range));
                &[]
            }
        };
        self.batch.exemplars.push(ExemplarRow { labels, t, v });
        self.future.exemplars += u32::from(t > self.max_time);
    }

    #[inline]
    fn series(&mut self, key: Key<'a>, mut counts: Counts, metadata: Option<SeriesMetadata<'a>>) {
        if !self.room(SERIES_WEIGHT) {
            return;
        }
        let future = std::mem::take(&mut self.future);
        if self.v2 {
            // Upstream refuses series with nothing but exemplars too, though its own sender writes them.
            if counts == Counts::default() {
                self.late(Late::Empty, key);
                return;
            }
            self.metadata_of(metadata, counts.samples + counts.histograms);
        }
        if future != Counts::default() {
            counts = self.drop_future(counts, future, &key);
        }
        let end = self.batch.samples.len() as u32;
        let samples = end.saturating_sub(counts.samples)..end;
        let end = self.batch.histograms.len() as u32;
        let histograms = end.saturating_sub(counts.histograms)..end;
        let end = self.batch.exemplars.len() as u32;
        let exemplars = end.saturating_sub(counts.exemplars)..end;
        let id = match key {
            Key::Body(bytes) => SeriesId::Key(bytes),
            Key::Arena(range) => {
                self.series_keys.push((self.batch.series.len() as u32, range));
                SeriesId::Key(&[])
            }
        };
        self.batch.series.push(BatchSeries { id, samples, histograms, exemplars });
    }

    fn bad_series(&mut self, counts: Counts, why: BadRow) {
        self.future = Counts::default();
        self.drop_rows(counts);
        let rows = u64::from(counts.samples) + u64::from(counts.histograms);
        if matches!(why, BadRow::Labels { .. }) {
            self.refused.invalid_labels += rows;
        }
        self.refused.add(|| why.to_string());
        self.refused.rows += rows.saturating_sub(1);
    }

    fn bad_exemplar(&mut self, why: BadRow) {
        self.refused.add(|| why.to_string());
    }

    fn metadata(&mut self, family: &'a str, kind: MetricType, help: &'a str, unit: &'a str) {
        if self.room(SERIES_WEIGHT) && !family.is_empty() {
            self.batch.metadata.push(MetadataRow { family, kind, unit, help });
        }
    }

    fn bad_metadata(&mut self) {
        self.refused.add(|| "metadata is not valid UTF-8".into());
    }
}

impl<'a> Collector<'a, '_> {
    /// Start timestamps of the last `n` samples, without those that lie too far in the future.
    fn keep_starts(&mut self, n: u32) {
        let from = self.batch.samples.len().saturating_sub(n as usize);
        self.batch.starts.resize(self.batch.samples.len(), 0);
        let tail = self.batch.starts.split_off(from);
        let kept = self.batch.samples[from..].iter().zip(tail).filter(|(s, _)| s.t <= self.max_time);
        self.batch.starts.extend(kept.map(|(_, start)| start));
    }

    /// Takes rows of the series that lie too far in the future out of the tables again.
    #[cold]
    fn drop_future(&mut self, counts: Counts, future: Counts, key: &Key<'a>) -> Counts {
        let max = self.max_time;
        if !self.batch.starts.is_empty() {
            self.keep_starts(counts.samples);
        }
        keep_tail(&mut self.batch.samples, counts.samples, |s| s.t <= max);
        keep_tail(&mut self.batch.histograms, counts.histograms, |h| h.t <= max);
        if future.exemplars > 0 {
            // Keys in the arena are told by row number: rather than renumber, forget all of the series.
            let none = Counts { samples: 0, histograms: 0, exemplars: counts.exemplars };
            self.drop_rows(none);
            self.refused.silent_exemplars += u64::from(counts.exemplars);
        }
        let rows = future.samples + future.histograms;
        if rows > 0 {
            self.late(Late::Future { rows }, key.clone());
        }
        Counts {
            samples: counts.samples - future.samples,
            histograms: counts.histograms - future.histograms,
            exemplars: if future.exemplars > 0 { 0 } else { counts.exemplars },
        }
    }
}

fn len(range: &Range<u32>) -> u32 {
    range.end.saturating_sub(range.start)
}

/// Keeps those of the last `n` that `keep` likes, in their order.
fn keep_tail<T>(rows: &mut Vec<T>, n: u32, keep: impl Fn(&T) -> bool) {
    let from = rows.len().saturating_sub(n as usize);
    let mut kept = from;
    for at in from..rows.len() {
        if keep(&rows[at]) {
            rows.swap(kept, at);
            kept += 1;
        }
    }
    rows.truncate(kept);
}

/// The labels of a key as people read them.
pub(super) fn show(key: &[u8]) -> String {
    let mut pairs = Vec::new();
    for label in storage::key::iter(key) {
        match label {
            Ok(pair) => pairs.push(pair),
            Err(why) => return format!("{{{why}}}"),
        }
    }
    pairs.sort_unstable();
    let mut out = String::from("{");
    for (i, (name, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        if model::labels::is_legacy_label_name(name) {
            out.push_str(name);
        } else {
            out.push_str(&model::labels::quote(name));
        }
        out.push('=');
        out.push_str(&model::labels::quote(value));
    }
    out.push('}');
    out
}
