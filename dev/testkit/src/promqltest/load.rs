//! `load`: series of a script as rows for a store, and classic histograms as native ones with custom buckets.

use super::store::{Row, RowValue};
use model::duration::parse_duration;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};
use model::labels::BUCKET_LABEL;
use model::{FloatHistogram, Labels, METRIC_NAME};
use promql::{SeriesText, SeriesValue, parse_series, parse_start_times};
use std::collections::BTreeMap;

/// Series to load, the first point at 0, each further one a step later.
#[derive(Debug)]
pub(super) struct Load {
    step: i64,
    with_nhcb: bool,
    series: Vec<(SeriesText, Vec<Option<i64>>)>,
}

/// A classic histogram at one time.
#[derive(Debug, Default)]
struct Classic {
    /// Upper bound and cumulative count.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

impl Load {
    pub(super) fn parse(lines: &[&str]) -> Result<Self, String> {
        let mut words = lines[0].split_whitespace();
        let with_nhcb = match words.next() {
            Some("load") => false,
            Some("load_with_nhcb") => true,
            other => return Err(format!("invalid load command {other:?}")),
        };
        let step = parse_duration(words.next().unwrap_or(""))?;
        let mut series = Vec::new();
        let mut starts: Option<promql::StartTimes> = None;
        for line in &lines[1..] {
            if let Some(parsed) = parse_start_times(line) {
                starts = Some(parsed.map_err(|e| e.to_string())?);
                continue;
            }
            let parsed = parse_series(line).map_err(|e| format!("{line:?}: {e}"))?;
            let offsets = match starts.take() {
                Some(s) if s.labels == parsed.labels && s.offsets.len() == parsed.values.len() => s.offsets,
                Some(_) => return Err(format!("@st line does not fit to {line:?}")),
                None => Vec::new(),
            };
            series.push((parsed, offsets));
        }
        Ok(Load { step, with_nhcb, series })
    }

    /// All rows, series by series and each in order of time. A series that stands twice is what its last line says.
    pub(super) fn rows(&self) -> Result<Vec<Row>, String> {
        let mut rows = Vec::new();
        let last: BTreeMap<&Labels, usize> =
            self.series.iter().enumerate().map(|(at, (series, _))| (&series.labels, at)).collect();
        for (at, (series, starts)) in self.series.iter().enumerate() {
            if last.get(&series.labels) != Some(&at) {
                continue;
            }
            for (i, value) in series.values.iter().enumerate() {
                let t = i as i64 * self.step;
                let start = starts.get(i).copied().flatten().map_or(0, |offset| t + offset);
                let value = match value {
                    SeriesValue::Omitted => continue,
                    SeriesValue::Float(v) => RowValue::Float(*v),
                    SeriesValue::Histogram { histogram, .. } => RowValue::Histogram((**histogram).clone()),
                };
                rows.push(Row { labels: series.labels.clone(), t, start, value });
            }
        }
        if self.with_nhcb {
            self.custom_rows(&mut rows)?;
        }
        Ok(rows)
    }

    fn custom_rows(&self, rows: &mut Vec<Row>) -> Result<(), String> {
        let mut all: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
        for (series, _) in &self.series {
            let name = series.labels.value(METRIC_NAME);
            let Some((base, suffix)) = ["_bucket", "_sum", "_count"]
                .into_iter()
                .find_map(|s| name.strip_suffix(s).map(|base| (base.to_owned(), s)))
            else {
                continue;
            };
            let bound = series.labels.value(BUCKET_LABEL).parse::<f64>().ok().filter(|b| !b.is_nan());
            if suffix == "_bucket" && bound.is_none() {
                continue;
            }
            let mut builder = series.labels.builder();
            builder.set(METRIC_NAME, &base).remove(BUCKET_LABEL);
            let times = all.entry(builder.finish()).or_default();
            for (i, value) in series.values.iter().enumerate() {
                let SeriesValue::Float(v) = value else { continue };
                let classic = times.entry(i as i64 * self.step).or_default();
                match (suffix, bound) {
                    ("_bucket", Some(bound)) => classic.buckets.push((bound, *v)),
                    ("_count", _) => classic.count = Some(*v),
                    _ => classic.sum = *v,
                }
            }
        }
        for (labels, times) in all {
            for (t, classic) in times {
                let value = RowValue::Histogram(classic.convert()?);
                rows.push(Row { labels: labels.clone(), t, start: 0, value });
            }
        }
        Ok(())
    }
}

impl Classic {
    fn convert(mut self) -> Result<FloatHistogram, String> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by_key(|b| b.0);
        if self.buckets.windows(2).any(|w| w[1].1 < w[0].1) {
            return Err("count is not cumulative".into());
        }
        let count = self.count.or(self.buckets.last().map(|b| b.1)).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        if self.buckets.last().is_some_and(|b| b.1 != count) {
            return Err("count mismatch".into());
        }
        let mut before = 0.0;
        let counts = self.buckets.iter().map(|b| b.1 - std::mem::replace(&mut before, b.1)).collect();
        Ok(FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: self.buckets.len() as u32 }],
            positive_buckets: counts,
            custom_values: self.buckets.iter().map(|b| b.0).filter(|b| b.is_finite()).collect(),
            ..FloatHistogram::default()
        })
    }
}
