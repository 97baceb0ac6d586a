//! How much a query holds: samples as upstream counts them, and bytes.

use crate::QueryError;
use model::FloatHistogram;

/// Bytes of a histogram, upstream's `FloatHistogram.Size`.
pub(crate) fn histogram_bytes(h: &FloatHistogram) -> usize {
    // 8 hint and schema, 32 zero bucket, count and sum, 24 per slice header of five slices.
    8 + 8
        + 8
        + 8
        + 8
        + 5 * 24
        + (h.positive_spans.len() + h.negative_spans.len()) * 8
        + (h.positive_buckets.len() + h.negative_buckets.len() + h.custom_values.len()) * 8
}

/// How many samples of 16 bytes a histogram point counts for.
pub(crate) fn histogram_samples(h: &FloatHistogram) -> usize {
    (histogram_bytes(h) + 8) / 16
}

/// Running account of one query.
#[derive(Debug)]
pub(crate) struct Budget {
    max_samples: usize,
    max_bytes: usize,
    pub(crate) samples: usize,
    pub(crate) peak: usize,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(max_samples: usize, max_bytes: usize) -> Self {
        let or_max = |n| if n == 0 { usize::MAX } else { n };
        Budget {
            max_samples: or_max(max_samples),
            max_bytes: or_max(max_bytes),
            samples: 0,
            peak: 0,
            bytes: 0,
        }
    }

    /// Takes samples into the account.
    #[inline]
    pub(crate) fn add(&mut self, samples: usize) -> Result<(), QueryError> {
        self.samples += samples;
        self.peak = self.peak.max(self.samples);
        if self.samples > self.max_samples { Err(QueryError::TooManySamples) } else { Ok(()) }
    }

    /// Samples that are not held any more.
    pub(crate) fn release(&mut self, samples: usize) {
        self.samples = self.samples.saturating_sub(samples);
    }

    /// Takes bytes of kept results into the account.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.bytes += bytes;
        if self.bytes > self.max_bytes { Err(QueryError::TooManySamples) } else { Ok(()) }
    }

    pub(crate) fn let_go(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
