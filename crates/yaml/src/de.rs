//! From the tree to Rust values.

use crate::node::{Kind, Node, parse};
use crate::scalar::{self, Value};
use crate::{Error, Problem};
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use std::cell::{Cell, RefCell};
use std::fmt::Write;

const INLINE: &str = "$inline.";

/// Reads a document into a value.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    from_node(&parse(text)?)
}

/// Reads a tree into a value. Unknown and repeated fields are collected, so that one error names all.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Error> {
    let context = Context::default();
    let value = T::deserialize(De { node, context: &context });
    let mut problems = context.problems.into_inner();
    match value {
        Ok(value) if problems.is_empty() => Ok(value),
        Ok(_) => Err(sorted(problems)),
        Err(failure) => {
            problems.push(failure.0.unwrap_or_default(node));
            Err(sorted(problems))
        }
    }
}

fn sorted(mut problems: Vec<Problem>) -> Error {
    problems.sort_by_key(|p| p.line);
    Error(problems)
}

#[derive(Default)]
struct Context {
    problems: RefCell<Vec<Problem>>,
    path: RefCell<Vec<Step>>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Context {
    fn path(&self) -> String {
        let mut out = String::new();
        for step in self.path.borrow().iter() {
            match step {
                Step::Key(key) => {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(key);
                }
                Step::Index(i) => {
                    let _ = write!(out, "[{i}]");
                }
            }
        }
        out
    }

    fn report(&self, line: u32, text: String) {
        let path = self.path();
        self.problems.borrow_mut().push(Problem { line, path, text });
    }

    /// Runs `f` one step further down, and gives its error the place it lacks.
    fn below<T>(&self, step: Step, line: u32, f: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        self.path.borrow_mut().push(step);
        let result = f().map_err(|mut failure| {
            failure.0.place(line, || self.path());
            failure
        });
        self.path.borrow_mut().pop();
        result
    }
}

/// An error on its way up, with or without its place.
#[derive(Debug)]
struct Failure(Place);

#[derive(Debug)]
struct Place {
    problem: Problem,
    placed: bool,
}

impl Place {
    fn place(&mut self, line: u32, path: impl FnOnce() -> String) {
        if !self.placed {
            self.problem.line = line;
            self.problem.path = path();
            self.placed = true;
        }
    }

    fn unwrap_or_default(mut self, root: &Node) -> Problem {
        self.place(root.line, String::new);
        self.problem
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.problem.text)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        let problem = Problem { line: 0, path: String::new(), text: text.to_string() };
        Failure(Place { problem, placed: false })
    }
}

#[derive(Clone, Copy)]
struct De<'a> {
    node: &'a Node,
    context: &'a Context,
}

impl<'a> De<'a> {
    /// `cannot unmarshal !!str `abc` into int`, as upstream says it.
    fn mismatch(&self, into: &str) -> Failure {
        let what = match &self.node.kind {
            Kind::Scalar { text, plain } => {
                let mut shown: String = text.chars().take(10).collect();
                if shown.len() < text.len() {
                    shown = format!("{}...", text.chars().take(7).collect::<String>());
                }
                format!("{} `{shown}`", scalar::tag(text, *plain))
            }
            Kind::Seq(_) => "!!seq".into(),
            Kind::Map(_) => "!!map".into(),
        };
        de::Error::custom(format!("cannot unmarshal {what} into {into}"))
    }

    fn integer(&self, into: &str) -> Result<i128, Failure> {
        let Kind::Scalar { text, plain: true } = &self.node.kind else { return Err(self.mismatch(into)) };
        match scalar::resolve(text) {
            Value::Null => Ok(0),
            Value::Int(n) => Ok(n),
            Value::Float(f) if f.fract() == 0.0 && f.abs() < 1e30 => Ok(f as i128),
            _ => Err(self.mismatch(into)),
        }
    }

