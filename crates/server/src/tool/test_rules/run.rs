//! One test: its series are loaded as time goes on, groups are evaluated at each interval, alerts and expressions are
//! compared with what the test expects.

use super::Options;
use super::diff::difference;
use super::file::{AlertTest, ExprTest, TestFile, TestGroup};
use super::input::Input;
use super::show::{self, ShownAlert, ShownSample, indent};
use crate::tool::text::go_duration;
use disk::small::{DEFAULT_LIMIT_BYTES, read_text};
use disk::{Disk, OsDisk};
use model::duration::format_duration;
use model::labels::quote;
use promql::SeriesValue;
use query::{Engine, EngineOptions, SampleValue, Value};
use rules::{AlertState, Evaluator, Group, GroupOptions, ReadOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use storage::WriterSource;
use tsdb::{Db, ReplayHandle, Running};

const DAY: i64 = 24 * 3_600_000;
const ALERT_NAME: &str = "alertname";

/// A store in a folder of its own that goes with it.
struct Store {
    db: Option<Db>,
    dir: PathBuf,
}

impl Store {
    fn open() -> Result<Store, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_storage{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        let running = Running { retention_time_ms: 0, max_exemplars: 0, ..Running::default() };
        let options = tsdb::Options {
            min_block_duration_ms: DAY,
            max_block_duration_ms: DAY,
            head_snapshot: false,
            no_lockfile: true,
            running,
            ..tsdb::Options::default()
        };
        let registry = meter::Registry::new();
        let mut store = Store { db: None, dir };
        let opened = Db::open(Arc::new(OsDisk), &store.dir, options, &registry, ReplayHandle::default());
        store.db = Some(opened.map_err(|e| format!("opening test storage: {e}"))?);
        Ok(store)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.db = None;
        let _ = OsDisk.remove_dir_all(&self.dir);
    }
}

/// Groups of all rule files in the order in which they are evaluated.
fn groups(file: &TestFile, test: &TestGroup, options: &Options) -> Result<Vec<Group>, Vec<String>> {
    let mut groups: Vec<Group> = Vec::new();
    let read_options =
        ReadOptions { language: options.language, ignore_unknown_fields: options.ignore_unknown_fields };
    for name in &file.rule_files {
        let text = read_text(&OsDisk, Path::new(name), DEFAULT_LIMIT_BYTES)
            .map_err(|e| vec![format!("{name}: {e}")])?;
        let read = rules::parse(&text, read_options)
            .map_err(|errors| errors.iter().map(|e| format!("{name}: {e}")).collect::<Vec<_>>())?;
        let group_options = GroupOptions {
            file: name.clone(),
            language: options.language,
            interval_ms: test.interval.0,
            external_labels: test.external_labels.clone(),
            external_url: test.external_url.clone(),
            ..GroupOptions::default()
        };
        for group in &read {
            let mut group = Group::new(group, &group_options).map_err(|e| vec![e])?;
            group.set_restored();
            groups.retain(|g| (&g.file, &g.name) != (&group.file, &group.name));
            groups.push(group);
        }
    }
    let order = |name: &String| file.group_eval_order.iter().position(|n| n == name).unwrap_or(0);
    groups.sort_by_key(|g| order(&g.name));
    Ok(groups)
}

/// A test that is being run.
struct Run<'a> {
    test: &'a TestGroup,
    options: &'a Options,
    fuzzy: bool,
    engine: Engine,
    db: &'a Db,
    errors: Vec<String>,
}

