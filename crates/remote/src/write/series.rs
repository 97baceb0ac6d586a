//! What the reader remembers of each series: its labels as they are sent, as ids of interned pairs.
//!
//! Room: `remote::write`. A series costs about four bytes per label and a table entry; the text of a pair is
//! kept once, already encoded for remote write 1.0. External labels never override a label of the series.

use hashbrown::{HashMap, HashTable};
use model::relabel::Rule;
use model::{Labels, METRIC_NAME, Metadata};
use std::hash::BuildHasher;
use std::sync::Arc;
use storage::SeriesRef;
use storage::feed::{Feed, Position};
use xxhash_rust::xxh3::xxh3_64;

/// One label in its encoding.
#[derive(Debug)]
struct Pair {
    /// As `storage::key` writes it.
    bytes: Box<[u8]>,
    name_at: u32,
    name_len: u32,
    value_len: u32,
    /// Series that have it; 0: the slot is free.
    users: u32,
}

/// The interned pairs.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    table: HashTable<u32>,
    slots: Vec<Pair>,
    free: Vec<u32>,
    scratch: Vec<u8>,
}

impl Pairs {
    fn intern(&mut self, name: &str, value: &str) -> u32 {
        self.scratch.clear();
        storage::key::push_label(&mut self.scratch, name, value);
        let hash = xxh3_64(&self.scratch);
        let (slots, scratch) = (&self.slots, &self.scratch);
        if let Some(&id) = self.table.find(hash, |&id| *slots[id as usize].bytes == **scratch) {
            self.slots[id as usize].users += 1;
            return id;
        }
        let value_head = 1 + wire::proto::varint_len(value.len() as u64);
        let pair = Pair {
            name_at: (scratch.len() - value.len() - value_head - name.len()) as u32,
            name_len: name.len() as u32,
            value_len: value.len() as u32,
            bytes: scratch.as_slice().into(),
            users: 1,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = pair;
                id
            }
            None => {
                self.slots.push(pair);
                (self.slots.len() - 1) as u32
            }
        };
        let slots = &self.slots;
        self.table.insert_unique(hash, id, |&id| xxh3_64(&slots[id as usize].bytes));
        id
    }

    fn release(&mut self, id: u32) {
        let pair = &mut self.slots[id as usize];
        pair.users -= 1;
        if pair.users == 0 {
            let hash = xxh3_64(&pair.bytes);
            if let Ok(found) = self.table.find_entry(hash, |&other| other == id) {
                found.remove();
            }
            self.slots[id as usize].bytes = Box::default();
            self.free.push(id);
        }
    }

    /// The encoded label.
    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        &self.slots[id as usize].bytes
    }

    pub(super) fn name(&self, id: u32) -> &[u8] {
        let pair = &self.slots[id as usize];
        &pair.bytes[pair.name_at as usize..][..pair.name_len as usize]
    }

    pub(super) fn value(&self, id: u32) -> &[u8] {
        let pair = &self.slots[id as usize];
        &pair.bytes[pair.bytes.len() - pair.value_len as usize..]
    }
}

/// A series that is sent.
#[derive(Debug)]
pub(super) struct Sent {
    /// In order of label names.
    pub(super) pairs: Box<[u32]>,
    /// Bytes of all pairs together.
    pub(super) key_len: u32,
    /// Which of the queue's lanes keeps its order.
    pub(super) lane: u8,
    /// Index into [`Table::metadata`]; 0: none.
    pub(super) metadata: u32,
}

#[derive(Debug)]
enum Entry {
    /// A rule says so.
    Dropped,
    Sent(Sent),
}

/// What a reference stands for.
pub(super) enum Found<'a> {
    Unknown,
    Dropped,
    Sent(&'a Sent),
}

/// References of one page.
const PAGE: u64 = 1024;

/// Entries by reference. Stores give references in a row, and samples come in the order of their series, so
/// entries stand beside each other: a sample costs no cache miss of its own.
#[derive(Debug, Default)]
struct ByRef {
    pages: HashMap<u64, Page>,
    len: usize,
}

#[derive(Debug)]
struct Page {
    entries: Box<[Option<Entry>]>,
    used: usize,
}

