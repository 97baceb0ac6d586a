//! `label_replace` and `label_join`.

use super::{Collector, Eval, Grid, Sink};
use crate::QueryError;
use crate::plan::{CallNode, Node, Op};
use model::{Labels, METRIC_NAME};
use regex::Regex;

/// Text of a string argument; the type check has made sure that it is one.
pub(super) fn text(node: &Node) -> &str {
    match &node.op {
        Op::Text(text) => text,
        _ => "",
    }
}

/// Whether a text may name a label. Bytes that are not UTF-8 have become U+FFFD when the query was read.
pub(super) fn is_label_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(char::REPLACEMENT_CHARACTER)
}

impl Eval<'_> {
    pub(super) fn label_replace(
        &mut self,
        c: &CallNode,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let [_, dst, replacement, src, expr] = &c.args[..] else {
            return Err(QueryError::exec("label_replace takes five arguments"));
        };
        let (dst, replacement, src, expr) = (text(dst), text(replacement), text(src), text(expr));
        let regex = Regex::new(&format!("^(?s:{expr})$")).map_err(|_| {
            QueryError::exec(format!("invalid regular expression in label_replace(): {expr}"))
        })?;
        if !is_label_name(dst) {
            return Err(QueryError::exec(format!(
                "invalid destination label name in label_replace(): {dst}"
            )));
        }
        let mut value = String::new();
        self.relabel(&c.args[0], grid, dst, sink, |labels| {
            let captures = regex.captures(labels.value(src))?;
            value.clear();
            captures.expand(replacement, &mut value);
            Some(value.clone())
        })
    }

    pub(super) fn label_join(
        &mut self,
        c: &CallNode,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let (dst, separator) = (text(&c.args[1]), text(&c.args[2]));
        let sources: Vec<&str> = c.args[3..].iter().map(text).collect();
        if let Some(bad) = sources.iter().find(|s| !is_label_name(s)) {
            return Err(QueryError::exec(format!("invalid source label name in label_join(): {bad}")));
        }
        if !is_label_name(dst) {
            return Err(QueryError::exec(format!("invalid destination label name in label_join(): {dst}")));
        }
        self.relabel(&c.args[0], grid, dst, sink, |labels| {
            Some(sources.iter().map(|s| labels.value(s)).collect::<Vec<_>>().join(separator))
        })
    }

    /// Sets `dst` of each series to what `f` gives, if anything.
    fn relabel(
        &mut self,
        node: &Node,
        grid: Grid,
        dst: &str,
        sink: &mut Sink<'_>,
        mut f: impl FnMut(&Labels) -> Option<String>,
    ) -> Result<(), QueryError> {
        let mut collector = Collector::new();
        self.vector(node, grid, &mut |ev, mut out| {
            if let Some(value) = f(&out.labels) {
                let mut builder = out.labels.builder();
                builder.set(dst, &value);
                out.labels = builder.finish();
                if dst == METRIC_NAME {
                    out.drop_name = false;
                }
            }
            ev.budget.hold(out.column.bytes())?;
            collector.add(out)
        })?;
        let list = collector.into_list();
        let bytes = list.iter().map(|out| out.column.bytes()).sum();
        self.budget.let_go(bytes);
        list.into_iter().try_for_each(|out| sink(self, out))
    }
}
