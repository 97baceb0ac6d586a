//! Which pairs of a name a regular expression matches, remembered: dashboards ask the same again and again.

use super::text::Texts;
use hashbrown::HashMap;
use model::{MatchOp, Matcher};
use parking_lot::Mutex;
use std::sync::Arc;

/// Names with fewer pairs are looked through as quickly as anything is remembered.
const WORTH_IT: usize = 256;
const MAX_ENTRIES: usize = 128;
/// Pair ids of all entries.
const MAX_PAIRS: usize = 1 << 20;

#[derive(Default)]
pub(crate) struct RegexCache(Mutex<State>);

#[derive(Default)]
struct State {
    entries: HashMap<(u32, String), Entry>,
    pairs: usize,
    clock: u64,
}

#[derive(Clone, Default)]
struct Entry {
    /// So many pairs of the name were looked at: pairs are only ever added behind.
    examined: usize,
    matched: Arc<Vec<u32>>,
    used: u64,
}

impl RegexCache {
    /// Pairs of a name whose values match the expression of a matcher, without the negation of `!~`; in
    /// ascending order, those without series included.
    pub(crate) fn matched(&self, texts: &Texts, name: u32, matcher: &Matcher) -> Arc<Vec<u32>> {
        let all = texts.pairs_of(name);
        let worth_it = all.len() >= WORTH_IT;
        let key = || (name, matcher.value.clone());
        let mut entry = match worth_it {
            true => self.0.lock().entries.get(&key()).cloned().unwrap_or_default(),
            false => Entry::default(),
        };
        if entry.examined < all.len() {
            let prefix = matcher.regexp().map_or("", |re| re.prefix());
            let negated = matcher.op == MatchOp::NotRegex;
            let fresh = all[entry.examined..].iter().copied().filter(|pair| {
                let value = texts.value(*pair);
                value.starts_with(prefix) && matcher.matches(value) != negated
            });
            Arc::make_mut(&mut entry.matched).extend(fresh);
            entry.examined = all.len();
        }
        let matched = entry.matched.clone();
        if worth_it {
            self.0.lock().put(key(), entry);
        }
        matched
    }
}

impl State {
    fn put(&mut self, key: (u32, String), mut entry: Entry) {
        self.clock += 1;
        entry.used = self.clock;
        self.pairs += entry.matched.len();
        if let Some(old) = self.entries.insert(key, entry) {
            self.pairs -= old.matched.len();
        }
        while self.entries.len() > MAX_ENTRIES || self.pairs > MAX_PAIRS {
            let oldest = self.entries.iter().min_by_key(|(_, e)| e.used).map(|(key, _)| key.clone());
            let Some(gone) = oldest.and_then(|key| self.entries.remove(&key)) else { break };
            self.pairs -= gone.matched.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_pairs_are_looked_at_and_the_cache_is_bounded() {
        let (mut texts, cache) = (Texts::new(), RegexCache::default());
        let name = |texts: &Texts| texts.find_name("a").unwrap_or(0);
        for i in 0..1000 {
            texts.intern("a", &format!("v{i}"));
        }
        let matcher = |op, re: &str| Matcher::new(op, "a", re).unwrap();
        let ends = matcher(MatchOp::Regex, "v.*7");
        assert_eq!(cache.matched(&texts, name(&texts), &ends).len(), 100);
        for i in 1000..2000 {
            texts.intern("a", &format!("v{i}"));
        }
        let got = cache.matched(&texts, name(&texts), &ends);
        assert!(got.len() == 200 && got.is_sorted());
        assert_eq!(got, cache.matched(&texts, name(&texts), &matcher(MatchOp::NotRegex, "v.*7")));
        for i in 0..2 * MAX_ENTRIES {
            cache.matched(&texts, name(&texts), &matcher(MatchOp::Regex, &format!("v{i}.*")));
        }
        let state = cache.0.lock();
        assert_eq!(state.entries.len(), MAX_ENTRIES);
        assert_eq!(state.pairs, state.entries.values().map(|e| e.matched.len()).sum::<usize>());
    }
}
