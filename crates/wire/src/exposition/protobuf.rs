//! The protobuf exposition format: length-delimited `io.prometheus.client.MetricFamily` messages.
//!
//! Entries come in the order in which upstream's parser gives them: help, unit, type, then per metric the
//! native histogram, `_count`, `_sum` and the buckets or quantiles.

mod fields;
mod native;

use super::labels::{Family, LabelBuf};
use super::number::format_openmetrics;
use super::{Entry, Exemplar, Histogram, ParseError, ParserOptions, Series, Source};
use crate::proto::{Cursor, Field, WireType};
pub(super) use fields::exemplar_labels;
use fields::{bucket, deltas, double, doubles, label, len, read_exemplar, span, text, timestamp, varint};
use model::labels::quote;
use model::{FloatHistogram, MetricType};
use native::Raw;
use std::borrow::Cow;

/// Which metadata line comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Help,
    Unit,
    Type,
    Metrics,
}

/// Pull parser over a body.
#[derive(Debug)]
pub struct ProtoParser<'a> {
    families: Cursor<'a>,
    /// Fields of the family that is being read.
    metrics: Cursor<'a>,
    head: Head<'a>,
    stage: Stage,
    metric: Metric<'a>,
    /// The next sample of `metric`.
    at: usize,
    raw: Vec<u8>,
    options: ParserOptions,
}

#[derive(Clone, Copy, Debug, Default)]
struct Head<'a> {
    name: &'a str,
    help: &'a str,
    unit: &'a str,
    kind: MetricType,
}

/// One metric, decoded; reused.
#[derive(Debug, Default)]
struct Metric<'a> {
    labels: Vec<(&'a str, &'a str)>,
    t: Option<i64>,
    /// Milliseconds, 0 for none.
    start: i64,
    native: Option<(FloatHistogram, Vec<Exemplar<'a>>)>,
    samples: Vec<Sample<'a>>,
}

#[derive(Clone, Debug)]
struct Sample<'a> {
    suffix: &'static str,
    /// `le` or `quantile`.
    bound: Option<(&'static str, f64)>,
    value: f64,
    exemplar: Option<Exemplar<'a>>,
}

impl<'a> ProtoParser<'a> {
    pub fn new(body: &'a [u8], options: ParserOptions) -> Self {
        ProtoParser {
            families: Cursor::new(body),
            metrics: Cursor::new(&[]),
            head: Head::default(),
            stage: Stage::Metrics,
            metric: Metric::default(),
            at: 0,
            raw: Vec::new(),
            options,
        }
    }

