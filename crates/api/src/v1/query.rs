//! `query` and `query_range`: from parameters to the engine, on a thread of its own, to JSON.

use crate::error::{ApiError, ErrorKind};
use crate::params::{parse_duration_ns, parse_limit, parse_time, time_param};
use crate::query_log::{self, QueryLog};
use crate::router::{Answer, BoxFuture, Call, Reply};
use crate::state::{Api, Options};
use crate::stream;
use crate::v1::answer::{ResultText, write_stats};
use axum::body::Body;
use http::Response;
use meter::{Counter, Gauge, Histogram, Registry, Summary, Vector};
use query::{Cancel, Memory, QueryError, QueryOpts, QueryStats, Refused};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// More points than this in one series are refused.
const MAX_POINTS: i64 = 11_000;

/// Metrics of the engine's gate.
pub(crate) struct QueryMetrics {
    running: Gauge,
    samples: Counter,
    samples_read: Counter,
    queue_time: Slice,
    prepare_time: Slice,
    inner_eval: Slice,
    result_sort: Slice,
    refused: Vector<Counter>,
}

/// Times of one part of a query, as a summary and as a histogram.
struct Slice(Summary, Histogram);

impl Slice {
    fn observe(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
        self.1.observe(time.as_secs_f64());
    }
}

impl QueryMetrics {
    pub(crate) fn new(registry: &Registry, options: &Options) -> Self {
        if options.agent {
            // Agents have no engine, and show none of its metrics.
            return Self::in_registry(&Registry::new());
        }
        registry
            .gauge("prometheus_engine_queries_concurrent_max", "The max number of concurrent queries.")
            .set(options.max_concurrency as f64);
        Self::in_registry(registry)
    }

    fn in_registry(registry: &Registry) -> Self {
        let times = registry.summary_vec(
            "prometheus_engine_query_duration_seconds",
            "Query timings",
            &[0.5, 0.9, 0.99],
            &["slice"],
        );
        let classes = registry.histogram_vec(
            "prometheus_engine_query_duration_histogram_seconds",
            "The duration of various parts of PromQL query execution.",
            &[0.01, 0.1, 1.0, 10.0],
            &["slice"],
        );
        let slice = |name: &str| Slice(times.with(&[name]), classes.with(&[name]));
        let refused = registry.counter_vec(
            "pyrrha_engine_queries_refused_total",
            "Queries that were refused for their memory, by the bound that they met: of the query, of all queries in \
             total, or of the process.",
            &["bound"],
        );
        Refused::ALL.iter().for_each(|bound| drop(refused.with(&[bound.as_str()])));
        QueryMetrics {
            refused,
            running: registry.gauge(
                "prometheus_engine_queries",
                "The current number of queries being executed or waiting.",
            ),
            samples: registry.counter(
                "prometheus_engine_query_samples_total",
                "The total number of samples loaded by all queries.",
            ),
            samples_read: registry.counter(
                "prometheus_engine_query_samples_read_total",
                "The total number of samples read by all queries.",
            ),
            queue_time: slice("queue_time"),
            prepare_time: slice("prepare_time"),
            inner_eval: slice("inner_eval"),
            result_sort: slice("result_sort"),
        }
    }

    /// Shows what queries hold of the engine's memory.
    pub(crate) fn show_memory(registry: &Registry, memory: &Arc<Memory>) {
        let held = memory.clone();
        registry.gauge_fn(
            "pyrrha_engine_memory_bytes",
            "Memory of queries: intermediate results, and results that are being written.",
            move || held.held() as f64,
        );
        let limit = if memory.limit() == usize::MAX { f64::INFINITY } else { memory.limit() as f64 };
        registry
            .gauge("pyrrha_engine_memory_limit_bytes", "Most memory that all queries may hold together.")
            .set(limit);
    }

    /// Counts a query that met a bound of memory.
    fn refuse(&self, e: &QueryError) {
        if let QueryError::Memory(why, _) = e {
            self.refused.with(&[why.as_str()]).inc();
        }
    }

