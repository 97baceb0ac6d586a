//! Functions of a float: one result per value.

use super::{Collector, Eval, Grid, Sink};
use crate::QueryError;
use crate::column::{BitIter, Column};
use crate::date::Civil;
use crate::eval::collect::drop_metadata;
use crate::plan::Node;

/// The plain functions by name.
pub(super) fn simple(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "acos" => f64::acos,
        "acosh" => |v| match v {
            v if v < 1.0 => f64::NAN,
            // The square inside overflows for the largest values.
            v if v > f64::from(1 << 28) => v.ln() + std::f64::consts::LN_2,
            v => v.acosh(),
        },
        "asin" => f64::asin,
        "asinh" => f64::asinh,
        "atan" => f64::atan,
        "atanh" => f64::atanh,
        "ceil" => f64::ceil,
        "cos" => f64::cos,
        "cosh" => f64::cosh,
        "deg" => |v| v * 180.0 / std::f64::consts::PI,
        "exp" => f64::exp,
        "floor" => f64::floor,
        "ln" => f64::ln,
        "log10" => f64::log10,
        "log2" => f64::log2,
        "rad" => |v| v * std::f64::consts::PI / 180.0,
        "sgn" => |v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        },
        "sin" => f64::sin,
        "sinh" => f64::sinh,
        "sqrt" => f64::sqrt,
        "tan" => f64::tan,
        "tanh" => f64::tanh,
        _ => return None,
    })
}

/// The date functions by name.
pub(super) fn date(name: &str) -> Option<fn(&Civil) -> f64> {
    Some(match name {
        "day_of_month" => |c| f64::from(c.day),
        "day_of_week" => |c| f64::from(c.weekday),
        "day_of_year" => |c| f64::from(c.day_of_year()),
        "days_in_month" => |c| f64::from(c.days_in_month()),
        "hour" => |c| f64::from(c.hour),
        "minute" => |c| f64::from(c.minute),
        "month" => |c| f64::from(c.month),
        "year" => |c| c.year as f64,
        _ => return None,
    })
}

/// A date function of seconds since the epoch.
pub(super) fn date_of(f: fn(&Civil) -> f64, seconds: f64) -> f64 {
    // What does not fit becomes the least integer in Go, which its calendar takes for the end of time.
    let fits = (i64::MIN as f64..-(i64::MIN as f64)).contains(&seconds);
    f(&Civil::from_unix(if fits { seconds as i64 } else { i64::MAX }))
}

impl Eval<'_> {
    /// Applies `f` to the float column of each series and drops histograms and names.
    pub(super) fn map_floats(
        &mut self,
        node: &Node,
        grid: Grid,
        sink: &mut Sink<'_>,
        mut f: impl FnMut(&mut Column),
    ) -> Result<(), QueryError> {
        self.rename(node, grid, sink, &mut |column| {
            column.hists = None;
            f(column);
        })
    }

    /// Passes on the series of `node` with changed columns and without their names.
    pub(super) fn rename(
        &mut self,
        node: &Node,
        grid: Grid,
        sink: &mut Sink<'_>,
        f: &mut dyn FnMut(&mut Column),
    ) -> Result<(), QueryError> {
        if self.delayed() {
            return self.vector(node, grid, &mut |ev, mut out| {
                f(&mut out.column);
                out.drop_name = true;
                sink(ev, out)
            });
        }
        if super::call::nameless(node) {
            return self.vector(node, grid, &mut |ev, mut out| {
                f(&mut out.column);
                sink(ev, out)
            });
        }
        // Without names, series may become one.
        let mut collector = Collector::new();
        self.vector(node, grid, &mut |_, mut out| {
            f(&mut out.column);
            out.labels = drop_metadata(&out.labels);
            out.drop_name = true;
            collector.add(out)
        })?;
        collector.flush(self, sink)
    }
}

/// Applies `f` to all floats.
#[inline]
pub(super) fn map_values(column: &mut Column, mut f: impl FnMut(f64) -> f64) {
    if column.is_full() {
        column.values.iter_mut().for_each(|v| *v = f(*v));
        return;
    }
    let Column { values, present, .. } = column;
    for step in BitIter::new(present) {
        values[step] = f(values[step]);
    }
}

/// Applies `f` to all floats with their step.
#[inline]
pub(super) fn map_steps(column: &mut Column, mut f: impl FnMut(usize, f64) -> f64) {
    let Column { values, present, .. } = column;
    for step in BitIter::new(present) {
        values[step] = f(step, values[step]);
    }
}
