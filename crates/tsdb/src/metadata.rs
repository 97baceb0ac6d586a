//! Metadata of metric families that were pushed: bounded, in memory.

use model::{Metadata, MetricType};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use storage::MetadataRow;

#[derive(Default)]
pub(crate) struct MetadataStore(RwLock<BTreeMap<String, Metadata>>);

impl MetadataStore {
    /// Sets what is known of a family and tells whether that changed anything; beyond `max` families new ones
    /// are left out.
    pub(crate) fn set(&self, row: &MetadataRow<'_>, max: usize) -> bool {
        {
            let known = self.0.read();
            match known.get(row.family) {
                Some(have) if have.kind == row.kind && have.unit == row.unit && have.help == row.help => {
                    return false;
                }
                None if known.len() >= max => return false,
                _ => {}
            }
        }
        self.put(row.family, row.kind, row.unit, row.help);
        true
    }

    pub(crate) fn put(&self, family: &str, kind: MetricType, unit: &str, help: &str) {
        let metadata = Metadata { kind, unit: unit.to_owned(), help: help.to_owned() };
        self.0.write().insert(family.to_owned(), metadata);
    }

    pub(crate) fn list(&self, metric: Option<&str>) -> Vec<(String, Metadata)> {
        let known = self.0.read();
        match metric {
            Some(metric) => {
                known.get_key_value(metric).map(|(n, m)| (n.clone(), m.clone())).into_iter().collect()
            }
            None => known.iter().map(|(n, m)| (n.clone(), m.clone())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_beyond_the_most_are_left_out() {
        let store = MetadataStore::default();
        let row = |family| MetadataRow { family, kind: MetricType::Counter, unit: "", help: "Help." };
        let set: Vec<bool> = ["a", "b", "c", "a"].iter().map(|family| store.set(&row(family), 2)).collect();
        assert_eq!(set, [true, true, false, false]);
        // What is known may still change.
        assert!(store.set(&MetadataRow { help: "Other.", ..row("b") }, 2));
        let known: Vec<String> = store.list(None).into_iter().map(|(family, _)| family).collect();
        assert_eq!(known, ["a", "b"]);
    }
}
