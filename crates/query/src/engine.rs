//! The engine's door: text in, result out.

use crate::{EngineOptions, QueryError, QueryOpts, QueryResult};
use storage::Queryable;

/// Evaluates PromQL. Holds settings only; share one behind an `Arc`, call it from any thread.
pub struct Engine {
    options: EngineOptions,
}

impl Engine {
    pub fn new(options: EngineOptions) -> Self {
        Engine { options }
    }

    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Evaluates `text` at `time_ms` on the caller's thread.
    pub fn instant(
        &self,
        queryable: &dyn Queryable,
        text: &str,
        time_ms: i64,
        opts: &QueryOpts,
    ) -> Result<QueryResult, QueryError> {
        self.run(queryable, text, time_ms, time_ms, 0, opts)
    }

    /// Evaluates `text` at `start_ms`, `start_ms + step_ms`, … up to `end_ms` on the caller's thread.
    pub fn range(
        &self,
        queryable: &dyn Queryable,
        text: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        opts: &QueryOpts,
    ) -> Result<QueryResult, QueryError> {
        if step_ms <= 0 {
            return Err(QueryError::Parse("zero or negative query resolution step widths are not accepted. Try a positive integer".into()));
        }
        self.run(queryable, text, start_ms, end_ms, step_ms, opts)
    }

    fn run(
        &self,
        _queryable: &dyn Queryable,
        text: &str,
        _start: i64,
        _end: i64,
        _step: i64,
        _opts: &QueryOpts,
    ) -> Result<QueryResult, QueryError> {
        Err(QueryError::exec(format!("evaluation is not wired yet: {text}")))
    }
}
