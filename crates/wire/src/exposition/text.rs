//! The text formats: Prometheus 0.0.4 and 1.0.0, OpenMetrics 0.0.1 and 1.0.0.
//!
//! A well-formed sample line is split by a scan that knows only where the metric text ends, where the value
//! and the timestamp stand; what stands between its braces is read when somebody asks for the labels. Unusual
//! lines (exemplars, odd blanks) and wrong ones go through the strict lexer, whose reading and texts are
//! upstream's (`model/textparse`).

use super::created::Next;
use super::labels::{Family, LabelBuf, decode_exemplar, decode_series, unescape};
use super::lex::{Dialect, Lexer, Token, is_name, is_name_start, quote_bytes};
use super::number::{parse_value, seconds_to_ms};
use super::{Entry, Exemplar, ParseError, ParserOptions, Series, Source};
use model::MetricType;
use model::labels::quote;
use std::borrow::Cow;

/// Pull parser over a body.
#[derive(Debug)]
pub struct TextParser<'a> {
    body: &'a [u8],
    at: usize,
    dialect: Dialect,
    family: Family<'a>,
    done: bool,
    starts: bool,
    next_created: Option<Next>,
}

impl<'a> TextParser<'a> {
    pub fn prometheus(body: &'a [u8], options: ParserOptions) -> Self {
        Self::new(body, Dialect::Prometheus, options)
    }

    pub fn openmetrics(body: &'a [u8], options: ParserOptions) -> Self {
        Self::new(body, Dialect::OpenMetrics, options)
    }

    fn new(body: &'a [u8], dialect: Dialect, options: ParserOptions) -> Self {
        let family = Family { type_and_unit: options.type_and_unit_labels, ..Family::default() };
        let starts = options.start_timestamps && dialect == Dialect::OpenMetrics;
        TextParser { body, at: 0, dialect, family, done: false, starts, next_created: None }
    }

    /// Kind of the family that is being read.
    pub(super) fn kind(&self) -> MetricType {
        self.family.kind
    }

