//! Differences that are Prometheus' own, each with what shows it.

use super::tree::{Part, Tree};
use serde_json::Value;

const SAME_LABELS: &str = "vector cannot contain metrics with the same labelset";

fn error_starts(reply: &Value, text: &str) -> bool {
    reply["error"].as_str().is_some_and(|e| e.starts_with(text))
}

/// The peer falls over an empty label name: a null pointer in its own code.
pub(super) fn falls_over(query: &str, peer: &Value) -> bool {
    error_starts(peer, "unexpected error: runtime error") && query.contains("\"\"")
}

/// A float and a histogram of two series that get the same labels are one series with two samples for the peer, which
/// its step-invariant case then stumbles over.
pub(super) fn stumbles(ours: &Value, peer: &Value) -> bool {
    refuses_same_labels(ours) && error_starts(peer, "unexpected number of samples")
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

/// `ln` of a subnormal number is off by some percent where Go computes it. The query with the arguments of `ln` made
/// larger, for which both must agree; `None` when there is no `ln`.
pub(super) fn larger_logarithms(query: &str) -> Option<String> {
    query.contains("ln(").then(|| query.replace("ln(", "ln(4503599627370496*"))
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
    let inner = Tree(parts.collect());
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
