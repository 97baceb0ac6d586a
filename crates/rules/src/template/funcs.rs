//! The functions of templates.

use super::Context;
use super::fmt::{significant, sprint, sprintf, sprintln};
use super::time::Time;
use super::value::{Sample, Type, Value};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Parameters of a function, and the type of further ones.
pub(super) struct Signature {
    pub(super) fixed: &'static [Type],
    pub(super) rest: Option<Type>,
}

pub(super) fn is_function(name: &str) -> bool {
    signature(name).is_some()
}

pub(super) fn signature(name: &str) -> Option<Signature> {
    use Type::{Any, Sample, Samples, Text};
    let (fixed, rest): (&'static [Type], Option<Type>) = match name {
        "and" | "or" | "index" | "slice" | "call" | "eq" => (&[Any], Some(Any)),
        "not" | "len" | "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage"
        | "humanizeTimestamp" | "toTime" | "toDuration" => (&[Any], None),
        "html" | "js" | "urlquery" | "print" | "println" | "args" => (&[], Some(Any)),
        "printf" => (&[Text], Some(Any)),
        "ne" | "lt" | "le" | "gt" | "ge" => (&[Any, Any], None),
        "query" | "title" | "toUpper" | "toLower" | "graphLink" | "tableLink" | "stripPort"
        | "stripDomain" | "safeHtml" | "parseDuration" | "urlQueryEscape" => (&[Text], None),
        "first" => (&[Samples], None),
        "label" => (&[Text, Sample], None),
        "value" | "strvalue" => (&[Sample], None),
        "reReplaceAll" => (&[Text, Text, Text], None),
        "match" => (&[Text, Text], None),
        "sortByLabel" => (&[Text, Samples], None),
        "now" | "pathPrefix" | "externalURL" => (&[], None),
        _ => return None,
    };
    Some(Signature { fixed, rest })
}

const NIL_POINTER: &str = "runtime error: invalid memory address or nil pointer dereference";