impl ByRef {
    #[inline]
    fn get(&self, series: u64) -> Option<&Entry> {
        self.pages.get(&(series / PAGE))?.entries.get((series % PAGE) as usize)?.as_ref()
    }

    fn get_mut(&mut self, series: u64) -> Option<&mut Entry> {
        self.pages.get_mut(&(series / PAGE))?.entries.get_mut((series % PAGE) as usize)?.as_mut()
    }

    /// Only for a reference that is not there yet.
    fn insert(&mut self, series: u64, entry: Entry) {
        let page = self.pages.entry(series / PAGE).or_insert_with(|| Page {
            entries: std::iter::repeat_with(|| None).take(PAGE as usize).collect(),
            used: 0,
        });
        if let Some(slot) = page.entries.get_mut((series % PAGE) as usize) {
            *slot = Some(entry);
            page.used += 1;
            self.len += 1;
        }
    }

    fn remove(&mut self, series: u64) -> Option<Entry> {
        let page = self.pages.get_mut(&(series / PAGE))?;
        let gone = page.entries.get_mut((series % PAGE) as usize)?.take()?;
        page.used -= 1;
        self.len -= 1;
        if page.used == 0 {
            self.pages.remove(&(series / PAGE));
        }
        Some(gone)
    }

    fn refs(&self) -> impl Iterator<Item = u64> {
        self.pages.iter().flat_map(|(page, of)| {
            let taken = of.entries.iter().enumerate().filter(|(_, e)| e.is_some());
            taken.map(move |(at, _)| page * PAGE + at as u64)
        })
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.pages.values_mut().flat_map(|page| page.entries.iter_mut().flatten())
    }
}

/// All series that were told by the feed.
pub(super) struct Table {
    rules: Arc<[Rule]>,
    external: Labels,
    pub(super) pairs: Pairs,
    entries: ByRef,
    /// Distinct metadata; the first entry stands for none.
    pub(super) metadata: Vec<Metadata>,
    metadata_ids: HashMap<Metadata, u32>,
    /// Metadata by family, for series of which the feed tells none.
    families: HashMap<String, u32>,
    /// Series that were not live at the last look, and the end of the log then.
    suspects: Option<(Position, Vec<u64>)>,
}

/// Distinct metadata that is kept; beyond it series go without.
const MAX_METADATA: usize = 200_000;

