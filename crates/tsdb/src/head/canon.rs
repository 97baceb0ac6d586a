//! Label sets as they arrive: decoding, checking, and the canonical form.

use model::Labels;
use model::labels::{METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use storage::RejectReason;
use storage::key::{self, KeyError};

/// A checked label set: sorted, unique names, no empty values.
pub(crate) struct Checked<'a> {
    pub(crate) labels: Vec<(&'a str, &'a str)>,
    /// The bytes that came are the canonical key themselves.
    pub(crate) canonical: bool,
}

impl Checked<'_> {
    /// The canonical key.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in &self.labels {
            key::push_label(&mut out, name, value);
        }
        out
    }
}

fn show(labels: &[(&str, &str)]) -> String {
    Labels::from_pairs(labels.iter().copied()).to_string()
}

/// Decodes and checks a key with upstream's rules for received series. `legacy`: names must be legal without
/// quotes.
pub(crate) fn check(bytes: &[u8], legacy: bool) -> Result<Checked<'_>, RejectReason> {
    let invalid = |text: String| RejectReason::InvalidLabels(text);
    let mut labels: Vec<(&str, &str)> = Vec::new();
    let mut dropped = false;
    for label in key::iter(bytes) {
        match label {
            Ok((_, "")) => dropped = true,
            Ok(label) => labels.push(label),
            Err(e @ (KeyError::Malformed | KeyError::NotUtf8)) => {
                return Err(invalid(format!("invalid metric name or labels, got {}: {e}", show(&labels))));
            }
        }
    }
    let sorted = labels.is_sorted_by(|a, b| a.0 <= b.0);
    if !sorted {
        labels.sort_by(|a, b| a.0.cmp(b.0));
    }
    if let Some(twice) = labels.windows(2).find(|w| w[0].0 == w[1].0) {
        return Err(invalid(format!(
            "label name {} is not unique: labels {}",
            model::labels::quote(twice[0].0),
            show(&labels)
        )));
    }
    let metric = labels.iter().find(|(name, _)| *name == METRIC_NAME);
    let legal = metric.is_some_and(|(_, value)| !legacy || is_legacy_metric_name(value))
        && labels.iter().all(|(name, _)| !name.is_empty() && (!legacy || is_legacy_label_name(name)));
    if !legal {
        return Err(invalid(format!("invalid metric name or labels, got {}", show(&labels))));
    }
    // Other encodings of the same set exist (field order, unknown fields), so the bytes decide.
    let canonical = sorted && !dropped && is_key_of(bytes, &labels);
    Ok(Checked { labels, canonical })
}

fn is_key_of(bytes: &[u8], labels: &[(&str, &str)]) -> bool {
    let mut want = Vec::with_capacity(bytes.len());
    for (name, value) in labels {
        key::push_label(&mut want, name, value);
    }
    want == bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(labels: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in labels {
            key::push_label(&mut out, name, value);
        }
        out
    }

    fn check_bad(labels: &[(&str, &str)], legacy: bool, want: &str) {
        let key = key_of(labels);
        let text = check(&key, legacy).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.starts_with(want), "{text}");
    }

    #[test]
    fn unsorted_sets_become_canonical() {
        let key = key_of(&[("job", "a"), ("__name__", "up"), ("empty", "")]);
        let got = check(&key, false).unwrap();
        assert!(!got.canonical);
        assert_eq!(got.key(), key_of(&[("__name__", "up"), ("job", "a")]));
        let key = got.key();
        assert!(check(&key, false).unwrap().canonical);
    }

    #[test]
    fn bad_sets_are_refused() {
        check_bad(&[("job", "a")], false, r#"invalid metric name or labels, got {job="a"}"#);
        check_bad(&[], false, "invalid metric name or labels, got {}");
        check_bad(&[("__name__", "")], false, "invalid metric name or labels, got {}");
        check_bad(&[("__name__", "a"), ("x", "1"), ("x", "2")], false, r#"label name "x" is not unique"#);
        check_bad(&[("__name__", "a.b")], true, "invalid metric name or labels");
        check_bad(&[("__name__", "a"), ("x y", "1")], true, "invalid metric name or labels");
        check_bad(&[("__name__", "a"), ("", "1")], false, "invalid metric name or labels");
        assert!(check(&key_of(&[("__name__", "a.b"), ("x y", "1")]), false).is_ok());
        assert!(check(&[0x0a, 0xff], false).is_err());
        assert!(check(&[0x0a, 0x05, 0x0a, 0x01, 0xff, 0x12, 0x00], false).is_err());
    }
}
