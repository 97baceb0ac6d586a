//! Pass: matchers of one side of a binary operator that the other side must satisfy too.
//!
//! A series finds a partner only if both have the same values of the labels that are matched on. So a plain
//! selector need not fetch what the other side's matchers exclude. Done only where what is left out could neither
//! be an error (two series of the "one" side with the same labels) nor bring an annotation.

use model::{METRIC_NAME, Matcher};
use promql::{Binary, BinaryOp, Expr, ValueType, VectorMatching, VectorSelector};

/// Matchers to be added to the selector that is the left, and to the one that is the right operand.
pub(super) fn push(b: &Binary) -> (Vec<Matcher>, Vec<Matcher>) {
    let none = (Vec::new(), Vec::new());
    let Some(m) = &b.matching else { return none };
    if m.fill_left.is_some() || m.fill_right.is_some() {
        return none;
    }
    if [&b.lhs, &b.rhs].iter().any(|side| side.value_type() != ValueType::Vector) {
        return none;
    }
    let (to_left, to_right) = match b.op {
        BinaryOp::And => (true, true),
        BinaryOp::Unless => (false, true),
        BinaryOp::Or => return none,
        // Two partners of one series are an error, unless the other side is empty. So neither side may have any.
        _ => {
            let both = unique(m, &b.lhs) && unique(m, &b.rhs);
            (both, both)
        }
    };
    let give = |to: bool, from: &Expr, into: &Expr| match (to, carried(from), plain(into)) {
        (true, Some(from), Some(into)) => {
            let known = |x: &&Matcher| !into.matchers.contains(x);
            from.matchers.iter().filter(|x| matched(m, &x.name)).filter(known).cloned().collect()
        }
        _ => Vec::new(),
    };
    (give(to_left, &b.rhs, &b.lhs), give(to_right, &b.lhs, &b.rhs))
}

/// Series of one metric differ in the labels that they are matched by.
fn unique(m: &VectorMatching, side: &Expr) -> bool {
    let whole = !m.on && m.labels.is_empty();
    whole && carried(side).is_some_and(|v| super::labels::one_metric(&v.matchers))
}

fn matched(m: &VectorMatching, name: &str) -> bool {
    let metadata = matches!(name, METRIC_NAME | "__type__" | "__unit__");
    !metadata && m.labels.iter().any(|l| l == name) == m.on
}

/// A selector as it stands.
fn plain(expr: &Expr) -> Option<&VectorSelector> {
    match expr {
        Expr::Paren(p) => plain(&p.expr),
        Expr::Vector(v) => Some(v),
        _ => None,
    }
}

/// The selector whose labels, but for the name, the series of `expr` still have.
fn carried(expr: &Expr) -> Option<&VectorSelector> {
    match expr {
        Expr::Paren(p) => carried(&p.expr),
        Expr::Vector(v) => Some(v),
        Expr::Call(c) if !matches!(c.func.name, "absent_over_time" | "info") => {
            match c.args.iter().find(|a| a.value_type() == ValueType::Matrix)? {
                Expr::Matrix(m) => Some(&m.selector),
                _ => None,
            }
        }
        _ => None,
    }
}
