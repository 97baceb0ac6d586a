//! What can be said of an expression without running it: the values it matches when they are few, literal
//! ends of all matching values, and shapes that plain text search decides.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// Values that classes and options may be expanded to. A list spelt out with `|` may be longer.
const MAX_EXPANDED: usize = 256;
/// Values of a list spelt out.
const MAX_LISTED: usize = 100_000;
/// Bytes all values of a set may have together.
const MAX_SET_BYTES: usize = 1 << 20;
/// Alternatives tried one by one before the automaton is the better choice.
const MAX_SHAPES: usize = 64;

/// Literals with anything (or nothing) between them: `prefix.*middle.*suffix`. `open` is false for a plain
/// literal, which then is the prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) prefix: String,
    pub(super) middle: Vec<String>,
    pub(super) suffix: String,
    pub(super) open: bool,
}

impl Shape {
    pub(super) fn matches(&self, value: &str) -> bool {
        if !self.open {
            return value == self.prefix;
        }
        let Some(rest) = value.strip_prefix(self.prefix.as_str()) else { return false };
        let Some(mut rest) = rest.strip_suffix(self.suffix.as_str()) else { return false };
        for piece in &self.middle {
            match memchr::memmem::find(rest.as_bytes(), piece.as_bytes()) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        true
    }
}

/// How matching is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// `.*`
    All,
    /// `.+`
    NotEmpty,
    /// Exactly these values, sorted.
    Set(Vec<String>),
    /// One of these.
    Shapes(Vec<Shape>),
    /// Only the automaton knows; matching values begin and end like this.
    Automaton { prefix: String, suffix: String },
}

/// The values of a list of literals (`a|b\.c`, also in one pair of parentheses), sorted: read without a tree, so that
/// a list may be long.
pub(super) fn listed(expr: &str) -> Option<Vec<String>> {
    let inner = expr.strip_prefix("(?:").or_else(|| expr.strip_prefix('('));
    let list = match inner {
        Some(inner) => inner.strip_suffix(')')?,
        None => expr,
    };
    let mut set = vec![String::new()];
    let mut chars = list.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '|' => {
                set.push(String::new());
                continue;
            }
            '\\' => chars.next().filter(char::is_ascii_punctuation)?,
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            c => c,
        };
        if let Some(last) = set.last_mut() {
            last.push(c);
        }
    }
    set.sort_unstable();
    set.dedup();
    Some(set)
}

pub(super) fn plan(hir: &Hir, expr: &str) -> Plan {
    let parts = trimmed(hir);
    let listed = expr.bytes().filter(|b| *b == b'|').count() + 1;
    let most = listed.clamp(MAX_EXPANDED, MAX_LISTED);
    if let Some(mut set) = set_of_alternatives(&parts, most) {
        set.sort_unstable();
        set.dedup();
        return Plan::Set(set);
    }
    if let [part] = parts.as_slice()
        && let Some(plan) = any(part)
    {
        return plan;
    }
    let alternatives = alternatives(&parts);
    if alternatives.len() <= MAX_SHAPES
        && let Some(shapes) = alternatives.iter().map(|parts| shape(parts)).collect::<Option<Vec<_>>>()
    {
        return Plan::Shapes(shapes);
    }
    let prefix: Vec<u8> = parts.iter().map_while(|h| literal(h)).flatten().copied().collect();
    let last: Vec<_> = parts.iter().rev().map_while(|h| literal(h)).collect();
    let suffix: Vec<u8> = last.into_iter().rev().flatten().copied().collect();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_default();
    Plan::Automaton { prefix: text(prefix), suffix: text(suffix) }
}

/// The parts of an expression, without anchors at its ends: all of the value must match anyway.
fn trimmed(hir: &Hir) -> Vec<&Hir> {
    let mut parts = concat(hir);
    while let Some(HirKind::Look(Look::End | Look::EndLF)) = parts.last().map(|h| h.kind()) {
        parts.pop();
    }
    let anchors = parts.iter().take_while(|h| matches!(h.kind(), HirKind::Look(Look::Start | Look::StartLF)));
    let anchors = anchors.count();
    parts.split_off(anchors)
}

/// The alternatives at the top, each trimmed; one if there is no choice.
fn alternatives<'h>(parts: &[&'h Hir]) -> Vec<Vec<&'h Hir>> {
    match parts {
        [part] => match part.kind() {
            HirKind::Alternation(subs) => subs.iter().map(trimmed).collect(),
            _ => vec![parts.to_vec()],
        },
        _ => vec![parts.to_vec()],
    }
}

