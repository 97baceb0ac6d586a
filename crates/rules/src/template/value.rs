//! Values inside a template, and how they print.

use super::time::Time;
use model::FloatHistogram;
use model::float::go_string;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// One element of what `query` gives.
#[derive(Clone, Debug)]
pub struct Sample {
    pub labels: Arc<BTreeMap<String, String>>,
    /// A float or a histogram.
    pub value: Value,
}

/// What an alert tells its templates: the fields of dot at the top.
#[derive(Clone, Debug)]
pub struct Data {
    pub labels: Arc<BTreeMap<String, String>>,
    pub external_labels: Arc<BTreeMap<String, String>>,
    pub external_url: String,
    /// A float or a histogram.
    pub value: Value,
}

/// A value with the type that upstream has for it.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing: nil, or what is not there.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Labels(Arc<BTreeMap<String, String>>),
    /// What `args` gives.
    Args(Arc<BTreeMap<String, Value>>),
    Samples(Arc<Vec<Arc<Sample>>>),
    Sample(Arc<Sample>),
    Histogram(Arc<FloatHistogram>),
    Time(Time),
    /// Nanoseconds.
    Duration(i64),
    Data(Arc<Data>),
}

/// Types that parameters of functions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Any,
    Text,
    Samples,
    Sample,
}

impl Type {
    pub(super) fn name(self) -> &'static str {
        match self {
            Type::Any => "interface {}",
            Type::Text => "string",
            Type::Samples => "template.queryResult",
            Type::Sample => "*template.sample",
        }
    }

    pub(super) fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Type::Any, _)
            | (Type::Text, Value::Text(_))
            | (Type::Samples, Value::Samples(_))
            | (Type::Sample, Value::Sample(_)) => true,
            // Types that can be nil.
            (Type::Samples | Type::Sample, Value::Nil) => true,
            _ => false,
        }
    }
}

impl Value {
    /// The name of its type, as Go prints it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::Labels(_) => "map[string]string",
            Value::Args(_) => "map[string]interface {}",
            Value::Samples(_) => "template.queryResult",
            Value::Sample(_) => "*template.sample",
            Value::Histogram(_) => "*histogram.FloatHistogram",
            Value::Time(_) => "*time.Time",
            Value::Duration(_) => "*time.Duration",
            Value::Data(_) => {
                "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }"
            }
        }
    }

    /// What `if`, `with`, `and`, `or` and `not` go by.
    pub(super) fn truth(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Float(v) => *v != 0.0,
            Value::Text(t) => !t.is_empty(),
            Value::Labels(m) => !m.is_empty(),
            Value::Args(m) => !m.is_empty(),
            Value::Samples(list) => !list.is_empty(),
            _ => true,
        }
    }

    /// As the template writes it where it stands alone.
    pub(super) fn printed(&self) -> String {
        match self {
            Value::Nil => "<no value>".into(),
            _ => self.verb_v(),
        }
    }

    /// Go's `%v`.
    pub(super) fn verb_v(&self) -> String {
        match self {
            Value::Nil => "<nil>".into(),
            Value::Bool(b) => b.to_string(),
            Value::Int(i) => i.to_string(),
            Value::Float(v) => go_string(*v),
            Value::Text(t) => t.clone(),
            Value::Labels(map) => {
                let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Value::Args(map) => {
                let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", v.verb_v())).collect();
                format!("map[{}]", pairs.join(" "))
            }
            // Upstream prints addresses here.
            Value::Samples(list) => {
                let samples: Vec<String> = list.iter().map(|s| s.printed()).collect();
                format!("[{}]", samples.join(" "))
            }
            Value::Sample(sample) => sample.printed(),
            Value::Histogram(h) => h.to_string(),
            Value::Time(t) => t.to_string(),
            Value::Duration(ns) => duration(*ns),
            Value::Data(d) => format!(
                "{{{} {} {} {}}}",
                Value::Labels(d.labels.clone()).verb_v(),
                Value::Labels(d.external_labels.clone()).verb_v(),
                d.external_url,
                d.value.verb_v()
            ),
        }
    }
}

impl Sample {
    fn printed(&self) -> String {
        format!("{{{} {}}}", Value::Labels(self.labels.clone()).verb_v(), self.value.verb_v())
    }
}

/// Go's `Duration.String`: `1h2m3.5s`, `1.5ms`, `0s`.
pub(super) fn duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let n = ns.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let text = format!("{}.{:0digits$}", value / unit, value % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match n {
        0 => "0s".into(),
        1..1_000 => format!("{sign}{n}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(n, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(n, 1_000_000)),
        _ => {
            let seconds = n / 1_000_000_000;
            let (h, m) = (seconds / 3600, seconds / 60 % 60);
            let s = fraction(n - (h * 3600 + m * 60) * 1_000_000_000, 1_000_000_000);
            let mut out = sign.to_owned();
            if h > 0 {
                let _ = write!(out, "{h}h");
            }
            if h > 0 || m > 0 {
                let _ = write!(out, "{m}m");
            }
            let _ = write!(out, "{s}s");
            out
        }
    }
}
