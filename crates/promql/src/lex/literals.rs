//! Strings, numbers and durations.

use super::{Lexer, Mode, is_alphanumeric, name_char};
use crate::token::Kind;

impl Lexer<'_> {
    pub(super) fn string(&mut self, quote: char) {
        loop {
            match self.next() {
                Some('\\') => {
                    if let Err(message) = self.escape(quote) {
                        return self.fail(message);
                    }
                }
                Some('\u{fffd}') => return self.fail("invalid UTF-8 rune"),
                None | Some('\n') => return self.fail("unterminated quoted string"),
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.emit_then(Kind::String, Mode::Statements);
    }

    fn escape(&mut self, quote: char) -> Result<(), String> {
        const UNTERMINATED: &str = "escape sequence not terminated";
        let (digits, base, max) = match self.next() {
            None => return Err(UNTERMINATED.into()),
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some('0'..='7') => {
                self.pos -= 1;
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, 0x10ffff),
            Some('U') => (8, 16, 0x10ffff),
            Some(other) => return Err(format!("unknown escape sequence {}", name_char(other))),
        };
        let mut value = 0u64;
        for _ in 0..digits {
            let c = self.next().ok_or(UNTERMINATED)?;
            let digit = c
                .to_digit(base)
                .ok_or_else(|| format!("illegal character {} in escape sequence", name_char(c)))?;
            value = value * u64::from(base) + u64::from(digit);
        }
        if value > max || (0xd800..0xe000).contains(&value) {
            return Err("escape sequence is an invalid Unicode code point".into());
        }
        Ok(())
    }

    pub(super) fn raw_string(&mut self) {
        loop {
            match self.next() {
                Some('\u{fffd}') => return self.fail("invalid UTF-8 rune"),
                None => return self.fail("unterminated raw string"),
                Some('`') => break,
                Some(_) => {}
            }
        }
        self.emit_then(Kind::String, Mode::Statements);
    }

    pub(super) fn number(&mut self) {
        if self.scan_number() {
            self.emit_then(Kind::Number, Mode::Statements);
        } else {
            self.fail(format!("bad number syntax: {}", model::labels::quote(self.text())));
        }
    }

    pub(super) fn number_or_duration(&mut self) {
        if self.scan_number() {
            self.emit_then(Kind::Number, Mode::Statements);
        } else if self.scan_duration() {
            self.emit_then(Kind::Duration, Mode::Statements);
        } else {
            self.fail(format!("bad number or duration syntax: {}", model::labels::quote(self.text())));
        }
    }

    /// Goes on behind the digits of a duration; on failure the offending character has been read.
    fn scan_duration(&mut self) -> bool {
        if !self.accept(|c| "smhdwy".contains(c)) {
            return false;
        }
        // `ms`; nonsense such as `hs` is found when the duration is evaluated.
        self.accept(|c| c == 's');
        while self.accept(|c| c.is_ascii_digit()) {
            self.accept_run(|c| c.is_ascii_digit());
            if !self.accept(|c| "smhdw".contains(c)) {
                return false;
            }
            self.accept(|c| c == 's');
        }
        if self.peek_is(is_alphanumeric) {
            self.next();
            return false;
        }
        true
    }

    /// Reads a number in any notation. It need not be valid: the parser looks at it again.
    fn scan_number(&mut self) -> bool {
        let first = self.pos;
        let mut hex = false;
        // `0x` would be ambiguous in series descriptions.
        if !self.series && self.accept(|c| c == '0') && self.accept(|c| matches!(c, 'x' | 'X')) {
            self.accept(|c| c == '_');
            hex = true;
        }
        let digit = |c: char| if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
        let exponent = |c: char| matches!(c, 'e' | 'E');
        let misplaced = |c: char| matches!(c, '.' | '_' | 'e' | 'E');
        let (mut got_dot, mut got_exponent) = (false, false);
        self.accept(|c| c == '.');
        self.accept(digit);
        while self.peek_is(|c| digit(c) || c == '.' || c == '_' || exponent(c)) {
            if got_dot && self.accept(|c| c == '.') {
                return false;
            }
            if got_exponent && self.accept(exponent) {
                return false;
            }
            if self.accept(|c| c == '.') {
                got_dot = true;
                if self.accept(|c| matches!(c, '_' | '.')) || hex {
                    return false;
                }
                continue;
            }
            if self.accept(exponent) {
                got_exponent = true;
                self.accept(|c| matches!(c, '+' | '-'));
                if self.accept(misplaced) || self.peek().is_none() {
                    return false;
                }
                continue;
            }
            if self.accept(|c| c == '_') {
                if self.accept(misplaced) || self.peek().is_none() {
                    return false;
                }
                continue;
            }
            self.accept_run(digit);
        }
        if self.pos == first {
            return false;
        }
        match self.peek() {
            Some('x') if self.series => true,
            next => !next.is_some_and(is_alphanumeric),
        }
    }
}
