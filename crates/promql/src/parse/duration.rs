//! Durations: in brackets, behind `offset`, and arithmetic on them.

use super::{Parser, Step, Stop};
use crate::ast::*;
use crate::span::Span;
use crate::token::{Kind, Token, Word};

/// Seconds that 64 bits of nanoseconds cannot hold.
fn out_of_range(seconds: f64) -> bool {
    !(-9_223_372_036.854_775..=9_223_372_036.854_775).contains(&seconds) && !seconds.is_nan()
}

/// Milliseconds of a literal in seconds: rounded to nanoseconds, then cut, as upstream has it.
fn to_millis(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64 / 1_000_000
}

fn value_of(expr: DurationExpr) -> DurationValue {
    match expr {
        DurationExpr::Number(number) => DurationValue::Millis(to_millis(number.value)),
        expr => DurationValue::Expr(Box::new(expr)),
    }
}

fn zero() -> DurationExpr {
    DurationExpr::Number(NumberLiteral { value: 0.0, duration: false, span: Span::default() })
}

/// Marks as standing in parentheses. A plain number has no place for the mark and gets a sign for it.
fn wrap(mut expr: DurationExpr, start: usize) -> DurationExpr {
    match &mut expr {
        DurationExpr::Number(number) => {
            let span = Span::new(start, number.span.end);
            return DurationExpr::Unary { op: UnaryOp::Plus, expr: Box::new(expr), wrapped: true, span };
        }
        DurationExpr::Step { wrapped, .. }
        | DurationExpr::Range { wrapped, .. }
        | DurationExpr::Unary { wrapped, .. }
        | DurationExpr::Binary { wrapped, .. } => *wrapped = true,
    }
    expr
}

