//! Spoils query texts, for the errors of the parser.

use super::rng::Rng;

const TOKENS: &[&str] = &[
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    "=",
    "==",
    "!=",
    "=~",
    "!~",
    "!",
    "~",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "<",
    ">",
    ">=",
    "</",
    ">/",
    ":",
    "@",
    "\"",
    "'",
    "`",
    "\\",
    "#",
    "$",
    "&",
    "|",
    ";",
    "?",
    ".",
    "..",
    "_",
    "offset",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "and",
    "or",
    "unless",
    "atan2",
    "sum",
    "topk",
    "count_values",
    "limitk",
    "rate",
    "start()",
    "end()",
    "step()",
    "start",
    "end",
    "nan",
    "inf",
    "Inf",
    "0x",
    "0x1p3",
    "1e",
    "1e5",
    "1.5.2",
    "5m",
    "5",
    "5mm",
    "1h5",
    "-5m",
    "1d1d",
    "0",
    "9999999999999999999",
    "1_0",
    "é",
    "\u{0}",
    "\"a",
    "\"\\z\"",
    "'\\400'",
    "{\"a\",\"b\"}",
    "{\"a\"}",
    "foo",
    "job",
    "__name__",
    "anchored",
    "smoothed",
    "fill",
    "fill_left(1)",
    "fill(x)",
    "min_of",
    "max_of(1,2)",
    "range()",
    "vector",
    "info",
    "nonsense(",
    "{}",
    "{,}",
    "[5m]",
    "[5m:]",
    "[:5m]",
    "[5m:0s]",
    "[0s]",
    "[-5m]",
    "@ 1",
    "@ start()",
    "@ -1",
    "@ 1e400",
    "@ nan",
    "offset 1",
    "offset x",
    "by (a)",
    "on (a)",
    "\n",
    "\t",
    "\r",
    " ",
    "//",
    "=~\"(\"",
    "\u{feff}",
    "a:b",
    ":a",
    "a:",
    "1m30s5ms",
];

/// Inserts, deletes, doubles, swaps or replaces something.
pub fn mutate(text: &str, rng: &mut Rng) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=rng.below(2) {
        let at = rng.below(chars.len() + 1);
        let token = || -> Vec<char> { Vec::new() };
        let mut insert = token();
        match rng.below(8) {
            0 if !chars.is_empty() => drop(chars.remove(at.min(chars.len() - 1))),
            1 => chars.truncate(at),
            2 => {
                let end = (at + 1 + rng.below(6)).min(chars.len());
                chars.drain(at..end);
            }
            3 => {
                let end = (at + 1 + rng.below(6)).min(chars.len());
                insert = chars[at..end].to_vec();
            }
            4 if at + 1 < chars.len() => chars.swap(at, at + 1),
            5 => {
                let from = boundary(&chars, at);
                let to = boundary(&chars, (from + 1).min(chars.len()));
                chars.splice(from..to, rng.pick(TOKENS).chars());
            }
            6 => {
                let from = boundary(&chars, at);
                let text = format!(" {} ", rng.pick(TOKENS));
                chars.splice(from..from, text.chars());
            }
            _ => insert = rng.pick(TOKENS).chars().collect(),
        }
        let at = at.min(chars.len());
        chars.splice(at..at, insert);
    }
    chars.into_iter().collect()
}

/// The next end of a word at or after a place.
fn boundary(chars: &[char], from: usize) -> usize {
    (from..chars.len()).find(|i| !chars[*i].is_alphanumeric() && chars[*i] != '_').unwrap_or(chars.len())
}