    fn observe(&self, stats: &QueryStats) {
        self.samples.add(stats.samples.total_queryable_samples.max(0).unsigned_abs());
        self.samples_read.add(stats.samples.samples_read.max(0).unsigned_abs());
        self.queue_time.observe(stats.timings.exec_queue);
        self.prepare_time.observe(stats.timings.query_preparation);
        self.inner_eval.observe(stats.timings.inner_eval);
        self.result_sort.observe(stats.timings.result_sort);
    }
}

/// What to evaluate.
enum Span {
    Instant(i64),
    /// Start, end, step.
    Range(i64, i64, i64),
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answered {
    Result,
    /// The plan with what each operator cost.
    Costs,
}

pub(crate) fn instant(api: Arc<Api>, call: Call) -> BoxFuture<Answer> {
    Box::pin(async move {
        let limit = limit_param(&call)?;
        let span = instant_span(&call)?;
        run(api, call, span, limit, Answered::Result).await
    })
}

pub(crate) fn range(api: Arc<Api>, call: Call) -> BoxFuture<Answer> {
    Box::pin(async move {
        let limit = limit_param(&call)?;
        let span = range_span(&call)?;
        run(api, call, span, limit, Answered::Result).await
    })
}

/// The plan of a query: with `step` of a range query, else of an instant one; with `analyze=true` it is run.
pub(crate) fn explain(api: Arc<Api>, call: Call) -> BoxFuture<Answer> {
    Box::pin(async move {
        let span = if call.form.get("step").is_empty() { instant_span(&call)? } else { range_span(&call)? };
        if call.form.get("analyze") == "true" {
            return run(api, call, span, 0, Answered::Costs).await;
        }
        let (start, end, step) = match span {
            Span::Instant(t) => (t, t, 0),
            Span::Range(start, end, step) => (start, end, step),
        };
        let opts = QueryOpts { lookback_delta_ms: lookback_param(&call)?, ..QueryOpts::default() };
        let plan = api.reading()?.engine.explain(call.form.get("query"), start, end, step, &opts);
        let plan = plan.map_err(api_error)?;
        Ok(Reply::data(|json| super::explain::write(json, &plan)).into_response(call.encoding))
    })
}

fn instant_span(call: &Call) -> Result<Span, ApiError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    Ok(Span::Instant(time_param(&call.form, "time", now).map_err(|e| ApiError::parameter("time", e))?))
}

fn range_span(call: &Call) -> Result<Span, ApiError> {
    let time = |name: &str| parse_time(call.form.get(name)).map_err(|e| ApiError::parameter(name, e));
    let (start, end) = (time("start")?, time("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = parse_duration_ns(call.form.get("step")).map_err(|e| ApiError::parameter("step", e))?;
    if step <= 0 {
        return Err(ApiError::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if (i128::from(end) - i128::from(start)) * 1_000_000 / i128::from(step) > i128::from(MAX_POINTS) {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
             resolution (?step=XX)",
        ));
    }
    // The engine counts in milliseconds; less than one is one.
    Ok(Span::Range(start, end, (step / 1_000_000).max(1)))
}

/// Milliseconds.
fn lookback_param(call: &Call) -> Result<Option<i64>, ApiError> {
    match call.form.get("lookback_delta") {
        "" => Ok(None),
        text => {
            let ns = parse_duration_ns(text)
                .map_err(|e| ApiError::bad_data(format!("error parsing lookback delta duration: {e}")))?;
            Ok(Some(ns / 1_000_000))
        }
    }
}

fn limit_param(call: &Call) -> Result<usize, ApiError> {
    parse_limit(call.form.get("limit")).map_err(|e| ApiError::parameter("limit", e))
}

/// Stops the query when the request is dropped: the client has gone.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A query in the list of running ones.
struct Listed<'a> {
    log: &'a dyn QueryLog,
    place: Option<usize>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.log.end(place);
        }
    }
}

/// Writes an ended query down, if that is wanted. Texts that are no query are not.
fn write_down(api: &Api, call: &Call, span: &Span, stats: &QueryStats, error: Option<&str>) {
    let Some(log) = api.query_log().filter(|log| log.wants_ended()) else { return };
    let (start, end, step) = match *span {
        Span::Instant(t) => (t, t, 0),
        Span::Range(start, end, step) => (start, end, step),
    };
    let ended =
        query_log::Ended { query: call.form.get("query"), start, end, step, error, origin: &call.origin };
    log.ended(&query_log::line(&ended, |json| write_stats(json, stats)));
}

