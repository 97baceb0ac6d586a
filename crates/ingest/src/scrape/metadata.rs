//! Metadata of a target's families, as its `HELP`, `TYPE` and `UNIT` lines give it.

use model::MetricType;
use std::collections::HashMap;

/// Scrapes for which the metadata of a vanished family is kept.
const KEPT_SCRAPES: u64 = 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FamilyMetadata {
    pub(super) kind: MetricType,
    pub(super) unit: String,
    pub(super) help: String,
    seen: u64,
    changed: u64,
}

/// Shared with the API under a lock.
#[derive(Debug, Default)]
pub(super) struct MetadataCache {
    families: HashMap<Box<str>, FamilyMetadata>,
    iteration: u64,
}

impl MetadataCache {
    /// Starts a scrape.
    pub(super) fn begin(&mut self) {
        self.iteration += 1;
    }

    fn update(&mut self, family: &str, edit: impl FnOnce(&mut FamilyMetadata) -> bool) {
        if !self.families.contains_key(family) {
            self.families.insert(family.into(), FamilyMetadata::default());
        }
        if let Some(entry) = self.families.get_mut(family) {
            entry.seen = self.iteration;
            if edit(entry) {
                entry.changed = self.iteration;
            }
        }
    }

    pub(super) fn set_kind(&mut self, family: &str, kind: MetricType) {
        self.update(family, |e| std::mem::replace(&mut e.kind, kind) != kind);
    }

    pub(super) fn set_help(&mut self, family: &str, help: &str) {
        self.update(family, |e| replace(&mut e.help, help));
    }

    pub(super) fn set_unit(&mut self, family: &str, unit: &str) {
        self.update(family, |e| replace(&mut e.unit, unit));
    }

    /// What a family is said to be.
    pub(super) fn kind_of(&self, family: &str) -> MetricType {
        self.families.get(family).map(|e| e.kind).unwrap_or_default()
    }

    /// Families that changed in this scrape, or are new.
    pub(super) fn changed(&self) -> impl Iterator<Item = (&str, &FamilyMetadata)> {
        self.iter().filter(|(_, e)| e.changed == self.iteration)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &FamilyMetadata)> {
        self.families.iter().map(|(name, e)| (&**name, e))
    }

    /// Forgets families that have been gone for a while. Called after successful scrapes.
    pub(super) fn end(&mut self) {
        let oldest = self.iteration.saturating_sub(KEPT_SCRAPES);
        self.families.retain(|_, e| e.seen >= oldest);
    }

    pub(super) fn len(&self) -> usize {
        self.families.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.families.values().map(|e| e.help.len() + e.unit.len() + e.kind.as_str().len()).sum()
    }
}

fn replace(slot: &mut String, text: &str) -> bool {
    let differs = slot != text;
    if differs {
        text.clone_into(slot);
    }
    differs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once_and_old_families_go() {
        let mut cache = MetadataCache::default();
        cache.begin();
        cache.set_kind("m", MetricType::Counter);
        cache.set_help("m", "Help.");
        assert_eq!(cache.changed().count(), 1);
        for round in 0..12 {
            cache.begin();
            if round == 0 {
                cache.set_help("m", "Help.");
                assert_eq!(cache.changed().count(), 0);
            }
            cache.end();
        }
        assert_eq!(cache.len(), 0);
    }
}
