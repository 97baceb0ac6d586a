//! `--diff`: expected and found alerts as one JSON text, what differs in colour.

use super::show::{Pairs, ShownAlert};
use serde_json::{Map, Value};

const GREEN: &str = "\u{1b}[0;32m";
const RED: &str = "\u{1b}[0;31m";
const YELLOW: &str = "\u{1b}[0;33m";
const END: &str = "\u{1b}[0m";
const STEP: &str = "    ";

fn object(pairs: &Pairs) -> Value {
    Value::Object(pairs.iter().map(|(n, v)| (n.clone(), Value::String(v.clone()))).collect())
}

fn json(alerts: &[ShownAlert]) -> Value {
    let one = |alert: &ShownAlert| {
        let mut map = Map::new();
        map.insert("Labels".into(), object(&alert.labels));
        map.insert("Annotations".into(), object(&alert.annotations));
        Value::Object(map)
    };
    // An empty list is shown as an alert of nothing.
    match alerts {
        [] => Value::Array(vec![one(&ShownAlert::default())]),
        alerts => Value::Array(alerts.iter().map(one).collect()),
    }
}

/// The text of the difference; `None` when there is none.
pub(super) fn difference(expected: &[ShownAlert], found: &[ShownAlert]) -> Option<String> {
    let (a, b) = (json(expected), json(found));
    (a != b).then(|| both(&a, &b, ""))
}

/// One value in full, as part of a larger text.
fn whole(value: &Value, indent: &str) -> String {
    let inner = format!("{indent}{STEP}");
    let (open, close, parts): (_, _, Vec<String>) = match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            let part = |(key, v): (&String, &Value)| format!("{}: {}", text(key), whole(v, &inner));
            ('{', '}', keys.into_iter().map(part).collect())
        }
        Value::Array(list) => ('[', ']', list.iter().map(|v| whole(v, &inner)).collect()),
        Value::String(s) => return text(s),
        other => return other.to_string(),
    };
    framed(open, close, &parts, indent)
}

fn text(s: &str) -> String {
    // As Go's encoder without escapes for HTML.
    serde_json::to_string(s).unwrap_or_default()
}

fn framed(open: char, close: char, parts: &[String], indent: &str) -> String {
    if parts.is_empty() {
        return format!("{open}{close}");
    }
    let lines: Vec<String> = parts.iter().map(|part| format!("{indent}{STEP}{part}")).collect();
    format!("{open}\n{}\n{indent}{close}", lines.join(",\n"))
}

fn both(a: &Value, b: &Value, indent: &str) -> String {
    let inner = format!("{indent}{STEP}");
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let mut keys: Vec<&String> = x.keys().chain(y.keys()).collect();
            keys.sort();
            keys.dedup();
            let part = |key: &String| {
                let head = |v: &Value| format!("{}: {}", text(key), whole(v, &inner));
                match (x.get(key), y.get(key)) {
                    (Some(v), Some(w)) => format!("{}: {}", text(key), both(v, w, &inner)),
                    (Some(v), None) => format!("{RED}{}{END}", head(v)),
                    (None, Some(w)) => format!("{GREEN}{}{END}", head(w)),
                    (None, None) => String::new(),
                }
            };
            framed('{', '}', &keys.into_iter().map(part).collect::<Vec<_>>(), indent)
        }
        (Value::Array(x), Value::Array(y)) => {
            let part = |i: usize| match (x.get(i), y.get(i)) {
                (Some(v), Some(w)) => both(v, w, &inner),
                (Some(v), None) => format!("{RED}{}{END}", whole(v, &inner)),
                (None, Some(w)) => format!("{GREEN}{}{END}", whole(w, &inner)),
                (None, None) => String::new(),
            };
            framed('[', ']', &(0..x.len().max(y.len())).map(part).collect::<Vec<_>>(), indent)
        }
        (a, b) if a == b => whole(a, indent),
        (a, b) => format!("{YELLOW}{} => {}{END}", whole(a, indent), whole(b, indent)),
    }
}
