//! Exemplars: a sample of a measurement with labels of its own, usually a trace id.

use crate::Labels;

/// Longest sum of label names and values that an exemplar may carry, in characters (OpenMetrics).
pub const MAX_LABEL_CHARS: usize = 128;

#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    pub labels: Labels,
    pub value: f64,
    /// Milliseconds; `None` when the source gave no time.
    pub t: Option<i64>,
}
