//! `model`: what a label, a series, a sample and a matcher is.
//!
//! Room: floor 0. Values only: no I/O, no clocks, no locks. Everything here is plain data that every other
//! room may hold. Times are milliseconds since the Unix epoch unless a name says otherwise.
#![forbid(unsafe_code)]

pub mod duration;
pub mod exemplar;
pub mod float;
pub mod histogram;
pub mod labels;
pub mod matcher;
pub mod metadata;
pub mod regexp;
pub mod relabel;
pub mod sample;
pub mod secret;
pub mod size;

pub use exemplar::Exemplar;
pub use histogram::FloatHistogram;
pub use labels::{Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher};
pub use metadata::{Metadata, MetricType};
pub use sample::{STALE_NAN_BITS, Sample, TimeRange, is_stale_nan, stale_nan};
