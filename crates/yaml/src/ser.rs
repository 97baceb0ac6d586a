//! From Rust values to text, in the layout of upstream's library: maps sorted, lists not indented, quotes only
//! where a reader would take the text for something else.

use crate::Error;
use crate::scalar::{self, Value};
use serde::ser::{self, Serialize};
use std::fmt::Write;

const INLINE: &str = "$inline.";
/// Name of a newtype struct whose list is written as `[a, b]`.
const FLOW: &str = "$flow";

/// Lines are broken at spaces beyond this column.
const WIDTH: usize = 80;

/// The document of a value, with a line break at its end.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    let tree = value.serialize(Writer).map_err(|e| Error::at(0, e.0))?;
    let mut out = String::new();
    match &tree {
        Out::Map(entries) if !entries.is_empty() => write_map(&mut out, entries, 0),
        Out::Seq(items, false) if !items.is_empty() => write_seq(&mut out, items, 0),
        other => {
            write_flat(&mut out, other, 0);
            out.push('\n');
        }
    }
    Ok(out)
}

enum Out {
    /// Null, bool, number: as they are.
    Raw(String),
    Text(String),
    /// `true`: in flow style.
    Seq(Vec<Out>, bool),
    Map(Vec<(String, Out)>),
}

fn indent(out: &mut String, depth: usize) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn write_map(out: &mut String, entries: &[(String, Out)], depth: usize) {
    for (i, (key, value)) in entries.iter().enumerate() {
        if i > 0 || !out.ends_with("- ") {
            indent(out, depth);
        }
        write_key(out, key);
        out.push(':');
        match value {
            Out::Map(entries) if !entries.is_empty() => {
                out.push('\n');
                write_map(out, entries, depth + 1);
            }
            Out::Seq(items, false) if !items.is_empty() => {
                out.push('\n');
                write_seq(out, items, depth);
            }
            other => {
                out.push(' ');
                write_flat(out, other, depth);
                out.push('\n');
            }
        }
    }
}

fn write_seq(out: &mut String, items: &[Out], depth: usize) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 || !out.ends_with("- ") {
            indent(out, depth);
        }
        out.push_str("- ");
        match item {
            Out::Map(entries) if !entries.is_empty() => write_map(out, entries, depth + 1),
            Out::Seq(items, false) if !items.is_empty() => write_seq(out, items, depth + 1),
            other => {
                write_flat(out, other, depth);
                out.push('\n');
            }
        }
    }
}

fn write_flat(out: &mut String, value: &Out, depth: usize) {
    match value {
        Out::Raw(text) => out.push_str(text),
        Out::Text(text) => write_text(out, text, depth),
        Out::Map(_) => out.push_str("{}"),
        Out::Seq(items, _) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                match item {
                    Out::Text(text)
                        if text.contains([',', '[', ']', '{', '}', '?']) && !text.contains('\n') =>
                    {
                        let _ = write!(out, "'{}'", text.replace('\'', "''"));
                    }
                    other => write_flat(out, other, depth),
                }
            }
            out.push(']');
        }
    }
}

/// A key stands on one line.
fn write_key(out: &mut String, key: &str) {
    if must_escape(key) {
        double_quoted(out, key);
    } else if plain_safe(key) {
        out.push_str(key);
    } else {
        out.push_str(&single_quoted(key));
    }
}

fn write_text(out: &mut String, text: &str, depth: usize) {
    if text.contains('\n') && literal_safe(text) {
        let chomp = match text.bytes().rev().take_while(|b| *b == b'\n').count() {
            0 => "-",
            1 => "",
            _ => "+",
        };
        let _ = write!(out, "|{chomp}");
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            out.push('\n');
            if !line.is_empty() {
                indent(out, depth + 1);
                out.push_str(line);
            }
        }
    } else if must_escape(text) {
        double_quoted(out, text);
    } else if plain_safe(text) {
        folded(out, text, depth);
    } else {
        folded(out, &single_quoted(text), depth);
    }
}