fn text(args: &[Value], at: usize) -> &str {
    match args.get(at) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

fn sample(args: &[Value], at: usize) -> Result<&Sample, String> {
    match args.get(at) {
        Some(Value::Sample(sample)) => Ok(sample),
        _ => Err(NIL_POINTER.into()),
    }
}

fn samples(args: &[Value], at: usize) -> Arc<Vec<Arc<Sample>>> {
    match args.get(at) {
        Some(Value::Samples(list)) => list.clone(),
        _ => Arc::default(),
    }
}

/// Calls a function; arguments have the types of its signature.
pub(super) fn call(name: &str, args: &[Value], context: &Context<'_>) -> Result<Value, String> {
    let first = || args.first().unwrap_or(&Value::Nil);
    Ok(match name {
        "not" => Value::Bool(!first().truth()),
        "len" => Value::Int(len(first())?),
        "index" => index(args)?,
        "slice" => slice(args)?,
        "call" => return Err(format!("non-function {} of type {}", first().verb_v(), first().type_name())),
        "html" => Value::Text(html(&joined(args))),
        "js" => Value::Text(js(&joined(args))),
        "urlquery" | "urlQueryEscape" => Value::Text(query_escape(&joined(args))),
        "print" => Value::Text(sprint(args)),
        "println" => Value::Text(sprintln(args)),
        "printf" => Value::Text(sprintf(text(args, 0), args.get(1..).unwrap_or_default())),
        "eq" => Value::Bool(equal(args)?),
        "ne" => Value::Bool(!equal(args)?),
        "lt" => Value::Bool(less(args)?),
        "le" => Value::Bool(less(args)? || equal(args)?),
        "gt" => Value::Bool(!(less(args)? || equal(args)?)),
        "ge" => Value::Bool(!less(args)?),
        "args" => {
            let named = args.iter().enumerate().map(|(i, v)| (format!("arg{i}"), v.clone()));
            Value::Args(Arc::new(named.collect()))
        }
        "query" => {
            Value::Samples(Arc::new((context.query)(text(args, 0))?.into_iter().map(Arc::new).collect()))
        }
        "first" => match samples(args, 0).first() {
            Some(sample) => Value::Sample(sample.clone()),
            None => return Err("first() called on vector with no elements".into()),
        },
        "label" => Value::Text(sample(args, 1)?.labels.get(text(args, 0)).cloned().unwrap_or_default()),
        "value" => sample(args, 0)?.value.clone(),
        "strvalue" => Value::Text(sample(args, 0)?.labels.get("__value__").cloned().unwrap_or_default()),
        "sortByLabel" => {
            let by = text(args, 0);
            let mut list = samples(args, 1).to_vec();
            list.sort_by(|a, b| a.labels.get(by).cmp(&b.labels.get(by)));
            Value::Samples(Arc::new(list))
        }
        "reReplaceAll" => {
            let regexp = pattern(text(args, 0)).map_err(|e| {
                let shown = text(args, 0);
                let quoted =
                    if shown.contains('`') { model::labels::quote(shown) } else { format!("`{shown}`") };
                format!("regexp: Compile({quoted}): {e}")
            })?;
            Value::Text(regexp.replace_all(text(args, 2), text(args, 1)).into_owned())
        }
        "match" => Value::Bool(pattern(text(args, 0))?.is_match(text(args, 1))),
        "safeHtml" => Value::Text(text(args, 0).to_owned()),
        "title" => Value::Text(title(text(args, 0))),
        "toUpper" => Value::Text(text(args, 0).to_uppercase()),
        "toLower" => Value::Text(text(args, 0).to_lowercase()),
        "graphLink" => Value::Text(format!("/graph?g0.expr={}&g0.tab=0", query_escape(text(args, 0)))),
        "tableLink" => Value::Text(format!("/graph?g0.expr={}&g0.tab=1", query_escape(text(args, 0)))),
        "stripPort" => Value::Text(strip_port(text(args, 0)).to_owned()),
        "stripDomain" => Value::Text(strip_domain(text(args, 0))),
        "humanize" => Value::Text(humanize(number(first())?)),
        "humanize1024" => Value::Text(humanize1024(number(first())?)),
        "humanizeDuration" => Value::Text(humanize_duration(number(first())?)),
        "humanizePercentage" => Value::Text(format!("{}%", significant(number(first())? * 100.0, 4))),
        "humanizeTimestamp" => {
            let v = number(first())?;
            match time(v) {
                _ if !v.is_finite() => Value::Text(significant(v, 4)),
                time => Value::Text(time?.to_string()),
            }
        }
        "toTime" => Value::Time(time(number(first())?)?),
        "toDuration" => Value::Duration((number(first())? * 1e9) as i64),
        "parseDuration" => Value::Float(parse_duration(text(args, 0))?),
        "now" => Value::Float(context.now_ms as f64 / 1000.0),
        "externalURL" => Value::Text(context.external_url.ok_or(NIL_POINTER)?.to_owned()),
        "pathPrefix" => Value::Text(path_of(context.external_url.ok_or(NIL_POINTER)?).to_owned()),
        _ => return Err(format!("{} is not a defined function", model::labels::quote(name))),
    })
}

/// Of `html`, `js` and `urlquery`: one text as it is, everything else as printed.
fn joined(args: &[Value]) -> String {
    match args {
        [Value::Text(text)] => text.clone(),
        _ => sprint(args),
    }
}

fn len(value: &Value) -> Result<i64, String> {
    let n = match value {
        Value::Text(t) => t.len(),
        Value::Labels(m) => m.len(),
        Value::Args(m) => m.len(),
        Value::Samples(list) => list.len(),
        Value::Nil => return Err("len of nil pointer".into()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(n as i64)
}

fn position(index: &Value, len: usize) -> Result<usize, String> {
    match index {
        Value::Int(i) => match usize::try_from(*i) {
            Ok(at) if at < len => Ok(at),
            _ => Err(format!("index out of range: {i}")),
        },
        Value::Nil => Err("cannot index slice/array with nil".into()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

fn index(args: &[Value]) -> Result<Value, String> {
    let Some((item, keys)) = args.split_first() else { return Ok(Value::Nil) };
    if matches!(item, Value::Nil) {
        return Err("index of untyped nil".into());
    }
    let mut item = item.clone();
    for key in keys {
        let by_name = |key: &Value| match key {
            Value::Text(name) => Ok(name.clone()),
            other => Err(format!("value has type {}; should be string", other.type_name())),
        };
        item = match &item {
            Value::Labels(map) => Value::Text(map.get(&by_name(key)?).cloned().unwrap_or_default()),
            Value::Args(map) => map.get(&by_name(key)?).cloned().unwrap_or(Value::Nil),
            Value::Samples(list) => Value::Sample(list[position(key, list.len())?].clone()),
            Value::Text(t) => Value::Int(i64::from(t.as_bytes()[position(key, t.len())?])),
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let Some((item, bounds)) = args.split_first() else { return Ok(Value::Nil) };
    let len = match item {
        Value::Text(t) => t.len(),
        Value::Samples(list) => list.len(),
        Value::Nil => return Err("slice of untyped nil".into()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    if bounds.len() == 3 && matches!(item, Value::Text(_)) {
        return Err("cannot 3-index slice a string".into());
    }
    let at = |i: usize, otherwise: usize| match bounds.get(i) {
        Some(bound) => position(bound, len + 1),
        None => Ok(otherwise),
    };
    let (from, to) = (at(0, 0)?, at(1, len)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match item {
        Value::Samples(list) => Value::Samples(Arc::new(list[from..to].to_vec())),
        Value::Text(t) => Value::Text(String::from_utf8_lossy(&t.as_bytes()[from..to]).into_owned()),
        _ => Value::Nil,
    })
}

fn basic(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_))
}

fn incompatible(a: &Value, b: &Value) -> String {
    format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name())
}

fn equal(args: &[Value]) -> Result<bool, String> {
    let Some((a, others)) = args.split_first() else { return Ok(false) };
    if others.is_empty() {
        return Err("missing argument for comparison".into());
    }
    for b in others {
        let same = match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Nil, Value::Nil) => true,
            (Value::Nil, _) | (_, Value::Nil) => false,
            (a, b) if basic(a) || basic(b) => return Err(incompatible(a, b)),
            (Value::Labels(_) | Value::Args(_) | Value::Samples(_), b) => {
                return Err(format!("non-comparable type {}: {}", b.verb_v(), b.type_name()));
            }
            // Pointers: equal when they are the same.
            (Value::Sample(a), Value::Sample(b)) => Arc::ptr_eq(a, b),
            (Value::Histogram(a), Value::Histogram(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

fn less(args: &[Value]) -> Result<bool, String> {
    const BAD: &str = "invalid type for comparison";
    match args {
        [Value::Int(a), Value::Int(b)] => Ok(a < b),
        [Value::Float(a), Value::Float(b)] => Ok(a < b),
        [Value::Text(a), Value::Text(b)] => Ok(a.cmp(b) == Ordering::Less),
        [Value::Bool(_), Value::Bool(_)] => Err(BAD.into()),
        [a, b] if basic(a) && basic(b) => Err(incompatible(a, b)),
        _ => Err(BAD.into()),
    }
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// Go's `url.QueryEscape`.
fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(b)),
            b if b.is_ascii_alphanumeric() => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn path_of(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = behind.find('/').map_or("", |at| &behind[at..]);
    path.split(['?', '#']).next().unwrap_or("")
}

fn pattern(text: &str) -> Result<regex::Regex, String> {
    model::regexp::search(text).map_err(|e| e.to_string())
}

/// The first letter of each word as a capital.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside || !c.is_alphabetic() {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric() || c == '_' || (inside && matches!(c, '\'' | '.' | ':' | '’'));
    }
    out
}

/// Go's `net.SplitHostPort`.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        let port = rest.strip_prefix(':')?;
        let plain = !host.contains(['[', ']']) && !port.contains([':', '[', ']']);
        return plain.then_some((host, port));
    }
    (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

fn strip_port(text: &str) -> &str {
    split_host_port(text).map_or(text, |(host, _)| host)
}

fn strip_domain(text: &str) -> String {
    let (host, port) = split_host_port(text).unwrap_or((text, ""));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let host = host.split('.').next().unwrap_or("");
    match port {
        "" => host.to_owned(),
        port if host.contains(':') => format!("[{host}]:{port}"),
        port => format!("{host}:{port}"),
    }
}

fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(v) => Ok(*v),
        Value::Int(i) => Ok(*i as f64),
        Value::Duration(ns) => Ok(*ns as f64 / 1e9),
        Value::Text(text) => go_float(text).ok_or_else(|| {
            format!("strconv.ParseFloat: parsing {}: invalid syntax", model::labels::quote(text))
        }),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// Numbers as Go's `strconv.ParseFloat` takes them, but for hexadecimal ones.
fn go_float(text: &str) -> Option<f64> {
    let bare = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    match bare.as_str() {
        "inf" | "infinity" | "nan" => {}
        _ if !bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') => return None,
        _ => {}
    }
    text.parse().ok()
}

fn scaled(mut v: f64, base: f64, prefixes: [&str; 8]) -> String {
    let mut prefix = "";
    for p in prefixes {
        if v.abs() < base {
            break;
        }
        prefix = p;
        v /= base;
    }
    format!("{}{prefix}", significant(v, 4))
}

fn small(mut v: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for p in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if v.abs() >= 1.0 {
            break;
        }
        prefix = p;
        v *= 1000.0;
    }
    (v, prefix)
}

fn humanize(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return significant(v, 4);
    }
    if v.abs() >= 1.0 {
        return scaled(v, 1000.0, ["k", "M", "G", "T", "P", "E", "Z", "Y"]);
    }
    let (v, prefix) = small(v);
    format!("{}{prefix}", significant(v, 4))
}

fn humanize1024(v: f64) -> String {
    if v.abs() <= 1.0 || !v.is_finite() {
        return significant(v, 4);
    }
    scaled(v, 1024.0, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"])
}

fn humanize_duration(v: f64) -> String {
    if !v.is_finite() {
        return significant(v, 4);
    }
    if v == 0.0 {
        return format!("{}s", significant(v, 4));
    }
    if v.abs() < 1.0 {
        let (v, prefix) = small(v);
        return format!("{}{prefix}s", significant(v, 4));
    }
    let sign = if v < 0.0 { "-" } else { "" };
    let whole = v.abs() as i64;
    let (d, h, m, s) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match () {
        () if d != 0 => format!("{sign}{d}d {h}h {m}m {s}s"),
        () if h != 0 => format!("{sign}{h}h {m}m {s}s"),
        () if m != 0 => format!("{sign}{m}m {s}s"),
        () => format!("{sign}{}s", significant(v.abs(), 4)),
    }
}

fn time(v: f64) -> Result<Time, String> {
    if !v.is_finite() {
        return Err("value is NaN or Inf".into());
    }
    let ns = v * 1e9;
    if ns.abs() > i64::MAX as f64 {
        let shown = model::float::go_string(v);
        return Err(format!(
            "{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    Ok(Time((ns as i64) / 1_000_000))
}

fn parse_duration(text: &str) -> Result<f64, String> {
    let ms = match text.strip_prefix('-') {
        Some(rest) => model::duration::parse_duration(rest).map(|ms| -ms),
        None => model::duration::parse_duration(text),
    };
    ms.map(|ms| ms as f64 / 1000.0)
}

/// Labels as templates see them.
pub fn label_map(labels: &model::Labels) -> Arc<BTreeMap<String, String>> {
    Arc::new(labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
}
