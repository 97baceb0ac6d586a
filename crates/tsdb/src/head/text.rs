//! Interned label texts: names, name–value pairs, and the arena that holds their bytes.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Texts are kept in segments of this size, so that growth never copies what is there.
const SEGMENT_BYTES: usize = 1 << 18;
const SEGMENT_BITS: u32 = 18;
/// Positions are 32 bits: as many segments as these can address.
const MAX_SEGMENTS: usize = 1 << (32 - SEGMENT_BITS);

/// A text in the arena.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    at: u32,
    len: u32,
}

/// Texts in segments. A text longer than a segment gets one of its own.
#[derive(Default)]
struct Arena {
    segments: Vec<String>,
}

impl Arena {
    /// `None` when four GiB are used up.
    fn push(&mut self, text: &str) -> Option<Span> {
        let fits = self
            .segments
            .last()
            .is_some_and(|s| s.len() < SEGMENT_BYTES && s.len() + text.len() <= s.capacity());
        if !fits {
            if self.segments.len() == MAX_SEGMENTS {
                return None;
            }
            // The first segment starts small: most agents have few labels.
            let size = if self.segments.is_empty() { SEGMENT_BYTES / 8 } else { SEGMENT_BYTES };
            self.segments.push(String::with_capacity(size.max(text.len())));
        }
        let number = self.segments.len() - 1;
        let segment = self.segments.last_mut()?;
        let span = Span { at: (number << SEGMENT_BITS | segment.len()) as u32, len: text.len() as u32 };
        segment.push_str(text);
        Some(span)
    }

    fn get(&self, span: Span) -> &str {
        let segment = (span.at >> SEGMENT_BITS) as usize;
        let from = (span.at & ((1 << SEGMENT_BITS) - 1)) as usize;
        self.segments.get(segment).and_then(|s| s.get(from..from + span.len as usize)).unwrap_or("")
    }

    fn bytes(&self) -> usize {
        self.segments.iter().map(String::capacity).sum()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    name: u32,
    value: Span,
}

/// A label name and the pairs that carry it.
#[derive(Default)]
struct Name {
    text: Span,
    /// Pair ids in the order in which they appeared; dead ones included.
    pairs: Vec<u32>,
}

/// Tables of names and pairs. Ids are dense and are not reused while the tables live.
pub(crate) struct Texts {
    arena: Arena,
    names: Vec<Name>,
    name_table: HashTable<u32>,
    pairs: Vec<Pair>,
    pair_table: HashTable<u32>,
    seed: u64,
}

fn pair_hash(seed: u64, name: u32, value: &str) -> u64 {
    xxh3_64_with_seed(value.as_bytes(), seed ^ (u64::from(name) << 32))
}

impl Texts {
    pub(crate) fn new() -> Self {
        Texts {
            arena: Arena::default(),
            names: Vec::new(),
            name_table: HashTable::new(),
            pairs: Vec::new(),
            pair_table: HashTable::new(),
            seed: rand::random(),
        }
    }

    pub(crate) fn pair_count(&self) -> usize {
        self.pairs.len()
    }