/// A reader would take the plain text for something else, or could not read it.
fn must_escape(text: &str) -> bool {
    scalar::resolve(text) != Value::Text || base60(text) || date(text) || text.chars().any(needs_escape)
}

fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Writes a text with a line break for single spaces beyond the width; readers make spaces of them again.
fn folded(out: &mut String, text: &str, depth: usize) {
    let line = out.rfind('\n').map_or(0, |at| at + 1);
    let mut column = out[line..].chars().count();
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let single = c == ' ' && before != ' ' && chars.peek().is_some_and(|next| *next != ' ');
        if single && column > WIDTH {
            out.push('\n');
            indent(out, depth + 1);
            column = 2 * (depth + 1);
        } else {
            out.push(c);
            column += 1;
        }
        before = c;
    }
}

/// Go's library quotes what a reader may take for a time.
fn date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let digits = |p: Option<&str>, lengths: std::ops::RangeInclusive<usize>| {
        p.is_some_and(|p| lengths.contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
    };
    let (year, month, rest) = (parts.next(), parts.next(), parts.next().unwrap_or(""));
    let day = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let time = &rest[day..];
    digits(year, 4..=4)
        && digits(month, 1..=2)
        && (1..=2).contains(&day)
        && (time.is_empty()
            || (time.starts_with(['T', 't', ' '])
                && time[1..].bytes().all(|b| b.is_ascii_digit() || b":.Zz+-".contains(&b))
                && time.contains(':')))
}

fn needs_escape(c: char) -> bool {
    // Beyond the basic plane upstream's writer knows no printable characters.
    c.is_control() || c > '\u{ffff}' || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}')
}

fn literal_safe(text: &str) -> bool {
    !text.starts_with([' ', '\n'])
        && !text.chars().any(|c| c != '\n' && needs_escape(c))
        && !text.split('\n').any(|line| line.ends_with(' '))
}

/// `1:30` was a number in YAML 1.1.
fn base60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let digits = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    unsigned.contains(':')
        && parts.next().is_some_and(digits)
        && parts.all(|p| digits(p.split('.').next().unwrap_or("")) && p.len() <= 3)
}

fn plain_safe(text: &str) -> bool {
    let bytes = text.as_bytes();
    let first = bytes.first().copied().unwrap_or(b' ');
    if b"#,[]{}&*!|>'\"%@`".contains(&first) || text.starts_with(' ') || text.ends_with(' ') {
        return false;
    }
    if text.starts_with("---") || text.starts_with("...") {
        return false;
    }
    if b"-?:".contains(&first) && bytes.get(1).is_none_or(|b| *b == b' ') {
        return false;
    }
    !(text.contains(": ") || text.ends_with(':') || text.contains(" #"))
}

