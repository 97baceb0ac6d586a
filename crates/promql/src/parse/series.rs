//! Series descriptions: `name{l="v"} 1+2x3 _ stale {{schema:0 sum:1}}x2`.

use super::{Parser, Step, Stop};
use crate::ast::BinaryOp;
use crate::lex::Lexer;
use crate::series_text::{MAX_VALUES, SeriesText, SeriesValue, combine};
use crate::token::{HistKey, Kind, ResetHint, Token};
use crate::{Options, ParseError};
use model::FloatHistogram;
use model::histogram::{CounterResetHint, Span as Buckets};
use model::labels::quote;

/// Values of the keys of a histogram description.
#[derive(Default)]
struct Description {
    given: Vec<HistKey>,
    histogram: FloatHistogram,
    offset: i32,
    negative_offset: i32,
}

struct Described {
    histogram: FloatHistogram,
    hint_set: bool,
}

/// Parses one line of a test file: a metric and its values.
pub fn parse_series(text: &str) -> Result<SeriesText, ParseError> {
    let mut parser = Parser::new(Lexer::series(text), Options::default());
    let series = parser.whole(|p| {
        let labels = p.metric()?;
        let mut values = Vec::new();
        p.recovering_with("series values", "", |p| {
            while !matches!(p.peek(), Kind::Space | Kind::Eof | Kind::End) {
                p.reject()?;
            }
            Ok(())
        })?;
        while p.recovering_with("series values", "", |p| p.series_values(&mut values))?.is_none() {}
        Ok(SeriesText { labels, values })
    });
    parser.finish(series)
}