/// What failed in a test.
pub(super) fn test(file: &TestFile, test: &TestGroup, options: &Options) -> Vec<String> {
    let store = match Store::open() {
        Ok(store) => store,
        Err(e) => return vec![e],
    };
    let Some(db) = &store.db else { return Vec::new() };
    let mut input = match Input::read(test) {
        Ok(input) => input,
        Err(e) => return vec![e],
    };
    let mut groups = match groups(file, test, options) {
        Ok(groups) => groups,
        Err(errors) => return errors,
    };
    if let Some(alert) = test.alert_rule_test.iter().find(|t| t.alertname.is_empty()) {
        let at = format_duration(alert.eval_time.0);
        let group =
            if test.name.is_empty() { String::new() } else { format!(" (in TestGroup {})", test.name) };
        return vec![format!(
            "an item under alert_rule_test misses required attribute alertname at eval_time {at}{group}"
        )];
    }
    let interval = file.evaluation_interval.0;
    let engine = Engine::new(EngineOptions {
        timeout: Duration::from_secs(100),
        threads: 1,
        no_step_subquery_interval: Arc::new(move |_| interval),
        delayed_name_removal: options.delayed_name_removal,
        ..EngineOptions::default()
    });
    let mut run = Run { test, options, fuzzy: file.fuzzy_compare, engine, db, errors: Vec::new() };
    if run.rounds(interval, &mut groups, &mut input) {
        test.promql_expr_test.iter().for_each(|case| run.expression(case));
        if options.debug {
            run.dump();
        }
    }
    run.errors
}

