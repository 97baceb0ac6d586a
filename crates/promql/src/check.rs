//! The type check: arity, types of operands and arguments, rules of matching.

use crate::ast::*;
use crate::error::Complaint;
use crate::span::Span;
use model::METRIC_NAME;
use model::labels::quote;

/// Checks a tree and completes it: cardinality of set operators, no matching unless both sides are vectors.
pub(crate) fn check(expr: &mut Expr, query: &str, complaints: &mut Vec<Complaint>) {
    Checker { query, complaints }.check(expr);
}

struct Checker<'a> {
    query: &'a str,
    complaints: &'a mut Vec<Complaint>,
}

impl Checker<'_> {
    fn complain(&mut self, span: Span, message: impl Into<String>) {
        self.complaints.push(Complaint { span, message: message.into() });
    }

    fn check(&mut self, expr: &mut Expr) -> ValueType {
        match expr {
            Expr::Aggregate(a) => self.aggregate(a),
            Expr::Binary(b) => return self.binary(b),
            Expr::Call(c) => self.call(c),
            Expr::Paren(p) => return self.check(&mut p.expr),
            Expr::Unary(u) => return self.unary(u),
            Expr::Subquery(s) => {
                let got = self.check(&mut s.expr);
                if got != ValueType::Vector {
                    let span = Span::new(s.expr.span().start, s.end);
                    self.complain(
                        span,
                        format!("subquery is only allowed on instant vector, got {} instead", got.as_str()),
                    );
                }
            }
            Expr::Matrix(m) => self.vector(&m.selector),
            Expr::Vector(v) => self.vector(v),
            Expr::Number(_) | Expr::String(_) => {}
        }
        expr.value_type()
    }

    fn expect(&mut self, expr: &mut Expr, want: ValueType, context: &str) {
        let got = self.check(expr);
        if got != want {
            let (want, got) = (want.documented(), got.documented());
            self.complain(expr.span(), format!("expected type {want} in {context}, got {got}"));
        }
    }

    fn aggregate(&mut self, a: &mut Aggregate) {
        self.expect(&mut a.expr, ValueType::Vector, "aggregation expression");
        if let Some(param) = &mut a.param {
            let want = if a.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
            self.expect(param, want, "aggregation parameter");
        }
    }

    fn unary(&mut self, u: &mut Unary) -> ValueType {
        let got = self.check(&mut u.expr);
        if !matches!(got, ValueType::Scalar | ValueType::Vector) {
            let got = quote(got.documented());
            self.complain(
                Span::new(u.start, u.expr.span().end),
                format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {got}"
                ),
            );
        }
        got
    }

    /// Place of the operator with its modifiers.
    fn operator_span(&self, b: &Binary) -> Span {
        let between = Span::new(b.lhs.span().end, b.rhs.span().start);
        match self.query.get(between.start..between.end) {
            Some(text) => {
                let start = between.start + (text.len() - text.trim_start().len());
                Span::new(start, start.max(between.start + text.trim_end().len().saturating_sub(1)))
            }
            None => between,
        }
    }

    fn binary(&mut self, b: &mut Binary) -> ValueType {
        use ValueType::{Scalar, Vector};
        let lhs = self.check(&mut b.lhs);
        let rhs = self.check(&mut b.rhs);
        let span = b.lhs.span().to(b.rhs.span());
        let both = |t: ValueType| lhs == t && rhs == t;
        let op = b.op;
        if b.return_bool && !op.is_comparison() {
            self.complain(self.operator_span(b), "bool modifier can only be used on comparison operators");
        }
        if op.is_comparison() && !b.return_bool && both(Scalar) {
            self.complain(self.operator_span(b), "comparisons between scalars must use BOOL modifier");
        }
        let operator_span = self.operator_span(b);
        if let Some(matching) = &mut b.matching {
            if op.is_set() && matching.card == Cardinality::OneToOne {
                matching.card = Cardinality::ManyToMany;
            }
            if matching.on {
                for label in &matching.labels {
                    for _ in matching.include.iter().filter(|l| *l == label) {
                        self.complain(
                            operator_span,
                            format!("label {} must not occur in ON and GROUP clause at once", quote(label)),
                        );
                    }
                }
            }
        }
        for side in [&b.lhs, &b.rhs] {
            if !matches!(side.value_type(), Scalar | Vector) {
                self.complain(
                    side.span(),
                    "binary expression must contain only scalar and instant vector types",
                );
            }
        }
        if let Some(matching) = &b.matching {
            let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
            if !both(Vector) {
                if !matching.labels.is_empty() {
                    self.complain(span, "vector matching only allowed between instant vectors");
                }
                if filled {
                    self.complain(span, "filling in missing series only allowed between instant vectors");
                }
                b.matching = None;
            } else if op.is_set() {
                if matching.card != Cardinality::ManyToMany {
                    self.complain(span, format!("no grouping allowed for {} operation", quote(op.as_str())));
                    self.complain(span, "set operations must always be many-to-many");
                }
                if filled {
                    self.complain(span, "filling in missing series not allowed for set operators");
                }
            }
        }
        if (lhs == Scalar || rhs == Scalar) && op.is_set() {
            let op = quote(op.as_str());
            self.complain(span, format!("set operator {op} not allowed in binary scalar expression"));
        }
        if both(Scalar) { Scalar } else { Vector }
    }

    fn call(&mut self, c: &mut Call) {
        let (want, got, name) = (c.func.args.len(), c.args.len(), quote(c.func.name));
        if c.func.variadic == 0 {
            if want != got {
                self.complain(c.span, format!("expected {want} argument(s) in call to {name}, got {got}"));
            }
        } else {
            let least = want.saturating_sub(1);
            let most = usize::try_from(c.func.variadic).ok().map(|n| least + n);
            if least > got {
                self.complain(
                    c.span,
                    format!("expected at least {least} argument(s) in call to {name}, got {got}"),
                );
            } else if let Some(most) = most.filter(|most| *most < got) {
                self.complain(
                    c.span,
                    format!("expected at most {most} argument(s) in call to {name}, got {got}"),
                );
            }
        }
        if c.func.name == "info"
            && let Some(selector) = c.args.get_mut(1)
        {
            self.info_selector(selector, c.span);
        }
        for (at, arg) in c.args.iter_mut().enumerate() {
            let want = match c.func.args.get(at) {
                Some(want) => *want,
                None if c.func.variadic == 0 => break,
                None => match c.func.args.last() {
                    Some(last) => *last,
                    None => break,
                },
            };
            self.expect(arg, want, &format!("call to function {name}"));
        }
    }

    /// The second argument of `info()` holds labels, not a metric.
    fn info_selector(&mut self, arg: &mut Expr, call: Span) {
        let got = arg.value_type();
        if got != ValueType::Vector {
            let got = got.documented();
            self.complain(
                call,
                format!("expected type instant vector in call to function \"info\", got {got}"),
            );
        }
        match arg {
            Expr::Vector(v) if !v.name.is_empty() => {
                self.complain(v.span, "expected label selectors only, got vector selector instead");
            }
            Expr::Vector(v) => v.allow_empty_matchers = true,
            other => self.complain(other.span(), "expected label selectors only"),
        }
    }

    fn vector(&mut self, v: &VectorSelector) {
        if !v.name.is_empty() {
            // The last matcher is the one that stands for the name.
            let others = &v.matchers[..v.matchers.len().saturating_sub(1)];
            for m in others.iter().filter(|m| m.name == METRIC_NAME) {
                let (a, b) = (quote(&v.name), quote(&m.value));
                self.complain(v.span, format!("metric name must not be set twice: {a} or {b}"));
            }
        } else if !v.allow_empty_matchers && v.matchers.iter().all(|m| m.matches_empty()) {
            self.complain(v.span, "vector selector must contain at least one non-empty matcher");
        }
    }
}
