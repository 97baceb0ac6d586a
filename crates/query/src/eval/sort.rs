//! `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`.

use super::{Eval, Grid, Out, Sink};
use crate::QueryError;
use crate::plan::Node;
use model::Labels;
use promql::Span;
use std::cmp::Ordering;

impl Eval<'_> {
    pub(super) fn sort(
        &mut self,
        name: &str,
        args: &[Node],
        span: Span,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let by_label = name.starts_with("sort_by_label");
        if !grid.is_single() {
            self.notes.sort_in_range_query(span);
            return self.vector(&args[0], grid, &mut |ev, mut out| {
                if !by_label {
                    out.column.hists = None;
                }
                sink(ev, out)
            });
        }
        let mut list = self.list(&args[0], grid)?;
        let bytes = list.iter().map(|out| out.bytes()).sum();
        if by_label {
            let labels: Vec<&str> = args[1..].iter().map(super::label::text).collect();
            list = self.watch.sort(list, |a, b| by_labels(&a.labels, &b.labels, &labels))?;
            if name.ends_with("_desc") {
                list.reverse();
            }
        } else {
            list.retain(|out| out.column.has_float(0));
            let value = |out: &Out| out.column.values[0];
            // NaN goes last in both directions.
            let descending = name == "sort_desc";
            list = self.watch.sort(list, |a, b| {
                let (a, b) = (value(a), value(b));
                match (a.is_nan(), b.is_nan()) {
                    (false, false) if descending => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
                    (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
                    (a, b) => a.cmp(&b),
                }
            })?;
            // Prometheus sorts with NaN before NaN, which turns their order round (in vectors of up to twelve; beyond
            // that any order may come out).
            let numbers = list.partition_point(|out| !value(out).is_nan());
            list[numbers..].reverse();
        }
        self.budget.let_go(bytes);
        list.into_iter().try_for_each(|out| sink(self, out))
    }
}

fn by_labels(a: &Labels, b: &Labels, names: &[&str]) -> Ordering {
    for name in names {
        let (x, y) = (a.value(name), b.value(name));
        if x != y {
            return if natural_less(x, y) { Ordering::Less } else { Ordering::Greater };
        }
    }
    a.cmp(b)
}

/// Runs of digits and of other characters.
fn chunks(text: &str) -> Vec<&str> {
    let mut list = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        list.push(&rest[..end]);
        rest = &rest[end..];
    }
    list
}

/// Whether `a` comes before `b` when numbers in them count as numbers.
fn natural_less(a: &str, b: &str) -> bool {
    let (a, b) = (chunks(a), chunks(b));
    for (i, x) in a.iter().enumerate() {
        let Some(y) = b.get(i) else { return false };
        let equal = match (x.parse::<i64>(), y.parse::<i64>()) {
            (Ok(x), Ok(y)) if x != y => return x < y,
            (Ok(_), Ok(_)) => true,
            _ if x == y => true,
            _ => return x < y,
        };
        if equal && i == a.len() - 1 {
            return true;
        }
        if equal && i == b.len() - 1 {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::natural_less;

    #[test]
    fn numbers_count() {
        assert!(natural_less("a2", "a10"));
        assert!(!natural_less("a10", "a2"));
        assert!(natural_less("cpu2", "cpu2x"));
        assert!(natural_less("", "a"));
    }
}
