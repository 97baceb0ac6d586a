//! The plan of a query: plain data, made from the checked tree and the query's times.
//!
//! Durations are numbers, `@ start()` and `@ end()` are timestamps, parentheses are gone, what does not depend on
//! the step is wrapped in [`Op::Invariant`], and selectors of the same matchers share one fetch.

mod build;
mod duration;
mod labels;
mod push;
mod share;

use crate::eval::Grid;
use model::{Matcher, TimeRange};
use promql::{AggregateOp, BinaryOp, Function, Span, ValueType, VectorMatching};

pub(crate) use build::{Build, build};
pub(crate) use labels::one_metric;

/// A whole query, ready to run.
pub(crate) struct Plan {
    pub(crate) root: Node,
    pub(crate) fetches: Vec<Fetch>,
    /// How often each [`Op::Shared`] is used.
    pub(crate) shared: Vec<usize>,
}

/// Series to be selected, once for all selectors with these matchers.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) matchers: Vec<Matcher>,
    /// Union of what the selectors look at.
    pub(crate) range: TimeRange,
    /// Function or aggregation around the first selector.
    pub(crate) func: String,
    /// Names of the labels that anybody looks at; all without it.
    pub(crate) shown: Option<Vec<String>>,
    /// A range selector uses it.
    pub(crate) windowed: bool,
}

/// One operation. `span` is where annotations point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) span: Span,
    pub(crate) ty: ValueType,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    Number(f64),
    Text(String),
    /// Instant selector.
    Instant(Selector),
    /// Range selector.
    Window(WindowNode),
    Subquery(Box<SubqueryNode>),
    /// Evaluated once, at the first step, and repeated.
    Invariant(Box<Node>),
    /// `+x`, which is `x` at another place.
    Plus(Box<Node>),
    /// Evaluated when first used, and kept until it was used as often as [`Plan::shared`] says.
    Shared(usize, Box<Node>),
    Negate(Box<Node>),
    Binary(Box<BinaryNode>),
    Aggregate(Box<AggregateNode>),
    Call(CallNode),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selector {
    /// Index into [`Plan::fetches`].
    pub(crate) fetch: usize,
    pub(crate) matchers: Vec<Matcher>,
    /// ms, positive looks into the past.
    pub(crate) offset: i64,
    /// `@`, ms.
    pub(crate) at: Option<i64>,
    pub(crate) anchored: bool,
    pub(crate) smoothed: bool,
    /// Only count and sum of histograms are looked at; buckets serve to find counter resets when reading.
    pub(crate) stats_only: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WindowNode {
    pub(crate) selector: Selector,
    pub(crate) range: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SubqueryNode {
    pub(crate) child: Node,
    pub(crate) range: i64,
    pub(crate) step: i64,
    pub(crate) offset: i64,
    pub(crate) at: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BinaryNode {
    pub(crate) op: BinaryOp,
    pub(crate) lhs: Node,
    pub(crate) rhs: Node,
    pub(crate) matching: Option<VectorMatching>,
    pub(crate) return_bool: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AggregateNode {
    pub(crate) op: AggregateOp,
    pub(crate) child: Node,
    pub(crate) param: Option<Node>,
    /// Sorted.
    pub(crate) grouping: Vec<String>,
    pub(crate) without: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CallNode {
    pub(crate) func: &'static Function,
    pub(crate) args: Vec<Node>,
}

impl Selector {
    /// The time that evaluation at `t` looks at.
    pub(crate) fn reference(&self, t: i64) -> i64 {
        self.at.unwrap_or(t).saturating_sub(self.offset)
    }
}

impl SubqueryNode {
    /// The steps of the inner expression: absolutely aligned, from the first one inside the first window to
    /// the end of the last.
    pub(crate) fn grid(&self, outer: Grid) -> Grid {
        let offset =
            self.at.map_or(self.offset, |at| self.offset.saturating_add(outer.start.saturating_sub(at)));
        let end = outer.end.saturating_sub(offset);
        let from = outer.start.saturating_sub(offset).saturating_sub(self.range);
        let mut start = (from / self.step).saturating_mul(self.step);
        if start <= from {
            start = start.saturating_add(self.step);
        }
        Grid::new(start, end, self.step)
    }
}

impl Node {
    /// The selector of a plain (range) selector node.
    pub(crate) fn selector(&self) -> Option<&Selector> {
        match &self.op {
            Op::Instant(s) => Some(s),
            Op::Window(w) => Some(&w.selector),
            _ => None,
        }
    }

    /// The node below step-invariance wrappers.
    pub(crate) fn unwrapped(&self) -> &Node {
        match &self.op {
            Op::Invariant(child) => child.unwrapped(),
            _ => self,
        }
    }
}
