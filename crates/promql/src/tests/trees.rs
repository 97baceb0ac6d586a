//! Structure: precedence, places of nodes, what becomes of modifiers.

use super::tree;
use crate::*;

/// The tree with every operation in square brackets.
fn shape(expr: &Expr) -> String {
    match expr {
        Expr::Binary(b) => format!("[{} {} {}]", shape(&b.lhs), b.op.as_str(), shape(&b.rhs)),
        Expr::Unary(u) => format!("[{}{}]", u.op.as_str(), shape(&u.expr)),
        Expr::Paren(p) => shape(&p.expr),
        other => other.to_string(),
    }
}

#[test]
fn precedence() {
    for (query, want) in [
        ("a + b * c", "[a + [b * c]]"),
        ("a - b - c", "[[a - b] - c]"),
        ("a ^ b ^ c", "[a ^ [b ^ c]]"),
        ("-a ^ b", "[-[a ^ b]]"),
        ("-a * b", "[[-a] * b]"),
        ("a ^ -b * c", "[[a ^ [-b]] * c]"),
        ("-1 ^ 2", "[-[1 ^ 2]]"),
        ("a or b and c unless d", "[a or [[b and c] unless d]]"),
        ("a == b + c or d", "[[a == [b + c]] or d]"),
        ("a atan2 b % c", "[[a atan2 b] % c]"),
        ("a </ b + c", "[a </ [b + c]]"),
        ("a offset -2 ^ 2", "[a offset -2s ^ 2]"),
        ("a offset 1m * 2", "[a offset 1m * 2]"),
        ("sum + max / by", "[sum + [max / by]]"),
        ("start + fill - offset", "[[start + fill] - offset]"),
    ] {
        assert_eq!(shape(&tree(query)), want, "{query}");
    }
}

#[test]
fn places() {
    let query = "sum by (a) (rate(foo{b=\"c\"}[5m] offset 1m)) / (2 + bar @ 1)";
    let mut found = Vec::new();
    let expr = tree(query);
    let walked: Result<(), ()> = expr.walk(&mut |e, path| {
        let span = e.span();
        found.push((path.len(), &query[span.start..span.end]));
        Ok(())
    });
    assert_eq!(walked, Ok(()));
    assert_eq!(
        found,
        [
            (0, query),
            (1, "sum by (a) (rate(foo{b=\"c\"}[5m] offset 1m))"),
            (2, "rate(foo{b=\"c\"}[5m] offset 1m)"),
            (3, "foo{b=\"c\"}[5m] offset 1m"),
            (1, "(2 + bar @ 1)"),
            (2, "2 + bar @ 1"),
            (3, "2"),
            (3, "bar @ 1"),
        ]
    );
    // The end of an aggregation is found by reading on, which must not show.
    let Expr::Paren(p) = tree("(sum(foo))") else { panic!("not in parentheses") };
    assert_eq!(p.expr.span(), Span::new(1, 9));
    assert_eq!(Span::new(5, 6).position("a\nb\n c"), "3:2");
    assert_eq!(Span::new(9, 9).position("a"), "invalid position");
}

#[test]
fn modifiers_reach_the_selector() {
    let Expr::Matrix(m) = tree("foo[90s] smoothed offset -1.5 @ 2.5") else { panic!("no range") };
    assert_eq!(m.range, DurationValue::Millis(90_000));
    assert_eq!(m.selector.offset, DurationValue::Millis(-1500));
    assert_eq!(m.selector.at, Some(AtModifier::Timestamp(2500)));
    assert!(m.selector.smoothed && !m.selector.anchored);
    let Expr::Call(c) = tree("info(a, {b=~\".*\"})") else { panic!("no call") };
    assert!(matches!(&c.args[1], Expr::Vector(v) if v.allow_empty_matchers));
    let Expr::Binary(b) = tree("a and b") else { panic!("no operation") };
    assert_eq!(b.matching.map(|m| m.card), Some(Cardinality::ManyToMany));
    let Expr::Binary(b) = tree("a + 1") else { panic!("no operation") };
    assert_eq!(b.matching, None);
    assert_eq!(tree("a + rate(b[1m]) + {c=\"d\"}").matcher_sets().len(), 3);
}

#[test]
fn functions_are_sorted() {
    assert!(FUNCTIONS.is_sorted_by_key(|f| f.name));
    assert_eq!(function("rate").map(|f| f.args), Some(&[ValueType::Matrix][..]));
    assert_eq!(function("Rate"), None);
}
