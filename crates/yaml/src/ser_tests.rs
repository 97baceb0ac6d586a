//! Tests of writing.

use super::*;
use proptest::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Job {
    job_name: &'static str,
    #[serde(rename = "$inline.rest")]
    rest: Rest,
    rules: Vec<Rule>,
    empty: Vec<String>,
}

#[derive(Serialize)]
struct Rest {
    password: &'static str,
    on: bool,
    labels: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
struct Rule {
    #[serde(serialize_with = "flow")]
    source_labels: Vec<&'static str>,
    separator: &'static str,
}

fn flow<S: serde::Serializer>(v: &[&'static str], s: S) -> Result<S::Ok, S::Error> {
    s.serialize_newtype_struct(FLOW, v)
}

#[test]
fn layout_is_upstreams() {
    let rule = || Rule { source_labels: vec!["a", "b,c"], separator: ";" };
    let labels = BTreeMap::from([("a", "1"), ("b", "x: y")]);
    let rest = Rest { password: "<secret>", on: true, labels };
    let job = Job { job_name: "node", rest, rules: vec![rule(), rule()], empty: vec![] };
    let text = to_string(&vec![job]).expect("writes");
    let want = "- job_name: node
  password: <secret>
  \"on\": true
  labels:
    a: \"1\"
    b: 'x: y'
  rules:
  - source_labels: [a, 'b,c']
    separator: ;
  - source_labels: [a, 'b,c']
    separator: ;
  empty: []
";
    assert_eq!(text, want);
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    let text = prop_oneof![
        "[a-z:#\\-?*&!|>'\"%@`\\[\\]{},= \\n0-9.~é]{0,12}",
        ".{0,8}",
        "[a-z ':#]{100,200}",
        Just("null".to_owned()),
        Just("- a".to_owned()),
        Just("0x1f".to_owned()),
    ];
    let leaf = prop_oneof![
        text.prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map("[a-z :\n-]{1,6}|[a-z ]{90}", inner, 0..4)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(value in tree()) {
        let written = to_string(&value).expect("writes");
        let back: Result<serde_json::Value, _> = crate::from_str(&written);
        prop_assert_eq!(back, Ok(value), "{}", written);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,60}", mixed in "[-a: \\n\\[\\]{},&*!|>\"'#?%<]{0,40}") {
        let _ = crate::parse(&text);
        let _ = crate::from_str::<serde_json::Value>(&mixed);
    }
}

#[track_caller]
fn check(text: &str, want: &str) {
    let written = to_string(text).expect("writes");
    assert_eq!(written, format!("{want}\n"), "{text:?}");
    let back: String = crate::from_str(&written).expect("reads back");
    assert_eq!(back, text);
}

#[test]
fn texts_are_quoted_where_they_must() {
    check("abc", "abc");
    check("", "\"\"");
    check("yes", "\"yes\"");
    check("12", "\"12\"");
    check("1.5", "\"1.5\"");
    check("1:30", "\"1:30\"");
    check("(.*)", "(.*)");
    check("$1", "$1");
    check("a: b", "'a: b'");
    check("- x", "'- x'");
    check("-x", "-x");
    check("*", "'*'");
    check("it's", "it's");
    check("'it", "'''it'");
    check("a\tb", "\"a\\tb\"");
    check("http://x:9090", "http://x:9090");
    check("a\nb", "|-\n  a\n  b");
    check("a\n\nb\n", "|\n  a\n\n  b");
    check("null", "\"null\"");
    check("a #b", "'a #b'");
    check("localhost:9090", "localhost:9090");
    check("2026-11-21", "\"2026-11-21\"");
    check("😀", "\"\\U0001F600\"");
    check(&format!("{} b", "a".repeat(90)), &format!("{}\n  b", "a".repeat(90)));
}