    /// The next entry; `None` at the end. After an error only `drop` makes sense.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        let family = || Cow::Borrowed(self.head.name);
        match self.stage {
            Stage::Help => {
                self.stage = if self.head.unit.is_empty() { Stage::Type } else { Stage::Unit };
                return Ok(Some(Entry::Help { family: family(), help: Cow::Borrowed(self.head.help) }));
            }
            Stage::Unit => {
                self.stage = Stage::Type;
                return Ok(Some(Entry::Unit { family: family(), unit: self.head.unit }));
            }
            Stage::Type => {
                self.stage = Stage::Metrics;
                return Ok(Some(Entry::Type { family: family(), kind: self.head.kind }));
            }
            Stage::Metrics => {}
        }
        if let Some((histogram, exemplars)) = self.metric.native.take() {
            self.write_raw(None);
            return Ok(Some(Entry::Histogram(Box::new(Histogram {
                raw: &self.raw,
                histogram,
                t: self.metric.t,
                start: self.metric.start,
                exemplars,
                source: self.source(None),
            }))));
        }
        while self.at >= self.metric.samples.len() {
            if !self.next_metric()? && !self.next_family()? {
                return Ok(None);
            }
            if self.stage != Stage::Metrics || self.metric.native.is_some() {
                return self.next_entry();
            }
        }
        let at = self.at;
        self.at += 1;
        self.write_raw(Some(at));
        let Some(sample) = self.metric.samples.get(at) else { return Ok(None) };
        Ok(Some(Entry::Series(Series {
            raw: &self.raw,
            value: sample.value,
            t: self.metric.t,
            start: self.metric.start,
            exemplar: sample.exemplar.clone(),
            source: self.source(Some(at)),
        })))
    }

    fn source(&self, sample: Option<usize>) -> Source<'_> {
        let family = Family {
            kind: self.head.kind,
            unit: self.head.unit,
            type_and_unit: self.options.type_and_unit_labels,
        };
        let sample = sample.and_then(|at| self.metric.samples.get(at));
        Source::Proto(ProtoSource {
            name: self.head.name,
            labels: &self.metric.labels,
            suffix: sample.map_or("", |s| s.suffix),
            bound: sample.and_then(|s| s.bound),
            family,
        })
    }

    /// A text that is unique for the series and free of chance: what it is made of, with lengths.
    fn write_raw(&mut self, sample: Option<usize>) {
        self.raw.clear();
        // No text format starts like this.
        self.raw.push(0xff);
        let mut put = |bytes: &[u8]| {
            self.raw.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            self.raw.extend_from_slice(bytes);
        };
        put(self.head.name.as_bytes());
        match sample.and_then(|at| self.metric.samples.get(at)) {
            None => put(b"native"),
            Some(sample) => {
                put(sample.suffix.as_bytes());
                if let Some((name, bound)) = sample.bound {
                    put(name.as_bytes());
                    put(&bound.to_bits().to_le_bytes());
                }
            }
        }
        for (name, value) in &self.metric.labels {
            put(name.as_bytes());
            put(value.as_bytes());
        }
    }

    /// Reads the head of the next family that has metrics.
    fn next_family(&mut self) -> Result<bool, ParseError> {
        while !self.families.is_empty() {
            let message = self.families.message()?;
            let (mut head, mut kind, mut fields, mut metrics) = (Head::default(), 0, message, false);
            while let Some(field) = fields.field("MetricFamily")? {
                match field.number {
                    1 => head.name = text(&mut fields, field, "name")?,
                    2 => {
                        let bytes = len(&mut fields, field, "help")?;
                        head.help = std::str::from_utf8(bytes).map_err(|_| {
                            ParseError(format!(
                                "invalid help for metric {}: not valid UTF-8",
                                quote(head.name)
                            ))
                        })?;
                    }
                    3 => {
                        field.expect(WireType::Varint, "type")?;
                        kind = fields.varint()?;
                    }
                    5 => head.unit = text(&mut fields, field, "unit")?,
                    _ => {
                        metrics |= field.number == 4;
                        fields.skip(field)?;
                    }
                }
            }
            if !metrics {
                continue;
            }
            if head.name.is_empty() {
                return Err(ParseError("invalid metric name: ".into()));
            }
            head.kind = match kind {
                0 => MetricType::Counter,
                1 => MetricType::Gauge,
                2 => MetricType::Summary,
                3 => MetricType::Unknown,
                4 => MetricType::Histogram,
                5 => MetricType::GaugeHistogram,
                other => {
                    let name = quote(head.name);
                    return Err(ParseError(format!("unknown metric type for metric {name}: {other}")));
                }
            };
            (self.head, self.metrics, self.stage) = (head, message, Stage::Help);
            return Ok(true);
        }
        Ok(false)
    }

    /// Decodes the next metric of the family.
    fn next_metric(&mut self) -> Result<bool, ParseError> {
        self.metric.labels.clear();
        self.metric.samples.clear();
        (self.metric.native, self.metric.t, self.metric.start, self.at) = (None, None, 0, 0);
        while let Some(field) = self.metrics.field("MetricFamily")? {
            if field.number != 4 {
                self.metrics.skip(field)?;
                continue;
            }
            field.expect(WireType::Len, "metric")?;
            let mut fields = self.metrics.message()?;
            let (kind, mut value) = (self.head.kind, Cursor::new(&[]));
            let wanted = match kind {
                MetricType::Gauge => 2,
                MetricType::Counter => 3,
                MetricType::Summary => 4,
                MetricType::Histogram | MetricType::GaugeHistogram => 7,
                _ => 5,
            };
            while let Some(field) = fields.field("Metric")? {
                match field.number {
                    1 => self.metric.labels.push(label(&mut fields, field)?),
                    6 => {
                        field.expect(WireType::Varint, "timestamp_ms")?;
                        // Zero means that there is none.
                        self.metric.t = Some(fields.varint()? as i64).filter(|t| *t != 0);
                    }
                    n if n == wanted => {
                        field.expect(WireType::Len, "value")?;
                        value = fields.message()?;
                    }
                    _ => fields.skip(field)?,
                }
            }
            match kind {
                MetricType::Summary => self.summary(value)?,
                MetricType::Histogram | MetricType::GaugeHistogram => self.histogram(value)?,
                _ => self.single(value)?,
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn push(&mut self, suffix: &'static str, bound: Option<(&'static str, f64)>, value: f64) {
        self.metric.samples.push(Sample { suffix, bound, value, exemplar: None });
    }

    /// Counter, gauge, untyped: the value is field 1, a counter's exemplar field 2.
    fn single(&mut self, mut fields: Cursor<'a>) -> Result<(), ParseError> {
        let (mut value, mut exemplar) = (0.0, None);
        while let Some(field) = fields.field("Metric")? {
            match (field.number, self.head.kind) {
                (1, _) => value = double(&mut fields, field)?,
                (2, MetricType::Counter) => exemplar = Some(read_exemplar(&mut fields, field)?),
                (3, MetricType::Counter) => self.start(&mut fields, field)?,
                _ => fields.skip(field)?,
            }
        }
        self.metric.samples.push(Sample { suffix: "", bound: None, value, exemplar });
        Ok(())
    }

    /// The `start_timestamp` of a value.
    fn start(&mut self, fields: &mut Cursor<'a>, field: Field) -> Result<(), ParseError> {
        field.expect(WireType::Len, "start_timestamp")?;
        let start = timestamp(fields.message()?)?;
        self.metric.start = if self.options.start_timestamps { start } else { 0 };
        Ok(())
    }

    fn summary(&mut self, mut fields: Cursor<'a>) -> Result<(), ParseError> {
        self.push("_count", None, 0.0);
        self.push("_sum", None, 0.0);
        let (mut count, mut sum) = (0u64, 0.0);
        while let Some(field) = fields.field("Summary")? {
            match field.number {
                1 => count = varint(&mut fields, field)?,
                2 => sum = double(&mut fields, field)?,
                3 => {
                    field.expect(WireType::Len, "quantile")?;
                    let (mut inner, mut quantile, mut value) = (fields.message()?, 0.0, 0.0);
                    while let Some(field) = inner.field("Quantile")? {
                        match field.number {
                            1 => quantile = double(&mut inner, field)?,
                            2 => value = double(&mut inner, field)?,
                            _ => inner.skip(field)?,
                        }
                    }
                    self.push("", Some(("quantile", quantile)), value);
                }
                4 => self.start(&mut fields, field)?,
                _ => fields.skip(field)?,
            }
        }
        self.set_head_samples(count as f64, sum);
        Ok(())
    }

    fn set_head_samples(&mut self, count: f64, sum: f64) {
        if let [first, second, ..] = self.metric.samples.as_mut_slice() {
            (first.value, second.value) = (count, sum);
        }
    }

    fn histogram(&mut self, mut fields: Cursor<'a>) -> Result<(), ParseError> {
        self.push("_count", None, 0.0);
        self.push("_sum", None, 0.0);
        let mut h = Raw::default();
        while let Some(field) = fields.field("Histogram")? {
            match field.number {
                1 => h.count = varint(&mut fields, field)?,
                2 => h.sum = double(&mut fields, field)?,
                3 => {
                    field.expect(WireType::Len, "bucket")?;
                    let sample = bucket(fields.message()?)?;
                    self.metric.samples.push(sample);
                }
                4 => h.count_float = double(&mut fields, field)?,
                5 => {
                    field.expect(WireType::Varint, "schema")?;
                    h.schema = fields.sint()? as i32;
                }
                6 => h.zero_threshold = double(&mut fields, field)?,
                7 => h.zero_count = varint(&mut fields, field)?,
                8 => h.zero_count_float = double(&mut fields, field)?,
                9 => h.negative.spans.push(span(&mut fields, field)?),
                10 => deltas(&mut fields, field, &mut h.negative.deltas)?,
                11 => doubles(&mut fields, field, &mut h.negative.counts)?,
                12 => h.positive.spans.push(span(&mut fields, field)?),
                13 => deltas(&mut fields, field, &mut h.positive.deltas)?,
                14 => doubles(&mut fields, field, &mut h.positive.counts)?,
                15 => self.start(&mut fields, field)?,
                16 => h.exemplars.push(read_exemplar(&mut fields, field)?),
                _ => fields.skip(field)?,
            }
        }
        let count = if h.count_float == 0.0 { h.count as f64 } else { h.count_float };
        self.set_head_samples(count, h.sum);
        let buckets = self.metric.samples.len() - 2;
        let last = self.metric.samples.last().and_then(|s| s.bound);
        if last.is_none_or(|(_, bound)| bound != f64::INFINITY) {
            self.push("_bucket", Some(("le", f64::INFINITY)), count);
        }
        if self.options.native_histograms && h.is_native() {
            let exemplars = if h.exemplars.is_empty() {
                self.metric.samples.iter().filter_map(|s| s.exemplar.clone()).collect()
            } else {
                std::mem::take(&mut h.exemplars)
            };
            // Exemplars without a time cannot be told apart on native histograms.
            let timed: Vec<_> = exemplars.into_iter().filter(|e: &Exemplar<'_>| e.t.is_some()).collect();
            let gauge = self.head.kind == MetricType::GaugeHistogram;
            self.metric.native = Some((h.into_model(self.head.name, gauge)?, timed));
            if !self.options.keep_classic || buckets == 0 {
                self.metric.samples.clear();
            }
        }
        Ok(())
    }
}

/// Where a series stood, for its labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProtoSource<'a> {
    name: &'a str,
    labels: &'a [(&'a str, &'a str)],
    suffix: &'static str,
    bound: Option<(&'static str, f64)>,
    family: Family<'a>,
}

impl ProtoSource<'_> {
    pub(super) fn labels(&self, out: &mut LabelBuf) {
        out.clear();
        if self.suffix.is_empty() {
            self.family.push_name(self.name, out);
        } else {
            self.family.push_name(&format!("{}{}", self.name, self.suffix), out);
        }
        for (name, value) in self.labels {
            self.family.push_label(name, value, out);
        }
        if let Some((name, bound)) = self.bound {
            let mut shown = String::new();
            format_openmetrics(bound, &mut shown);
            out.push(name, &shown);
        }
    }
}
