//! `query`: the PromQL engine.
//!
//! Room: floor 3. Reads through `storage::select`, parses with `promql`. One query runs on its caller's
//! thread, with helpers on idle cores for large leaves; no tokio, no files, no clock but the one that times and stops a query.
//!
//! A query goes text → checked tree (`promql`) → plan (`plan`, plain data) → columns (`eval`): each node of the
//! plan hands its series one at a time to its parent, each as a [`Column`] over all steps.
#![forbid(unsafe_code)]

mod annotation;
mod budget;
mod cancel;
mod column;
mod date;
mod engine;
mod error;
mod eval;
mod explain;
mod numeric;
mod options;
mod plan;
mod quantile;
mod stats;
mod value;

pub use budget::{BytesFn, Held, Memory, ProcessMemory};
pub use cancel::Cancel;
pub use column::{Column, SampleValue};
pub use engine::Engine;
pub use error::{QueryError, Refused};
pub use explain::{Cost, Explanation, Operator, Selection};
pub use numeric::almost_equal;
pub use options::{EngineOptions, QueryOpts, SubqueryStepFn};
pub use stats::{QueryStats, SampleStats, Timings};
pub use value::{MatrixSeries, Points, QueryResult, Value, VectorSample};
