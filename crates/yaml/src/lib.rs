//! `yaml`: configuration files as trees with lines, and serde on both sides of them.
//!
//! Room: floor 0. No I/O. Reads as upstream's YAML library does in strict mode: any scalar may become a
//! text and keeps its spelling (`0123`, `1.50`, `yes`), null is the zero value, merge keys and aliases work,
//! unknown and repeated fields are errors that name line and path, and all of them are reported at once.
//! Writes in upstream's layout.
//!
//! Fields of one struct may be spread over several Rust structs: a field named `$inline.<anything>` holds a
//! struct whose fields stand among those of its owner.
#![forbid(unsafe_code)]

mod de;
mod node;
mod scalar;
mod ser;

pub use de::{from_node, from_str};
pub use node::{Kind, Node, parse};
pub use ser::to_string;

/// Something wrong in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1; 0 when unknown.
    pub line: u32,
    /// Where in the document: `scrape_configs[0].job_name`; empty for the document itself.
    pub path: String,
    pub text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text)
    }
}

/// All that is wrong in a document, in order of lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub Vec<Problem>);

impl Error {
    pub(crate) fn at(line: u32, text: impl Into<String>) -> Self {
        Error(vec![Problem { line, path: String::new(), text: text.into() }])
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n  ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
