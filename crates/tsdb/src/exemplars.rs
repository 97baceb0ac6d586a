//! Exemplars in memory: bounded, the one that came first leaves first; rules as upstream.

use crate::metrics::Metrics;
use model::exemplar::MAX_LABEL_CHARS;
use model::{Exemplar, Labels, Matcher, TimeRange};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use storage::RejectReason;
use storage::exemplars::SeriesExemplars;

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) t: i64,
    pub(crate) v: f64,
    pub(crate) labels: Labels,
    /// Counts arrivals.
    number: u64,
}

struct OfSeries {
    series: Labels,
    /// Sorted by time.
    list: VecDeque<Stored>,
}

#[derive(Default)]
struct State {
    max: usize,
    window_ms: i64,
    arrivals: u64,
    by_series: HashMap<u32, OfSeries>,
    /// Series in the order in which their exemplars arrived, one entry per stored exemplar.
    order: VecDeque<u32>,
}

#[derive(Default)]
pub(crate) struct Exemplars(Mutex<State>);

impl State {
    fn check(&self, series: u32, e: &Stored) -> Result<(), RejectReason> {
        if self.max == 0 {
            return Err(RejectReason::ExemplarsDisabled);
        }
        let chars: usize = e.labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
        if chars > MAX_LABEL_CHARS {
            return Err(RejectReason::ExemplarTooLong);
        }
        let Some(newest) = self.by_series.get(&series).and_then(|s| s.list.back()) else { return Ok(()) };
        if newest.t == e.t && newest.v.to_bits() == e.v.to_bits() && newest.labels == e.labels {
            return Err(RejectReason::DuplicateExemplar);
        }
        let late = e.t < newest.t && e.t <= newest.t.saturating_sub(self.window_ms)
            || e.t == newest.t && (e.v < newest.v || e.v == newest.v && e.labels < newest.labels);
        if late { Err(RejectReason::OutOfOrderExemplar) } else { Ok(()) }
    }

    /// Drops the exemplar that arrived first.
    fn drop_oldest(&mut self) {
        let Some(series) = self.order.pop_front() else { return };
        let Some(of) = self.by_series.get_mut(&series) else { return };
        let oldest = of.list.iter().enumerate().min_by_key(|(_, e)| e.number).map(|(at, _)| at);
        if let Some(at) = oldest {
            of.list.remove(at);
        }
        if of.list.is_empty() {
            self.by_series.remove(&series);
        }
    }

    fn show(&self, metrics: &Metrics) {
        metrics.exemplars_max.set(self.max as f64);
        metrics.exemplars_stored.set(self.order.len() as f64);
        metrics.exemplar_series.set(self.by_series.len() as f64);
        let oldest = self.order.front().and_then(|s| self.by_series.get(s)).and_then(|s| s.list.front());
        metrics.exemplar_last.set(oldest.map_or(0.0, |e| e.t as f64 / 1000.0));
    }
}

impl Stored {
    pub(crate) fn new(t: i64, v: f64, labels: Labels) -> Self {
        Stored { t, v, labels, number: 0 }
    }
}

impl Exemplars {
    pub(crate) fn configure(&self, max: usize, window_ms: i64, metrics: &Metrics) {
        let mut state = self.0.lock();
        (state.max, state.window_ms) = (max, window_ms);
        while state.order.len() > max {
            state.drop_oldest();
        }
        state.show(metrics);
    }

    pub(crate) fn check(&self, series: u32, e: &Stored) -> Result<(), RejectReason> {
        self.0.lock().check(series, e)
    }

