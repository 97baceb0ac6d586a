//! Results of queries, laid out so that a JSON encoder can stream them.

use crate::budget::Held;
use crate::column::{Column, SampleValue};
use crate::stats::QueryStats;
use model::{FloatHistogram, Labels};
use std::sync::Arc;

/// Answer to a query, with annotations and statistics.
#[derive(Clone, Debug)]
pub struct QueryResult {
    pub value: Value,
    /// `PromQL warning: …` with positions, and what the store warned of. Unique, in order of appearance.
    pub warnings: Vec<String>,
    /// `PromQL info: …`.
    pub infos: Vec<String>,
    pub stats: QueryStats,
    /// The plan with its costs, when asked for.
    pub explanation: Option<crate::Explanation>,
    /// The memory of the value, in the account of all queries until the last clone is dropped.
    pub held: Option<Arc<Held>>,
}

#[derive(Clone, Debug)]
pub enum Value {
    /// Time in ms and value.
    Scalar(i64, f64),
    /// Time in ms and text.
    String(i64, String),
    Vector(Vec<VectorSample>),
    /// Sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

impl Value {
    /// The API's `resultType`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Scalar(..) => "scalar",
            Value::String(..) => "string",
            Value::Vector(_) => "vector",
            Value::Matrix(_) => "matrix",
        }
    }
}

/// One element of an instant vector.
#[derive(Clone, Debug)]
pub struct VectorSample {
    pub labels: Labels,
    /// Evaluation time, ms.
    pub t: i64,
    pub value: SampleValue,
}

impl VectorSample {
    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.labels.packed().len()
    }
}

/// One series of a matrix.
#[derive(Clone, Debug)]
pub struct MatrixSeries {
    pub labels: Labels,
    pub points: Points,
}

impl MatrixSeries {
    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        let points = match &self.points {
            Points::Grid { column, .. } => column.bytes(),
            Points::Raw { floats, .. } => floats.len() * 16,
        };
        size_of::<Labels>() + self.labels.packed().len() + points
    }
}

/// Points of a series: a column over a regular grid, or samples as stored.
#[derive(Clone, Debug)]
pub enum Points {
    /// Slot `i` of the column belongs to `start + i * step` (ms).
    Grid { start: i64, step: i64, column: Column },
    /// Floats and histograms with their own times, each ascending.
    Raw { floats: Vec<(i64, f64)>, histograms: Vec<(i64, Arc<FloatHistogram>)> },
}

impl Points {
    /// Float points as (ms, value), ascending.
    pub fn floats(&self) -> Box<dyn Iterator<Item = (i64, f64)> + '_> {
        match self {
            Points::Grid { start, step, column } => {
                Box::new(column.floats().map(move |(i, v)| (start + i as i64 * step, v)))
            }
            Points::Raw { floats, .. } => Box::new(floats.iter().copied()),
        }
    }

    /// Histogram points as (ms, histogram), ascending.
    pub fn histograms(&self) -> Box<dyn Iterator<Item = (i64, &Arc<FloatHistogram>)> + '_> {
        match self {
            Points::Grid { start, step, column } => {
                Box::new(column.hists().iter().map(move |(i, h)| (start + i64::from(*i) * step, h)))
            }
            Points::Raw { histograms, .. } => Box::new(histograms.iter().map(|(t, h)| (*t, h))),
        }
    }

    pub fn float_count(&self) -> usize {
        match self {
            Points::Grid { column, .. } => column.float_count(),
            Points::Raw { floats, .. } => floats.len(),
        }
    }

    pub fn histogram_count(&self) -> usize {
        match self {
            Points::Grid { column, .. } => column.hists().len(),
            Points::Raw { histograms, .. } => histograms.len(),
        }
    }
}
