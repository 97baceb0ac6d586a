//! Rule files, as far as recording rules need them: groups, names, expressions, labels.

use disk::OsDisk;
use disk::small::{DEFAULT_LIMIT_BYTES, read_text};
use model::LabelsBuilder;
use promql::Options;
use std::collections::BTreeMap;
use std::path::Path;
use xxhash_rust::xxh64::xxh64;

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
    let options = rules::ReadOptions { language, ..rules::ReadOptions::default() };
    let read = rules::parse(text, options).map_err(|errors| errors.into_iter().next().unwrap_or_default())?;
    read.into_iter().map(|group| take(file, group, default_interval, language)).collect()
}

/// A checked group without its alerting rules.
fn take(
    file: &str,
    group: rules::GroupText,
    default_interval: i64,
    language: Options,
) -> Result<Group, String> {
    let mut out = Group {
        file: file.to_owned(),
        name: group.name,
        interval: if group.interval.0 > 0 { group.interval.0 } else { default_interval },
        rules: Vec::new(),
        alerts: 0,
    };
    for rule in group.rules {
        if !rule.alert.is_empty() {
            out.alerts += 1;
            continue;
        }
        let expr = promql::parse(&rule.expr, language).map_err(|e| e.to_string())?.to_string();
        let mut labels = group.labels.clone();
        labels.extend(rule.labels);
        out.rules.push(Rule { record: rule.record, expr, labels: labels.into_iter().collect() });
    }
    Ok(out)
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
}
