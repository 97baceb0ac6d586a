//! Compares two replies of the query API: status, error, annotations, value.

use serde_json::Value;
use std::collections::BTreeMap;

/// How far apart two numbers may be, relative to the larger.
pub const TOLERANCE: f64 = 1e-12;

/// What is not compared, and how exactly.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub tolerance: f64,
    /// The order of an instant vector counts: it is sorted by the query.
    pub ordered: bool,
    /// A range query. Prometheus doubles the number of samples that it names in one annotation with every step;
    /// that number is not compared.
    pub ranged: bool,
    /// Counts of samples are compared.
    pub stats: bool,
}

/// What differs between our reply and the peer's; `None` when nothing does.
pub fn difference(ours: &Value, peer: &Value, rules: Rules) -> Option<String> {
    for key in ["status", "errorType", "error"] {
        let text = |reply: &Value| reply[key].as_str().unwrap_or("").to_owned();
        if ours[key] != peer[key] && !(key == "error" && near_words(&text(ours), &text(peer), rules)) {
            return Some(format!(
                "{key}: ours {}, peer {}",
                short(&fault(ours, key)),
                short(&fault(peer, key))
            ));
        }
    }
    for key in ["warnings", "infos"] {
        let (a, b) = (texts(&ours[key], rules), texts(&peer[key], rules));
        if a.len() != b.len() || a.iter().zip(&b).any(|(a, b)| !near_words(a, b, rules)) {
            return Some(format!("{key}: ours {a:?}, peer {b:?}"));
        }
    }
    if ours["status"] != "success" {
        return None;
    }
    let (a, b) = (&ours["data"], &peer["data"]);
    if a["resultType"] != b["resultType"] {
        return Some(format!("type: ours {}, peer {}", a["resultType"], b["resultType"]));
    }
    let counts = |data: &Value| {
        let samples = &data["stats"]["samples"];
        [samples["totalQueryableSamples"].clone(), samples["totalQueryableSamplesPerStep"].clone()]
    };
    if rules.stats && !near_counts(&counts(a), &counts(b)) {
        return Some(format!("stats: ours {:?}, peer {:?}", counts(a), counts(b)));
    }
    let (a, b, kind) = (&a["result"], &b["result"], a["resultType"].as_str().unwrap_or(""));
    match kind {
        "vector" if !rules.ordered => series(&by_labels(a), &by_labels(b), rules),
        // Where values are equal the order is anybody's.
        "vector" if same_values(&in_order(a), &in_order(b), rules) => {
            series(&by_labels(a), &by_labels(b), rules)
        }
        "vector" | "matrix" => series(&in_order(a), &in_order(b), rules),
        _ => point(a, b, rules).then(|| format!("value: ours {a}, peer {b}")),
    }
}

/// The error text where there is one, else the key.
fn fault(reply: &Value, key: &str) -> Value {
    if reply["error"].is_string() { reply["error"].clone() } else { reply[key].clone() }
}

fn texts(list: &Value, rules: Rules) -> Vec<String> {
    let text = |v: &Value| {
        let text = v.as_str().unwrap_or("").to_owned();
        if rules.ranged { without_count(&text) } else { text }
    };
    let mut out: Vec<String> = list.as_array().into_iter().flatten().map(text).collect();
    out.sort();
    out
}

/// Leaves the number out of `, over 3 samples from`.
fn without_count(text: &str) -> String {
    let Some((before, rest)) = text.split_once(", over ") else { return text.to_owned() };
    match rest.split_once(" samples from ") {
        Some((_, after)) => format!("{before}, over some samples from {after}"),
        None => text.to_owned(),
    }
}

type Rows<'a> = Vec<(String, &'a Value)>;

fn in_order(list: &Value) -> Rows<'_> {
    list.as_array().into_iter().flatten().map(|row| (key(row), row)).collect()
}

fn by_labels(list: &Value) -> Rows<'_> {
    let mut rows = in_order(list);
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

/// Counts of samples, which follow the layout of histograms in the chunks of each store: within four percent.
fn near_counts(a: &[Value], b: &[Value]) -> bool {
    let near = |a: &Value, b: &Value| match (a, b) {
        (Value::Array(x), Value::Array(y)) => near_counts(x, y),
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(x), Some(y)) => (x - y).abs() <= 0.04 * x.abs().max(y.abs()),
            _ => a == b,
        },
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b))
}

/// Whether the values stand in the same order, whatever their labels.
fn same_values(a: &Rows<'_>, b: &Rows<'_>, rules: Rules) -> bool {
    let equal =
        |a: &Value, b: &Value| ["value", "histogram"].iter().all(|key| !point(&a[*key], &b[*key], rules));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a.1, b.1))
}

