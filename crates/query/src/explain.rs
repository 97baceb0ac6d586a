//! What a query will do, and what each part of it cost: the plan as a tree for people and for the UI.

use crate::plan::{AggregateNode, Node, Op, Plan, Selector};
use model::TimeRange;
use promql::{Cardinality, VectorMatching};
use std::collections::HashMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// A plan, and its costs when it was run.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub root: Operator,
    pub fetches: Vec<Selection>,
}

/// One operator with those that it takes its series from.
#[derive(Clone, Debug)]
pub struct Operator {
    /// `aggregate`, `call`, `instant`, `window`, `binary` …
    pub kind: &'static str,
    /// E.g. `sum by (le)`.
    pub what: String,
    /// Place in the query, bytes.
    pub start: usize,
    pub end: usize,
    /// `None` when the query was not run. An operator that another one does on its way has no cost of its own.
    pub cost: Option<Cost>,
    pub children: Vec<Operator>,
}

/// What an operator did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// On the query's own thread, without the time of the operators below and above.
    pub time: Duration,
    /// Series and samples that it handed on.
    pub series: u64,
    pub samples: u64,
    /// How often it was evaluated.
    pub calls: u64,
}

/// Series that are selected from the store, once for all selectors that use them.
#[derive(Clone, Debug)]
pub struct Selection {
    pub selector: String,
    pub range: TimeRange,
    /// Labels that anybody looks at; all without it.
    pub labels: Option<Vec<String>>,
    /// Series found; `None` when the query was not run.
    pub series: Option<usize>,
}

/// Costs of a running query by node. A node is known by where it stands: plans do not move while they run.
#[derive(Debug)]
pub(crate) struct Profile {
    costs: HashMap<usize, Cost>,
    current: usize,
    since: Instant,
}

fn place(node: &Node) -> usize {
    std::ptr::from_ref(node) as usize
}

impl Profile {
    pub(crate) fn new() -> Self {
        Profile { costs: HashMap::new(), current: 0, since: Instant::now() }
    }

    /// From here on time belongs to the node. Gives whose it was.
    pub(crate) fn enter(&mut self, node: &Node) -> usize {
        let before = self.back_to(place(node));
        self.costs.entry(place(node)).or_default().calls += 1;
        before
    }

    /// From here on time belongs to the owner that [`Profile::enter`] or this gave.
    pub(crate) fn back_to(&mut self, owner: usize) -> usize {
        let now = Instant::now();
        self.costs.entry(self.current).or_default().time += now - self.since;
        self.since = now;
        std::mem::replace(&mut self.current, owner)
    }

    /// The node hands a series on, to whom time belongs from now on.
    pub(crate) fn hand_on(&mut self, node: &Node, samples: usize, taker: usize) {
        self.back_to(taker);
        let cost = self.costs.entry(place(node)).or_default();
        cost.series += 1;
        cost.samples += samples as u64;
    }

    pub(crate) fn resume(&mut self, node: &Node) {
        self.back_to(place(node));
    }
}

impl Explanation {
    /// `series`: how many each fetch found.
    pub(crate) fn new(plan: &Plan, profile: Option<&Profile>, series: &[Option<usize>]) -> Self {
        let fetches = plan.fetches.iter().enumerate().map(|(i, fetch)| Selection {
            selector: selector_text(&fetch.matchers),
            range: fetch.range,
            labels: fetch.shown.clone(),
            series: series.get(i).copied().flatten(),
        });
        Explanation { root: operator(&plan.root, profile), fetches: fetches.collect() }
    }

    /// For people: a line for each operator, below it what it takes its series from.
    pub fn text(&self) -> String {
        let mut out = String::new();
        write_operator(&self.root, 0, &mut out);
        for (i, fetch) in self.fetches.iter().enumerate() {
            let labels = match &fetch.labels {
                None => "all labels".to_owned(),
                Some(names) => format!("labels {}", names.join(", ")),
            };
            let range = fetch.range;
            let _ =
                write!(out, "fetch {i}: {} from {} to {}, {labels}", fetch.selector, range.min, range.max);
            if let Some(series) = fetch.series {
                let _ = write!(out, ", {series} series");
            }
            out.push('\n');
        }
        out
    }
}

fn write_operator(operator: &Operator, depth: usize, out: &mut String) {
    let _ = write!(out, "{:indent$}{} {}", "", operator.kind, operator.what, indent = depth * 2);
    if let Some(cost) = &operator.cost {
        let (ms, Cost { series, samples, .. }) = (cost.time.as_secs_f64() * 1e3, cost);
        let _ = write!(out, "  [{ms:.3} ms, {series} series, {samples} samples]");
    }
    out.push('\n');
    operator.children.iter().for_each(|child| write_operator(child, depth + 1, out));
}

fn selector_text(matchers: &[model::Matcher]) -> String {
    let texts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", texts.join(","))
}

fn times(selector: &Selector) -> String {
    let mut text = String::new();
    if selector.offset != 0 {
        let _ = write!(text, " offset {} ms", selector.offset);
    }
    if let Some(at) = selector.at {
        let _ = write!(text, " @ {at} ms");
    }
    text
}

fn grouping(a: &AggregateNode) -> String {
    let names = a.grouping.join(", ");
    match (a.without, a.grouping.is_empty()) {
        (false, true) => a.op.as_str().to_owned(),
        (false, false) => format!("{} by ({names})", a.op.as_str()),
        (true, _) => format!("{} without ({names})", a.op.as_str()),
    }
}

fn matching(m: &VectorMatching) -> String {
    let mut text = String::new();
    if m.on || !m.labels.is_empty() {
        let word = if m.on { "on" } else { "ignoring" };
        let _ = write!(text, " {word} ({})", m.labels.join(", "));
    }
    match m.card {
        Cardinality::ManyToOne => text.push_str(" group_left"),
        Cardinality::OneToMany => text.push_str(" group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => {}
    }
    text
}

fn operator(node: &Node, profile: Option<&Profile>) -> Operator {
    let of = |s: &Selector| format!("fetch {}{}", s.fetch, times(s));
    let (kind, what, children): (_, _, Vec<&Node>) = match &node.op {
        Op::Number(v) => ("number", model::float::go_string(*v), vec![]),
        Op::Text(text) => ("text", model::labels::quote(text), vec![]),
        Op::Instant(s) => ("instant", of(s), vec![]),
        Op::Window(w) => ("window", format!("{} of {} ms", of(&w.selector), w.range), vec![]),
        Op::Subquery(s) => ("subquery", format!("of {} ms, step {} ms", s.range, s.step), vec![&s.child]),
        Op::Invariant(child) => ("once", "for all steps".into(), vec![child]),
        Op::Shared(id, child) => ("shared", format!("result {id}"), vec![child]),
        Op::Negate(child) => ("negate", String::new(), vec![child]),
        Op::Plus(child) => ("plus", String::new(), vec![child]),
        Op::Binary(b) => {
            let bool = if b.return_bool { " bool" } else { "" };
            let text = b.matching.as_ref().map(matching).unwrap_or_default();
            ("binary", format!("{}{bool}{text}", b.op.as_str()), vec![&b.lhs, &b.rhs])
        }
        Op::Aggregate(a) => ("aggregate", grouping(a), a.param.iter().chain([&a.child]).collect()),
        Op::Call(c) => ("call", c.func.name.to_owned(), c.args.iter().collect()),
    };
    Operator {
        kind,
        what,
        start: node.span.start,
        end: node.span.end,
        cost: profile.and_then(|p| p.costs.get(&place(node)).copied()),
        children: children.into_iter().map(|child| operator(child, profile)).collect(),
    }
}
