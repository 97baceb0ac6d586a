//! `promql`: text to checked tree and back.
//!
//! Room: floor 1. Lexer, parser, type check, printer of the query language; the notation of series in test
//! files. No evaluation.
#![forbid(unsafe_code)]

pub mod ast;
mod check;
mod error;
mod features;
pub mod functions;
mod json;
mod lex;
mod parse;
mod pretty;
mod print;
pub mod series_text;
mod span;
#[cfg(test)]
mod tests;
mod token;
mod visit;

pub use ast::{
    Aggregate, AggregateOp, AtModifier, Binary, BinaryOp, Call, Cardinality, DurationExpr, DurationOp,
    DurationValue, Expr, MatrixSelector, NumberLiteral, Paren, StringLiteral, Subquery, Unary, UnaryOp,
    ValueType, VectorMatching, VectorSelector,
};
pub use error::{Complaint, ParseError};
pub use features::{Feature, features};
pub use functions::{FUNCTIONS, Function, function};
pub use json::to_json;
pub use parse::{parse, parse_metric, parse_metric_selector, parse_metric_selectors};
pub use pretty::prettify;
pub use series_text::{
    SeriesText, SeriesValue, StartTimes, StartTimesError, parse_series, parse_start_times,
};
pub use span::Span;
pub use token::keywords;

/// Height above which a tree is refused, so that walkers may recurse. Chains as `a + b + c` count too.
pub const MAX_DEPTH: usize = 500;

/// Which experimental parts of the language are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `promql-experimental-functions`: functions marked so, `limitk`, `limit_ratio`.
    pub experimental_functions: bool,
    /// `promql-duration-expr`: arithmetic on durations.
    pub duration_expressions: bool,
    /// `promql-extended-range-selectors`: `anchored`, `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left`, `fill_right`.
    pub fill_modifiers: bool,
}

impl Options {
    /// Everything on, as the test scripts assume.
    pub const ALL: Options = Options {
        experimental_functions: true,
        duration_expressions: true,
        extended_range_selectors: true,
        fill_modifiers: true,
    };
}
