//! The notation of series in test files: what a line stands for, and start times of samples.

pub use crate::parse::parse_series;

use crate::error::ParseError;
use model::{FloatHistogram, Labels};

/// More values than this are refused: repetitions must not eat the memory.
pub const MAX_VALUES: usize = 5_000_000;

/// One line: a series and its values, the first at time 0, each further one a step later.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesText {
    pub labels: Labels,
    pub values: Vec<SeriesValue>,
}

/// What stands at one step.
#[derive(Clone, Debug, PartialEq)]
pub enum SeriesValue {
    /// `_`: no sample.
    Omitted,
    /// A float; `stale` is the stale marker.
    Float(f64),
    Histogram {
        histogram: Box<FloatHistogram>,
        /// `counter_reset_hint` was written, so an expected value wants it to be equal.
        hint_set: bool,
    },
}

/// Adds `step` to `base`, or subtracts it.
pub(crate) fn combine(
    base: &FloatHistogram,
    step: &FloatHistogram,
    subtract: bool,
) -> Result<FloatHistogram, String> {
    if base.schema > step.schema {
        return Err(format!(
            "error combining histograms: cannot merge from schema {} to {}",
            step.schema, base.schema
        ));
    }
    let mut sum = base.clone();
    let combined = if subtract { sum.sub(step) } else { sum.add(step) };
    combined.map_err(|e| e.to_string())?;
    Ok(sum)
}

/// A line `name{l="v"}@st 0s -1m+10sx3 _x2`: when the samples of the series on the next line started.
#[derive(Clone, Debug, PartialEq)]
pub struct StartTimes {
    pub labels: Labels,
    /// Milliseconds relative to each sample's own time; `None` where there is none.
    pub offsets: Vec<Option<i64>>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StartTimesError {
    #[error("invalid @st line metric {}: {source}", model::labels::quote(metric))]
    Metric { metric: String, source: ParseError },
    #[error("invalid @st sequence: invalid ST item {}: {message}", model::labels::quote(item))]
    Item { item: String, message: String },
}

/// Splits a line of start times at the blank behind `@st`.
fn split_start_times(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (head, rest) = line.split_once([' ', '\t'])?;
    Some((head.strip_suffix("@st")?, rest))
}

/// Parses a line of start times; `None` when the line is none (see [`StartTimes`]).
pub fn parse_start_times(line: &str) -> Option<Result<StartTimes, StartTimesError>> {
    let (metric, items) = split_start_times(line)?;
    Some(read_start_times(metric, items))
}

fn read_start_times(metric: &str, items: &str) -> Result<StartTimes, StartTimesError> {
    let labels = parse_series(&format!("{metric} _"))
        .map_err(|source| StartTimesError::Metric { metric: metric.to_owned(), source })?
        .labels;
    let mut offsets = Vec::new();
    for item in items.split_whitespace() {
        start_time_item(item, &mut offsets)
            .map_err(|message| StartTimesError::Item { item: item.to_owned(), message })?;
    }
    Ok(StartTimes { labels, offsets })
}

/// `_`, `_x3`, `-1m`, `-1mx3` (four times), `-1m+10sx3`
fn start_time_item(item: &str, out: &mut Vec<Option<i64>>) -> Result<(), String> {
    let count = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    const BAD_COUNT: &str = "invalid repeat count";
    let (start, step, times) = match item.strip_prefix('_') {
        Some("") => (None, 0, 1),
        Some(rest) if rest.starts_with('x') => {
            (None, 0, count(&rest[1..]).filter(|n| *n > 0).ok_or(BAD_COUNT)?)
        }
        _ => {
            let (start, rest) = duration_prefix(item)?;
            match rest.chars().next() {
                None => (Some(start), 0, 1),
                Some('x') => (Some(start), 0, count(&rest[1..]).ok_or(BAD_COUNT)?.saturating_add(1)),
                Some(sign @ ('+' | '-')) => {
                    let (step, rest) =
                        duration_prefix(&rest[1..]).map_err(|e| format!("invalid step duration: {e}"))?;
                    let times = rest.strip_prefix('x').ok_or("expected 'x<count>' after step duration")?;
                    let times = count(times).ok_or(BAD_COUNT)?.saturating_add(1);
                    (Some(start), if sign == '-' { -step } else { step }, times)
                }
                Some(other) => return Err(format!("unexpected character '{other}' after duration")),
            }
        }
    };
    if times.saturating_add(out.len() as u64) > MAX_VALUES as u64 {
        return Err(format!("series has more than {MAX_VALUES} values"));
    }
    out.extend((0..times as i64).map(|n| start.map(|start| start.saturating_add(step.saturating_mul(n)))));
    Ok(())
}

/// A signed duration of one unit, in milliseconds, and what follows it.
fn duration_prefix(text: &str) -> Result<(i64, &str), String> {
    if text.is_empty() {
        return Err("empty duration".into());
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(format!("expected digits in duration {}", model::labels::quote(text)));
    }
    let unit = unsigned[digits..].bytes().take_while(|b| b.is_ascii_alphabetic() && *b != b'x').count();
    let (duration, rest) = unsigned.split_at(digits + unit);
    let ms = model::duration::parse_duration(duration)
        .map_err(|e| format!("invalid duration {}: {e}", model::labels::quote(duration)))?;
    Ok((if text.starts_with('-') { -ms } else { ms }, rest))
}
