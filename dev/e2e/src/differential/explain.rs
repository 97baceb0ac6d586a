//! Differences that are Prometheus' own, each with what shows it.

use super::tree::{Part, Tree};
use serde_json::Value;

const SAME_LABELS: &str = "vector cannot contain metrics with the same labelset";

fn error_starts(reply: &Value, text: &str) -> bool {
    reply["error"].as_str().is_some_and(|e| e.starts_with(text))
}

/// The peer falls over an empty label name, and over `anchored` and `smoothed` without samples: errors of its own code.
pub(super) fn falls_over(query: &str, peer: &Value) -> bool {
    // A panic where it prints a custom-bucket histogram that was multiplied by infinity.
    if error_starts(peer, "histograms with custom buckets have no zero bucket") {
        return true;
    }
    let known = ["\"\"", " anchored", " smoothed"].iter().any(|word| query.contains(word));
    error_starts(peer, "unexpected error: runtime error") && known
}

/// A float and a histogram of two series that get the same labels are one series with two samples for the peer, which
/// its step-invariant case then stumbles over.
pub(super) fn stumbles(ours: &Value, peer: &Value) -> bool {
    refuses_same_labels(ours) && error_starts(peer, "unexpected number of samples")
}

/// Both name the same fault, and other series as its example: those come in the order in which they were made.
pub(super) fn names_other_series(ours: &Value, peer: &Value) -> bool {
    let head =
        |reply: &Value| Some(reply["error"].as_str()?.split_once(" of the operation: [")?.0.to_owned());
    head(ours).is_some() && head(ours) == head(peer)
}

/// `@` in the parameter of an aggregation moves on with the steps of the peer's range queries.
pub(super) fn has_moving_parameter(query: &str) -> bool {
    ["topk", "bottomk", "quantile", "limitk", "limit_ratio"].iter().any(|name| {
        query.match_indices(name).any(|(at, _)| {
            let behind = query[at..].split_once('(').map_or("", |(_, rest)| rest);
            parameter(behind).contains(" @ ")
        })
    })
}

/// The text up to the first comma outside of brackets.
fn parameter(text: &str) -> &str {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            ',' if depth == 0 => return &text[..i],
            _ => {}
        }
    }
    ""
}

pub(super) fn refuses_same_labels(ours: &Value) -> bool {
    error_starts(ours, SAME_LABELS)
}

/// Whether a matrix has a series with a float and a histogram at one time.
pub(super) fn shows_two_kinds(peer: &Value) -> bool {
    let times = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|point| point[0].to_string()).collect()
    };
    peer["data"]["result"].as_array().into_iter().flatten().any(|series| {
        let floats = times(&series["values"]);
        times(&series["histograms"]).iter().any(|t| floats.contains(t))
    })
}

/// The peer merges two classic buckets of one bound again for each quantile. These are the queries with one quantile
/// each: they must agree. Empty when the query has nothing of the sort.
pub(super) fn single_quantiles(query: &str) -> Vec<String> {
    const LISTS: [&[&str]; 4] = [&["0.5", "0.9"], &["0", "1", "0.25"], &["NaN", "2"], &["0.5", "0.5"]];
    if !(query.contains("histogram_quantiles(") && query.contains("bad_bucket")) {
        return Vec::new();
    }
    let mut out = vec![query.to_owned()];
    for list in LISTS {
        let all = format!(", {})", list.join(", "));
        out = out
            .iter()
            .flat_map(|query| match query.contains(&all) {
                true => list.iter().map(|q| query.replace(&all, &format!(", {q})"))).collect(),
                false => vec![query.clone()],
            })
            .collect();
    }
    out.retain(|single| single != query);
    out
}

/// `ln` and `log10` of a subnormal number are off by some percent where Go computes them. The query with their arguments
/// made larger, for which both must agree; `None` when there is neither.
pub(super) fn larger_logarithms(query: &str) -> Option<String> {
    let larger = query.replace("ln(", "ln(4503599627370496*").replace("log10(", "log10(4503599627370496*");
    (larger != query).then_some(larger)
}

