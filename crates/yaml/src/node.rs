//! The tree of a document: scalars with their spelling and line, sequences, mappings.

use crate::Error;
use granit_parser::{Event, Options, Parser, ScalarStyle};
use std::collections::HashMap;

/// Nodes of one document including what aliases repeat: a bound for alias bombs.
const MAX_NODES: usize = 2_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Counted from 1.
    pub line: u32,
    /// In characters, counted from 1.
    pub column: u32,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `plain`: written without quotes and without a tag that makes it a text.
    Scalar {
        text: String,
        plain: bool,
    },
    Seq(Vec<Node>),
    /// In order of the file; merge keys are already resolved, keys may repeat.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The null node of an empty document.
    pub fn null() -> Node {
        Node { line: 1, column: 1, kind: Kind::Scalar { text: String::new(), plain: true } }
    }

    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if crate::scalar::is_null(text))
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// Key and value of a mapping's entry.
    pub fn entry(&self, key: &str) -> Option<(&Node, &Node)> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(k, v)| (k, v)),
            _ => None,
        }
    }

    /// Elements of a sequence; none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::Seq(items) => items,
            _ => &[],
        }
    }
}

/// Reads the first document of a text; an empty text is null.
pub fn parse(text: &str) -> Result<Node, Error> {
    let mut builder = Builder { anchors: HashMap::new(), nodes: 0 };
    let mut open: Vec<Open> = Vec::new();
    let parser = Parser::new_from_str_with_options(text, options());
    for event in parser {
        let (event, span) = event.map_err(|e| {
            let line = u32::try_from(e.marker().line()).unwrap_or(0);
            Error::at(line, e.info().to_string())
        })?;
        let line = u32::try_from(span.start.line()).unwrap_or(0);
        let column = u32::try_from(span.start.col() + 1).unwrap_or(0);
        let done = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map(|t| t.suffix().to_owned());
                let plain = match tag.as_deref() {
                    Some("str" | "binary" | "") => false,
                    Some("int" | "float" | "bool" | "null") => true,
                    _ => style == ScalarStyle::Plain,
                };
                let text = match tag.as_deref() {
                    Some("binary") => crate::scalar::binary(&text).map_err(|e| Error::at(line, e))?,
                    _ => text.into_owned(),
                };
                let node = Node { line, column, kind: Kind::Scalar { text, plain } };
                builder.close(&mut open, node, anchor)?
            }
            Event::SequenceStart(_, anchor, _) => {
                open.push(Open { line, column, anchor, map: false, children: Vec::new() });
                None
            }
            Event::MappingStart(_, anchor, _) => {
                open.push(Open { line, column, anchor, map: true, children: Vec::new() });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(collection) => {
                    let (anchor, node) = collection.finish()?;
                    builder.close(&mut open, node, anchor)?
                }
                None => None,
            },
            Event::Alias(id) => {
                let node = builder.alias(id, line)?;
                builder.close(&mut open, node, 0)?
            }
            Event::DocumentEnd => break,
            _ => None,
        };
        if let Some(root) = done {
            return Ok(root);
        }
    }
    Ok(Node::null())
}

fn options() -> Options {
    Options::default()
}

/// A collection whose end is still to come.
struct Open {
    line: u32,
    column: u32,
    anchor: usize,
    map: bool,
    children: Vec<Node>,
}

impl Open {
    fn finish(self) -> Result<(usize, Node), Error> {
        let kind = if self.map { Kind::Map(pairs(self.children)?) } else { Kind::Seq(self.children) };
        Ok((self.anchor, Node { line: self.line, column: self.column, kind }))
    }
}

/// Keys and values in turn, with `<<` resolved: keys of the mapping itself win over merged ones.
fn pairs(children: Vec<Node>) -> Result<Vec<(Node, Node)>, Error> {
    let mut own = Vec::with_capacity(children.len() / 2);
    let mut merged: Vec<(Node, Node)> = Vec::new();
    let mut children = children.into_iter();
    while let (Some(key), Some(value)) = (children.next(), children.next()) {
        if !matches!(&key.kind, Kind::Scalar { text, plain: true } if text == "<<") {
            own.push((key, value));
            continue;
        }
        let sources = match value.kind {
            Kind::Map(entries) => vec![entries],
            Kind::Seq(items) => items
                .into_iter()
                .map(|item| match item.kind {
                    Kind::Map(entries) => Ok(entries),
                    _ => Err(Error::at(key.line, "map merge requires map or sequence of maps as the value")),
                })
                .collect::<Result<_, _>>()?,
            Kind::Scalar { .. } => {
                return Err(Error::at(key.line, "map merge requires map or sequence of maps as the value"));
            }
        };
        for (key, value) in sources.into_iter().flatten() {
            if !merged.iter().any(|(k, _)| k.kind == key.kind) {
                merged.push((key, value));
            }
        }
    }
    for (key, value) in merged {
        if !own.iter().any(|(k, _)| k.kind == key.kind) {
            own.push((key, value));
        }
    }
    Ok(own)
}

struct Builder {
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl Builder {
    /// Hands a finished node to its owner; gives it back when it is the document.
    fn close(&mut self, open: &mut [Open], node: Node, anchor: usize) -> Result<Option<Node>, Error> {
        self.spend(1, node.line)?;
        if anchor > 0 {
            let size = size(&node);
            self.spend(size, node.line)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match open.last_mut() {
            Some(owner) => {
                owner.children.push(node);
                Ok(None)
            }
            None => Ok(Some(node)),
        }
    }

    fn alias(&mut self, id: usize, line: u32) -> Result<Node, Error> {
        let Some((_, size)) = self.anchors.get(&id) else {
            return Err(Error::at(line, "an alias inside its own anchor"));
        };
        self.spend(*size, line)?;
        let node = self.anchors.get(&id).map(|(node, _)| node.clone());
        // Errors are reported where the text stands, so lines stay those of the anchor.
        node.ok_or_else(|| Error::at(line, "unknown anchor"))
    }

    fn spend(&mut self, nodes: usize, line: u32) -> Result<(), Error> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(Error::at(line, "document contains excessive aliasing"));
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar { .. } => 1,
        Kind::Seq(items) => 1 + items.iter().map(size).sum::<usize>(),
        Kind::Map(entries) => 1 + entries.iter().map(|(k, v)| size(k) + size(v)).sum::<usize>(),
    }
}
