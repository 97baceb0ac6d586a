//! Zeros at start timestamps (feature `created-timestamp-zero-ingestion`): a sample that tells when its counter began
//! is preceded by a zero of that time, if its series has nothing as late.
//!
//! Both stores put the zeros into a copy of the batch and check them with all other rows; what becomes of a zero is
//! nothing that the sender hears of, so the outcome is brought back to the batch that came in.

use model::histogram::CounterResetHint;
use model::{FloatHistogram, Sample};
use std::ops::Range;
use std::sync::Arc;
use storage::{Batch, BatchSeries, HistogramRow, RowKind, WriteOutcome};

/// In place of the row that came in: this one is a zero.
const ZERO: u32 = u32::MAX;

/// Which rows of the widened batch are zeros, and where the others came from. Empty for a batch that is as it came in.
#[derive(Default)]
pub(crate) struct Zeros {
    samples: Vec<u32>,
    histograms: Vec<u32>,
}

impl Zeros {
    /// Whether a batch has rows with start timestamps.
    pub(crate) fn are_wanted(batch: &Batch<'_>) -> bool {
        batch.starts.iter().any(|start| *start != 0) || batch.histograms.iter().any(|h| h.start != 0)
    }

    #[inline]
    pub(crate) fn is_sample(&self, at: u32) -> bool {
        self.samples.get(at as usize) == Some(&ZERO)
    }

    #[inline]
    pub(crate) fn is_histogram(&self, at: u32) -> bool {
        self.histograms.get(at as usize) == Some(&ZERO)
    }

    /// The batch with a zero before each row that began earlier.
    pub(crate) fn widen<'b>(&mut self, batch: &Batch<'b>) -> Batch<'b> {
        self.samples.clear();
        self.histograms.clear();
        let mut wide = Batch {
            exemplars: batch.exemplars.clone(),
            metadata: batch.metadata.clone(),
            reject_out_of_order: batch.reject_out_of_order,
            ..Batch::default()
        };
        for of in &batch.series {
            let samples = self.widen_samples(batch, &of.samples, &mut wide);
            let histograms = self.widen_histograms(batch, &of.histograms, &mut wide);
            wide.series.push(BatchSeries { id: of.id, samples, histograms, exemplars: of.exemplars.clone() });
        }
        wide
    }

    fn widen_samples(&mut self, batch: &Batch<'_>, rows: &Range<u32>, wide: &mut Batch<'_>) -> Range<u32> {
        let from = wide.samples.len() as u32;
        for at in rows.clone() {
            let Some(sample) = batch.samples.get(at as usize) else { break };
            let start = batch.starts.get(at as usize).copied().unwrap_or(0);
            if start != 0 && start < sample.t {
                wide.samples.push(Sample { t: start, v: 0.0 });
                wide.starts.push(0);
                self.samples.push(ZERO);
            }
            wide.samples.push(*sample);
            wide.starts.push(start);
            self.samples.push(at);
        }
        from..wide.samples.len() as u32
    }

    fn widen_histograms(&mut self, batch: &Batch<'_>, rows: &Range<u32>, wide: &mut Batch<'_>) -> Range<u32> {
        let from = wide.histograms.len() as u32;
        for at in rows.clone() {
            let Some(row) = batch.histograms.get(at as usize) else { break };
            if row.start != 0 && row.start < row.t {
                wide.histograms.push(HistogramRow {
                    t: row.start,
                    start: 0,
                    histogram: Arc::new(empty(&row.histogram)),
                });
                self.histograms.push(ZERO);
            }
            wide.histograms.push(row.clone());
            self.histograms.push(at);
        }
        from..wide.histograms.len() as u32
    }

    /// Takes the zeros out of what became of the widened batch.
    pub(crate) fn settle(&mut self, wide: &Batch<'_>, outcome: &mut WriteOutcome) {
        let zeros = |list: &[u32], rows: &Range<u32>| {
            list.get(rows.start as usize..rows.end as usize)
                .map_or(0, |rows| rows.iter().filter(|from| **from == ZERO).count() as u64)
        };
        let (mut samples, mut histograms) = (0, 0);
        for (of, reference) in wide.series.iter().zip(&outcome.refs) {
            if reference.0 != 0 {
                samples += zeros(&self.samples, &of.samples);
                histograms += zeros(&self.histograms, &of.histograms);
            }
        }
        outcome.rejected.retain_mut(|refused| {
            let (list, stored) = match refused.kind {
                RowKind::Sample => (&self.samples, &mut samples),
                RowKind::Histogram => (&self.histograms, &mut histograms),
                RowKind::Series | RowKind::Exemplar => return true,
            };
            match list.get(refused.row as usize) {
                Some(&ZERO) => {
                    *stored = stored.saturating_sub(1);
                    false
                }
                from => {
                    refused.row = from.copied().unwrap_or(refused.row);
                    true
                }
            }
        });
        outcome.samples = outcome.samples.saturating_sub(samples);
        outcome.histograms = outcome.histograms.saturating_sub(histograms);
        self.samples = Vec::new();
        self.histograms = Vec::new();
    }
}

/// Nothing counted, in the layout of `like`, so that the two fit into one chunk.
fn empty(like: &FloatHistogram) -> FloatHistogram {
    FloatHistogram {
        // A start is a reset by definition.
        counter_reset_hint: CounterResetHint::CounterReset,
        schema: like.schema,
        zero_threshold: like.zero_threshold,
        custom_values: like.custom_values.clone(),
        integer: like.integer,
        ..FloatHistogram::default()
    }
}
