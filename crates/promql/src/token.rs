//! Tokens: what the lexer hands to the parser, and how error messages name them.

use crate::ast::{AggregateOp, BinaryOp};
use crate::span::Span;
use model::labels::quote;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing follows any more, be it behind [`Kind::Eof`] or behind an error.
    End,
    Eof,
    Error,
    Comment,
    Identifier,
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    OpenHist,
    CloseHist,
    Comma,
    Colon,
    Blank,
    Times,
    Space,
    /// `=`
    Eql,
    /// `=~`
    EqlRegex,
    /// `!~`
    NeqRegex,
    /// `@`
    At,
    Op(BinaryOp),
    Aggr(AggregateOp),
    Word(Word),
    Hist(HistKey),
    Hint(ResetHint),
}

/// Keywords that are neither operators nor aggregations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Bool,
    By,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Ignoring,
    Offset,
    Smoothed,
    Anchored,
    On,
    Without,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

impl Word {
    /// Functions of durations and of `@`; messages do not call these keywords.
    pub(crate) const fn is_preprocessor(self) -> bool {
        matches!(self, Word::Start | Word::End | Word::Step | Word::Range | Word::MaxOf | Word::MinOf)
    }
}

/// Keys of a histogram description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistKey {
    Sum,
    Count,
    Schema,
    Offset,
    NegativeOffset,
    Buckets,
    NegativeBuckets,
    ZeroBucket,
    ZeroBucketWidth,
    CustomValues,
    CounterResetHint,
}

impl HistKey {
    pub(crate) fn as_str(self) -> &'static str {
        HISTOGRAM_KEYS.iter().find(|(_, key)| *key == self).map_or("", |(name, _)| name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetHint {
    Unknown,
    Reset,
    NotReset,
    Gauge,
}

/// Words with a meaning of their own, in lower case; case does not matter in queries.
const KEYWORDS: &[(&str, Kind)] = &[
    ("and", Kind::Op(BinaryOp::And)),
    ("or", Kind::Op(BinaryOp::Or)),
    ("unless", Kind::Op(BinaryOp::Unless)),
    ("atan2", Kind::Op(BinaryOp::Atan2)),
    ("sum", Kind::Aggr(AggregateOp::Sum)),
    ("avg", Kind::Aggr(AggregateOp::Avg)),
    ("count", Kind::Aggr(AggregateOp::Count)),
    ("min", Kind::Aggr(AggregateOp::Min)),
    ("max", Kind::Aggr(AggregateOp::Max)),
    ("group", Kind::Aggr(AggregateOp::Group)),
    ("stddev", Kind::Aggr(AggregateOp::Stddev)),
    ("stdvar", Kind::Aggr(AggregateOp::Stdvar)),
    ("topk", Kind::Aggr(AggregateOp::Topk)),
    ("bottomk", Kind::Aggr(AggregateOp::Bottomk)),
    ("count_values", Kind::Aggr(AggregateOp::CountValues)),
    ("quantile", Kind::Aggr(AggregateOp::Quantile)),
    ("limitk", Kind::Aggr(AggregateOp::Limitk)),
    ("limit_ratio", Kind::Aggr(AggregateOp::LimitRatio)),
    ("offset", Kind::Word(Word::Offset)),
    ("smoothed", Kind::Word(Word::Smoothed)),
    ("anchored", Kind::Word(Word::Anchored)),
    ("by", Kind::Word(Word::By)),
    ("without", Kind::Word(Word::Without)),
    ("on", Kind::Word(Word::On)),
    ("ignoring", Kind::Word(Word::Ignoring)),
    ("group_left", Kind::Word(Word::GroupLeft)),
    ("group_right", Kind::Word(Word::GroupRight)),
    ("fill", Kind::Word(Word::Fill)),
    ("fill_left", Kind::Word(Word::FillLeft)),
    ("fill_right", Kind::Word(Word::FillRight)),
    ("bool", Kind::Word(Word::Bool)),
    ("start", Kind::Word(Word::Start)),
    ("end", Kind::Word(Word::End)),
    ("step", Kind::Word(Word::Step)),
    ("range", Kind::Word(Word::Range)),
    ("max_of", Kind::Word(Word::MaxOf)),
    ("min_of", Kind::Word(Word::MinOf)),
    ("inf", Kind::Number),
    ("nan", Kind::Number),
];

const HISTOGRAM_KEYS: &[(&str, HistKey)] = &[
    ("sum", HistKey::Sum),
    ("count", HistKey::Count),
    ("schema", HistKey::Schema),
    ("offset", HistKey::Offset),
    ("n_offset", HistKey::NegativeOffset),
    ("buckets", HistKey::Buckets),
    ("n_buckets", HistKey::NegativeBuckets),
    ("z_bucket", HistKey::ZeroBucket),
    ("z_bucket_w", HistKey::ZeroBucketWidth),
    ("custom_values", HistKey::CustomValues),
    ("counter_reset_hint", HistKey::CounterResetHint),
];

const RESET_HINTS: &[(&str, ResetHint)] = &[
    ("unknown", ResetHint::Unknown),
    ("reset", ResetHint::Reset),
    ("not_reset", ResetHint::NotReset),
    ("gauge", ResetHint::Gauge),
];

fn find<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(w, _)| w.eq_ignore_ascii_case(word)).map(|(_, kind)| *kind)
}

