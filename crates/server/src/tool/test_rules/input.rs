//! The series of a test: read from their notation, given to the store up to a time.

use super::file::TestGroup;
use model::Labels;
use model::duration::format_duration;
use promql::{SeriesValue, parse_series, parse_start_times};
use query::SampleValue;
use rules::Produced;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Samples by series, ascending; what was taken is gone.
#[derive(Debug)]
pub(super) struct Input(BTreeMap<Labels, std::collections::VecDeque<(i64, SampleValue)>>);

/// A series is read as a line of a script whose first line says the interval; errors count lines so.
fn script(test: &TestGroup) -> String {
    let mut text = format!("load {}\n", format_duration(test.interval.0));
    for series in &test.input_series {
        text.push_str(&format!("  {} {}\n", series.series, series.values));
    }
    text
}

impl Input {
    pub(super) fn read(test: &TestGroup) -> Result<Input, String> {
        let script = script(test);
        let mut all = BTreeMap::new();
        let mut starts: Option<promql::StartTimes> = None;
        for (i, line) in script.lines().enumerate().skip(1) {
            let line = line.trim();
            // The script ends at an empty line or a comment.
            if line.is_empty() || line.starts_with('#') {
                break;
            }
            if let Some(parsed) = parse_start_times(line) {
                starts = Some(parsed.map_err(|e| raise(i, &e.to_string()))?);
                continue;
            }
            let parsed = parse_series(line).map_err(|e| e.at_line(i))?;
            if let Some(starts) = starts.take() {
                fits(&starts, &parsed).map_err(|e| raise(i - 1, &e))?;
            }
            let samples = parsed.values.into_iter().enumerate().filter_map(|(at, value)| {
                let t = test.start_timestamp.0 + at as i64 * test.interval.0;
                match value {
                    SeriesValue::Omitted => None,
                    SeriesValue::Float(v) => Some((t, SampleValue::Float(v))),
                    SeriesValue::Histogram { histogram, .. } => {
                        Some((t, SampleValue::Histogram(Arc::new(*histogram))))
                    }
                }
            });
            all.insert(parsed.labels, samples.collect());
        }
        Ok(Input(all))
    }

    /// Samples up to a time that were not taken before.
    pub(super) fn take_until(&mut self, t: i64) -> Vec<Produced> {
        let mut rows = Vec::new();
        for (labels, samples) in &mut self.0 {
            while samples.front().is_some_and(|(at, _)| *at <= t) {
                if let Some((t, value)) = samples.pop_front() {
                    rows.push(Produced { labels: labels.clone(), t, value });
                }
            }
        }
        rows.sort_by_key(|row| row.t);
        rows
    }
}

fn raise(line: usize, text: &str) -> String {
    format!("{}:1: parse error: {text}", line + 1)
}

fn fits(starts: &promql::StartTimes, series: &promql::SeriesText) -> Result<(), String> {
    if starts.labels != series.labels {
        return Err("@st metric does not match the following sample line metric".into());
    }
    let (have, want) = (starts.offsets.len(), series.values.len());
    if have != want {
        return Err(format!("@st line has {have} values but sample line has {want}"));
    }
    Ok(())
}