impl Parser<'_> {
    fn series_values(&mut self, values: &mut Vec<SeriesValue>) -> Step<()> {
        while self.peek() == Kind::Space {
            self.shift();
            match self.peek() {
                Kind::Blank => {
                    self.shift();
                    let times = self.times()?;
                    self.repeat(values, times.unwrap_or(1), |_| Ok(SeriesValue::Omitted))?;
                }
                Kind::Identifier
                | Kind::Number
                | Kind::Duration
                | Kind::Op(BinaryOp::Add | BinaryOp::Sub) => {
                    self.floats(values)?;
                }
                Kind::OpenHist => self.histograms(values)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn repeat(
        &mut self,
        values: &mut Vec<SeriesValue>,
        count: u64,
        mut value: impl FnMut(u64) -> Result<SeriesValue, String>,
    ) -> Step<()> {
        if count.saturating_add(values.len() as u64) > MAX_VALUES as u64 {
            self.complain(self.last.span, format!("series has more than {MAX_VALUES} values"));
            return Err(Stop::Abort);
        }
        for at in 0..count {
            match value(at) {
                Ok(value) => values.push(value),
                Err(message) => {
                    self.complain(self.last.span, message);
                    break;
                }
            }
        }
        Ok(())
    }

    /// `x5`, if it is next.
    fn times(&mut self) -> Step<Option<u64>> {
        if self.peek() != Kind::Times {
            return Ok(None);
        }
        self.shift();
        self.uint().map(Some)
    }

    fn uint(&mut self) -> Step<u64> {
        let token = self.expect(Kind::Number)?;
        let text = self.text(token);
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let value = text.parse::<u64>().ok().filter(|_| digits);
        if value.is_none() {
            let what = if digits { "value out of range" } else { "invalid syntax" };
            self.complain(
                token.span,
                format!(
                    "invalid repetition in series values: strconv.ParseUint: parsing {}: {what}",
                    quote(text)
                ),
            );
        }
        Ok(value.unwrap_or(0))
    }

    fn int(&mut self) -> Step<i64> {
        loop {
            match self.peek() {
                Kind::Number => return Ok(self.uint()? as i64),
                Kind::Op(BinaryOp::Sub) => {
                    self.shift();
                    return Ok((self.uint()? as i64).wrapping_neg());
                }
                _ => self.reject()?,
            }
        }
    }

    /// `1`, `stale`, `1x3`, `1+2x3`
    fn floats(&mut self, values: &mut Vec<SeriesValue>) -> Step<()> {
        let mut value = if self.peek() == Kind::Identifier {
            let word = self.shift();
            if self.text(word) != "stale" {
                self.unexpected("series values", "number or \"stale\"");
            }
            model::stale_nan()
        } else {
            self.signed_number()?
        };
        let mut step = None;
        if let Kind::Op(BinaryOp::Add | BinaryOp::Sub) = self.peek() {
            step = Some(self.signed_number()?);
        }
        let times = match step {
            None => self.times()?,
            Some(_) => {
                self.expect(Kind::Times)?;
                Some(self.uint()?)
            }
        };
        // One more than asked for: the first stands at time 0.
        self.repeat(values, times.map_or(1, |n| n.saturating_add(1)), |at| {
            if at > 0 {
                value += step.unwrap_or(0.0);
            }
            Ok(SeriesValue::Float(value))
        })
    }

    fn histograms(&mut self, values: &mut Vec<SeriesValue>) -> Step<()> {
        let base = self.described_histogram()?;
        let joint = match self.peek() {
            Kind::Op(op @ (BinaryOp::Add | BinaryOp::Sub)) => op,
            _ => {
                let times = self.times()?;
                let value =
                    SeriesValue::Histogram { histogram: Box::new(base.histogram), hint_set: base.hint_set };
                return self.repeat(values, times.map_or(1, |n| n.saturating_add(1)), |_| Ok(value.clone()));
            }
        };
        self.shift();
        while self.peek() != Kind::OpenHist {
            self.reject()?;
        }
        let step = self.described_histogram()?;
        self.expect(Kind::Times)?;
        let times = self.uint()?;
        let mut current = base.histogram;
        self.repeat(values, times.saturating_add(1), |at| {
            if at > 0 {
                current = combine(&current, &step.histogram, joint == BinaryOp::Sub)?;
            }
            Ok(SeriesValue::Histogram { histogram: Box::new(current.clone()), hint_set: step.hint_set })
        })
    }

    fn described_histogram(&mut self) -> Step<Described> {
        self.shift();
        let mut description = Description::default();
        loop {
            match self.peek() {
                kind @ (Kind::Space | Kind::CloseHist) => {
                    self.shift();
                    if kind == Kind::Space {
                        self.expect(Kind::CloseHist)?;
                    }
                    return Ok(build_histogram(description));
                }
                Kind::Hist(_) => break self.described(&mut description)?,
                _ => self.reject()?,
            }
        }
        loop {
            let separator = self.recovering_with(DESCRIPTION, DESCRIPTION_KEY, |p| {
                loop {
                    match p.peek() {
                        Kind::Space | Kind::CloseHist => break Ok(p.shift().kind),
                        _ => p.reject()?,
                    }
                }
            })?;
            let closed = match separator {
                None => continue,
                Some(Kind::CloseHist) => Some(true),
                Some(_) => self
                    .recovering_with(DESCRIPTION, DESCRIPTION_KEY, |p| p.next_described(&mut description))?,
            };
            if closed == Some(true) {
                return Ok(build_histogram(description));
            }
        }
    }

    /// Behind a space: another value, or the end (true).
    fn next_described(&mut self, description: &mut Description) -> Step<bool> {
        loop {
            match self.peek() {
                Kind::CloseHist => {
                    self.shift();
                    return Ok(true);
                }
                Kind::Hist(_) => {
                    self.described(description)?;
                    return Ok(false);
                }
                _ => self.reject()?,
            }
        }
    }

    /// `sum:3`
    fn described(&mut self, d: &mut Description) -> Step<()> {
        let Token { kind: Kind::Hist(key), .. } = self.shift() else { return Err(Stop::Unwind) };
        self.expect(Kind::Colon)?;
        let twice = d.given.contains(&key);
        // A second value is read and dropped.
        let mut spare = FloatHistogram::default();
        let h = if twice { &mut spare } else { &mut d.histogram };
        match key {
            HistKey::Sum => h.sum = self.signed_number()?,
            HistKey::Count => h.count = self.signed_number()?,
            HistKey::ZeroBucket => h.zero_count = self.signed_number()?,
            HistKey::ZeroBucketWidth => {
                while !matches!(self.peek(), Kind::Number | Kind::Duration) {
                    self.reject()?;
                }
                h.zero_threshold = self.number_literal().value;
            }
            HistKey::Schema => h.schema = self.int()? as i32,
            HistKey::Buckets => h.positive_buckets = self.bucket_values()?,
            HistKey::NegativeBuckets => h.negative_buckets = self.bucket_values()?,
            HistKey::CustomValues => h.custom_values = self.bucket_values()?,
            HistKey::Offset | HistKey::NegativeOffset => {
                let offset = self.int()? as i32;
                if !twice {
                    *(if key == HistKey::Offset { &mut d.offset } else { &mut d.negative_offset }) = offset;
                }
            }
            HistKey::CounterResetHint => {
                let hint = loop {
                    match self.peek() {
                        Kind::Hint(hint) => break hint,
                        _ => self.reject()?,
                    }
                };
                self.shift();
                h.counter_reset_hint = match hint {
                    ResetHint::Unknown => CounterResetHint::Unknown,
                    ResetHint::Reset => CounterResetHint::CounterReset,
                    ResetHint::NotReset => CounterResetHint::NotCounterReset,
                    ResetHint::Gauge => CounterResetHint::Gauge,
                };
            }
        }
        if twice {
            self.complain(crate::Span::default(), format!("duplicate key \"{}\" in histogram", key.as_str()));
        } else {
            d.given.push(key);
        }
        Ok(())
    }

    /// `[1 2 3]`
    fn bucket_values(&mut self) -> Step<Vec<f64>> {
        self.expect(Kind::LeftBracket)?;
        let mut values = vec![self.signed_number()?];
        loop {
            let step = match self.peek() {
                Kind::RightBracket => {
                    self.shift();
                    return Ok(values);
                }
                Kind::Space => {
                    self.shift();
                    self.bucket_value()
                }
                _ => self.reject().map(|()| None),
            };
            match step {
                Ok(Some(value)) => values.push(value),
                // `]` behind a space is next.
                Ok(None) => {}
                // Upstream recovers here without a word.
                Err(Stop::Unwind) => self.recovering = 3,
                Err(Stop::Abort) => return Err(Stop::Abort),
            }
        }
    }

    fn bucket_value(&mut self) -> Step<Option<f64>> {
        loop {
            match self.peek() {
                Kind::RightBracket => return Ok(None),
                Kind::Number | Kind::Duration | Kind::Op(BinaryOp::Add | BinaryOp::Sub) => {
                    return self.signed_number().map(Some);
                }
                _ => self.reject()?,
            }
        }
    }
}

fn build_histogram(d: Description) -> Described {
    let mut histogram = d.histogram;
    let spans = |offset: i32, buckets: &[f64]| {
        if buckets.is_empty() { Vec::new() } else { vec![Buckets { offset, length: buckets.len() as u32 }] }
    };
    histogram.positive_spans = spans(d.offset, &histogram.positive_buckets);
    histogram.negative_spans = spans(d.negative_offset, &histogram.negative_buckets);
    Described { histogram, hint_set: d.given.contains(&HistKey::CounterResetHint) }
}

const DESCRIPTION: &str = "histogram description";
const DESCRIPTION_KEY: &str = "histogram description key, e.g. buckets:[5 10 7]";
