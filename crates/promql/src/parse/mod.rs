//! The parser: token by token, with upstream's way of recovering from errors.
//!
//! Upstream generates its parser with yacc. Which text an error gets depends on the innermost construct under
//! way that knows how to recover, and on how far the parser had to look ahead; both are part of the language
//! as users see it. So a syntax error unwinds ([`Stop::Unwind`]) to the nearest construct that recovers,
//! which reports it and goes on; until three tokens have been accepted again, tokens that do not fit are
//! dropped silently. Only the first complaint is ever shown, the others are there for editors.

mod aggregate;
mod duration;
mod expr;
mod number;
mod selector;
mod series;

use crate::ast::Expr;
use crate::error::{Complaint, ParseError};
use crate::lex::Lexer;
use crate::span::Span;
use crate::token::{Kind, Token, Word};
use crate::{MAX_DEPTH, Options};
use model::{Labels, Matcher};

pub use series::parse_series;

/// Why a production gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A token that does not fit: someone further out recovers.
    Unwind,
    /// No use in going on.
    Abort,
}

pub(crate) type Step<T> = Result<T, Stop>;

pub(crate) struct Parser<'a> {
    lexer: Lexer<'a>,
    options: Options,
    complaints: Vec<Complaint>,
    ahead: Option<Token>,
    /// The token read last, accepted or not: the one messages call unexpected.
    last: Token,
    /// End of the last token read that may close an expression.
    last_closing: usize,
    /// Tokens still to be accepted before the parser counts as recovered from an error.
    recovering: u8,
    /// Open constructs around the current place.
    nesting: usize,
    /// Height of the tree built last.
    height: usize,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(lexer: Lexer<'a>, options: Options) -> Self {
        Parser {
            lexer,
            options,
            complaints: Vec::new(),
            ahead: None,
            last: Token { kind: Kind::End, span: Span::default() },
            last_closing: 0,
            recovering: 0,
            nesting: 0,
            height: 0,
        }
    }

    // Tokens.

    fn text(&self, token: Token) -> &'a str {
        &self.lexer.input()[token.span.start..token.span.end]
    }

    /// The next token, not yet accepted. When a token is read at all is visible in messages, so do not peek
    /// where nothing depends on it.
    fn peek(&mut self) -> Kind {
        match self.ahead {
            Some(token) => token.kind,
            None => self.read().kind,
        }
    }

    fn read(&mut self) -> Token {
        let mut token = loop {
            if matches!(self.last.kind, Kind::Eof | Kind::Error) {
                break Token { kind: Kind::End, span: self.last.span };
            }
            let token = self.lexer.next_token();
            if token.kind != Kind::Comment {
                self.last = token;
                break token;
            }
        };
        match token.kind {
            Kind::Error => {
                let message = self.lexer.take_error();
                self.complain(token.span, message);
                token.kind = Kind::End;
            }
            Kind::RightBrace | Kind::RightParen | Kind::RightBracket | Kind::Duration | Kind::Number => {
                self.last_closing = token.span.end;
            }
            _ => {}
        }
        self.ahead = Some(token);
        token
    }

    /// Accepts the next token.
    fn shift(&mut self) -> Token {
        let token = match self.ahead {
            Some(token) => token,
            None => self.read(),
        };
        self.ahead = None;
        self.recovering = self.recovering.saturating_sub(1);
        token
    }

    /// Deals with a next token that does not fit: unwinds, or drops it when still recovering, so that the
    /// caller tries again.
    fn reject(&mut self) -> Step<()> {
        let kind = self.peek();
        if self.recovering < 3 {
            return Err(Stop::Unwind);
        }
        if matches!(kind, Kind::End | Kind::Eof) {
            return Err(Stop::Abort);
        }
        self.ahead = None;
        Ok(())
    }

    /// Accepts a token of this kind, no other.
    fn expect(&mut self, kind: Kind) -> Step<Token> {
        while self.peek() != kind {
            self.reject()?;
        }
        Ok(self.shift())
    }

    // Complaints.

    fn complain(&mut self, span: Span, message: impl Into<String>) {
        self.complaints.push(Complaint { span, message: message.into() });
    }

    /// Begins to recover from a syntax error and complains about the token that did not fit.
    fn recover(&mut self, context: &str, expected: &str) {
        self.recovering = 3;
        self.unexpected(context, expected);
    }

    /// Complains about the token read last.
    fn unexpected(&mut self, context: &str, expected: &str) {
        // The lexer has said already what is wrong.
        if self.last.kind == Kind::Error {
            return;
        }
        let mut message = format!("unexpected {}", self.last.describe(self.text(self.last)));
        if !context.is_empty() {
            message += " in ";
            message += context;
        }
        if !expected.is_empty() {
            message += ", expected ";
            message += expected;
        }
        self.complain(self.last.span, message);
    }

    /// Runs `inner`; when it unwinds, recovers with this complaint and returns `None`.
    fn recovering_with<T>(
        &mut self,
        context: &str,
        expected: &str,
        inner: impl FnOnce(&mut Self) -> Step<T>,
    ) -> Step<Option<T>> {
        match inner(self) {
            Ok(value) => Ok(Some(value)),
            Err(Stop::Unwind) => {
                self.recover(context, expected);
                Ok(None)
            }
            Err(Stop::Abort) => Err(Stop::Abort),
        }
    }

    /// Notes that a tree of this height has been built.
    fn grown(&mut self, height: usize) -> Step<()> {
        self.height = height;
        if height > MAX_DEPTH { self.too_deep() } else { Ok(()) }
    }

    fn too_deep(&mut self) -> Step<()> {
        self.complain(self.last.span, format!("expression is nested more than {MAX_DEPTH} levels deep"));
        Err(Stop::Abort)
    }

    // Whole inputs.

    /// Reads one whole input with `start`, and to the end whatever happens.
    fn whole<T>(&mut self, start: impl FnOnce(&mut Self) -> Step<T>) -> Option<T> {
        let mut outcome = start(self);
        let mut value = None;
        loop {
            match outcome {
                Ok(v) => value = Some(v),
                Err(Stop::Unwind) => self.recover("", ""),
                Err(Stop::Abort) => return value,
            }
            match self.end() {
                Ok(()) => return value,
                Err(stop) => outcome = Err(stop),
            }
        }
    }

    fn end(&mut self) -> Step<()> {
        while !matches!(self.peek(), Kind::Eof | Kind::End) {
            self.reject()?;
        }
        Ok(())
    }

    fn finish<T>(self, value: Option<T>) -> Result<T, ParseError> {
        match value {
            Some(value) if self.complaints.is_empty() => Ok(value),
            _ => {
                let mut complaints = self.complaints;
                if complaints.is_empty() {
                    complaints.push(Complaint { span: self.last.span, message: "unexpected error".into() });
                }
                Err(ParseError { query: self.lexer.input().to_owned(), complaints })
            }
        }
    }
}

