//! Binary operators on single values and on columns.

use super::Eval;
use crate::column::{BitIter, Column};
use model::FloatHistogram;
use promql::{BinaryOp, Span};
use std::sync::Arc;

/// Result of an operator on two scalars; comparisons give 0 or 1.
pub(super) fn scalars(op: BinaryOp, l: f64, r: f64) -> f64 {
    if op.is_comparison() { f64::from(u8::from(compare(op, l, r))) } else { arithmetic(op, l, r) }
}

#[inline(always)]
pub(super) fn arithmetic(op: BinaryOp, l: f64, r: f64) -> f64 {
    match op {
        BinaryOp::Add => l + r,
        BinaryOp::Sub => l - r,
        BinaryOp::Mul => l * r,
        BinaryOp::Div => l / r,
        BinaryOp::Mod => l % r,
        BinaryOp::Pow => l.powf(r),
        BinaryOp::Atan2 => l.atan2(r),
        _ => l,
    }
}

#[inline(always)]
pub(super) fn compare(op: BinaryOp, l: f64, r: f64) -> bool {
    match op {
        BinaryOp::Eql => l == r,
        BinaryOp::Neq => l != r,
        BinaryOp::Gtr => l > r,
        BinaryOp::Lss => l < r,
        BinaryOp::Gte => l >= r,
        BinaryOp::Lte => l <= r,
        _ => true,
    }
}

/// A value of a vector element.
#[derive(Clone, Debug)]
pub(super) enum Element {
    Float(f64),
    Hist(Arc<FloatHistogram>),
}

impl Element {
    pub(super) fn at(column: &Column, step: usize) -> Option<Element> {
        match column.float(step) {
            Some(v) => Some(Element::Float(v)),
            None => column.hist(step).map(|h| Element::Hist(h.clone())),
        }
    }

    pub(super) fn put(self, column: &mut Column, step: usize) {
        match self {
            Element::Float(v) => column.set(step, v),
            Element::Hist(h) => column.push_hist(step, h),
        }
    }
}

impl Eval<'_> {
    /// One operation: the result and whether a comparison keeps it; `None` when the types do not go together,
    /// which is annotated.
    pub(super) fn element(
        &mut self,
        op: BinaryOp,
        l: &Element,
        r: &Element,
        span: Span,
    ) -> Option<(Element, bool)> {
        match (l, r) {
            (Element::Float(_), Element::Float(_))
                if matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) =>
            {
                self.notes.incompatible_types(span, "float", op.as_str(), "float");
                None
            }
            (Element::Float(l), Element::Float(r)) => {
                if op.is_comparison() {
                    Some((Element::Float(*l), compare(op, *l, *r)))
                } else {
                    Some((Element::Float(arithmetic(op, *l, *r)), true))
                }
            }
            _ => self.histogram_element(op, l, r, span),
        }
    }
}

/// Which side of a comparison with a scalar keeps its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Side {
    Left,
    Right,
}

/// `column op scalar` (or `scalar op column`) on floats, in place. A comparison keeps the column's value and
/// takes away what does not hold, unless `return_bool`.
pub(super) fn with_scalar(
    op: BinaryOp,
    column: &mut Column,
    scalar: &[f64],
    vector_side: Side,
    return_bool: bool,
) {
    // One loop per operator and side, so that the inner loop has no branch on them.
    macro_rules! run {
        ($f:expr) => {{
            let f = $f;
            if column.is_full() {
                match vector_side {
                    Side::Left => column.values.iter_mut().zip(scalar).for_each(|(v, s)| *v = f(*v, *s)),
                    Side::Right => column.values.iter_mut().zip(scalar).for_each(|(v, s)| *v = f(*s, *v)),
                }
            } else {
                let Column { values, present, .. } = column;
                for step in BitIter::new(present) {
                    let (v, s) = (values[step], scalar[step]);
                    values[step] = if vector_side == Side::Left { f(v, s) } else { f(s, v) };
                }
            }
        }};
    }
    match op {
        BinaryOp::Add => run!(|a: f64, b: f64| a + b),
        BinaryOp::Sub => run!(|a: f64, b: f64| a - b),
        BinaryOp::Mul => run!(|a: f64, b: f64| a * b),
        BinaryOp::Div => run!(|a: f64, b: f64| a / b),
        _ if op.is_comparison() => {
            let steps: Vec<usize> = BitIter::new(&column.present).collect();
            for step in steps {
                let (v, s) = (column.values[step], scalar[step]);
                let holds = if vector_side == Side::Left { compare(op, v, s) } else { compare(op, s, v) };
                if return_bool {
                    column.values[step] = f64::from(u8::from(holds));
                } else if !holds {
                    column.unset(step);
                }
            }
        }
        _ => run!(|a: f64, b: f64| arithmetic(op, a, b)),
    }
}

/// `l op r` on floats where both are present and `mask` allows; returns the steps that were matched.
pub(super) fn columns(
    op: BinaryOp,
    l: &Column,
    r: &Column,
    mask: &[u64],
    return_bool: bool,
    out: &mut Column,
) -> Vec<u64> {
    let matched: Vec<u64> = l.present.iter().zip(&r.present).zip(mask).map(|((l, r), m)| l & r & m).collect();
    if op.is_comparison() {
        for step in BitIter::new(&matched) {
            let holds = compare(op, l.values[step], r.values[step]);
            if return_bool {
                out.set(step, f64::from(u8::from(holds)));
            } else if holds {
                out.set(step, l.values[step]);
            }
        }
        return matched;
    }
    macro_rules! run {
        ($f:expr) => {{
            let f = $f;
            // Absent slots are computed too: their values do not matter, and the loop has no branches.
            for ((out, l), r) in out.values.iter_mut().zip(&l.values).zip(&r.values) {
                *out = f(*l, *r);
            }
        }};
    }
    match op {
        BinaryOp::Add => run!(|a: f64, b: f64| a + b),
        BinaryOp::Sub => run!(|a: f64, b: f64| a - b),
        BinaryOp::Mul => run!(|a: f64, b: f64| a * b),
        BinaryOp::Div => run!(|a: f64, b: f64| a / b),
        _ => {
            for step in BitIter::new(&matched) {
                out.values[step] = arithmetic(op, l.values[step], r.values[step]);
            }
        }
    }
    out.present.copy_from_slice(&matched);
    matched
}
