//! Label sets: sorted, immutable, one allocation each.
//!
//! A set is packed into one string: for each label, sorted by name, the name and then the value, each
//! preceded by its byte length. A length is written in groups of six bits, lowest first, one ASCII byte per
//! group; bit `0x40` says that another group follows. Packing lengths as ASCII keeps the whole string valid
//! UTF-8, so slices come out of it without `unsafe` and without re-checking.
//!
//! Invariants (kept by every constructor): names are unique, sorted bytewise and not empty; values are not
//! empty, for an empty value means that the label is absent.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";
/// Upper bound of a classic histogram bucket.
pub const BUCKET_LABEL: &str = "le";

/// A sorted, immutable set of labels; cloning copies a pointer.
#[derive(Clone, Default)]
pub struct Labels(Option<Arc<str>>);

impl Labels {
    /// The set without labels.
    pub const fn empty() -> Self {
        Labels(None)
    }

    /// Builds a set from pairs in any order. Pairs with an empty value are left out; of pairs with the same
    /// name the last wins. Callers that must refuse duplicates check before they build.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.finish()
    }

    /// Builds a set from pairs that are already sorted by name, unique and free of empty values.
    ///
    /// Sortedness is only checked in debug builds: this is the path of decoders that have checked it.
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        // Most sets fit: one buffer, of a size that allocators hand out again at once.
        let mut packed = String::with_capacity(512);
        let mut last: Option<&str> = None;
        for (name, value) in pairs {
            debug_assert!(last.is_none_or(|before| before < name), "labels not sorted: {name}");
            debug_assert!(!value.is_empty(), "label {name} is empty");
            last = Some(name);
            push_text(&mut packed, name);
            push_text(&mut packed, value);
        }
        Self::from_packed(packed)
    }

    fn from_packed(packed: String) -> Self {
        if packed.is_empty() { Labels(None) } else { Labels(Some(Arc::from(packed))) }
    }

    /// The packed form (see the module text): equal sets have equal packed forms, and it is a good hash key.
    pub fn packed(&self) -> &str {
        self.0.as_deref().unwrap_or("")
    }

    /// Labels in order of their names.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: self.packed() }
    }

    /// Value of a label; `None` when absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        for (n, v) in self.iter() {
            match n.cmp(name) {
                Ordering::Less => continue,
                Ordering::Equal => return Some(v),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// Value of a label; empty when absent, as PromQL sees it.
    pub fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// The metric name, empty when absent.
    pub fn metric_name(&self) -> &str {
        self.value(METRIC_NAME)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether one is a copy of the other, or both are empty. Says nothing about sets that were made apart.
    pub fn is_copy_of(&self, other: &Labels) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }

    /// Number of labels. Walks the set.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// The same set without the labels for which `drop` says true.
    pub fn without(&self, mut drop: impl FnMut(&str) -> bool) -> Labels {
        let mut packed = String::with_capacity(self.packed().len());
        for (n, v) in self.iter() {
            if !drop(n) {
                push_text(&mut packed, n);
                push_text(&mut packed, v);
            }
        }
        Self::from_packed(packed)
    }

    /// The same set without `__name__`.
    pub fn without_name(&self) -> Labels {
        self.without(|n| n == METRIC_NAME)
    }

    pub fn builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }
}

fn push_text(packed: &mut String, text: &str) {
    let mut len = text.len();
    loop {
        let low = (len & 0x3f) as u8;
        len >>= 6;
        if len == 0 {
            packed.push(char::from(low));
            break;
        }
        packed.push(char::from(low | 0x40));
    }
    packed.push_str(text);
}

fn take_text(packed: &str) -> (&str, &str) {
    let bytes = packed.as_bytes();
    let (mut len, mut shift, mut at) = (0usize, 0u32, 0usize);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        len |= usize::from(byte & 0x3f) << shift;
        shift += 6;
        if byte & 0x40 == 0 {
            break;
        }
    }
    (&packed[at..at + len], &packed[at + len..])
}

/// Iterator over the labels of a set, in order of their names.
#[derive(Clone)]
pub struct LabelsIter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (name, rest) = take_text(self.rest);
        let (value, rest) = take_text(rest);
        self.rest = rest;
        Some((name, value))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;
    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.packed() == other.packed()
    }
}
impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.packed().hash(state);
    }
}

