//! The functions of the language and their signatures, sorted by name.

use crate::ast::ValueType;

/// Signature of a function.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: &'static str,
    /// Types of the arguments; the last one repeats when `variadic` is not 0.
    pub args: &'static [ValueType],
    /// 0: exactly `args`; n > 0: the last argument may be left out or given up to n times; below 0: the last
    /// may be left out or repeated without bound.
    pub variadic: i32,
    pub returns: ValueType,
    /// Needs [`crate::Options::experimental_functions`].
    pub experimental: bool,
}

const S: ValueType = ValueType::Scalar;
const V: ValueType = ValueType::Vector;
const M: ValueType = ValueType::Matrix;
const T: ValueType = ValueType::String;

const fn f(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Function {
    Function { name, args, variadic: 0, returns, experimental: false }
}

impl Function {
    const fn variadic(mut self, n: i32) -> Self {
        self.variadic = n;
        self
    }

    const fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }
}

/// Finds a function by its exact name.
pub fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|f| f.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
}

/// All functions, sorted by name.
pub static FUNCTIONS: &[Function] = &[
    f("abs", &[V], V),
    f("absent", &[V], V),
    f("absent_over_time", &[M], V),
    f("acos", &[V], V),
    f("acosh", &[V], V),
    f("asin", &[V], V),
    f("asinh", &[V], V),
    f("atan", &[V], V),
    f("atanh", &[V], V),
    f("avg_over_time", &[M], V),
    f("ceil", &[V], V),
    f("changes", &[M], V),
    f("clamp", &[V, S, S], V),
    f("clamp_max", &[V, S], V),
    f("clamp_min", &[V, S], V),
    f("cos", &[V], V),
    f("cosh", &[V], V),
    f("count_over_time", &[M], V),
    f("day_of_month", &[V], V).variadic(1),
    f("day_of_week", &[V], V).variadic(1),
    f("day_of_year", &[V], V).variadic(1),
    f("days_in_month", &[V], V).variadic(1),
    f("deg", &[V], V),
    f("delta", &[M], V),
    f("deriv", &[M], V),
    f("double_exponential_smoothing", &[M, S, S], V).experimental(),
    f("end", &[], S).experimental(),
    f("exp", &[V], V),
    f("first_over_time", &[M], V),
    f("floor", &[V], V),
    f("histogram_avg", &[V], V),
    f("histogram_count", &[V], V),
    f("histogram_fraction", &[S, S, V], V),
    f("histogram_quantile", &[S, V], V),
    f("histogram_quantiles", &[V, T, S, S], V).variadic(9).experimental(),
    f("histogram_stddev", &[V], V),
    f("histogram_stdvar", &[V], V),
    f("histogram_sum", &[V], V),
    f("hour", &[V], V).variadic(1),
    f("idelta", &[M], V),
    f("increase", &[M], V),
    f("info", &[V, V], V).variadic(1).experimental(),
    f("irate", &[M], V),
    f("label_join", &[V, T, T, T], V).variadic(-1),
    f("label_replace", &[V, T, T, T, T], V),
    f("last_over_time", &[M], V),
    f("ln", &[V], V),
    f("log10", &[V], V),
    f("log2", &[V], V),
    f("mad_over_time", &[M], V).experimental(),
    f("max_of", &[S, S], S).experimental(),
    f("max_over_time", &[M], V),
    f("min_of", &[S, S], S).experimental(),
    f("min_over_time", &[M], V),
    f("minute", &[V], V).variadic(1),
    f("month", &[V], V).variadic(1),
    f("pi", &[], S),
    f("predict_linear", &[M, S], V),
    f("present_over_time", &[M], V),
    f("quantile_over_time", &[S, M], V),
    f("rad", &[V], V),
    f("range", &[], S).experimental(),
    f("rate", &[M], V),
    f("resets", &[M], V),
    f("round", &[V, S], V).variadic(1),
    f("scalar", &[V], S),
    f("sgn", &[V], V),
    f("sin", &[V], V),
    f("sinh", &[V], V),
    f("sort", &[V], V),
    f("sort_by_label", &[V, T], V).variadic(-1).experimental(),
    f("sort_by_label_desc", &[V, T], V).variadic(-1).experimental(),
    f("sort_desc", &[V], V),
    f("sqrt", &[V], V),
    f("start", &[], S).experimental(),
    f("start_timestamp", &[V], V).experimental(),
    f("stddev_over_time", &[M], V),
    f("stdvar_over_time", &[M], V),
    f("step", &[], S).experimental(),
    f("sum_over_time", &[M], V),
    f("tan", &[V], V),
    f("tanh", &[V], V),
    f("time", &[], S),
    f("timestamp", &[V], V),
    f("ts_of_first_over_time", &[M], V).experimental(),
    f("ts_of_last_over_time", &[M], V).experimental(),
    f("ts_of_max_over_time", &[M], V).experimental(),
    f("ts_of_min_over_time", &[M], V).experimental(),
    f("vector", &[S], V),
    f("year", &[V], V).variadic(1),
];
