//! Alerting rules: what their expression gives becomes pending, firing and resolved alerts.

use crate::evaluate::{Evaluator, Produced, seen};
use crate::template::{Context, Data, Template, labels_for_templates};
use model::{Labels, METRIC_NAME};
use query::SampleValue;
use std::collections::BTreeMap;
use std::sync::Arc;

const ALERT_NAME: &str = "alertname";
const STATE_LABEL: &str = "alertstate";
const ALERTS: &str = "ALERTS";
const FOR_STATE: &str = "ALERTS_FOR_STATE";
/// Resolved alerts are kept for so long, ms: whoever is told of them may have missed it.
const RESOLVED_RETENTION: i64 = 15 * 60_000;

/// In order of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    Inactive,
    Pending,
    Firing,
}

impl AlertState {
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Inactive => "inactive",
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
        }
    }
}

/// One alert; all times in ms.
#[derive(Clone, Debug)]
pub struct Alert {
    pub state: AlertState,
    pub labels: Labels,
    /// Sorted by name.
    pub annotations: Vec<(String, String)>,
    /// Of the newest evaluation that gave it; 0 for a histogram.
    pub value: f64,
    pub active_at: i64,
    pub fired_at: Option<i64>,
    pub resolved_at: Option<i64>,
    /// Since when the expression no longer gives it while `keep_firing_for` keeps it.
    pub keep_firing_since: Option<i64>,
}

/// A rule that makes alerts.
#[derive(Debug)]
pub struct AlertingRule {
    pub name: String,
    /// As the language prints it.
    pub expr: String,
    pub hold_ms: i64,
    pub keep_firing_ms: i64,
    /// Of group and rule, with their template.
    pub(crate) labels: Vec<(String, String, Template)>,
    pub(crate) annotations: Vec<(String, Template)>,
    pub(crate) external_labels: Arc<BTreeMap<String, String>>,
    pub(crate) external_url: String,
    /// The `for` state of an earlier process was taken over: from now on samples are written.
    pub(crate) restored: bool,
    pub(crate) active: BTreeMap<Labels, Alert>,
}

