//! Selectors and label sets: what stands in braces.

use super::{Parser, Step};
use crate::ast::{BinaryOp, VectorSelector};
use crate::span::Span;
use crate::token::{Kind, Token};
use model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};

impl Parser<'_> {
    /// Behind the name, if there is one; else `{` is next.
    pub(super) fn vector_selector(&mut self, name: Option<Token>) -> Step<VectorSelector> {
        let mut vector = VectorSelector::default();
        if let Some(name) = name {
            vector.span = name.span;
            vector.name = self.text(name).to_owned();
        }
        if self.peek() == Kind::LeftBrace {
            let braces = self.matchers(&mut vector.matchers)?;
            vector.span = name.map_or(braces, |n| n.span.to(braces));
        }
        if name.is_some() {
            vector.matchers.push(Matcher::equal(METRIC_NAME, vector.name.clone()));
        }
        Ok(vector)
    }

    /// `{a="b", c=~"d"}`
    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Step<Span> {
        const CONTEXT: &str = "label matching";
        let open = self.shift();
        loop {
            match self.list_item(CONTEXT)? {
                Some(close) if close.kind == Kind::RightBrace => return Ok(open.span.to(close.span)),
                Some(name) => matchers.extend(self.matcher(name, CONTEXT)?),
                None => {}
            }
            let separator = self.list_separator(CONTEXT)?;
            if separator.kind == Kind::RightBrace {
                return Ok(open.span.to(separator.span));
            }
        }
    }

    /// The name of an item, or `}`; `None`: refused and reported.
    fn list_item(&mut self, context: &str) -> Step<Option<Token>> {
        self.recovering_with(context, "identifier or \"}\"", |p| {
            loop {
                match p.peek() {
                    Kind::Identifier | Kind::String | Kind::RightBrace => break Ok(p.shift()),
                    _ => p.reject()?,
                }
            }
        })
    }

    /// `,` or `}`; complains about all else until there is one.
    fn list_separator(&mut self, context: &str) -> Step<Token> {
        loop {
            let separator = self.recovering_with(context, "\",\" or \"}\"", |p| {
                loop {
                    match p.peek() {
                        Kind::Comma | Kind::RightBrace => break Ok(p.shift()),
                        _ => p.reject()?,
                    }
                }
            })?;
            if let Some(separator) = separator {
                return Ok(separator);
            }
        }
    }

    /// Behind its name: `a="b"`, or a quoted metric name. `None`: refused and reported.
    fn matcher(&mut self, name: Token, context: &str) -> Step<Option<Matcher>> {
        let label = self.label_text(name);
        let op = match match_op(self.peek()) {
            None if name.kind == Kind::String => return Ok(Some(Matcher::equal(METRIC_NAME, label))),
            _ => self.recovering_with(context, "label matching operator", |p| {
                loop {
                    match match_op(p.peek()) {
                        Some(op) => break Ok(op),
                        None => p.reject()?,
                    }
                }
            })?,
        };
        let Some(op) = op else { return Ok(None) };
        self.shift();
        let Some(value) = self.recovering_with(context, "string", |p| p.expect(Kind::String))? else {
            return Ok(None);
        };
        let text = self.unquote(value);
        match Matcher::new(op, label, text) {
            Ok(matcher) => Ok(Some(matcher)),
            Err(error) => {
                self.complain(name.span.to(value.span), error.to_string());
                Ok(None)
            }
        }
    }

    fn label_text(&mut self, name: Token) -> String {
        if name.kind == Kind::String { self.unquote(name) } else { self.text(name).to_owned() }
    }

    /// A metric of a series description: a name, a label set, both or nothing.
    pub(super) fn metric(&mut self) -> Step<Labels> {
        let mut labels = LabelsBuilder::new();
        let name = if self.peek().is_metric_name() { Some(self.shift()) } else { None };
        if self.peek() == Kind::LeftBrace {
            self.label_set(&mut labels)?;
        }
        if let Some(name) = name {
            labels.set(METRIC_NAME, self.text(name));
        }
        Ok(labels.finish())
    }

    fn label_set(&mut self, labels: &mut LabelsBuilder) -> Step<()> {
        const CONTEXT: &str = "label set";
        self.shift();
        loop {
            match self.list_item(CONTEXT)? {
                Some(close) if close.kind == Kind::RightBrace => return Ok(()),
                Some(name) => self.label_pair(name, CONTEXT, labels)?,
                None => {}
            }
            if self.list_separator(CONTEXT)?.kind == Kind::RightBrace {
                return Ok(());
            }
        }
    }

    fn label_pair(&mut self, name: Token, context: &str, labels: &mut LabelsBuilder) -> Step<()> {
        let label = self.label_text(name);
        if name.kind == Kind::String && self.peek() != Kind::Eql {
            labels.set(METRIC_NAME, &label);
            return Ok(());
        }
        if self.recovering_with(context, "\"=\"", |p| p.expect(Kind::Eql))?.is_none() {
            return Ok(());
        }
        if let Some(value) = self.recovering_with(context, "string", |p| p.expect(Kind::String))? {
            let value = self.unquote(value);
            labels.set(&label, &value);
        }
        Ok(())
    }
}

fn match_op(kind: Kind) -> Option<MatchOp> {
    Some(match kind {
        Kind::Eql => MatchOp::Equal,
        Kind::Op(BinaryOp::Neq) => MatchOp::NotEqual,
        Kind::EqlRegex => MatchOp::Regex,
        Kind::NeqRegex => MatchOp::NotRegex,
        _ => return None,
    })
}
