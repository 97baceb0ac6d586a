//! Text of a template to tokens: text outside of `{{ }}`, words inside.

/// What a token is. Texts lie in the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Left,
    Right,
    Space,
    Identifier,
    Keyword,
    Field,
    Variable,
    Dot,
    Nil,
    Bool,
    Number,
    Char,
    Quoted,
    Raw,
    Pipe,
    LeftParen,
    RightParen,
    Declare,
    Assign,
    Comma,
    /// Any other character, which fits nowhere.
    Other,
    Eof,
    Error,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Byte offset in the template.
    pub(super) at: usize,
    /// Counted from 1.
    pub(super) line: usize,
    /// Its text, or what is wrong.
    pub(super) text: String,
}

impl Token {
    /// As messages show it.
    pub(super) fn shown(&self) -> String {
        match self.kind {
            Kind::Eof => "EOF".into(),
            Kind::Error => self.text.clone(),
            Kind::Keyword | Kind::Nil | Kind::Dot => format!("<{}>", self.text),
            _ if self.text.chars().count() > 10 => {
                let head: String = self.text.chars().take(10).collect();
                format!("{}...", model::labels::quote(&head))
            }
            _ => model::labels::quote(&self.text),
        }
    }
}

const KEYWORDS: [&str; 10] =
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
    parens: usize,
    /// Where lines begin.
    lines: Vec<usize>,
}

