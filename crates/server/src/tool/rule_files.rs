//! Rule files, as far as recording rules need them: groups, names, expressions, labels.

use disk::OsDisk;
use disk::small::{DEFAULT_LIMIT_BYTES, read_text};
use model::LabelsBuilder;
use model::duration::DurationMs;
use promql::{Options, ParseError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use xxhash_rust::xxh64::xxh64;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuleFile {
    groups: Vec<RawGroup>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawGroup {
    name: String,
    interval: DurationMs,
    #[serde(rename = "query_offset")]
    _query_offset: Option<DurationMs>,
    #[serde(rename = "limit")]
    _limit: i64,
    rules: Vec<RawRule>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRule {
    record: String,
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    held: DurationMs,
    keep_firing_for: DurationMs,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// A group of recording rules.
#[derive(Debug)]
pub(crate) struct Group {
    file: String,
    name: String,
    /// Milliseconds between evaluations.
    pub(crate) interval: i64,
    pub(crate) rules: Vec<Rule>,
    /// Alerting rules that were left out.
    pub(crate) alerts: usize,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) record: String,
    /// As the language prints it.
    pub(crate) expr: String,
    /// Of the group and of the rule.
    pub(crate) labels: Vec<(String, String)>,
}

/// Reads a file and checks it; errors name the file.
pub(crate) fn read(file: &str, default_interval: i64, language: Options) -> Result<Vec<Group>, String> {
    let text =
        read_text(&OsDisk, Path::new(file), DEFAULT_LIMIT_BYTES).map_err(|e| format!("{file}: {e}"))?;
    parse(file, &text, default_interval, language).map_err(|e| format!("{file}: {e}"))
}

fn parse(file: &str, text: &str, default_interval: i64, language: Options) -> Result<Vec<Group>, String> {
    let node = yaml::parse(text).map_err(|e| e.to_string())?;
    let raw: Option<RuleFile> = yaml::from_node(&node).map_err(|e| e.to_string())?;
    let lines = node.get("groups").map(yaml::Node::items).unwrap_or_default();
    let mut groups: Vec<Group> = Vec::new();
    for (at, group) in raw.unwrap_or_default().groups.into_iter().enumerate() {
        let node = lines.get(at);
        let line = node.map_or(0, |n| n.line);
        if group.name.is_empty() {
            return Err(format!("{line}: Groupname must not be empty"));
        }
        if groups.iter().any(|g| g.name == group.name) {
            return Err(format!("{line}: groupname: \"{}\" is repeated in the same file", group.name));
        }
        check_labels(&group.labels)?;
        let rules = node.and_then(|n| n.get("rules")).map(yaml::Node::items).unwrap_or_default();
        let mut out = Group {
            file: file.to_owned(),
            interval: if group.interval.0 > 0 { group.interval.0 } else { default_interval },
            rules: Vec::new(),
            alerts: 0,
            name: group.name,
        };
        for (n, rule) in group.rules.into_iter().enumerate() {
            let expr = check(&rule, language).map_err(|e| {
                let line = rules.get(n).map_or(0, |node| node.line);
                let name = if rule.alert.is_empty() { &rule.record } else { &rule.alert };
                let quote = model::labels::quote;
                format!("{line}: group {}, rule {}, {}: {e}", quote(&out.name), n + 1, quote(name))
            })?;
            if !rule.alert.is_empty() {
                out.alerts += 1;
                continue;
            }
            let mut labels = group.labels.clone();
            labels.extend(rule.labels);
            out.rules.push(Rule { record: rule.record, expr, labels: labels.into_iter().collect() });
        }
        groups.push(out);
    }
    Ok(groups)
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    match labels.keys().find(|name| name.is_empty() || *name == model::METRIC_NAME) {
        Some(name) => Err(format!("invalid label name: {name}")),
        None => Ok(()),
    }
}

/// Gives the expression in the language's own spelling.
fn check(rule: &RawRule, language: Options) -> Result<String, String> {
    match (rule.record.is_empty(), rule.alert.is_empty()) {
        (false, false) => return Err("only one of 'record' and 'alert' must be set".into()),
        (true, true) => return Err("one of 'record' or 'alert' must be set".into()),
        _ => {}
    }
    if rule.expr.is_empty() {
        return Err("field 'expr' must be set in rule".into());
    }
    let expr = promql::parse(&rule.expr, language)
        .map_err(|e: ParseError| format!("could not parse expression: {e}"))?
        .to_string();
    if !rule.record.is_empty() {
        let fields = [
            ("annotations", !rule.annotations.is_empty()),
            ("for", rule.held.0 != 0),
            ("keep_firing_for", rule.keep_firing_for.0 != 0),
        ];
        if let Some((field, _)) = fields.iter().find(|(_, set)| *set) {
            return Err(format!("invalid field '{field}' in recording rule"));
        }
        if rule.record.contains(['{', '}']) {
            let name = &rule.record;
            return Err(format!("braces present in the recording rule name; should it be in expr?: {name}"));
        }
    }
    check_labels(&rule.labels)?;
    Ok(expr)
}

impl Group {
    /// `file;name`, as messages call it.
    pub(crate) fn key(&self) -> String {
        format!("{};{}", self.file, self.name)
    }

    /// The first evaluation at or after a time, both in nanoseconds: groups are spread over their interval by their
    /// name and file, as a server spreads them.
    pub(crate) fn first_evaluation(&self, from: i128) -> i128 {
        let interval = i128::from(self.interval.max(1)) * 1_000_000;
        let offset = i128::from(self.hash()) % interval;
        let aligned = from - offset;
        let at = aligned - aligned.rem_euclid(interval) + offset;
        if at < from { at + interval } else { at }
    }

    /// Of the labels `file` and `name`, each text behind its length.
    fn hash(&self) -> u64 {
        let mut bytes = Vec::new();
        for text in ["file", &self.file, "name", &self.name] {
            match u8::try_from(text.len()) {
                Ok(n) if n < 255 => bytes.push(n),
                _ => {
                    bytes.push(255);
                    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
                }
            }
            bytes.extend_from_slice(text.as_bytes());
        }
        xxh64(&bytes, 0)
    }
}

impl Rule {
    /// Labels of a result under the rule's name.
    pub(crate) fn label(&self, metric: &BTreeMap<String, String>) -> model::Labels {
        let mut builder = LabelsBuilder::new();
        for (name, value) in metric.iter().chain(self.labels.iter().map(|(n, v)| (n, v))) {
            builder.set(name, value);
        }
        builder.set(model::METRIC_NAME, &self.record);
        builder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "groups:\n- name: g\n  interval: 1m\n  labels: {team: z}\n  rules:\n  \
                         - record: a\n    expr: sum( b )\n    labels: {team: y}\n  - alert: Hot\n    expr: b > 1\n";

    #[test]
    fn groups_are_read_and_spread_as_upstream_spreads_them() {
        let groups = parse("rules.yml", RULES, 30_000, Options::default()).expect("reads");
        let [group] = groups.as_slice() else { panic!("one group") };
        assert_eq!((group.interval, group.rules.len(), group.alerts), (60_000, 1, 1));
        assert_eq!(group.rules[0].expr, "sum(b)");
        let labels = group.rules[0].label(&BTreeMap::from([("x".to_owned(), "1".to_owned())]));
        assert_eq!(labels.to_string(), "{__name__=\"a\", team=\"y\", x=\"1\"}");
        // Seen with promtool 3.14.
        let first = group.first_evaluation(1_700_000_000_000_000_000);
        assert_eq!((first + 500_000) / 1_000_000, 1_700_000_057_427);
    }

    #[test]
    fn refusals() {
        for (text, want) in [
            ("groups: [{name: ''}]", "1: Groupname must not be empty"),
            ("groups: [{name: g}, {name: g}]", "1: groupname: \"g\" is repeated in the same file"),
            (
                "groups:\n- name: g\n  rules:\n  - record: a\n    expr: sum(",
                "4: group \"g\", rule 1, \"a\": could not parse expression: 1:5: parse error: unclosed left parenthesis",
            ),
            (
                "groups:\n- name: g\n  rules:\n  - record: a\n    alert: b\n    expr: c",
                "4: group \"g\", rule 1, \"b\": only one of 'record' and 'alert' must be set",
            ),
            (
                "groups:\n- name: g\n  rules:\n  - record: a\n    for: 1m\n    expr: c",
                "4: group \"g\", rule 1, \"a\": invalid field 'for' in recording rule",
            ),
        ] {
            assert_eq!(parse("f", text, 1, Options::default()).expect_err("is refused"), want);
        }
    }
}
