//! Rule files: groups, names, expressions, labels, templates. All that is wrong is told at once, in upstream's words.

use crate::template::Template;
use model::duration::DurationMs;
use model::labels::quote;
use model::{METRIC_NAME, relabel::NameValidation};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use yaml::{Kind, Node};

/// How a file is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    pub language: promql::Options,
    /// Fields that no version knows are passed over.
    pub ignore_unknown_fields: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuleFile {
    groups: Vec<GroupText>,
}

/// A group as it stands in a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename = "RuleGroup")]
pub struct GroupText {
    pub name: String,
    /// 0 where the file does not say.
    pub interval: DurationMs,
    pub query_offset: Option<DurationMs>,
    pub limit: i64,
    pub rules: Vec<RuleText>,
    pub labels: BTreeMap<String, String>,
}

/// A rule as it stands in a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename = "Rule")]
pub struct RuleText {
    pub record: String,
    pub alert: String,
    pub expr: String,
    #[serde(rename = "for")]
    pub hold: DurationMs,
    pub keep_firing_for: DurationMs,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

const FILE_FIELDS: &[&str] = &["groups"];
const GROUP_FIELDS: &[&str] = &["name", "interval", "query_offset", "limit", "rules", "labels"];
const RULE_FIELDS: &[&str] = &["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"];

/// Reads and checks the text of a file. Errors do not name the file; there is at least one.
pub fn parse(text: &str, options: ReadOptions) -> Result<Vec<GroupText>, Vec<String>> {
    let mut node = yaml::parse(text).map_err(|e| vec![e.to_string()])?;
    if options.ignore_unknown_fields {
        retain(&mut node, FILE_FIELDS);
        for group in field_items(&mut node, "groups") {
            retain(group, GROUP_FIELDS);
            field_items(group, "rules").iter_mut().for_each(|rule| retain(rule, RULE_FIELDS));
        }
    }
    let raw: Option<RuleFile> = yaml::from_node(&node).map_err(|e| vec![e.to_string()])?;
    let groups = raw.unwrap_or_default().groups;
    let places = node.get("groups").map(Node::items).unwrap_or_default();
    let mut errors = Vec::new();
    let mut names = BTreeSet::new();
    for (at, group) in groups.iter().enumerate() {
        let place = places.get(at);
        let (line, column) = place.map_or((0, 0), |n| (n.line, n.column));
        if group.name.is_empty() {
            errors.push(format!("{line}:{column}: Groupname must not be empty"));
        }
        if !names.insert(&group.name) {
            let name = &group.name;
            errors.push(format!("{line}:{column}: groupname: \"{name}\" is repeated in the same file"));
        }
        errors.extend(bad_labels(&group.labels));
        let rules = place.and_then(|n| n.get("rules")).map(Node::items).unwrap_or_default();
        for (i, rule) in group.rules.iter().enumerate() {
            let name = if rule.alert.is_empty() { &rule.record } else { &rule.alert };
            let head = format!("group {}, rule {}, {}", quote(&group.name), i + 1, quote(name));
            let found = rule.check(rules.get(i), options.language);
            errors.extend(found.into_iter().map(|(place, text)| format!("{place}{head}: {text}")));
        }
    }
    if errors.is_empty() { Ok(groups) } else { Err(errors) }
}

fn retain(node: &mut Node, known: &[&str]) {
    if let Kind::Map(entries) = &mut node.kind {
        entries.retain(|(key, _)| key.as_str().is_some_and(|k| known.contains(&k)));
    }
}

fn field_items<'n>(node: &'n mut Node, key: &str) -> &'n mut [Node] {
    let Kind::Map(entries) = &mut node.kind else { return &mut [] };
    match entries.iter_mut().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| &mut v.kind) {
        Some(Kind::Seq(items)) => items,
        _ => &mut [],
    }
}

fn bad_labels(labels: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    labels
        .keys()
        .filter(|name| !NameValidation::Utf8.label_name(name) || *name == METRIC_NAME)
        .map(|name| format!("invalid label name: {name}"))
}

