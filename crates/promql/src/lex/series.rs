//! Values of series descriptions: numbers, repetitions, histograms.

use super::{Histogram, Lexer, Mode, is_alpha, is_space, quote_char};
use crate::token::{self, Kind};

impl Lexer<'_> {
    pub(super) fn values(&mut self) {
        use crate::ast::BinaryOp as Op;
        if self.histogram != Histogram::None {
            self.mode = Mode::Histogram;
            return;
        }
        let Some(c) = self.next() else {
            self.mode = Mode::Statements;
            return;
        };
        match c {
            '{' if self.peek() == Some('{') => {
                self.histogram = Histogram::Open;
                self.next();
                self.emit_then(Kind::OpenHist, Mode::Histogram);
            }
            c if is_space(c) => {
                self.emit(Kind::Space);
                self.accept_run(is_space);
                self.start = self.pos;
            }
            '+' => self.emit(Kind::Op(Op::Add)),
            '-' => self.emit(Kind::Op(Op::Sub)),
            'x' => self.emit(Kind::Times),
            '_' => self.emit(Kind::Blank),
            c if c.is_ascii_digit() || (c == '.' && self.peek_is(|c| c.is_ascii_digit())) => {
                self.pos -= 1;
                self.number();
                if self.mode != Mode::Done {
                    self.mode = Mode::Values;
                }
            }
            // Not every word makes sense here; the parser sorts them out.
            c if is_alpha(c) => self.word(),
            other => {
                self.fail(format!("unexpected character in series sequence: {}", quote_char(Some(other))))
            }
        }
    }

    pub(super) fn histogram(&mut self) {
        use crate::ast::BinaryOp as Op;
        let joint = match self.histogram {
            Histogram::Times => Some(Kind::Times),
            Histogram::Add => Some(Kind::Op(Op::Add)),
            Histogram::Sub => Some(Kind::Op(Op::Sub)),
            Histogram::None | Histogram::Open => None,
        };
        if let Some(kind) = joint {
            self.histogram = Histogram::None;
            self.next();
            return self.emit_then(kind, Mode::Values);
        }
        if self.bracket_open {
            self.mode = Mode::Buckets;
            return;
        }
        let c = self.next();
        match c {
            Some(c) if is_space(c) => self.emit_then(Kind::Space, Mode::Space),
            Some(c) if is_alpha(c) => self.histogram_word(),
            Some(':') => self.emit(Kind::Colon),
            Some('-') => self.emit(Kind::Op(Op::Sub)),
            Some(c) if c.is_ascii_digit() => {
                self.pos -= 1;
                self.mode = Mode::Number;
            }
            Some('[') => {
                self.bracket_open = true;
                self.got_colon = false;
                self.got_duration = false;
                self.emit_then(Kind::LeftBracket, Mode::Buckets);
            }
            Some('}') if self.peek() == Some('}') => {
                self.next();
                self.emit(Kind::CloseHist);
                (self.histogram, self.mode) = match self.peek() {
                    Some('x') => (Histogram::Times, Mode::Histogram),
                    Some('+') => (Histogram::Add, Mode::Histogram),
                    Some('-') => (Histogram::Sub, Mode::Histogram),
                    _ => (Histogram::None, Mode::Values),
                };
            }
            other => self.fail(format!("histogram description incomplete unexpected: {}", quote_char(other))),
        }
    }

    fn histogram_word(&mut self) {
        self.accept_run(is_alpha);
        let word = self.text();
        if let Some(key) = token::histogram_key(word) {
            if self.peek() == Some(':') {
                self.emit(Kind::Hist(key));
            } else {
                self.fail("missing `:` for histogram descriptor");
            }
        } else if token::keyword(word) == Some(Kind::Number) {
            self.emit(Kind::Number);
        } else if let Some(hint) = token::reset_hint(word) {
            self.emit(Kind::Hint(hint));
        } else {
            self.fail(format!("bad histogram descriptor found: {}", model::labels::quote(word)));
        }
    }

    pub(super) fn buckets(&mut self) {
        use crate::ast::BinaryOp as Op;
        match self.next() {
            Some(c) if is_space(c) => self.emit_then(Kind::Space, Mode::Space),
            Some('-') => self.emit_then(Kind::Op(Op::Sub), Mode::Number),
            Some(c) if c.is_ascii_digit() => {
                self.pos -= 1;
                self.mode = Mode::Number;
            }
            Some(']') => {
                self.bracket_open = false;
                self.emit_then(Kind::RightBracket, Mode::Histogram);
            }
            Some(c) if is_alpha(c) => {
                if token::keyword(self.text()) == Some(Kind::Number) {
                    self.emit_then(Kind::Number, Mode::Statements);
                }
            }
            other => self.fail(format!("invalid character in buckets description: {}", quote_char(other))),
        }
    }
}