fn set_of_alternatives(parts: &[&Hir], most: usize) -> Option<Vec<String>> {
    let mut all = Vec::new();
    let mut held = 0;
    for parts in alternatives(parts) {
        let next = product(parts, most)?;
        held += bytes(&next);
        all.extend(next);
        if all.len() > most || held > MAX_SET_BYTES {
            return None;
        }
    }
    Some(all)
}

/// Without capture groups around it.
fn strip(hir: &Hir) -> &Hir {
    match hir.kind() {
        HirKind::Capture(group) => strip(&group.sub),
        _ => hir,
    }
}

fn literal(hir: &Hir) -> Option<&[u8]> {
    match strip(hir).kind() {
        HirKind::Literal(literal) => Some(&literal.0),
        _ => None,
    }
}

/// The parts of a concatenation, nested ones flattened.
fn concat(hir: &Hir) -> Vec<&Hir> {
    match strip(hir).kind() {
        HirKind::Concat(subs) => subs.iter().flat_map(concat).collect(),
        _ => vec![strip(hir)],
    }
}

/// `.*` or `.+` on its own, with a dot that matches everything.
fn any(hir: &Hir) -> Option<Plan> {
    let HirKind::Repetition(repetition) = strip(hir).kind() else { return None };
    let HirKind::Class(Class::Unicode(class)) = strip(&repetition.sub).kind() else { return None };
    let everything = matches!(class.ranges(), [r] if r.start() == '\0' && r.end() == char::MAX);
    match (everything, repetition.min, repetition.max) {
        (true, 0, None) => Some(Plan::All),
        (true, 1, None) => Some(Plan::NotEmpty),
        _ => None,
    }
}

fn shape(parts: &[&Hir]) -> Option<Shape> {
    let mut shape = Shape::default();
    let mut last = String::new();
    for part in parts {
        if let Some(bytes) = literal(part) {
            last.push_str(std::str::from_utf8(bytes).ok()?);
            continue;
        }
        if any(part) != Some(Plan::All) {
            return None;
        }
        let piece = std::mem::take(&mut last);
        if !shape.open {
            shape.prefix = piece;
            shape.open = true;
        } else if !piece.is_empty() {
            shape.middle.push(piece);
        }
    }
    if shape.open {
        shape.suffix = last;
    } else {
        shape.prefix = last;
    }
    Some(shape)
}

fn bytes(set: &[String]) -> usize {
    set.iter().map(String::len).sum()
}

fn fits(set: &[String], most: usize) -> bool {
    set.len() <= most && bytes(set) <= MAX_SET_BYTES
}

/// Every way to put values of the parts behind each other.
fn product<'h>(parts: impl IntoIterator<Item = &'h Hir>, most: usize) -> Option<Vec<String>> {
    let mut all = vec![String::new()];
    for part in parts {
        let next = set(part, most)?;
        let bytes =
            bytes(&all).saturating_mul(next.len()).saturating_add(bytes(&next).saturating_mul(all.len()));
        if all.len().saturating_mul(next.len()) > most || bytes > MAX_SET_BYTES {
            return None;
        }
        all = all.iter().flat_map(|a| next.iter().map(move |b| format!("{a}{b}"))).collect();
    }
    Some(all)
}

/// All values an expression matches, when they are few.
fn set(hir: &Hir, most: usize) -> Option<Vec<String>> {
    let set = match hir.kind() {
        HirKind::Empty => vec![String::new()],
        HirKind::Literal(literal) => vec![String::from_utf8(literal.0.to_vec()).ok()?],
        HirKind::Class(Class::Unicode(class)) => {
            let size: usize = class.ranges().iter().map(|r| r.end() as usize - r.start() as usize + 1).sum();
            if size > MAX_EXPANDED {
                return None;
            }
            class.ranges().iter().flat_map(|r| r.start()..=r.end()).map(String::from).collect()
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) => return None,
        HirKind::Repetition(repetition) => {
            if (repetition.min, repetition.max) != (0, Some(1)) {
                return None;
            }
            let mut set = set(&repetition.sub, most)?;
            set.push(String::new());
            set
        }
        HirKind::Capture(group) => set(&group.sub, most)?,
        HirKind::Concat(subs) => product(subs, most)?,
        HirKind::Alternation(subs) => {
            let mut all = Vec::new();
            for sub in subs {
                all.extend(set(sub, most)?);
                if all.len() > most {
                    return None;
                }
            }
            all
        }
    };
    fits(&set, most).then_some(set)
}
