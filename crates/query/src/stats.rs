//! Timings and sample counts of a query, as the API's `stats` shows them.

use std::time::Duration;

/// Statistics of one query.
#[derive(Clone, Debug, Default)]
pub struct QueryStats {
    pub timings: Timings,
    pub samples: SampleStats,
}

/// Where the time went. The caller that queues queries fills `exec_queue`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    pub eval_total: Duration,
    pub result_sort: Duration,
    pub query_preparation: Duration,
    pub inner_eval: Duration,
    pub exec_queue: Duration,
    pub exec_total: Duration,
}

/// Sample counts, upstream's `QuerySamples`.
#[derive(Clone, Debug, Default)]
pub struct SampleStats {
    /// Samples loaded; each step of a range function counts its whole window.
    pub total_queryable_samples: i64,
    /// Samples read; each step of a range function counts only what the step before had not.
    pub samples_read: i64,
    /// Most samples held at a time.
    pub peak_samples: usize,
    /// (ms, count) per step, when asked for.
    pub total_queryable_samples_per_step: Option<Vec<(i64, i64)>>,
    pub samples_read_per_step: Option<Vec<(i64, i64)>>,
}
