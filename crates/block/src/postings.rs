//! Lists of series ids and the set operations on them. Lists are sorted and hold no id twice. Long ones stay where
//! they are in the file; the operations gallop through them.

/// A sorted list of ids that can be looked into anywhere.
pub trait List {
    fn len(&self) -> usize;
    /// The id at a place below [`List::len`].
    fn at(&self, place: usize) -> u32;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first place from `from` on whose id is not less than `id`: doubles its step, then halves it.
    fn seek(&self, from: usize, id: u32) -> usize {
        let len = self.len();
        let mut step = 1;
        let mut low = from;
        while low < len && self.at(low) < id {
            let next = low + step;
            if next >= len || self.at(next) >= id {
                let (mut low, mut high) = (low + 1, next.min(len));
                while low < high {
                    let middle = low + (high - low) / 2;
                    if self.at(middle) < id {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                return low;
            }
            low = next;
            step *= 2;
        }
        low
    }
}

impl List for [u32] {
    fn len(&self) -> usize {
        <[u32]>::len(self)
    }

    fn at(&self, place: usize) -> u32 {
        self[place]
    }
}

/// A list as it stands in the index: big-endian.
#[derive(Clone, Copy, Debug)]
pub struct Mapped<'a>(&'a [[u8; 4]]);

impl<'a> Mapped<'a> {
    /// Over the bytes of a list; what is left of a whole number of ids is ignored.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Mapped(bytes.as_chunks().0)
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.iter().map(|b| u32::from_be_bytes(*b))
    }
}

impl List for Mapped<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn at(&self, place: usize) -> u32 {
        u32::from_be_bytes(self.0[place])
    }
}

/// Ids in both lists; quick when `short` is much shorter.
pub fn intersect(short: &[u32], long: &(impl List + ?Sized)) -> Vec<u32> {
    let mut place = 0;
    let keep = |id: &u32| {
        place = long.seek(place, *id);
        place < long.len() && long.at(place) == *id
    };
    let mut ids = short.to_vec();
    ids.retain(keep);
    ids
}

/// Whether any id is in both lists.
pub fn meets(a: &(impl List + ?Sized), b: &(impl List + ?Sized)) -> bool {
    let (mut i, mut j) = (0, 0);
    while i < a.len() {
        j = b.seek(j, a.at(i));
        if j == b.len() {
            return false;
        }
        if b.at(j) == a.at(i) {
            return true;
        }
        i = a.seek(i, b.at(j));
    }
    false
}

/// Takes the ids of `gone` out of `ids`.
pub fn subtract(ids: &mut Vec<u32>, gone: &(impl List + ?Sized)) {
    let mut place = 0;
    ids.retain(|id| {
        place = gone.seek(place, *id);
        place == gone.len() || gone.at(place) != *id
    });
}

/// Makes a sorted list of several that stand one behind the other.
pub fn settle(ids: &mut Vec<u32>) {
    if !ids.is_sorted_by(|a, b| a < b) {
        // Stable sorting finds the runs and merges them.
        ids.sort();
        ids.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn agree_with_sets() {
        let lists: [Vec<u32>; 7] = [
            vec![],
            vec![1],
            vec![4999, 5000],
            (0..1000).collect(),
            (0..1000).filter(|n| n % 7 == 3).collect(),
            (500..5000).step_by(13).collect(),
            (0..5000).filter(|n| n / 100 % 3 == 0).collect(),
        ];
        for a in &lists {
            for b in &lists {
                let bytes: Vec<u8> = b.iter().flat_map(|n| n.to_be_bytes()).collect();
                let mapped = Mapped::new(&bytes);
                let (x, y): (BTreeSet<u32>, BTreeSet<u32>) =
                    (a.iter().copied().collect(), b.iter().copied().collect());
                let both: Vec<u32> = x.intersection(&y).copied().collect();
                assert_eq!(intersect(a, b.as_slice()), both);
                assert_eq!(intersect(a, &mapped), both);
                assert_eq!(meets(a.as_slice(), &mapped), !both.is_empty());
                assert_eq!(meets(&mapped, a.as_slice()), !both.is_empty());
                let mut rest = a.clone();
                subtract(&mut rest, &mapped);
                assert_eq!(rest, x.difference(&y).copied().collect::<Vec<_>>());
                let mut all = [a.as_slice(), b.as_slice()].concat();
                settle(&mut all);
                assert_eq!(all, x.union(&y).copied().collect::<Vec<_>>());
                assert_eq!(mapped.iter().collect::<Vec<_>>(), *b);
            }
        }
    }
}
