//! Labels of scraped series: target labels, conflicts, relabelling, limits, and the key that is written.

use super::config::Job;
use model::labels::quote;
use model::relabel::{NameValidation, Rule, apply};
use model::{Labels, LabelsBuilder, METRIC_NAME};
use storage::key::push_label;
use wire::exposition::LabelBuf;

/// What becomes of a series.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shaped {
    /// Its key has been appended.
    Keep,
    Drop,
}

/// Why the whole scrape is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Invalid(String),
    LabelLimit(String),
}

/// Turns scraped labels into what is stored. One per target.
#[derive(Debug)]
pub(super) struct Shaper {
    /// Sorted.
    target: Labels,
    honor: bool,
    validation: NameValidation,
    labels: usize,
    name_bytes: usize,
    value_bytes: usize,
    builder: LabelsBuilder,
}

impl Shaper {
    pub(super) fn new(job: &Job, target: &Labels) -> Self {
        let limit = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Shaper {
            target: target.clone(),
            honor: job.honor_labels,
            validation: job.validation,
            labels: limit(job.label_limit),
            name_bytes: limit(job.label_name_length_limit),
            value_bytes: limit(job.label_value_length_limit),
            builder: LabelsBuilder::new(),
        }
    }

    /// Adds the target's labels, relabels and checks; appends the canonical key to `out`. `scraped` gets
    /// sorted.
    pub(super) fn shape(
        &mut self,
        scraped: &mut LabelBuf,
        rules: &[Rule],
        out: &mut Vec<u8>,
    ) -> Result<Shaped, Refused> {
        scraped.sort();
        if let Some(name) = scraped.duplicate() {
            return Err(Refused::Invalid(format!(
                "label name {} is not unique: invalid sample",
                quote(name)
            )));
        }
        if rules.is_empty() && !self.conflicts(scraped) {
            let merged =
                Merged { a: scraped.iter().filter(not_empty).peekable(), b: self.target.iter().peekable() };
            self.check(merged.clone())?;
            for (name, value) in merged {
                push_label(out, name, value);
            }
            return Ok(Shaped::Keep);
        }
        self.builder.clear();
        for (name, value) in scraped.iter() {
            self.builder.set(name, value);
        }
        add_target_labels(&mut self.builder, scraped, &self.target, self.honor);
        if !apply(rules, &mut self.builder) || self.builder.is_empty() {
            return Ok(Shaped::Drop);
        }
        self.check(self.builder.iter())?;
        for (name, value) in self.builder.iter() {
            push_label(out, name, value);
        }
        Ok(Shaped::Keep)
    }

    fn conflicts(&self, scraped: &LabelBuf) -> bool {
        let mut target = self.target.iter().peekable();
        for (name, value) in scraped.iter() {
            while target.next_if(|(t, _)| *t < name).is_some() {}
            if target.peek().is_some_and(|(t, _)| *t == name) && (self.honor || !value.is_empty()) {
                return true;
            }
        }
        false
    }

    /// Names and limits of sorted labels.
    fn check<'l>(&self, labels: impl Iterator<Item = (&'l str, &'l str)> + Clone) -> Result<(), Refused> {
        let name = labels.clone().find(|(n, _)| *n == METRIC_NAME).map_or("", |(_, v)| v);
        if name.is_empty() {
            return Err(Refused::Invalid("missing metric name (__name__ label)".into()));
        }
        let valid = labels.clone().all(|(n, v)| match n {
            METRIC_NAME => self.validation.metric_name(v),
            n => self.validation.label_name(n),
        });
        if !valid {
            let shown = Labels::from_pairs(labels);
            return Err(Refused::Invalid(format!("invalid metric name or label names: {shown}")));
        }
        if self.labels > 0 {
            let count = labels.clone().count();
            if count > self.labels {
                return Err(Refused::LabelLimit(format!(
                    "label_limit exceeded (metric: {}, number of labels: {count}, limit: {})",
                    cut(name),
                    self.labels
                )));
            }
        }
        if self.name_bytes == 0 && self.value_bytes == 0 {
            return Ok(());
        }
        for (label, value) in labels {
            if self.name_bytes > 0 && label.len() > self.name_bytes {
                return Err(Refused::LabelLimit(format!(
                    "label_name_length_limit exceeded (metric: {}, label name: {}, length: {}, limit: {})",
                    cut(name),
                    cut(label),
                    label.len(),
                    self.name_bytes
                )));
            }
            if self.value_bytes > 0 && value.len() > self.value_bytes {
                return Err(Refused::LabelLimit(format!(
                    "label_value_length_limit exceeded (metric: {}, label name: {}, value: {}, length: {}, limit: {})",
                    cut(name),
                    cut(label),
                    quote(&cut(value)),
                    value.len(),
                    self.value_bytes
                )));
            }
        }
        Ok(())
    }
}

fn not_empty(label: &(&str, &str)) -> bool {
    !label.1.is_empty()
}

/// The first fifty characters, as error texts show them.
fn cut(text: &str) -> String {
    text.chars().take(50).collect()
}

/// Two sorted lists without common names, as one.
#[derive(Clone)]
struct Merged<A: Iterator + Clone, B: Iterator + Clone>
where
    A::Item: Clone,
    B::Item: Clone,
{
    a: std::iter::Peekable<A>,
    b: std::iter::Peekable<B>,
}

impl<'l, A, B> Iterator for Merged<A, B>
where
    A: Iterator<Item = (&'l str, &'l str)> + Clone,
    B: Iterator<Item = (&'l str, &'l str)> + Clone,
{
    type Item = (&'l str, &'l str);

    fn next(&mut self) -> Option<Self::Item> {
        match (self.a.peek(), self.b.peek()) {
            (Some(a), Some(b)) if a.0 < b.0 => self.a.next(),
            (_, Some(_)) => self.b.next(),
            _ => self.a.next(),
        }
    }
}