    fn entries(&self, into: &str) -> Result<&'a [(Node, Node)], Failure> {
        match &self.node.kind {
            Kind::Map(entries) => Ok(entries),
            _ if self.node.is_null() => Ok(&[]),
            _ => Err(self.mismatch(into)),
        }
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $kind:ty, $name:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            let wide = self.integer($name)?;
            let value = <$kind>::try_from(wide).map_err(|_| self.mismatch($name))?;
            visitor.$visit(value)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for De<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.kind {
            Kind::Seq(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
            Kind::Scalar { text, plain: false } => visitor.visit_str(text),
            Kind::Scalar { text, plain: true } => match scalar::resolve(text) {
                Value::Null => visitor.visit_unit(),
                Value::Bool(b) => visitor.visit_bool(b),
                Value::Int(n) => match (i64::try_from(n), u64::try_from(n)) {
                    (Ok(n), _) => visitor.visit_i64(n),
                    (_, Ok(n)) => visitor.visit_u64(n),
                    _ => visitor.visit_f64(n as f64),
                },
                Value::Float(f) => visitor.visit_f64(f),
                Value::Text => visitor.visit_str(text),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.kind {
            Kind::Scalar { text, plain: true } => match scalar::boolean(text) {
                Some(b) => visitor.visit_bool(b),
                None if scalar::is_null(text) => visitor.visit_bool(false),
                None => Err(self.mismatch("bool")),
            },
            _ => Err(self.mismatch("bool")),
        }
    }

    integers! {
        deserialize_i8 visit_i8 i8, "int";
        deserialize_i16 visit_i16 i16, "int";
        deserialize_i32 visit_i32 i32, "int";
        deserialize_i64 visit_i64 i64, "int";
        deserialize_i128 visit_i128 i128, "int";
        deserialize_u8 visit_u8 u8, "uint";
        deserialize_u16 visit_u16 u16, "uint";
        deserialize_u32 visit_u32 u32, "uint";
        deserialize_u64 visit_u64 u64, "uint";
        deserialize_u128 visit_u128 u128, "uint";
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Kind::Scalar { text, plain: true } = &self.node.kind else {
            return Err(self.mismatch("float64"));
        };
        match scalar::resolve(text) {
            Value::Null => visitor.visit_f64(0.0),
            Value::Int(n) => visitor.visit_f64(n as f64),
            Value::Float(f) => visitor.visit_f64(f),
            _ => Err(self.mismatch("float64")),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.kind {
            Kind::Scalar { .. } if self.node.is_null() => visitor.visit_str(""),
            Kind::Scalar { text, .. } => visitor.visit_str(text),
            _ => Err(self.mismatch("string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.node.is_null() { visitor.visit_unit() } else { Err(self.mismatch("null")) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let items = match &self.node.kind {
            Kind::Seq(items) => items.as_slice(),
            _ if self.node.is_null() => &[],
            _ => return Err(self.mismatch("a list")),
        };
        visitor.visit_seq(Items { items: items.iter().enumerate(), context: self.context })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let entries = self.entries("a map")?;
        for (i, (key, _)) in entries.iter().enumerate() {
            if entries[..i].iter().any(|(before, _)| before.kind == key.kind) {
                let name = key.as_str().unwrap_or("");
                self.context.report(key.line, format!("key \"{name}\" already set in map"));
            }
        }
        visitor.visit_map(Entries { entries: entries.iter(), value: None, context: self.context })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let entries = self.entries(name)?;
        let mut open: Vec<Entry<'_>> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let Some(text) = key.as_str() else {
                self.context.report(key.line, format!("a field of {name} has no plain name"));
                continue;
            };
            if open.iter().any(|e| e.key == text) {
                self.context.report(key.line, format!("field {text} already set in type {name}"));
                continue;
            }
            open.push(Entry { key: text, line: key.line, value, taken: Cell::new(false) });
        }
        let pool = Pool { entries: open, line: self.node.line, context: self.context };
        let value = pool.visit(fields, visitor);
        if value.is_ok() {
            for entry in pool.entries.iter().filter(|e| !e.taken.get()) {
                self.context.report(entry.line, format!("field {} not found in type {name}", entry.key));
            }
        }
        value
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match self.node.as_str() {
            Some(text) => {
                let text: StrDeserializer<'_, Failure> = text.into_deserializer();
                visitor.visit_enum(text)
            }
            None => Err(self.mismatch(name)),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    context: &'a Context,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some((i, node)) = self.items.next() else { return Ok(None) };
        let context = self.context;
        context.below(Step::Index(i), node.line, || seed.deserialize(De { node, context })).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, (Node, Node)>,
    value: Option<(&'a Node, &'a Node)>,
    context: &'a Context,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key, value));
        let context = self.context;
        let step = Step::Key(key.as_str().unwrap_or("?").to_owned());
        context.below(step, key.line, || seed.deserialize(De { node: key, context })).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let Some((key, node)) = self.value.take() else {
            return Err(de::Error::custom("value asked for before its key"));
        };
        let context = self.context;
        let step = Step::Key(key.as_str().unwrap_or("?").to_owned());
        context.below(step, key.line, || seed.deserialize(De { node, context }))
    }
}

struct Entry<'a> {
    key: &'a str,
    line: u32,
    value: &'a Node,
    taken: Cell<bool>,
}

/// The entries of one mapping, shared by a struct and those inlined in it.
struct Pool<'a> {
    entries: Vec<Entry<'a>>,
    line: u32,
    context: &'a Context,
}

impl Pool<'_> {
    fn visit<'de, V: Visitor<'de>>(
        &self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let mine: Vec<usize> = (0..self.entries.len())
            .filter(|i| !self.entries[*i].taken.get() && fields.contains(&self.entries[*i].key))
            .collect();
        for i in &mine {
            self.entries[*i].taken.set(true);
        }
        let inlined = fields.iter().filter(|f| f.starts_with(INLINE)).copied().collect::<Vec<_>>();
        visitor.visit_map(Fields {
            pool: self,
            mine: mine.into_iter(),
            inlined: inlined.into_iter(),
            next: None,
        })
    }
}

enum Next {
    Entry(usize),
    Inline,
}

struct Fields<'a> {
    pool: &'a Pool<'a>,
    mine: std::vec::IntoIter<usize>,
    inlined: std::vec::IntoIter<&'static str>,
    next: Option<Next>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let key: &str = if let Some(i) = self.mine.next() {
            self.next = Some(Next::Entry(i));
            self.pool.entries[i].key
        } else if let Some(name) = self.inlined.next() {
            self.next = Some(Next::Inline);
            name
        } else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Failure> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let context = self.pool.context;
        match self.next.take() {
            Some(Next::Entry(i)) => {
                let entry = &self.pool.entries[i];
                let step = Step::Key(entry.key.to_owned());
                context.below(step, entry.line, || seed.deserialize(De { node: entry.value, context }))
            }
            Some(Next::Inline) => seed.deserialize(Inlined(self.pool)),
            None => Err(de::Error::custom("value asked for before its key")),
        }
    }
}

/// A struct whose fields stand among its owner's.
struct Inlined<'a>(&'a Pool<'a>);

impl<'de> de::Deserializer<'de> for Inlined<'_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failure> {
        Err(de::Error::custom(format!("only structs can be inlined (line {})", self.0.line)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.0.visit(fields, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
#[path = "de_tests.rs"]
mod tests;
