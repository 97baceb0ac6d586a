//! JSON by hand: results go from the engine's columns to bytes without a value tree in between.
//!
//! Room: `api`. Pure. Two kinds of string escapes stand side by side because upstream has them: label names
//! and values are written plainly, all other texts with `<`, `>` and `&` escaped.

use bytes::Bytes;
use model::float::{push_plain, push_short};
use model::{FloatHistogram, Labels};

/// Size at which a piece of a long text is set aside, so that growing never copies much.
const PIECE_BYTES: usize = 256 << 10;

/// A growing JSON text.
#[derive(Debug, Default)]
pub struct Json {
    /// Finished pieces, in order.
    done: Vec<Bytes>,
    out: Vec<u8>,
    scratch: String,
    last: LastValue,
}

/// The text of the value that was written last: values repeat where steps are shorter than scrape intervals, and where
/// nothing happens.
#[derive(Debug, Default)]
struct LastValue {
    bits: u64,
    /// 0: none is known.
    len: u8,
    text: [u8; 32],
}

impl Json {
    pub fn with_capacity(bytes: usize) -> Self {
        Json { out: Vec::with_capacity(bytes), ..Json::default() }
    }

    /// Bytes since the last piece.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes back what was written since the last piece behind its first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Hands over what has been written since the last time; `next` bytes are reserved for what follows.
    pub fn take(&mut self, next: usize) -> Vec<u8> {
        std::mem::replace(&mut self.out, Vec::with_capacity(next))
    }

    /// The text in pieces.
    pub fn into_pieces(mut self) -> Vec<Bytes> {
        if !self.out.is_empty() {
            self.done.push(Bytes::from(self.out));
        }
        self.done
    }

    /// The text as one, for short replies and tests.
    pub fn into_bytes(self) -> Vec<u8> {
        if self.done.is_empty() {
            return self.out;
        }
        self.into_pieces().concat()
    }

    /// Call between elements of long lists: sets a large piece aside.
    pub fn pause(&mut self) {
        if self.out.len() >= PIECE_BYTES {
            let piece = self.take(PIECE_BYTES + PIECE_BYTES / 4);
            self.done.push(Bytes::from(piece));
        }
    }

    /// `,"warnings":[…],"infos":[…]`, as far as there are any.
    pub fn notes(&mut self, warnings: &[String], infos: &[String]) -> &mut Self {
        for (key, list) in [("warnings", warnings), ("infos", infos)] {
            if !list.is_empty() {
                self.raw(",").key(key).texts(list.iter().map(String::as_str));
            }
        }
        self
    }

    /// Bytes that are JSON already.
    pub fn raw(&mut self, text: &str) -> &mut Self {
        self.out.extend_from_slice(text.as_bytes());
        self
    }

    /// A comma, unless `first`, which it clears.
    pub fn comma(&mut self, first: &mut bool) -> &mut Self {
        if !std::mem::replace(first, false) {
            self.out.push(b',');
        }
        self
    }

    pub fn int(&mut self, n: i64) -> &mut Self {
        push_short(itoa::Buffer::new().format(n).as_bytes(), &mut self.out);
        self
    }

    pub fn uint(&mut self, n: u64) -> &mut Self {
        push_short(itoa::Buffer::new().format(n).as_bytes(), &mut self.out);
        self
    }

    pub fn bool(&mut self, yes: bool) -> &mut Self {
        self.raw(if yes { "true" } else { "false" })
    }

