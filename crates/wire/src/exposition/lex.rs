//! The strict lexer of both text formats: every token, every state, upstream's error texts.
//!
//! The fast path of `text` reads well-formed lines without it; this lexer reads what is unusual and words
//! what is wrong.

use model::labels::quote;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Prometheus text 0.0.4 and 1.0.0.
    Prometheus,
    OpenMetrics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Invalid,
    Eof,
    Linebreak,
    Whitespace,
    Help,
    Type,
    Unit,
    EofWord,
    Text,
    Comment,
    MetricName,
    Quoted,
    BraceOpen,
    BraceClose,
    LabelName,
    LabelValue,
    Comma,
    Equal,
    Timestamp,
    Value,
}

impl Token {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Token::Invalid => "INVALID",
            Token::Eof => "EOF",
            Token::Linebreak => "LINEBREAK",
            Token::Whitespace => "WHITESPACE",
            Token::Help => "HELP",
            Token::Type => "TYPE",
            Token::Unit => "UNIT",
            Token::EofWord => "EOFWORD",
            Token::Text => "TEXT",
            Token::Comment => "COMMENT",
            Token::MetricName => "MNAME",
            Token::Quoted => "QSTRING",
            Token::BraceOpen => "BOPEN",
            Token::BraceClose => "BCLOSE",
            Token::LabelName => "LNAME",
            Token::LabelValue => "LVALUE",
            Token::Comma => "COMMA",
            Token::Equal => "EQUAL",
            Token::Timestamp => "TIMESTAMP",
            Token::Value => "VALUE",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Init,
    Comment,
    MetaName,
    MetaText,
    Labels,
    LabelValue,
    Value,
    Timestamp,
    Exemplar,
    ExemplarLabelValueOrValue,
    ExemplarTimestamp,
}

pub(super) const fn is_name_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b == b':'
}

pub(super) const fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b':'
}

pub(super) const fn is_label_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_'
}

pub(super) const fn is_label(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

const fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// Go's `%q` of bytes that may not be UTF-8.
pub(super) fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let quoted = quote(chunk.valid());
        out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or(""));
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out.push('"');
    out
}

pub(super) struct Lexer<'a> {
    body: &'a [u8],
    dialect: Dialect,
    state: State,
    /// Start of the token.
    pub(super) start: usize,
    /// End of the token; where the next one starts.
    pub(super) at: usize,
}

impl<'a> Lexer<'a> {
    /// At the beginning of a line.
    pub(super) fn new(body: &'a [u8], dialect: Dialect, at: usize) -> Self {
        Lexer { body, dialect, state: State::Init, start: at, at }
    }

    /// The byte at a position; the Prometheus format acts as if a line break followed the body.
    fn byte(&self, at: usize) -> Option<u8> {
        match self.body.get(at) {
            Some(b) => Some(*b),
            None if at == self.body.len() && self.dialect == Dialect::Prometheus => Some(b'\n'),
            None => None,
        }
    }

