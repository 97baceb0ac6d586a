//! The lexer: a few modes, because brackets, braces and series values each have their own words.

mod literals;
mod series;

use crate::span::Span;
use crate::token::{self, Kind, Token, Word};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Plain query text, unless braces or a histogram are open.
    Statements,
    /// Right behind `[`, until the first number.
    Duration,
    Braces,
    /// Values of a series description.
    Values,
    Histogram,
    Buckets,
    /// White space, then [`Mode::Statements`].
    Space,
    /// A number and nothing else, then [`Mode::Statements`].
    Number,
    Done,
}

/// How a histogram goes on in a series description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Histogram {
    None,
    Open,
    /// Behind `}}`: one of `x`, `+`, `-` comes next.
    Times,
    Add,
    Sub,
}

pub(crate) struct Lexer<'a> {
    input: &'a str,
    mode: Mode,
    pos: usize,
    /// Start of the token being read.
    start: usize,
    /// Start of the token returned last.
    last_start: usize,
    token: Option<Token>,
    /// Text of the error when the last token is [`Kind::Error`].
    error: String,
    paren_depth: i64,
    brace_open: bool,
    bracket_open: bool,
    got_colon: bool,
    got_duration: bool,
    series: bool,
    histogram: Histogram,
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// Quotes a character as Go's `%q` does; the end of input prints as U+FFFD.
fn quote_char(c: Option<char>) -> String {
    let c = c.unwrap_or('\u{fffd}');
    match c {
        '\'' => r"'\''".into(),
        '"' => "'\"'".into(),
        c => {
            let quoted = model::labels::quote(c.encode_utf8(&mut [0; 4]));
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// Names a character as Go's `%#U` does: `U+0041 'A'`.
fn name_char(c: char) -> String {
    let quoted = model::labels::quote(c.encode_utf8(&mut [0; 4]));
    let printable = quoted.len() == c.len_utf8() + 2 || c == '"' || c == '\\';
    if printable { format!("U+{:04X} '{c}'", c as u32) } else { format!("U+{:04X}", c as u32) }
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(input: &'a str) -> Self {
        Lexer {
            input,
            mode: Mode::Statements,
            pos: 0,
            start: 0,
            last_start: 0,
            token: None,
            error: String::new(),
            paren_depth: 0,
            brace_open: false,
            bracket_open: false,
            got_colon: false,
            got_duration: false,
            series: false,
            histogram: Histogram::None,
        }
    }

    /// A lexer for series descriptions.
    pub(crate) fn series(input: &'a str) -> Self {
        Lexer { series: true, ..Self::new(input) }
    }

    pub(crate) fn input(&self) -> &'a str {
        self.input
    }

    /// Text of the last token of kind [`Kind::Error`].
    pub(crate) fn take_error(&mut self) -> String {
        std::mem::take(&mut self.error)
    }

    pub(crate) fn next_token(&mut self) -> Token {
        self.token = None;
        let token = loop {
            if let Some(token) = self.token {
                break token;
            }
            match self.mode {
                Mode::Statements => self.statements(),
                Mode::Duration => self.duration(),
                Mode::Braces => self.braces(),
                Mode::Values => self.values(),
                Mode::Histogram => self.histogram(),
                Mode::Buckets => self.buckets(),
                Mode::Space => self.skip_space(),
                Mode::Number => self.number(),
                Mode::Done => self.emit(Kind::Eof),
            }
        };
        self.last_start = token.span.start;
        token
    }

    /// An aggregation without modifier ends where its `)` is, yet only a look at the token behind it tells
    /// that no modifier follows. If that token is a `)` too, `fallback` is one parenthesis too far.
    pub(crate) fn end_before_last_paren(&self, fallback: usize) -> usize {
        let bytes = self.input.as_bytes();
        if fallback == 0 || self.last_start == 0 || bytes.get(self.last_start) != Some(&b')') {
            return fallback;
        }
        for at in (1..self.last_start).rev() {
            match bytes[at] {
                b')' => return at + 1,
                b' ' | b'\t' | b'\n' | b'\r' => {}
                _ => return fallback,
            }
        }
        fallback
    }

    // Reading characters.

    fn peek(&self) -> Option<char> {
        // Nearly everything is ASCII.
        match self.input.as_bytes().get(self.pos)? {
            b if b.is_ascii() => Some(char::from(*b)),
            _ => self.input[self.pos..].chars().next(),
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    fn peek_is(&self, test: impl Fn(char) -> bool) -> bool {
        self.peek().is_some_and(test)
    }

    fn accept(&mut self, test: impl Fn(char) -> bool) -> bool {
        let ok = self.peek_is(test);
        if ok {
            self.next();
        }
        ok
    }

    fn accept_run(&mut self, test: impl Fn(char) -> bool) {
        while self.accept(&test) {}
    }

    fn text(&self) -> &'a str {
        &self.input[self.start..self.pos]
    }

    fn emit(&mut self, kind: Kind) {
        self.token = Some(Token { kind, span: Span::new(self.start, self.pos) });
        self.start = self.pos;
    }

    /// Emits a token and reads on in another mode.
    fn emit_then(&mut self, kind: Kind, mode: Mode) {
        self.emit(kind);
        self.mode = mode;
    }

    /// Ends reading; the error stands at the start of the current token.
    fn fail(&mut self, message: impl Into<String>) {
        self.error = message.into();
        self.token = Some(Token { kind: Kind::Error, span: Span::new(self.start, self.input.len()) });
        self.mode = Mode::Done;
    }

    // Modes.

    fn statements(&mut self) {
        if self.histogram != Histogram::None {
            self.mode = Mode::Histogram;
            return;
        }
        if self.brace_open {
            self.mode = Mode::Braces;
            return;
        }
        if self.peek() == Some('#') {
            return self.comment();
        }
        use crate::ast::BinaryOp as Op;
        let Some(c) = self.next() else {
            if self.paren_depth != 0 {
                return self.fail("unclosed left parenthesis");
            } else if self.bracket_open {
                return self.fail("unclosed left bracket");
            }
            return self.emit_then(Kind::Eof, Mode::Done);
        };
        match c {
            ',' => self.emit(Kind::Comma),
            c if is_space(c) => self.skip_space(),
            '*' => self.emit(Kind::Op(Op::Mul)),
            '/' => self.emit(Kind::Op(Op::Div)),
            '%' => self.emit(Kind::Op(Op::Mod)),
            '+' => self.emit(Kind::Op(Op::Add)),
            '-' => self.emit(Kind::Op(Op::Sub)),
            '^' => self.emit(Kind::Op(Op::Pow)),
            '=' => match self.peek() {
                Some('=') => self.emit_two(Kind::Op(Op::Eql)),
                Some('~') => self.fail("unexpected character after '=': '~'"),
                _ => self.emit(Kind::Eql),
            },
            '!' => match self.next() {
                Some('=') => self.emit(Kind::Op(Op::Neq)),
                other => self.fail(format!("unexpected character after '!': {}", quote_char(other))),
            },
            '<' => match self.peek() {
                Some('=') => self.emit_two(Kind::Op(Op::Lte)),
                Some('/') => self.emit_two(Kind::Op(Op::TrimUpper)),
                _ => self.emit(Kind::Op(Op::Lss)),
            },
            '>' => match self.peek() {
                Some('=') => self.emit_two(Kind::Op(Op::Gte)),
                Some('/') => self.emit_two(Kind::Op(Op::TrimLower)),
                _ => self.emit(Kind::Op(Op::Gtr)),
            },
            c if c.is_ascii_digit() || (c == '.' && self.peek_is(|c| c.is_ascii_digit())) => {
                self.pos -= 1;
                self.number_or_duration();
            }
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            c if is_alpha(c) || c == ':' => {
                if !self.bracket_open {
                    return self.word();
                }
                if c == ':' {
                    if self.got_colon {
                        return self.fail("unexpected colon ':'");
                    }
                    self.got_colon = true;
                    return self.emit(Kind::Colon);
                }
                if let Some(word) = self.duration_word(c) {
                    return self.emit(word);
                }
                self.fail(format!("unexpected character: {}, expected ':'", quote_char(Some(c))))
            }
            '(' => {
                self.paren_depth += 1;
                self.emit(Kind::LeftParen);
            }
            ')' => self.right_paren(),
            '{' => {
                self.brace_open = true;
                self.emit_then(Kind::LeftBrace, Mode::Braces);
            }
            '[' => {
                if self.bracket_open {
                    return self.fail("unexpected left bracket '['");
                }
                self.got_colon = false;
                self.bracket_open = true;
                self.emit_then(Kind::LeftBracket, Mode::Duration);
                self.accept_run(is_space);
                self.start = self.pos;
            }
            ']' => {
                if !self.bracket_open {
                    return self.fail("unexpected right bracket ']'");
                }
                self.bracket_open = false;
                self.emit(Kind::RightBracket);
            }
            '@' => self.emit(Kind::At),
            other => self.fail(format!("unexpected character: {}", quote_char(Some(other)))),
        }
    }

    fn emit_two(&mut self, kind: Kind) {
        self.next();
        self.emit(kind);
    }

    fn right_paren(&mut self) {
        self.emit(Kind::RightParen);
        self.paren_depth -= 1;
        if self.paren_depth < 0 {
            self.fail("unexpected right parenthesis ')'");
        }
    }

    fn duration(&mut self) {
        use crate::ast::BinaryOp as Op;
        let Some(c) = self.next() else {
            return self.fail("unexpected end of input in duration expression");
        };
        match c {
            ']' => {
                self.bracket_open = false;
                self.got_colon = false;
                self.emit_then(Kind::RightBracket, Mode::Statements);
            }
            ':' => {
                self.emit(Kind::Colon);
                if !self.got_duration {
                    self.fail("unexpected colon before duration in duration expression");
                } else if self.got_colon {
                    self.fail("unexpected repeated colon in duration expression");
                } else {
                    self.got_colon = true;
                }
            }
            '(' => {
                self.paren_depth += 1;
                self.emit(Kind::LeftParen);
            }
            ')' => self.right_paren(),
            c if is_space(c) => {
                self.accept_run(is_space);
                self.start = self.pos;
            }
            '+' => self.emit(Kind::Op(Op::Add)),
            '-' => self.emit(Kind::Op(Op::Sub)),
            '*' => self.emit(Kind::Op(Op::Mul)),
            '/' => self.emit(Kind::Op(Op::Div)),
            '%' => self.emit(Kind::Op(Op::Mod)),
            '^' => self.emit(Kind::Op(Op::Pow)),
            ',' => self.emit(Kind::Comma),
            c if c.is_ascii_digit() || (c == '.' && self.peek_is(|c| c.is_ascii_digit())) => {
                self.pos -= 1;
                self.got_duration = true;
                self.mode = Mode::Statements;
                self.number_or_duration();
            }
            c => match self.duration_word(c) {
                Some(word) => self.emit(word),
                None => {
                    self.fail(format!(
                        "unexpected character in duration expression: {}",
                        quote_char(Some(c))
                    ));
                }
            },
        }
    }

    /// Reads `step`, `range`, `max_of` or `min_of`, whose first letter has been read.
    fn duration_word(&mut self, first: char) -> Option<Kind> {
        if !matches!(first.to_ascii_lowercase(), 's' | 'r' | 'm') {
            return None;
        }
        self.accept_run(is_alpha);
        match token::keyword(self.text()) {
            Some(kind @ Kind::Word(Word::Step | Word::Range | Word::MaxOf | Word::MinOf)) => Some(kind),
            _ => None,
        }
    }

    fn braces(&mut self) {
        if self.peek() == Some('#') {
            return self.comment();
        }
        use crate::ast::BinaryOp as Op;
        let Some(c) = self.next() else {
            return self.fail("unexpected end of input inside braces");
        };
        match c {
            c if is_space(c) => self.skip_space(),
            c if is_alpha(c) => {
                self.accept_run(is_alphanumeric);
                self.emit(Kind::Identifier);
            }
            ',' => self.emit(Kind::Comma),
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            '=' => {
                if self.peek() == Some('~') {
                    self.emit_two(Kind::EqlRegex);
                } else {
                    self.emit(Kind::Eql);
                }
            }
            '!' => match self.next() {
                Some('~') => self.emit(Kind::NeqRegex),
                Some('=') => self.emit(Kind::Op(Op::Neq)),
                other => {
                    self.fail(format!("unexpected character after '!' inside braces: {}", quote_char(other)))
                }
            },
            '{' => self.fail("unexpected left brace '{'"),
            '}' => {
                self.brace_open = false;
                let mode = if self.series { Mode::Values } else { Mode::Statements };
                self.emit_then(Kind::RightBrace, mode);
            }
            other => self.fail(format!("unexpected character inside braces: {}", quote_char(Some(other)))),
        }
    }

    // Things.

    fn skip_space(&mut self) {
        self.accept_run(is_space);
        self.start = self.pos;
        self.mode = Mode::Statements;
    }

    fn comment(&mut self) {
        self.accept_run(|c| c != '\n' && c != '\r');
        self.emit_then(Kind::Comment, Mode::Statements);
    }

    fn word(&mut self) {
        self.accept_run(|c| is_alphanumeric(c) || c == ':');
        let word = self.text();
        let kind = match token::keyword(word) {
            // `fill` is new, and may be the name of a metric.
            Some(Kind::Word(Word::Fill | Word::FillLeft | Word::FillRight)) if !self.paren_follows() => {
                Kind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => Kind::MetricIdentifier,
            None => Kind::Identifier,
        };
        let mode = if self.series && self.peek() != Some('{') { Mode::Values } else { Mode::Statements };
        self.emit_then(kind, mode);
    }

    fn paren_follows(&self) -> bool {
        self.input[self.pos..].trim_start_matches(is_space).starts_with('(')
    }
}