fn key(row: &Value) -> String {
    let labels: BTreeMap<&String, &Value> = row["metric"].as_object().into_iter().flatten().collect();
    serde_json::to_string(&labels).unwrap_or_default()
}

fn series(ours: &Rows<'_>, peer: &Rows<'_>, rules: Rules) -> Option<String> {
    for i in 0..ours.len().max(peer.len()) {
        let (Some(a), Some(b)) = (ours.get(i), peer.get(i)) else {
            let (who, row) = if ours.len() > i { ("ours", &ours[i]) } else { ("peer", &peer[i]) };
            return Some(format!(
                "{} series of ours, {} of the peer; only {who} has {}",
                ours.len(),
                peer.len(),
                short(row.1)
            ));
        };
        if a.0 != b.0 && !near_labels(&a.1["metric"], &b.1["metric"], rules) {
            return Some(format!("series {i}: ours {}, peer {}", short(a.1), short(b.1)));
        }
        for key in ["value", "histogram"] {
            if point(&a.1[key], &b.1[key], rules) {
                return Some(format!("{}: ours {}, peer {}", a.0, short(&a.1[key]), short(&b.1[key])));
            }
        }
        for key in ["values", "histograms"] {
            let (x, y) = (points(&a.1[key]), points(&b.1[key]));
            if x.len() != y.len() {
                let own = short(&a.1[key]);
                return Some(format!("{} {key}: ours {}, peer {}: {own}", a.0, x.len(), y.len()));
            }
            if let Some((p, q)) = x.iter().zip(&y).find(|(p, q)| point(p, q, rules)) {
                return Some(format!("{}: ours {}, peer {}", a.0, short(p), short(q)));
            }
        }
    }
    None
}

/// Labels that differ only in numbers that are near, as `count_values` makes them.
fn near_labels(a: &Value, b: &Value, rules: Rules) -> bool {
    a.is_object() && b.is_object() && !point(a, b, rules)
}

fn points(list: &Value) -> Vec<&Value> {
    list.as_array().into_iter().flatten().collect()
}

/// True when two points, or parts of them, differ.
fn point(a: &Value, b: &Value, rules: Rules) -> bool {
    match (a, b) {
        (Value::Array(x), Value::Array(y)) => {
            x.len() != y.len() || x.iter().zip(y).any(|(x, y)| point(x, y, rules))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() != y.len() || x.iter().any(|(k, v)| y.get(k).is_none_or(|w| point(v, w, rules)))
        }
        (Value::String(x), Value::String(y)) => x != y && !near(x, y, rules),
        _ => a != b,
    }
}

fn near(a: &str, b: &str, rules: Rules) -> bool {
    let (Ok(x), Ok(y)) = (a.parse::<f64>(), b.parse::<f64>()) else {
        return a.contains("count:") && near_words(a, b, rules);
    };
    (x - y).abs() <= rules.tolerance * x.abs().max(y.abs())
}

/// Texts with numbers in them (errors, annotations, native histograms): word by word.
fn near_words(a: &str, b: &str, rules: Rules) -> bool {
    let words = |text: &str| -> Vec<String> {
        text.split([' ', ':', ',', '[', ']', '(', ')', '{', '}']).map(str::to_owned).collect()
    };
    let (a, b) = (words(a), words(b));
    a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| x == y || (x != "count" && near(x, y, rules)))
}

pub fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(600) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vector(rows: Value) -> Value {
        json!({"status": "success", "data": {"resultType": "vector", "result": rows}})
    }

    #[test]
    fn differences_are_found() {
        let rules = Rules { tolerance: TOLERANCE, ordered: false, ranged: false, stats: false };
        let one =
            vector(json!([{"metric": {"a": "1"}, "value": [1, "0.1"]}, {"metric": {}, "value": [1, "NaN"]}]));
        let same =
            vector(json!([{"metric": {}, "value": [1, "NaN"]}, {"metric": {"a": "1"}, "value": [1, "0.1"]}]));
        let near = vector(
            json!([{"metric": {"a": "1"}, "value": [1, "0.10000000000000001"]}, {"metric": {}, "value": [1, "NaN"]}]),
        );
        let far = vector(
            json!([{"metric": {"a": "1"}, "value": [1, "0.10001"]}, {"metric": {}, "value": [1, "NaN"]}]),
        );
        let less = vector(json!([{"metric": {"a": "1"}, "value": [1, "0.1"]}]));
        assert_eq!(difference(&one, &same, rules), None);
        assert_eq!(difference(&one, &near, rules), None);
        assert!(difference(&one, &same, Rules { ordered: true, ..rules }).is_some());
        assert!(difference(&one, &far, rules).is_some());
        assert!(difference(&one, &less, rules).is_some());
        let failed = json!({"status": "error", "errorType": "bad_data", "error": "1:1: parse error"});
        assert!(difference(&one, &failed, rules).is_some());
    }
}