/// Adds labels of the target. Where both have a label, `honor` keeps the scraped one, even an empty one (this
/// is how a push gateway asks for no `instance`); otherwise that moves to `exported_…`.
fn add_target_labels(labels: &mut LabelsBuilder, scraped: &LabelBuf, target: &Labels, honor: bool) {
    let mut conflicts: Vec<(String, String)> = Vec::new();
    for (name, value) in target {
        if honor && scraped.get(name).is_some() {
            continue;
        }
        let exposed = labels.value(name);
        if !exposed.is_empty() {
            conflicts.push((name.to_owned(), exposed.to_owned()));
        }
        labels.set(name, value);
    }
    conflicts.sort_by_key(|(name, _)| name.len());
    for (mut name, value) in conflicts {
        loop {
            name.insert_str(0, "exported_");
            if labels.value(&name).is_empty() {
                labels.set(&name, &value);
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::config::{Globals, ScrapeConfig};
    use model::relabel::{Action, RelabelConfig, compile};

    fn run(
        edit: impl FnOnce(&mut ScrapeConfig),
        target: &[(&str, &str)],
        scraped: &[(&str, &str)],
    ) -> Result<String, Refused> {
        let mut config = ScrapeConfig { job_name: "j".into(), ..ScrapeConfig::default() };
        edit(&mut config);
        let job = config.resolve(&Globals::default()).unwrap();
        let rules = compile(&job.metric_relabel, job.validation).unwrap();
        let mut shaper = Shaper::new(&job, &Labels::from_pairs(target.iter().copied()));
        let mut buf = LabelBuf::default();
        for (name, value) in scraped {
            buf.push(name, value);
        }
        let mut key = Vec::new();
        let shaped = shaper.shape(&mut buf, &rules, &mut key)?;
        if shaped == Shaped::Drop {
            return Ok("dropped".into());
        }
        let pairs: Vec<_> = storage::key::iter(&key).map(Result::unwrap).collect();
        let labels = Labels::from_pairs(pairs);
        assert_eq!(storage::key::of_labels(&labels), key, "canonical");
        Ok(labels.to_string())
    }

    #[test]
    fn target_labels_are_added() {
        let target = [("instance", "i"), ("job", "j")];
        let got = run(|_| (), &target, &[("__name__", "m"), ("x", "1"), ("e", "")]);
        assert_eq!(got.unwrap(), r#"{__name__="m", instance="i", job="j", x="1"}"#);
    }

    #[test]
    fn conflicts_move_aside_unless_honoured() {
        let target = [("instance", "i"), ("job", "j")];
        let scraped = [("__name__", "m"), ("job", "own"), ("exported_job", "older")];
        let moved =
            r#"{__name__="m", exported_exported_job="own", exported_job="older", instance="i", job="j"}"#;
        assert_eq!(run(|_| (), &target, &scraped).unwrap(), moved);
        let kept = r#"{__name__="m", exported_job="older", instance="i", job="own"}"#;
        assert_eq!(run(|c| c.honor_labels = true, &target, &scraped).unwrap(), kept);
        let empty = [("__name__", "m"), ("instance", "")];
        assert_eq!(run(|c| c.honor_labels = true, &target, &empty).unwrap(), r#"{__name__="m", job="j"}"#);
    }

    #[test]
    fn rules_drop_and_rename() {
        let rule = |regex: &str, action| RelabelConfig {
            source_labels: Some(vec!["__name__".into()]),
            regex: Some(regex.into()),
            action,
            ..RelabelConfig::default()
        };
        let edit = |c: &mut ScrapeConfig| c.metric_relabel_configs = vec![rule("go_.*", Action::Drop)];
        assert_eq!(run(edit, &[], &[("__name__", "go_x")]).unwrap(), "dropped");
        assert_eq!(run(edit, &[], &[("__name__", "m")]).unwrap(), r#"{__name__="m"}"#);
    }

    #[test]
    fn limits_refuse_the_scrape() {
        let scraped = [("__name__", "m"), ("abcdef", "123456789")];
        let text = |edit: fn(&mut ScrapeConfig)| match run(edit, &[("job", "j")], &scraped) {
            Err(Refused::LabelLimit(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            text(|c| c.label_limit = 2),
            "label_limit exceeded (metric: m, number of labels: 3, limit: 2)"
        );
        assert_eq!(
            text(|c| c.label_name_length_limit = 7),
            "label_name_length_limit exceeded (metric: m, label name: __name__, length: 8, limit: 7)",
        );
        assert_eq!(
            text(|c| c.label_value_length_limit = 8),
            "label_value_length_limit exceeded (metric: m, label name: abcdef, value: \"123456789\", length: 9, limit: 8)"
        );
    }

    #[test]
    fn names_are_checked() {
        let invalid = |r: Result<String, Refused>| match r {
            Err(Refused::Invalid(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(invalid(run(|_| (), &[], &[("a", "b")])), "missing metric name (__name__ label)");
        assert_eq!(
            invalid(run(
                |c| c.metric_name_validation_scheme = Some(NameValidation::Legacy),
                &[],
                &[("__name__", "a.b")]
            )),
            "invalid metric name or label names: {__name__=\"a.b\"}"
        );
        assert_eq!(
            invalid(run(|_| (), &[], &[("__name__", "m"), ("a", "1"), ("a", "2")])),
            "label name \"a\" is not unique: invalid sample"
        );
    }
}
