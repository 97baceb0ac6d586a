//! Durations that are expressions, resolved to milliseconds.

use promql::{DurationExpr, DurationOp, DurationValue, Span, UnaryOp};

/// Seconds that upstream's 64-bit nanoseconds can hold.
const MAX_SECONDS: f64 = 9_223_372_036.854_776;

/// What `step()` and `range()` stand for, seconds.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub(super) step: f64,
    pub(super) range: f64,
}

/// Resolves a duration to ms. Only offsets may be zero or negative when computed.
pub(super) fn resolve(value: &DurationValue, context: Context, may_be_negative: bool) -> Result<i64, String> {
    let expr = match value {
        DurationValue::Millis(ms) => return Ok(*ms),
        DurationValue::Expr(expr) => expr,
    };
    let seconds = eval(expr, context)?;
    let at = place(expr.span());
    if !seconds.is_finite() {
        return Err(format!("{at}: duration is NaN or infinite"));
    }
    if seconds <= 0.0 && !may_be_negative {
        return Err(format!("{at}: duration must be greater than 0"));
    }
    if seconds.abs() > MAX_SECONDS {
        return Err(format!("{at}: duration is out of range"));
    }
    Ok((seconds * 1000.0) as i64)
}

fn place(span: Span) -> String {
    format!("{}:{}", span.start, span.end)
}

fn eval(expr: &DurationExpr, context: Context) -> Result<f64, String> {
    Ok(match expr {
        DurationExpr::Number(n) => n.value,
        DurationExpr::Step { .. } => context.step,
        DurationExpr::Range { .. } => context.range,
        DurationExpr::Unary { op, expr, .. } => {
            let v = eval(expr, context)?;
            if *op == UnaryOp::Minus { -v } else { v }
        }
        DurationExpr::Binary { op, lhs, rhs, span, .. } => {
            let (l, r) = (eval(lhs, context)?, eval(rhs, context)?);
            match op {
                DurationOp::Add => l + r,
                DurationOp::Sub => l - r,
                DurationOp::Mul => l * r,
                DurationOp::Div if r == 0.0 => return Err(format!("{}: division by zero", place(*span))),
                DurationOp::Div => l / r,
                DurationOp::Mod if r == 0.0 => return Err(format!("{}: modulo by zero", place(*span))),
                DurationOp::Mod => l % r,
                DurationOp::Pow => l.powf(r),
                DurationOp::MinOf => crate::numeric::go_min(l, r),
                DurationOp::MaxOf => crate::numeric::go_max(l, r),
            }
        }
    })
}
