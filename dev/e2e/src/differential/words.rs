//! What generated queries are made of: names of the data, functions, durations, numbers.

/// Metrics and the labels worth matching on.
pub const FLOATS: &[&str] = &[
    "up",
    "http_requests_total",
    "http_requests_total",
    "process_cpu_seconds_total",
    "memory_bytes",
    "memory_limit_bytes",
    "typed_total",
    "typed_gauge",
    "odd_values",
    "step_seconds",
    "request_seconds_bucket",
    "request_seconds_count",
    "request_seconds_sum",
    "target_info",
    "single_total",
    "empty_labels",
    "bad_bucket",
    "shaky_bucket",
    "negative_bucket",
    "many",
    "pair_a",
    "pair_b",
    "nothing",
];

pub const NATIVE: &[&str] = &[
    "latency_seconds",
    "size_bytes",
    "load_gauge",
    "changing_seconds",
    "custom_seconds",
    "custom_changing",
    "mixed_seconds",
    "mixed_custom",
];

pub const BUCKETS: &[&str] = &[
    "request_seconds_bucket",
    "bad_bucket",
    "shaky_bucket",
    "negative_bucket",
    "{__name__=~\"latency_seconds(_bucket)?\"}",
];

/// Selectors without a plain name.
pub const SELECTORS: &[&str] = &[
    "{\"my.dotted.metric\"}",
    "{\"my.dotted.metric\", \"label.dot\"=\"x.y\"}",
    "{\"温度\"}",
    "温度",
    "{__name__=~\"memory_(limit_)?bytes\"}",
    "{__name__=~\"typed_.*\"}",
    "{__name__=~\"pair_[ab]\"}",
    "{__name__=~\"(latency|custom|mixed)_seconds\"}",
    "{job=\"api\",instance=\"a:80\"}",
    "{job=\"many\"}",
    "{__name__=\"up\"}",
    "{__name__!=\"up\",job=\"db\",handler=\"\"}",
    "{__name__=~\".*_info\"}",
    "{__type__=\"gauge\"}",
];

pub const MATCHERS: &[&str] = &[
    "job=\"api\"",
    "job!=\"api\"",
    "job=~\"api|web\"",
    "job!~\"a.*\"",
    "instance=\"a:80\"",
    "instance=~\"[ab]:80\"",
    "code=\"200\"",
    "code=~\"4..|5..\"",
    "code!=\"200\"",
    "handler=\"/\"",
    "le=\"0.5\"",
    "le!=\"+Inf\"",
    "room=\"\"",
    "missing=\"\"",
    "missing!=\"\"",
    "n=~\"[0-4]\"",
    "job=~\".+\"",
    "version=~\"1.*\"",
    "a=\"x\"",
    "__type__=\"counter\"",
    "__type__=\"\"",
    "__unit__=\"bytes\"",
];

pub const LABELS: &[&str] = &[
    "job",
    "instance",
    "code",
    "handler",
    "le",
    "n",
    "a",
    "b",
    "missing",
    "__name__",
    "version",
    "room",
    "__type__",
    "\"label.dot\"",
];

pub const MATH: &[&str] = &[
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "deg",
    "exp",
    "floor",
    "ln",
    "log10",
    "log2",
    "rad",
    "sgn",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "timestamp",
    "absent",
    "sort",
    "sort_desc",
];

pub const DATES: &[&str] =
    &["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"];

pub const HISTOGRAM: &[&str] =
    &["histogram_avg", "histogram_count", "histogram_sum", "histogram_stddev", "histogram_stdvar"];

pub const OVER_TIME: &[&str] = &[
    "rate",
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "changes",
    "resets",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "last_over_time",
    "first_over_time",
    "present_over_time",
    "absent_over_time",
];

pub const OVER_TIME_EXPERIMENTAL: &[&str] = &[
    "mad_over_time",
    "ts_of_min_over_time",
    "ts_of_max_over_time",
    "ts_of_last_over_time",
    "ts_of_first_over_time",
];

/// Functions that allow `anchored` and `smoothed`.
pub const ANCHORED: &[&str] = &["rate", "increase", "delta", "changes", "resets"];
pub const SMOOTHED: &[&str] = &["rate", "increase", "delta"];

pub const AGGREGATIONS: &[&str] = &["sum", "sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"];

pub const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
pub const COMPARISON: &[&str] = &["==", "!=", ">", "<", ">=", "<="];
pub const SETS: &[&str] = &["and", "or", "unless"];
pub const TRIMS: &[&str] = &["</", ">/"];

pub const NUMBERS: &[&str] = &[
    "0", "1", "2", "-1", "0.5", "10", "100", "1e3", "-2.5", "Inf", "-Inf", "NaN", "0x1F", "1_000", "5m",
    ".5", "3.", "1e-3", "0.1", "0.95", "60", "-0",
];

pub const QUANTILES: &[&str] = &["0.5", "0.9", "0.99", "0", "1", "-0.1", "1.5", "NaN", "0.25"];

pub const DURATIONS: &[&str] =
    &["5m", "1m", "2m", "10m", "30s", "15s", "1m30s", "1h", "45s", "300", "90.5", "7m", "20m", "1ms", "61s"];

pub const OFFSETS: &[&str] = &["5m", "1m", "30s", "-1m", "-5m", "1h", "0s", "90", "7", "-0.5"];

pub const DURATION_EXPRESSIONS: &[&str] = &[
    "(1m+30s)",
    "1m+30s",
    "step()*5",
    "max_of(1m,step())",
    "2*1m",
    "5m/2",
    "-1m+3m",
    "range()+1m",
    "min_of(5m,2m)",
    "(5m-1m)*2",
    "2^5",
    "100%60",
    "step()",
    "max_of(step(),range())+30s",
    "-(-5m)",
    "1m/0",
    "1s-5m",
];

pub const STRINGS: &[&str] = &["\"x\"", "'y'", "`z`", "\"job\"", "\"a\\tb\"", "\"\"", "\"ü\\u00e9\\x41\""];