impl Table {
    pub(super) fn new(rules: Arc<[Rule]>, external: Labels) -> Self {
        Table {
            rules,
            external,
            pairs: Pairs::default(),
            entries: ByRef::default(),
            metadata: vec![Metadata::default()],
            metadata_ids: HashMap::new(),
            families: HashMap::new(),
            suspects: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len
    }

    /// Learns a series. One that is known already stays as it is.
    pub(super) fn learn(&mut self, series: SeriesRef, labels: &Labels) {
        if self.entries.get(series.0).is_some() {
            return;
        }
        let entry = self.resolve(labels).map_or(Entry::Dropped, Entry::Sent);
        self.entries.insert(series.0, entry);
    }

    fn resolve(&mut self, labels: &Labels) -> Option<Sent> {
        let mut builder = labels.builder();
        for (name, value) in &self.external {
            if builder.value(name).is_empty() {
                builder.set(name, value);
            }
        }
        if !model::relabel::apply(&self.rules, &mut builder) || builder.is_empty() {
            return None;
        }
        let pairs: Box<[u32]> = builder.iter().map(|(n, v)| self.pairs.intern(n, v)).collect();
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        let mut key_len = 0;
        for &id in &pairs {
            let bytes = self.pairs.bytes(id);
            hash.update(bytes);
            key_len += bytes.len() as u32;
        }
        // Of the sent labels, not of the reference: a series that comes again keeps its lane.
        let lane = (hash.digest() % super::schedule::LANES as u64) as u8;
        let metadata = self.of_family(labels.metric_name());
        Some(Sent { pairs, key_len, lane, metadata })
    }

    /// Metadata of a metric's family; 0 when unknown.
    fn of_family(&self, metric: &str) -> u32 {
        if self.families.is_empty() {
            return 0;
        }
        let known = |family: &str| self.families.get(family).copied();
        let of_part = || {
            let suffixes = ["_bucket", "_count", "_sum"];
            let family = suffixes.iter().find_map(|s| metric.strip_suffix(s))?;
            known(family).filter(|&id| {
                use model::MetricType::{GaugeHistogram, Histogram, Summary};
                matches!(self.metadata[id as usize].kind, Histogram | GaugeHistogram | Summary)
            })
        };
        known(metric).or_else(of_part).unwrap_or(0)
    }

    /// Learns metadata of families, for series of which the feed told none.
    pub(super) fn learn_families(&mut self, families: &[(String, Metadata)]) {
        let before = self.families.len();
        for (family, metadata) in families {
            let id = self.metadata_id(metadata);
            self.families.insert(family.clone(), id);
        }
        if self.families.len() == before {
            return;
        }
        let mut entries = std::mem::take(&mut self.entries);
        for entry in entries.values_mut() {
            let Entry::Sent(sent) = entry else { continue };
            if sent.metadata != 0 {
                continue;
            }
            let name = sent.pairs.iter().find(|&&id| self.pairs.name(id) == METRIC_NAME.as_bytes());
            if let Some(metric) = name.and_then(|&id| str::from_utf8(self.pairs.value(id)).ok()) {
                sent.metadata = self.of_family(metric);
            }
        }
        self.entries = entries;
    }

    fn metadata_id(&mut self, metadata: &Metadata) -> u32 {
        match self.metadata_ids.get(metadata) {
            Some(&id) => id,
            None if self.metadata.len() >= MAX_METADATA || *metadata == Metadata::default() => 0,
            None => {
                let id = self.metadata.len() as u32;
                self.metadata.push(metadata.clone());
                self.metadata_ids.insert(metadata.clone(), id);
                id
            }
        }
    }

    pub(super) fn find(&self, series: SeriesRef) -> Found<'_> {
        match self.entries.get(series.0) {
            None => Found::Unknown,
            Some(Entry::Dropped) => Found::Dropped,
            Some(Entry::Sent(sent)) => Found::Sent(sent),
        }
    }

    /// Notes metadata of a series.
    pub(super) fn describe(&mut self, series: SeriesRef, metadata: &Metadata) {
        let id = self.metadata_id(metadata);
        if let Some(Entry::Sent(sent)) = self.entries.get_mut(series.0) {
            sent.metadata = id;
        }
    }

    /// Forgets series that the store no longer knows and that have no samples from `reader` on. Works in two
    /// looks: what is not live at the first is forgotten at the second, once the reader has passed what was
    /// then the end of the log.
    pub(super) fn forget(&mut self, feed: &dyn Feed, reader: Position) -> usize {
        if let Some((end, _)) = &self.suspects
            && reader < *end
        {
            return 0;
        }
        let mut forgotten = 0;
        if let Some((_, suspects)) = self.suspects.take() {
            for series in suspects {
                if feed.is_live(SeriesRef(series)) {
                    continue;
                }
                if let Some(entry) = self.entries.remove(series) {
                    forgotten += 1;
                    if let Entry::Sent(sent) = entry {
                        sent.pairs.iter().for_each(|&id| self.pairs.release(id));
                    }
                }
            }
        }
        let end = feed.end();
        let suspects: Vec<u64> =
            self.entries.refs().filter(|series| !feed.is_live(SeriesRef(*series))).collect();
        self.suspects = (!suspects.is_empty()).then_some((end, suspects));
        forgotten
    }
}

/// Texts of a 2.0 request, each once; `""` first.
#[derive(Debug)]
pub(super) struct Symbols {
    texts: Vec<u8>,
    ends: Vec<u32>,
    table: HashTable<u32>,
    /// References of pairs: name and value.
    pairs: HashMap<u32, (u32, u32)>,
    hasher: hashbrown::DefaultHashBuilder,
}

impl Default for Symbols {
    fn default() -> Self {
        Symbols {
            texts: Vec::new(),
            ends: vec![0],
            table: HashTable::new(),
            pairs: HashMap::new(),
            hasher: hashbrown::DefaultHashBuilder::default(),
        }
    }
}

