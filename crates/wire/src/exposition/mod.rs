//! Exposition formats: what targets answer to a scrape, and what `/metrics` and federation answer themselves.
//!
//! Room: `wire`. Slices in, entries or bytes out. [`Parser`] is a pull parser: it gives one entry after the
//! other and decodes labels only when asked, so that a reader who knows the raw text of a metric pays for
//! nothing but finding its end.

mod created;
pub mod encode;
mod labels;
mod lex;
pub mod negotiate;
mod number;
mod protobuf;
mod text;

pub use labels::LabelBuf;
pub use number::format_openmetrics;
pub use protobuf::ProtoParser;
pub use text::TextParser;

use model::{FloatHistogram, MetricType};
use negotiate::Media;
use std::borrow::Cow;

/// Why a body cannot be read; upstream's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParserOptions {
    /// Feature `type-and-unit-labels`: series get `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
    /// Read the native parts of histograms (protobuf only).
    pub native_histograms: bool,
    /// Give the classic series of a histogram that has native parts, too (protobuf only).
    pub keep_classic: bool,
    /// Read start timestamps; in OpenMetrics text, `_created` lines are no series then.
    pub start_timestamps: bool,
}

/// One entry of an exposition.
#[derive(Debug)]
pub enum Entry<'a> {
    Series(Series<'a>),
    /// Boxed, because it is large and rare.
    Histogram(Box<Histogram<'a>>),
    Type {
        family: Cow<'a, str>,
        kind: MetricType,
    },
    Help {
        family: Cow<'a, str>,
        help: Cow<'a, str>,
    },
    Unit {
        family: Cow<'a, str>,
        unit: &'a str,
    },
    Comment(&'a [u8]),
}

/// A float sample.
#[derive(Debug)]
pub struct Series<'a> {
    /// The metric as it stood, with its labels; equal texts in one body are equal series.
    pub raw: &'a [u8],
    pub value: f64,
    /// Milliseconds, where the target gave a time.
    pub t: Option<i64>,
    /// Start timestamp in milliseconds; 0 where the target gave none.
    pub start: i64,
    pub exemplar: Option<Exemplar<'a>>,
    source: Source<'a>,
}

impl Series<'_> {
    /// Decodes name and labels, unsorted, `__name__` first. Bounds (`le`, `quantile`) come in normal form.
    pub fn labels(&self, out: &mut LabelBuf) -> Result<(), ParseError> {
        self.source.labels(self.raw, out)
    }
}

/// A native histogram sample.
#[derive(Debug)]
pub struct Histogram<'a> {
    pub raw: &'a [u8],
    pub histogram: FloatHistogram,
    pub t: Option<i64>,
    /// As [`Series::start`].
    pub start: i64,
    pub exemplars: Vec<Exemplar<'a>>,
    source: Source<'a>,
}

impl Histogram<'_> {
    /// As [`Series::labels`].
    pub fn labels(&self, out: &mut LabelBuf) -> Result<(), ParseError> {
        self.source.labels(self.raw, out)
    }
}

/// An exemplar of a sample.
#[derive(Clone, Debug)]
pub struct Exemplar<'a> {
    labels: ExemplarLabels<'a>,
    pub value: f64,
    pub t: Option<i64>,
}

impl Exemplar<'_> {
    /// Decodes its labels, unsorted.
    pub fn labels(&self, out: &mut LabelBuf) -> Result<(), ParseError> {
        match &self.labels {
            ExemplarLabels::Raw(raw) => text::exemplar_labels(raw, out),
            ExemplarLabels::Message(message) => protobuf::exemplar_labels(message, out),
        }
    }
}

#[derive(Clone, Debug)]
enum ExemplarLabels<'a> {
    /// `{…}` in text form.
    Raw(&'a [u8]),
    /// The protobuf message.
    Message(&'a [u8]),
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Text(text::TextSource<'a>),
    Proto(protobuf::ProtoSource<'a>),
}

impl Source<'_> {
    fn labels(&self, raw: &[u8], out: &mut LabelBuf) -> Result<(), ParseError> {
        match self {
            Source::Text(source) => source.labels(raw, out),
            Source::Proto(source) => {
                source.labels(out);
                Ok(())
            }
        }
    }
}

/// A parser of any format.
#[derive(Debug)]
pub enum Parser<'a> {
    Text(TextParser<'a>),
    Protobuf(Box<ProtoParser<'a>>),
}

impl<'a> Parser<'a> {
    pub fn new(media: Media, body: &'a [u8], options: ParserOptions) -> Self {
        match media {
            Media::Text => Parser::Text(TextParser::prometheus(body, options)),
            Media::OpenMetrics => Parser::Text(TextParser::openmetrics(body, options)),
            Media::Protobuf => Parser::Protobuf(Box::new(ProtoParser::new(body, options))),
        }
    }

    /// The next entry; `None` at the end. After an error only `drop` makes sense.
    #[inline]
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, ParseError> {
        match self {
            Parser::Text(parser) => parser.next_entry(),
            Parser::Protobuf(parser) => parser.next_entry(),
        }
    }
}

#[cfg(test)]
mod tests;