impl AlertingRule {
    /// Labels of group and rule, before their templates are filled.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(n, v, _)| (n.as_str(), v.as_str()))
    }

    /// Alerts that are not resolved, sorted by labels.
    pub fn active_alerts(&self) -> impl Iterator<Item = &Alert> {
        self.active.values().filter(|a| a.resolved_at.is_none())
    }

    /// The gravest state of its alerts.
    pub fn state(&self) -> AlertState {
        self.active.values().map(|a| a.state).max().unwrap_or(AlertState::Inactive)
    }

    /// From now on samples of the state are written.
    pub fn set_restored(&mut self) {
        self.restored = true;
    }

    pub(crate) fn evaluate(
        &mut self,
        evaluator: &Evaluator<'_>,
        at: i64,
        offset: i64,
        limit: i64,
    ) -> Result<Vec<Produced>, String> {
        let found = evaluator.vector(&self.expr, at - offset)?;
        let mut alerts = BTreeMap::new();
        for sample in &found {
            let alert = self.alert(evaluator, sample, at);
            if alerts.insert(alert.labels.clone(), alert).is_some() {
                return Err(
                    "vector contains metrics with the same labelset after applying alert labels".into()
                );
            }
        }
        let seen: Vec<Labels> = alerts.keys().cloned().collect();
        for (labels, alert) in alerts {
            match self.active.get_mut(&labels) {
                Some(known) if known.state != AlertState::Inactive => {
                    known.value = alert.value;
                    known.annotations = alert.annotations;
                }
                _ => {
                    self.active.insert(labels, alert);
                }
            }
        }
        let (hold, keep) = (self.hold_ms, self.keep_firing_ms);
        let mut active = Vec::new();
        self.active.retain(|labels, alert| {
            let given = seen.binary_search(labels).is_ok();
            let (stays, counts) = alert.advance(given, at, hold, keep);
            if counts {
                active.push(alert.clone());
            }
            stays
        });
        if limit > 0 && active.len() as i64 > limit {
            self.active.clear();
            return Err(format!("exceeded limit of {limit} with {} alerts", active.len()));
        }
        if !self.restored {
            return Ok(Vec::new());
        }
        let t = at - offset;
        Ok(active.iter().flat_map(|a| [self.state_sample(a, t), self.for_state_sample(a, t)]).collect())
    }

    /// A new alert from a sample of the result.
    fn alert(&self, evaluator: &Evaluator<'_>, sample: &Produced, at: i64) -> Alert {
        let data = Data {
            labels: labels_for_templates(&sample.labels),
            external_labels: self.external_labels.clone(),
            external_url: self.external_url.clone(),
            value: seen(&sample.value),
        };
        let query = |expr: &str| evaluator.samples(expr, at);
        let context = Context { query: &query, now_ms: at, external_url: evaluator.external_url };
        let expand = |template: &Template| match template.expand(&data, &context) {
            Ok(text) => text,
            Err(e) => format!("<error expanding template: {e}>"),
        };
        let mut labels = sample.labels.builder();
        labels.remove(METRIC_NAME);
        for (name, _, template) in &self.labels {
            labels.set(name, &expand(template));
        }
        labels.set(ALERT_NAME, &self.name);
        Alert {
            state: AlertState::Pending,
            labels: labels.finish(),
            annotations: self.annotations.iter().map(|(name, t)| (name.clone(), expand(t))).collect(),
            value: match &sample.value {
                SampleValue::Float(v) => *v,
                SampleValue::Histogram(_) => 0.0,
            },
            active_at: at,
            fired_at: None,
            resolved_at: None,
            keep_firing_since: None,
        }
    }

    fn sample(&self, alert: &Alert, name: &str, state: Option<AlertState>, t: i64, v: f64) -> Produced {
        let mut labels = Labels::empty().builder();
        for (name, value) in self.labels().chain(alert.labels.iter()) {
            labels.set(name, value);
        }
        labels.set(METRIC_NAME, name).set(ALERT_NAME, &self.name);
        if let Some(state) = state {
            labels.set(STATE_LABEL, state.as_str());
        }
        Produced::float(labels.finish(), t, v)
    }

    fn state_sample(&self, alert: &Alert, t: i64) -> Produced {
        self.sample(alert, ALERTS, Some(alert.state), t, 1.0)
    }

    fn for_state_sample(&self, alert: &Alert, t: i64) -> Produced {
        self.sample(alert, FOR_STATE, None, t, alert.active_at.div_euclid(1000) as f64)
    }
}

impl Alert {
    /// One round on. Tells whether the alert is kept, and whether it counts as active.
    fn advance(&mut self, given: bool, at: i64, hold: i64, keep: i64) -> (bool, bool) {
        use AlertState::{Firing, Inactive, Pending};
        let mut stays = true;
        if given {
            self.keep_firing_since = None;
        } else {
            let mut held = false;
            if self.state == Firing && keep > 0 {
                let since = *self.keep_firing_since.get_or_insert(at);
                held = at - since < keep;
            }
            let forgotten = self.resolved_at.is_some_and(|resolved| at - resolved > RESOLVED_RETENTION);
            stays = self.state != Pending && !forgotten;
            if self.state != Inactive && !held {
                self.state = Inactive;
                self.resolved_at = Some(at);
            }
            if !held {
                return (stays, false);
            }
        }
        let ripe = at - self.active_at >= hold;
        if self.state == Pending && ripe {
            self.state = Firing;
            self.fired_at = Some(at);
        }
        // The rule may wait longer than before.
        if self.state == Firing && !ripe {
            self.state = Pending;
            self.fired_at = None;
            self.keep_firing_since = None;
        }
        (stays, true)
    }
}