/// All tokens; the last one is the end or an error.
pub(super) fn lex(text: &str) -> Vec<Token> {
    let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new(), parens: 0, lines };
    if let Err(message) = lexer.run() {
        let at = lexer.at.min(text.len());
        let line = lexer.line(at);
        lexer.tokens.push(Token { kind: Kind::Error, at, line, text: message });
    }
    lexer.tokens
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }

    fn push(&mut self, kind: Kind, len: usize) {
        let text = self.rest().get(..len).unwrap_or("").to_owned();
        let line = self.line(self.at);
        self.tokens.push(Token { kind, at: self.at, line, text });
        self.at += len;
    }

    fn run(&mut self) -> Result<(), String> {
        loop {
            let rest = self.rest();
            let found = rest.find("{{");
            let before = &rest[..found.unwrap_or(rest.len())];
            let trims = found.is_some_and(|i| {
                let inside = &rest[i + 2..];
                inside.starts_with('-') && inside[1..].starts_with(is_space)
            });
            let kept = if trims { before.trim_end_matches(is_space).len() } else { before.len() };
            let skipped = before.len();
            if kept > 0 {
                let (at, line) = (self.at, self.line(self.at));
                let text = before[..kept].to_owned();
                self.tokens.push(Token { kind: Kind::Text, at, line, text });
            }
            self.at += skipped;
            if found.is_none() {
                self.push(Kind::Eof, 0);
                return Ok(());
            }
            self.action(trims)?;
        }
    }

    /// From `{{` to behind `}}`.
    fn action(&mut self, trims: bool) -> Result<(), String> {
        let head = if trims { 4 } else { 2 };
        if self.rest()[head.min(self.rest().len())..].starts_with("/*") {
            self.at += head + 2;
            let Some(end) = self.rest().find("*/") else { return Err("unclosed comment".into()) };
            self.at += end + 2;
            return if self.close() { Ok(()) } else { Err("comment ends before closing delimiter".into()) };
        }
        self.push(Kind::Left, 2);
        self.at += head - 2;
        self.parens = 0;
        loop {
            let (at, line) = (self.at, self.line(self.at));
            if self.close() {
                if self.parens > 0 {
                    self.at = at;
                    return Err("unclosed left paren".into());
                }
                self.tokens.push(Token { kind: Kind::Right, at, line, text: "}}".into() });
                return Ok(());
            }
            self.word()?;
        }
    }

    /// Steps over `}}` or ` -}}`, with the blanks that the latter takes away.
    fn close(&mut self) -> bool {
        let rest = self.rest();
        if rest.starts_with("}}") {
            self.at += 2;
            return true;
        }
        if !(rest.starts_with(is_space) && rest[1..].starts_with("-}}")) {
            return false;
        }
        self.at += 4;
        let blanks = self.rest().len() - self.rest().trim_start_matches(is_space).len();
        self.at += blanks;
        true
    }

    fn word(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let Some(c) = rest.chars().next() else { return Err("unclosed action".into()) };
        let next = rest[c.len_utf8()..].chars().next();
        match c {
            c if is_space(c) => {
                // A blank in front of `-}}` belongs to it.
                let run = rest.len() - rest.trim_start_matches(is_space).len();
                let run = if rest[run..].starts_with("-}}") && run > 1 { run - 1 } else { run };
                self.push(Kind::Space, run);
            }
            ':' if next == Some('=') => self.push(Kind::Declare, 2),
            ':' => return Err("expected :=".into()),
            '=' => self.push(Kind::Assign, 1),
            '|' => self.push(Kind::Pipe, 1),
            '"' => {
                let len = quoted_len(rest, '"').ok_or("unterminated quoted string")?;
                self.push(Kind::Quoted, len);
            }
            '`' => {
                let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                self.push(Kind::Raw, end + 2);
            }
            '\'' => {
                let len = quoted_len(rest, '\'').ok_or("unterminated character constant")?;
                self.push(Kind::Char, len);
            }
            '$' => self.name(Kind::Variable)?,
            '.' if next.is_none_or(|n| !n.is_ascii_digit()) => self.name(Kind::Field)?,
            '+' | '-' | '.' | '0'..='9' => self.number()?,
            '(' => {
                self.push(Kind::LeftParen, 1);
                self.parens += 1;
            }
            ')' => {
                if self.parens == 0 {
                    return Err("unexpected right paren".into());
                }
                self.push(Kind::RightParen, 1);
                self.parens -= 1;
            }
            ',' => self.push(Kind::Comma, 1),
            c if is_word(c) => self.identifier()?,
            ' '..='~' => self.push(Kind::Other, 1),
            c => return Err(format!("unrecognized character in action: U+{:04X} '{c}'", c as u32)),
        }
        Ok(())
    }

    fn word_len(&self, from: usize) -> usize {
        let rest = &self.rest()[from..];
        from + (rest.len() - rest.trim_start_matches(is_word).len())
    }

    /// A word must not touch what cannot stand behind it.
    fn ends_well(&self, len: usize) -> Result<(), String> {
        match self.rest()[len..].chars().next() {
            None => Ok(()),
            Some(c) if is_space(c) || matches!(c, '.' | ',' | '|' | ':' | '(' | ')' | '=') => Ok(()),
            Some(_) if self.rest()[len..].starts_with("}}") => Ok(()),
            Some(c) => Err(format!("bad character U+{:04X} '{c}'", c as u32)),
        }
    }

    /// `.x`, `$x`, `.`, `$`
    fn name(&mut self, kind: Kind) -> Result<(), String> {
        let len = self.word_len(1);
        self.ends_well(len)?;
        self.push(if kind == Kind::Field && len == 1 { Kind::Dot } else { kind }, len);
        Ok(())
    }

    fn identifier(&mut self) -> Result<(), String> {
        let len = self.word_len(0);
        self.ends_well(len)?;
        let kind = match &self.rest()[..len] {
            word if KEYWORDS.contains(&word) => Kind::Keyword,
            "nil" => Kind::Nil,
            "true" | "false" => Kind::Bool,
            _ => Kind::Identifier,
        };
        self.push(kind, len);
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let signed = usize::from(rest.starts_with(['+', '-']));
        let hex = rest[signed..].starts_with("0x") || rest[signed..].starts_with("0X");
        let mut len = signed;
        let mut before = ' ';
        for c in rest[signed..].chars() {
            let sign_of_exponent = matches!(c, '+' | '-')
                && if hex { matches!(before, 'p' | 'P') } else { matches!(before, 'e' | 'E') };
            if !(is_word(c) || c == '.' || sign_of_exponent) {
                break;
            }
            before = c;
            len += c.len_utf8();
        }
        let text = &rest[..len];
        if super::literal::number(text).is_none() {
            return Err(format!("bad number syntax: {}", model::labels::quote(text)));
        }
        self.push(Kind::Number, len);
        Ok(())
    }
}

/// Length of a quoted text with its quotes.
fn quoted_len(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return None,
            c if c == quote => return Some(i + 1),
            _ => {}
        }
    }
    None
}
