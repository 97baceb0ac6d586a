//! Groups of rules: read from their text, evaluated one rule after the other.

use crate::alert::AlertingRule;
use crate::evaluate::{Evaluator, Produced};
use crate::file::{GroupText, RuleText};
use crate::template::Template;
use model::{Labels, METRIC_NAME};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use storage::Writer;

/// What a group is told beside its text.
#[derive(Clone, Debug, Default)]
pub struct GroupOptions {
    pub file: String,
    pub language: promql::Options,
    /// Interval of groups that name none, ms.
    pub interval_ms: i64,
    /// Offset of groups that name none, ms.
    pub query_offset_ms: i64,
    pub external_labels: BTreeMap<String, String>,
    /// For `.ExternalURL` in templates.
    pub external_url: String,
}

/// A rule whose result is stored under a name.
#[derive(Debug)]
pub struct RecordingRule {
    pub name: String,
    /// As the language prints it.
    pub expr: String,
    /// Of group and rule.
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug)]
pub enum Rule {
    Recording(RecordingRule),
    Alerting(Box<AlertingRule>),
}

#[derive(Debug)]
struct Slot {
    rule: Rule,
    last_error: Option<String>,
    /// Series that the last evaluation stored: those that are gone get a stale marker.
    series: BTreeSet<Labels>,
}

/// Rules that are evaluated together, in order.
#[derive(Debug)]
pub struct Group {
    pub file: String,
    pub name: String,
    pub interval_ms: i64,
    pub query_offset_ms: i64,
    /// Series or alerts that a rule may give; 0 for any number.
    pub limit: i64,
    slots: Vec<Slot>,
}

impl Group {
    /// Takes over a group of a file that was checked.
    pub fn new(text: &GroupText, options: &GroupOptions) -> Result<Group, String> {
        let external_labels = Arc::new(options.external_labels.clone());
        let mut slots = Vec::with_capacity(text.rules.len());
        for rule in &text.rules {
            let rule =
                build(rule, text, options, &external_labels).map_err(|e| format!("{}: {e}", options.file))?;
            slots.push(Slot { rule, last_error: None, series: BTreeSet::new() });
        }
        Ok(Group {
            file: options.file.clone(),
            name: text.name.clone(),
            interval_ms: if text.interval.0 > 0 { text.interval.0 } else { options.interval_ms },
            query_offset_ms: text.query_offset.map_or(options.query_offset_ms, |offset| offset.0),
            limit: text.limit,
            slots,
        })
    }

    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.slots.iter().map(|slot| &slot.rule)
    }

    /// Alerting rules.
    pub fn alerting(&self) -> impl Iterator<Item = &AlertingRule> {
        self.rules().filter_map(|rule| match rule {
            Rule::Alerting(rule) => Some(&**rule),
            Rule::Recording(_) => None,
        })
    }

    /// Writes samples of alerts from now on: there is no earlier state to take over.
    pub fn set_restored(&mut self) {
        for slot in &mut self.slots {
            if let Rule::Alerting(rule) = &mut slot.rule {
                rule.set_restored();
            }
        }
    }

    /// Names of rules whose last evaluation failed or had samples refused, with the reason.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &str)> {
        self.slots.iter().filter_map(|slot| Some((slot.rule.name(), slot.last_error.as_deref()?)))
    }

    /// One round at a time in ms: each rule sees what the ones before it stored.
    pub fn evaluate(&mut self, evaluator: &Evaluator<'_>, writer: &mut dyn Writer, at: i64) {
        let (offset, limit) = (self.query_offset_ms, self.limit);
        for slot in &mut self.slots {
            let produced = match &mut slot.rule {
                Rule::Recording(rule) => rule.evaluate(evaluator, at, offset, limit),
                Rule::Alerting(rule) => rule.evaluate(evaluator, at, offset, limit),
            };
            match produced {
                Ok(rows) => slot.store(evaluator, writer, rows, at - offset),
                Err(e) => slot.last_error = Some(e),
            }
        }
    }
}

impl Slot {
    /// Stores a result, and stale markers for what is no longer in it.
    fn store(&mut self, evaluator: &Evaluator<'_>, writer: &mut dyn Writer, mut rows: Vec<Produced>, t: i64) {
        self.last_error = None;
        let results = rows.len();
        let given: BTreeSet<&Labels> = rows.iter().map(|row| &row.labels).collect();
        let gone: Vec<Labels> = self.series.iter().filter(|s| !given.contains(s)).cloned().collect();
        rows.extend(gone.into_iter().map(|labels| Produced::float(labels, t, model::stale_nan())));
        match evaluator.append(writer, &rows) {
            Ok(refused) => {
                let mut stored = BTreeSet::new();
                for (row, refused) in rows.into_iter().zip(refused).take(results) {
                    match refused {
                        Some(reason) => self.last_error = Some(reason),
                        None => {
                            stored.insert(row.labels);
                        }
                    }
                }
                self.series = stored;
            }
            Err(e) => self.last_error = Some(e),
        }
    }
}

fn build(
    rule: &RuleText,
    group: &GroupText,
    options: &GroupOptions,
    external_labels: &Arc<BTreeMap<String, String>>,
) -> Result<Rule, String> {
    let expr = promql::parse(&rule.expr, options.language).map_err(|e| e.to_string())?.to_string();
    let mut labels = group.labels.clone();
    labels.extend(rule.labels.clone());
    if rule.alert.is_empty() {
        return Ok(Rule::Recording(RecordingRule { name: rule.record.clone(), expr, labels }));
    }
    let template = |text: &str| Template::of_alert(&rule.alert, text);
    let with_templates: Result<Vec<_>, String> =
        labels.into_iter().map(|(n, v)| template(&v).map(|t| (n, v, t))).collect();
    let annotations: Result<Vec<_>, String> =
        rule.annotations.iter().map(|(n, v)| template(v).map(|t| (n.clone(), t))).collect();
    Ok(Rule::Alerting(Box::new(AlertingRule {
        name: rule.alert.clone(),
        expr,
        hold_ms: rule.hold.0,
        keep_firing_ms: rule.keep_firing_for.0,
        labels: with_templates?,
        annotations: annotations?,
        external_labels: external_labels.clone(),
        external_url: options.external_url.clone(),
        restored: false,
        active: BTreeMap::new(),
    })))
}

impl Rule {
    pub fn name(&self) -> &str {
        match self {
            Rule::Recording(rule) => &rule.name,
            Rule::Alerting(rule) => &rule.name,
        }
    }
}

impl RecordingRule {
    fn evaluate(
        &self,
        evaluator: &Evaluator<'_>,
        at: i64,
        offset: i64,
        limit: i64,
    ) -> Result<Vec<Produced>, String> {
        let mut rows = evaluator.vector(&self.expr, at - offset)?;
        let mut seen = BTreeSet::new();
        for row in &mut rows {
            let mut labels = row.labels.builder();
            labels.set(METRIC_NAME, &self.name);
            for (name, value) in &self.labels {
                labels.set(name, value);
            }
            row.labels = labels.finish();
            if !seen.insert(row.labels.clone()) {
                return Err(
                    "vector contains metrics with the same labelset after applying rule labels".into()
                );
            }
        }
        if limit > 0 && rows.len() as i64 > limit {
            return Err(format!("exceeded limit of {limit} with {} series", rows.len()));
        }
        Ok(rows)
    }
}
