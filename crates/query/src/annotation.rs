//! Warnings and infos about a query, in upstream's words, each said once.

use crate::numeric::go_g;
use crate::quantile::Forced;
use hashbrown::HashMap;
use model::labels::quote;
use promql::Span;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Warning,
    Info,
}

/// What is counted when the same annotation comes again.
#[derive(Clone, Debug, PartialEq)]
enum Detail {
    Plain,
    /// Bucket counts were raised, between these times (ms), this often.
    Forced {
        forced: Forced,
        min_t: i64,
        max_t: i64,
        count: u64,
    },
    Overlap {
        count: u64,
    },
}

#[derive(Clone, Debug)]
struct Annotation {
    level: Level,
    text: String,
    span: Span,
    detail: Detail,
}

/// The annotations of one query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Annotations {
    list: Vec<Annotation>,
    /// How many came, those that were known included.
    added: usize,
    /// Where a text stands in the list.
    known: HashMap<String, usize>,
}

/// Histogram arithmetic that an annotation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistogramOp {
    Add,
    Sub,
    Aggregate,
}

impl HistogramOp {
    fn as_str(self) -> &'static str {
        match self {
            HistogramOp::Add => "addition",
            HistogramOp::Sub => "subtraction",
            HistogramOp::Aggregate => "aggregation",
        }
    }
}

fn for_metric(text: &str, metric: &str) -> String {
    if metric.is_empty() { text.to_owned() } else { format!("{text} for metric name {}", quote(metric)) }
}

impl Annotations {
    /// Goes up with each annotation, known ones included.
    pub(crate) fn added(&self) -> usize {
        self.added
    }

    /// Adds what was noted elsewhere, later.
    pub(crate) fn merge(&mut self, other: Annotations) {
        for note in other.list {
            self.add(note.level, note.text, note.span, note.detail);
        }
    }

    fn add(&mut self, level: Level, text: String, span: Span, detail: Detail) {
        self.added += 1;
        // The same text always has the same level.
        let Some(known) = self.known.get(&text).and_then(|at| self.list.get_mut(*at)) else {
            self.known.insert(text.clone(), self.list.len());
            return self.list.push(Annotation { level, text, span, detail });
        };
        match (&mut known.detail, detail) {
            (
                Detail::Forced { forced, min_t, max_t, count },
                Detail::Forced { forced: f, min_t: t0, max_t: t1, count: n },
            ) => {
                *min_t = t0.min(*min_t);
                *max_t = t1.max(*max_t);
                *count += n;
                forced.min_bucket = forced.min_bucket.min(f.min_bucket);
                forced.max_bucket = forced.max_bucket.max(f.max_bucket);
                forced.max_diff = forced.max_diff.max(f.max_diff);
            }
            (Detail::Overlap { count }, Detail::Overlap { count: n }) => *count += n,
            // The place named is that of the node that is evaluated last: the outer one, else the later one.
            _ if known.span.start <= span.start && span.end <= known.span.end => {}
            _ => known.span = span,
        }
    }

