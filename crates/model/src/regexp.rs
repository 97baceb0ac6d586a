//! Regular expressions with RE2 meaning, fully anchored, dot matches newline, as Prometheus uses them.

use regex::Regex;

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("error parsing regexp: {0}")]
pub struct RegexpError(pub String);

/// A compiled, anchored regular expression.
#[derive(Debug)]
pub struct Regexp {
    regex: Regex,
    /// When the expression is a plain list of literals, exactly these values match.
    set: Option<Vec<String>>,
    /// Every matching value starts with this; empty when nothing is known.
    prefix: String,
}

impl Regexp {
    /// Compiles `^(?s:expr)$`.
    pub fn anchored(expr: &str) -> Result<Self, RegexpError> {
        let regex = Regex::new(&format!("^(?s:{expr})$")).map_err(|e| RegexpError(e.to_string()))?;
        Ok(Regexp { regex, set: None, prefix: String::new() })
    }

    pub fn is_match(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }

    /// The literal values that match, when the expression is a finite, small set of them.
    pub fn set_matches(&self) -> Option<&[String]> {
        self.set.as_deref()
    }

    /// A literal prefix of every matching value.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The underlying expression, for replacement with capture groups.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }
}
