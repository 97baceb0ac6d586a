//! What expensive matchers chose in a block, kept for the next query: dashboards ask the same again and again.

use model::{MatchOp, Matcher};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of ids that are kept for one block.
const MAX_BYTES: usize = 4 << 20;
const MAX_ENTRIES: usize = 64;

#[derive(PartialEq, Eq, Hash)]
struct Key {
    name: String,
    op: MatchOp,
    value: String,
}

struct Entry {
    ids: Arc<Vec<u32>>,
    used: u64,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Key, Entry>,
    bytes: usize,
    /// Counts uses.
    clock: u64,
}

/// Ids by matcher; the least recently used ones go.
#[derive(Default)]
pub(crate) struct Chosen(Mutex<Inner>);

fn key(matcher: &Matcher) -> Key {
    Key { name: matcher.name.clone(), op: matcher.op, value: matcher.value.clone() }
}

impl Chosen {
    pub(crate) fn get(&self, matcher: &Matcher) -> Option<Arc<Vec<u32>>> {
        let mut inner = self.0.lock();
        inner.clock += 1;
        let now = inner.clock;
        let entry = inner.entries.get_mut(&key(matcher))?;
        entry.used = now;
        Some(entry.ids.clone())
    }

    pub(crate) fn put(&self, matcher: &Matcher, ids: &Arc<Vec<u32>>) {
        let bytes = ids.len() * size_of::<u32>();
        if bytes > MAX_BYTES / 2 {
            return;
        }
        let mut inner = self.0.lock();
        while inner.bytes + bytes > MAX_BYTES || inner.entries.len() >= MAX_ENTRIES {
            let oldest = inner.entries.iter().min_by_key(|(_, e)| e.used);
            let Some(Key { name, op, value }) = oldest.map(|(key, _)| key) else { break };
            let oldest = Key { name: name.clone(), op: *op, value: value.clone() };
            if let Some(gone) = inner.entries.remove(&oldest) {
                inner.bytes -= gone.ids.len() * size_of::<u32>();
            }
        }
        inner.clock += 1;
        let entry = Entry { ids: ids.clone(), used: inner.clock };
        inner.bytes += bytes;
        if let Some(before) = inner.entries.insert(key(matcher), entry) {
            inner.bytes -= before.ids.len() * size_of::<u32>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go() {
        let chosen = Chosen::default();
        let matcher = |n: usize| Matcher::new(MatchOp::Regex, "a", format!("x{n}.*")).expect("valid");
        let ids = Arc::new(vec![7; MAX_BYTES / 4 / 8]);
        for n in 0..9 {
            chosen.put(&matcher(n), &ids);
            assert!(chosen.get(&matcher(0)).is_some(), "used all the time");
        }
        assert!(chosen.get(&matcher(1)).is_none());
        assert!(chosen.get(&matcher(8)).is_some());
        chosen.put(&matcher(8), &ids);
        assert!(chosen.0.lock().bytes <= MAX_BYTES);
        for n in 0..200 {
            chosen.put(&matcher(n), &Arc::new(vec![1]));
        }
        assert!(chosen.0.lock().entries.len() <= MAX_ENTRIES);
        chosen.put(&matcher(300), &Arc::new(vec![1; MAX_BYTES]));
        assert!(chosen.get(&matcher(300)).is_none());
    }
}
