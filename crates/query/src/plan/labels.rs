//! Pass: which labels of each fetch anybody looks at (projection). What an aggregation groups away is never made.

use super::{Node, Op, Plan};
use model::{METRIC_NAME, MatchOp, Matcher};
use promql::AggregateOp;

/// Labels that annotations and name removal look at, whatever the query asks for.
const ALWAYS: &[&str] = &[METRIC_NAME, "__type__", "__unit__"];

/// Sets [`super::Fetch::shown`] to what all selectors of the fetch need together.
pub(super) fn project(plan: &mut Plan) {
    let mut needs = vec![Some(Vec::new()); plan.fetches.len()];
    visit(&plan.root, None, &mut needs);
    for (fetch, need) in plan.fetches.iter_mut().zip(needs) {
        fetch.shown = need.map(|mut names| {
            names.extend(ALWAYS.iter().map(|n| (*n).to_owned()));
            names.sort();
            names.dedup();
            names
        });
    }
}

/// Whether the matchers leave only one metric name.
pub(crate) fn one_metric(matchers: &[Matcher]) -> bool {
    metric(matchers).is_some()
}

/// The only metric name that the matchers leave.
fn metric(matchers: &[Matcher]) -> Option<&str> {
    let pins = |m: &&Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal && !m.value.is_empty();
    matchers.iter().find(pins).map(|m| m.value.as_str())
}

/// `taken`: the labels that the taker of the node's series looks at; all of them without it.
fn visit(node: &Node, taken: Option<&[String]>, needs: &mut [Option<Vec<String>>]) {
    let mut selector = |fetch: usize, taken: Option<&[String]>| match (&mut needs[fetch], taken) {
        (Some(need), Some(taken)) => need.extend_from_slice(taken),
        (need, _) => *need = None,
    };
    match &node.op {
        Op::Number(_) | Op::Text(_) => {}
        Op::Instant(s) => selector(s.fetch, taken),
        Op::Window(w) => selector(w.selector.fetch, taken),
        Op::Invariant(child) | Op::Shared(_, child) => visit(child, taken, needs),
        Op::Aggregate(a) => {
            use AggregateOp::*;
            let folds = !a.without && !matches!(a.op, Topk | Bottomk | Limitk | LimitRatio);
            visit(&a.child, folds.then_some(&a.grouping), needs);
            a.param.iter().for_each(|param| visit(param, None, needs));
        }
        // A range function gives a series for each one that it gets. That their names fall together does not
        // depend on labels that are not looked at.
        Op::Call(c) => {
            for arg in &c.args {
                let through = matches!(arg.unwrapped().op, Op::Window(_));
                visit(arg, taken.filter(|_| through), needs);
            }
        }
        Op::Negate(child) | Op::Plus(child) => visit(child, None, needs),
        Op::Subquery(s) => visit(&s.child, None, needs),
        Op::Binary(b) => {
            visit(&b.lhs, None, needs);
            visit(&b.rhs, None, needs);
        }
    }
}
