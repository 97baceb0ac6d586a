//! From Go's syntax of regular expressions to that of the `regex` crate, with equal meaning.
//!
//! The two look alike and differ in the corners: `\d`, `\w`, `\s` and `\b` know ASCII only in Go, classes have
//! no set operations, `{` may be a plain character, `\Q…\E` quotes, repetitions do not stack. So the
//! expression is read by Go's rules, with Go's errors, and written anew with nothing left to interpretation:
//! flags become groups, classes become ranges.

use super::RegexpError;
use super::names::{ALIASES, CATEGORIES, SCRIPTS};
use std::fmt::Write;

/// Levels of groups; more would need a deep stack to compile.
const MAX_NESTING: usize = 200;
/// Copies that counted repetitions may make of one thing.
const MAX_REPEAT: u32 = 1000;

#[derive(Clone, Copy)]
struct Flags {
    fold: bool,
    multi_line: bool,
    dot_newline: bool,
    swap_greed: bool,
}

struct Group {
    /// Flags outside of the group, which come back behind it.
    flags: Flags,
    start: usize,
    /// Copies already made inside of this group, at most.
    copies: u32,
    copies_outside: u32,
}

/// The last thing written, which a repetition would repeat.
#[derive(Clone, Copy)]
struct Atom {
    start: usize,
    repeated: bool,
    copies: u32,
}

struct Translator<'a> {
    whole: &'a str,
    out: String,
    flags: Flags,
    groups: Vec<Group>,
    atom: Option<Atom>,
    /// Copies made since the innermost open group began.
    copies: u32,
    names: Vec<String>,
    loose_names: bool,
}

type Rest<'a> = Result<&'a str, RegexpError>;

fn error(code: &str, expr: &str) -> RegexpError {
    RegexpError(format!("{code}: `{expr}`"))
}

/// What `before` has more than its tail `after`.
fn consumed<'a>(before: &'a str, after: &str) -> &'a str {
    &before[..before.len() - after.len()]
}

/// Which of the two parsers upstream uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// That of matchers: the dot matches newlines, names of Unicode classes are exact.
    Matcher,
    /// That of Go's library: names of Unicode classes in any spelling.
    Library,
}

/// Translates an expression.
pub(super) fn translate(expr: &str, dialect: Dialect) -> Result<String, RegexpError> {
    let dot_newline = dialect == Dialect::Matcher;
    let mut t = Translator {
        whole: expr,
        out: String::with_capacity(expr.len() + 8),
        flags: Flags { fold: false, multi_line: false, dot_newline, swap_greed: false },
        groups: Vec::new(),
        atom: None,
        copies: 1,
        names: Vec::new(),
        loose_names: dialect == Dialect::Library,
    };
    t.run()?;
    Ok(t.out)
}

