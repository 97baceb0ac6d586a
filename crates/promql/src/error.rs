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

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.complaints.first() {
            Some(c) => write!(f, "{}: parse error: {}", c.span.position(&self.query), c.message),
            None => f.write_str("error contains no error message"),
        }
    }
}

impl std::error::Error for ParseError {}
