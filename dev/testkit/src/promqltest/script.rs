//! Script text to commands.

use super::load::Load;
use model::duration::parse_duration;
use promql::{SeriesText, parse_series};
use regex::Regex;

/// A command of a script.
#[derive(Debug)]
pub(super) enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// When an expression is evaluated, ms.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Instant { at: i64 },
    Range { start: i64, end: i64, step: i64 },
}

/// What a text must be like.
#[derive(Debug)]
pub(super) enum Pattern {
    Any,
    Text(String),
    Regex(Regex),
}

impl Pattern {
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Text(want) => want == text,
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

/// An evaluation with all that is expected of it.
#[derive(Debug)]
pub(super) struct Eval {
    /// All lines of the command.
    pub(super) text: String,
    pub(super) expr: String,
    pub(super) kind: Kind,
    /// `expect <what> [pattern]`, in order.
    pub(super) expects: Vec<(String, Pattern)>,
    pub(super) expected: Vec<SeriesText>,
    pub(super) expected_scalar: Option<f64>,
    pub(super) expected_string: Option<String>,
    /// Start, end, step of a range vector that an instant query returns.
    pub(super) expected_range: Option<(i64, i64, i64)>,
}

impl Eval {
    fn all(&self, what: &str) -> Vec<&Pattern> {
        self.expects.iter().filter(|(w, _)| w == what).map(|(_, p)| p).collect()
    }

    pub(super) fn ordered(&self) -> bool {
        !self.all("ordered").is_empty()
    }

    pub(super) fn expects_scalar(&self) -> bool {
        self.expected_scalar.is_some()
    }

    /// What the error must be like, if there must be one.
    pub(super) fn fails(&self) -> Option<Vec<&Pattern>> {
        Some(self.all("fail")).filter(|list| !list.is_empty())
    }

    pub(super) fn judge_annotations(&self, level: &str, got: &[String]) -> Result<(), String> {
        if !self.all(&format!("no_{level}")).is_empty() && !got.is_empty() {
            return Err(format!("unexpected {level} annotations {got:?}"));
        }
        let want = self.all(level);
        if want.is_empty() {
            return Ok(());
        }
        if let Some(missing) = want.iter().find(|p| !got.iter().any(|text| p.matches(text))) {
            return Err(format!("wanted {level} {missing:?}, got {got:?}"));
        }
        match got.iter().find(|text| !want.iter().any(|p| p.matches(text))) {
            Some(extra) => Err(format!("unexpected {level} {extra:?}")),
            None => Ok(()),
        }
    }
}

/// All commands with their line numbers (from 1).
pub(super) fn parse(script: &str) -> Vec<(usize, Result<Command, String>)> {
    let lines: Vec<&str> =
        script.lines().map(str::trim).map(|l| if l.starts_with('#') { "" } else { l }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at].is_empty() {
            at += 1;
            continue;
        }
        let first = lines[at].split_whitespace().next().unwrap_or("").to_lowercase();
        let end = if first == "clear" {
            at + 1
        } else {
            lines[at..].iter().position(|l| l.is_empty()).map_or(lines.len(), |n| at + n)
        };
        let body = &lines[at..end];
        let command = match first.as_str() {
            "clear" => Ok(Command::Clear),
            c if c.starts_with("load") => Load::parse(body).map(Command::Load),
            c if c.starts_with("eval") => eval(body).map(|e| Command::Eval(Box::new(e))),
            _ => Err(format!("invalid command {:?}", lines[at])),
        };
        commands.push((at + 1, command));
        at = end;
    }
    commands
}

/// The word before the first blank, and the rest.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once([' ', '\t']).map_or((text, ""), |(a, b)| (a, b.trim_start()))
}

fn keyword<'a>(text: &'a str, want: &str) -> Result<&'a str, String> {
    match word(text) {
        (got, rest) if got == want => Ok(rest),
        (got, _) => Err(format!("expected {want}, got {got:?}")),
    }
}

fn eval(lines: &[&str]) -> Result<Eval, String> {
    let (command, rest) = word(lines[0]);
    let (kind, rest) = match word(rest) {
        ("instant", rest) => {
            let (at, rest) = word(keyword(rest, "at")?);
            (Kind::Instant { at: parse_duration(at)? }, rest)
        }
        ("range", rest) => {
            let (from, rest) = word(keyword(rest, "from")?);
            let (to, rest) = word(keyword(rest, "to")?);
            let (step, rest) = word(keyword(rest, "step")?);
            let kind = Kind::Range {
                start: parse_duration(from)?,
                end: parse_duration(to)?,
                step: parse_duration(step)?,
            };
            (kind, rest)
        }
        (other, _) => return Err(format!("invalid evaluation kind {other:?}")),
    };
    let mut eval = Eval {
        text: lines.join("\n"),
        expr: rest.trim().to_owned(),
        kind,
        expects: Vec::new(),
        expected: Vec::new(),
        expected_scalar: None,
        expected_string: None,
        expected_range: None,
    };
    if let Some(modifier) = command.strip_prefix("eval_") {
        eval.expects.push((modifier.to_owned(), Pattern::Any));
    }
    for line in &lines[1..] {
        expectation(&mut eval, line)?;
    }
    Ok(eval)
}

fn expectation(eval: &mut Eval, line: &str) -> Result<(), String> {
    let regex = |text: &str| Regex::new(text).map_err(|e| e.to_string());
    if let Some(text) = line.strip_prefix("expected_fail_message") {
        eval.expects.push(("fail".into(), Pattern::Text(text.trim().into())));
    } else if let Some(text) = line.strip_prefix("expected_fail_regexp") {
        eval.expects.push(("fail".into(), Pattern::Regex(regex(text.trim())?)));
    } else if let Some(rest) = line.strip_prefix("expect range vector") {
        let (from, rest) = word(keyword(rest, "from")?);
        let (to, rest) = word(keyword(rest, "to")?);
        let (step, _) = word(keyword(rest, "step")?);
        eval.expected_range = Some((parse_duration(from)?, parse_duration(to)?, parse_duration(step)?));
    } else if let Some(rest) = line.strip_prefix("expect string") {
        eval.expected_string = Some(unquote(rest.trim())?);
    } else if word(line).0 == "expect" {
        let (what, rest) = word(word(line).1);
        let pattern = if let Some(text) = rest.strip_prefix("msg:") {
            Pattern::Text(text.trim().into())
        } else if let Some(text) = rest.strip_prefix("regex:") {
            Pattern::Regex(regex(text.trim())?)
        } else if rest.is_empty() {
            Pattern::Any
        } else {
            return Err(format!("invalid expect line {line:?}"));
        };
        if !["ordered", "fail", "warn", "no_warn", "info", "no_info"].contains(&what) {
            return Err(format!("invalid expect line {line:?}"));
        }
        eval.expects.push((what.into(), pattern));
    } else if let Some(v) = number(line) {
        eval.expected_scalar = Some(v);
    } else {
        eval.expected.push(parse_series(line).map_err(|e| format!("{line:?}: {e}"))?);
    }
    Ok(())
}

fn number(text: &str) -> Option<f64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(|n| sign * n as f64);
    }
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) {
        return i64::from_str_radix(&digits[1..], 8).ok().map(|n| sign * n as f64);
    }
    text.parse().ok()
}

/// A quoted string, read by the language's own parser.
fn unquote(text: &str) -> Result<String, String> {
    match promql::parse(text, promql::Options::ALL) {
        Ok(promql::Expr::String(s)) => Ok(s.value),
        Ok(_) => Err(format!("{text} is no string")),
        Err(e) => Err(e.to_string()),
    }
}
