//! From tree to text over several lines, as upstream's `Prettify` lays it out.

use crate::ast::Expr;
use crate::print::{AggregateHead, Operator, SubqueryTimes};

/// Longer expressions are split.
const LINE: usize = 100;

/// Formats an expression; what does not fit a line of 100 bytes is split and indented by two blanks.
pub fn prettify(expr: &Expr) -> String {
    pretty(expr, 0)
}

fn pretty(expr: &Expr, level: usize) -> String {
    let plain = expr.to_string();
    let indent = "  ".repeat(level);
    let long = plain.len() > LINE;
    match expr {
        Expr::Unary(e) => format!("{indent}{}{}", e.op.as_str(), pretty(&e.expr, level).trim()),
        // Upstream does not indent a subquery that fits.
        Expr::Subquery(e) if long => format!("{}{}", pretty(&e.expr, level), SubqueryTimes(e)),
        Expr::Subquery(_) => plain,
        Expr::Aggregate(e) if long => {
            let param = e.param.as_ref().map_or_else(String::new, |p| pretty(p, level + 1) + ",\n");
            format!("{indent}{}(\n{param}{}\n{indent})", AggregateHead(e), pretty(&e.expr, level + 1))
        }
        Expr::Binary(e) if long => {
            format!("{}\n{indent}{}\n{}", pretty(&e.lhs, level + 1), Operator(e), pretty(&e.rhs, level + 1))
        }
        Expr::Call(e) if long => {
            let args: Vec<_> = e.args.iter().map(|arg| pretty(arg, level + 1)).collect();
            format!("{indent}{}(\n{}\n{indent})", e.func.name, args.join(",\n"))
        }
        Expr::Paren(e) if long => format!("{indent}(\n{}\n{indent})", pretty(&e.expr, level + 1)),
        _ => indent + &plain,
    }
}
