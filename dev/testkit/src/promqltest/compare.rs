//! Results against expectations.

use super::script::{Eval, Kind};
use model::histogram::Span;
use model::{FloatHistogram, Labels};
use promql::{SeriesText, SeriesValue};
use query::{MatrixSeries, Points, SampleValue, Value, VectorSample, almost_equal};
use std::sync::Arc;

const EPSILON: f64 = 1e-6;

fn equal(a: f64, b: f64) -> bool {
    almost_equal(a, b, EPSILON)
}

/// The value of a range result at `t`, as an instant result.
pub(super) fn at_time(value: &Value, t: i64, scalar: bool) -> Result<Value, String> {
    let Value::Matrix(matrix) = value else { return Err("a range query gave no matrix".into()) };
    sorted(matrix)?;
    let mut vector = Vec::new();
    for series in matrix {
        let float = series.points.floats().find(|(at, _)| *at == t).map(|(_, v)| SampleValue::Float(v));
        let hist = || {
            series
                .points
                .histograms()
                .find(|(at, _)| *at == t)
                .map(|(_, h)| SampleValue::Histogram(h.clone()))
        };
        if let Some(value) = float.or_else(hist) {
            vector.push(VectorSample { labels: series.labels.clone(), t, value });
        }
    }
    match vector.first() {
        Some(VectorSample { value: SampleValue::Float(v), .. }) if scalar => Ok(Value::Scalar(t, *v)),
        _ => Ok(Value::Vector(vector)),
    }
}

fn sorted(matrix: &[MatrixSeries]) -> Result<(), String> {
    match matrix.windows(2).find(|w| w[0].labels > w[1].labels) {
        Some(w) => Err(format!("matrix is not sorted: {} before {}", w[0].labels, w[1].labels)),
        None => Ok(()),
    }
}

pub(super) fn value(eval: &Eval, value: &Value) -> Result<(), String> {
    match value {
        Value::String(_, got) => match &eval.expected_string {
            Some(want) if want == got => Ok(()),
            want => Err(format!("wanted string {want:?}, got {got:?}")),
        },
        Value::Scalar(_, got) => match eval.expected_scalar {
            Some(want) if equal(want, *got) => Ok(()),
            want => Err(format!("wanted scalar {want:?}, got {got}")),
        },
        _ if eval.expected_scalar.is_some() => Err("wanted a scalar, got a vector or matrix".into()),
        Value::Vector(vector) => vector_value(eval, vector),
        Value::Matrix(matrix) => matrix_value(eval, matrix),
    }
}

fn missing(eval: &Eval, got: &[&Labels]) -> Result<(), String> {
    match eval.expected.iter().find(|want| !got.contains(&&want.labels)) {
        Some(want) => Err(format!("expected series {} not found, got {got:?}", want.labels)),
        None => Ok(()),
    }
}

/// Where a series is expected; the last line of the same labels counts.
fn wanted<'e>(eval: &'e Eval, labels: &Labels) -> Result<(usize, &'e SeriesText), String> {
    eval.expected
        .iter()
        .enumerate()
        .rfind(|(_, s)| s.labels == *labels)
        .ok_or_else(|| format!("unexpected series {labels} in result"))
}

fn vector_value(eval: &Eval, vector: &[VectorSample]) -> Result<(), String> {
    for (i, got) in vector.iter().enumerate() {
        let (at, want) = wanted(eval, &got.labels).map_err(|e| format!("{e}, value {}", show(&got.value)))?;
        if eval.ordered() && at != i {
            return Err(format!("{} is at place {i}, wanted {at}", got.labels));
        }
        let Some(want) = want.values.first() else { return Err(format!("no value for {}", got.labels)) };
        sample(want, &got.value).map_err(|e| format!("{}: {e}", got.labels))?;
    }
    missing(eval, &vector.iter().map(|s| &s.labels).collect::<Vec<_>>())
}

fn sample(want: &SeriesValue, got: &SampleValue) -> Result<(), String> {
    let fine = match (want, got) {
        (SeriesValue::Float(want), SampleValue::Float(got)) => equal(*want, *got),
        (SeriesValue::Histogram { histogram, hint_set }, SampleValue::Histogram(got)) => {
            histograms_equal(histogram, got, *hint_set)
        }
        _ => false,
    };
    if fine { Ok(()) } else { Err(format!("wanted {want:?}, got {}", show(got))) }
}

