//! Files of unit tests: their fields, and the rule files that they name.

use crate::tool::text::parse_time;
use disk::OsDisk;
use disk::small::{DEFAULT_LIMIT_BYTES, read_text};
use model::duration::DurationMs;
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename = "unitTestFile")]
pub(super) struct TestFile {
    pub(super) rule_files: Vec<String>,
    pub(super) evaluation_interval: DurationMs,
    pub(super) group_eval_order: Vec<String>,
    pub(super) tests: Vec<TestGroup>,
    pub(super) fuzzy_compare: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename = "testGroup")]
pub(super) struct TestGroup {
    pub(super) interval: DurationMs,
    pub(super) input_series: Vec<Series>,
    pub(super) alert_rule_test: Vec<AlertTest>,
    pub(super) promql_expr_test: Vec<ExprTest>,
    pub(super) external_labels: BTreeMap<String, String>,
    pub(super) external_url: String,
    pub(super) name: String,
    pub(super) start_timestamp: Start,
}

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start(pub(super) i64);

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let ns = parse_time(&String::deserialize(d)?).map_err(de::Error::custom)?;
        Ok(Start(i64::try_from(ns.div_euclid(1_000_000)).unwrap_or(i64::MAX)))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename = "series")]
pub(super) struct Series {
    pub(super) series: String,
    pub(super) values: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename = "alertTestCase")]
pub(super) struct AlertTest {
    pub(super) eval_time: DurationMs,
    pub(super) alertname: String,
    pub(super) exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename = "alert")]
pub(super) struct ExpectedAlert {
    pub(super) exp_labels: BTreeMap<String, String>,
    pub(super) exp_annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename = "promqlTestCase")]
pub(super) struct ExprTest {
    pub(super) expr: String,
    pub(super) eval_time: DurationMs,
    pub(super) exp_samples: Vec<ExpectedSample>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename = "sample")]
pub(super) struct ExpectedSample {
    pub(super) labels: String,
    pub(super) value: f64,
    /// In the notation of series; the value does not count where it is given.
    pub(super) histogram: String,
}

/// Reads a file of tests and finds its rule files.
pub(super) fn read(file: &str) -> Result<TestFile, String> {
    let text = read_text(&OsDisk, Path::new(file), DEFAULT_LIMIT_BYTES).map_err(|e| e.to_string())?;
    let read: Option<TestFile> = yaml::from_str(&text).map_err(|e| e.to_string())?;
    let mut read = read.unwrap_or_default();
    let dir = Path::new(file).parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for pattern in &read.rule_files {
        let pattern = clean(&dir.join(pattern));
        let files = discovery::glob(&OsDisk, Path::new(&pattern));
        if files.is_empty() {
            eprintln!("  WARNING: no file match pattern {pattern}");
        }
        found.extend(files.iter().map(|path| path.to_string_lossy().into_owned()));
    }
    read.rule_files = found;
    if read.evaluation_interval.0 == 0 {
        read.evaluation_interval = DurationMs(60_000);
    }
    for test in read.tests.iter_mut().filter(|t| t.interval.0 == 0) {
        test.interval = read.evaluation_interval;
    }
    let mut seen = Vec::new();
    for name in &read.group_eval_order {
        if seen.contains(&name) {
            return Err(format!("group name repeated in evaluation order: {name}"));
        }
        seen.push(name);
    }
    Ok(read)
}

/// Without `.` and, where they do not lead out, `..`.
fn clean(path: &Path) -> String {
    use std::path::Component;
    let mut parts = std::path::PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(parts.components().next_back(), Some(Component::Normal(_))) => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    if parts.as_os_str().is_empty() { ".".into() } else { parts.to_string_lossy().into_owned() }
}
