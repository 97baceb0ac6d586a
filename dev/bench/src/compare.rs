//! Are two API answers the same, up to the order of series and rounding?

use serde_json::Value;
use std::collections::BTreeMap;

/// The first difference in words; nothing when `data` of both is the same. Sample values, which are strings
/// in the API, may differ relatively by `tolerance`; warnings and infos are not compared.
pub fn difference(ours: &[u8], theirs: &[u8], tolerance: f64) -> Option<String> {
    let parse = |bytes| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let (ours, theirs) = (parse(ours), parse(theirs));
    same(&by_series(&ours["data"]), &by_series(&theirs["data"]), tolerance, "data")
}

/// Arrays of series become maps by label set, since their order means nothing in most answers; so do those of label
/// sets alone.
fn by_series(data: &Value) -> Value {
    if let Some(sets) = data.as_array().filter(|sets| sets.iter().all(Value::is_object)) {
        let keyed: BTreeMap<String, &Value> = sets.iter().map(|set| (set.to_string(), set)).collect();
        return serde_json::json!({ "count": sets.len(), "sets": keyed });
    }
    let Some(rows) = data["result"].as_array() else { return data.clone() };
    if rows.iter().any(|r| r["metric"].is_null()) {
        return data.clone();
    }
    let keyed: BTreeMap<String, Value> = rows.iter().map(|r| (r["metric"].to_string(), r.clone())).collect();
    serde_json::json!(keyed)
}

fn same(a: &Value, b: &Value, tolerance: f64, at: &str) -> Option<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            if let Some(key) = a.keys().find(|k| !b.contains_key(*k)) {
                return Some(format!("{at}: only ours has {key} ({} and {} entries)", a.len(), b.len()));
            }
            if let Some(key) = b.keys().find(|k| !a.contains_key(*k)) {
                return Some(format!("{at}: ours lacks {key} ({} and {} entries)", a.len(), b.len()));
            }
            a.iter().find_map(|(key, value)| same(value, &b[key], tolerance, &format!("{at}.{key}")))
        }
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                return Some(format!("{at}: {} and {} elements", a.len(), b.len()));
            }
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| same(a, b, tolerance, &format!("{at}[{i}]")))
        }
        (Value::String(x), Value::String(y)) if x != y => match (x.parse::<f64>(), y.parse::<f64>()) {
            (Ok(x), Ok(y)) if (x - y).abs() <= tolerance * x.abs().max(y.abs()) => None,
            _ => Some(format!("{at}: {x} and {y}")),
        },
        (Value::Number(_), Value::Number(_)) => {
            let close = a.as_f64().zip(b.as_f64()).is_some_and(|(x, y)| (x - y).abs() < 1e-3);
            (!close).then(|| format!("{at}: {a} and {b}"))
        }
        _ => (a != b).then(|| format!("{at}: {a} and {b}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &str, b: &str, want: bool) {
        assert_eq!(difference(a.as_bytes(), b.as_bytes(), 1e-6).is_none(), want, "{a} {b}");
    }

    #[test]
    fn order_and_rounding_do_not_count() {
        let of = |rows: &str| format!(r#"{{"data":{{"result":[{rows}]}}}}"#);
        let (x, y) = (r#"{"metric":{"a":"1"},"value":[5,"1"]}"#, r#"{"metric":{"a":"2"},"value":[5,"2"]}"#);
        check(&of(&format!("{x},{y}")), &of(&format!("{y},{x}")), true);
        check(&of(x), &of(y), false);
        check(&of(x), &of(&x.replace("\"1\"]", "\"1.0000001\"]")), true);
        check(&of(x), &of(&x.replace("\"1\"]", "\"1.00001\"]")), false);
        check(r#"{"data":[{"a":"1"},{"a":"2"}]}"#, r#"{"data":[{"a":"2"},{"a":"1"}]}"#, true);
        check(r#"{"data":[{"a":"1"},{"a":"2"}]}"#, r#"{"data":[{"a":"1"},{"a":"3"}]}"#, false);
        check(r#"{"data":[{"a":"1"},{"a":"1"}]}"#, r#"{"data":[{"a":"1"}]}"#, false);
        check(r#"{"data":["a","b"]}"#, r#"{"data":["b","a"]}"#, false);
    }
}