impl Run<'_> {
    fn evaluator(&self) -> Evaluator<'_> {
        Evaluator { engine: &self.engine, queryable: self.db, external_url: None }
    }

    /// All rounds up to the last time that a test looks at; false when a rule failed.
    fn rounds(&mut self, interval: i64, groups: &mut [Group], input: &mut Input) -> bool {
        let start = self.test.start_timestamp.0;
        let alert_times = self.test.alert_rule_test.iter().map(|t| t.eval_time.0);
        let times = alert_times.clone().chain(self.test.promql_expr_test.iter().map(|t| t.eval_time.0));
        let last = times.max().unwrap_or(0).max(0);
        let mut pending: Vec<i64> = alert_times.collect();
        pending.sort_unstable();
        pending.dedup();
        let mut pending = pending.into_iter().peekable();
        let mut writer = self.db.writer();
        let mut after = 0;
        while after <= last {
            let at = start + after;
            let failed = self.round(at, groups, input, writer.as_mut());
            if !failed.is_empty() {
                self.errors.extend(failed);
                return false;
            }
            while let Some(time) = pending.next_if(|t| after <= *t && *t < after + interval) {
                for case in self.test.alert_rule_test.iter().filter(|t| t.eval_time.0 == time) {
                    self.alerts(case, groups);
                }
            }
            after += interval;
        }
        true
    }

    /// Samples up to a time, then every group; what rules say went wrong.
    fn round(
        &mut self,
        at: i64,
        groups: &mut [Group],
        input: &mut Input,
        writer: &mut dyn storage::Writer,
    ) -> Vec<String> {
        let evaluator = Evaluator { engine: &self.engine, queryable: self.db, external_url: None };
        let refused = match evaluator.append(writer, &input.take_until(at)) {
            Ok(refused) => refused.into_iter().flatten().next(),
            Err(e) => Some(e),
        };
        if let Some(e) = refused {
            self.errors.push(e);
            return Vec::new();
        }
        let mut failed = Vec::new();
        for group in groups {
            group.evaluate(&evaluator, writer, at);
            for (rule, e) in group.errors() {
                failed.push(format!("    rule: {rule}, time: {}, err: {e}", go_duration(at)));
            }
        }
        failed
    }

    fn alerts(&mut self, case: &AlertTest, groups: &[Group]) {
        let mut found: Vec<ShownAlert> = groups
            .iter()
            .flat_map(Group::alerting)
            .filter(|rule| rule.name == case.alertname)
            .flat_map(|rule| rule.active_alerts())
            .filter(|alert| alert.state == AlertState::Firing)
            .map(|alert| ShownAlert {
                labels: alert.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                annotations: alert.annotations.clone(),
            })
            .collect();
        let mut expected: Vec<ShownAlert> = case
            .exp_alerts
            .iter()
            .map(|alert| {
                let mut labels: BTreeMap<String, String> = alert.exp_labels.clone();
                labels.insert(ALERT_NAME.into(), case.alertname.clone());
                ShownAlert::new(&labels, &alert.exp_annotations)
            })
            .collect();
        found.sort();
        expected.sort();
        if found == expected {
            return;
        }
        let name = match self.test.name.as_str() {
            "" => String::new(),
            name => format!("    name: {name},\n"),
        };
        let head =
            format!("{name}    alertname: {}, time: {}, ", case.alertname, format_duration(case.eval_time.0));
        let by = " ".repeat(12);
        if self.options.diff {
            let text = difference(&expected, &found).map(|text| indent(&text, &by));
            self.errors.extend(text.map(|text| format!("{head}\n        diff: {text}")));
            return;
        }
        let (expected, found) = (indent(&show::alerts(&expected), &by), indent(&show::alerts(&found), &by));
        self.errors.push(format!("{head}\n        exp:{expected}, \n        got:{found}"));
    }

    fn expression(&mut self, case: &ExprTest) {
        let head = format!("    expr: {}, time: {},", quote(&case.expr), format_duration(case.eval_time.0));
        let at = self.test.start_timestamp.0 + case.eval_time.0;
        let found = match self.evaluator().vector(&case.expr, at) {
            Ok(found) => found,
            Err(e) => return self.errors.push(format!("{head} err: {e}")),
        };
        let mut found: Vec<ShownSample> = found
            .into_iter()
            .map(|p| {
                let (value, histogram) = match p.value {
                    SampleValue::Float(v) => (v, String::new()),
                    SampleValue::Histogram(h) => (0.0, show::expression(&h)),
                };
                ShownSample { labels: p.labels, value, histogram }
            })
            .collect();
        let mut expected = Vec::new();
        for sample in &case.exp_samples {
            let parsed = promql::parse_metric(&sample.labels)
                .map_err(|e| e.to_string())
                .and_then(|labels| Ok((labels, histogram(&sample.histogram)?)));
            match parsed {
                Ok((labels, histogram)) => {
                    expected.push(ShownSample { labels, value: sample.value, histogram });
                }
                Err(e) => {
                    let labels = quote(&sample.labels);
                    return self.errors.push(format!("{head} err: labels {labels}: {e}"));
                }
            }
        }
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        let same = expected.len() == found.len()
            && expected.iter().zip(&found).all(|(a, b)| a.equals(b, self.fuzzy));
        if !same {
            let (expected, found) = (show::samples(&expected), show::samples(&found));
            self.errors.push(format!("{head}\n        exp: {expected}\n        got: {found}"));
        }
    }

    /// `--debug`: everything that the store holds.
    fn dump(&self) {
        let alerts = self.test.alert_rule_test.iter().map(|t| t.eval_time.0);
        let last = alerts.chain(self.test.promql_expr_test.iter().map(|t| t.eval_time.0)).max().unwrap_or(0);
        let until = (last.max(0) + 1000) / 1000 * 1000;
        let expr = format!("{{__name__=~\".+\"}}[{}]", go_duration(until));
        let at = self.test.start_timestamp.0 + until;
        let matrix = match self.engine.instant(self.db, &expr, at, &query::QueryOpts::default()) {
            Ok(result) => match result.value {
                Value::Matrix(matrix) => matrix,
                _ => return,
            },
            Err(e) => return eprintln!("DEBUG: Failed query exec, expr: {}, err: {e}", quote(&expr)),
        };
        eprintln!("DEBUG: Dump of all data (input_series and rules) at {}:", go_duration(until));
        let mut texts = Vec::new();
        for series in &matrix {
            let floats = series.points.floats();
            let mut lines: Vec<String> =
                floats.map(|(t, v)| format!("{} @[{t}]", model::float::plain_string(v))).collect();
            lines.extend(series.points.histograms().map(|(t, h)| format!("{h} @[{t}]")));
            texts.push(format!("{} =>\n{}", series.labels, lines.join("\n")));
        }
        eprintln!("{}", texts.join("\n"));
    }
}

/// An expected histogram in the form in which histograms are compared; empty for none.
fn histogram(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let parsed = promql::parse_series(&format!("{{}} {text}")).map_err(|e| e.to_string())?;
    match parsed.values.as_slice() {
        [SeriesValue::Histogram { histogram, .. }] => Ok(show::expression(histogram)),
        [SeriesValue::Float(v)] => Err(format!("expected histogram, got {v:.6}")),
        [SeriesValue::Omitted] => Err("expected histogram, got _".into()),
        values => Err(format!("expected 1 value, got {}", values.len())),
    }
}
