//! Operators between two instant vectors: one-to-one, many-to-one and one-to-many, with fill values.

use super::binary::{bytes_of, projection};
use super::collect::{SAME_LABELS, is_metadata};
use super::element::{Element, columns};
use super::key::{Groups, Projection};
use super::{Collector, Eval, Grid, Out, Sink};
use crate::QueryError;
use crate::annotation::Annotations;
use crate::column::{BitIter, Column};
use crate::plan::BinaryNode;
use hashbrown::HashMap;
use model::Labels;
use promql::{BinaryOp, Cardinality, Span, VectorMatching};

const MANY_TO_ONE: &str =
    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
const NOT_UNIQUE: &str = "multiple matches for labels: grouping labels must ensure unique matches";

/// One operation with everything that its pairs of series share.
struct Match<'a> {
    b: &'a BinaryNode,
    matching: &'a VectorMatching,
    span: Span,
    grid: Grid,
    projection: Projection,
    /// The sides are exchanged: the left one is the "one" side.
    swapped: bool,
    /// Steps already matched, by group (one-to-one) or by group and result (otherwise).
    matched: Vec<Vec<u64>>,
    matched_results: HashMap<(usize, Labels), Vec<u64>>,
    /// What the last pair of a step had to say; upstream keeps no more than that.
    said: HashMap<usize, Annotations>,
    /// The failure at the earliest step so far: as steps come one after the other, it is the one to report.
    failed: Option<(usize, QueryError)>,
    /// The earliest step at which two results have the same labels. That is found out behind the matching of the step.
    doubled: Option<usize>,
    collector: Collector,
}

impl Eval<'_> {
    pub(super) fn match_vectors(
        &mut self,
        b: &BinaryNode,
        matching: &VectorMatching,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let lhs = self.list(&b.lhs, grid)?;
        let rhs = self.list(&b.rhs, grid)?;
        let bytes = bytes_of(&lhs) + bytes_of(&rhs);
        let swapped = matching.card == Cardinality::OneToMany;
        // Many-to-one is the shape of the rest: `many` finds its partner in `one`.
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        // Upstream does not exchange the fill values with the sides, whatever their names promise.
        let (many_fill, one_fill) = (matching.fill_left, matching.fill_right);
        let mut groups = Groups::new(projection(matching));
        let mut ones: Vec<Vec<usize>> = Vec::new();
        for (i, out) in one.iter().enumerate() {
            self.watch.check(16)?;
            let (number, new) = groups.of(&out.labels);
            if new {
                ones.push(Vec::new());
            }
            ones[number].push(i);
        }
        let active = active_steps(&many, &one, matching, grid);
        let failed = check_unique(&one, &ones, &active, matching, swapped);
        let mut m = Match {
            b,
            matching,
            span,
            grid,
            projection: projection(matching),
            swapped,
            matched: vec![vec![0; grid.steps.div_ceil(64)]; groups.len()],
            matched_results: HashMap::new(),
            said: HashMap::new(),
            failed,
            doubled: None,
            collector: Collector::for_steps(grid, self.delayed()),
        };
        for out in &many {
            self.watch.check(grid.steps)?;
            if m.hopeless(&active) {
                break;
            }
            let group = groups.find(&out.labels);
            let partners = group.map_or(&[][..], |g| &ones[g][..]);
            // Steps of this series that no partner has, if they are to be filled.
            let mut alone: Vec<u64> = Vec::new();
            if one_fill.is_some() {
                alone.extend(out.column.any_bits());
            }
            for &i in partners {
                self.watch.check(4 + active.len())?;
                if one_fill.is_some() {
                    let bits = one[i].column.any_bits();
                    alone.iter_mut().zip(&bits).for_each(|(a, b)| *a &= !b);
                }
                m.pair(self, group, (&out.labels, &out.column), (&one[i].labels, &one[i].column), &active)?;
            }
            if let Some(fill) = one_fill
                && alone.iter().any(|w| *w != 0)
            {
                let group = group.unwrap_or_else(|| {
                    let (number, _) = groups.of(&out.labels);
                    ones.push(Vec::new());
                    m.matched.push(vec![0; grid.steps.div_ceil(64)]);
                    number
                });
                let labels = m.projection.labels(&out.labels);
                let column = Column::constant(grid.steps, fill);
                m.pair(self, Some(group), (&out.labels, &out.column), (&labels, &column), &alone)?;
            }
        }
        if let Some(fill) = many_fill {
            for out in &one {
                self.watch.check(grid.steps)?;
                let Some(group) = groups.find(&out.labels) else { continue };
                let mut alone: Vec<u64> = out.column.any_bits().to_vec();
                alone.iter_mut().zip(&m.matched[group]).for_each(|(a, done)| *a &= !done);
                if alone.iter().all(|w| *w == 0) {
                    continue;
                }
                let labels = m.projection.labels(&out.labels);
                let column = Column::constant(grid.steps, fill);
                m.pair(self, Some(group), (&labels, &column), (&out.labels, &out.column), &alone)?;
            }
        }
        self.budget.let_go(bytes);
        match (m.failed, m.doubled) {
            (Some((step, error)), doubled) if doubled.is_none_or(|at| step <= at) => return Err(error),
            (_, Some(_)) => return Err(QueryError::exec(SAME_LABELS)),
            _ => {}
        }
        m.said.into_values().for_each(|said| self.notes.absorb(said));
        m.collector.flush(self, sink)
    }
}