    /// Adds what another list holds.
    pub(crate) fn absorb(&mut self, other: Annotations) {
        for Annotation { level, text, span, detail } in other.list {
            self.add(level, text, span, detail);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn warn(&mut self, span: Span, text: impl Into<String>) {
        self.add(Level::Warning, text.into(), span, Detail::Plain);
    }

    fn info(&mut self, span: Span, text: impl Into<String>) {
        self.add(Level::Info, text.into(), span, Detail::Plain);
    }

    pub(crate) fn invalid_quantile(&mut self, span: Span, q: f64) {
        self.warn(span, format!("quantile value should be between 0 and 1, got {}", go_g(q, None)));
    }

    pub(crate) fn invalid_ratio(&mut self, span: Span, r: f64, to: f64) {
        let (r, to) = (go_g(r, None), go_g(to, None));
        self.warn(span, format!("ratio value should be between -1 and 1, got {r}, capping to {to}"));
    }

    pub(crate) fn bad_bucket_label(&mut self, span: Span, metric: &str, value: &str) {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {}", quote(value));
        self.warn(span, for_metric(&text, metric));
    }

    pub(crate) fn mixed_floats_histograms(&mut self, span: Span, metric: &str) {
        let text = format!("encountered a mix of histograms and floats for metric name {}", quote(metric));
        self.warn(span, text);
    }

    pub(crate) fn mixed_floats_histograms_agg(&mut self, span: Span) {
        self.warn(span, "encountered a mix of histograms and floats for aggregation");
    }

    pub(crate) fn mixed_classic_native(&mut self, span: Span, metric: &str) {
        self.warn(span, for_metric("vector contains a mix of classic and native histograms", metric));
    }

    pub(crate) fn not_counter(&mut self, span: Span, metric: &str) {
        self.warn(span, format!("this native histogram metric is not a counter: {}", quote(metric)));
    }

    pub(crate) fn not_gauge(&mut self, span: Span, metric: &str) {
        self.warn(span, format!("this native histogram metric is not a gauge: {}", quote(metric)));
    }

    pub(crate) fn mixed_exponential_custom(&mut self, span: Span, metric: &str) {
        let text =
            "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
        self.warn(span, format!("{text} {}", quote(metric)));
    }

    pub(crate) fn incompatible_bucket_layout(&mut self, span: Span, op: &str) {
        self.warn(span, format!("incompatible bucket layout encountered for binary operator {op}"));
    }

    pub(crate) fn sort_in_range_query(&mut self, span: Span) {
        self.warn(span, "sort is ineffective for range queries since results are always ordered by labels");
    }

    pub(crate) fn counter_reset_collision(&mut self, span: Span, op: HistogramOp) {
        self.warn(span, format!("conflicting counter resets during histogram {}", op.as_str()));
    }

    pub(crate) fn start_time_overlap(&mut self, span: Span, metric: &str, count: u64) {
        let text = "sample has start time that overlaps with previous sample timestamp for metric";
        self.add(Level::Warning, format!("{text} {}", quote(metric)), span, Detail::Overlap { count });
    }

    pub(crate) fn possible_non_counter(&mut self, span: Span, metric: &str) {
        let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
        self.info(span, format!("{text} {}", quote(metric)));
    }

    pub(crate) fn possible_non_counter_label(&mut self, span: Span, metric: &str, ty: &str) {
        let text = "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\"";
        self.info(span, format!("{text}, got {}: {}", quote(ty), quote(metric)));
    }

    pub(crate) fn forced_monotonicity(&mut self, span: Span, metric: &str, t: i64, forced: Forced) {
        let text = "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        let detail = Detail::Forced { forced, min_t: t, max_t: t, count: 1 };
        self.add(Level::Info, for_metric(text, metric), span, detail);
    }

    pub(crate) fn incompatible_types(&mut self, span: Span, lhs: &str, op: &str, rhs: &str) {
        let text = "incompatible sample types encountered for binary operator";
        self.info(span, format!("{text} {}: {lhs} {op} {rhs}", quote(op)));
    }

    pub(crate) fn histogram_ignored(&mut self, span: Span, aggregation: &str) {
        self.info(span, format!("ignored histogram in {aggregation} aggregation"));
    }

    pub(crate) fn histogram_ignored_in_mixed_range(&mut self, span: Span, metric: &str) {
        let text = "ignored histograms in a range containing both floats and histograms for metric name";
        self.info(span, format!("{text} {}", quote(metric)));
    }

    pub(crate) fn quantile_nan_result(&mut self, span: Span, metric: &str) {
        let text = "input to histogram_quantile has NaN observations, result is NaN";
        self.info(span, for_metric(text, metric));
    }

    pub(crate) fn quantile_nan_skew(&mut self, span: Span, metric: &str) {
        let text = "input to histogram_quantile has NaN observations, result is skewed higher";
        self.info(span, for_metric(text, metric));
    }

    pub(crate) fn fraction_nans(&mut self, span: Span, metric: &str) {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        self.info(span, for_metric(text, metric));
    }

    pub(crate) fn mismatched_custom_buckets(&mut self, span: Span, op: HistogramOp) {
        self.info(span, format!("mismatched custom buckets were reconciled during {}", op.as_str()));
    }

    /// Warnings and infos with their places in `query`.
    pub(crate) fn texts(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for a in &self.list {
            let place = a.span.position(query);
            let middle = match &a.detail {
                Detail::Plain | Detail::Overlap { count: 1 } => String::new(),
                Detail::Overlap { count } => format!(" ({count} occurrences)"),
                Detail::Forced { forced, min_t, max_t, count } => format!(
                    ", from buckets {} to {}, with a max diff of {}, over {count} samples from {} to {}",
                    go_g(forced.min_bucket, None),
                    go_g(forced.max_bucket, None),
                    go_g(forced.max_diff, Some(2)),
                    crate::date::rfc3339(*min_t),
                    crate::date::rfc3339(*max_t),
                ),
            };
            match a.level {
                Level::Warning => warnings.push(format!("PromQL warning: {}{middle} ({place})", a.text)),
                Level::Info => infos.push(format!("PromQL info: {}{middle} ({place})", a.text)),
            }
        }
        (warnings, infos)
    }
}
