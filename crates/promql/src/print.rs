//! From tree to text, on one line, as upstream's `String` writes it.

use crate::ast::*;
use model::duration::format_duration;
use model::labels::{is_legacy_label_name, quote};
use model::{METRIC_NAME, MatchOp};
use std::fmt::{self, Display, Formatter, Write};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Aggregate(e) => e.fmt(f),
            Expr::Binary(e) => write!(f, "{} {} {}", e.lhs, Operator(e), e.rhs),
            Expr::Call(e) => {
                write!(f, "{}(", e.func.name)?;
                for (i, arg) in e.args.iter().enumerate() {
                    write!(f, "{}{arg}", if i > 0 { ", " } else { "" })?;
                }
                f.write_char(')')
            }
            Expr::Matrix(e) => e.fmt(f),
            Expr::Number(e) => e.fmt(f),
            Expr::Paren(e) => write!(f, "({})", e.expr),
            Expr::String(e) => f.write_str(&e.quoted()),
            Expr::Subquery(e) => write!(f, "{}{}", e.expr, SubqueryTimes(e)),
            Expr::Unary(e) => write!(f, "{}{}", e.op.as_str(), e.expr),
            Expr::Vector(e) => e.fmt(f),
        }
    }
}

impl UnaryOp {
    pub const fn as_str(self) -> &'static str {
        match self {
            UnaryOp::Plus => "+",
            UnaryOp::Minus => "-",
        }
    }
}

impl DurationOp {
    pub const fn as_str(self) -> &'static str {
        match self {
            DurationOp::Add => "+",
            DurationOp::Sub => "-",
            DurationOp::Mul => "*",
            DurationOp::Div => "/",
            DurationOp::Mod => "%",
            DurationOp::Pow => "^",
            DurationOp::MinOf => "min_of",
            DurationOp::MaxOf => "max_of",
        }
    }
}

fn write_labels(f: &mut Formatter<'_>, labels: &[String]) -> fmt::Result {
    f.write_char('(')?;
    for (i, label) in labels.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        if is_legacy_label_name(label) {
            f.write_str(label)?;
        } else {
            f.write_str(&quote(label))?;
        }
    }
    f.write_char(')')
}

/// `sum by (a) `, without the arguments.
pub(crate) struct AggregateHead<'a>(pub(crate) &'a Aggregate);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.as_str())?;
        if self.0.without || !self.0.grouping.is_empty() {
            f.write_str(if self.0.without { " without " } else { " by " })?;
            write_labels(f, &self.0.grouping)?;
            f.write_char(' ')?;
        }
        Ok(())
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", AggregateHead(self))?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.expr)
    }
}

/// The operator with `bool` and matching.
pub(crate) struct Operator<'a>(pub(crate) &'a Binary);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.as_str())?;
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        let Some(m) = &self.0.matching else { return Ok(()) };
        let group = match m.card {
            Cardinality::ManyToOne => Some(" group_left "),
            Cardinality::OneToMany => Some(" group_right "),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if !m.labels.is_empty() || m.on || group.is_some() {
            f.write_str(if m.on { " on " } else { " ignoring " })?;
            write_labels(f, &m.labels)?;
        }
        if let Some(group) = group {
            f.write_str(group)?;
            write_labels(f, &m.include)?;
        }
        let fill = |v: f64| model::float::go_string(v);
        match (m.fill_left, m.fill_right) {
            (Some(l), Some(r)) if l == r => write!(f, " fill ({})", fill(l)),
            (left, right) => {
                if let Some(l) = left {
                    write!(f, " fill_left ({})", fill(l))?;
                }
                if let Some(r) = right {
                    write!(f, " fill_right ({})", fill(r))?;
                }
                Ok(())
            }
        }
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.duration {
            f.write_str(&format_duration((self.value * 1e9) as i64 / 1_000_000))
        } else {
            f.write_str(&model::float::plain_string(self.value))
        }
    }
}