fn double_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            c if needs_escape(c) && (c as u32) < 0x100 => {
                let _ = write!(out, "\\x{:02X}", c as u32);
            }
            c if needs_escape(c) && (c as u32) < 0x1_0000 => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c if needs_escape(c) => {
                let _ = write!(out, "\\U{:08X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[derive(Debug)]
struct Failure(String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl ser::Error for Failure {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        Failure(text.to_string())
    }
}

struct Writer;

type Done = Result<Out, Failure>;

fn raw(value: impl std::fmt::Display) -> Done {
    Ok(Out::Raw(value.to_string()))
}

macro_rules! raws {
    ($($method:ident $kind:ty;)*) => {$(
        fn $method(self, v: $kind) -> Done {
            raw(v)
        }
    )*};
}

impl ser::Serializer for Writer {
    type Ok = Out;
    type Error = Failure;
    type SerializeSeq = Seq;
    type SerializeTuple = Seq;
    type SerializeTupleStruct = Seq;
    type SerializeTupleVariant = Seq;
    type SerializeMap = Map;
    type SerializeStruct = Map;
    type SerializeStructVariant = Map;

    raws! {
        serialize_bool bool;
        serialize_i8 i8;
        serialize_i16 i16;
        serialize_i32 i32;
        serialize_i64 i64;
        serialize_u8 u8;
        serialize_u16 u16;
        serialize_u32 u32;
        serialize_u64 u64;
    }

    fn serialize_f32(self, v: f32) -> Done {
        self.serialize_f64(f64::from(v))
    }

    fn serialize_f64(self, v: f64) -> Done {
        if v.is_nan() {
            raw(".nan")
        } else if v.is_infinite() {
            raw(if v > 0.0 { ".inf" } else { "-.inf" })
        } else {
            raw(v)
        }
    }

    fn serialize_char(self, v: char) -> Done {
        Ok(Out::Text(v.to_string()))
    }

    fn serialize_str(self, v: &str) -> Done {
        Ok(Out::Text(v.to_owned()))
    }

    fn serialize_bytes(self, v: &[u8]) -> Done {
        Ok(Out::Text(String::from_utf8_lossy(v).into_owned()))
    }

    fn serialize_none(self) -> Done {
        raw("null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        raw("null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        raw("null")
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Done {
        match value.serialize(self)? {
            Out::Seq(items, _) if name == FLOW => Ok(Out::Seq(items, true)),
            other => Ok(other),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        Ok(Out::Map(vec![(variant.to_owned(), value.serialize(self)?)]))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Seq, Failure> {
        Ok(Seq(Vec::with_capacity(len.unwrap_or(0).min(1024))))
    }

    fn serialize_tuple(self, len: usize) -> Result<Seq, Failure> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Seq, Failure> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        len: usize,
    ) -> Result<Seq, Failure> {
        self.serialize_seq(Some(len))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map, Failure> {
        Ok(Map { entries: Vec::new(), key: String::new(), sort: true })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Map, Failure> {
        Ok(Map { entries: Vec::new(), key: String::new(), sort: false })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        len: usize,
    ) -> Result<Map, Failure> {
        self.serialize_struct(name, len)
    }
}

struct Seq(Vec<Out>);

macro_rules! sequences {
    ($($kind:ident $method:ident;)*) => {$(
        impl ser::$kind for Seq {
            type Ok = Out;
            type Error = Failure;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
                self.0.push(value.serialize(Writer)?);
                Ok(())
            }
            fn end(self) -> Done {
                Ok(Out::Seq(self.0, false))
            }
        }
    )*};
}

sequences! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

struct Map {
    entries: Vec<(String, Out)>,
    key: String,
    /// Maps are sorted by key, structs keep the order of their fields.
    sort: bool,
}

impl Map {
    fn add<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Failure> {
        match value.serialize(Writer)? {
            Out::Map(entries) if key.starts_with(INLINE) => self.entries.extend(entries),
            Out::Raw(null) if key.starts_with(INLINE) && null == "null" => {}
            other => self.entries.push((key.to_owned(), other)),
        }
        Ok(())
    }

    fn done(mut self) -> Done {
        if self.sort {
            self.entries.sort_by(|a, b| a.0.cmp(&b.0));
        }
        Ok(Out::Map(self.entries))
    }
}

impl ser::SerializeMap for Map {
    type Ok = Out;
    type Error = Failure;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failure> {
        self.key = match key.serialize(Writer)? {
            Out::Text(text) | Out::Raw(text) => text,
            _ => return Err(Failure("keys must be scalars".into())),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        let key = std::mem::take(&mut self.key);
        self.add(&key, value)
    }

    fn end(self) -> Done {
        self.done()
    }
}

impl ser::SerializeStruct for Map {
    type Ok = Out;
    type Error = Failure;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        self.add(key, value)
    }

    fn end(self) -> Done {
        self.done()
    }
}

impl ser::SerializeStructVariant for Map {
    type Ok = Out;
    type Error = Failure;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        self.add(key, value)
    }

    fn end(self) -> Done {
        self.done()
    }
}

#[cfg(test)]
#[path = "ser_tests.rs"]
mod tests;
