//! Relabelling: rules that rewrite, keep or drop label sets (`relabel_configs` and its siblings).
//!
//! [`RelabelConfig`] is a rule as the file has it, [`Rule`] the same compiled, [`apply`] the pure application.
//! Expressions are anchored; replacement templates follow Go's `Regexp.Expand`.

use crate::labels::{LabelsBuilder, is_legacy_label_name, is_legacy_metric_name, quote};
use crate::regexp::Regexp;
use md5::{Digest, Md5};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;

const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REPLACEMENT: &str = "$1";

/// Which label and metric names are legal: `metric_name_validation_scheme`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NameValidation {
    /// Any non-empty text.
    #[default]
    Utf8,
    /// The old character set: letters, digits, underscore (and colon in metric names).
    Legacy,
}

impl NameValidation {
    pub fn label_name(self, name: &str) -> bool {
        match self {
            NameValidation::Utf8 => !name.is_empty(),
            NameValidation::Legacy => is_legacy_label_name(name),
        }
    }

    pub fn metric_name(self, name: &str) -> bool {
        match self {
            NameValidation::Utf8 => !name.is_empty(),
            NameValidation::Legacy => is_legacy_metric_name(name),
        }
    }
}

impl<'de> Deserialize<'de> for NameValidation {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "" | "utf8" => Ok(NameValidation::Utf8),
            "legacy" => Ok(NameValidation::Legacy),
            other => Err(de::Error::custom(format!("unrecognized ValidationScheme: {}", quote(other)))),
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    #[default]
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

impl Action {
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Replace => "replace",
            Action::Keep => "keep",
            Action::Drop => "drop",
            Action::KeepEqual => "keepequal",
            Action::DropEqual => "dropequal",
            Action::HashMod => "hashmod",
            Action::LabelMap => "labelmap",
            Action::LabelDrop => "labeldrop",
            Action::LabelKeep => "labelkeep",
            Action::Lowercase => "lowercase",
            Action::Uppercase => "uppercase",
        }
    }

    const ALL: [Action; 11] = [
        Action::Replace,
        Action::Keep,
        Action::Drop,
        Action::KeepEqual,
        Action::DropEqual,
        Action::HashMod,
        Action::LabelMap,
        Action::LabelDrop,
        Action::LabelKeep,
        Action::Lowercase,
        Action::Uppercase,
    ];
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Action {
    /// Any case is accepted, as upstream does.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        if text.is_empty() {
            return Err(de::Error::custom("relabel action cannot be empty"));
        }
        let lower = text.to_lowercase();
        Action::ALL
            .into_iter()
            .find(|a| a.as_str() == lower)
            .ok_or_else(|| de::Error::custom(format!("unknown relabel action {}", quote(&text))))
    }
}

/// One entry of a `relabel_configs` list, as written. Absent fields hold upstream's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelabelConfig {
    /// `None` when the field is absent, which differs from an empty list for `labeldrop` and `labelkeep`.
    #[serde(skip_serializing_if = "no_labels", serialize_with = "flow")]
    pub source_labels: Option<Vec<String>>,
    pub separator: String,
    /// `None` when absent: then `(.*)`. An explicit null is the empty expression.
    #[serde(deserialize_with = "regex_text", skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub modulus: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_label: String,
    pub replacement: String,
    pub action: Action,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        RelabelConfig {
            source_labels: None,
            separator: DEFAULT_SEPARATOR.into(),
            regex: None,
            modulus: 0,
            target_label: String::new(),
            replacement: DEFAULT_REPLACEMENT.into(),
            action: Action::Replace,
        }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn no_labels(labels: &Option<Vec<String>>) -> bool {
    labels.as_ref().is_none_or(Vec::is_empty)
}

/// Marks the list for the YAML writer, which shows it in flow style as upstream does.
fn flow<S: Serializer>(labels: &Option<Vec<String>>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_newtype_struct("$flow", labels.as_deref().unwrap_or(&[]))
}

/// An expression that compiles.
fn regex_text<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(d)?;
    Regexp::wrapped(&text).map_err(de::Error::custom)?;
    Ok(Some(text))
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RelabelError(pub String);

impl RelabelConfig {
    fn expression(&self) -> &str {
        self.regex.as_deref().unwrap_or(DEFAULT_REGEX)
    }

