//! Literals: numbers as Go reads them, durations, quoted strings.

use super::Parser;
use crate::ast::NumberLiteral;
use crate::token::{Kind, Token};
use model::labels::quote;

impl Parser<'_> {
    /// A number or duration, which is next.
    pub(super) fn number_literal(&mut self) -> NumberLiteral {
        let token = self.shift();
        let value = if token.kind == Kind::Duration {
            model::duration::parse_duration(self.text(token)).map(|ms| ms as f64 / 1000.0)
        } else {
            parse_number(self.text(token)).map_err(|e| format!("error parsing number: {e}"))
        };
        let value = value.unwrap_or_else(|message| {
            self.complain(token.span, message);
            0.0
        });
        NumberLiteral { value, duration: token.kind == Kind::Duration, span: token.span }
    }

    /// The text that a string token stands for. Escapes can spell bytes that are not UTF-8; labels and
    /// their values never hold those, so they become U+FFFD.
    pub(super) fn unquote(&mut self, token: Token) -> String {
        match String::from_utf8(unquote(self.text(token))) {
            Ok(text) => text,
            Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
        }
    }
}

/// A number as Go's `ParseInt` with base 0 reads it, or else as its `ParseFloat` does.
pub(crate) fn parse_number(text: &str) -> Result<f64, String> {
    if let Some(int) = parse_int(text) {
        return Ok(int as f64);
    }
    let error = |what: &str| Err(format!("strconv.ParseFloat: parsing {}: {what}", quote(text)));
    const SYNTAX: &str = "invalid syntax";
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "inf" | "+inf" | "infinity") {
        return Ok(f64::INFINITY);
    } else if lower == "nan" {
        return Ok(f64::NAN);
    }
    if lower.starts_with("0x") || !underscores_ok(text) {
        // A hexadecimal float needs an exponent with `p`, which the lexer does not let through.
        return error(SYNTAX);
    }
    let plain = text.replace('_', "");
    if !plain.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) {
        return error(SYNTAX);
    }
    match plain.parse::<f64>() {
        Ok(v) if v.is_infinite() => error("value out of range"),
        Ok(v) => Ok(v),
        Err(_) => error(SYNTAX),
    }
}

fn parse_int(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if !underscores_ok(text) {
        return None;
    }
    i64::from_str_radix(&digits.replace('_', ""), radix).ok().filter(|_| !digits.starts_with(['+', '-']))
}

/// Go's rule: an underscore stands between two digits, or between a base prefix and a digit.
fn underscores_ok(text: &str) -> bool {
    if !text.contains('_') {
        return true;
    }
    let bytes = text.as_bytes();
    let prefixed = bytes.len() >= 2 && bytes[0] == b'0' && matches!(bytes[1] | 0x20, b'x' | b'o' | b'b');
    let hex = prefixed && bytes[1] | 0x20 == b'x';
    // What the last character was: a digit (or prefix), an underscore, or something else.
    let mut last = if prefixed { b'0' } else { b'^' };
    for &b in &bytes[if prefixed { 2 } else { 0 }..] {
        last = match b {
            b'0'..=b'9' => b'0',
            b'a'..=b'f' | b'A'..=b'F' if hex => b'0',
            b'_' if last != b'0' => return false,
            b'_' => b'_',
            _ if last == b'_' => return false,
            _ => b'!',
        };
    }
    last != b'_'
}

/// Resolves quotes and escapes of a string the lexer has accepted.
pub(crate) fn unquote(text: &str) -> Vec<u8> {
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or("");
    if text.starts_with('`') || !inner.contains('\\') {
        return inner.as_bytes().to_vec();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            Some('a') => out.push(0x07),
            Some('b') => out.push(0x08),
            Some('f') => out.push(0x0c),
            Some('n') => out.push(b'\n'),
            Some('r') => out.push(b'\r'),
            Some('t') => out.push(b'\t'),
            Some('v') => out.push(0x0b),
            Some(d @ '0'..='7') => {
                let byte = digits(&mut chars, 2, 8, d as u32 - '0' as u32);
                out.push(byte as u8);
            }
            Some('x') => {
                let byte = digits(&mut chars, 2, 16, 0);
                out.push(byte as u8);
            }
            Some(u @ ('u' | 'U')) => {
                let code = digits(&mut chars, if u == 'u' { 4 } else { 8 }, 16, 0);
                let c = char::from_u32(code).unwrap_or('\u{fffd}');
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Some(other) => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            None => {}
        }
    }
    out
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32, first: u32) -> u32 {
    (0..count).fold(first, |n, _| {
        let digit = chars.next().and_then(|c| c.to_digit(radix)).unwrap_or(0);
        n.wrapping_mul(radix).wrapping_add(digit)
    })
}