/// Steps at which there is anything to match: both sides have series, or a fill value stands in.
fn active_steps(many: &[Out], one: &[Out], matching: &VectorMatching, grid: Grid) -> Vec<u64> {
    let bits = |list: &[Out]| {
        let mut all = vec![0u64; grid.steps.div_ceil(64)];
        for out in list {
            all.iter_mut().zip(out.column.any_bits()).for_each(|(all, one)| *all |= one);
        }
        all
    };
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    bits(many).iter().zip(bits(one)).map(|(a, b)| if fills { a | b } else { a & b }).collect()
}

/// The "one" side must have one series of a group at a time; the first step at which it has not, and the error.
fn check_unique(
    one: &[Out],
    ones: &[Vec<usize>],
    active: &[u64],
    matching: &VectorMatching,
    swapped: bool,
) -> Option<(usize, QueryError)> {
    // Earliest step, then the series that comes first.
    let mut worst: Option<(usize, usize, usize)> = None;
    for group in ones.iter().filter(|g| g.len() > 1) {
        let mut all: Vec<u64> = vec![0; active.len()];
        for (at, &i) in group.iter().enumerate() {
            let bits = one[i].column.any_bits();
            let both: Vec<u64> = all.iter().zip(&bits).zip(active).map(|((all, b), m)| all & b & m).collect();
            if let Some(step) = BitIter::new(&both).next()
                && worst.is_none_or(|(s, w, _)| (step, i) < (s, w))
            {
                let has = |j: &&usize| one[**j].column.any_bits()[step / 64] >> (step % 64) & 1 == 1;
                worst = Some((step, i, group[..at].iter().find(has).map_or(i, |j| *j)));
            }
            all.iter_mut().zip(&bits).for_each(|(all, bits)| *all |= bits);
        }
    }
    worst.map(|(step, i, j)| (step, duplicate(&one[i].labels, &one[j].labels, matching, swapped)))
}

/// The steps of a mask before `limit`.
fn before(mask: &[u64], limit: usize) -> Vec<u64> {
    let word = |(i, word): (usize, &u64)| match limit.saturating_sub(i * 64) {
        0 => 0,
        n @ 1..64 => word & ((1 << n) - 1),
        _ => *word,
    };
    mask.iter().enumerate().map(word).collect()
}

fn duplicate(a: &Labels, b: &Labels, matching: &VectorMatching, swapped: bool) -> QueryError {
    let side = if swapped { "left" } else { "right" };
    let matched = projection(matching).labels(a);
    let (mut x, mut y) = (a.to_string(), b.to_string());
    if x > y {
        std::mem::swap(&mut x, &mut y);
    }
    QueryError::exec(format!(
        "found duplicate series for the match group {matched} on the {side} hand-side of the operation: [{x}, {y}];many-to-many matching not allowed: matching labels must be unique on one side"
    ))
}