impl<'a> Translator<'a> {
    fn run(&mut self) -> Result<(), RegexpError> {
        let mut rest = self.whole;
        let mut last_repeat = "";
        while let Some(c) = rest.chars().next() {
            let mut repeat = "";
            let after = &rest[c.len_utf8()..];
            rest = match c {
                '(' if after.starts_with('?') => self.perl_group(rest)?,
                '(' => {
                    self.open("(")?;
                    after
                }
                '|' => {
                    self.out.push('|');
                    self.atom = None;
                    after
                }
                ')' => {
                    self.close()?;
                    after
                }
                '^' => self.atom(if self.flags.multi_line { "(?m:^)" } else { r"\A" }, after),
                '$' => self.atom(if self.flags.multi_line { "(?m:$)" } else { r"\z" }, after),
                '.' => self.atom(if self.flags.dot_newline { "(?s:.)" } else { r"[^\n]" }, after),
                '[' => self.class(rest)?,
                '*' | '+' | '?' => {
                    let (min, max) = match c {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    repeat = rest;
                    self.repeat(min, max, false, rest, after, last_repeat)?
                }
                '{' => match counts(rest) {
                    None => self.literal('{', after),
                    Some((min, max, after)) => {
                        let fits = |n: u32| n <= MAX_REPEAT;
                        if !fits(min) || max.is_some_and(|max| !fits(max) || min > max) {
                            return Err(error("invalid repeat count", consumed(rest, after)));
                        }
                        repeat = rest;
                        self.repeat(min, max, true, rest, after, last_repeat)?
                    }
                },
                '\\' => self.escape(rest)?,
                c => self.literal(c, after),
            };
            last_repeat = repeat;
        }
        if self.groups.is_empty() { Ok(()) } else { Err(error("missing closing )", self.whole)) }
    }

    fn begin_atom(&mut self) {
        self.atom = Some(Atom { start: self.out.len(), repeated: false, copies: 1 });
    }

    fn atom(&mut self, text: &str, after: &'a str) -> &'a str {
        self.begin_atom();
        self.out.push_str(text);
        after
    }

    fn literal(&mut self, c: char, after: &'a str) -> &'a str {
        self.begin_atom();
        let fold = self.flags.fold && c.is_alphabetic();
        if fold {
            self.out.push_str("(?i:");
        }
        regex_syntax::escape_into(c.encode_utf8(&mut [0; 4]), &mut self.out);
        if fold {
            self.out.push(')');
        }
        after
    }

    /// A character by number; half of a surrogate pair is none, and matches nothing.
    fn code(&mut self, code: u32, after: &'a str) -> &'a str {
        match char::from_u32(code) {
            Some(c) => self.literal(c, after),
            None => self.atom(NOTHING, after),
        }
    }

    fn open(&mut self, text: &str) -> Result<(), RegexpError> {
        if self.groups.len() >= MAX_NESTING {
            return Err(error("expression nests too deeply", self.whole));
        }
        self.groups.push(Group {
            flags: self.flags,
            start: self.out.len(),
            copies: 1,
            copies_outside: self.copies,
        });
        self.copies = 1;
        self.out.push_str(text);
        self.atom = None;
        Ok(())
    }

    fn close(&mut self) -> Result<(), RegexpError> {
        let group = self.groups.pop().ok_or_else(|| error("unexpected )", self.whole))?;
        self.out.push(')');
        self.flags = group.flags;
        let copies = group.copies.max(self.copies);
        self.atom = Some(Atom { start: group.start, repeated: false, copies });
        self.copies = group.copies_outside.max(copies);
        Ok(())
    }

    /// `(?P<name>`, `(?i)`, `(?i-s:`, `(?:`
    fn perl_group(&mut self, rest: &'a str) -> Rest<'a> {
        let name_at = if rest.len() > 4 && rest.starts_with("(?P<") {
            Some(4)
        } else if rest.len() > 3 && rest.starts_with("(?<") {
            Some(3)
        } else {
            None
        };
        if let Some(name_at) = name_at {
            let end = rest.find('>').ok_or_else(|| error("invalid named capture", rest))?;
            let name = &rest[name_at..end];
            if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
                return Err(error("invalid named capture", &rest[..=end]));
            }
            // Go allows a digit in front and the same name twice; a second group of a name is reached by
            // number only, for Go takes the first one.
            let usable =
                !name.starts_with(|c: char| c.is_ascii_digit()) && !self.names.iter().any(|n| n == name);
            if usable {
                self.names.push(name.to_owned());
                self.open(&format!("(?P<{name}>"))?;
            } else {
                self.open("(")?;
            }
            return Ok(&rest[end + 1..]);
        }
        let mut flags = self.flags;
        let (mut on, mut saw_flag) = (true, false);
        let mut chars = rest[2..].chars();
        while let Some(c) = chars.next() {
            match c {
                'i' => flags.fold = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_newline = on,
                'U' => flags.swap_greed = on,
                '-' if on => {
                    (on, saw_flag) = (false, false);
                    continue;
                }
                ':' | ')' if on || saw_flag => {
                    if c == ':' {
                        self.open("(?:")?;
                    }
                    self.flags = flags;
                    return Ok(chars.as_str());
                }
                _ => break,
            }
            saw_flag = true;
        }
        Err(error("invalid or unsupported Perl syntax", consumed(rest, chars.as_str())))
    }

    fn repeat(
        &mut self,
        min: u32,
        max: Option<u32>,
        counted: bool,
        before: &'a str,
        after: &'a str,
        last_repeat: &str,
    ) -> Rest<'a> {
        let (lazy, after) = match after.strip_prefix('?') {
            Some(after) => (!self.flags.swap_greed, after),
            None => (self.flags.swap_greed, after),
        };
        if !last_repeat.is_empty() {
            return Err(error("invalid nested repetition operator", consumed(last_repeat, after)));
        }
        let Some(atom) = self.atom else {
            return Err(error("missing argument to repetition operator", consumed(before, after)));
        };
        let mut copies = atom.copies;
        if counted {
            let times = max.unwrap_or(min);
            copies = if max == Some(0) { 1 } else { copies.saturating_mul(times.max(1)) };
            if times.max(min) >= 2 && copies > MAX_REPEAT {
                return Err(error("invalid repeat count", consumed(before, after)));
            }
        }
        if atom.repeated {
            self.out.insert_str(atom.start, "(?:");
            self.out.push(')');
        }
        // Writing into a string cannot fail.
        let _ = match (counted, min, max) {
            (false, 0, None) => self.out.write_str("*"),
            (false, 1, None) => self.out.write_str("+"),
            (false, ..) => self.out.write_str("?"),
            (true, min, None) => write!(self.out, "{{{min},}}"),
            (true, min, Some(max)) => write!(self.out, "{{{min},{max}}}"),
        };
        if lazy {
            self.out.push('?');
        }
        self.copies = self.copies.max(copies);
        self.atom = Some(Atom { start: atom.start, repeated: true, copies });
        Ok(after)
    }

    fn escape(&mut self, rest: &'a str) -> Rest<'a> {
        match rest[1..].chars().next() {
            Some('A') => return Ok(self.atom(r"\A", &rest[2..])),
            Some('z') => return Ok(self.atom(r"\z", &rest[2..])),
            Some('b') => return Ok(self.atom(r"(?-u:\b)", &rest[2..])),
            Some('B') => return Ok(self.atom(r"(?-u:\B)", &rest[2..])),
            Some('C') => return Err(error("invalid escape sequence", &rest[..2])),
            Some('Q') => {
                let (quoted, after) = rest[2..].split_once(r"\E").unwrap_or((&rest[2..], ""));
                for c in quoted.chars() {
                    self.literal(c, "");
                }
                return Ok(after);
            }
            _ => {}
        }
        if let Some((class, after)) = named_escape(rest, self.loose_names)? {
            self.begin_atom();
            self.write_class(&[class], false);
            return Ok(after);
        }
        let (code, after) = character_escape(rest)?;
        Ok(self.code(code, after))
    }

    fn class(&mut self, whole: &'a str) -> Rest<'a> {
        let mut rest = &whole[1..];
        let negated = rest.starts_with('^');
        if negated {
            rest = &rest[1..];
        }
        let mut items = Vec::new();
        let mut first = true;
        while first || !rest.starts_with(']') {
            first = false;
            if let Some((item, after)) = posix_class(rest)? {
                items.push(item);
                rest = after;
                continue;
            }
            if let Some((item, after)) = named_escape(rest, self.loose_names)? {
                items.push(item);
                rest = after;
                continue;
            }
            let range = rest;
            let (low, after) = class_character(rest, whole)?;
            rest = after;
            let mut high = low;
            // `[a-]` has a plain `-`.
            if rest.len() >= 2 && rest.starts_with('-') && !rest.starts_with("-]") {
                (high, rest) = class_character(&rest[1..], whole)?;
                if high < low {
                    return Err(error("invalid character class range", consumed(range, rest)));
                }
            }
            items.push(Item::Range(low, high));
        }
        self.begin_atom();
        self.write_class(&items, negated);
        Ok(&rest[1..])
    }

    fn write_class(&mut self, items: &[Item], negated: bool) {
        let mut text = String::new();
        for item in items {
            item.write(&mut text);
        }
        let text = match (text.is_empty(), negated) {
            // Only halves of surrogate pairs were in it.
            (true, false) => NOTHING.to_owned(),
            (true, true) => "(?s:.)".to_owned(),
            (false, negated) => format!("[{}{text}]", if negated { "^" } else { "" }),
        };
        if self.flags.fold {
            self.out.push_str("(?i:");
            self.out.push_str(&text);
            self.out.push(')');
        } else {
            self.out.push_str(&text);
        }
    }
}

const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";
/// Something in a class.
enum Item {
    Range(u32, u32),
    /// ASCII ranges as the crate writes them, perhaps negated.
    Ascii(&'static str, bool),
    /// The inside of `\p{…}`, perhaps negated.
    Unicode(String, bool),
    /// Nothing, or everything when true.
    All(bool),
}

impl Item {
    fn write(&self, out: &mut String) {
        let _ = match self {
            Item::Range(low, high) => {
                // The crate knows no surrogates.
                let mut parts = Vec::new();
                if *low < 0xd800 {
                    parts.push((*low, (*high).min(0xd7ff)));
                }
                if *high > 0xdfff {
                    parts.push(((*low).max(0xe000), *high));
                }
                parts.iter().try_for_each(|(low, high)| write!(out, r"\x{{{low:x}}}-\x{{{high:x}}}"))
            }
            Item::Ascii(ranges, negated) => write!(out, "[{}{ranges}]", if *negated { "^" } else { "" }),
            Item::Unicode(name, negated) => write!(out, r"\{}{{{name}}}", if *negated { 'P' } else { 'p' }),
            Item::All(true) => write!(out, r"\x{{0}}-\x{{10ffff}}"),
            Item::All(false) => Ok(()),
        };
    }
}

type Named<'a> = Result<Option<(Item, &'a str)>, RegexpError>;

/// `\d`, `\pL`, `\p{Greek}`, …
fn named_escape(rest: &str, loose_names: bool) -> Named<'_> {
    let Some(c) = rest.strip_prefix('\\').and_then(|r| r.chars().next()) else { return Ok(None) };
    let ascii = match c.to_ascii_lowercase() {
        'd' => "0-9",
        's' => r"\t\n\x0c\r ",
        'w' => "0-9A-Z_a-z",
        'p' => return unicode_class(rest, c == 'P', loose_names).map(Some),
        _ => return Ok(None),
    };
    Ok(Some((Item::Ascii(ascii, c.is_ascii_uppercase()), &rest[2..])))
}

fn unicode_class(rest: &str, mut negated: bool, loose_names: bool) -> Result<(Item, &str), RegexpError> {
    let bad = |seq: &str| error("invalid character class range", seq);
    let (name, after) = match rest[2..].chars().next() {
        Some('{') => {
            let end = rest.find('}').ok_or_else(|| bad(rest))?;
            (&rest[3..end], &rest[end + 1..])
        }
        Some(c) => rest[2..].split_at(c.len_utf8()),
        None => return Err(bad(rest)),
    };
    let seq = consumed(rest, after);
    let name = match name.strip_prefix('^') {
        Some(name) => {
            negated = !negated;
            name
        }
        None => name,
    };
    let item = match name {
        "Any" => Item::All(!negated),
        "Cs" => Item::All(negated),
        name if CATEGORIES.binary_search(&name).is_ok() => Item::Unicode(format!("gc={name}"), negated),
        name if SCRIPTS.binary_search(&name).is_ok() => Item::Unicode(format!("sc={name}"), negated),
        name if loose_names => loose_unicode(name, negated).ok_or_else(|| bad(seq))?,
        _ => return Err(bad(seq)),
    };
    Ok((item, after))
}

/// A Unicode class named without regard to case, blanks, `-` and `_`.
fn loose_unicode(name: &str, negated: bool) -> Option<Item> {
    let canonical = |name: &str| -> String {
        name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).map(|c| c.to_ascii_lowercase()).collect()
    };
    let wanted = canonical(name);
    let is = |name: &&&str| canonical(name) == wanted;
    let alias = || ALIASES.iter().find(|(name, _)| canonical(name) == wanted).map(|(_, gc)| gc);
    Some(match wanted.as_str() {
        "any" => Item::All(!negated),
        "cs" | "surrogate" => Item::All(negated),
        "assigned" => Item::Unicode("gc=Cn".into(), !negated),
        "ascii" => Item::Ascii(r"\x00-\x7f", negated),
        _ => match (CATEGORIES.iter().find(is), SCRIPTS.iter().find(is)) {
            (Some(gc), _) => Item::Unicode(format!("gc={gc}"), negated),
            (None, Some(sc)) => Item::Unicode(format!("sc={sc}"), negated),
            (None, None) => Item::Unicode(format!("gc={}", alias()?), negated),
        },
    })
}

/// `[:alpha:]`, `[:^alpha:]`
fn posix_class(rest: &str) -> Named<'_> {
    let Some(inner) = rest.strip_prefix("[:").filter(|_| rest.len() > 2) else { return Ok(None) };
    let Some(end) = inner.find(":]") else { return Ok(None) };
    let (name, after) = (&inner[..end], &inner[end + 2..]);
    let (plain, negated) = name.strip_prefix('^').map_or((name, false), |plain| (plain, true));
    let ranges = match plain {
        "alnum" => "0-9A-Za-z",
        "alpha" => "A-Za-z",
        "ascii" => r"\x00-\x7f",
        "blank" => r"\t ",
        "cntrl" => r"\x00-\x1f\x7f",
        "digit" => "0-9",
        "graph" => "!-~",
        "lower" => "a-z",
        "print" => " -~",
        "punct" => r"!-/:-@\[-`{-~",
        "space" => r"\t\n\x0b\x0c\r ",
        "upper" => "A-Z",
        "word" => "0-9A-Z_a-z",
        "xdigit" => "0-9A-Fa-f",
        _ => return Err(error("invalid character class range", consumed(rest, after))),
    };
    Ok(Some((Item::Ascii(ranges, negated), after)))
}

fn class_character<'a>(rest: &'a str, whole: &str) -> Result<(u32, &'a str), RegexpError> {
    match rest.chars().next() {
        None => Err(error("missing closing ]", whole)),
        Some('\\') => character_escape(rest),
        Some(c) => Ok((u32::from(c), &rest[c.len_utf8()..])),
    }
}

/// `\n`, `\.`, `\x41`, `\101`, …
fn character_escape(rest: &str) -> Result<(u32, &str), RegexpError> {
    let mut chars = rest[1..].chars();
    let Some(c) = chars.next() else {
        return Err(error("trailing backslash at end of expression", ""));
    };
    let bad = |after: &str| Err(error("invalid escape sequence", consumed(rest, after)));
    let octal = |s: &str| s.bytes().next().filter(|b| (b'0'..=b'7').contains(b));
    let plain = match c {
        'a' => 0x07,
        'f' => 0x0c,
        'n' => 0x0a,
        'r' => 0x0d,
        't' => 0x09,
        'v' => 0x0b,
        // A single digit other than 0 would be a reference to a group, which there are not.
        '0'..='7' if c == '0' || octal(chars.as_str()).is_some() => {
            let mut code = u32::from(c) - 0x30;
            let mut after = chars.as_str();
            for _ in 0..2 {
                let Some(digit) = octal(after) else { break };
                code = code * 8 + u32::from(digit - b'0');
                after = &after[1..];
            }
            return Ok((code, after));
        }
        'x' => return hex_escape(rest),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
        _ => return bad(chars.as_str()),
    };
    Ok((plain, chars.as_str()))
}

fn hex_escape(rest: &str) -> Result<(u32, &str), RegexpError> {
    let mut chars = rest[2..].chars();
    let bad = |after: &str| Err(error("invalid escape sequence", consumed(rest, after)));
    let Some(first) = chars.next() else { return bad("") };
    if first != '{' {
        let Some(second) = chars.next() else {
            // Go reads past the end and finds no character at all.
            return bad("");
        };
        return match (first.to_digit(16), second.to_digit(16)) {
            (Some(high), Some(low)) => Ok((high * 16 + low, chars.as_str())),
            _ => bad(chars.as_str()),
        };
    }
    let (mut code, mut digits) = (0u32, 0);
    while let Some(c) = chars.next() {
        if c == '}' {
            return if digits == 0 { bad(chars.as_str()) } else { Ok((code, chars.as_str())) };
        }
        let Some(digit) = c.to_digit(16) else { return bad(chars.as_str()) };
        code = code * 16 + digit;
        if code > 0x10_ffff {
            return bad(chars.as_str());
        }
        digits += 1;
    }
    bad("")
}

/// `{2}`, `{2,}`, `{2,5}` and what follows; all else is no repetition. Numbers too big read as one above all
/// limits.
fn counts(rest: &str) -> Option<(u32, Option<u32>, &str)> {
    fn number(text: &str) -> Option<(u32, &str)> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        // No leading zeros.
        if digits == 0 || (digits > 1 && text.starts_with('0')) {
            return None;
        }
        Some((text[..digits].parse().unwrap_or(u32::MAX), &text[digits..]))
    }
    let (min, rest) = number(rest.strip_prefix('{')?)?;
    let Some(open) = rest.strip_prefix(',') else {
        return Some((min, Some(min), rest.strip_prefix('}')?));
    };
    if let Some(after) = open.strip_prefix('}') {
        return Some((min, None, after));
    }
    let (max, rest) = number(open)?;
    Some((min, Some(max), rest.strip_prefix('}')?))
}
