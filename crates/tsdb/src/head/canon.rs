//! Label sets as they arrive: decoding, checking, and the canonical form.

use model::Labels;
use model::labels::{METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use storage::RejectReason;
use storage::key::{self, KeyError};

/// The canonical key of a checked label set.
pub(crate) fn key_of(labels: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        key::push_label(&mut out, name, value);
    }
    out
}

fn show(labels: &[(&str, &str)]) -> String {
    Labels::from_pairs(labels.iter().copied()).to_string()
}

/// Decodes and checks a key with upstream's rules for received series. `legacy`: names must be legal without
/// quotes. Fills `labels` (cleared first): sorted, unique names, no empty values; tells whether the bytes that
/// came are the canonical key themselves.
pub(crate) fn check<'a>(
    bytes: &'a [u8],
    legacy: bool,
    labels: &mut Vec<(&'a str, &'a str)>,
) -> Result<bool, RejectReason> {
    let invalid = |text: String| RejectReason::InvalidLabels(text);
    let plain = key::read_plain(bytes, labels);
    if !plain {
        labels.clear();
        for label in key::iter(bytes) {
            match label {
                Ok(label) => labels.push(label),
                Err(e @ (KeyError::Malformed | KeyError::NotUtf8)) => {
                    labels.retain(|(_, value)| !value.is_empty());
                    return Err(invalid(format!("invalid metric name or labels, got {}: {e}", show(labels))));
                }
            }
        }
    }
    let all = labels.len();
    labels.retain(|(_, value)| !value.is_empty());
    let dropped = labels.len() < all;
    let sorted = labels.is_sorted_by(|a, b| a.0 <= b.0);
    if !sorted {
        labels.sort_by(|a, b| a.0.cmp(b.0));
    }
    if let Some(twice) = labels.windows(2).find(|w| w[0].0 == w[1].0) {
        return Err(invalid(format!(
            "label name {} is not unique: labels {}",
            model::labels::quote(twice[0].0),
            show(labels)
        )));
    }
    let metric = labels.iter().find(|(name, _)| *name == METRIC_NAME);
    let legal = metric.is_some_and(|(_, value)| !legacy || is_legacy_metric_name(value))
        && labels.iter().all(|(name, _)| !name.is_empty() && (!legacy || is_legacy_label_name(name)));
    if !legal {
        return Err(invalid(format!("invalid metric name or labels, got {}", show(labels))));
    }
    // Other encodings of the same set exist (field order, unknown fields), so the bytes decide.
    Ok(sorted && !dropped && (plain || key_of(labels) == bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_bad(labels: &[(&str, &str)], legacy: bool, want: &str) {
        let key = key_of(labels);
        let text = check(&key, legacy, &mut Vec::new()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.starts_with(want), "{text}");
    }

    #[test]
    fn unsorted_sets_become_canonical() {
        let key = key_of(&[("job", "a"), ("__name__", "up"), ("empty", "")]);
        let mut got = Vec::new();
        assert!(!check(&key, false, &mut got).unwrap());
        assert_eq!(got, [("__name__", "up"), ("job", "a")]);
        let key = key_of(&got);
        assert!(check(&key, false, &mut Vec::new()).unwrap());
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
        assert!(check(&key_of(&[("__name__", "a.b"), ("x y", "1")]), false, &mut Vec::new()).is_ok());
        assert!(check(&[0x0a, 0xff], false, &mut Vec::new()).is_err());
        assert!(check(&[0x0a, 0x05, 0x0a, 0x01, 0xff, 0x12, 0x00], false, &mut Vec::new()).is_err());
    }
}
