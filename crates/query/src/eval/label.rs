//! `label_replace` and `label_join`.

use super::{Collector, Eval, Grid, Sink};
use crate::QueryError;
use crate::plan::{CallNode, Node, Op};
use model::regexp::Regexp;
use model::relabel::Template;
use model::{Labels, METRIC_NAME};

/// Longest value that may be made for a label. Nested calls multiply lengths, so that a short query could ask
/// for more memory than there is.
const MAX_VALUE_BYTES: usize = 1 << 20;
/// Bytes of an expression times bytes of a value that it is matched with: what one match costs at worst, which nothing
/// can interrupt.
const MAX_MATCHING: usize = 1 << 29;

fn too_long(function: &str, bytes: usize) -> QueryError {
    QueryError::exec(format!(
        "{function}: label value of {bytes} bytes exceeds the limit of {MAX_VALUE_BYTES}"
    ))
}

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
        let regex = Regexp::wrapped(expr).map_err(|_| {
            QueryError::exec(format!("invalid regular expression in label_replace(): {expr}"))
        })?;
        if !is_label_name(dst) {
            return Err(QueryError::exec(format!(
                "invalid destination label name in label_replace(): {dst}"
            )));
        }
        let template = Template::parse(replacement, &regex);
        let groups = replacement.bytes().filter(|b| *b == b'$').count();
        self.relabel(&c.args[0], grid, dst, sink, |ev, labels| {
            let source = labels.value(src);
            let work = source.len().saturating_mul(expr.len());
            if work > MAX_MATCHING {
                return Err(QueryError::exec(format!(
                    "label_replace(): an expression of {} bytes is too long for a label value of {} bytes",
                    expr.len(),
                    source.len()
                )));
            }
            ev.watch.check(work)?;
            if let Some(plain) = template.plain() {
                return Ok(regex.is_match(source).then(|| plain.to_owned()));
            }
            let Some(captures) = regex.regex().captures(source) else { return Ok(None) };
            // No group is longer than the text it was found in.
            let most = replacement.len() + groups.saturating_mul(source.len());
            if most > MAX_VALUE_BYTES {
                return Err(too_long("label_replace()", most));
            }
            Ok(Some(template.expand(&captures)))
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
        self.relabel(&c.args[0], grid, dst, sink, |ev, labels| {
            let values: Vec<&str> = sources.iter().map(|s| labels.value(s)).collect();
            ev.watch.check(4 * values.len())?;
            let bytes = values.iter().map(|v| v.len()).sum::<usize>()
                + separator.len() * values.len().saturating_sub(1);
            if bytes > MAX_VALUE_BYTES {
                return Err(too_long("label_join()", bytes));
            }
            Ok(Some(values.join(separator)))
        })
    }

    /// Sets `dst` of each series to what `f` gives, if anything.
    fn relabel(
        &mut self,
        node: &Node,
        grid: Grid,
        dst: &str,
        sink: &mut Sink<'_>,
        mut f: impl FnMut(&mut Eval<'_>, &Labels) -> Result<Option<String>, QueryError>,
    ) -> Result<(), QueryError> {
        let mut collector = Collector::new();
        let mut held = 0;
        self.vector(node, grid, &mut |ev, mut out| {
            let mut bytes = out.bytes();
            if let Some(value) = f(ev, &out.labels)? {
                bytes += value.len();
                let mut builder = out.labels.builder();
                builder.set(dst, &value);
                out.labels = builder.finish();
                if dst == METRIC_NAME {
                    out.drop_name = false;
                }
            }
            held += bytes;
            ev.budget.hold(bytes)?;
            collector.add(out)
        })?;
        let list = collector.into_list();
        self.budget.let_go(held);
        list.into_iter().try_for_each(|out| sink(self, out))
    }
}
