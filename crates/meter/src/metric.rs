//! The metrics themselves: shared handles, updated without locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

fn add_f64(cell: &AtomicU64, by: f64) {
    let _ = cell.fetch_update(Relaxed, Relaxed, |bits| Some((f64::from_bits(bits) + by).to_bits()));
}

/// A count that only grows. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    whole: Arc<AtomicU64>,
    fraction: Arc<AtomicU64>,
}

impl Counter {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn inc(&self) {
        self.add(1);
    }
    pub fn add(&self, by: u64) {
        self.whole.fetch_add(by, Relaxed);
    }
    /// Adds a fraction, e.g. seconds; negative amounts are ignored.
    pub fn add_f64(&self, by: f64) {
        if by > 0.0 {
            add_f64(&self.fraction, by);
        }
    }
    pub fn get(&self) -> f64 {
        self.whole.load(Relaxed) as f64 + f64::from_bits(self.fraction.load(Relaxed))
    }
}

/// A value that goes up and down. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }
    pub fn add(&self, by: f64) {
        add_f64(&self.0, by);
    }
    pub fn inc(&self) {
        self.add(1.0);
    }
    pub fn dec(&self) {
        self.add(-1.0);
    }
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// A classic histogram with fixed upper bounds.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<HistogramCells>);

#[derive(Debug)]
struct HistogramCells {
    bounds: Vec<f64>,
    /// One per bound and one for `+Inf`; not cumulative.
    buckets: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    /// `bounds` are sorted upper bounds without `+Inf`.
    pub fn new(bounds: &[f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(HistogramCells { bounds: bounds.to_vec(), buckets, sum: AtomicU64::new(0) }))
    }

    pub fn observe(&self, value: f64) {
        let at = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.buckets[at].fetch_add(1, Relaxed);
        add_f64(&self.0.sum, value);
    }

    /// Cumulative `(upper bound, count)`, the last bound is `+Inf`.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let mut total = 0;
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        bounds
            .zip(&self.0.buckets)
            .map(|(bound, bucket)| {
                total += bucket.load(Relaxed);
                (bound, total)
            })
            .collect()
    }

    pub fn sum(&self) -> f64 {
        f64::from_bits(self.0.sum.load(Relaxed))
    }
}
