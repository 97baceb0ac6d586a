//! Answers of the query API as promtool prints them: as text of the expression browser, or as JSON.

use model::METRIC_NAME;
use model::float::{go_string, plain_string};
use model::labels::quote;
use serde::Deserialize;
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Promql,
    Json,
}

pub(crate) type Metric = BTreeMap<String, String>;

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "resultType")]
    kind: String,
    result: Value,
}

#[derive(Deserialize)]
struct Sample {
    metric: Metric,
    value: Option<Point>,
    histogram: Option<HistogramPoint>,
}

#[derive(Deserialize)]
pub(crate) struct Stream {
    pub(crate) metric: Metric,
    #[serde(default)]
    pub(crate) values: Vec<Point>,
    #[serde(default)]
    pub(crate) histograms: Vec<HistogramPoint>,
}

/// Seconds and a number in text.
#[derive(Deserialize)]
pub(crate) struct Point(pub(crate) f64, pub(crate) String);

#[derive(Deserialize)]
pub(crate) struct HistogramPoint(f64, pub(crate) Histogram);

#[derive(Deserialize)]
pub(crate) struct Histogram {
    count: String,
    sum: String,
    #[serde(default)]
    pub(crate) buckets: Vec<Bucket>,
}

/// Which bounds belong to it, lower bound, upper bound, count.
#[derive(Deserialize)]
pub(crate) struct Bucket(pub(crate) u8, pub(crate) String, pub(crate) String, String);

fn float(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(text)))
}

fn plain(text: &str) -> Result<String, String> {
    float(text).map(plain_string)
}

/// A time in seconds with its milliseconds.
fn time(seconds: f64) -> String {
    plain_string((seconds * 1000.0).round() / 1000.0)
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|e| e.to_string())
}

/// JSON text with `<`, `>` and `&` escaped, as Go writes it.
pub(crate) fn json_text(text: &str) -> String {
    let plain = serde_json::to_string(text).unwrap_or_default();
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

fn json_metric(metric: &Metric) -> String {
    let pairs: Vec<String> =
        metric.iter().map(|(n, v)| format!("{}:{}", json_text(n), json_text(v))).collect();
    format!("{{{}}}", pairs.join(","))
}

/// `name{a="b", c="d"}`
pub(crate) fn metric_text(metric: &Metric) -> String {
    let name = metric.get(METRIC_NAME).map_or("", String::as_str);
    let labels: Vec<String> =
        metric.iter().filter(|(n, _)| *n != METRIC_NAME).map(|(n, v)| format!("{n}={}", quote(v))).collect();
    match (labels.is_empty(), name) {
        (true, "") => "{}".into(),
        (true, name) => name.into(),
        (false, name) => format!("{name}{{{}}}", labels.join(", ")),
    }
}

/// `{__name__="name", a="b"}`
pub(crate) fn label_set_text(metric: &Metric) -> String {
    let labels: Vec<String> = metric.iter().map(|(n, v)| format!("{n}={}", quote(v))).collect();
    format!("{{{}}}", labels.join(", "))
}

/// Fewer labels first, then by the first label that differs.
fn before(a: &Metric, b: &Metric) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| {
        let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
        names.sort();
        for name in names {
            match (a.get(name), b.get(name)) {
                (None, _) => return Ordering::Less,
                (_, None) => return Ordering::Greater,
                (Some(x), Some(y)) if x != y => return x.cmp(y),
                _ => {}
            }
        }
        Ordering::Equal
    })
}

fn point(p: &Point, format: Format) -> Result<String, String> {
    let (t, v) = (time(p.0), plain(&p.1)?);
    Ok(match format {
        Format::Promql => format!("{v} @[{t}]"),
        Format::Json => format!("[{t},\"{v}\"]"),
    })
}

fn histogram(p: &HistogramPoint, format: Format) -> Result<String, String> {
    let (t, h) = (time(p.0), &p.1);
    let mut buckets = Vec::new();
    for Bucket(bounds, lower, upper, count) in &h.buckets {
        buckets.push(match format {
            Format::Promql => {
                let open = if matches!(bounds, 1 | 3) { '[' } else { '(' };
                let close = if matches!(bounds, 0 | 3) { ']' } else { ')' };
                let (lower, upper) = (go_string(float(lower)?), go_string(float(upper)?));
                format!("{open}{lower},{upper}{close}:{}", plain(count)?)
            }
            Format::Json => {
                format!("[{bounds},\"{}\",\"{}\",\"{}\"]", plain(lower)?, plain(upper)?, plain(count)?)
            }
        });
    }
    Ok(match format {
        Format::Promql => format!(
            "Count: {:.6}, Sum: {:.6}, Buckets: [{}] @[{t}]",
            float(&h.count)?,
            float(&h.sum)?,
            buckets.join(" ")
        ),
        Format::Json => format!(
            "[{t},{{\"count\":\"{}\",\"sum\":\"{}\",\"buckets\":[{}]}}]",
            plain(&h.count)?,
            plain(&h.sum)?,
            buckets.join(",")
        ),
    })
}

