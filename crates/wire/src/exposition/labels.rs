//! Labels of a raw metric text: decoded only when the text has not been seen before.

use super::lex::{Dialect, is_label, is_label_start, is_name};
use super::number::normalise_bound;
use model::MetricType;
use std::borrow::Cow;

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    name: (u32, u32),
    value: (u32, u32),
}

/// A list of labels in one string; cleared and filled again without allocating.
#[derive(Clone, Debug, Default)]
pub struct LabelBuf {
    text: String,
    spans: Vec<Span>,
}

impl LabelBuf {
    pub fn clear(&mut self) {
        self.text.clear();
        self.spans.clear();
    }

    fn put(&mut self, text: &str) -> (u32, u32) {
        let from = self.text.len() as u32;
        self.text.push_str(text);
        (from, self.text.len() as u32)
    }

    fn take(&self, (from, to): (u32, u32)) -> &str {
        self.text.get(from as usize..to as usize).unwrap_or("")
    }

    pub fn push(&mut self, name: &str, value: &str) {
        let name = self.put(name);
        let value = self.put(value);
        self.spans.push(Span { name, value });
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Labels in the order in which they stood, or by name after [`LabelBuf::sort`].
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.spans.iter().map(|s| (self.take(s.name), self.take(s.value)))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// Sorts by name; labels of equal name keep their order.
    pub fn sort(&mut self) {
        let mut spans = std::mem::take(&mut self.spans);
        spans.sort_by(|a, b| self.take(a.name).cmp(self.take(b.name)));
        self.spans = spans;
    }

    /// A name that occurs twice. Only after [`LabelBuf::sort`].
    pub fn duplicate(&self) -> Option<&str> {
        let twice = self.spans.windows(2).find(|pair| match pair {
            [a, b] => self.take(a.name) == self.take(b.name),
            _ => false,
        })?;
        twice.first().map(|s| self.take(s.name))
    }
}

/// What the lines before a sample say of its family.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Family<'a> {
    pub(super) kind: MetricType,
    pub(super) unit: &'a str,
    /// Adds `__type__` and `__unit__` (feature `type-and-unit-labels`).
    pub(super) type_and_unit: bool,
}

impl Family<'_> {
    fn shown_type(&self) -> &'static str {
        if self.type_and_unit && self.kind != MetricType::Unknown { self.kind.as_str() } else { "" }
    }

    fn shown_unit(&self) -> &str {
        if self.type_and_unit { self.unit } else { "" }
    }

    pub(super) fn push_name(&self, name: &str, out: &mut LabelBuf) {
        out.push(model::METRIC_NAME, name);
        if !self.shown_type().is_empty() {
            out.push("__type__", self.shown_type());
        }
        if !self.shown_unit().is_empty() {
            out.push("__unit__", self.shown_unit());
        }
    }

    pub(super) fn push_label(&self, name: &str, value: &str, out: &mut LabelBuf) {
        let given = (name == "__type__" && !self.shown_type().is_empty())
            || (name == "__unit__" && !self.shown_unit().is_empty())
            || (name == model::METRIC_NAME && self.type_and_unit);
        if given {
            return;
        }
        let bound = (self.kind == MetricType::Summary && name == "quantile")
            || (self.kind == MetricType::Histogram && name == "le");
        match bound.then(|| normalise_bound(value)).flatten() {
            Some(normal) => out.push(name, &normal),
            None => out.push(name, value),
        }
    }
}

/// The text is not what the format asks for; the strict lexer finds the words for it.
#[derive(Debug)]
pub(super) struct Malformed;

/// Resolves `\"`, `\\` and `\n`; other escapes stay as they are.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.clone().next() {
            Some('n') => out.push('\n'),
            Some(c @ ('"' | '\\')) => out.push(c),
            _ => {
                out.push('\\');
                continue;
            }
        }
        chars.next();
    }
    Cow::Owned(out)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    dialect: Dialect,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.dialect == Dialect::Prometheus && matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn run(&mut self, keep: impl Fn(u8) -> bool) -> &'a str {
        let from = self.at;
        while self.peek().is_some_and(&keep) {
            self.at += 1;
        }
        self.text.get(from..self.at).unwrap_or("")
    }

    /// A quoted text without its quotes, escapes unresolved.
    fn quoted(&mut self, newline: bool, zero: bool) -> Result<&'a str, Malformed> {
        self.at += 1;
        let from = self.at;
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                None => return Err(Malformed),
                Some(b'"') => break,
                Some(b'\\') => match bytes.get(self.at + 1) {
                    None | Some(b'\n') => return Err(Malformed),
                    Some(_) => self.at += 2,
                },
                Some(b'\n') if !newline => return Err(Malformed),
                Some(0) if !zero => return Err(Malformed),
                Some(_) => self.at += 1,
            }
        }
        let inner = self.text.get(from..self.at).ok_or(Malformed)?;
        self.at += 1;
        Ok(inner)
    }
}