    /// A JSON number as Go's `encoding/json` prints a float64.
    pub fn number(&mut self, v: f64) -> &mut Self {
        if v.is_finite() {
            let mut text = String::new();
            let magnitude = v.abs();
            if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
                model::float::format_go(v, &mut text);
                // encoding/json shortens e-09 to e-9.
                if let Some(at) = text.find("e-0") {
                    text.remove(at + 2);
                }
            } else {
                model::float::format_plain(v, &mut text);
            }
            self.raw(&text)
        } else {
            self.raw("null")
        }
    }

    /// A text with `<`, `>`, `&`, U+2028 and U+2029 escaped, as upstream writes everything but labels.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.out.push(b'"');
        let mut from = 0;
        let bytes = text.as_bytes();
        for (at, &b) in bytes.iter().enumerate() {
            let special = match b {
                b'<' => "\\u003c",
                b'>' => "\\u003e",
                b'&' => "\\u0026",
                0xe2 if bytes[at..].starts_with(b"\xe2\x80\xa8") => "\\u2028",
                0xe2 if bytes[at..].starts_with(b"\xe2\x80\xa9") => "\\u2029",
                _ if b < 0x20 || b == b'"' || b == b'\\' => "",
                _ => continue,
            };
            self.out.extend_from_slice(&bytes[from..at]);
            from = at + 1;
            if special.is_empty() {
                self.escape(b);
            } else {
                self.out.extend_from_slice(special.as_bytes());
                from = at + if b == 0xe2 { 3 } else { 1 };
            }
        }
        self.out.extend_from_slice(&bytes[from..]);
        self.out.push(b'"');
        self
    }

    /// A label name or value: only what JSON demands is escaped.
    pub fn label_text(&mut self, text: &str) -> &mut Self {
        self.out.push(b'"');
        let bytes = text.as_bytes();
        // Looked at without an early end, so that the loop is done in wide registers.
        if bytes.iter().fold(true, |plain, b| plain & (*b >= 0x20) & (*b != b'"') & (*b != b'\\')) {
            push_short(bytes, &mut self.out);
        } else {
            for &b in bytes {
                if b < 0x20 || b == b'"' || b == b'\\' {
                    self.escape(b);
                } else {
                    self.out.push(b);
                }
            }
        }
        self.out.push(b'"');
        self
    }

    fn escape(&mut self, b: u8) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        match b {
            b'"' | b'\\' => self.out.extend_from_slice(&[b'\\', b]),
            b'\n' => self.out.extend_from_slice(b"\\n"),
            b'\r' => self.out.extend_from_slice(b"\\r"),
            b'\t' => self.out.extend_from_slice(b"\\t"),
            _ => self.out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(b >> 4)],
                HEX[usize::from(b & 15)],
            ]),
        }
    }

    /// `"name":`
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.text(name).raw(":")
    }

    /// `["a","b"]`
    pub fn texts<'a>(&mut self, list: impl IntoIterator<Item = &'a str>) -> &mut Self {
        self.raw("[");
        let mut first = true;
        for text in list {
            self.comma(&mut first).text(text);
        }
        self.raw("]")
    }

    pub fn labels(&mut self, labels: &Labels) -> &mut Self {
        self.raw("{");
        let mut first = true;
        for (name, value) in labels {
            self.comma(&mut first).label_text(name).raw(":").label_text(value);
        }
        self.raw("}")
    }

    /// Milliseconds as seconds: none or three decimals, as upstream.
    pub fn timestamp(&mut self, t: i64) -> &mut Self {
        if t < 0 {
            self.out.push(b'-');
        }
        let t = t.unsigned_abs();
        self.uint(t / 1000);
        let millis = (t % 1000) as u16;
        if millis != 0 {
            let digit = |n: u16| b'0' + (n % 10) as u8;
            self.out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis)]);
        }
        self
    }

    /// A sample value: a quoted float.
    pub fn value(&mut self, v: f64) -> &mut Self {
        if self.last.len > 0 && self.last.bits == v.to_bits() {
            // A copy of a fixed size needs no call.
            let end = self.out.len() + usize::from(self.last.len);
            self.out.extend_from_slice(&self.last.text);
            self.out.truncate(end);
            return self;
        }
        let from = self.out.len();
        self.write_value(v);
        let written = self.out.get(from..).unwrap_or_default();
        self.last.len = match self.last.text.get_mut(..written.len()) {
            Some(text) => {
                text.copy_from_slice(written);
                written.len() as u8
            }
            None => 0,
        };
        self.last.bits = v.to_bits();
        self
    }

    fn write_value(&mut self, v: f64) {
        self.out.push(b'"');
        // Counts and states are whole numbers far more often than not.
        let whole = v as i64;
        if whole as f64 == v && v.abs() < 1e15 && (whole != 0 || v.is_sign_positive()) {
            self.int(whole);
        } else if (1e-6..1e21).contains(&v.abs()) || !v.is_finite() || v == 0.0 {
            push_plain(v, &mut self.out);
        } else {
            self.scratch.clear();
            model::float::format_go(v, &mut self.scratch);
            self.out.extend_from_slice(self.scratch.as_bytes());
        }
        self.out.push(b'"');
    }

    /// `[1435781451.781,"1"]`
    pub fn point(&mut self, t: i64, v: f64) -> &mut Self {
        self.out.push(b'[');
        self.timestamp(t).raw(",").value(v).raw("]")
    }

    /// The point of a step, without what stands before its value being made again.
    pub(crate) fn step_point(&mut self, step: &StepText, v: f64) -> &mut Self {
        step.push(&mut self.out);
        self.value(v).raw("]")
    }

    /// `[1435781451.781,{"count":"1",…}]`
    pub fn histogram_point(&mut self, t: i64, h: &FloatHistogram) -> &mut Self {
        self.out.push(b'[');
        self.timestamp(t).raw(",").histogram(h).raw("]")
    }

    /// A native histogram: count, sum and the buckets that are not empty, each with a number that says which
    /// of its bounds belong to it (0 upper, 1 lower, 2 none, 3 both).
    fn histogram(&mut self, h: &FloatHistogram) -> &mut Self {
        self.raw("{\"count\":").value(h.count).raw(",\"sum\":").value(h.sum);
        let mut first = true;
        for bucket in h.all_buckets() {
            if bucket.count == 0.0 {
                continue;
            }
            if first {
                self.raw(",\"buckets\":[");
            }
            let bounds = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (true, true) => 3,
                (true, false) => 1,
                (false, true) => 0,
                (false, false) => 2,
            };
            self.comma(&mut first).raw("[").int(bounds).raw(",").value(bucket.lower).raw(",");
            self.value(bucket.upper).raw(",").value(bucket.count).raw("]");
        }
        self.raw(if first { "}" } else { "]}" })
    }
}