fn show(value: &SampleValue) -> String {
    match value {
        SampleValue::Float(v) => v.to_string(),
        SampleValue::Histogram(h) => format!("{h:?}"),
    }
}

fn matrix_value(eval: &Eval, matrix: &[MatrixSeries]) -> Result<(), String> {
    if eval.ordered() {
        return Err("expected an ordered result, got a matrix".into());
    }
    sorted(matrix)?;
    let (start, end, step) = match (eval.expected_range, eval.kind) {
        (Some(range), _) => range,
        (None, Kind::Range { start, end, step }) => (start, end, step),
        (None, Kind::Instant { at }) => (at, at, 1),
    };
    for got in matrix {
        let (_, want) = wanted(eval, &got.labels).map_err(|e| format!("{e}: {}", points(&got.points)))?;
        let mut floats: Vec<(i64, f64)> = Vec::new();
        let mut hists: Vec<(i64, &FloatHistogram, bool)> = Vec::new();
        for (i, value) in want.values.iter().enumerate() {
            let t = start + i as i64 * step;
            if t > end {
                return Err(format!("more values are expected of {} than there are steps", got.labels));
            }
            match value {
                SeriesValue::Omitted => {}
                SeriesValue::Float(v) => floats.push((t, *v)),
                SeriesValue::Histogram { histogram, hint_set } => hists.push((t, histogram, *hint_set)),
            }
        }
        let got_floats: Vec<(i64, f64)> = got.points.floats().collect();
        let got_hists: Vec<(i64, &Arc<FloatHistogram>)> = got.points.histograms().collect();
        let floats_fine = floats.len() == got_floats.len()
            && floats.iter().zip(&got_floats).all(|(a, b)| a.0 == b.0 && equal(a.1, b.1));
        let hists_fine = hists.len() == got_hists.len()
            && hists.iter().zip(&got_hists).all(|(a, b)| a.0 == b.0 && histograms_equal(a.1, b.1, a.2));
        if !floats_fine || !hists_fine {
            return Err(format!("{}: wanted {floats:?} {hists:?}, got {}", got.labels, points(&got.points)));
        }
    }
    missing(eval, &matrix.iter().map(|s| &s.labels).collect::<Vec<_>>())
}

fn points(points: &Points) -> String {
    let floats: Vec<_> = points.floats().collect();
    let hists: Vec<_> = points.histograms().collect();
    format!("{floats:?} {hists:?}")
}

/// Equal but for rounding, empty buckets and, unless it was written down, the counter reset hint.
fn histograms_equal(want: &FloatHistogram, got: &FloatHistogram, hint_set: bool) -> bool {
    let custom = |h: &FloatHistogram| h.custom_values.clone();
    want.schema == got.schema
        && equal(want.count, got.count)
        && equal(want.sum, got.sum)
        && custom(want) == custom(got)
        && want.zero_threshold == got.zero_threshold
        && equal(want.zero_count, got.zero_count)
        && buckets_equal(
            (&want.positive_spans, &want.positive_buckets),
            (&got.positive_spans, &got.positive_buckets),
        )
        && buckets_equal(
            (&want.negative_spans, &want.negative_buckets),
            (&got.negative_spans, &got.negative_buckets),
        )
        && (!hint_set || want.counter_reset_hint == got.counter_reset_hint)
}

fn buckets_equal(a: (&[Span], &[f64]), b: (&[Span], &[f64])) -> bool {
    let list = |(spans, counts): (&[Span], &[f64])| {
        let (mut index, mut counts) = (0i64, counts.iter());
        let mut list = Vec::new();
        for span in spans {
            index += i64::from(span.offset);
            for count in counts.by_ref().take(span.length as usize) {
                if *count != 0.0 {
                    list.push((index, *count));
                }
                index += 1;
            }
        }
        list
    };
    let (a, b) = (list(a), list(b));
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && equal(a.1, b.1))
}
