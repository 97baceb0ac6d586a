//! One pass over a body: samples become rows, and limits are counted.

use super::batch::{ExemplarAt, Row, Scratch};
use super::cache::{Cache, EntryId, Found, Known};
use super::labels::{Refused, Shaped, Shaper};
use super::limit::{fit_buckets, fit_schema, schema_for_factor};
use super::metadata::MetadataCache;
use super::state::JobRuntime;
use super::synthesis::{self, Beginning};
use model::{FloatHistogram, METRIC_NAME, MetricType, Sample};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;
use storage::key::{self, push_label};
use storage::{HistogramRow, SeriesRef};
use wire::exposition::{Exemplar, LabelBuf};

/// Samples further in the future are refused.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) scraped: u64,
    pub(super) kept: u64,
    pub(super) added: u64,
}

/// When a scrape took place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Timestamp of its samples, milliseconds.
    pub(super) t: i64,
    pub(super) start: Instant,
    /// Wall clock now, milliseconds.
    pub(super) now_ms: i64,
}

/// Which entries a pass over the body handles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    First,
    /// Only what has no reference (any more).
    Unknown,
}

pub(super) enum Value<'a> {
    Float(f64),
    Histogram(Cow<'a, FloatHistogram>),
}

/// One pass over a body.
pub(super) struct Reading<'a> {
    pub(super) job: &'a JobRuntime,
    pub(super) cache: &'a mut Cache,
    pub(super) shaper: &'a mut Shaper,
    pub(super) scratch: &'a mut Scratch,
    pub(super) counts: &'a mut Counts,
    pub(super) pass: Pass,
    pub(super) at: Moment,
    /// Samples that count for the limit.
    pub(super) seen: u64,
    pub(super) over_buckets: bool,
    pub(super) out_of_bounds: u64,
    pub(super) duplicates: u64,
    /// The family whose lines come, where starts are made up.
    pub(super) family: Option<(Box<str>, MetricType)>,
}

