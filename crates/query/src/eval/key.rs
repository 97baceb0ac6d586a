//! Keys of label sets: some labels of a series, packed into a buffer for look-ups without allocation.

use hashbrown::HashMap;
use model::{Labels, METRIC_NAME};

/// Which labels make the key.
#[derive(Clone, Debug)]
pub(super) struct Projection {
    names: Vec<String>,
    keep: bool,
}

impl Projection {
    /// `on` / `by`: only these.
    pub(super) fn keep(names: &[String]) -> Self {
        Projection { names: names.to_vec(), keep: true }
    }

    /// `ignoring` / `without`: all but these and the metric name.
    pub(super) fn drop(names: &[String]) -> Self {
        let mut names = names.to_vec();
        names.push(METRIC_NAME.to_owned());
        Projection { names, keep: false }
    }

    /// All but these.
    pub(super) fn drop_only(names: &[&str]) -> Self {
        Projection { names: names.iter().map(|n| (*n).to_owned()).collect(), keep: false }
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name) == self.keep
    }

    /// The labels that make the key.
    pub(super) fn labels(&self, labels: &Labels) -> Labels {
        if self.keep && self.names.is_empty() {
            return Labels::empty();
        }
        labels.without(|n| !self.has(n))
    }

    fn write(&self, labels: &Labels, key: &mut String) {
        key.clear();
        if self.keep && self.names.is_empty() {
            return;
        }
        for (n, v) in labels.iter().filter(|(n, _)| self.has(n)) {
            // Lengths make the key unambiguous whatever bytes the texts hold.
            for text in [n, v] {
                push_len(text.len(), key);
                key.push_str(text);
            }
        }
    }
}

fn push_len(mut len: usize, key: &mut String) {
    while len >= 0x40 {
        key.push(char::from((len & 0x3f) as u8 | 0x40));
        len >>= 6;
    }
    key.push(char::from(len as u8));
}

/// Gives each distinct key a number, in order of appearance.
#[derive(Debug)]
pub(super) struct Groups {
    projection: Projection,
    known: HashMap<Box<str>, u32>,
    key: String,
    /// All series are in one group.
    single: bool,
    /// Label sets that came last, with their groups: stores give out copies of few sets.
    recent: Vec<(Labels, u32)>,
    /// Which of them is replaced next.
    oldest: usize,
}

/// So many label sets are looked through before the key of one is made.
const RECENT: usize = 8;

impl Groups {
    pub(super) fn new(projection: Projection) -> Self {
        let single = projection.keep && projection.names.is_empty();
        let recent = Vec::with_capacity(RECENT);
        Groups { projection, known: HashMap::new(), key: String::new(), single, recent, oldest: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Number of the series' group, and whether it is new.
    pub(super) fn of(&mut self, labels: &Labels) -> (usize, bool) {
        if self.single && !self.known.is_empty() {
            return (0, false);
        }
        if let Some((_, known)) = self.recent.iter().find(|(recent, _)| recent.is_copy_of(labels)) {
            return (*known as usize, false);
        }
        self.projection.write(labels, &mut self.key);
        let (number, new) = match self.known.get(self.key.as_str()) {
            Some(known) => (*known, false),
            None => {
                let number = self.known.len() as u32;
                self.known.insert(self.key.as_str().into(), number);
                (number, true)
            }
        };
        match self.recent.get_mut(self.oldest) {
            Some(slot) => *slot = (labels.clone(), number),
            None => self.recent.push((labels.clone(), number)),
        }
        self.oldest = (self.oldest + 1) % RECENT;
        (number as usize, new)
    }

    /// Number of the group, if there is one.
    pub(super) fn find(&mut self, labels: &Labels) -> Option<usize> {
        self.projection.write(labels, &mut self.key);
        self.known.get(self.key.as_str()).map(|n| *n as usize)
    }

    pub(super) fn labels(&self, labels: &Labels) -> Labels {
        self.projection.labels(labels)
    }
}