impl Parser<'_> {
    /// `expr[5m]`, `expr[5m:]`, `expr[5m:1m]`.
    pub(super) fn brackets(&mut self, lhs: Box<Expr>) -> Step<Box<Expr>> {
        const STARTS: &str = "number, duration, step(), or range()";
        let open = self.shift();
        let lhs_height = self.height;
        let Some(range) =
            self.recovering_with("subquery or range selector", STARTS, |p| p.positive_duration())?
        else {
            return self.grown(lhs_height).map(|()| lhs);
        };
        let close = self.recovering_with("subquery or range", "\":\" or \"]\"", |p| {
            loop {
                match p.peek() {
                    Kind::RightBracket | Kind::Colon => break Ok(p.shift()),
                    _ => p.reject()?,
                }
            }
        })?;
        let Some(close) = close else { return self.grown(lhs_height).map(|()| lhs) };
        if close.kind == Kind::RightBracket {
            self.height = lhs_height;
            return Ok(self.matrix(*lhs, value_of(range), open, close));
        }
        let step =
            self.recovering_with("subquery selector", "number, duration, step(), range(), or \"]\"", |p| {
                match p.peek() {
                    Kind::RightBracket => Ok(None),
                    _ => p.positive_duration_or_end(),
                }
            })?;
        let Some(step) = step else { return self.grown(lhs_height).map(|()| lhs) };
        let close = self.recovering_with("subquery selector", "\"]\"", |p| p.expect(Kind::RightBracket))?;
        let Some(close) = close else { return self.grown(lhs_height).map(|()| lhs) };
        self.grown(lhs_height + 1)?;
        Ok(Box::new(Expr::Subquery(Subquery {
            expr: lhs,
            range: value_of(range),
            step: step.map(value_of),
            offset: DurationValue::default(),
            at: None,
            end: close.span.end,
        })))
    }

    fn matrix(&mut self, lhs: Expr, range: DurationValue, open: Token, close: Token) -> Box<Expr> {
        let span = open.span.to(close.span);
        let selector = match lhs {
            Expr::Vector(selector) => selector,
            other => {
                self.complain(span, "ranges only allowed for vector selectors");
                return Box::new(other);
            }
        };
        if !selector.offset.is_zero() {
            self.complain(span, "no offset modifiers allowed before range");
        } else if selector.at.is_some() {
            self.complain(span, "no @ modifiers allowed before range");
        }
        Box::new(Expr::Matrix(MatrixSelector { selector, range, end: self.last_closing }))
    }

    fn positive_duration(&mut self) -> Step<DurationExpr> {
        let expr = self.duration(0)?;
        if let DurationExpr::Number(number) = &expr
            && number.value <= 0.0
        {
            let span = number.span;
            self.complain(span, "duration must be greater than 0");
            return Ok(zero());
        }
        Ok(expr)
    }

    /// While recovering, dropped tokens may uncover the `]`.
    fn positive_duration_or_end(&mut self) -> Step<Option<DurationExpr>> {
        while !self.peek().starts_duration() {
            if self.peek() == Kind::RightBracket {
                return Ok(None);
            }
            self.reject()?;
        }
        self.positive_duration().map(Some)
    }

    /// `expr offset …`
    pub(super) fn offset(&mut self, mut lhs: Box<Expr>) -> Step<Box<Expr>> {
        self.shift();
        let height = self.height;
        let value = match self.offset_duration() {
            Ok(value) => value_of(value),
            Err(Stop::Unwind) => {
                self.recover("offset", "number, duration, step(), or range()");
                self.height = height;
                return Ok(lhs);
            }
            Err(Stop::Abort) => return Err(Stop::Abort),
        };
        self.height = height;
        let end = self.last_closing;
        let span = lhs.span();
        let (slot, end_slot) = match &mut *lhs {
            Expr::Vector(v) => (&mut v.offset, &mut v.span.end),
            Expr::Matrix(m) => (&mut m.selector.offset, &mut m.end),
            Expr::Subquery(s) => (&mut s.offset, &mut s.end),
            _ => {
                self.complain(
                    span,
                    "offset modifier must be preceded by an instant vector selector or range vector selector or a \
                     subquery",
                );
                return Ok(lhs);
            }
        };
        let twice = !slot.is_zero();
        if !twice {
            *slot = value;
        }
        *end_slot = end;
        if twice {
            self.complain(span, "offset may not be set multiple times");
        }
        Ok(lhs)
    }

    /// Behind `offset` a bare literal or call ends the duration, so that `a offset 5m * 2` multiplies `a`;
    /// a parenthesis without sign begins arithmetic.
    fn offset_duration(&mut self) -> Step<DurationExpr> {
        loop {
            match self.peek() {
                Kind::Number | Kind::Duration => return Ok(self.duration_literal()),
                Kind::Word(word @ (Word::Step | Word::Range | Word::MaxOf | Word::MinOf)) => {
                    return self.duration_call(word, true);
                }
                Kind::Op(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                    let sign = self.shift();
                    let op = if op == BinaryOp::Sub { UnaryOp::Minus } else { UnaryOp::Plus };
                    return self.signed_offset(op, sign);
                }
                Kind::LeftParen => return self.duration(0),
                _ => self.reject()?,
            }
        }
    }

    fn signed_offset(&mut self, op: UnaryOp, sign: Token) -> Step<DurationExpr> {
        loop {
            match self.peek() {
                Kind::Number | Kind::Duration => {
                    let mut number = self.number_literal();
                    number.negate(op);
                    if out_of_range(number.value) {
                        self.complain(sign.span, "duration out of range");
                        return Ok(zero());
                    }
                    number.span.start = sign.span.start;
                    return Ok(DurationExpr::Number(number));
                }
                Kind::Word(word @ (Word::Step | Word::Range | Word::MaxOf | Word::MinOf)) => {
                    let call = self.duration_call(word, false)?;
                    let span = Span::new(sign.span.start, call.span().end);
                    let expr = DurationExpr::Unary { op, expr: Box::new(call), wrapped: false, span };
                    self.need_duration_expressions(span);
                    return Ok(expr);
                }
                Kind::LeftParen => {
                    self.shift();
                    let inner = self.duration(0)?;
                    let inner = self.close_duration(inner)?;
                    let start = inner.span().start;
                    let inner = wrap(inner, start);
                    return Ok(self.signed(op, sign, inner));
                }
                Kind::Op(BinaryOp::Add | BinaryOp::Sub) => {
                    let inner = self.duration(super::expr::MUL)?;
                    let inner = self.signed(op, sign, inner);
                    return self.duration_from(inner, 0);
                }
                _ => self.reject()?,
            }
        }
    }

    fn need_duration_expressions(&mut self, span: Span) {
        if !self.options.duration_expressions {
            self.complain(span, "experimental duration expression is not enabled");
        }
    }

    fn duration_literal(&mut self) -> DurationExpr {
        let number = self.number_literal();
        if out_of_range(number.value) {
            self.complain(number.span, "duration out of range");
            return zero();
        }
        DurationExpr::Number(number)
    }

    /// Arithmetic up to the first operator that binds no tighter than `floor`.
    fn duration(&mut self, floor: u8) -> Step<DurationExpr> {
        self.nesting += 1;
        if self.nesting > crate::MAX_DEPTH {
            self.too_deep()?;
        }
        self.height = 1;
        let operand = self.duration_operand()?;
        let expr = self.duration_from(operand, floor)?;
        self.nesting -= 1;
        Ok(expr)
    }

    fn duration_from(&mut self, mut lhs: DurationExpr, floor: u8) -> Step<DurationExpr> {
        loop {
            let Kind::Op(token_op) = self.peek() else { return Ok(lhs) };
            let op = match token_op {
                BinaryOp::Add => DurationOp::Add,
                BinaryOp::Sub => DurationOp::Sub,
                BinaryOp::Mul => DurationOp::Mul,
                BinaryOp::Div => DurationOp::Div,
                BinaryOp::Mod => DurationOp::Mod,
                BinaryOp::Pow => DurationOp::Pow,
                _ => return Ok(lhs),
            };
            let precedence = super::expr::precedence(token_op);
            if precedence <= floor {
                return Ok(lhs);
            }
            let sign = self.shift();
            let height = self.height;
            let rhs = self.duration(if op == DurationOp::Pow { precedence - 1 } else { precedence })?;
            self.grown(self.height.max(height) + 1)?;
            self.need_duration_expressions(lhs.span());
            let by_zero = matches!(&rhs, DurationExpr::Number(n) if n.value == 0.0);
            lhs = match op {
                DurationOp::Div if by_zero => {
                    self.complain(sign.span, "division by zero");
                    zero()
                }
                DurationOp::Mod if by_zero => {
                    self.complain(sign.span, "modulo by zero");
                    zero()
                }
                op => {
                    let span = lhs.span().to(rhs.span());
                    DurationExpr::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs), wrapped: false, span }
                }
            };
        }
    }

    fn duration_operand(&mut self) -> Step<DurationExpr> {
        loop {
            match self.peek() {
                Kind::Number | Kind::Duration => return Ok(self.duration_literal()),
                Kind::Op(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                    let sign = self.shift();
                    let op = if op == BinaryOp::Sub { UnaryOp::Minus } else { UnaryOp::Plus };
                    let inner = self.duration(super::expr::MUL)?;
                    self.grown(self.height + 1)?;
                    return Ok(self.signed(op, sign, inner));
                }
                Kind::Word(word @ (Word::Step | Word::Range | Word::MaxOf | Word::MinOf)) => {
                    return self.duration_call(word, true);
                }
                Kind::LeftParen => {
                    let open = self.shift();
                    let inner = self.duration(0)?;
                    let inner = self.close_duration(inner)?;
                    self.need_duration_expressions(inner.span());
                    self.grown(self.height + 1)?;
                    return Ok(wrap(inner, open.span.start));
                }
                _ => self.reject()?,
            }
        }
    }

    fn close_duration(&mut self, mut inner: DurationExpr) -> Step<DurationExpr> {
        while self.peek() != Kind::RightParen {
            self.reject()?;
            inner = self.duration_from(inner, 0)?;
        }
        self.shift();
        Ok(inner)
    }

    fn signed(&mut self, op: UnaryOp, sign: Token, expr: DurationExpr) -> DurationExpr {
        match expr {
            DurationExpr::Number(mut number) => {
                number.negate(op);
                number.span.start = sign.span.start;
                DurationExpr::Number(number)
            }
            expr if op == UnaryOp::Plus => expr,
            expr => {
                let span = Span::new(sign.span.start, expr.span().end);
                DurationExpr::Unary { op, expr: Box::new(expr), wrapped: false, span }
            }
        }
    }

    /// `step()`, `range()`, `max_of(a, b)`, `min_of(a, b)`; `alone`: without a sign that answers for it.
    fn duration_call(&mut self, word: Word, alone: bool) -> Step<DurationExpr> {
        let name = self.shift();
        self.expect(Kind::LeftParen)?;
        let expr = match word {
            Word::Step | Word::Range => {
                let close = self.expect(Kind::RightParen)?;
                let span = name.span.to(close.span);
                if word == Word::Step {
                    DurationExpr::Step { span, wrapped: false }
                } else {
                    DurationExpr::Range { span, wrapped: false }
                }
            }
            _ => {
                let mut lhs = self.duration(0)?;
                let height = self.height;
                while self.peek() != Kind::Comma {
                    self.reject()?;
                    lhs = self.duration_from(lhs, 0)?;
                }
                self.shift();
                let rhs = self.duration(0)?;
                let rhs = self.close_duration(rhs)?;
                self.grown(self.height.max(height) + 1)?;
                let span = lhs.span().to(rhs.span());
                let op = if word == Word::MaxOf { DurationOp::MaxOf } else { DurationOp::MinOf };
                DurationExpr::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs), wrapped: false, span }
            }
        };
        if alone {
            self.need_duration_expressions(expr.span());
        }
        Ok(expr)
    }
}

impl Kind {
    fn starts_duration(self) -> bool {
        matches!(
            self,
            Kind::Number
                | Kind::Duration
                | Kind::LeftParen
                | Kind::Op(BinaryOp::Add | BinaryOp::Sub)
                | Kind::Word(Word::Step | Word::Range | Word::MaxOf | Word::MinOf)
        )
    }
}