    /// Checks the rule as upstream's `relabel.Config.Validate` does, with its texts.
    pub fn validate(&self, scheme: NameValidation) -> Result<(), RelabelError> {
        use Action::*;
        let (action, target) = (self.action, self.target_label.as_str());
        let fail = |text: String| Err(RelabelError(text));
        if self.modulus == 0 && action == HashMod {
            return fail("relabel configuration for hashmod requires non-zero modulus".into());
        }
        let needs_target =
            matches!(action, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual);
        if needs_target && target.is_empty() {
            return fail(format!("relabel configuration for {action} action requires 'target_label' value"));
        }
        let valid_target = if action == Replace && target.contains('$') {
            valid_template(scheme, target)
        } else {
            !needs_target || scheme.label_name(target)
        };
        let bad_target = || fail(format!("{} is invalid 'target_label' for {action} action", quote(target)));
        // Upstream looks at the target of hashmod only after the fields below.
        if !valid_target && action != HashMod {
            return bad_target();
        }
        if matches!(action, Lowercase | Uppercase | KeepEqual | DropEqual)
            && self.replacement != DEFAULT_REPLACEMENT
        {
            return fail(format!("'replacement' can not be set for {action} action"));
        }
        if action == LabelMap && !valid_template(scheme, &self.replacement) {
            let shown = quote(&self.replacement);
            return fail(format!("{shown} is invalid 'replacement' for {action} action"));
        }
        if !valid_target {
            return bad_target();
        }
        let other_default = self.modulus == 0
            && self.separator == DEFAULT_SEPARATOR
            && self.replacement == DEFAULT_REPLACEMENT;
        if matches!(action, DropEqual | KeepEqual) && !(self.regex.is_none() && other_default) {
            return fail(format!(
                "{action} action requires only 'source_labels' and `target_label`, and no other fields"
            ));
        }
        if matches!(action, LabelDrop | LabelKeep)
            && !(self.source_labels.is_none() && target.is_empty() && other_default)
        {
            return fail(format!("{action} action requires only 'regex', and no other fields"));
        }
        Ok(())
    }

    /// Checks and compiles the rule.
    pub fn compile(&self, scheme: NameValidation) -> Result<Rule, RelabelError> {
        self.validate(scheme)?;
        let regex = Regexp::wrapped(self.expression()).map_err(|e| RelabelError(e.to_string()))?;
        Ok(Rule {
            source_labels: self.source_labels.clone().unwrap_or_default(),
            separator: self.separator.clone(),
            any: self.expression() == DEFAULT_REGEX,
            modulus: self.modulus,
            target: Template::parse(&self.target_label, &regex),
            target_label: self.target_label.clone(),
            replacement: Template::parse(&self.replacement, &regex),
            action: self.action,
            scheme,
            regex,
        })
    }
}

/// Compiles a list; the error is that of the first bad rule.
pub fn compile(configs: &[RelabelConfig], scheme: NameValidation) -> Result<Vec<Rule>, RelabelError> {
    configs.iter().map(|c| c.compile(scheme)).collect()
}

/// Whether a text that may hold `$1`, `${name}` can become a label name. With UTF-8 names every text can.
fn valid_template(scheme: NameValidation, text: &str) -> bool {
    if scheme == NameValidation::Utf8 {
        return !text.is_empty();
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut chars = text.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        if c == '$' {
            let braced = chars.next_if_eq(&'{').is_some();
            let mut name = 0;
            while chars.next_if(|c| word(*c)).is_some() {
                name += 1;
            }
            if name == 0 || (braced && chars.next() != Some('}')) {
                return false;
            }
        } else if !word(c) || (first && c.is_ascii_digit()) {
            return false;
        }
        first = false;
    }
    !first
}

/// A compiled rule.
#[derive(Debug)]
pub struct Rule {
    source_labels: Vec<String>,
    separator: String,
    regex: Regexp,
    /// The expression is `(.*)`: everything matches and group 1 is everything.
    any: bool,
    modulus: u64,
    target_label: String,
    target: Template,
    replacement: Template,
    action: Action,
    scheme: NameValidation,
}

impl Rule {
    pub fn action(&self) -> Action {
        self.action
    }

