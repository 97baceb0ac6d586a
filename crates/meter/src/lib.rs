//! `meter`: the house's own metrics.
//!
//! Room: floor 0. Counters, gauges, histograms and summaries that rooms hold by handle, and a registry that
//! gives a snapshot as plain data. There is no global registry: a room gets its registry in its constructor.
//! Exposition is written by `wire`, not here.
#![forbid(unsafe_code)]

mod metric;
mod registry;
mod summary;

pub use metric::{Counter, Gauge, Histogram};
pub use registry::{Family, FamilyKind, Point, Registry, Vector};
pub use summary::Summary;
