//! Expressions: operands, operators by precedence, what may follow an operand.

use super::{Parser, Step, Stop};
use crate::ast::*;
use crate::span::Span;
use crate::token::{Kind, Token, Word};
use crate::{MAX_DEPTH, functions};
use model::labels::quote;

/// How tightly an operator binds; signs bind as [`MUL`].
pub(super) const MUL: u8 = 5;
pub(super) const POW: u8 = 6;

pub(super) const fn precedence(op: BinaryOp) -> u8 {
    use BinaryOp::*;
    match op {
        Or => 1,
        And | Unless => 2,
        Eql | Neq | Lss | Lte | Gtr | Gte | TrimUpper | TrimLower => 3,
        Add | Sub => 4,
        Mul | Div | Mod | Atan2 => MUL,
        Pow => POW,
    }
}

impl Parser<'_> {
    /// An expression up to the first operator that binds no tighter than `floor`.
    pub(super) fn expr(&mut self, floor: u8) -> Step<Box<Expr>> {
        self.nesting += 1;
        if self.nesting > MAX_DEPTH {
            self.too_deep()?;
        }
        let operand = self.operand()?;
        let expr = self.expr_from(operand, floor)?;
        self.nesting -= 1;
        Ok(expr)
    }

    /// Goes on behind an operand.
    pub(super) fn expr_from(&mut self, mut lhs: Box<Expr>, floor: u8) -> Step<Box<Expr>> {
        loop {
            match self.peek() {
                Kind::Op(op) if precedence(op) > floor => lhs = self.binary(lhs, op)?,
                Kind::Word(Word::Offset) => lhs = self.offset(lhs)?,
                Kind::At => lhs = self.at(lhs)?,
                Kind::Word(word @ (Word::Anchored | Word::Smoothed)) => {
                    self.shift();
                    self.extend_range(&mut lhs, word);
                }
                Kind::LeftBracket => lhs = self.brackets(lhs)?,
                _ => return Ok(lhs),
            }
        }
    }

    fn operand(&mut self) -> Step<Box<Expr>> {
        loop {
            self.height = 1;
            match self.peek() {
                Kind::LeftParen => return self.paren(),
                Kind::Op(BinaryOp::Add) => return self.sign(UnaryOp::Plus),
                Kind::Op(BinaryOp::Sub) => return self.sign(UnaryOp::Minus),
                Kind::Number | Kind::Duration => return Ok(Box::new(Expr::Number(self.number_literal()))),
                Kind::String => return Ok(self.string_literal()),
                Kind::LeftBrace => return self.vector_selector(None).map(|v| Box::new(Expr::Vector(v))),
                kind if kind.is_metric_name() => return self.named(),
                _ => self.reject()?,
            }
        }
    }

    fn string_literal(&mut self) -> Box<Expr> {
        let token = self.shift();
        let (value, bytes) = match String::from_utf8(super::number::unquote(self.text(token))) {
            Ok(value) => (value, None),
            Err(e) => (String::from_utf8_lossy(e.as_bytes()).into_owned(), Some(e.into_bytes())),
        };
        Box::new(Expr::String(StringLiteral { value, bytes, span: token.span }))
    }

    /// A call, an aggregation or a selector: what follows the name decides.
    fn named(&mut self) -> Step<Box<Expr>> {
        let name = self.shift();
        let next = self.peek();
        match (name.kind, next) {
            (Kind::Aggr(op), Kind::LeftParen | Kind::Word(Word::By | Word::Without)) => {
                self.aggregate(name, op)
            }
            (Kind::Identifier, Kind::LeftParen) => self.call(name),
            (Kind::Word(word), Kind::LeftParen) if word.is_preprocessor() => self.call(name),
            _ => self.vector_selector(Some(name)).map(|v| Box::new(Expr::Vector(v))),
        }
    }

    fn paren(&mut self) -> Step<Box<Expr>> {
        let open = self.shift();
        let mut expr = self.expr(0)?;
        while self.peek() != Kind::RightParen {
            self.reject()?;
            // The dropped token may have hidden an operator.
            expr = self.expr_from(expr, 0)?;
        }
        let close = self.shift();
        self.grown(self.height + 1)?;
        Ok(Box::new(Expr::Paren(Paren { expr, span: open.span.to(close.span) })))
    }

    fn sign(&mut self, op: UnaryOp) -> Step<Box<Expr>> {
        let start = self.shift().span.start;
        let mut expr = self.expr(MUL)?;
        if let Expr::Number(number) = &mut *expr {
            number.negate(op);
            number.span.start = start;
            return Ok(expr);
        }
        self.grown(self.height + 1)?;
        Ok(Box::new(Expr::Unary(Unary { op, expr, start })))
    }

    fn call(&mut self, name: Token) -> Step<Box<Expr>> {
        let args = self.arguments()?;
        let span = Span::new(name.span.start, self.last_closing);
        let text = self.text(name);
        let Some(func) = functions::function(text) else {
            self.complain(name.span, format!("unknown function with name {}", quote(text)));
            return Ok(hole(span));
        };
        if func.experimental && !self.options.experimental_functions {
            self.complain(name.span, format!("function {} is not enabled", quote(text)));
        }
        Ok(Box::new(Expr::Call(Call { func, args, span })))
    }

    /// `(a, b)`, for calls and aggregations.
    pub(super) fn arguments(&mut self) -> Step<Vec<Expr>> {
        self.expect(Kind::LeftParen)?;
        let (mut args, mut height) = (Vec::new(), 0);
        if self.peek() == Kind::RightParen {
            self.shift();
            self.height = 1;
            return Ok(args);
        }
        args.push(*self.expr(0)?);
        height = height.max(self.height);
        loop {
            match self.peek() {
                Kind::RightParen => {
                    self.shift();
                    self.grown(height + 1)?;
                    return Ok(args);
                }
                Kind::Comma => {
                    let comma = self.shift();
                    if self.peek().starts_expr() {
                        args.push(*self.expr(0)?);
                        height = height.max(self.height);
                    } else {
                        self.complain(comma.span, "trailing commas not allowed in function call args");
                    }
                }
                _ => self.reject()?,
            }
        }
    }

    fn binary(&mut self, lhs: Box<Expr>, op: BinaryOp) -> Step<Box<Expr>> {
        let lhs_height = self.height;
        self.shift();
        let (matching, return_bool) = self.modifiers()?;
        // To the right of `^` stands another `^`; all else groups to the left.
        let rhs = self.expr(if op == BinaryOp::Pow { POW - 1 } else { precedence(op) })?;
        let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
        let binary = Binary { op, lhs, rhs, matching: Some(matching), return_bool };
        if filled && !self.options.fill_modifiers {
            let span = binary.lhs.span().to(binary.rhs.span());
            self.complain(span, "binop fill modifiers are experimental and not enabled");
        }
        self.grown(self.height.max(lhs_height) + 1)?;
        Ok(Box::new(Expr::Binary(binary)))
    }

    /// `bool`, `on`/`ignoring`, `group_left`/`group_right`, `fill`…, in this order, each optional.
    fn modifiers(&mut self) -> Step<(VectorMatching, bool)> {
        let mut matching = VectorMatching {
            card: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let return_bool = self.peek() == Kind::Word(Word::Bool);
        if return_bool {
            self.shift();
        }
        if let Kind::Word(word @ (Word::On | Word::Ignoring)) = self.peek() {
            self.shift();
            matching.on = word == Word::On;
            matching.labels = self.grouping_labels()?;
            let card = match self.peek() {
                Kind::Word(Word::GroupLeft) => Some(Cardinality::ManyToOne),
                Kind::Word(Word::GroupRight) => Some(Cardinality::OneToMany),
                _ => None,
            };
            if let Some(card) = card {
                self.shift();
                matching.card = card;
                let include = self.recovering_with("grouping opts", "\"(\"", |p| {
                    loop {
                        match p.peek() {
                            Kind::LeftParen => break p.grouping_labels(),
                            // The right side begins, or `fill`.
                            kind if kind.starts_expr() => break Ok(Vec::new()),
                            _ => p.reject()?,
                        }
                    }
                })?;
                matching.include = include.unwrap_or_default();
            }
        }
        match self.peek() {
            Kind::Word(Word::Fill) => {
                matching.fill_left = Some(self.fill_value()?);
                matching.fill_right = matching.fill_left;
            }
            Kind::Word(Word::FillLeft) => {
                matching.fill_left = Some(self.fill_value()?);
                if self.peek() == Kind::Word(Word::FillRight) {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            Kind::Word(Word::FillRight) => {
                matching.fill_right = Some(self.fill_value()?);
                if self.peek() == Kind::Word(Word::FillLeft) {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            _ => {}
        }
        Ok((matching, return_bool))
    }

    fn fill_value(&mut self) -> Step<f64> {
        self.shift();
        self.expect(Kind::LeftParen)?;
        let value = self.signed_number()?;
        self.expect(Kind::RightParen)?;
        Ok(value)
    }

    /// A number or duration, perhaps with a sign.
    pub(super) fn signed_number(&mut self) -> Step<f64> {
        let mut sign = None;
        loop {
            match self.peek() {
                Kind::Number | Kind::Duration => {
                    let mut number = self.number_literal();
                    number.negate(sign.unwrap_or(UnaryOp::Plus));
                    return Ok(number.value);
                }
                Kind::Op(BinaryOp::Add) if sign.is_none() => sign = Some(UnaryOp::Plus),
                Kind::Op(BinaryOp::Sub) if sign.is_none() => sign = Some(UnaryOp::Minus),
                _ => {
                    self.reject()?;
                    continue;
                }
            }
            self.shift();
        }
    }

    fn at(&mut self, mut lhs: Box<Expr>) -> Step<Box<Expr>> {
        self.shift();
        let stamp = match self.at_value() {
            Err(Stop::Unwind) => {
                self.recover("@", "timestamp");
                return Ok(lhs);
            }
            other => other?,
        };
        let stamp = match stamp {
            AtValue::Seconds(s) => {
                // What 64 bits of seconds cannot hold; written so that NaN is refused as well.
                let fits = s < i64::MAX as f64 && s > i64::MIN as f64;
                if !fits {
                    let number =
                        if s.is_finite() { format!("{s:.6}") } else { model::float::plain_string(s) };
                    self.complain(lhs.span(), format!("timestamp out of bounds for @ modifier: {number}"));
                }
                // Go makes the least integer of what does not fit.
                let ms = (s * 1000.0).round();
                AtModifier::Timestamp(if ms < i64::MAX as f64 { ms as i64 } else { i64::MIN })
            }
            AtValue::Start => AtModifier::Start,
            AtValue::End => AtModifier::End,
        };
        let end = self.last_closing;
        let (slot, end_slot) = match &mut *lhs {
            Expr::Vector(v) => (&mut v.at, &mut v.span.end),
            Expr::Matrix(m) => (&mut m.selector.at, &mut m.end),
            Expr::Subquery(s) => (&mut s.at, &mut s.end),
            other => {
                let span = other.span();
                self.complain(
                    span,
                    "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                );
                return Ok(lhs);
            }
        };
        if slot.is_some() {
            let span = lhs.span();
            self.complain(span, "@ <timestamp> may not be set multiple times");
        } else {
            *slot = Some(stamp);
            *end_slot = end;
        }
        Ok(lhs)
    }

    fn at_value(&mut self) -> Step<AtValue> {
        loop {
            match self.peek() {
                Kind::Number | Kind::Duration | Kind::Op(BinaryOp::Add | BinaryOp::Sub) => {
                    return self.signed_number().map(AtValue::Seconds);
                }
                Kind::Word(word @ (Word::Start | Word::End)) => {
                    self.shift();
                    self.expect(Kind::LeftParen)?;
                    self.expect(Kind::RightParen)?;
                    return Ok(if word == Word::Start { AtValue::Start } else { AtValue::End });
                }
                _ => self.reject()?,
            }
        }
    }

    /// `anchored` and `smoothed`.
    fn extend_range(&mut self, lhs: &mut Expr, word: Word) {
        let name = if word == Word::Anchored { "anchored" } else { "smoothed" };
        let span = lhs.span();
        if !self.options.extended_range_selectors {
            return self.complain(span, format!("{name} modifier is experimental and not enabled"));
        }
        let selector = match lhs {
            Expr::Vector(v) => v,
            Expr::Matrix(m) => &mut m.selector,
            Expr::Subquery(_) => {
                return self.complain(span, format!("{name} modifier is not supported for subqueries"));
            }
            _ => return self.complain(span, format!("{name} modifier not implemented")),
        };
        if word == Word::Anchored {
            selector.anchored = true;
        } else {
            selector.smoothed = true;
        }
        if selector.anchored && selector.smoothed {
            self.complain(span, "anchored and smoothed modifiers cannot be used together");
        }
    }
}

enum AtValue {
    Seconds(f64),
    Start,
    End,
}

/// Stands where an error left nothing to build; never leaves the parser.
pub(super) fn hole(span: Span) -> Box<Expr> {
    Box::new(Expr::String(StringLiteral { value: String::new(), bytes: None, span }))
}

impl NumberLiteral {
    pub(super) fn negate(&mut self, op: UnaryOp) {
        if op == UnaryOp::Minus {
            self.value = -self.value;
        }
    }
}

impl Kind {
    fn starts_expr(self) -> bool {
        matches!(
            self,
            Kind::LeftParen
                | Kind::Op(BinaryOp::Add | BinaryOp::Sub)
                | Kind::Number
                | Kind::Duration
                | Kind::String
                | Kind::LeftBrace
        ) || self.is_metric_name()
    }
}