    /// The joined source values, borrowed when there is one source label.
    fn source<'a>(&self, labels: &'a LabelsBuilder) -> Cow<'a, str> {
        match self.source_labels.as_slice() {
            [] => Cow::Borrowed(""),
            [one] => Cow::Borrowed(labels.value(one)),
            many => {
                let mut joined = String::new();
                for (i, name) in many.iter().enumerate() {
                    if i > 0 {
                        joined.push_str(&self.separator);
                    }
                    joined.push_str(labels.value(name));
                }
                Cow::Owned(joined)
            }
        }
    }

    fn matches(&self, value: &str) -> bool {
        self.any || self.regex.is_match(value)
    }

    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let target = self.target_label.as_str();
        match self.action {
            Action::Keep => return self.matches(&self.source(labels)),
            Action::Drop => return !self.matches(&self.source(labels)),
            Action::KeepEqual => return labels.value(target) == self.source(labels),
            Action::DropEqual => return labels.value(target) != self.source(labels),
            Action::Replace => self.replace(labels),
            Action::Lowercase => {
                let value = map_chars(&self.source(labels), |c| single(c, c.to_lowercase()));
                labels.set(target, &value);
            }
            Action::Uppercase => {
                let value = map_chars(&self.source(labels), |c| single(c, c.to_uppercase()));
                labels.set(target, &value);
            }
            Action::HashMod => {
                let value = hash_mod(&self.source(labels), self.modulus).to_string();
                labels.set(target, &value);
            }
            Action::LabelMap => {
                let mapped: Vec<(String, String)> = labels
                    .iter()
                    .filter_map(|(name, value)| {
                        let captures = self.regex.regex().captures(name)?;
                        Some((self.replacement.expand(&captures), value.to_owned()))
                    })
                    .collect();
                for (name, value) in mapped {
                    if !name.is_empty() {
                        labels.set(&name, &value);
                    }
                }
            }
            Action::LabelDrop => {
                labels.retain(|name| !self.matches(name));
            }
            Action::LabelKeep => {
                labels.retain(|name| self.matches(name));
            }
        }
        true
    }

    fn replace(&self, labels: &mut LabelsBuilder) {
        let source = self.source(labels);
        if self.any
            && let (Some(target), Some(value)) = (self.target.plain(), self.replacement.with_all(&source))
        {
            if self.scheme.label_name(target) {
                let value = value.into_owned();
                labels.set(target, &value);
            }
            return;
        }
        let Some(captures) = self.regex.regex().captures(&source) else { return };
        let (target, value) = (self.target.expand(&captures), self.replacement.expand(&captures));
        drop(captures);
        if self.scheme.label_name(&target) {
            labels.set(&target, &value);
        }
    }
}

/// Applies rules in order. `false`: a rule says that the set is to be dropped; its labels are then undefined.
pub fn apply(rules: &[Rule], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

/// MD5 of the value, its last eight bytes as a big-endian number, modulo `modulus`.
fn hash_mod(value: &str, modulus: u64) -> u64 {
    let digest = Md5::digest(value.as_bytes());
    let tail = digest.as_slice().last_chunk::<8>().copied().unwrap_or_default();
    u64::from_be_bytes(tail) % modulus.max(1)
}

/// Go maps one character to one character; a mapping to several leaves the character as it is.
fn single(c: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ if c == '\u{130}' => 'i',
        _ => c,
    }
}

fn map_chars(text: &str, f: impl Fn(char) -> char) -> String {
    text.chars().map(f).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

/// A replacement text, parsed once: `$1`, `${1}`, `$name`, `${name}`, `$$`. What is not well formed stays as
/// it stands; a group that does not exist is empty.
#[derive(Debug)]
pub struct Template(Vec<Part>);

impl Template {
    /// The groups are those of `regex`.
    pub fn parse(text: &str, regex: &Regexp) -> Template {
        let mut parts: Vec<Part> = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                literal.push('$');
                rest = after;
                continue;
            }
            let Some((name, after)) = group_name(after) else {
                literal.push('$');
                rest = after;
                continue;
            };
            rest = after;
            let group = match group_number(name) {
                Some(number) => Some(number),
                None => regex.regex().capture_names().position(|n| n == Some(name)),
            };
            if let Some(group) = group {
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Group(group));
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Template(parts)
    }

    /// The text when it holds no groups.
    pub fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The expansion where groups 0 and 1 are the whole value and there are no others; `None` when it is not
    /// that simple.
    fn with_all<'a>(&'a self, value: &'a str) -> Option<Cow<'a, str>> {
        match self.0.as_slice() {
            [] => Some(Cow::Borrowed("")),
            [Part::Text(text)] => Some(Cow::Borrowed(text)),
            [Part::Group(0 | 1)] => Some(Cow::Borrowed(value)),
            _ => None,
        }
    }

    /// The text with what the groups have caught.
    pub fn expand(&self, captures: &regex::Captures<'_>) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(n) => out.push_str(captures.get(*n).map_or("", |m| m.as_str())),
            }
        }
        out
    }
}

/// Splits the name behind a `$` from what follows it.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let (inner, braced) = match text.strip_prefix('{') {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let end = inner.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(inner.len());
    if end == 0 {
        return None;
    }
    let (name, rest) = inner.split_at(end);
    if braced { rest.strip_prefix('}').map(|rest| (name, rest)) } else { Some((name, rest)) }
}

/// The number of a group; `None` for a name, which includes numbers with leading zeros and giant ones.
fn group_number(name: &str) -> Option<usize> {
    if (name.len() > 1 && name.starts_with('0')) || name.len() > 9 {
        return None;
    }
    if name.bytes().all(|b| b.is_ascii_digit()) { name.parse().ok() } else { None }
}

#[cfg(test)]
#[path = "relabel_tests.rs"]
mod tests;
