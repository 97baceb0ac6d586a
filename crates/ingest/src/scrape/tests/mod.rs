//! Scraping seen from the append door: a store that remembers what it was given.

mod config;
mod engine;
mod supervisor;

use model::{Labels, is_stale_nan};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use storage::{
    Batch, RejectReason, Rejection, RowKind, SeriesId, SeriesRef, WriteError, WriteOutcome, Writer,
    WriterSource, key,
};

#[derive(Default)]
struct Memory {
    refs: HashMap<String, u64>,
    names: HashMap<u64, String>,
    last: HashMap<u64, (i64, u64)>,
    next: u64,
    lines: Vec<String>,
    writes: usize,
    fail: bool,
}

/// A store in memory with the rules of order of the real one.
#[derive(Clone, Default)]
pub(super) struct FakeStore(Arc<Mutex<Memory>>);

impl FakeStore {
    /// What was stored since the last call, one line per sample, report series left out unless asked for.
    fn take(&self, reports: bool) -> Vec<String> {
        let lines = std::mem::take(&mut self.0.lock().lines);
        let is_report = |l: &String| l.starts_with("up{") || l.starts_with("scrape_");
        lines.into_iter().filter(|l| reports || !is_report(l)).collect()
    }

    fn writes(&self) -> usize {
        std::mem::take(&mut self.0.lock().writes)
    }

    /// Forgets a series, as garbage collection does.
    fn forget(&self, name: &str) {
        let mut memory = self.0.lock();
        let Some(reference) = memory.refs.remove(name) else { panic!("no series {name}") };
        memory.names.remove(&reference);
        memory.last.remove(&reference);
    }

    fn fail(&self, on: bool) {
        self.0.lock().fail = on;
    }
}

impl WriterSource for FakeStore {
    fn writer(&self) -> Box<dyn Writer> {
        Box::new(self.clone())
    }
}

impl Writer for FakeStore {
    fn write(&mut self, batch: &Batch<'_>, outcome: &mut WriteOutcome) -> Result<(), WriteError> {
        outcome.clear();
        let memory = &mut *self.0.lock();
        if memory.fail {
            return Err(WriteError::Log("no space left".into()));
        }
        memory.writes += 1;
        for (i, series) in batch.series.iter().enumerate() {
            let mut reject = |kind, row, reason| {
                outcome.rejected.push(Rejection { series: i as u32, kind, row, reason });
            };
            let reference = match series.id {
                SeriesId::Ref(r) if memory.names.contains_key(&r.0) => r.0,
                SeriesId::Ref(_) => {
                    reject(RowKind::Series, i as u32, RejectReason::UnknownRef);
                    outcome.refs.push(SeriesRef(0));
                    continue;
                }
                SeriesId::Key(bytes) => {
                    let pairs: Result<Vec<_>, _> = key::iter(bytes).collect();
                    let labels = Labels::from_pairs(pairs.unwrap());
                    let name = format!("{}{}", labels.metric_name(), labels.without_name());
                    match memory.refs.get(&name) {
                        Some(known) => *known,
                        None => {
                            memory.next += 1;
                            let new = memory.next;
                            memory.refs.insert(name.clone(), new);
                            memory.names.insert(new, name);
                            outcome.series_created += 1;
                            new
                        }
                    }
                }
            };
            outcome.refs.push(SeriesRef(reference));
            let name = memory.names[&reference].clone();
            for at in series.samples.clone() {
                let sample = batch.samples[at as usize];
                match memory.last.get(&reference) {
                    Some((t, _)) if *t > sample.t && batch.reject_out_of_order => {
                        reject(RowKind::Sample, at, RejectReason::OutOfOrder);
                        continue;
                    }
                    Some((t, v)) if *t == sample.t && *v != sample.v.to_bits() => {
                        reject(RowKind::Sample, at, RejectReason::DuplicateTimestamp);
                        continue;
                    }
                    _ => {}
                }
                memory.last.insert(reference, (sample.t, sample.v.to_bits()));
                let value = if is_stale_nan(sample.v) { "stale".into() } else { sample.v.to_string() };
                let start = batch.starts.get(at as usize).copied().unwrap_or(0);
                let start = if start == 0 { String::new() } else { format!(" from {start}") };
                memory.lines.push(format!("{name} {value} @{}{start}", sample.t));
                outcome.samples += 1;
            }
            for at in series.exemplars.clone() {
                let exemplar = batch.exemplars[at as usize];
                let pairs: Result<Vec<_>, _> = key::iter(exemplar.labels).collect();
                let labels = Labels::from_pairs(pairs.unwrap());
                memory.lines.push(format!("{name} exemplar {labels} {} @{}", exemplar.v, exemplar.t));
            }
            for at in series.histograms.clone() {
                let row = &batch.histograms[at as usize];
                memory.lines.push(format!("{name} histogram {} @{}", row.histogram.count, row.t));
            }
        }
        for m in &batch.metadata {
            memory.lines.push(format!("{} metadata {} {:?} {:?}", m.family, m.kind.as_str(), m.unit, m.help));
        }
        Ok(())
    }
}