    /// Bytes of the token.
    pub(super) fn token(&self) -> &'a [u8] {
        self.slice(self.start, self.at)
    }

    pub(super) fn slice(&self, from: usize, to: usize) -> &'a [u8] {
        let to = to.min(self.body.len());
        self.body.get(from.min(to)..to).unwrap_or_default()
    }

    fn shown(&self, from: usize, to: usize) -> String {
        let mut bytes = self.slice(from, to).to_vec();
        if self.dialect == Dialect::Prometheus && to > self.body.len() {
            bytes.push(b'\n');
        }
        quote_bytes(&bytes)
    }

    /// Upstream's text for a token that should not stand here; `line` is where the entry started.
    pub(super) fn unexpected(&self, expected: &str, got: Token, line: usize) -> String {
        let end = self.at + 1;
        format!(
            "{expected}, got {} ({}) while parsing: {}",
            self.shown(self.start, end),
            quote(got.as_str()),
            self.shown(line, end)
        )
    }

    /// Adds upstream's ` while parsing: ` to a text.
    pub(super) fn while_parsing(&self, what: &str, line: usize) -> String {
        format!("{what} while parsing: {}", self.shown(line, self.at))
    }

    /// The next token that is not blank (only the Prometheus format has blank tokens).
    pub(super) fn next(&mut self) -> Token {
        loop {
            let token = self.lex();
            if token != Token::Whitespace {
                return token;
            }
        }
    }

    fn run(&mut self, mut keep: impl FnMut(u8) -> bool) -> usize {
        let from = self.at;
        while self.byte(self.at).is_some_and(&mut keep) {
            self.at += 1;
        }
        self.at - from
    }

    fn one(&mut self, token: Token, next: State) -> Token {
        self.at += 1;
        self.state = next;
        token
    }

    /// A quoted text; false where it does not end properly. Only label values of series may hold zero bytes.
    fn quoted(&mut self, newline: bool) -> bool {
        let zero = self.state == State::LabelValue;
        self.at += 1;
        loop {
            match self.byte(self.at) {
                None => return false,
                Some(b'"') => {
                    self.at += 1;
                    return true;
                }
                Some(b'\\') => {
                    self.at += 1;
                    if self.byte(self.at).is_none_or(|b| b == b'\n') {
                        return false;
                    }
                    self.at += 1;
                }
                Some(b'\n') if !newline => return false,
                Some(0) if !zero => return false,
                Some(_) => self.at += 1,
            }
        }
    }

    fn quoted_token(&mut self, newline: bool, token: Token, next: State) -> Token {
        if self.quoted(newline) {
            self.state = next;
            token
        } else {
            Token::Invalid
        }
    }

    /// Consumes a word as far as it agrees.
    fn word(&mut self, word: &[u8]) -> bool {
        for b in word {
            if self.byte(self.at) != Some(*b) {
                return false;
            }
            self.at += 1;
        }
        true
    }

    fn lex(&mut self) -> Token {
        let Some(c) = self.byte(self.at) else { return Token::Eof };
        self.start = self.at;
        match self.dialect {
            Dialect::Prometheus => self.lex_prometheus(c),
            Dialect::OpenMetrics => self.lex_openmetrics(c),
        }
    }

    fn lex_prometheus(&mut self, c: u8) -> Token {
        if is_blank(c) {
            let blanks = self.run(is_blank);
            if self.state != State::MetaText || self.byte(self.start + blanks).is_none_or(|b| b == b'\n') {
                return Token::Whitespace;
            }
        }
        match self.state {
            State::Init => match c {
                0 => Token::Eof,
                b'\n' => self.one(Token::Linebreak, State::Init),
                b'#' => {
                    self.at += 1;
                    if self.run(is_blank) == 0 {
                        return self.comment();
                    }
                    self.state = State::Comment;
                    let from = self.at;
                    for (word, token) in [(b"HELP", Token::Help), (b"TYPE", Token::Type)] {
                        if self.word(word) && self.run(is_blank) > 0 {
                            self.state = State::MetaName;
                            return token;
                        }
                        self.at = from;
                    }
                    self.comment()
                }
                b'{' => self.one(Token::BraceOpen, State::Labels),
                c if is_name_start(c) => {
                    self.run(is_name);
                    self.state = State::Value;
                    Token::MetricName
                }
                _ => Token::Invalid,
            },
            State::MetaText => {
                self.run(|b| b != b'\n');
                self.state = State::Init;
                Token::Text
            }
            State::Value => match c {
                b'{' => self.one(Token::BraceOpen, State::Labels),
                b'\n' | 0 => Token::Invalid,
                _ => {
                    self.run(|b| !matches!(b, b'{' | b' ' | b'\t' | b'\n' | 0));
                    self.state = State::Timestamp;
                    Token::Value
                }
            },
            State::Timestamp => match c {
                b'\n' => self.one(Token::Linebreak, State::Init),
                c if c.is_ascii_digit() => {
                    self.run(|b| b.is_ascii_digit());
                    Token::Timestamp
                }
                _ => Token::Invalid,
            },
            _ => self.lex_shared(c, true),
        }
    }

    fn comment(&mut self) -> Token {
        self.run(|b| b != b'\n');
        self.state = State::Init;
        Token::Comment
    }

    fn lex_openmetrics(&mut self, c: u8) -> Token {
        match self.state {
            State::Init => match c {
                b'#' => {
                    self.at += 1;
                    if !self.word(b" ") {
                        return Token::Invalid;
                    }
                    self.state = State::Comment;
                    self.openmetrics_comment()
                }
                b'{' => self.one(Token::BraceOpen, State::Labels),
                c if is_name_start(c) => {
                    self.run(is_name);
                    self.state = State::Value;
                    Token::MetricName
                }
                _ => Token::Invalid,
            },
            State::MetaText => {
                if c != b' ' {
                    return Token::Invalid;
                }
                self.run(|b| b != b'\n');
                if self.byte(self.at).is_none() {
                    return Token::Invalid;
                }
                self.one(Token::Text, State::Init)
            }
            State::Value if c == b'{' => self.one(Token::BraceOpen, State::Labels),
            State::Value => self.spaced(c, Token::Value, State::Timestamp),
            State::Timestamp if c == b'\n' => self.one(Token::Linebreak, State::Init),
            State::Timestamp => {
                let from = self.at;
                if self.word(b" # {") {
                    self.state = State::Exemplar;
                    return Token::Comment;
                }
                self.at = from;
                self.spaced(c, Token::Timestamp, State::Timestamp)
            }
            State::ExemplarLabelValueOrValue if c == b'"' => {
                self.quoted_token(false, Token::LabelValue, State::Exemplar)
            }
            State::ExemplarLabelValueOrValue => self.spaced(c, Token::Value, State::ExemplarTimestamp),
            State::ExemplarTimestamp if c == b'\n' => self.one(Token::Linebreak, State::Init),
            State::ExemplarTimestamp => self.spaced(c, Token::Timestamp, State::ExemplarTimestamp),
            _ => self.lex_shared(c, false),
        }
    }

    fn openmetrics_comment(&mut self) -> Token {
        for (first, rest, token) in [
            (b'H', &b"HELP "[..], Token::Help),
            (b'T', b"TYPE ", Token::Type),
            (b'U', b"UNIT ", Token::Unit),
            (b'E', b"EOF", Token::EofWord),
        ] {
            if self.byte(self.at) != Some(first) {
                continue;
            }
            if !self.word(rest) {
                return Token::Invalid;
            }
            self.state = State::MetaName;
            if token == Token::EofWord {
                self.state = State::Init;
                self.word(b"\n");
            }
            return token;
        }
        Token::Invalid
    }

    /// One blank and then everything up to a blank or the end of the line.
    fn spaced(&mut self, c: u8, token: Token, next: State) -> Token {
        if c != b' ' {
            return Token::Invalid;
        }
        self.at += 1;
        if self.run(|b| !matches!(b, b' ' | b'\n' | 0)) == 0 {
            return Token::Invalid;
        }
        self.state = next;
        token
    }

    /// What both formats have in common: names of metadata and labels. `newline`: quoted label values may
    /// hold line breaks.
    fn lex_shared(&mut self, c: u8, newline: bool) -> Token {
        match (self.state, c) {
            (State::MetaName, b'"') => self.quoted_token(true, Token::MetricName, State::MetaText),
            (State::MetaName, c) if is_name_start(c) => {
                self.run(is_name);
                self.state = State::MetaText;
                Token::MetricName
            }
            (State::Labels, b'"') => self.quoted_token(true, Token::Quoted, State::Labels),
            (State::Labels, b'}') => self.one(Token::BraceClose, State::Value),
            (State::Labels, b'=') => self.one(Token::Equal, State::LabelValue),
            (State::Exemplar, b'"') => self.quoted_token(false, Token::Quoted, State::Exemplar),
            (State::Exemplar, b'}') => self.one(Token::BraceClose, State::ExemplarLabelValueOrValue),
            (State::Exemplar, b'=') => self.one(Token::Equal, State::ExemplarLabelValueOrValue),
            (State::Labels | State::Exemplar, b',') => self.one(Token::Comma, self.state),
            (State::Labels | State::Exemplar, c) if is_label_start(c) => {
                self.run(is_label);
                Token::LabelName
            }
            (State::LabelValue, b'"') => self.quoted_token(newline, Token::LabelValue, State::Labels),
            _ => Token::Invalid,
        }
    }
}