    /// How far it has read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn next_created(&mut self) -> &mut Option<Next> {
        &mut self.next_created
    }

    /// Another one at the same place.
    pub(super) fn fork(&self) -> Self {
        TextParser { next_created: None, ..*self }
    }

    /// The next entry; `None` at the end. After an error only `drop` makes sense.
    #[inline]
    pub fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        if self.starts { self.next_with_start() } else { self.plain_entry() }
    }

    #[inline]
    pub(super) fn plain_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        if !self.done
            && let Some(series) = self.fast_line()
        {
            return Ok(Some(Entry::Series(series)));
        }
        self.strict_entry()
    }

    /// A sample line in its usual form; `None` leaves everything as it was.
    #[inline]
    fn fast_line(&mut self) -> Option<Series<'a>> {
        let body = self.body;
        let start = self.at;
        let mut at = start;
        let first = *body.get(at)?;
        if is_name_start(first) {
            at += 1;
            while NAME[usize::from(*body.get(at)?)] {
                at += 1;
            }
            if *body.get(at)? == b'{' {
                at = end_of_braces(body, at + 1)?;
            }
        } else if first == b'{' {
            at = end_of_braces(body, at + 1)?;
        } else {
            return None;
        }
        let raw = body.get(start..at)?;
        if *body.get(at)? != b' ' {
            return None;
        }
        at += 1;
        let value_at = at;
        while !matches!(*body.get(at)?, b' ' | b'\n' | b'{' | b'\t') {
            at += 1;
        }
        let value = parse_value(body.get(value_at..at)?).ok()?;
        let mut t = None;
        if *body.get(at)? == b' ' {
            at += 1;
            let time_at = at;
            while !matches!(*body.get(at)?, b' ' | b'\n' | b'\t') {
                at += 1;
            }
            t = Some(self.timestamp(body.get(time_at..at)?)?);
        }
        if *body.get(at)? != b'\n' {
            return None;
        }
        self.at = at + 1;
        Some(self.series(raw, value, t, None, start))
    }

    fn timestamp(&self, bytes: &[u8]) -> Option<i64> {
        match self.dialect {
            Dialect::Prometheus => {
                if !bytes.iter().all(u8::is_ascii_digit) {
                    return None;
                }
                std::str::from_utf8(bytes).ok()?.parse().ok()
            }
            Dialect::OpenMetrics => seconds_to_ms(bytes, "").ok(),
        }
    }

    fn series(
        &self,
        raw: &'a [u8],
        value: f64,
        t: Option<i64>,
        exemplar: Option<Exemplar<'a>>,
        line: usize,
    ) -> Series<'a> {
        let source =
            Source::Text(TextSource { body: self.body, line, dialect: self.dialect, family: self.family });
        Series { raw, value, t, start: 0, exemplar, source }
    }

    #[cold]
    #[inline(never)]
    fn strict_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        if self.done {
            return Ok(None);
        }
        let mut lexer = Lexer::new(self.body, self.dialect, self.at);
        let entry = match self.dialect {
            Dialect::Prometheus => self.prometheus_entry(&mut lexer),
            Dialect::OpenMetrics => self.openmetrics_entry(&mut lexer),
        };
        self.at = lexer.at;
        let entry = entry.map_err(ParseError);
        self.done = !matches!(entry, Ok(Some(_)));
        entry
    }

    fn prometheus_entry(&mut self, lexer: &mut Lexer<'a>) -> Result<Option<Entry<'a>>, String> {
        loop {
            let line = lexer.at;
            if line >= self.body.len() {
                return Ok(None);
            }
            match lexer.next() {
                Token::Eof => return Ok(None),
                Token::Linebreak => continue,
                token @ (Token::Help | Token::Type) => {
                    let (name, text) = self.metadata(lexer, token, line)?;
                    let entry = match token {
                        Token::Type => Entry::Type { family: name, kind: self.set_type(text)? },
                        _ => Entry::Help { family: name, help: self.help(text)? },
                    };
                    let after = lexer.next();
                    if after != Token::Linebreak {
                        return Err(lexer.unexpected("linebreak expected after metadata", after, line));
                    }
                    return Ok(Some(entry));
                }
                Token::Comment => {
                    let text = lexer.token();
                    let after = lexer.next();
                    if after != Token::Linebreak {
                        return Err(lexer.unexpected("linebreak expected after comment", after, line));
                    }
                    return Ok(Some(Entry::Comment(text)));
                }
                token @ (Token::BraceOpen | Token::MetricName) => {
                    return self.strict_series(lexer, token, line).map(|s| Some(Entry::Series(s)));
                }
                token => return Err(lexer.unexpected("expected a valid start token", token, line)),
            }
        }
    }

    fn openmetrics_entry(&mut self, lexer: &mut Lexer<'a>) -> Result<Option<Entry<'a>>, String> {
        let line = lexer.at;
        match lexer.next() {
            Token::EofWord => {
                if lexer.next() != Token::Eof {
                    return Err("unexpected data after # EOF".into());
                }
                Ok(None)
            }
            Token::Eof => Err(NO_EOF.into()),
            token @ (Token::Help | Token::Type | Token::Unit) => {
                let (name, text) = self.metadata(lexer, token, line)?;
                Ok(Some(match token {
                    Token::Type => Entry::Type { family: name, kind: self.set_type(text)? },
                    Token::Unit => {
                        let unit = std::str::from_utf8(text)
                            .map_err(|_| format!("unit {} is not a valid utf8 string", quote_bytes(text)))?;
                        check_unit(&name, unit)?;
                        self.family.unit = unit;
                        Entry::Unit { family: name, unit }
                    }
                    _ => Entry::Help { family: name, help: self.help(text)? },
                }))
            }
            token @ (Token::BraceOpen | Token::MetricName) => {
                self.strict_series(lexer, token, line).map(|s| Some(Entry::Series(s)))
            }
            token => Err(lexer.unexpected("expected a valid start token", token, line)),
        }
    }

    /// Family name and text of a `HELP`, `TYPE` or `UNIT` line.
    fn metadata(
        &self,
        lexer: &mut Lexer<'a>,
        keyword: Token,
        line: usize,
    ) -> Result<(Cow<'a, str>, &'a [u8]), String> {
        let token = lexer.next();
        if token != Token::MetricName {
            let expected = format!("expected metric name after {}", keyword.as_str());
            return Err(lexer.unexpected(&expected, token, line));
        }
        let mut name = lexer.token();
        if let [b'"', inner @ .., b'"'] = name {
            name = inner;
        }
        let name = std::str::from_utf8(name)
            .map_err(|_| format!("metric name {} is not a valid utf8 string", quote_bytes(name)))?;
        let token = lexer.next();
        if token != Token::Text {
            return Err(match self.dialect {
                Dialect::Prometheus => {
                    format!("expected text in {}, got {}", keyword.as_str(), token.as_str())
                }
                Dialect::OpenMetrics => format!("expected text in {}", keyword.as_str()),
            });
        }
        let mut text = lexer.token().get(1..).unwrap_or_default();
        if self.dialect == Dialect::OpenMetrics {
            text = text.strip_suffix(b"\n").unwrap_or(text);
        }
        Ok((unescape(name), text))
    }

    fn help(&self, text: &'a [u8]) -> Result<Cow<'a, str>, String> {
        let text = std::str::from_utf8(text)
            .map_err(|_| format!("help text {} is not a valid utf8 string", quote_bytes(text)))?;
        Ok(match self.dialect {
            Dialect::OpenMetrics => unescape(text),
            // Quotes are not escaped in the older format.
            Dialect::Prometheus if text.contains("\\\"") => {
                Cow::Owned(unescape(&text.replace("\\\"", "\\\\\"")).into_owned())
            }
            Dialect::Prometheus => unescape(text),
        })
    }

    fn set_type(&mut self, text: &[u8]) -> Result<MetricType, String> {
        let kind = match (text, self.dialect) {
            (b"counter", _) => MetricType::Counter,
            (b"gauge", _) => MetricType::Gauge,
            (b"histogram", _) => MetricType::Histogram,
            (b"summary", _) => MetricType::Summary,
            (b"untyped", Dialect::Prometheus) | (b"unknown", Dialect::OpenMetrics) => MetricType::Unknown,
            (b"gaugehistogram", Dialect::OpenMetrics) => MetricType::GaugeHistogram,
            (b"info", Dialect::OpenMetrics) => MetricType::Info,
            (b"stateset", Dialect::OpenMetrics) => MetricType::StateSet,
            _ => return Err(format!("invalid metric type {}", quote_bytes(text))),
        };
        self.family.kind = kind;
        Ok(kind)
    }

    fn strict_series(&self, lexer: &mut Lexer<'a>, first: Token, line: usize) -> Result<Series<'a>, String> {
        let start = lexer.start;
        let mut named = first == Token::MetricName;
        let mut token = first;
        let mut end = lexer.at;
        if named {
            token = lexer.next();
        }
        if token == Token::BraceOpen {
            self.strict_labels(lexer, &mut named, false, line)?;
            end = lexer.at;
            token = lexer.next();
        }
        let raw = lexer.slice(start, end);
        if !named {
            return Err(lexer.while_parsing("metric name not set", line));
        }
        let value = self.strict_value(lexer, token, "metric", line)?;
        let (mut t, mut exemplar) = (None, None);
        let mut token = lexer.next();
        if token == Token::Timestamp {
            let bytes = lexer.token();
            t = Some(match self.dialect {
                Dialect::Prometheus => integer(bytes).map_err(|e| lexer.while_parsing(&e, line))?,
                Dialect::OpenMetrics => {
                    let bytes = bytes.get(1..).unwrap_or_default();
                    seconds(bytes, "timestamp").map_err(|(e, at)| at.word(lexer, e, line))?
                }
            });
            token = lexer.next();
            if !matches!(token, Token::Linebreak | Token::Comment) {
                return Err(lexer.unexpected("expected next entry after timestamp", token, line));
            }
        }
        match (token, self.dialect) {
            (Token::Linebreak, _) => {}
            (Token::Comment, Dialect::OpenMetrics) => {
                exemplar = Some(self.strict_exemplar(lexer, line)?);
            }
            (Token::Eof, Dialect::OpenMetrics) => return Err(NO_EOF.into()),
            (token, Dialect::Prometheus) => {
                return Err(lexer.unexpected("expected timestamp or new record", token, line));
            }
            (token, Dialect::OpenMetrics) => {
                return Err(lexer.unexpected("expected a valid start token", token, lexer.start));
            }
        }
        Ok(self.series(raw, value, t, exemplar, line))
    }

    fn strict_value(&self, lexer: &Lexer<'a>, token: Token, after: &str, line: usize) -> Result<f64, String> {
        if token != Token::Value {
            return Err(lexer.unexpected(&format!("expected value after {after}"), token, line));
        }
        let bytes = match self.dialect {
            Dialect::Prometheus => lexer.token(),
            Dialect::OpenMetrics => lexer.token().get(1..).unwrap_or_default(),
        };
        parse_value(bytes).map_err(|e| lexer.while_parsing(&e, line))
    }

    /// Checks labels after the opening brace, up to the closing one.
    fn strict_labels(
        &self,
        lexer: &mut Lexer<'a>,
        named: &mut bool,
        exemplar: bool,
        line: usize,
    ) -> Result<(), String> {
        let mut token = lexer.next();
        loop {
            let quoted = match token {
                Token::BraceClose => return Ok(()),
                Token::LabelName => false,
                Token::Quoted => true,
                _ => return Err(lexer.unexpected("expected label name", token, line)),
            };
            token = lexer.next();
            if quoted && matches!(token, Token::Comma | Token::BraceClose) {
                if exemplar {
                    return Err(lexer.unexpected("expected label name", token, line));
                }
                if *named {
                    return Err(lexer.while_parsing("metric name already set", line));
                }
                *named = true;
                if token == Token::BraceClose {
                    return Ok(());
                }
                token = lexer.next();
                continue;
            }
            if token != Token::Equal {
                return Err(lexer.unexpected("expected equal", token, line));
            }
            token = lexer.next();
            if token != Token::LabelValue {
                return Err(lexer.unexpected("expected label value", token, line));
            }
            if std::str::from_utf8(lexer.token()).is_err() {
                return Err(format!("invalid UTF-8 label value: {}", quote_bytes(lexer.token())));
            }
            token = lexer.next();
            if token == Token::Comma {
                token = lexer.next();
            } else if self.dialect == Dialect::OpenMetrics && token != Token::BraceClose {
                return Err(lexer.unexpected("expected comma or brace close", token, line));
            }
        }
    }

    /// An exemplar; the lexer stands after ` # {`.
    fn strict_exemplar(&self, lexer: &mut Lexer<'a>, line: usize) -> Result<Exemplar<'a>, String> {
        let open = lexer.at - 1;
        self.strict_labels(lexer, &mut true, true, line)?;
        let labels = lexer.slice(open, lexer.at);
        let token = lexer.next();
        let value = self.strict_value(lexer, token, "exemplar labels", line)?;
        let mut t = None;
        match lexer.next() {
            Token::Eof => return Err(NO_EOF.into()),
            Token::Linebreak => {}
            Token::Timestamp => {
                let bytes = lexer.token().get(1..).unwrap_or_default();
                t = Some(seconds(bytes, "exemplar timestamp").map_err(|(e, at)| at.word(lexer, e, line))?);
                let token = lexer.next();
                if token != Token::Linebreak {
                    return Err(lexer.unexpected(
                        "expected next entry after exemplar timestamp",
                        token,
                        line,
                    ));
                }
            }
            token => return Err(lexer.unexpected("expected timestamp or comment", token, line)),
        }
        Ok(Exemplar { labels: super::ExemplarLabels::Raw(labels), value, t })
    }
}

const NO_EOF: &str = "data does not end with # EOF";

static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = is_name(b as u8);
        b += 1;
    }
    table
};

/// Position after the brace that closes; quoted texts may hold braces.
#[inline]
fn end_of_braces(body: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *body.get(at)? {
            b'}' => return Some(at + 1),
            b'\n' => return None,
            b'"' => {
                at += 1;
                loop {
                    match *body.get(at)? {
                        b'"' => break,
                        b'\\' => at += 2,
                        _ => at += 1,
                    }
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
}

fn integer(bytes: &[u8]) -> Result<i64, String> {
    let text = std::str::from_utf8(bytes).unwrap_or("");
    text.parse().map_err(|_| format!("strconv.ParseInt: parsing {}: value out of range", quote(text)))
}

/// Whether the text of an error names the place.
enum Place {
    Named,
    Unnamed,
}

impl Place {
    fn word(&self, lexer: &Lexer<'_>, error: String, line: usize) -> String {
        match self {
            Place::Named => lexer.while_parsing(&error, line),
            Place::Unnamed => error,
        }
    }
}

fn seconds(bytes: &[u8], what: &str) -> Result<i64, (String, Place)> {
    parse_value(bytes).map_err(|e| (e, Place::Named))?;
    seconds_to_ms(bytes, what).map_err(|e| (e, Place::Unnamed))
}

fn check_unit(family: &str, unit: &str) -> Result<(), String> {
    let fits = unit.is_empty() || family.strip_suffix(unit).is_some_and(|before| before.ends_with('_'));
    if fits { Ok(()) } else { Err(format!("unit {} not a suffix of metric {}", quote(unit), quote(family))) }
}

/// Where a series stood, for decoding its labels later.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextSource<'a> {
    body: &'a [u8],
    line: usize,
    dialect: Dialect,
    family: Family<'a>,
}

impl TextSource<'_> {
    pub(super) fn labels(&self, raw: &[u8], out: &mut LabelBuf) -> Result<(), ParseError> {
        decode_series(raw, self.dialect, &self.family, out).map_err(|_| ParseError(self.diagnose(raw)))
    }

    /// Reads the line once more with the strict lexer, for the words.
    #[cold]
    fn diagnose(&self, raw: &[u8]) -> String {
        let parser = TextParser {
            body: self.body,
            at: self.line,
            dialect: self.dialect,
            family: self.family,
            done: false,
            starts: false,
            next_created: None,
        };
        let mut lexer = Lexer::new(self.body, self.dialect, self.line);
        let token = lexer.next();
        match parser.strict_series(&mut lexer, token, self.line) {
            Err(text) => text,
            Ok(_) => format!("invalid metric name or label names: {}", quote_bytes(raw)),
        }
    }
}

/// Decodes the labels of an exemplar.
pub(super) fn exemplar_labels(raw: &[u8], out: &mut LabelBuf) -> Result<(), ParseError> {
    decode_exemplar(raw, out)
        .map_err(|_| ParseError(format!("invalid exemplar labels: {}", quote_bytes(raw))))
}