    pub(crate) fn name_count(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn find_name(&self, name: &str) -> Option<u32> {
        let hash = xxh3_64_with_seed(name.as_bytes(), self.seed);
        let same = |id: &u32| self.arena.get(self.names[*id as usize].text) == name;
        self.name_table.find(hash, same).copied()
    }

    pub(crate) fn find_pair(&self, name: u32, value: &str) -> Option<u32> {
        let hash = pair_hash(self.seed, name, value);
        let same = |id: &u32| {
            let pair = self.pairs[*id as usize];
            pair.name == name && self.arena.get(pair.value) == value
        };
        self.pair_table.find(hash, same).copied()
    }

    /// Id of a pair, made when new. `None` when the arena is full.
    pub(crate) fn intern(&mut self, name: &str, value: &str) -> Option<u32> {
        let name = self.intern_name(name)?;
        self.intern_value(name, value)
    }

    /// [`Texts::intern`] of a pair that is probably `near`, or at least has its name.
    pub(crate) fn intern_near(&mut self, near: Option<u32>, name: &str, value: &str) -> Option<u32> {
        match near.and_then(|id| self.pairs.get(id as usize).copied()) {
            Some(pair) if self.name(pair.name) == name => match self.arena.get(pair.value) == value {
                true => near,
                false => self.intern_value(pair.name, value),
            },
            _ => self.intern(name, value),
        }
    }

    fn intern_name(&mut self, name: &str) -> Option<u32> {
        if let Some(id) = self.find_name(name) {
            return Some(id);
        }
        let id = self.names.len() as u32;
        let text = self.arena.push(name)?;
        self.names.push(Name { text, pairs: Vec::new() });
        let hash = xxh3_64_with_seed(name.as_bytes(), self.seed);
        let Texts { arena, names, name_table, seed, .. } = self;
        name_table.insert_unique(hash, id, |id| {
            xxh3_64_with_seed(arena.get(names[*id as usize].text).as_bytes(), *seed)
        });
        Some(id)
    }

    fn intern_value(&mut self, name: u32, value: &str) -> Option<u32> {
        let Texts { arena, names, pairs, pair_table, seed, .. } = self;
        let hash = pair_hash(*seed, name, value);
        let same = |id: &u32| {
            let pair = pairs[*id as usize];
            pair.name == name && arena.get(pair.value) == value
        };
        if let Some(id) = pair_table.find(hash, same) {
            return Some(*id);
        }
        let id = pairs.len() as u32;
        let span = arena.push(value)?;
        pairs.push(Pair { name, value: span });
        pair_table.insert_unique(hash, id, |id| {
            let pair = pairs[*id as usize];
            pair_hash(*seed, pair.name, arena.get(pair.value))
        });
        names[name as usize].pairs.push(id);
        Some(id)
    }

    pub(crate) fn name(&self, name: u32) -> &str {
        self.names.get(name as usize).map_or("", |n| self.arena.get(n.text))
    }

    pub(crate) fn name_of(&self, pair: u32) -> u32 {
        self.pairs.get(pair as usize).map_or(0, |p| p.name)
    }

    pub(crate) fn value(&self, pair: u32) -> &str {
        self.pairs.get(pair as usize).map_or("", |p| self.arena.get(p.value))
    }

    pub(crate) fn label(&self, pair: u32) -> (&str, &str) {
        (self.name(self.name_of(pair)), self.value(pair))
    }

    /// A text by its number: first the values of all pairs, by pair id, then names from the other end of the
    /// numbers.
    pub(crate) fn text(&self, id: u32) -> &str {
        match self.name_of_id(id) {
            Some(name) => self.name(name),
            None => self.value(id),
        }
    }

    pub(crate) fn id_of_name(&self, name: u32) -> u32 {
        u32::MAX - name
    }

    /// The name that a text number stands for.
    pub(crate) fn name_of_id(&self, id: u32) -> Option<u32> {
        let name = u32::MAX - id;
        ((name as usize) < self.names.len() && id as usize >= self.pairs.len()).then_some(name)
    }

    /// Every pair of a name, dead ones included.
    pub(crate) fn pairs_of(&self, name: u32) -> &[u32] {
        self.names.get(name as usize).map_or(&[], |n| &n.pairs)
    }

    /// Bytes held, for the ledger.
    pub(crate) fn bytes(&self) -> usize {
        let per_name: usize = self.names.iter().map(|n| n.pairs.capacity() * 4 + 32).sum();
        self.arena.bytes()
            + per_name
            + self.pairs.capacity() * size_of::<Pair>()
            + self.pair_table.allocation_size()
            + self.name_table.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_found_again() {
        let mut texts = Texts::new();
        let long = "x".repeat(SEGMENT_BYTES + 5);
        let ids: Vec<_> = (0..100_000).map(|i| texts.intern("a", &format!("value-{i}")).unwrap()).collect();
        let big = texts.intern("b", &long).unwrap();
        assert_eq!(texts.intern("a", "value-77"), Some(ids[77]));
        assert_eq!(texts.label(ids[99_999]), ("a", "value-99999"));
        assert_eq!(texts.label(big), ("b", long.as_str()));
        let name = texts.find_name("a").unwrap();
        assert_eq!(texts.find_pair(name, "value-5"), Some(ids[5]));
        assert_eq!(texts.find_pair(name, "nope"), None);
        assert_eq!(texts.pairs_of(name).len(), 100_000);
    }

    #[test]
    fn full_arenas_take_known_texts_only() {
        let mut texts = Texts::new();
        let known = texts.intern("a", "b").unwrap();
        texts.arena.segments.resize(MAX_SEGMENTS, String::new());
        assert_eq!((texts.intern("a", "c"), texts.intern("d", "b")), (None, None));
        assert_eq!((texts.intern("a", "b"), texts.label(known)), (Some(known), ("a", "b")));
    }
}