impl Match<'_> {
    /// Whether the operation fails at the first step at which there is anything to match.
    fn hopeless(&self, active: &[u64]) -> bool {
        let failed = self.failed.as_ref();
        failed.is_some_and(|(step, _)| before(active, *step).iter().all(|word| *word == 0))
    }

    /// Applies the operator to a pair of series at the steps of `mask`.
    fn pair(
        &mut self,
        ev: &mut Eval<'_>,
        group: Option<usize>,
        (many_labels, many): (&Labels, &Column),
        (one_labels, one): (&Labels, &Column),
        mask: &[u64],
    ) -> Result<(), QueryError> {
        let Some(group) = group else { return Ok(()) };
        let cut;
        let mask = match &self.failed {
            // Nothing counts from the step on at which the operation fails.
            Some((step, _)) => {
                cut = before(mask, *step);
                &cut
            }
            None => mask,
        };
        let (l, r) = if self.swapped { (one, many) } else { (many, one) };
        // Series that come and go have many partners, most of them at other times.
        if l.any_bits().iter().zip(&r.any_bits()).zip(mask).all(|((l, r), m)| l & r & m == 0) {
            return Ok(());
        }
        let mut column = ev.column(self.grid.steps);
        let trims = matches!(self.b.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        let matched = if trims || l.has_hists() || r.has_hists() {
            self.elements(ev, l, r, mask, &mut column)
        } else {
            columns(self.b.op, l, r, mask, self.b.return_bool, &mut column)
        };
        if matched.iter().all(|w| *w == 0) {
            ev.recycle(column);
            return Ok(());
        }
        let labels = self.result_labels(many_labels, one_labels, ev.delayed());
        if self.matching.card == Cardinality::OneToOne {
            if let Some(step) = take(&mut self.matched[group], &matched) {
                self.failed = Some((step, QueryError::exec(MANY_TO_ONE)));
                return Ok(());
            }
        } else {
            let known =
                self.matched_results.entry((group, labels.clone())).or_insert_with(|| vec![0; matched.len()]);
            if let Some(step) = take(known, &matched) {
                self.failed = Some((step, QueryError::exec(NOT_UNIQUE)));
                return Ok(());
            }
            self.matched[group].iter_mut().zip(&matched).for_each(|(all, one)| *all |= one);
        }
        let mut out = Out { labels, drop_name: self.b.return_bool, column };
        if let Some(step) = self.collector.clash(&out) {
            self.doubled = Some(self.doubled.map_or(step, |at| at.min(step)));
            (step..self.grid.steps).for_each(|step| out.column.unset(step));
        }
        self.collector.add(out)
    }

    /// The slow way: slots may hold histograms.
    fn elements(
        &mut self,
        ev: &mut Eval<'_>,
        l: &Column,
        r: &Column,
        mask: &[u64],
        out: &mut Column,
    ) -> Vec<u64> {
        let both: Vec<u64> =
            l.any_bits().iter().zip(&r.any_bits()).zip(mask).map(|((l, r), m)| l & r & m).collect();
        let mut matched = vec![0; both.len()];
        for step in BitIter::new(&both) {
            let (Some(l), Some(r)) = (Element::at(l, step), Element::at(r, step)) else { continue };
            let before = std::mem::take(&mut ev.notes);
            let result = ev.element(self.b.op, &l, &r, self.span);
            let said = std::mem::replace(&mut ev.notes, before);
            if !said.is_empty() {
                self.said.insert(step, said);
            }
            let Some((value, keep)) = result else { continue };
            matched[step / 64] |= 1 << (step % 64);
            if self.b.return_bool {
                out.set(step, f64::from(u8::from(keep)));
            } else if keep {
                value.put(out, step);
            }
        }
        matched
    }

    fn result_labels(&self, many: &Labels, one: &Labels, delayed: bool) -> Labels {
        let op = self.b.op;
        let trims = matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        let changes = !op.is_comparison() && !trims;
        let drops_name = changes || (self.b.return_bool && !delayed);
        let names = &self.matching.labels;
        let one_to_one = self.matching.card == Cardinality::OneToOne;
        let mut labels = many.without(|n| {
            (drops_name && is_metadata(n)) || (one_to_one && names.iter().any(|x| x == n) != self.matching.on)
        });
        if !self.matching.include.is_empty() {
            let mut builder = labels.builder();
            for name in &self.matching.include {
                builder.set(name, one.value(name));
            }
            labels = builder.finish();
        }
        labels
    }
}

/// Marks steps as matched; gives the first that is already.
fn take(known: &mut [u64], new: &[u64]) -> Option<usize> {
    let both: Vec<u64> = known.iter().zip(new).map(|(k, n)| k & n).collect();
    if let Some(step) = BitIter::new(&both).next() {
        return Some(step);
    }
    known.iter_mut().zip(new).for_each(|(k, n)| *k |= n);
    None
}
