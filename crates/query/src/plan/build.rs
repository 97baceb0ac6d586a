//! Tree to plan.

use super::duration::{Context, resolve};
use super::{AggregateNode, BinaryNode, CallNode, Fetch, Node, Op, Plan, Selector, SubqueryNode, WindowNode};
use crate::{QueryError, SubqueryStepFn};
use model::TimeRange;
use promql::{AtModifier, BinaryOp, Expr, UnaryOp, ValueType, VectorSelector};

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

/// Marks on the path to a selector that are no function.
const SUBQUERY: &str = "[:]";
const TRIM: &str = "/";

/// What a plan depends on besides the tree.
pub(crate) struct Build<'a> {
    /// First and last evaluation time, ms.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// 0 for instant queries.
    pub(crate) step: i64,
    pub(crate) lookback: i64,
    pub(crate) subquery_step: &'a SubqueryStepFn,
}

pub(crate) fn build(expr: &Expr, query: &Build<'_>) -> Result<Plan, QueryError> {
    let mut builder = Builder { query, fetches: Vec::new(), outer: Vec::new(), funcs: Vec::new() };
    let built = builder.node(expr).map_err(QueryError::Parse)?;
    let root = if built.wrap { built.wrapped() } else { built.node };
    let mut plan = Plan { root, fetches: builder.fetches, shared: Vec::new() };
    super::labels::project(&mut plan);
    super::share::share(&mut plan);
    Ok(plan)
}

/// A node with what is known about its dependence on the step.
struct Built {
    node: Node,
    /// Does not depend on the step.
    invariant: bool,
    /// Is worth an [`Op::Invariant`] around it.
    wrap: bool,
}

impl Built {
    fn wrapped(self) -> Node {
        let (span, ty) = (self.node.span, self.node.ty);
        Node { op: Op::Invariant(Box::new(self.node)), span, ty }
    }

    fn wrapped_if_worth(self) -> Node {
        if self.wrap { self.wrapped() } else { self.node }
    }
}

/// An enclosing subquery.
struct Outer {
    offset: i64,
    range: i64,
    at: Option<i64>,
}

struct Builder<'a> {
    query: &'a Build<'a>,
    fetches: Vec<Fetch>,
    outer: Vec<Outer>,
    /// Names of enclosing functions and aggregations, [`SUBQUERY`], [`TRIM`], or nothing for another operator.
    funcs: Vec<&'static str>,
}

