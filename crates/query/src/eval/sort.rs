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
        let order = natural(a.value(name), b.value(name));
        if order != Ordering::Equal {
            return order;
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

/// The order of texts when numbers in them count as numbers. Of texts that then are equal (`a1`, `a01`) the bytes decide:
/// sorting needs an order in which no two come before each other.
fn natural(a: &str, b: &str) -> Ordering {
    let digits = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let (x, y) = (chunks(a), chunks(b));
    for (x, y) in x.iter().zip(&y) {
        let order = if digits(x) && digits(y) {
            let (x, y) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            x.cmp(y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    x.len().cmp(&y.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::{Ordering, natural};

    #[test]
    fn numbers_count() {
        let sorted = [
            "",
            "-",
            "1",
            "01x",
            "2",
            "10",
            "18446744073709551616",
            "a",
            "a1",
            "a2",
            "a2b",
            "a10",
            "cpu2",
            "cpu2x",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(natural(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        let text = |i: usize| format!("{}{:02$}", ["", "a", "-"][i % 3], i * 7919 % 60, i % 5);
        let mut many: Vec<String> = (0..5000).map(text).collect();
        // Panics where the order is none.
        many.sort_by(|a, b| natural(a, b));
        // Equal as numbers, and yet in an order.
        assert_eq!(natural("a01", "a1"), Ordering::Less);
        assert_eq!(natural("a1", "a01"), Ordering::Greater);
    }
}