pub(crate) fn keyword(word: &str) -> Option<Kind> {
    // The longest keyword has 12 letters: spares long metric names the search.
    if word.len() > 12 { None } else { find(KEYWORDS, word) }
}

pub(crate) fn histogram_key(word: &str) -> Option<HistKey> {
    find(HISTOGRAM_KEYS, word)
}

pub(crate) fn reset_hint(word: &str) -> Option<ResetHint> {
    find(RESET_HINTS, word)
}

/// All words the lexer knows, for completion in editors.
pub fn keywords() -> Vec<&'static str> {
    let mut words: Vec<_> = (KEYWORDS.iter().map(|k| k.0))
        .chain(HISTOGRAM_KEYS.iter().map(|k| k.0))
        .chain(RESET_HINTS.iter().map(|k| k.0))
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// Keywords that are no operators, aggregations or functions of durations.
pub(crate) fn plain_keywords() -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().filter(|(_, kind)| matches!(kind, Kind::Word(w) if !w.is_preprocessor())).map(|k| k.0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

impl Token {
    /// The token as messages name it: `identifier "foo"`, `<by>`, `<op:+>`, `")"`, `end of input`.
    pub(crate) fn describe(self, text: &str) -> String {
        match self.kind {
            Kind::Eof | Kind::End => "end of input".into(),
            Kind::Identifier => format!("identifier {}", quote(text)),
            Kind::MetricIdentifier => format!("metric identifier {}", quote(text)),
            Kind::Number => format!("number {}", shorten(text)),
            Kind::Duration => format!("duration {}", shorten(text)),
            Kind::String => format!("string {}", shorten(text)),
            Kind::Comment => format!("comment {}", shorten(text)),
            Kind::Op(_) | Kind::EqlRegex | Kind::NeqRegex | Kind::At => format!("<op:{text}>"),
            Kind::Aggr(_) => format!("<aggr:{text}>"),
            Kind::Word(w) if !w.is_preprocessor() => format!("<{text}>"),
            // Upstream has no names for these and prints the number of the token.
            Kind::Hist(key) => format!("\"<Item {}>\" {}", 57370 + key as u32, shorten(text)),
            Kind::Hint(hint) => format!("\"<Item {}>\" {}", 57445 + hint as u32, shorten(text)),
            _ => shorten(text),
        }
    }
}

fn shorten(text: &str) -> String {
    if text.len() > 10 {
        format!("{}...", quote(&text.chars().take(10).collect::<String>()))
    } else {
        quote(text)
    }
}