/// Functions and operators whose last digits are those of Go's own code, or of another order of additions.
const ROUGH: [&str; 26] = [
    "acos(",
    "acosh(",
    "asin(",
    "asinh(",
    "atan(",
    "atanh(",
    "cos(",
    "cosh(",
    "deg(",
    "exp(",
    "ln(",
    "log10(",
    "log2(",
    "rad(",
    "sin(",
    "sinh(",
    "tan(",
    "tanh(",
    "sqrt(",
    "deriv(",
    "stddev",
    "stdvar",
    "predict_linear(",
    "avg",
    "rate(",
    "increase(",
];

/// The query with each rough part a little larger, and a little smaller; `None` when it has none.
pub(super) fn perturbed(tree: &Tree) -> Option<[String; 2]> {
    let larger = perturb(tree, "1.0000000000001").render();
    if larger == tree.render() {
        return None;
    }
    Some([larger, perturb(tree, "0.9999999999999").render()])
}

fn perturb(tree: &Tree, factor: &str) -> Tree {
    let head = match tree.0.first() {
        Some(Part::Text(text)) => text.as_str(),
        _ => "",
    };
    let joint = tree
        .0
        .iter()
        .any(|part| matches!(part, Part::Text(t) if t.starts_with(" ^") || t.starts_with(" atan2")));
    let parts = tree.0.iter().map(|part| match part {
        Part::Text(text) => Part::Text(text.clone()),
        Part::Child(child) => Part::Child(perturb(child, factor)),
    });
    let mut inner = Tree(parts.collect());
    if joint && let Some(Part::Child(first)) = inner.0.first_mut() {
        // Other operators may bind what stands behind `^` more loosely than the tree says: `x ^ 60 % 0.1` is the
        // remainder of a huge number, all of whose digits hang on the last one of `x`.
        *first = Tree::text(format!("({factor} * (")).c(std::mem::take(first)).t("))");
    }
    if joint || ROUGH.iter().any(|name| head.starts_with(name)) {
        return Tree::text(format!("({factor} * (")).c(inner).t("))");
    }
    inner
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rough_parts_are_found() {
        let tree =
            Tree::default().c(Tree::text("sin(").c(Tree::text("up")).t(")")).t(" % ").c(Tree::text("2"));
        let [larger, _] = perturbed(&tree).expect("has one");
        assert_eq!(larger, "(1.0000000000001 * (sin(up))) % 2");
        assert!(perturbed(&Tree::text("up")).is_none());
        let power = Tree::default().c(Tree::text("up")).t(" ^ ").c(Tree::text("60 % 0.1"));
        let [larger, _] = perturbed(&power).expect("has one");
        assert_eq!(larger, "(1.0000000000001 * ((1.0000000000001 * (up)) ^ 60 % 0.1))");
    }

    #[test]
    fn parameters_are_found() {
        assert!(has_moving_parameter("topk by (a) (scalar(up{a=\"1\"} @ start()), x)"));
        assert!(!has_moving_parameter("topk by (a) (2, x @ start())"));
    }

    #[test]
    fn kinds_and_quantiles() {
        let both = json!({"data": {"result": [{"values": [[1, "1"]], "histograms": [[1, {}]]}]}});
        let one = json!({"data": {"result": [{"values": [[1, "1"]], "histograms": [[2, {}]]}]}});
        assert!(shows_two_kinds(&both) && !shows_two_kinds(&one));
        let singles = single_quantiles("histogram_quantiles(bad_bucket, \"q\", 0.5, 0.9)");
        assert_eq!(
            singles,
            ["histogram_quantiles(bad_bucket, \"q\", 0.5)", "histogram_quantiles(bad_bucket, \"q\", 0.9)"]
        );
    }
}