impl Builder<'_> {
    fn context(&self) -> Context {
        Context {
            step: self.query.step as f64 / 1000.0,
            range: self.query.end.saturating_sub(self.query.start) as f64 / 1000.0,
        }
    }

    fn node(&mut self, expr: &Expr) -> Result<Built, String> {
        let span = expr.span();
        let constant = |op, ty| Built { node: Node { op, span, ty }, invariant: true, wrap: false };
        match expr {
            Expr::Number(n) => Ok(constant(Op::Number(n.value), ValueType::Scalar)),
            Expr::String(s) => Ok(constant(Op::Text(s.value.clone()), ValueType::String)),
            Expr::Paren(p) => self.node(&p.expr),
            Expr::Unary(u) => {
                let child = self.node(&u.expr)?;
                if u.op == UnaryOp::Plus {
                    let ty = child.node.ty;
                    return Ok(Built {
                        node: Node { op: Op::Plus(Box::new(child.node)), span, ty },
                        ..child
                    });
                }
                // Upstream folds the sign of a number into it when parsing; ours may keep it.
                if let Op::Number(v) = child.node.op {
                    return Ok(constant(Op::Number(-v), ValueType::Scalar));
                }
                let ty = child.node.ty;
                Ok(Built { node: Node { op: Op::Negate(Box::new(child.node)), span, ty }, ..child })
            }
            Expr::Vector(v) => {
                let selector = self.selector(v, 0)?;
                let at = selector.at.is_some();
                let node = Node { op: Op::Instant(selector), span, ty: ValueType::Vector };
                Ok(Built { node, invariant: at, wrap: at })
            }
            Expr::Matrix(m) => {
                let range = resolve(&m.range, self.context(), false)?;
                let selector = self.selector(&m.selector, range)?;
                let invariant = selector.at.is_some();
                let node =
                    Node { op: Op::Window(WindowNode { selector, range }), span, ty: ValueType::Matrix };
                Ok(Built { node, invariant, wrap: false })
            }
            Expr::Subquery(s) => self.subquery(s, span),
            Expr::Binary(b) => {
                let trims = matches!(b.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
                self.funcs.push(if trims { TRIM } else { "" });
                let (to_left, to_right) = super::push::push(b);
                let lhs = self.operand(&b.lhs, to_left)?;
                let rhs = self.operand(&b.rhs, to_right)?;
                self.funcs.pop();
                let invariant = lhs.invariant && rhs.invariant;
                let (lhs, rhs) = if invariant {
                    (lhs.node, rhs.node)
                } else {
                    (lhs.wrapped_if_worth(), rhs.wrapped_if_worth())
                };
                let ty = expr.value_type();
                let node = BinaryNode {
                    op: b.op,
                    lhs,
                    rhs,
                    matching: b.matching.clone(),
                    return_bool: b.return_bool,
                };
                Ok(Built {
                    node: Node { op: Op::Binary(Box::new(node)), span, ty },
                    invariant,
                    wrap: invariant,
                })
            }
            Expr::Aggregate(a) => {
                self.funcs.push(a.op.as_str());
                let child = self.node(&a.expr)?;
                self.funcs.pop();
                let param = match &a.param {
                    Some(p) => Some(self.node(p)?.wrapped_if_worth()),
                    None => None,
                };
                let mut grouping = a.grouping.clone();
                grouping.sort();
                grouping.dedup();
                let node = AggregateNode { op: a.op, child: child.node, param, grouping, without: a.without };
                let node = Node { op: Op::Aggregate(Box::new(node)), span, ty: ValueType::Vector };
                Ok(Built { node, invariant: child.invariant, wrap: child.wrap })
            }
            Expr::Call(c) => self.call(c, span),
        }
    }

    /// A side of a binary operator, with matchers that the other side brings.
    fn operand(&mut self, expr: &Expr, more: Vec<model::Matcher>) -> Result<Built, String> {
        if more.is_empty() {
            return self.node(expr);
        }
        match expr {
            Expr::Paren(p) => self.operand(&p.expr, more),
            Expr::Vector(v) => {
                let mut narrow = v.clone();
                narrow.matchers.extend(more);
                self.node(&Expr::Vector(narrow))
            }
            _ => self.node(expr),
        }
    }

    fn subquery(&mut self, s: &promql::Subquery, span: promql::Span) -> Result<Built, String> {
        let context = self.context();
        let offset = resolve(&s.offset, context, true)?;
        let step = match &s.step {
            Some(step) => resolve(step, context, false)?,
            None => 0,
        };
        let range = resolve(&s.range, context, false)?;
        let step = if step > 0 { step } else { (self.query.subquery_step)(range).max(1) };
        let at = self.at(s.at);
        self.outer.push(Outer { offset, range, at });
        self.funcs.push(SUBQUERY);
        let child = self.node(&s.expr)?;
        self.funcs.pop();
        self.outer.pop();
        let child = if child.invariant { child.wrapped() } else { child.node };
        let node = SubqueryNode { child, range, step, offset, at };
        let node = Node { op: Op::Subquery(Box::new(node)), span, ty: ValueType::Matrix };
        Ok(Built { node, invariant: at.is_some(), wrap: false })
    }

    fn call(&mut self, c: &promql::Call, span: promql::Span) -> Result<Built, String> {
        let number = |v: f64| {
            Ok(Built {
                node: Node { op: Op::Number(v), span, ty: ValueType::Scalar },
                invariant: true,
                wrap: false,
            })
        };
        match c.func.name {
            "start" => return number(self.query.start as f64 / 1000.0),
            "end" => return number(self.query.end as f64 / 1000.0),
            "range" => return number(self.context().range),
            "step" if self.query.start == self.query.end => return number(0.0),
            "step" => return number(self.context().step),
            _ => {}
        }
        self.funcs.push(c.func.name);
        let args = c.args.iter().map(|a| self.node(a)).collect::<Result<Vec<_>, _>>()?;
        self.funcs.pop();
        let all = args.iter().all(|a| a.invariant);
        let plain_timestamp =
            c.func.name == "timestamp" && args.iter().all(|a| matches!(a.node.op, Op::Instant(_)));
        let invariant = all && (!TIME_DEPENDENT.contains(&c.func.name) || plain_timestamp);
        let args = if invariant {
            args.into_iter().map(|a| a.node).collect()
        } else {
            args.into_iter().map(Built::wrapped_if_worth).collect()
        };
        let node = Node { op: Op::Call(CallNode { func: c.func, args }), span, ty: c.func.returns };
        Ok(Built { node, invariant, wrap: invariant })
    }

    fn at(&self, at: Option<AtModifier>) -> Option<i64> {
        at.map(|at| match at {
            AtModifier::Timestamp(t) => t,
            AtModifier::Start => self.query.start,
            AtModifier::End => self.query.end,
        })
    }

    /// `range` 0 for an instant selector.
    fn selector(&mut self, v: &VectorSelector, range: i64) -> Result<Selector, String> {
        let offset = resolve(&v.offset, self.context(), true)?;
        let at = self.at(v.at);
        let window = self.looks_at(at, offset, range, v.anchored, v.smoothed);
        let known = self.fetches.iter().position(|f| f.matchers == v.matchers);
        let fetch = match known {
            Some(i) => {
                let known = &mut self.fetches[i];
                known.range =
                    TimeRange::new(known.range.min.min(window.min), known.range.max.max(window.max));
                i
            }
            None => {
                let func = self.funcs.iter().rev().find(|f| **f != SUBQUERY);
                let func = func.filter(|f| **f != TRIM).copied().unwrap_or("").to_owned();
                let matchers = v.matchers.clone();
                self.fetches.push(Fetch { matchers, range: window, func, shown: None, windowed: false });
                self.fetches.len() - 1
            }
        };
        self.fetches[fetch].windowed |= range > 0;
        Ok(Selector {
            fetch,
            matchers: v.matchers.clone(),
            offset,
            at,
            anchored: v.anchored,
            smoothed: v.smoothed,
            stats_only: self.stats_only(),
        })
    }

    /// Whether everything around a selector wants only count and sum of histograms. Below a subquery the
    /// buckets are needed to find counter resets.
    fn stats_only(&self) -> bool {
        let mut only = false;
        for func in self.funcs.iter().rev() {
            match *func {
                "histogram_count" | "histogram_sum" | "histogram_avg" => only = true,
                SUBQUERY | TRIM | "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                    return false;
                }
                _ => {}
            }
        }
        only
    }

    /// Times that a selector can look at, seen from the enclosing subqueries.
    fn looks_at(
        &self,
        at: Option<i64>,
        offset: i64,
        range: i64,
        anchored: bool,
        smoothed: bool,
    ) -> TimeRange {
        let (mut shift, mut width, mut pinned) = (0i64, 0i64, None);
        for outer in &self.outer {
            shift = shift.saturating_add(outer.offset);
            width = width.saturating_add(outer.range);
            if outer.at.is_some() {
                (shift, width, pinned) = (outer.offset, outer.range, outer.at);
            }
        }
        let (mut min, mut max) = match (at, pinned) {
            (Some(at), _) => (at, at),
            (None, pinned) => {
                let (min, max) = pinned.map_or((self.query.start, self.query.end), |t| (t, t));
                (min.saturating_sub(shift).saturating_sub(width), max.saturating_sub(shift))
            }
        };
        let lookback = self.query.lookback;
        let back = if range == 0 {
            lookback
        } else if anchored || smoothed {
            lookback.saturating_add(range)
        } else {
            range
        };
        min = min.saturating_sub(back.saturating_sub(1)).saturating_sub(offset);
        max = max.saturating_sub(offset);
        if smoothed {
            max = max.saturating_add(lookback);
        }
        TimeRange::new(min, max)
    }
}
