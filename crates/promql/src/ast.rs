//! The syntax tree: plain owned data, every node with its place in the query.

use crate::functions::Function;
use crate::span::Span;
use model::Matcher;
use model::labels::quote;

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    None,
    Scalar,
    Vector,
    Matrix,
    String,
}

impl ValueType {
    /// The name the HTTP API uses: `scalar`, `vector`, …
    pub const fn as_str(self) -> &'static str {
        match self {
            ValueType::None => "none",
            ValueType::Scalar => "scalar",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
            ValueType::String => "string",
        }
    }

    /// The name error messages use: `instant vector`, `range vector`, …
    pub const fn documented(self) -> &'static str {
        match self {
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
            other => other.as_str(),
        }
    }
}

/// An expression. A tree that [`crate::parse()`] returns is well typed and no deeper than
/// [`crate::MAX_DEPTH`].
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Aggregate(Aggregate),
    Binary(Binary),
    Call(Call),
    Matrix(MatrixSelector),
    Number(NumberLiteral),
    Paren(Paren),
    String(StringLiteral),
    Subquery(Subquery),
    Unary(Unary),
    Vector(VectorSelector),
}

/// `sum by (job) (x)`, `topk(3, x)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    pub op: AggregateOp,
    pub expr: Box<Expr>,
    /// First argument of the operators for which [`AggregateOp::has_param`] says true.
    pub param: Option<Box<Expr>>,
    pub grouping: Vec<String>,
    /// Drop the labels of `grouping` instead of keeping only them.
    pub without: bool,
    pub span: Span,
}

/// `lhs op rhs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    pub op: BinaryOp,
    pub lhs: Box<Expr>,
    pub rhs: Box<Expr>,
    /// How series of the two sides find each other; `None` unless both sides are instant vectors.
    pub matching: Option<VectorMatching>,
    /// A comparison that returns 0 or 1 instead of filtering.
    pub return_bool: bool,
}

/// `rate(x[5m])`.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub func: &'static Function,
    pub args: Vec<Expr>,
    pub span: Span,
}

/// `x[5m]`; modifiers written behind the brackets stand in the inner selector.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    pub selector: VectorSelector,
    pub range: DurationValue,
    /// End of the whole selector; it starts where the inner one starts.
    pub end: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NumberLiteral {
    pub value: f64,
    /// Written as a duration (`5m`); printed as one. The value is in seconds.
    pub duration: bool,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    pub expr: Box<Expr>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StringLiteral {
    /// The text; bytes that are not UTF-8 read as U+FFFD.
    pub value: String,
    /// The true bytes when escapes (`"\xff"`) spell what is not UTF-8. Such a text is never a valid name.
    pub bytes: Option<Vec<u8>>,
    pub span: Span,
}

impl StringLiteral {
    /// The text in quotes, as Go quotes it.
    pub fn quoted(&self) -> String {
        self.bytes.as_deref().map_or_else(|| quote(&self.value), quote_bytes)
    }
}

/// Bytes in quotes, as Go quotes a string of them: those that are not UTF-8 as `\xff`.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let valid = quote(chunk.valid());
        out.push_str(&valid[1..valid.len() - 1]);
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

/// `expr[range:step]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    pub expr: Box<Expr>,
    pub range: DurationValue,
    /// `None` when left out: the default step applies.
    pub step: Option<DurationValue>,
    /// `offset`; `Millis(0)` when there is none.
    pub offset: DurationValue,
    pub at: Option<AtModifier>,
    /// End of the whole subquery; it starts where the inner expression starts.
    pub end: usize,
}

/// `+x`, `-x`. Signs of number literals are part of the literal.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    pub op: UnaryOp,
    pub expr: Box<Expr>,
    pub start: usize,
}

/// `name{label="value"} offset 5m @ 1`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct VectorSelector {
    /// Name written before the braces, else empty.
    pub name: String,
    /// All matchers; one on `__name__` stands for `name` (last).
    pub matchers: Vec<Matcher>,
    /// `offset`; `Millis(0)` when there is none.
    pub offset: DurationValue,
    pub at: Option<AtModifier>,
    /// Second argument of `info()`: may match everything.
    pub allow_empty_matchers: bool,
    pub anchored: bool,
    pub smoothed: bool,
    pub span: Span,
}

/// `@ 1609746000`, `@ start()`, `@ end()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtModifier {
    /// Milliseconds since the epoch.
    Timestamp(i64),
    Start,
    End,
}

/// A duration in brackets or behind `offset`.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationValue {
    /// A literal, in milliseconds; offsets may be negative.
    Millis(i64),
    /// To be computed once range and step of the query are known (experimental).
    Expr(Box<DurationExpr>),
}

impl Default for DurationValue {
    fn default() -> Self {
        DurationValue::Millis(0)
    }
}

impl DurationValue {
    pub fn is_zero(&self) -> bool {
        *self == DurationValue::Millis(0)
    }

    /// The literal's milliseconds; `None` for an expression.
    pub fn millis(&self) -> Option<i64> {
        match self {
            DurationValue::Millis(ms) => Some(*ms),
            DurationValue::Expr(_) => None,
        }
    }

    pub fn expr(&self) -> Option<&DurationExpr> {
        match self {
            DurationValue::Millis(_) => None,
            DurationValue::Expr(expr) => Some(expr),
        }
    }
}

