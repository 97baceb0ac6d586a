//! Aggregations and lists of labels.

use super::expr::hole;
use super::number::unquote;
use super::{Parser, Step, Stop};
use crate::ast::{Aggregate, AggregateOp, Expr, quote_bytes};
use crate::span::Span;
use crate::token::{Kind, Token, Word};

#[derive(Default)]
struct Modifier {
    grouping: Vec<String>,
    without: bool,
}

impl Parser<'_> {
    /// Behind the operator, which is known to be followed by `(`, `by` or `without`.
    pub(super) fn aggregate(&mut self, name: Token, op: AggregateOp) -> Step<Box<Expr>> {
        match self.aggregate_parts() {
            Ok((modifier, args, read_on)) => {
                let mut end = self.last_closing;
                if read_on {
                    end = self.lexer.end_before_last_paren(end);
                }
                Ok(self.new_aggregate(op, modifier, args, Span::new(name.span.start, end)))
            }
            Err(Stop::Unwind) => {
                self.recover("aggregation", "");
                let span = Span::new(name.span.start, self.last_closing);
                Ok(self.new_aggregate(op, Modifier::default(), Vec::new(), span))
            }
            Err(Stop::Abort) => Err(Stop::Abort),
        }
    }

    /// The modifier may stand before or behind the arguments. The flag says that the parser had to read one
    /// token too far to see that there is none.
    fn aggregate_parts(&mut self) -> Step<(Modifier, Vec<Expr>, bool)> {
        if let Some(modifier) = self.aggregate_modifier()? {
            return Ok((modifier, self.arguments()?, false));
        }
        let args = self.arguments()?;
        Ok(match self.aggregate_modifier()? {
            Some(modifier) => (modifier, args, false),
            None => (Modifier::default(), args, true),
        })
    }

    fn aggregate_modifier(&mut self) -> Step<Option<Modifier>> {
        let Kind::Word(word @ (Word::By | Word::Without)) = self.peek() else {
            return Ok(None);
        };
        self.shift();
        Ok(Some(Modifier { grouping: self.grouping_labels()?, without: word == Word::Without }))
    }

    fn new_aggregate(
        &mut self,
        op: AggregateOp,
        modifier: Modifier,
        mut args: Vec<Expr>,
        span: Span,
    ) -> Box<Expr> {
        if args.is_empty() {
            self.complain(span, "no arguments for aggregate expression provided");
            return hole(span);
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let name = op.as_str();
            self.complain(
                span,
                format!("{name}() is experimental and must be enabled with --enable-feature=promql-experimental-functions"),
            );
            return hole(span);
        }
        let want = if op.has_param() { 2 } else { 1 };
        let got = args.len();
        match (args.pop(), args.pop(), args.is_empty()) {
            (Some(expr), param, true) if param.is_some() == op.has_param() => {
                Box::new(Expr::Aggregate(Aggregate {
                    op,
                    expr: Box::new(expr),
                    param: param.map(Box::new),
                    grouping: modifier.grouping,
                    without: modifier.without,
                    span,
                }))
            }
            _ => {
                self.complain(
                    span,
                    format!("wrong number of arguments for aggregate expression provided, expected {want}, got {got}"),
                );
                hole(span)
            }
        }
    }

    /// `(a, b)` behind `by`, `without`, `on`, `ignoring`, `group_left` and `group_right`.
    pub(super) fn grouping_labels(&mut self) -> Step<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        let mut labels = Vec::new();
        if self.recovering_with(CONTEXT, "\"(\"", |p| p.expect(Kind::LeftParen))?.is_none() {
            return Ok(labels);
        }
        loop {
            let item = self.recovering_with(CONTEXT, "label", |p| {
                loop {
                    match p.peek() {
                        Kind::String | Kind::RightParen => break Ok(p.shift()),
                        kind if kind.is_grouping_label() => break Ok(p.shift()),
                        _ => p.reject()?,
                    }
                }
            })?;
            match item {
                Some(close) if close.kind == Kind::RightParen => return Ok(labels),
                Some(label) => labels.push(self.grouping_label(label)),
                None => {}
            }
            let separator = loop {
                let separator = self.recovering_with(CONTEXT, "\",\" or \")\"", |p| {
                    loop {
                        match p.peek() {
                            Kind::Comma | Kind::RightParen => break Ok(p.shift()),
                            _ => p.reject()?,
                        }
                    }
                })?;
                if let Some(separator) = separator {
                    break separator;
                }
            };
            if separator.kind == Kind::RightParen {
                return Ok(labels);
            }
        }
    }

    fn grouping_label(&mut self, token: Token) -> String {
        if token.kind != Kind::String {
            return self.text(token).to_owned();
        }
        let bytes = unquote(self.text(token));
        match String::from_utf8(bytes) {
            Ok(label) if !label.is_empty() => label,
            Ok(label) => {
                self.complain(token.span, "invalid label name for grouping: \"\"");
                label
            }
            Err(e) => {
                let label = quote_bytes(e.as_bytes());
                self.complain(token.span, format!("invalid label name for grouping: {label}"));
                String::new()
            }
        }
    }
}
