//! The same expression pinned in time: `@` set on all selectors, so that it may be evaluated at any time.

use promql::{AtModifier, Expr, Options};

/// Functions whose result depends on the evaluation time even when their arguments do not.
const TIME_DEPENDENT: &[&str] = &[
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
    "year",
];

/// The expression with `@ t` where there is no `@` yet; `None` when it depends on the time otherwise.
pub(super) fn pinned(text: &str, t: i64) -> Option<String> {
    if text.contains("start()") || text.contains("end()") {
        return None;
    }
    let mut expr = promql::parse(text, Options::ALL).ok()?;
    pin(&mut expr, AtModifier::Timestamp(t)).then(|| expr.to_string())
}

fn pin(expr: &mut Expr, at: AtModifier) -> bool {
    match expr {
        Expr::Vector(v) => {
            v.at.get_or_insert(at);
            true
        }
        Expr::Matrix(m) => {
            m.selector.at.get_or_insert(at);
            true
        }
        // What is inside then refers to the subquery's time; upstream pins it only below one without `@`.
        Expr::Subquery(s) if s.at.is_some() => !time_dependent(&s.expr),
        Expr::Subquery(s) => {
            s.at = Some(at);
            !time_dependent(&s.expr)
        }
        Expr::Call(c) => !TIME_DEPENDENT.contains(&c.func.name) && c.args.iter_mut().all(|arg| pin(arg, at)),
        Expr::Aggregate(a) => pin(&mut a.expr, at) && a.param.as_mut().is_none_or(|p| pin(p, at)),
        Expr::Binary(b) => pin(&mut b.lhs, at) && pin(&mut b.rhs, at),
        Expr::Paren(p) => pin(&mut p.expr, at),
        Expr::Unary(u) => pin(&mut u.expr, at),
        Expr::Number(_) | Expr::String(_) => true,
    }
}

fn time_dependent(expr: &Expr) -> bool {
    let here = matches!(expr, Expr::Call(c) if TIME_DEPENDENT.contains(&c.func.name));
    here || expr.children().any(time_dependent)
}
