//! Reading exemplars.

use crate::error::StorageError;
use model::{Exemplar, Labels, Matcher, TimeRange};

/// Exemplars of one series, oldest first.
#[derive(Clone, Debug)]
pub struct SeriesExemplars {
    pub series: Labels,
    pub exemplars: Vec<Exemplar>,
}

pub trait ExemplarSource: Send + Sync {
    /// Exemplars of series that satisfy at least one of the matcher lists, sorted by series.
    fn select(
        &self,
        range: TimeRange,
        matchers: &[Vec<Matcher>],
    ) -> Result<Vec<SeriesExemplars>, StorageError>;
}
