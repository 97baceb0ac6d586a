//! Label matchers: `=`, `!=`, `=~`, `!~`.

use crate::Labels;
use crate::labels::{is_legacy_label_name, quote};
use crate::regexp::{Regexp, RegexpError};
use std::fmt;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl MatchOp {
    pub const fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// A condition on one label. An absent label counts as the empty value. Cloning shares the compiled regex.
#[derive(Clone, Debug)]
pub struct Matcher {
    pub op: MatchOp,
    pub name: String,
    pub value: String,
    regexp: Option<Arc<Regexp>>,
}

impl Matcher {
    /// Compiles a matcher; fails only for an invalid regular expression, with upstream's text.
    pub fn new(op: MatchOp, name: impl Into<String>, value: impl Into<String>) -> Result<Self, RegexpError> {
        let value = value.into();
        let regexp = match op {
            MatchOp::Regex | MatchOp::NotRegex => Some(Arc::new(Regexp::anchored(&value)?)),
            MatchOp::Equal | MatchOp::NotEqual => None,
        };
        Ok(Matcher { op, name: name.into(), value, regexp })
    }

    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Matcher { op: MatchOp::Equal, name: name.into(), value: value.into(), regexp: None }
    }

    /// Whether a label value satisfies the matcher.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regexp) {
            (MatchOp::Equal, _) => self.value == value,
            (MatchOp::NotEqual, _) => self.value != value,
            (MatchOp::Regex, Some(re)) => re.is_match(value),
            (MatchOp::NotRegex, Some(re)) => !re.is_match(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => false,
        }
    }

    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.value(&self.name))
    }

    /// Whether the empty value satisfies it, so that series without the label are selected.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The compiled regular expression of `=~` and `!~`.
    pub fn regexp(&self) -> Option<&Regexp> {
        self.regexp.as_deref()
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.name == other.name && self.value == other.value
    }
}
impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?
        } else {
            f.write_str(&quote(&self.name))?
        }
        write!(f, "{}{}", self.op.as_str(), quote(&self.value))
    }
}
