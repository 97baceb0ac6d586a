//! What must be true of the samples that a store gives.

use super::Sim;
use super::world::START;
use std::collections::BTreeMap;

/// What must be true of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Acknowledged.
    Sure,
    /// Its write or deletion was not answered, or it was written over a deletion.
    Open,
    /// Deleted, or never arrived as a restart has shown.
    Gone,
}

/// Series number and time, to its fate and all values that were ever sent.
pub type Truth = BTreeMap<(usize, i64), (Fate, Vec<f64>)>;
pub type Rows = BTreeMap<(usize, i64), f64>;

impl Sim {
    /// Compares everything with what is known.
    pub fn check(&self, found: &Rows, when: &str) {
        self.check_before(found, i64::MAX, when);
    }

    /// Compares everything; of samples from `end` on nothing needs to be there.
    pub fn check_before(&self, found: &Rows, end: i64, when: &str) {
        for (at, v) in found {
            let known = self.truth.get(at);
            self.ensure(known.is_some(), || format!("{when}: {at:?} = {v} from nowhere"));
            let Some((fate, values)) = known else { continue };
            self.ensure(values.contains(v), || format!("{when}: {at:?} = {v}, sent were {values:?}"));
            let gone = *fate == Fate::Gone && at.1 >= self.retained_from;
            self.ensure(!gone, || format!("{when}: {at:?} = {v} was gone"));
        }
        for (at, (fate, _)) in &self.truth {
            let lost =
                *fate == Fate::Sure && at.1 >= self.retained_from && at.1 < end && !found.contains_key(at);
            self.ensure(!lost, || {
                let of = found.keys().filter(|k| k.0 == at.0).map(|k| (k.1 - START) / self.step);
                let lost = (at.1 - START) / self.step;
                format!(
                    "{when}: {at:?}, step {lost}, was acknowledged and is lost; found are {:?}",
                    of.collect::<Vec<_>>()
                )
            });
        }
    }

    /// What a restart shows is settled: all of it stays, nothing more comes.
    pub fn settle(&mut self, found: &Rows) {
        self.latent.clear();
        for (at, (fate, _)) in &mut self.truth {
            *fate = if found.contains_key(at) { Fate::Sure } else { Fate::Gone };
        }
    }

    /// Retention may have deleted blocks that end before its limit, counted from the end of the newest block.
    pub fn retain(&mut self) {
        if self.running.retention_time_ms > 0 {
            let newest = self.truth.keys().map(|(_, t)| *t).max().unwrap_or(START);
            let end = newest - newest.rem_euclid(self.range) + self.range;
            self.retained_from = self.retained_from.max(end - self.running.retention_time_ms);
        }
    }
}