    /// Adds one; `labels` gives the labels of a series that has no exemplar yet.
    pub(crate) fn add(
        &self,
        series: u32,
        mut e: Stored,
        labels: impl FnOnce() -> Labels,
        metrics: &Metrics,
    ) -> Result<(), RejectReason> {
        let mut state = self.0.lock();
        if let Err(reason) = state.check(series, &e) {
            if reason == RejectReason::OutOfOrderExemplar {
                metrics.exemplars_late.inc();
            }
            return Err(reason);
        }
        if let Some(of) = state.by_series.get(&series) {
            let newest = of.list.back().map_or(i64::MIN, |n| n.t);
            // Within the window, but there is one of this time: taken for the same (upstream).
            if e.t < newest && of.list.iter().any(|have| have.t == e.t) {
                return Ok(());
            }
        }
        if state.order.len() >= state.max {
            state.drop_oldest();
        }
        state.arrivals += 1;
        e.number = state.arrivals;
        let of = state
            .by_series
            .entry(series)
            .or_insert_with(|| OfSeries { series: labels(), list: VecDeque::new() });
        let at = of.list.partition_point(|have| have.t <= e.t);
        of.list.insert(at, e);
        state.order.push_back(series);
        metrics.exemplars_appended.inc();
        state.show(metrics);
        Ok(())
    }

    /// All of them with their series, the one that came first at first.
    pub(crate) fn in_order_of_arrival(&self) -> Vec<(u32, Stored)> {
        let state = self.0.lock();
        let of = |(series, of): (&u32, &OfSeries)| {
            let series = *series;
            of.list.iter().map(move |e| (series, e.clone())).collect::<Vec<_>>()
        };
        let mut all: Vec<(u32, Stored)> = state.by_series.iter().flat_map(of).collect();
        all.sort_by_key(|(_, e)| e.number);
        all
    }

    pub(crate) fn select(&self, range: TimeRange, matchers: &[Vec<Matcher>]) -> Vec<SeriesExemplars> {
        let state = self.0.lock();
        let mut out: Vec<SeriesExemplars> = Vec::new();
        for of in state.by_series.values() {
            if !matchers.iter().any(|all| all.iter().all(|m| m.matches_labels(&of.series))) {
                continue;
            }
            let exemplars: Vec<Exemplar> = of
                .list
                .iter()
                .filter(|e| range.contains(e.t))
                .map(|e| Exemplar { labels: e.labels.clone(), value: e.v, t: Some(e.t) })
                .collect();
            if !exemplars.is_empty() {
                out.push(SeriesExemplars { series: of.series.clone(), exemplars });
            }
        }
        out.sort_by(|a, b| a.series.cmp(&b.series));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(t: i64, v: f64) -> Stored {
        Stored::new(t, v, Labels::from_pairs([("trace", "x")]))
    }

    #[test]
    fn oldest_leave_and_rules_hold() {
        let metrics = Metrics::new(&meter::Registry::new());
        let store = Exemplars::default();
        let name = |n: u32| move || Labels::from_pairs([("__name__", format!("m{n}"))]);
        assert_eq!(store.add(1, of(1, 1.0), name(1), &metrics), Err(RejectReason::ExemplarsDisabled));
        store.configure(3, 0, &metrics);
        for t in 1..=3 {
            store.add(1, of(t, 1.0), name(1), &metrics).unwrap();
        }
        assert_eq!(store.add(1, of(3, 1.0), name(1), &metrics), Err(RejectReason::DuplicateExemplar));
        assert_eq!(store.add(1, of(2, 1.0), name(1), &metrics), Err(RejectReason::OutOfOrderExemplar));
        store.add(2, of(9, 1.0), name(2), &metrics).unwrap();
        let all = [vec![Matcher::equal("__name__", "m1")], vec![Matcher::equal("__name__", "m2")]];
        let got = store.select(TimeRange::ALL, &all);
        let counts: Vec<_> = got.iter().map(|s| s.exemplars.len()).collect();
        assert_eq!(counts, [2, 1]);
        let long = Stored::new(10, 1.0, Labels::from_pairs([("t", "x".repeat(128))]));
        assert_eq!(store.check(2, &long), Err(RejectReason::ExemplarTooLong));
    }
}
