//! What is asked of both programs, and when two answers are the same.

use e2e::node::Node;
use e2e::query;
use serde_json::Value;

/// Everything that is compared, as (path, answer).
pub(crate) type Answers = Vec<(String, Value)>;

/// Queries over floats that 2.42 answers as 3.x does. Samples stand on whole minutes, steps do not: ranges include
/// their left end in 2.x only.
const FLOATS: [&str; 10] = [
    "dropin_total",
    "rate(dropin_total[10m])",
    "sum by(host)(dropin_total)",
    "max_over_time(dropin_total{host=~\"host-[1-3]\"}[30m])",
    "dropin_total{host!=\"host-1\"} offset 20m",
    "dropin_total{host!~\"host-[2-9]\", job=~\".*late.*|first\"}",
    "topk(2, dropin_total{job=\"first\"})",
    "dropin_total * on(job, host) group_left() (dropin_total > 100)",
    "quantile_over_time(0.5, dropin_total[20m])",
    "resets(dropin_total[1h]) + changes(dropin_total[1h])",
];

const HISTOGRAMS: [&str; 5] = [
    "histogram_count(dropin_ints)",
    "histogram_sum(dropin_fractions)",
    "histogram_count(dropin_levels)",
    "dropin_ints",
    "sum by(job)(dropin_fractions)",
];

/// Functions that are newer than 2.42 or compute otherwise there. Rates of histograms differ between versions of 3.x.
const NEWER: [&str; 7] = [
    "histogram_quantile(0.9, dropin_ints)",
    "histogram_avg(dropin_fractions)",
    "histogram_fraction(0, 2, dropin_customs)",
    "sum_over_time(dropin_customs[10m])",
    "avg_over_time(dropin_fractions[20m])",
    "histogram_stddev(dropin_levels)",
    "sum(dropin_customs)",
];

fn escaped(query: &str) -> String {
    query
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// The answer of one path with its lists in a fixed order.
#[track_caller]
pub(crate) fn answer(address: &str, path: &str) -> Value {
    let mut reply = query::get(address, path);
    assert_eq!(reply["status"], "success", "{path}: {reply}");
    let data = reply["data"].take();
    let mut list = match data {
        Value::Array(list) => list,
        Value::Object(mut object) => {
            object.remove("result").and_then(|r| r.as_array().cloned()).unwrap_or_default()
        }
        other => vec![other],
    };
    list.sort_by_key(|row| (row["metric"].to_string(), row.to_string()));
    Value::Array(list)
}

/// Asks for everything between two times in ms.
#[track_caller]
pub(crate) fn everything(node: &Node, from: i64, to: i64, newer: bool) -> Answers {
    let (from, to) = (from / 1000 + 7, to / 1000 + 7);
    let window = format!("start={from}&end={to}");
    let span = (to - from) / 60 + 1;
    let all = "{__name__=~\"dropin.*\"}";
    let instant = [
        format!("dropin_total[{span}m]"),
        format!("dropin_exemplars_total[{span}m]"),
        format!("count_over_time(dropin_total[{span}m])"),
        format!("count_over_time(dropin_ints[{span}m])"),
        format!("sum by(job)(sum_over_time(dropin_total[{span}m]))"),
        format!("count({all})"),
    ];
    // Of an open chunk 2.42 gives the last histogram again and again.
    let raw = ["ints", "fractions", "levels", "customs"].map(|n| format!("dropin_{n}[{span}m]"));
    let raw = if newer { &raw[..] } else { &[] };
    let mut paths: Vec<String> =
        instant.iter().chain(raw).map(|q| format!("/api/v1/query?time={to}&query={}", escaped(q))).collect();
    let lists = [
        ("series?match%5B%5D=", all),
        ("label/host/values?match%5B%5D=", "dropin_total"),
        ("label/__name__/values?match%5B%5D=", all),
        ("labels?match%5B%5D=", "dropin_total"),
        ("label/job/values?match%5B%5D=", "{host=~\"host-[12]\"}"),
    ];
    paths.extend(lists.map(|(path, selector)| format!("/api/v1/{path}{}&{window}", escaped(selector))));
    paths.push(format!("/api/v1/label/host/values?{window}"));
    let newer: &[&str] = if newer { &NEWER } else { &[] };
    let steps = FLOATS.iter().chain(&HISTOGRAMS).chain(newer);
    paths.extend(steps.map(|q| format!("/api/v1/query_range?query={}&{window}&step=120", escaped(q))));
    paths
        .into_iter()
        .map(|path| {
            let found = answer(&node.address, &path);
            (path, found)
        })
        .collect()
}

/// Times in seconds of the exemplars between two times in ms, sorted.
#[track_caller]
pub(crate) fn exemplars(node: &Node, from: i64, to: i64) -> Vec<(i64, String)> {
    let (from, to) = (from / 1000, to / 1000);
    let path = format!("/api/v1/query_exemplars?query=dropin_exemplars_total&start={from}&end={to}");
    let rows = answer(&node.address, &path);
    let mut out: Vec<(i64, String)> = rows
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|series| series["exemplars"].as_array().cloned().unwrap_or_default())
        .map(|e| (e["timestamp"].as_f64().unwrap_or(0.0) as i64, e["labels"]["trace_id"].to_string()))
        .collect();
    out.sort();
    out
}

/// Equal but for the last digits of numbers.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (Value::String(x), Value::String(y)) => match (x.parse::<f64>(), y.parse::<f64>()) {
            (Ok(x), Ok(y)) => {
                x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= 1e-9 * x.abs().max(y.abs())
            }
            _ => x == y,
        },
        _ => a == b,
    }
}

#[track_caller]
pub(crate) fn assert_same(before: &Answers, after: &Answers, when: &str) {
    for ((path, a), (_, b)) in before.iter().zip(after) {
        assert!(same(a, b), "{when}: {path} differs: {}", difference(a, b));
    }
}

/// What only one of two answers has: whole rows, and of rows with the same labels only the samples.
fn difference(a: &Value, b: &Value) -> String {
    let rows = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let samples = |row: &Value| -> Vec<Value> {
        let lists = ["values", "histograms"].iter().flat_map(|k| row[*k].as_array().cloned()).flatten();
        lists.chain(["value", "histogram"].iter().map(|k| row[*k].clone()).filter(|v| !v.is_null())).collect()
    };
    let mut out = String::new();
    for (mark, from, other) in [("lost", a, b), ("new", b, a)] {
        let other = rows(other);
        for row in rows(from).iter().filter(|row| !other.iter().any(|o| same(o, row))) {
            match other.iter().find(|o| o["metric"] == row["metric"] && row["metric"].is_object()) {
                Some(twin) => {
                    let kept = samples(twin);
                    let lacking = |s: &Value| !kept.iter().any(|k| same(k, s));
                    let only: Vec<Value> = samples(row).into_iter().filter(lacking).collect();
                    let (metric, n) = (&row["metric"], only.len());
                    out += &format!("\n{mark} {metric}: {n} samples: {}", Value::Array(only));
                }
                None => out += &format!("\n{mark} {row}"),
            }
        }
    }
    out.chars().take(4000).collect()
}
