//! Regular expressions with RE2 meaning, fully anchored, dot matches newline, as Prometheus uses them.
//!
//! The syntax is Go's (`regexp/syntax` with its Perl flags), the errors are Go's too; the automaton is the
//! `regex` crate's. Most expressions in matchers are lists of names or have literal ends; those are decided
//! by comparing text, and their automaton is built only when someone asks for it.

mod analyze;
mod names;
#[cfg(test)]
mod tests;
mod translate;

use analyze::Plan;
use regex::{Regex, RegexBuilder};
use std::sync::OnceLock;
use translate::{Dialect, translate};

/// Bytes a compiled automaton may take; Go's own limit is of this order.
const MAX_AUTOMATON: usize = 32 << 20;
/// Bytes an expression may have, unless it is a list of literals: its tree takes some 500 times as much for a moment.
const MAX_TEXT: usize = 128 << 10;
/// Bytes a list of literals may have where its automaton may be asked for.
const MAX_LIST: usize = 1 << 20;
/// Above the nesting that the translation lets through, two levels for each group.
const MAX_NESTING: u32 = 1000;

/// Displays as Go's errors do: ``error parsing regexp: missing closing ): `(` ``.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("error parsing regexp: {0}")]
pub struct RegexpError(pub String);

/// Compiles an expression that may match anywhere, as Go's library does.
pub fn search(expr: &str) -> Result<Regex, RegexpError> {
    let translated = translate(expr, Dialect::Library)?;
    RegexBuilder::new(&translated)
        .size_limit(MAX_AUTOMATON)
        .nest_limit(MAX_NESTING)
        .build()
        .map_err(|_| too_large(expr))
}

/// A compiled, anchored regular expression.
#[derive(Debug)]
pub struct Regexp {
    /// The anchored expression in the crate's syntax.
    translated: Box<str>,
    plan: Plan,
    automaton: OnceLock<Regex>,
}

impl Regexp {
    /// Compiles an expression for matchers: all of the value must match, the dot matches newlines too.
    pub fn anchored(expr: &str) -> Result<Self, RegexpError> {
        let inner = translate(expr, Dialect::Matcher)?;
        let translated = format!("\\A(?:{inner})\\z");
        match analyze::listed(expr) {
            Some(set) => Ok(Self::of_list(set, translated)),
            None => Self::from_translated(expr, &inner, translated),
        }
    }

    /// Compiles `^(?s:expr)$` as one text, as relabelling and `label_replace` do. Differs from
    /// [`Regexp::anchored`] in texts of errors, and lets through what only the whole makes valid: `a)|(b`.
    pub fn wrapped(expr: &str) -> Result<Self, RegexpError> {
        let whole = format!("^(?s:{expr})$");
        let translated = translate(&whole, Dialect::Library)?;
        if let Some(set) = analyze::listed(expr).filter(|_| translated.len() <= MAX_LIST) {
            return Ok(Self::of_list(set, translated));
        }
        if translated.len() > MAX_TEXT {
            return Err(too_large(&whole));
        }
        let regexp = match translate(expr, Dialect::Matcher) {
            Ok(inner) => Self::from_translated(&whole, &inner, translated)?,
            Err(_) => {
                let plan = Plan::Automaton { prefix: String::new(), suffix: String::new() };
                Regexp { translated: translated.into(), plan, automaton: OnceLock::new() }
            }
        };
        regexp.compile_now(&whole)?;
        Ok(regexp)
    }

    /// The automaton of a list of literals is built when somebody asks for it.
    fn of_list(set: Vec<String>, translated: String) -> Self {
        Regexp { translated: translated.into(), plan: Plan::Set(set), automaton: OnceLock::new() }
    }

    fn from_translated(expr: &str, inner: &str, translated: String) -> Result<Self, RegexpError> {
        if translated.len() > MAX_TEXT {
            return Err(too_large(expr));
        }
        let hir = regex_syntax::ParserBuilder::new()
            .nest_limit(MAX_NESTING)
            .build()
            .parse(inner)
            .map_err(|_| too_large(expr))?;
        let regexp = Regexp {
            translated: translated.into(),
            plan: analyze::plan(&hir, inner),
            automaton: OnceLock::new(),
        };
        if matches!(regexp.plan, Plan::Automaton { .. }) {
            regexp.compile_now(expr)?;
        }
        Ok(regexp)
    }

    fn compile(&self, size_limit: usize) -> Result<Regex, regex::Error> {
        RegexBuilder::new(&self.translated).size_limit(size_limit).nest_limit(MAX_NESTING).build()
    }

    fn compile_now(&self, expr: &str) -> Result<(), RegexpError> {
        let regex = self.compile(MAX_AUTOMATON).map_err(|_| too_large(expr))?;
        // Nobody else has it yet.
        let _ = self.automaton.set(regex);
        Ok(())
    }

    /// Whether the whole value matches.
    pub fn is_match(&self, value: &str) -> bool {
        match &self.plan {
            Plan::All => true,
            Plan::NotEmpty => !value.is_empty(),
            Plan::Set(set) => set.binary_search_by(|v| v.as_str().cmp(value)).is_ok(),
            Plan::Shapes(shapes) => shapes.iter().any(|shape| shape.matches(value)),
            Plan::Automaton { prefix, suffix } => {
                value.starts_with(prefix.as_str())
                    && value.ends_with(suffix.as_str())
                    && self.regex().is_match(value)
            }
        }
    }

    /// The values that match, sorted: exactly these do. `None` when there are many that are not spelt out one
    /// by one.
    pub fn set_matches(&self) -> Option<&[String]> {
        match &self.plan {
            Plan::Set(set) => Some(set),
            _ => None,
        }
    }

    /// A literal that every matching value begins with; empty when nothing is known.
    pub fn prefix(&self) -> &str {
        match &self.plan {
            Plan::Set(set) if set.len() == 1 => &set[0],
            Plan::Shapes(shapes) if shapes.len() == 1 => &shapes[0].prefix,
            Plan::Automaton { prefix, .. } => prefix,
            _ => "",
        }
    }

    /// Whether every value matches, also the empty one.
    pub fn matches_all(&self) -> bool {
        self.plan == Plan::All
    }

    /// The automaton, for replacement with capture groups.
    pub fn regex(&self) -> &Regex {
        // Only lists of literals wait until here. Their automaton grows with their length, so it needs no
        // limit, and their syntax has been parsed before.
        self.automaton.get_or_init(|| match self.compile(usize::MAX) {
            Ok(regex) => regex,
            Err(e) => unreachable!("an expression that was parsed does not compile: {e}"),
        })
    }
}

fn too_large(expr: &str) -> RegexpError {
    RegexpError(format!("expression too large: `{expr}`"))
}