impl RuleText {
    /// What is wrong, each with its place in the file in front of it.
    fn check(&self, node: Option<&Node>, language: promql::Options) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let place = |field: &str| {
            let (line, column) = node.and_then(|n| n.get(field)).map_or((0, 0), |n| (n.line, n.column));
            format!("{line}:{column}: ")
        };
        let both = || format!("{}{}", place("record"), place("alert"));
        match (self.record.is_empty(), self.alert.is_empty()) {
            (false, false) => found.push((both(), "only one of 'record' and 'alert' must be set".into())),
            (true, true) => found.push((both(), "one of 'record' or 'alert' must be set".into())),
            _ => {}
        }
        if self.expr.is_empty() {
            found.push((place("expr"), "field 'expr' must be set in rule".into()));
        } else if let Err(e) = promql::parse(&self.expr, language) {
            found.push((place("expr"), format!("could not parse expression: {e}")));
        }
        if !self.record.is_empty() {
            for (field, given) in [
                ("annotations", !self.annotations.is_empty()),
                ("for", self.hold.0 != 0),
                ("keep_firing_for", self.keep_firing_for.0 != 0),
            ] {
                if given {
                    found.push((place("record"), format!("invalid field '{field}' in recording rule")));
                }
            }
            if self.record.contains(['{', '}']) {
                let text = "braces present in the recording rule name; should it be in expr?";
                found.push((place("record"), format!("{text}: {}", self.record)));
            }
        }
        found.extend(bad_labels(&self.labels).map(|text| (String::new(), text)));
        let bad_names = self.annotations.keys().filter(|name| !NameValidation::Utf8.label_name(name));
        found.extend(bad_names.map(|name| (String::new(), format!("invalid annotation name: {name}"))));
        if !self.alert.is_empty() {
            let texts = |kind: &'static str, map: &BTreeMap<String, String>| -> Vec<(String, String)> {
                let wrong = map.iter().filter_map(|(name, text)| {
                    let e = Template::of_alert(&self.alert, text).err()?;
                    Some((String::new(), format!("{kind} {}: {e}", quote(name))))
                });
                wrong.collect()
            };
            found.extend(texts("label", &self.labels));
            found.extend(texts("annotation", &self.annotations));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        parse(text, ReadOptions::default()).err().unwrap_or_default()
    }

    #[test]
    fn refusals_have_upstreams_texts() {
        for (text, want) in [
            ("groups: [{name: ''}]", "1:10: Groupname must not be empty"),
            ("groups: [{name: g}, {name: g}]", "1:21: groupname: \"g\" is repeated in the same file"),
            (
                "groups:\n- name: g\n  rules:\n  - record: a\n    expr: sum(",
                "5:11: group \"g\", rule 1, \"a\": could not parse expression: 1:5: parse error: unclosed left parenthesis",
            ),
            (
                "groups:\n- name: g\n  rules:\n  - record: a\n    alert: b\n    expr: c",
                "4:13: 5:12: group \"g\", rule 1, \"b\": only one of 'record' and 'alert' must be set",
            ),
            (
                "groups:\n- name: g\n  rules:\n  - expr: c",
                "0:0: 0:0: group \"g\", rule 1, \"\": one of 'record' or 'alert' must be set",
            ),
            (
                "groups:\n- name: g\n  rules:\n  - record: a\n    for: 1m\n    expr: c",
                "4:13: group \"g\", rule 1, \"a\": invalid field 'for' in recording rule",
            ),
            (
                "groups:\n- name: g\n  rules:\n  - alert: a\n    expr: c\n    labels: {x: '{{ nope }}'}",
                "group \"g\", rule 1, \"a\": label \"x\": template: __alert_a:1: function \"nope\" not defined",
            ),
        ] {
            assert_eq!(errors(text), [want]);
        }
        assert_eq!(errors("groups: [{name: g, labels: {__name__: x}}]"), ["invalid label name: __name__"]);
    }

    #[test]
    fn unknown_fields_are_refused_or_passed_over() {
        let text =
            "x: 1\ngroups:\n- name: g\n  owner: me\n  rules:\n  - record: a\n    expr: b\n    note: x\n";
        assert!(errors(text)[0].contains("field"), "{:?}", errors(text));
        let options = ReadOptions { ignore_unknown_fields: true, ..ReadOptions::default() };
        assert_eq!(parse(text, options).expect("reads")[0].rules[0].record, "a");
        assert!(parse("", ReadOptions::default()).expect("empty").is_empty());
    }
}