async fn run(
    api: Arc<Api>,
    call: Call,
    span: Span,
    limit: usize,
    answered: Answered,
) -> Result<Response<Body>, ApiError> {
    let mut timeout = api.options.query_timeout;
    if !call.form.get("timeout").is_empty() {
        let asked =
            parse_duration_ns(call.form.get("timeout")).map_err(|e| ApiError::parameter("timeout", e))?;
        timeout = timeout.min(Duration::from_nanos(asked.max(0).unsigned_abs()));
    }
    let lookback_delta_ms = lookback_param(&call)?;
    let reading = api.reading()?.clone();
    let cancel = Cancel::new();
    let _guard = CancelOnDrop(cancel.clone());
    let opts = QueryOpts {
        lookback_delta_ms,
        deadline: Some(Instant::now() + timeout),
        limit,
        per_step_stats: call.form.get("stats") == "all",
        explain: answered == Answered::Costs,
        cancel,
    };
    api.queries.running.inc();
    let running = Running(api.queries.running.clone());
    let queued = Instant::now();
    let permit = tokio::time::timeout(timeout, api.gate.clone().acquire_owned()).await;
    let permit = match permit {
        Ok(Ok(permit)) => permit,
        Ok(Err(_)) => return Err(ApiError::new(ErrorKind::Canceled, "query was canceled in query queue")),
        Err(_) => {
            let text = "query timed out in query queue";
            let mut stats = QueryStats::default();
            stats.timings.exec_queue = queued.elapsed();
            stats.timings.exec_total = stats.timings.exec_queue;
            write_down(&api, &call, &span, &stats, Some(text));
            return Err(ApiError::new(ErrorKind::Timeout, text));
        }
    };
    let waited = queued.elapsed();
    let task = move || {
        let (_permit, _running) = (permit, running);
        let text = call.form.get("query");
        let _listed =
            api.query_log().map(|log| Listed { log, place: log.begin(&query_log::active_entry(text)) });
        let result = match span {
            Span::Instant(t) => reading.engine.instant(&*reading.queryable, text, t, &opts),
            Span::Range(start, end, step) => {
                reading.engine.range(&*reading.queryable, text, start, end, step, &opts)
            }
        };
        let mut result = match result {
            Ok(result) => result,
            Err(e) => {
                api.queries.refuse(&e);
                if e.error_type() != "bad_data" {
                    let mut stats = QueryStats::default();
                    stats.timings.exec_queue = waited;
                    stats.timings.exec_total = queued.elapsed().saturating_sub(waited);
                    stats.timings.eval_total = stats.timings.exec_total;
                    write_down(&api, &call, &span, &stats, Some(&e.to_string()));
                }
                return Err(api_error(e));
            }
        };
        result.stats.timings.exec_queue = waited;
        write_down(&api, &call, &span, &result.stats, None);
        api.queries.observe(&result.stats);
        if let Some(costs) = &result.explanation {
            let reply = Reply::data(|json| super::explain::write(json, costs));
            return Ok(reply.into_response(call.encoding));
        }
        let text = ResultText::new(result, call.form.get("stats"));
        Ok(stream::response(text, call.encoding))
    };
    match tokio::task::spawn_blocking(task).await {
        Ok(result) => result,
        Err(e) => {
            tracing::error!(component = "query engine", err = %e, "Query failed unexpectedly");
            Err(ApiError::new(ErrorKind::Execution, "unexpected error: query evaluation failed"))
        }
    }
}

fn api_error(e: QueryError) -> ApiError {
    let kind = match e.error_type() {
        "bad_data" => return ApiError::parameter("query", e),
        "timeout" => ErrorKind::Timeout,
        "canceled" => ErrorKind::Canceled,
        "internal" => ErrorKind::Internal,
        "unavailable" => ErrorKind::NotReady,
        _ => ErrorKind::Execution,
    };
    ApiError::new(kind, e.to_string())
}
