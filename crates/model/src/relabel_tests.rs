//! Tests of relabelling: every action, templates, refusals.

use super::*;
use crate::labels::Labels;

fn rule(action: Action) -> RelabelConfig {
    RelabelConfig { action, ..RelabelConfig::default() }
}

fn from(sources: &[&str], regex: &str, target: &str, replacement: &str) -> RelabelConfig {
    RelabelConfig {
        source_labels: Some(sources.iter().map(|s| (*s).to_owned()).collect()),
        regex: (!regex.is_empty()).then(|| regex.to_owned()),
        target_label: target.into(),
        replacement: replacement.into(),
        ..RelabelConfig::default()
    }
}

#[track_caller]
fn check(labels: &[(&str, &str)], config: RelabelConfig, want: Option<&[(&str, &str)]>) {
    let rule = config.compile(NameValidation::Utf8).expect("compiles");
    let mut builder = Labels::from_pairs(labels.iter().copied()).builder();
    let kept = apply(&[rule], &mut builder);
    let got = kept.then(|| builder.finish());
    assert_eq!(got, want.map(|w| Labels::from_pairs(w.iter().copied())), "{config:?}");
}

#[test]
fn replace_copies_joins_and_deletes() {
    check(&[("a", "x")], from(&["a"], "", "b", "$1"), Some(&[("a", "x"), ("b", "x")]));
    check(&[("a", "x")], from(&["a"], "(y)", "b", "$1"), Some(&[("a", "x")]));
    check(
        &[("a", "x"), ("c", "z")],
        from(&["a", "c"], "(.);(.)", "a", "$2$1"),
        Some(&[("a", "zx"), ("c", "z")]),
    );
    check(&[("a", "x")], from(&["none"], "", "a", "$1"), Some(&[]));
    check(&[("a", "x")], from(&[], "", "b", "const"), Some(&[("a", "x"), ("b", "const")]));
    check(&[("a", "h:9100")], from(&["a"], r"([^:]+)(?::\d+)?", "a", "${1}:80"), Some(&[("a", "h:80")]));
    check(&[("a", "x\ny")], from(&["a"], "x.y", "a", "dot"), Some(&[("a", "dot")]));
}

#[test]
fn replace_expands_the_target_too() {
    check(
        &[("a", "foo-bar")],
        from(&["a"], "(.*)-(.*)", "l_$1", "$2"),
        Some(&[("a", "foo-bar"), ("l_foo", "bar")]),
    );
    // An empty target name after expansion changes nothing.
    check(&[("a", "x")], from(&["a"], "x()", "$1", "y"), Some(&[("a", "x")]));
}

#[test]
fn templates_follow_go() {
    let regex = Regexp::anchored("(?P<first>.)(.)(x)?").expect("compiles");
    for (template, want) in [
        ("$1", "a"),
        ("${1}", "a"),
        ("$2$1", "ba"),
        ("$first!", "a!"),
        ("${first}s", "as"),
        ("$firsts", ""),
        ("$$1", "$1"),
        ("$", "$"),
        ("${", "${"),
        ("${1", "${1"),
        ("$-", "$-"),
        ("${a-b}", "${a-b}"),
        ("$0", "ab"),
        ("$3|$4|$01", "||"),
        ("$1x", ""),
        ("$999999999999", ""),
    ] {
        let captures = regex.regex().captures("ab").expect("matches");
        assert_eq!(Template::parse(template, &regex).expand(&captures), want, "{template}");
    }
}

#[test]
fn keep_and_drop() {
    let labels = [("a", "foo"), ("b", "foo"), ("c", "other")];
    let with = |action, regex: &str| RelabelConfig { action, ..from(&["a"], regex, "", "$1") };
    check(&labels, with(Action::Keep, "f.*"), Some(&labels));
    check(&labels, with(Action::Keep, "f"), None);
    check(&labels, with(Action::Drop, "f.*"), None);
    check(&labels, with(Action::Drop, "f"), Some(&labels));
    let equal = |action, target| RelabelConfig { action, ..from(&["a"], "", target, "$1") };
    check(&labels, equal(Action::KeepEqual, "b"), Some(&labels));
    check(&labels, equal(Action::KeepEqual, "c"), None);
    check(&labels, equal(Action::DropEqual, "b"), None);
    check(&labels, equal(Action::DropEqual, "c"), Some(&labels));
}

#[test]
fn maps_drops_and_keeps_names() {
    let labels = [("__meta_my_bar", "aaa"), ("a", "foo")];
    let with = |action, regex: &str| RelabelConfig { regex: Some(regex.into()), ..rule(action) };
    let want = [("__meta_my_bar", "aaa"), ("a", "foo"), ("bar", "aaa")];
    check(&labels, with(Action::LabelMap, "__meta_my_(.*)"), Some(&want));
    check(&labels, with(Action::LabelDrop, "__meta.*"), Some(&[("a", "foo")]));
    check(&labels, with(Action::LabelKeep, "__meta.*"), Some(&[("__meta_my_bar", "aaa")]));
}

#[test]
fn cases_and_hash() {
    let with = |action| RelabelConfig { action, ..from(&["a"], "", "b", "$1") };
    check(&[("a", "bAr1É")], with(Action::Uppercase), Some(&[("a", "bAr1É"), ("b", "BAR1É")]));
    check(&[("a", "bAr1É")], with(Action::Lowercase), Some(&[("a", "bAr1É"), ("b", "bar1é")]));
    let hash = RelabelConfig { modulus: 1000, ..from(&["c"], "", "d", "$1") };
    let hash = RelabelConfig { action: Action::HashMod, ..hash };
    check(&[("c", "baz")], hash, Some(&[("c", "baz"), ("d", "976")]));
    assert_eq!(hash_mod("foo\nbar", 1000), 734);
}

#[track_caller]
fn refused(config: RelabelConfig, scheme: NameValidation, want: &str) {
    assert_eq!(config.validate(scheme).err().map(|e| e.0).as_deref(), Some(want), "{config:?}");
}

#[test]
fn refusals_have_upstreams_texts() {
    use NameValidation::{Legacy, Utf8};
    refused(
        rule(Action::Replace),
        Utf8,
        "relabel configuration for replace action requires 'target_label' value",
    );
    refused(rule(Action::HashMod), Utf8, "relabel configuration for hashmod requires non-zero modulus");
    refused(from(&["a"], "", "a-b", "$1"), Legacy, "\"a-b\" is invalid 'target_label' for replace action");
    refused(from(&["a"], "", "${-}", "$1"), Legacy, "\"${-}\" is invalid 'target_label' for replace action");
    assert!(from(&["a"], "", "a-b", "$1").validate(Utf8).is_ok());
    assert!(from(&["a"], "", "a_${1}_b$2", "$1").validate(Legacy).is_ok());
    let lower = RelabelConfig { action: Action::Lowercase, ..from(&["a"], "", "b", "x") };
    refused(lower, Utf8, "'replacement' can not be set for lowercase action");
    let equal = RelabelConfig { action: Action::DropEqual, ..from(&["a"], "(.*)", "b", "$1") };
    let text = "dropequal action requires only 'source_labels' and `target_label`, and no other fields";
    refused(equal, Utf8, text);
    let drop = RelabelConfig { source_labels: Some(vec![]), ..rule(Action::LabelDrop) };
    refused(drop, Utf8, "labeldrop action requires only 'regex', and no other fields");
    let map = RelabelConfig { replacement: "a-b".into(), ..rule(Action::LabelMap) };
    refused(map, Legacy, "\"a-b\" is invalid 'replacement' for labelmap action");
}