fn sample(s: &Sample, format: Format) -> Result<String, String> {
    let (name, shown) = match (&s.histogram, &s.value) {
        (Some(h), _) => ("histogram", histogram(h, format)?),
        (None, Some(p)) => ("value", point(p, format)?),
        (None, None) => return Err("sample without a value".into()),
    };
    Ok(match format {
        Format::Promql => format!("{} => {shown}", metric_text(&s.metric)),
        Format::Json => format!("{{\"metric\":{},\"{name}\":{shown}}}", json_metric(&s.metric)),
    })
}

fn stream(s: &Stream, format: Format) -> Result<String, String> {
    let values: Vec<String> = s.values.iter().map(|p| point(p, format)).collect::<Result<_, _>>()?;
    let histograms: Vec<String> =
        s.histograms.iter().map(|p| histogram(p, format)).collect::<Result<_, _>>()?;
    if format == Format::Promql {
        let all: Vec<String> = values.into_iter().chain(histograms).collect();
        return Ok(format!("{} =>\n{}", metric_text(&s.metric), all.join("\n")));
    }
    let mut out = format!("{{\"metric\":{}", json_metric(&s.metric));
    if !values.is_empty() || histograms.is_empty() {
        let _ = write!(out, ",\"values\":[{}]", values.join(","));
    }
    if !histograms.is_empty() {
        let _ = write!(out, ",\"histograms\":[{}]", histograms.join(","));
    }
    out.push('}');
    Ok(out)
}

fn list(items: &[String], format: Format) -> String {
    match format {
        Format::Promql => items.join("\n") + "\n",
        Format::Json => format!("[{}]\n", items.join(",")),
    }
}

/// The result of an instant or range query.
pub(crate) fn value(data: &Value, format: Format) -> Result<String, String> {
    let answer: Answer = read(data)?;
    match answer.kind.as_str() {
        "vector" => {
            let samples: Vec<Sample> = read(&answer.result)?;
            let shown: Result<Vec<String>, String> = samples.iter().map(|s| sample(s, format)).collect();
            Ok(list(&shown?, format))
        }
        "matrix" => {
            let mut streams: Vec<Stream> = read(&answer.result)?;
            if format == Format::Promql {
                streams.sort_by(|a, b| before(&a.metric, &b.metric));
            }
            let shown: Result<Vec<String>, String> = streams.iter().map(|s| stream(s, format)).collect();
            Ok(list(&shown?, format))
        }
        "scalar" => {
            let p: Point = read(&answer.result)?;
            let shown = point(&p, format)?;
            Ok(match format {
                Format::Promql => format!("scalar: {shown}\n"),
                Format::Json => shown + "\n",
            })
        }
        "string" => {
            let p: Point = read(&answer.result)?;
            Ok(match format {
                Format::Promql => p.1 + "\n",
                Format::Json => format!("[{},{}]\n", time(p.0), json_text(&p.1)),
            })
        }
        other => Err(format!("unexpected value type {}", quote(other))),
    }
}

/// The series of a range; `None` when the answer is something else.
pub(crate) fn streams(data: &Value) -> Result<Option<Vec<Stream>>, String> {
    let answer: Answer = read(data)?;
    if answer.kind == "matrix" { read(&answer.result).map(Some) } else { Ok(None) }
}

/// Label sets, one a line.
pub(crate) fn series(data: &Value, format: Format) -> Result<String, String> {
    let sets: Vec<Metric> = read(data)?;
    Ok(lines(
        sets.iter().map(|set| match format {
            Format::Promql => label_set_text(set),
            Format::Json => json_metric(set),
        }),
        format,
    ))
}

/// Label values, one a line.
pub(crate) fn values(data: &Value, format: Format) -> Result<String, String> {
    let values: Vec<String> = read(data)?;
    Ok(lines(
        values.iter().map(|value| match format {
            Format::Promql => value.clone(),
            Format::Json => json_text(value),
        }),
        format,
    ))
}

fn lines(items: impl Iterator<Item = String>, format: Format) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() && format == Format::Promql { String::new() } else { list(&items, format) }
}