/// Arithmetic on durations; every value counts in seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    Number(NumberLiteral),
    /// `step()` of the query.
    Step {
        span: Span,
        wrapped: bool,
    },
    /// `range()`: end minus start of the query.
    Range {
        span: Span,
        wrapped: bool,
    },
    /// `wrapped`: stands in parentheses, here and below.
    Unary {
        op: UnaryOp,
        expr: Box<DurationExpr>,
        wrapped: bool,
        span: Span,
    },
    Binary {
        op: DurationOp,
        lhs: Box<DurationExpr>,
        rhs: Box<DurationExpr>,
        wrapped: bool,
        span: Span,
    },
}

impl DurationExpr {
    pub fn span(&self) -> Span {
        match self {
            DurationExpr::Number(n) => n.span,
            DurationExpr::Step { span, .. }
            | DurationExpr::Range { span, .. }
            | DurationExpr::Unary { span, .. }
            | DurationExpr::Binary { span, .. } => *span,
        }
    }
}

/// Operators between durations. Division and modulo by zero of literals are refused when parsing; of
/// computed values they must be refused when evaluating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DurationOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    MinOf,
    MaxOf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    Plus,
    Minus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    Avg,
    Bottomk,
    Count,
    CountValues,
    Group,
    LimitRatio,
    Limitk,
    Max,
    Min,
    Quantile,
    Stddev,
    Stdvar,
    Sum,
    Topk,
}

impl AggregateOp {
    pub const ALL: [AggregateOp; 14] = {
        use AggregateOp::*;
        [
            Avg,
            Bottomk,
            Count,
            CountValues,
            Group,
            LimitRatio,
            Limitk,
            Max,
            Min,
            Quantile,
            Stddev,
            Stdvar,
            Sum,
            Topk,
        ]
    };

    pub const fn as_str(self) -> &'static str {
        match self {
            AggregateOp::Avg => "avg",
            AggregateOp::Bottomk => "bottomk",
            AggregateOp::Count => "count",
            AggregateOp::CountValues => "count_values",
            AggregateOp::Group => "group",
            AggregateOp::LimitRatio => "limit_ratio",
            AggregateOp::Limitk => "limitk",
            AggregateOp::Max => "max",
            AggregateOp::Min => "min",
            AggregateOp::Quantile => "quantile",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::Sum => "sum",
            AggregateOp::Topk => "topk",
        }
    }

    /// Takes a parameter before the vector.
    pub const fn has_param(self) -> bool {
        use AggregateOp::*;
        matches!(self, Bottomk | CountValues | LimitRatio | Limitk | Quantile | Topk)
    }

    pub const fn is_experimental(self) -> bool {
        matches!(self, AggregateOp::Limitk | AggregateOp::LimitRatio)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    /// `==`
    Eql,
    /// `!=`
    Neq,
    /// `<`
    Lss,
    /// `<=`
    Lte,
    /// `>`
    Gtr,
    /// `>=`
    Gte,
    And,
    Or,
    Unless,
    /// `</`: cut native histograms above a value.
    TrimUpper,
    /// `>/`: cut native histograms below a value.
    TrimLower,
}

impl BinaryOp {
    pub const ALL: [BinaryOp; 18] = {
        use BinaryOp::*;
        [
            Add, Sub, Mul, Div, Mod, Pow, Atan2, Eql, Neq, Lss, Lte, Gtr, Gte, And, Or, Unless, TrimUpper,
            TrimLower,
        ]
    };

    pub const fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Eql => "==",
            BinaryOp::Neq => "!=",
            BinaryOp::Lss => "<",
            BinaryOp::Lte => "<=",
            BinaryOp::Gtr => ">",
            BinaryOp::Gte => ">=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
        }
    }

    pub const fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Eql | Neq | Lss | Lte | Gtr | Gte)
    }

    pub const fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cardinality {
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

impl Cardinality {
    pub const fn as_str(self) -> &'static str {
        match self {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        }
    }
}

/// How series of two instant vectors are matched.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorMatching {
    pub card: Cardinality,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// `on`: match by `labels` only; otherwise by all labels but these.
    pub on: bool,
    /// Labels that `group_left` and `group_right` copy from the "one" side.
    pub include: Vec<String>,
    /// Value for series that only the right side has (`fill`, `fill_left`).
    pub fill_left: Option<f64>,
    /// Value for series that only the left side has (`fill`, `fill_right`).
    pub fill_right: Option<f64>,
}

impl Expr {
    /// The type of value it evaluates to. Walks parentheses, signs and operators.
    pub fn value_type(&self) -> ValueType {
        match self {
            Expr::Aggregate(_) | Expr::Vector(_) => ValueType::Vector,
            Expr::Binary(b) => {
                if b.lhs.value_type() == ValueType::Scalar && b.rhs.value_type() == ValueType::Scalar {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
            Expr::Call(c) => c.func.returns,
            Expr::Matrix(_) | Expr::Subquery(_) => ValueType::Matrix,
            Expr::Number(_) => ValueType::Scalar,
            Expr::Paren(p) => p.expr.value_type(),
            Expr::String(_) => ValueType::String,
            Expr::Unary(u) => u.expr.value_type(),
        }
    }

    /// Bytes of the query this expression was read from.
    pub fn span(&self) -> Span {
        match self {
            Expr::Aggregate(e) => e.span,
            Expr::Binary(e) => e.lhs.span().to(e.rhs.span()),
            Expr::Call(e) => e.span,
            Expr::Matrix(e) => Span::new(e.selector.span.start, e.end),
            Expr::Number(e) => e.span,
            Expr::Paren(e) => e.span,
            Expr::String(e) => e.span,
            Expr::Subquery(e) => Span::new(e.expr.span().start, e.end),
            Expr::Unary(e) => Span::new(e.start, e.expr.span().end),
            Expr::Vector(e) => e.span,
        }
    }
}
