//! What went wrong, and where.

use crate::span::Span;
use std::fmt;

/// One complaint about a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub span: Span,
    /// Upstream's text, without position.
    pub message: String,
}

/// A query that was refused. Displays only the first complaint, as upstream does:
/// `1:5: parse error: unexpected …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub query: String,
    /// In the order found; never empty.
    pub complaints: Vec<Complaint>,
}

impl ParseError {
    /// The text where the query is not the first line of its file: `line` more lines stand in front of it.
    pub fn at_line(&self, line: usize) -> String {
        let text = self.to_string();
        match text.split_once(':').and_then(|(n, rest)| Some((n.parse::<usize>().ok()?, rest))) {
            Some((n, rest)) => format!("{}:{rest}", n + line),
            None => text,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.complaints.first() {
            Some(c) => write!(f, "{}: parse error: {}", c.span.position(&self.query), c.message),
            None => f.write_str("error contains no error message"),
        }
    }
}

impl std::error::Error for ParseError {}