/// Decodes the labels of a series: name, braces and all. `__name__` comes first.
pub(super) fn decode_series(
    raw: &[u8],
    dialect: Dialect,
    family: &Family<'_>,
    out: &mut LabelBuf,
) -> Result<(), Malformed> {
    out.clear();
    let text = std::str::from_utf8(raw).map_err(|_| Malformed)?;
    let mut reader = Reader { text, at: 0, dialect };
    reader.skip_blanks();
    let name = reader.run(is_name);
    let mut named = !name.is_empty();
    if named {
        family.push_name(name, out);
        reader.skip_blanks();
        if reader.peek().is_none() {
            return Ok(());
        }
    } else {
        // The name stands inside the braces; it has to come first all the same.
        let name = quoted_name(&reader)?;
        family.push_name(&unescape(name), out);
    }
    if reader.peek() != Some(b'{') {
        return Err(Malformed);
    }
    reader.at += 1;
    braces(&mut reader, |name, value| match value {
        Some(value) => {
            family.push_label(&unescape(name), &unescape(value), out);
            Ok(())
        }
        None if named => Err(Malformed),
        None => {
            named = true;
            Ok(())
        }
    })?;
    if reader.peek().is_none() && named { Ok(()) } else { Err(Malformed) }
}

/// Looks ahead for the quoted name inside the braces.
fn quoted_name<'a>(reader: &Reader<'a>) -> Result<&'a str, Malformed> {
    let mut ahead = Reader { text: reader.text, at: reader.at, dialect: reader.dialect };
    if ahead.peek() != Some(b'{') {
        return Err(Malformed);
    }
    ahead.at += 1;
    let mut found = None;
    braces(&mut ahead, |name, value| {
        if value.is_none() && found.is_none() {
            found = Some(name);
        }
        Ok(())
    })?;
    found.ok_or(Malformed)
}

/// Decodes the labels of an exemplar, `{…}`.
pub(super) fn decode_exemplar(raw: &[u8], out: &mut LabelBuf) -> Result<(), Malformed> {
    out.clear();
    let text = std::str::from_utf8(raw).map_err(|_| Malformed)?;
    let mut reader = Reader { text, at: 1, dialect: Dialect::OpenMetrics };
    braces(&mut reader, |name, value| {
        out.push(&unescape(name), &unescape(value.ok_or(Malformed)?));
        Ok(())
    })
}

/// Reads what stands between braces, up to and with the closing one. `item` gets a label, or a quoted name
/// without a value.
fn braces<'a>(
    reader: &mut Reader<'a>,
    mut item: impl FnMut(&'a str, Option<&'a str>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    loop {
        reader.skip_blanks();
        let (name, quoted) = match reader.peek() {
            Some(b'}') => {
                reader.at += 1;
                return Ok(());
            }
            Some(b'"') => (reader.quoted(true, false)?, true),
            Some(c) if is_label_start(c) => (reader.run(is_label), false),
            _ => return Err(Malformed),
        };
        reader.skip_blanks();
        match reader.peek() {
            Some(b',') if quoted => {
                reader.at += 1;
                item(name, None)?;
                continue;
            }
            Some(b'}') if quoted => {
                item(name, None)?;
                continue;
            }
            Some(b'=') => reader.at += 1,
            _ => return Err(Malformed),
        }
        reader.skip_blanks();
        if reader.peek() != Some(b'"') {
            return Err(Malformed);
        }
        let value = reader.quoted(reader.dialect == Dialect::Prometheus, true)?;
        item(name, Some(value))?;
        reader.skip_blanks();
        match (reader.peek(), reader.dialect) {
            (Some(b','), _) => reader.at += 1,
            (Some(b'}'), _) | (_, Dialect::Prometheus) => {}
            _ => return Err(Malformed),
        }
    }
}