impl Symbols {
    fn get<'t>(texts: &'t [u8], ends: &[u32], id: u32) -> &'t [u8] {
        let start = if id == 0 { 0 } else { ends[id as usize - 1] };
        &texts[start as usize..ends[id as usize] as usize]
    }

    pub(super) fn add(&mut self, text: &[u8]) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let hash = self.hasher.hash_one(text);
        let (texts, ends) = (&self.texts, &self.ends);
        if let Some(&id) = self.table.find(hash, |&id| Self::get(texts, ends, id) == text) {
            return id;
        }
        self.texts.extend_from_slice(text);
        let id = self.ends.len() as u32;
        self.ends.push(self.texts.len() as u32);
        let (texts, ends, hasher) = (&self.texts, &self.ends, &self.hasher);
        self.table.insert_unique(hash, id, |&id| hasher.hash_one(Self::get(texts, ends, id)));
        id
    }

    /// References of a pair: name and value.
    pub(super) fn pair(&mut self, pairs: &Pairs, id: u32) -> (u32, u32) {
        if let Some(&refs) = self.pairs.get(&id) {
            return refs;
        }
        let refs = (self.add(pairs.name(id)), self.add(pairs.value(id)));
        self.pairs.insert(id, refs);
        refs
    }

    pub(super) fn bytes(&self) -> usize {
        self.texts.len() + 2 * self.ends.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len() as u32)
            .map(|id| str::from_utf8(Self::get(&self.texts, &self.ends, id)).unwrap_or_default())
    }

    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.ends.truncate(1);
        self.table.clear();
        self.pairs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_kept_once_and_freed() {
        let mut pairs = Pairs::default();
        let long = "v".repeat(300);
        let a = pairs.intern("job", &long);
        assert_eq!(pairs.intern("job", &long), a);
        assert_eq!((pairs.name(a), pairs.value(a)), (&b"job"[..], long.as_bytes()));
        pairs.release(a);
        pairs.release(a);
        let b = pairs.intern("x", "y");
        assert_eq!((b, pairs.name(b), pairs.value(b)), (a, &b"x"[..], &b"y"[..]));
        assert_ne!(pairs.intern("job", &long), b);
    }

    #[test]
    fn external_labels_do_not_override() {
        let external = Labels::from_pairs([("cluster", "outer"), ("dc", "1")]);
        let mut table = Table::new(Arc::from([]), external);
        table.learn(SeriesRef(1), &Labels::from_pairs([("__name__", "up"), ("cluster", "own")]));
        let Found::Sent(sent) = table.find(SeriesRef(1)) else { panic!("dropped") };
        let got: Vec<_> = sent.pairs.iter().map(|&p| (table.pairs.name(p), table.pairs.value(p))).collect();
        let want: [(&[u8], &[u8]); 3] = [(b"__name__", b"up"), (b"cluster", b"own"), (b"dc", b"1")];
        assert_eq!(got, want);
    }

    #[test]
    fn metadata_comes_from_the_family_or_the_feed() {
        let mut table = Table::new(Arc::from([]), Labels::empty());
        let of = |kind| Metadata { kind, unit: String::new(), help: "h".into() };
        let name = |name: &str| Labels::from_pairs([("__name__", name)]);
        table.learn(SeriesRef(1), &name("x_bucket"));
        table.learn(SeriesRef(2), &name("y_sum"));
        let (histogram, gauge) = (of(model::MetricType::Histogram), of(model::MetricType::Gauge));
        table.learn_families(&[("x".into(), histogram.clone()), ("y".into(), gauge.clone())]);
        table.learn(SeriesRef(3), &name("y"));
        table.describe(SeriesRef(2), &histogram);
        let got = [1, 2, 3].map(|n| match table.find(SeriesRef(n)) {
            Found::Sent(sent) => table.metadata[sent.metadata as usize].clone(),
            _ => panic!("dropped"),
        });
        assert_eq!(got, [histogram.clone(), histogram, gauge]);
    }

    #[test]
    fn symbols_are_kept_once() {
        let mut symbols = Symbols::default();
        assert_eq!((symbols.add(b"a"), symbols.add(b""), symbols.add(b"b"), symbols.add(b"a")), (1, 0, 2, 1));
        assert_eq!(symbols.iter().collect::<Vec<_>>(), ["", "a", "b"]);
        symbols.clear();
        assert_eq!((symbols.add(b"b"), symbols.iter().count()), (1, 2));
    }
}