impl Display for DurationValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            DurationValue::Millis(ms) => f.write_str(&format_duration(*ms)),
            DurationValue::Expr(expr) => expr.fmt(f),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let wrapped = match self {
            DurationExpr::Number(_) => false,
            DurationExpr::Step { wrapped, .. }
            | DurationExpr::Range { wrapped, .. }
            | DurationExpr::Unary { wrapped, .. }
            | DurationExpr::Binary { wrapped, .. } => *wrapped,
        };
        if wrapped {
            f.write_char('(')?;
        }
        match self {
            DurationExpr::Number(n) => n.fmt(f)?,
            DurationExpr::Step { .. } => f.write_str("step()")?,
            DurationExpr::Range { .. } => f.write_str("range()")?,
            // A plus is there to carry parentheses only.
            DurationExpr::Unary { op: UnaryOp::Plus, expr, .. } => expr.fmt(f)?,
            DurationExpr::Unary { op: UnaryOp::Minus, expr, .. } => write!(f, "-{expr}")?,
            DurationExpr::Binary { op, lhs, rhs, .. }
                if matches!(op, DurationOp::MinOf | DurationOp::MaxOf) =>
            {
                write!(f, "{}({lhs}, {rhs})", op.as_str())?;
            }
            DurationExpr::Binary { op, lhs, rhs, .. } => write!(f, "{lhs} {} {rhs}", op.as_str())?,
        }
        if wrapped {
            f.write_char(')')?;
        }
        Ok(())
    }
}

impl Display for AtModifier {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            AtModifier::Timestamp(ms) => write!(f, " @ {:.3}", *ms as f64 / 1000.0),
            AtModifier::Start => f.write_str(" @ start()"),
            AtModifier::End => f.write_str(" @ end()"),
        }
    }
}

fn write_at(f: &mut Formatter<'_>, at: Option<AtModifier>) -> fmt::Result {
    at.map_or(Ok(()), |at| at.fmt(f))
}

fn write_offset(f: &mut Formatter<'_>, offset: &DurationValue) -> fmt::Result {
    if offset.is_zero() { Ok(()) } else { write!(f, " offset {offset}") }
}

fn write_extension(f: &mut Formatter<'_>, v: &VectorSelector) -> fmt::Result {
    f.write_str(match (v.anchored, v.smoothed) {
        (true, _) => " anchored",
        (false, true) => " smoothed",
        (false, false) => "",
    })
}

/// `[5m:1m] @ 1.000 offset 5m`
pub(crate) struct SubqueryTimes<'a>(pub(crate) &'a Subquery);

impl Display for SubqueryTimes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:", self.0.range)?;
        if let Some(step) = self.0.step.as_ref().filter(|s| !s.is_zero()) {
            step.fmt(f)?;
        }
        f.write_char(']')?;
        write_at(f, self.0.at)?;
        write_offset(f, &self.0.offset)
    }
}

impl Display for MatrixSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_name_and_matchers(f, &self.selector)?;
        write!(f, "[{}]", self.range)?;
        write_extension(f, &self.selector)?;
        write_at(f, self.selector.at)?;
        write_offset(f, &self.selector.offset)
    }
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_name_and_matchers(f, self)?;
        write_at(f, self.at)?;
        write_extension(f, self)?;
        write_offset(f, &self.offset)
    }
}

fn write_name_and_matchers(f: &mut Formatter<'_>, v: &VectorSelector) -> fmt::Result {
    f.write_str(&v.name)?;
    let mut matchers: Vec<_> = v
        .matchers
        .iter()
        .filter(|m| {
            m.name != METRIC_NAME || m.op != MatchOp::Equal || m.value != v.name || m.value.is_empty()
        })
        .map(ToString::to_string)
        .collect();
    if matchers.is_empty() {
        return Ok(());
    }
    matchers.sort_unstable();
    write!(f, "{{{}}}", matchers.join(","))
}
