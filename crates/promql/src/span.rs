//! Where a node stands in the query text.

/// A range of bytes of the query, end exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub const fn new(start: usize, end: usize) -> Self {
        Span { start, end }
    }

    /// From the start of `self` to the end of `last`.
    pub const fn to(self, last: Span) -> Span {
        Span { start: self.start, end: last.end }
    }

    /// Line and column of the start, both from 1; columns count bytes, as upstream counts them.
    ///
    /// `None` when the span does not lie in `query`.
    pub fn line_column(self, query: &str) -> Option<(usize, usize)> {
        let before = query.as_bytes().get(..self.start)?;
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        Some((line, self.start - line_start + 1))
    }

    /// `line:column` as error messages and annotations print it; `invalid position` outside of `query`,
    /// `unknown position` when that is empty.
    pub fn position(self, query: &str) -> String {
        if query.is_empty() {
            return "unknown position".into();
        }
        match self.line_column(query) {
            Some((line, column)) => format!("{line}:{column}"),
            None => "invalid position".into(),
        }
    }
}
