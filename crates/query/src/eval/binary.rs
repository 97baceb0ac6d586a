//! Binary operators: scalars, a vector with a scalar, and the set operators. Matching of two vectors is in
//! `matching`.

use super::element::{Element, Side, scalars, with_scalar};
use super::key::{Groups, Projection};
use super::{Collector, Eval, Grid, Out, Sink, drop_metadata};
use crate::QueryError;
use crate::column::{BitIter, Column};
use crate::plan::{BinaryNode, Node};
use promql::{BinaryOp, Span, ValueType, VectorMatching};

impl Eval<'_> {
    pub(super) fn scalar_binary(&mut self, b: &BinaryNode, grid: Grid) -> Result<Vec<f64>, QueryError> {
        let mut l = self.scalar(&b.lhs, grid)?;
        let r = self.scalar(&b.rhs, grid)?;
        if matches!(b.op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
            let op = model::labels::quote(b.op.as_str());
            return Err(QueryError::exec(format!("operator {op} not allowed for Scalar operations")));
        }
        l.iter_mut().zip(r).for_each(|(l, r)| *l = scalars(b.op, *l, r));
        Ok(l)
    }

    pub(super) fn binary(
        &mut self,
        b: &BinaryNode,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        match (b.lhs.ty, b.rhs.ty) {
            (ValueType::Vector, ValueType::Scalar) => {
                let (scalars, later) = self.scalars_behind(&b.lhs, std::slice::from_ref(&b.rhs), grid)?;
                self.vector_scalar(b, &b.lhs, &scalars[0], Side::Left, span, grid, sink)?;
                self.notes.absorb(later);
                Ok(())
            }
            (ValueType::Scalar, ValueType::Vector) => {
                let scalar = self.scalar(&b.lhs, grid)?;
                self.vector_scalar(b, &b.rhs, &scalar, Side::Right, span, grid, sink)
            }
            _ => match &b.matching {
                Some(matching) if b.op.is_set() => self.set_operator(b, matching, grid, sink),
                Some(matching) => self.match_vectors(b, matching, span, grid, sink),
                None => Err(QueryError::exec("a binary operator between vectors needs a matching")),
            },
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn vector_scalar(
        &mut self,
        b: &BinaryNode,
        vector: &Node,
        scalar: &[f64],
        side: Side,
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let trims = matches!(b.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        let arithmetic = !b.op.is_comparison() && !trims;
        let drops_name = arithmetic || b.return_bool;
        let delayed = self.delayed();
        let merges = drops_name && !delayed && !super::call::nameless(vector);
        let mut collector = Collector::new();
        self.vector(vector, grid, &mut |ev, mut out| {
            if trims || out.column.has_hists() {
                out.column = ev.elements_with_scalar(b, &out.column, scalar, side, span);
            } else {
                with_scalar(b.op, &mut out.column, scalar, side, b.return_bool);
            }
            out.drop_name |= drops_name;
            if merges {
                out.labels = drop_metadata(&out.labels);
                return collector.add(out);
            }
            sink(ev, out)
        })?;
        collector.flush(self, sink)
    }

    /// The slow way: slots may hold histograms.
    fn elements_with_scalar(
        &mut self,
        b: &BinaryNode,
        column: &Column,
        scalar: &[f64],
        side: Side,
        span: Span,
    ) -> Column {
        let mut out = Column::new(column.steps());
        for step in BitIter::new(&column.any_bits()) {
            let Some(element) = Element::at(column, step) else { continue };
            let scalar = Element::Float(scalar[step]);
            let (l, r) = if side == Side::Left { (&element, &scalar) } else { (&scalar, &element) };
            let Some((mut value, keep)) = self.element(b.op, l, r, span) else { continue };
            if b.op.is_comparison() {
                value = element;
            }
            if b.return_bool {
                out.set(step, f64::from(u8::from(keep)));
            } else if keep {
                value.put(&mut out, step);
            }
        }
        out
    }

    pub(super) fn negate(&mut self, child: &Node, grid: Grid, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        self.rename(child, grid, sink, &mut |column| {
            super::math::map_values(column, |v| -v);
            if let Some(hists) = &mut column.hists {
                for (_, h) in hists.iter_mut() {
                    *h = super::histogram::scaled(h, -1.0);
                }
            }
        })
    }

    fn set_operator(
        &mut self,
        b: &BinaryNode,
        matching: &VectorMatching,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let lhs = self.list(&b.lhs, grid)?;
        let rhs = self.list(&b.rhs, grid)?;
        let bytes: usize = lhs.iter().chain(&rhs).map(|out| out.bytes()).sum();
        let mut groups = Groups::new(projection(matching));
        // Steps at which the other side has a series of the group.
        let words = grid.steps.div_ceil(64);
        let mut other: Vec<Vec<u64>> = Vec::new();
        let seen_side = if b.op == BinaryOp::Or { &lhs } else { &rhs };
        for out in seen_side {
            self.watch.check(16 + words)?;
            let (number, new) = groups.of(&out.labels);
            if new {
                other.push(vec![0; words]);
            }
            other[number].iter_mut().zip(out.column.any_bits()).for_each(|(all, one)| *all |= one);
        }
        let mut collector = Collector::for_steps(grid, self.delayed());
        let (kept_whole, filtered) = match b.op {
            BinaryOp::Or => (lhs, rhs),
            _ => (Vec::new(), lhs),
        };
        for out in kept_whole {
            self.watch.check(16)?;
            collector.add(out)?;
        }
        for mut out in filtered {
            self.watch.check(16 + words)?;
            let found = groups.find(&out.labels).map(|number| &other[number]);
            let keep_found = b.op == BinaryOp::And;
            match found {
                Some(bits) => retain(&mut out.column, bits, keep_found),
                None if keep_found => continue,
                None => {}
            }
            collector.add(out)?;
        }
        self.budget.let_go(bytes);
        collector.flush(self, sink)
    }
}

/// Labels by which series find each other.
pub(super) fn projection(matching: &VectorMatching) -> Projection {
    if matching.on { Projection::keep(&matching.labels) } else { Projection::drop(&matching.labels) }
}

/// Keeps the slots whose bit is `keep`.
fn retain(column: &mut Column, bits: &[u64], keep: bool) {
    for (present, bits) in column.present.iter_mut().zip(bits) {
        *present &= if keep { *bits } else { !bits };
    }
    if let Some(hists) = &mut column.hists {
        hists.retain(|(step, _)| (bits[*step as usize / 64] >> (step % 64) & 1 == 1) == keep);
    }
}

/// Bytes that a list holds.
pub(super) fn bytes_of(list: &[Out]) -> usize {
    list.iter().map(|out| out.bytes()).sum()
}
