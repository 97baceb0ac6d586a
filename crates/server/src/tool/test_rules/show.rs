//! Alerts and samples of tests as promtool prints them.

use model::float::go_string;
use model::histogram::CounterResetHint;
use model::labels::{is_legacy_label_name, quote};
use model::{FloatHistogram, Labels};
use std::collections::BTreeMap;

/// Names and values, sorted by name; values may be empty.
pub(super) type Pairs = Vec<(String, String)>;

/// An alert that fires, or should.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ShownAlert {
    pub(super) labels: Pairs,
    pub(super) annotations: Pairs,
}

impl ShownAlert {
    pub(super) fn new(labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Self {
        let pairs =
            |map: &BTreeMap<String, String>| map.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
        ShownAlert { labels: pairs(labels), annotations: pairs(annotations) }
    }
}

fn pairs(pairs: &Pairs) -> String {
    let shown: Vec<String> = pairs
        .iter()
        .map(|(n, v)| {
            let name = if is_legacy_label_name(n) { n.clone() } else { quote(n) };
            format!("{name}={}", quote(v))
        })
        .collect();
    format!("{{{}}}", shown.join(", "))
}

/// All lines but the first, moved to the right.
pub(super) fn indent(text: &str, by: &str) -> String {
    text.split('\n').collect::<Vec<_>>().join(&format!("\n{by}"))
}

pub(super) fn alerts(list: &[ShownAlert]) -> String {
    if list.is_empty() {
        return "[]".into();
    }
    let each = |(i, alert): (usize, &ShownAlert)| {
        let text = format!("\nLabels:{}\nAnnotations:{}", pairs(&alert.labels), pairs(&alert.annotations));
        format!("{i}:{}", indent(&text, "  "))
    };
    format!("[\n{}\n]", list.iter().enumerate().map(each).collect::<Vec<_>>().join(",\n"))
}

/// A sample of an expression's result.
#[derive(Clone, Debug)]
pub(super) struct ShownSample {
    pub(super) labels: Labels,
    pub(super) value: f64,
    /// As [`expression`] writes it; empty for a float.
    pub(super) histogram: String,
}

impl ShownSample {
    /// Whether two are equal; `fuzzy` lets the last bit of the value pass.
    pub(super) fn equals(&self, other: &ShownSample, fuzzy: bool) -> bool {
        let (a, b) = (self.value, other.value);
        let near = || a.next_down() == b || a.next_up() == b;
        self.labels == other.labels && self.histogram == other.histogram && (a == b || (fuzzy && near()))
    }
}

pub(super) fn samples(list: &[ShownSample]) -> String {
    if list.is_empty() {
        return "nil".into();
    }
    let each = |s: &ShownSample| match s.histogram.as_str() {
        "" => format!("{} {}", s.labels, scientific(s.value)),
        histogram => format!("{} {histogram}", s.labels),
    };
    list.iter().map(each).collect::<Vec<_>>().join(", ")
}

/// `1.5E+10`
fn scientific(v: f64) -> String {
    if !v.is_finite() {
        return model::float::plain_string(v);
    }
    let text = format!("{v:E}");
    let (mantissa, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    match exponent.strip_prefix('-') {
        Some(digits) => format!("{mantissa}E-{digits:0>2}"),
        None => format!("{mantissa}E+{exponent:0>2}"),
    }
}

/// Buckets of one sign without gaps: the index of the first, and all counts.
fn dense(spans: &[model::histogram::Span], buckets: &[f64]) -> (i32, Vec<f64>) {
    let mut counts: Vec<f64> = Vec::new();
    let (mut first, mut given) = (0, buckets.iter());
    for span in spans {
        if counts.is_empty() {
            first += span.offset;
        } else {
            counts.extend(std::iter::repeat_n(0.0, usize::try_from(span.offset).unwrap_or(0)));
        }
        counts.extend(given.by_ref().take(span.length as usize));
    }
    let leading = counts.iter().take_while(|c| **c == 0.0).count();
    if leading == counts.len() {
        return (0, Vec::new());
    }
    counts.drain(..leading);
    while counts.last() == Some(&0.0) {
        counts.pop();
    }
    (first + leading as i32, counts)
}

/// A histogram in the notation of series.
pub(super) fn expression(h: &FloatHistogram) -> String {
    let mut parts = Vec::new();
    if h.schema != 0 {
        parts.push(format!("schema:{}", h.schema));
    }
    for (name, v) in
        [("count", h.count), ("sum", h.sum), ("z_bucket", h.zero_count), ("z_bucket_w", h.zero_threshold)]
    {
        if v != 0.0 {
            parts.push(format!("{name}:{}", go_string(v)));
        }
    }
    let list = |values: &[f64]| values.iter().map(|v| go_string(*v)).collect::<Vec<_>>().join(" ");
    if h.uses_custom_buckets() {
        parts.push(format!("custom_values:[{}]", list(&h.custom_values)));
    }
    match h.counter_reset_hint {
        CounterResetHint::Unknown => {}
        CounterResetHint::CounterReset => parts.push("counter_reset_hint:reset".into()),
        CounterResetHint::NotCounterReset => parts.push("counter_reset_hint:not_reset".into()),
        CounterResetHint::Gauge => parts.push("counter_reset_hint:gauge".into()),
    }
    for (buckets, offset, (first, counts)) in [
        ("buckets", "offset", dense(&h.positive_spans, &h.positive_buckets)),
        ("n_buckets", "n_offset", dense(&h.negative_spans, &h.negative_buckets)),
    ] {
        if first != 0 {
            parts.push(format!("{offset}:{first}"));
        }
        if !counts.is_empty() {
            parts.push(format!("{buckets}:[{}]", list(&counts)));
        }
    }
    format!("{{{{{}}}}}", parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::histogram::Span;

    #[test]
    fn numbers_and_histograms() {
        for (v, want) in
            [(0.0, "0E+00"), (1.5e10, "1.5E+10"), (-2e-7, "-2E-07"), (f64::NAN, "NaN"), (1e100, "1E+100")]
        {
            assert_eq!(scientific(v), want);
        }
        let h = FloatHistogram {
            schema: 2,
            count: 3.0,
            sum: -0.5,
            positive_spans: vec![Span { offset: -1, length: 2 }, Span { offset: 1, length: 1 }],
            positive_buckets: vec![0.0, 1.0, 2.0],
            ..FloatHistogram::default()
        };
        assert_eq!(expression(&h), "{{schema:2 count:3 sum:-0.5 buckets:[1 0 2]}}");
        assert_eq!(expression(&FloatHistogram::default()), "{{}}");
    }
}