impl Reading<'_> {
    #[inline]
    pub(super) fn sample(
        &mut self,
        raw: &[u8],
        (given, mut start): (Option<i64>, i64),
        value: Value<'_>,
        exemplars: &[Exemplar<'_>],
        labels: impl FnOnce(&mut LabelBuf) -> Result<(), String>,
    ) -> Result<(), String> {
        self.counts.scraped += 1;
        let job = &self.job.job;
        let given = given.filter(|_| job.honor_timestamps);
        let t = given.unwrap_or(self.at.t);
        let found = self.cache.find(raw);
        let reference = match found.known {
            Known::Dropped => return Ok(()),
            Known::Ref(reference) => reference,
            Known::New => SeriesRef(0),
        };
        if self.pass == Pass::Unknown && reference.0 != 0 {
            return Ok(());
        }
        let key_from = self.scratch.keys.len() as u32;
        if reference.0 == 0 && !self.shape(found.id, found.created, labels)? {
            return Ok(());
        }
        let key = key_from..self.scratch.keys.len() as u32;
        if found.again && given.is_none() && self.pass == Pass::First {
            self.counts.kept += 1;
            self.duplicates += 1;
            self.cache.forget_beginning(found.id);
            return Ok(());
        }
        let mut followed = false;
        let mut value = value;
        if self.job.switches.start_synthesis {
            let Some((from, begun)) = self.begin(&found, key.start, (t, start), &mut value) else {
                return Ok(());
            };
            (start, followed) = (from, begun);
        }
        self.seen += 1;
        self.counts.kept += 1;
        if t > self.at.now_ms.saturating_add(MAX_AHEAD_MS) {
            self.out_of_bounds += 1;
            if found.created {
                self.cache.remove(found.id);
            }
            self.cache.forget_beginning(found.id);
            return Ok(());
        }
        let tables = &mut self.scratch.batch;
        let (samples, histograms) = (tables.samples.len() as u32, tables.histograms.len() as u32);
        let mut native = false;
        match value {
            Value::Float(v) => {
                if start != 0 {
                    tables.starts.resize(tables.samples.len(), 0);
                    tables.starts.push(start);
                }
                tables.samples.push(Sample { t, v });
            }
            Value::Histogram(h) => {
                native = true;
                let mut h = h.into_owned();
                fit_schema(&mut h, schema_for_factor(job.native_histogram_min_bucket_factor));
                if !fit_buckets(&mut h, job.native_histogram_bucket_limit) {
                    self.over_buckets = true;
                    self.cache.forget_beginning(found.id);
                    return Ok(());
                }
                tables.histograms.push(HistogramRow { t, start, histogram: Arc::new(h) });
            }
        }
        if reference.0 == 0 && !found.again && !followed {
            self.counts.added += 1;
        }
        let exemplars_from = self.scratch.exemplars.len() as u32;
        for exemplar in exemplars {
            self.exemplar(exemplar, t, native);
        }
        let tables = &self.scratch.batch;
        self.scratch.rows.push(Row {
            entry: found.id,
            reference,
            key,
            samples: samples..tables.samples.len() as u32,
            histograms: histograms..tables.histograms.len() as u32,
            exemplars: exemplars_from..self.scratch.exemplars.len() as u32,
            tracked: given.is_none() || job.track_timestamps_staleness || followed,
            created: found.created,
        });
        Ok(())
    }

    /// Lines of a family follow.
    pub(super) fn enter(&mut self, family: Cow<'_, str>, metadata: &MetadataCache) {
        if self.job.switches.start_synthesis {
            let kind = metadata.kind_of(&family);
            self.family = Some((family.into(), kind));
        }
    }

    /// Makes up the start of a sample that has none, and takes from the value what the series had then. Gives the
    /// start and whether the series is followed from an earlier sample; `None` for the first one of a series, which
    /// is not stored.
    #[inline(never)]
    fn begin(
        &mut self,
        found: &Found,
        key_from: u32,
        (t, start): (i64, i64),
        value: &mut Value<'_>,
    ) -> Option<(i64, bool)> {
        if matches!(found.known, Known::New) && self.counts_up(key_from) {
            self.cache.follow_beginning(found.id);
        }
        let scrape = self.cache.iteration();
        let Some(origin) = self.cache.origin(found.id) else { return Some((start, false)) };
        if start != 0 {
            origin.beginning = Beginning::Unknown;
            return Some((start, false));
        }
        if self.pass == Pass::Unknown && origin.scrape == scrape {
            return None;
        }
        let made_up = match value {
            Value::Float(v) => origin.beginning.float(*v, t).map(|(start, adjusted)| {
                *v = adjusted;
                start
            }),
            Value::Histogram(h) => origin.beginning.histogram(h.to_mut(), t),
        };
        if made_up.is_none() {
            origin.scrape = scrape;
            self.counts.kept += 1;
            self.counts.added += u64::from(found.created);
            self.scratch.kept_back.push(found.id);
        }
        made_up.map(|start| (start, true))
    }

    /// Whether the series whose key was made last belongs to the family at hand and counts up.
    fn counts_up(&self, key_from: u32) -> bool {
        let Some((family, kind)) = &self.family else { return false };
        let key = self.scratch.keys.get(key_from as usize..).unwrap_or_default();
        let name = key::iter(key).filter_map(Result::ok).find(|(name, _)| *name == METRIC_NAME);
        name.is_some_and(|(_, name)| synthesis::counts_up(name, family, *kind))
    }

    /// Makes the key of a series that has no reference. False: relabelling drops it.
    #[cold]
    fn shape(
        &mut self,
        id: EntryId,
        created: bool,
        labels: impl FnOnce(&mut LabelBuf) -> Result<(), String>,
    ) -> Result<bool, String> {
        let shaped = labels(&mut self.scratch.labels).map_err(Refused::Invalid).and_then(|()| {
            self.shaper.shape(&mut self.scratch.labels, &self.job.metric_rules, &mut self.scratch.keys)
        });
        match shaped {
            Ok(Shaped::Keep) => Ok(true),
            Ok(Shaped::Drop) => {
                self.cache.set_dropped(id);
                Ok(false)
            }
            Err(refused) => {
                if created {
                    self.cache.remove(id);
                }
                Err(match refused {
                    Refused::Invalid(text) => text,
                    Refused::LabelLimit(text) => {
                        self.job.meters.label_limits.inc();
                        text
                    }
                })
            }
        }
    }

    fn exemplar(&mut self, exemplar: &Exemplar<'_>, t: i64, native: bool) {
        // Without a time of their own exemplars of native histograms cannot be told apart.
        let t = match exemplar.t {
            Some(own) => own,
            None if native => return,
            None => t,
        };
        // A wrong exemplar does not harm its sample.
        if exemplar.labels(&mut self.scratch.labels).is_err() {
            return;
        }
        self.scratch.labels.sort();
        let from = self.scratch.keys.len() as u32;
        for (name, value) in self.scratch.labels.iter().filter(|(_, v)| !v.is_empty()) {
            push_label(&mut self.scratch.keys, name, value);
        }
        let key = from..self.scratch.keys.len() as u32;
        self.scratch.exemplars.push(ExemplarAt { key, t, v: exemplar.value });
    }

    pub(super) fn finish(self) -> Result<(), String> {
        let meters = &self.job.meters;
        if self.pass == Pass::First {
            meters.duplicate.add(self.duplicates);
            meters.out_of_bounds.add(self.out_of_bounds);
        }
        if self.duplicates > 0 {
            tracing::warn!(component = "scrape manager", scrape_pool = %self.job.job.name, num_dropped = self.duplicates, "Error on ingesting samples with different value but same timestamp");
        }
        if self.out_of_bounds > 0 {
            tracing::warn!(component = "scrape manager", scrape_pool = %self.job.job.name, num_dropped = self.out_of_bounds, "Error on ingesting samples that are too old or are too far into the future");
        }
        let limit = self.job.job.sample_limit;
        if limit > 0 && self.seen > limit {
            meters.sample_limit.inc();
            let fitting = self.counts.added.min(limit);
            self.counts.added = fitting;
            return Err("sample limit exceeded".into());
        }
        if self.over_buckets {
            meters.bucket_limit.inc();
            return Err("histogram bucket limit exceeded".into());
        }
        Ok(())
    }
}
