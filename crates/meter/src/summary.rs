//! Summaries: quantiles over a sliding window of ten minutes, as upstream's client library keeps them.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(600);
/// Observations kept for quantiles; beyond it the oldest make room, so memory is bounded.
const KEPT: usize = 2048;

#[derive(Clone, Debug)]
pub struct Summary(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    quantiles: Vec<f64>,
    recent: VecDeque<(Instant, f64)>,
    count: u64,
    sum: f64,
}

impl Summary {
    pub fn new(quantiles: &[f64]) -> Self {
        Summary(Arc::new(Mutex::new(State {
            quantiles: quantiles.to_vec(),
            recent: VecDeque::new(),
            count: 0,
            sum: 0.0,
        })))
    }

    pub fn observe(&self, value: f64) {
        let mut state = self.0.lock();
        if state.recent.len() == KEPT {
            state.recent.pop_front();
        }
        state.recent.push_back((Instant::now(), value));
        state.count += 1;
        state.sum += value;
    }

    /// `(quantile, value)` pairs (NaN without recent observations), count and sum since the start.
    pub fn read(&self) -> (Vec<(f64, f64)>, u64, f64) {
        let mut state = self.0.lock();
        let now = Instant::now();
        while state.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            state.recent.pop_front();
        }
        let mut values: Vec<f64> = state.recent.iter().map(|(_, v)| *v).collect();
        values.sort_by(f64::total_cmp);
        let quantiles = state
            .quantiles
            .iter()
            .map(|q| {
                let rank = (q * values.len() as f64).ceil() as usize;
                (*q, values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN))
            })
            .collect();
        (quantiles, state.count, state.sum)
    }
}
