//! The tree as JSON, in the shape the query UI reads from `/api/v1/parse_query`.
//!
//! One small function per node: a tree may be [`crate::MAX_DEPTH`] high, so stack frames must stay small.

use crate::ast::*;
use model::float::plain_string;
use serde_json::{Map, Value};

/// Translates a tree; keys and values as upstream's `translate_ast.go` has them.
pub fn to_json(expr: &Expr) -> Value {
    match expr {
        Expr::Aggregate(e) => aggregate(e),
        Expr::Binary(e) => binary(e),
        Expr::Call(e) => call(e),
        Expr::Matrix(e) => matrix(e),
        Expr::Number(e) => Node::new("numberLiteral").with("val", plain_string(e.value)).done(),
        Expr::Paren(e) => Node::new("parenExpr").with("expr", to_json(&e.expr)).done(),
        Expr::String(e) => Node::new("stringLiteral").with("val", e.value.as_str()).done(),
        Expr::Subquery(e) => subquery(e),
        Expr::Unary(e) => unary(e),
        Expr::Vector(e) => selector("vectorSelector", e).done(),
    }
}

struct Node(Map<String, Value>);

impl Node {
    fn new(kind: &str) -> Self {
        Node(Map::new()).with("type", kind)
    }

    #[inline(never)]
    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.into(), value.into());
        self
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn aggregate(e: &Aggregate) -> Value {
    let node = Node::new("aggregation").with("expr", to_json(&e.expr));
    let param = e.param.as_deref().map_or(Value::Null, to_json);
    node.with("param", param)
        .with("op", e.op.as_str())
        .with("grouping", e.grouping.as_slice())
        .with("without", e.without)
        .done()
}

fn binary(e: &Binary) -> Value {
    let node = Node::new("binaryExpr").with("lhs", to_json(&e.lhs));
    let node = node.with("rhs", to_json(&e.rhs));
    let matching = e.matching.as_ref().map_or(Value::Null, matching);
    node.with("op", e.op.as_str()).with("matching", matching).with("bool", e.return_bool).done()
}

fn matching(m: &VectorMatching) -> Value {
    let fill = Node(Map::new())
        .with("lhs", m.fill_left.map_or(Value::Null, number))
        .with("rhs", m.fill_right.map_or(Value::Null, number));
    Node(Map::new())
        .with("card", m.card.as_str())
        .with("labels", m.labels.as_slice())
        .with("on", m.on)
        .with("include", m.include.as_slice())
        .with("fillValues", fill.done())
        .done()
}

fn call(e: &Call) -> Value {
    let args: Vec<Value> = e.args.iter().map(to_json).collect();
    Node::new("call").with("func", function(e)).with("args", args).done()
}

fn function(e: &Call) -> Value {
    let types: Vec<&str> = e.func.args.iter().map(|t| t.as_str()).collect();
    Node(Map::new())
        .with("name", e.func.name)
        .with("argTypes", types)
        .with("variadic", e.func.variadic)
        .with("returnType", e.func.returns.as_str())
        .done()
}

fn matrix(e: &MatrixSelector) -> Value {
    selector("matrixSelector", &e.selector)
        .with("range", millis(&e.range))
        .with("rangeExpr", duration(&e.range))
        .done()
}

fn subquery(e: &Subquery) -> Value {
    let node = Node::new("subquery").with("expr", to_json(&e.expr));
    times(node, &e.offset, e.at)
        .with("range", millis(&e.range))
        .with("rangeExpr", duration(&e.range))
        .with("step", e.step.as_ref().map_or(0, millis))
        .with("stepExpr", e.step.as_ref().map_or(Value::Null, duration))
        .done()
}

fn unary(e: &Unary) -> Value {
    Node::new("unaryExpr").with("expr", to_json(&e.expr)).with("op", e.op.as_str()).done()
}

fn selector(kind: &str, v: &VectorSelector) -> Node {
    let matchers = v.matchers.iter().map(|m| {
        Node(Map::new())
            .with("name", m.name.as_str())
            .with("value", m.value.as_str())
            .with("type", m.op.as_str())
            .done()
    });
    times(Node::new(kind), &v.offset, v.at)
        .with("name", v.name.as_str())
        .with("matchers", matchers.collect::<Vec<Value>>())
        .with("anchored", v.anchored)
        .with("smoothed", v.smoothed)
}

/// `offset` and `@`
fn times(node: Node, offset: &DurationValue, at: Option<AtModifier>) -> Node {
    let (timestamp, start_or_end) = match at {
        None => (Value::Null, Value::Null),
        Some(AtModifier::Timestamp(ms)) => (ms.into(), Value::Null),
        Some(AtModifier::Start) => (Value::Null, "start".into()),
        Some(AtModifier::End) => (Value::Null, "end".into()),
    };
    node.with("offset", millis(offset))
        .with("offsetExpr", duration(offset))
        .with("timestamp", timestamp)
        .with("startOrEnd", start_or_end)
}

fn millis(value: &DurationValue) -> i64 {
    value.millis().unwrap_or(0)
}

fn duration(value: &DurationValue) -> Value {
    value.expr().map_or(Value::Null, duration_expr)
}

fn duration_expr(expr: &DurationExpr) -> Value {
    let (op, lhs, rhs, wrapped) = match expr {
        DurationExpr::Number(n) => {
            return Node::new("numberLiteral")
                .with("val", plain_string(n.value))
                .with("duration", n.duration)
                .done();
        }
        DurationExpr::Step { wrapped, .. } => ("step", None, None, *wrapped),
        DurationExpr::Range { wrapped, .. } => ("range", None, None, *wrapped),
        DurationExpr::Unary { op, expr, wrapped, .. } => (op.as_str(), None, Some(&**expr), *wrapped),
        DurationExpr::Binary { op, lhs, rhs, wrapped, .. } => {
            (op.as_str(), Some(&**lhs), Some(&**rhs), *wrapped)
        }
    };
    Node::new("durationExpr")
        .with("op", op)
        .with("lhs", lhs.map_or(Value::Null, duration_expr))
        .with("rhs", rhs.map_or(Value::Null, duration_expr))
        .with("wrapped", wrapped)
        .done()
}

/// Whole numbers without a fraction, as Go writes them. JSON has no NaN and no infinity: those become null.
fn number(v: f64) -> Value {
    if v.fract() == 0.0 && v.abs() < 1e15 { Value::from(v as i64) } else { Value::from(v) }
}