impl Ord for Labels {
    /// Label by label, name before value; a set that is a prefix of another comes first.
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.packed(), other.packed());
        // Sets that are compared mostly begin alike: only the first text that differs is looked at.
        let common = common_prefix(a.as_bytes(), b.as_bytes());
        if common == a.len() || common == b.len() {
            return a.len().cmp(&b.len());
        }
        let (mut rest, mut other) = (a, b);
        loop {
            let (text, next) = take_text(rest);
            if a.len() - next.len() > common {
                return text.cmp(take_text(other).0);
            }
            other = &other[rest.len() - next.len()..];
            rest = next;
        }
    }
}

/// How many bytes at the beginning are equal.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const STRIDE: usize = 16;
    let equal =
        a.chunks_exact(STRIDE).zip(b.chunks_exact(STRIDE)).take_while(|(a, b)| a == b).count() * STRIDE;
    equal + a[equal..].iter().zip(&b[equal..]).take_while(|(a, b)| a == b).count()
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Labels {
    /// `{a="1", b="2"}` with names quoted when they are not legacy names, as upstream's `Labels.String`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (n, v)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_label_name(n) {
                f.write_str(n)?
            } else {
                f.write_str(&quote(n))?
            }
            write!(f, "={}", quote(v))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Quotes a text as Go's `strconv.Quote` does for valid UTF-8.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() || is_go_unprintable(c) => {
                let n = c as u32;
                if n <= 0xffff {
                    out.push_str(&format!("\\u{n:04x}"));
                } else {
                    out.push_str(&format!("\\U{n:08x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// White space other than the plain blank, format characters and private use: what Go will not print raw.
fn is_go_unprintable(c: char) -> bool {
    (c != ' ' && c.is_whitespace())
        || matches!(c as u32, 0xad | 0x600..=0x605 | 0x61c | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x2064
            | 0x2066..=0x206f | 0xd800..=0xf8ff | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0x10ffff)
}

/// Whether a label name is legal without quotes: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_legacy_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a metric name is legal without quotes: as a label name, with colons.
pub fn is_legacy_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b':')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// Edits a label set; sorted at all times.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(at) if value.is_empty() => {
                self.pairs.remove(at);
            }
            Ok(at) => value.clone_into(&mut self.pairs[at].1),
            Err(_) if value.is_empty() => {}
            Err(at) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }

    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// Keeps only labels for which `keep` says true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> &mut Self {
        self.pairs.retain(|(n, _)| keep(n));
        self
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok().map(|at| self.pairs[at].1.as_str())
    }

    /// Value of a label; empty when absent.
    pub fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub fn clear(&mut self) {
        self.pairs.clear();
    }

    pub fn finish(&self) -> Labels {
        Labels::from_sorted(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_back_sorted_and_long_values_survive() {
        let long = "x".repeat(70_000);
        let set = Labels::from_pairs([("b", "2"), ("a", long.as_str()), ("c", ""), ("é", "ü")]);
        let got: Vec<_> = set.iter().collect();
        assert_eq!(got, [("a", long.as_str()), ("b", "2"), ("é", "ü")]);
        assert_eq!(set.value("b"), "2");
        assert_eq!(set.get("c"), None);
    }

    #[test]
    fn order_is_by_label_then_length() {
        let a = Labels::from_pairs([("a", "1")]);
        let ab = Labels::from_pairs([("a", "1"), ("b", "1")]);
        let b = Labels::from_pairs([("b", "0")]);
        assert!(a < ab && ab < b && Labels::empty() < a);
    }

    #[test]
    fn order_is_that_of_the_texts() {
        let texts = ["", "1", "10", "2", "a", "é", &"x".repeat(63), &"x".repeat(64), &"x".repeat(65), "x@"];
        let mut sets = Vec::new();
        for x in texts {
            for y in texts {
                sets.push(Labels::from_pairs([
                    ("__name__", "a_metric_with_a_long_name"),
                    ("a", x),
                    ("b", y),
                ]));
                sets.push(Labels::from_pairs([("a", x), ("ab", y)]));
            }
        }
        for a in &sets {
            for b in &sets {
                assert_eq!(a.cmp(b), a.iter().cmp(b.iter()), "{a} {b}");
            }
        }
    }

    #[test]
    fn builder_edits() {
        let set = Labels::from_pairs([("__name__", "up"), ("job", "x")]);
        let mut b = set.builder();
        b.set("job", "y").set("a", "1").remove("__name__");
        assert_eq!(b.finish().to_string(), r#"{a="1", job="y"}"#);
        assert_eq!(set.without_name().to_string(), r#"{job="x"}"#);
    }

    #[test]
    fn display_quotes_foreign_names() {
        let set = Labels::from_pairs([("foo.bar", "a\"b\n")]);
        assert_eq!(set.to_string(), "{\"foo.bar\"=\"a\\\"b\\n\"}");
    }
}