/// Parses and type checks a query.
///
/// Every refusal carries its place and upstream's text; see [`ParseError`].
pub fn parse(query: &str, options: Options) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(Lexer::new(query), options);
    let expr = parser.whole(|p| {
        if p.peek() == Kind::Eof {
            p.shift();
            p.complain(Span::default(), "no expression found in input");
            return Ok(None);
        }
        p.expr(0).map(Some)
    });
    let mut expr = expr.flatten().map(|e| *e);
    // Types of a tree with holes mean nothing.
    if let (Some(expr), true) = (&mut expr, parser.complaints.is_empty()) {
        crate::check::check(expr, query, &mut parser.complaints);
    }
    parser.finish(expr)
}

/// Parses one series selector, as `match[]` parameters and remote tools pass them.
///
/// A selector that matches everything is fine here; who must refuse it checks
/// [`model::Matcher::matches_empty`].
pub fn parse_metric_selector(selector: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(Lexer::new(selector), Options::default());
    let vector = parser.whole(|p| {
        loop {
            match p.peek() {
                Kind::LeftBrace => break p.vector_selector(None),
                kind if kind.is_metric_name() => {
                    let name = p.shift();
                    break p.vector_selector(Some(name));
                }
                _ => p.reject()?,
            }
        }
    });
    parser.finish(vector).map(|v| v.matchers)
}

/// Parses each of several selectors; the first error wins.
pub fn parse_metric_selectors<S: AsRef<str>>(selectors: &[S]) -> Result<Vec<Vec<Matcher>>, ParseError> {
    selectors.iter().map(|s| parse_metric_selector(s.as_ref())).collect()
}

/// Parses the name and labels of one series: `up{job="x"}`.
pub fn parse_metric(text: &str) -> Result<Labels, ParseError> {
    let mut parser = Parser::new(Lexer::new(text), Options::default());
    let labels = parser.whole(|p| p.metric());
    parser.finish(labels)
}

impl Kind {
    /// Words that may be the name of a metric without quotes.
    pub(crate) fn is_metric_name(self) -> bool {
        use crate::ast::BinaryOp as Op;
        match self {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Aggr(_) => true,
            Kind::Op(op) => matches!(op, Op::And | Op::Or | Op::Unless),
            Kind::Word(word) => {
                !matches!(word, Word::Bool | Word::GroupLeft | Word::GroupRight | Word::Ignoring | Word::On)
            }
            _ => false,
        }
    }

    /// Words that may be a label in `by`, `on`, … without quotes.
    pub(crate) fn is_grouping_label(self) -> bool {
        use crate::ast::BinaryOp as Op;
        match self {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Aggr(_) => true,
            Kind::Op(op) => op.is_set() || op == Op::Atan2,
            Kind::Word(word) => word != Word::Without,
            _ => false,
        }
    }
}
