//! The tree as JSON, in the shape the query UI reads from `/api/v1/parse_query`.

use crate::ast::*;
use model::float::plain_string;
use serde_json::{Value, json};

/// Translates a tree; keys and values as upstream's `translate_ast.go` has them.
pub fn to_json(expr: &Expr) -> Value {
    match expr {
        Expr::Aggregate(e) => json!({
            "type": "aggregation",
            "op": e.op.as_str(),
            "expr": to_json(&e.expr),
            "param": e.param.as_ref().map(|p| to_json(p)),
            "grouping": e.grouping,
            "without": e.without,
        }),
        Expr::Binary(e) => json!({
            "type": "binaryExpr",
            "op": e.op.as_str(),
            "lhs": to_json(&e.lhs),
            "rhs": to_json(&e.rhs),
            "matching": e.matching.as_ref().map(|m| json!({
                "card": m.card.as_str(),
                "labels": m.labels,
                "on": m.on,
                "include": m.include,
                "fillValues": { "lhs": m.fill_left.map(number), "rhs": m.fill_right.map(number) },
            })),
            "bool": e.return_bool,
        }),
        Expr::Call(e) => json!({
            "type": "call",
            "func": {
                "name": e.func.name,
                "argTypes": e.func.args.iter().map(|t| t.as_str()).collect::<Vec<_>>(),
                "variadic": e.func.variadic,
                "returnType": e.func.returns.as_str(),
            },
            "args": e.args.iter().map(to_json).collect::<Vec<_>>(),
        }),
        Expr::Matrix(e) => {
            let mut value = selector("matrixSelector", &e.selector);
            value["range"] = millis(&e.range).into();
            value["rangeExpr"] = duration(&e.range);
            value
        }
        Expr::Number(e) => json!({ "type": "numberLiteral", "val": plain_string(e.value) }),
        Expr::Paren(e) => json!({ "type": "parenExpr", "expr": to_json(&e.expr) }),
        Expr::String(e) => json!({ "type": "stringLiteral", "val": e.value }),
        Expr::Subquery(e) => {
            let (timestamp, start_or_end) = at(e.at);
            json!({
                "type": "subquery",
                "expr": to_json(&e.expr),
                "range": millis(&e.range),
                "rangeExpr": duration(&e.range),
                "offset": millis(&e.offset),
                "offsetExpr": duration(&e.offset),
                "step": e.step.as_ref().map_or(0, millis),
                "stepExpr": e.step.as_ref().map_or(Value::Null, duration),
                "timestamp": timestamp,
                "startOrEnd": start_or_end,
            })
        }
        Expr::Unary(e) => json!({ "type": "unaryExpr", "op": e.op.as_str(), "expr": to_json(&e.expr) }),
        Expr::Vector(e) => selector("vectorSelector", e),
    }
}

fn selector(kind: &str, v: &VectorSelector) -> Value {
    let (timestamp, start_or_end) = at(v.at);
    let matchers: Vec<_> = v
        .matchers
        .iter()
        .map(|m| json!({ "name": m.name, "value": m.value, "type": m.op.as_str() }))
        .collect();
    json!({
        "type": kind,
        "name": v.name,
        "offset": millis(&v.offset),
        "offsetExpr": duration(&v.offset),
        "matchers": matchers,
        "timestamp": timestamp,
        "startOrEnd": start_or_end,
        "anchored": v.anchored,
        "smoothed": v.smoothed,
    })
}

fn at(at: Option<AtModifier>) -> (Value, Value) {
    match at {
        None => (Value::Null, Value::Null),
        Some(AtModifier::Timestamp(ms)) => (ms.into(), Value::Null),
        Some(AtModifier::Start) => (Value::Null, "start".into()),
        Some(AtModifier::End) => (Value::Null, "end".into()),
    }
}

fn millis(value: &DurationValue) -> i64 {
    value.millis().unwrap_or(0)
}

fn duration(value: &DurationValue) -> Value {
    value.expr().map_or(Value::Null, duration_expr)
}

fn duration_expr(expr: &DurationExpr) -> Value {
    let node = |op: &str, lhs: Value, rhs: Value, wrapped: bool| json!({ "type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": wrapped });
    match expr {
        DurationExpr::Number(n) => {
            json!({ "type": "numberLiteral", "val": plain_string(n.value), "duration": n.duration })
        }
        DurationExpr::Step { wrapped, .. } => node("step", Value::Null, Value::Null, *wrapped),
        DurationExpr::Range { wrapped, .. } => node("range", Value::Null, Value::Null, *wrapped),
        DurationExpr::Unary { op, expr, wrapped, .. } => {
            node(op.as_str(), Value::Null, duration_expr(expr), *wrapped)
        }
        DurationExpr::Binary { op, lhs, rhs, wrapped, .. } => {
            node(op.as_str(), duration_expr(lhs), duration_expr(rhs), *wrapped)
        }
    }
}

/// Whole numbers without a fraction, as Go writes them. JSON has no NaN and no infinity: those become null.
fn number(v: f64) -> Value {
    if v.fract() == 0.0 && v.abs() < 1e15 { Value::from(v as i64) } else { Value::from(v) }
}
