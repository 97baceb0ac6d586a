//! What an engine is set up with, and what a caller may say about one query.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Default evaluation step of subqueries that name none, in ms, from the subquery's range in ms.
pub type SubqueryStepFn = Arc<dyn Fn(i64) -> i64 + Send + Sync>;

/// Settings of an [`crate::Engine`]; upstream's `EngineOpts`. The `@` modifier and negative offsets are always on.
#[derive(Clone)]
pub struct EngineOptions {
    /// How far an instant selector looks back, ms (`--query.lookback-delta`).
    pub lookback_delta_ms: i64,
    /// Longest evaluation of one query (`--query.timeout`).
    pub timeout: Duration,
    /// Most samples that one query may hold at a time (`--query.max-samples`).
    pub max_samples: usize,
    /// Most bytes of intermediate results of one query; 0 for no limit of its own.
    pub memory_budget_bytes: usize,
    /// Most bytes that all queries of the engine hold together, results that are being written included; 0 for no
    /// limit.
    pub memory_total_bytes: usize,
    /// Refuses queries while the process itself is near its limit.
    pub process_memory: Option<crate::ProcessMemory>,
    /// How many queries may run at once (`--query.max-concurrency`). Only reported: the caller keeps the gate.
    pub max_concurrency: usize,
    /// Most threads that work on one query, its caller's included; 0: as many as there are cores. Results do not
    /// depend on it.
    pub threads: usize,
    /// Step of subqueries without one; upstream uses the global evaluation interval.
    pub no_step_subquery_interval: SubqueryStepFn,
    /// Feature `promql-per-step-stats`: count samples per step when the query asks for it.
    pub per_step_stats: bool,
    /// Feature `promql-delayed-name-removal`.
    pub delayed_name_removal: bool,
    /// Feature `type-and-unit-labels`: judge counters by `__type__`.
    pub type_and_unit_labels: bool,
    /// Feature `use-start-timestamps`: counters reset where a start timestamp says so.
    pub use_start_timestamps: bool,
    /// Feature `promql-experimental-functions`.
    pub experimental_functions: bool,
    /// Duration expressions; on by default since 3.14.
    pub duration_expressions: bool,
    /// Feature `promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// Feature `promql-binop-fill-modifiers`.
    pub binop_fill_modifiers: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            lookback_delta_ms: 300_000,
            timeout: Duration::from_secs(120),
            max_samples: 50_000_000,
            memory_budget_bytes: 0,
            memory_total_bytes: 0,
            process_memory: None,
            max_concurrency: 20,
            threads: 0,
            no_step_subquery_interval: Arc::new(|_| 60_000),
            per_step_stats: false,
            delayed_name_removal: false,
            type_and_unit_labels: false,
            use_start_timestamps: false,
            experimental_functions: false,
            duration_expressions: true,
            extended_range_selectors: false,
            binop_fill_modifiers: false,
        }
    }
}

/// Wishes of one query. The default asks for nothing special.
#[derive(Clone, Debug, Default)]
pub struct QueryOpts {
    /// Look-back for this query, ms; `None` or not positive: the engine's.
    pub lookback_delta_ms: Option<i64>,
    /// Stop at this time, if it comes before the engine's own timeout.
    pub deadline: Option<Instant>,
    /// At most this many series in the result, 0 for all; cutting adds upstream's warning.
    pub limit: usize,
    /// Count samples per step (`stats=all`), if the engine allows it.
    pub per_step_stats: bool,
    /// Keep what each operator costs, for [`crate::QueryResult::explanation`].
    pub explain: bool,
    /// Handle to cancel the query from another thread.
    pub cancel: crate::Cancel,
}
