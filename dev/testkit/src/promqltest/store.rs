//! The store behind a script: in memory, or another that the caller brings.

use crate::MemStore;
use model::histogram::CounterResetHint;
use model::{FloatHistogram, Labels};
use storage::Queryable;

/// A sample that a script loads.
#[derive(Clone, Debug)]
pub struct Row {
    pub labels: Labels,
    pub t: i64,
    /// Start timestamp in ms, 0 for none.
    pub start: i64,
    pub value: RowValue,
}

#[derive(Clone, Debug)]
pub enum RowValue {
    Float(f64),
    Histogram(FloatHistogram),
}

/// Where a script's samples go and its queries read.
pub trait ScriptStore {
    /// Forgets everything.
    fn clear(&mut self);

    /// Adds what one `load` names: series by series, each in order of time. Later loads may go back in time.
    fn load(&mut self, rows: Vec<Row>) -> Result<(), String>;

    fn queryable(&self) -> &dyn Queryable;
}

impl ScriptStore for MemStore {
    fn clear(&mut self) {
        MemStore::clear(self);
    }

    fn load(&mut self, rows: Vec<Row>) -> Result<(), String> {
        let mut hints = Hints::default();
        let mut before: Option<Labels> = None;
        for row in rows {
            if before.as_ref() != Some(&row.labels) {
                hints = Hints::default();
            }
            match row.value {
                RowValue::Float(v) => {
                    hints = Hints::default();
                    self.add_with_start(&row.labels, row.start, row.t, v);
                }
                RowValue::Histogram(h) => {
                    self.add_histogram_with_start(&row.labels, row.start, row.t, hints.next(h));
                }
            }
            before = Some(row.labels);
        }
        Ok(())
    }

    fn queryable(&self) -> &dyn Queryable {
        self
    }
}

/// Gives histograms the counter reset hints that a store derives from its chunks.
#[derive(Debug, Default)]
struct Hints {
    before: Option<FloatHistogram>,
}

impl Hints {
    fn next(&mut self, mut h: FloatHistogram) -> FloatHistogram {
        use CounterResetHint::{CounterReset, Gauge, NotCounterReset, Unknown};
        let written = h.counter_reset_hint;
        if written != Gauge && !model::is_stale_nan(h.sum) {
            h.counter_reset_hint = match &self.before {
                _ if written == CounterReset => CounterReset,
                Some(before) if before.counter_reset_hint != Gauge => {
                    // Upstream's store does not tell a reset that it finds itself (its issue 15346).
                    if !h.detect_reset(before)
                        && h.schema == before.schema
                        && h.zero_threshold == before.zero_threshold
                        && h.custom_values == before.custom_values
                    {
                        NotCounterReset
                    } else {
                        Unknown
                    }
                }
                _ => Unknown,
            };
        }
        self.before = Some(h.clone());
        h
    }
}
