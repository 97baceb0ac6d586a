//! Tests of reading: spelling, null, inlining, errors with line and path.

use super::*;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Outer {
    name: String,
    on: bool,
    n: u64,
    ratio: f64,
    list: Vec<String>,
    map: BTreeMap<String, String>,
    inner: Option<Box<Outer>>,
    items: Vec<Outer>,
    #[serde(rename = "$inline.creds")]
    creds: Creds,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Creds {
    password: String,
    secure: bool,
    #[serde(rename = "$inline.deep")]
    deep: Deep,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Deep {
    proxy: String,
}

#[track_caller]
fn name(text: &str, want: &str) {
    let got: Outer = from_str(text).expect(text);
    assert_eq!(got.name, want, "{text}");
}

#[test]
fn texts_keep_their_spelling() {
    name("name: 0123", "0123");
    name("name: 1.50", "1.50");
    name("name: yes", "yes");
    name("name: 'a''b'", "a'b");
    name("name: \"a\\tb\"", "a\tb");
    name("name: null", "");
    name("name: \"null\"", "null");
    name("name:", "");
    name("name: !!binary aGkh", "hi!");
    name("name: !!binary aGk=", "hi");
    name("", "");
    name("--- # comment\nname: a\n---\nname: [other document", "a");
}

#[test]
fn numbers_and_booleans_follow_yaml_1_1() {
    let got: Outer =
        from_str("on: on\nn: 1_000\nratio: 1\nlist: [1, yes, ~]\nmap: {a: 1, b: }").expect("reads");
    assert_eq!((got.on, got.n, got.ratio), (true, 1000, 1.0));
    assert_eq!(got.list, ["1", "yes", ""]);
    assert_eq!(got.map["b"], "");
    let got: Outer = from_str("n: 014").expect("reads");
    assert_eq!(got.n, 12);
    let got: Outer = from_str("n: 2.0\non: ~").expect("reads");
    assert_eq!((got.n, got.on), (2, false));
}

#[test]
fn inlined_structs_share_the_mapping() {
    let got: Outer = from_str("password: 0123\nname: x\nproxy: 7\nsecure: yes").expect("reads");
    assert_eq!(got.creds.password, "0123");
    assert_eq!(got.creds.deep.proxy, "7");
    assert!(got.creds.secure);
}

#[test]
fn anchors_and_merge_keys() {
    let text = "inner: &a {name: x, n: 1}\nitems:\n- <<: *a\n  n: 2\n- *a\n";
    let got: Outer = from_str(text).expect("reads");
    assert_eq!((got.items[0].name.as_str(), got.items[0].n, got.items[1].n), ("x", 2, 1));
}

#[track_caller]
fn fails(text: &str, want: &str) {
    let got = from_str::<Outer>(text).expect_err(text);
    assert_eq!(got.to_string(), want, "{text}");
}

#[test]
fn errors_name_line_and_path() {
    fails("name: a\nnope: 1", "line 2: field nope not found in type Outer");
    fails(
        "items:\n- name: a\n- nope: 1\n  passwd: 2",
        "line 3: items[1]: field nope not found in type Outer\n  line 4: items[1]: field passwd not found in type Outer",
    );
    fails("n: abc", "line 1: n: cannot unmarshal !!str `abc` into uint");
    fails("n: \"1\"", "line 1: n: cannot unmarshal !!str `1` into uint");
    fails("n: -1", "line 1: n: cannot unmarshal !!int `-1` into uint");
    fails("inner:\n  on: 7", "line 2: inner.on: cannot unmarshal !!int `7` into bool");
    fails("name: a\nname: b", "line 2: field name already set in type Outer");
    fails("map: {a: 1, a: 2}", "line 1: map: key \"a\" already set in map");
    fails("inner: text", "line 1: inner: cannot unmarshal !!str `text` into Outer");
    fails("map:\n  a: [1]", "line 2: map.a: cannot unmarshal !!seq into string");
    fails("name: !!binary /w==", "line 1: !!binary value is not valid UTF-8");
    fails("name: !!binary /w", "line 1: !!binary value contains invalid base64 data");
    assert!(from_str::<Outer>("name: [a").is_err());
    assert!(from_str::<Outer>("a: &x [*x]").is_err());
}

#[test]
fn alias_bombs_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let row = vec![format!("*a{}", i - 1); 9].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{row}]\n"));
    }
    let error = parse(&text).expect_err("refused");
    assert_eq!(error.0[0].text, "document contains excessive aliasing");
}

#[test]
fn values_without_a_schema_are_resolved() {
    let got: serde_json::Value = from_str("{a: 1, b: yes, c: 1.5, d: '1', e: ~, f: [x]}").expect("reads");
    assert_eq!(got.to_string(), r#"{"a":1,"b":true,"c":1.5,"d":"1","e":null,"f":["x"]}"#);
}