/// `[1435781451.781,`
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepText {
    text: [u8; 31],
    len: u8,
}

impl StepText {
    fn new(t: i64) -> Self {
        let mut json = Json::default();
        json.raw("[").timestamp(t).raw(",");
        let mut step = StepText { text: [0; 31], len: json.out.len().min(31) as u8 };
        let len = usize::from(step.len);
        step.text[..len].copy_from_slice(&json.out[..len]);
        step
    }

    #[inline]
    fn push(&self, out: &mut Vec<u8>) {
        // A copy of a fixed size needs no call.
        let end = out.len() + usize::from(self.len);
        out.extend_from_slice(&self.text);
        out.truncate(end);
    }
}

/// What stands before the values of the steps of a grid, made once for all series.
#[derive(Debug, Default)]
pub(crate) struct StepTexts {
    /// Start and step, ms.
    grid: (i64, i64),
    texts: Vec<StepText>,
}

impl StepTexts {
    /// Of step `i` of a grid.
    #[inline]
    pub(crate) fn of(&mut self, start: i64, step: i64, i: usize) -> &StepText {
        if self.grid != (start, step) {
            self.texts.clear();
            self.grid = (start, step);
        }
        while self.texts.len() <= i {
            self.texts.push(StepText::new(start + self.texts.len() as i64 * step));
        }
        &self.texts[i]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl FnOnce(&mut Json), want: &str) {
        let mut json = Json::default();
        write(&mut json);
        assert_eq!(String::from_utf8_lossy(&json.into_bytes()), want);
    }

    #[test]
    fn timestamps() {
        for (t, want) in
            [(1435781451781, "1435781451.781"), (0, "0"), (-5, "-0.005"), (1500, "1.500"), (10, "0.010")]
        {
            check(
                |j| {
                    j.timestamp(t);
                },
                want,
            );
        }
    }

    #[test]
    fn values() {
        for (v, want) in [
            (1.0, "\"1\""),
            (-0.0, "\"-0\""),
            (0.1, "\"0.1\""),
            (1e15, "\"1000000000000000\""),
            (1e21, "\"1e+21\""),
            (1.5e-7, "\"1.5e-07\""),
            (1e-6, "\"0.000001\""),
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-Inf\""),
        ] {
            check(
                |j| {
                    j.value(v);
                },
                want,
            );
        }
        for (v, want) in [(0.5, "0.5"), (1e-9, "1e-9"), (1e-10, "1e-10"), (1e21, "1e+21"), (3.0, "3")] {
            check(
                |j| {
                    j.number(v);
                },
                want,
            );
        }
    }

    #[test]
    fn values_may_repeat() {
        let list = [0.0, 0.0, -0.0, -0.0, f64::NAN, f64::NAN, 0.1, 0.1, 1e300, 1e300, 5.0, 1.0, 5.0, 5.0];
        let (mut all, mut want) = (Json::default(), String::new());
        for v in list {
            all.value(v);
            let mut one = Json::default();
            one.value(v);
            want.push_str(&String::from_utf8_lossy(&one.into_bytes()));
        }
        assert_eq!(String::from_utf8_lossy(&all.into_bytes()), want);
    }

    #[test]
    fn points_of_steps_are_points() {
        let (start, step) = (-9_000_000_000_000_123, 1_000_000_000_000_077);
        let mut steps = StepTexts::default();
        for i in [3, 0, 17] {
            let (mut a, mut b) = (Json::default(), Json::default());
            a.step_point(steps.of(start, step, i), 1.25);
            b.point(start + i as i64 * step, 1.25);
            assert_eq!(a.into_bytes(), b.into_bytes());
        }
    }

    #[test]
    fn texts_escape_html_and_labels_do_not() {
        check(
            |j| {
                j.text("a<b>&\"\\\n\u{1}é\u{2028}x");
            },
            "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\u0001é\\u2028x\"",
        );
        let labels = Labels::from_pairs([("a", "<&>"), ("b", "x\"\t")]);
        check(
            |j| {
                j.labels(&labels);
            },
            "{\"a\":\"<&>\",\"b\":\"x\\\"\\t\"}",
        );
    }
}
