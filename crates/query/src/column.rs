//! One series over all steps of an evaluation: values, presence, and sparse histograms.

use model::FloatHistogram;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// A histogram with its step.
pub(crate) type HistSlot = (u32, Arc<FloatHistogram>);

/// Values of one series, one slot per step.
///
/// A slot holds a float (its bit in the presence set is on), a histogram (an entry in `hists`), or nothing.
/// A slot never holds both. Values of absent slots are unspecified.
#[derive(Clone, Debug, Default)]
pub struct Column {
    pub(crate) values: SmallVec<[f64; 1]>,
    pub(crate) present: SmallVec<[u64; 1]>,
    /// Sorted by step. Boxed because few columns have any.
    #[allow(clippy::box_collection)]
    pub(crate) hists: Option<Box<Vec<HistSlot>>>,
}

/// A sample as results hand it out.
#[derive(Clone, Debug)]
pub enum SampleValue {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl Column {
    /// An empty column of `steps` slots.
    pub fn new(steps: usize) -> Self {
        Column { values: smallvec![0.0; steps], present: smallvec![0; steps.div_ceil(64)], hists: None }
    }

    /// All slots hold `value`.
    pub fn constant(steps: usize, value: f64) -> Self {
        let mut column = Column { values: smallvec![value; steps], present: SmallVec::new(), hists: None };
        column.fill_present();
        column
    }

    /// All slots present, with these values.
    pub fn from_values(values: &[f64]) -> Self {
        let mut column =
            Column { values: SmallVec::from_slice(values), present: SmallVec::new(), hists: None };
        column.fill_present();
        column
    }

    fn fill_present(&mut self) {
        let steps = self.values.len();
        self.present.clear();
        self.present.resize(steps.div_ceil(64), u64::MAX);
        if !steps.is_multiple_of(64)
            && let Some(last) = self.present.last_mut()
        {
            *last = (1 << (steps % 64)) - 1;
        }
    }

    /// Empties the column for reuse.
    pub(crate) fn reset(&mut self, steps: usize) {
        self.values.resize(steps, 0.0);
        self.present.clear();
        self.present.resize(steps.div_ceil(64), 0);
        self.hists = None;
    }

    pub fn steps(&self) -> usize {
        self.values.len()
    }

    #[inline]
    pub fn float(&self, step: usize) -> Option<f64> {
        self.has_float(step).then(|| self.values[step])
    }

    #[inline]
    pub fn has_float(&self, step: usize) -> bool {
        self.present[step / 64] >> (step % 64) & 1 == 1
    }

    pub fn hist(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        let hists = self.hists.as_deref()?;
        hists.binary_search_by_key(&(step as u32), |(s, _)| *s).ok().map(|at| &hists[at].1)
    }

    pub fn has_hists(&self) -> bool {
        self.hists.as_ref().is_some_and(|h| !h.is_empty())
    }

    /// Whether the slot holds anything.
    pub fn has(&self, step: usize) -> bool {
        self.has_float(step) || self.hist(step).is_some()
    }

    #[inline]
    pub(crate) fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        self.present[step / 64] |= 1 << (step % 64);
    }

    #[inline]
    pub(crate) fn unset(&mut self, step: usize) {
        self.present[step / 64] &= !(1 << (step % 64));
    }

    /// Steps must come in ascending order.
    pub(crate) fn push_hist(&mut self, step: usize, h: Arc<FloatHistogram>) {
        let hists = self.hists.get_or_insert_default();
        debug_assert!(hists.last().is_none_or(|(s, _)| (*s as usize) < step));
        hists.push((step as u32, h));
    }

    /// Histograms as (step, histogram), by step.
    pub fn hists(&self) -> &[(u32, Arc<FloatHistogram>)] {
        self.hists.as_deref().map_or(&[], Vec::as_slice)
    }

    pub fn float_count(&self) -> usize {
        self.present.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Whether no slot holds anything.
    pub fn is_empty(&self) -> bool {
        !self.has_hists() && self.present.iter().all(|w| *w == 0)
    }

    /// Whether all slots hold floats.
    pub(crate) fn is_full(&self) -> bool {
        self.float_count() == self.values.len()
    }

    /// The value of all slots, where they hold the same float, bit by bit.
    pub(crate) fn constant_value(&self) -> Option<f64> {
        let first = *self.values.first()?;
        // Looked at without an early end, so that the loop is done in wide registers.
        let rests = self.values.iter().fold(true, |rests, v| rests & (v.to_bits() == first.to_bits()));
        (rests && self.is_full()).then_some(first)
    }

    /// Puts one value into all slots of an empty column.
    pub(crate) fn fill(&mut self, value: f64) {
        self.values.fill(value);
        self.fill_present();
    }

    /// Floats as (step, value), by step.
    pub fn floats(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        BitIter::new(&self.present).map(|step| (step, self.values[step]))
    }

    /// The same, from a step on.
    pub fn floats_from(&self, from: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        BitIter::starting(&self.present, from).map(|step| (step, self.values[step]))
    }

    /// Slots that hold anything, as a bit set.
    pub(crate) fn any_bits(&self) -> SmallVec<[u64; 1]> {
        let mut bits = self.present.clone();
        for (step, _) in self.hists() {
            bits[*step as usize / 64] |= 1 << (step % 64);
        }
        bits
    }

    /// Samples in upstream's counting: a float is 1, a histogram as many as its size.
    pub(crate) fn samples(&self) -> usize {
        self.float_count()
            + self.hists().iter().map(|(_, h)| crate::budget::histogram_samples(h)).sum::<usize>()
    }

    /// Bytes on the heap, about.
    pub(crate) fn bytes(&self) -> usize {
        let hists: usize = self.hists().iter().map(|(_, h)| 16 + crate::budget::histogram_bytes(h)).sum();
        size_of::<Self>()
            + if self.values.len() > 1 { self.values.len() * 8 + self.present.len() * 8 } else { 0 }
            + hists
    }
}

/// Set bits of a bit set, ascending.
pub(crate) struct BitIter<'a> {
    words: &'a [u64],
    at: usize,
    word: u64,
}

impl<'a> BitIter<'a> {
    pub(crate) fn new(words: &'a [u64]) -> Self {
        BitIter::starting(words, 0)
    }

    /// Those from bit `from` on.
    pub(crate) fn starting(words: &'a [u64], from: usize) -> Self {
        let (at, bit) = (from / 64, from % 64);
        let word = words.get(at).map_or(0, |word| word >> bit << bit);
        BitIter { words, at, word }
    }
}

impl Iterator for BitIter<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.word == 0 {
            self.at += 1;
            self.word = *self.words.get(self.at)?;
        }
        let bit = self.word.trailing_zeros() as usize;
        self.word &= self.word - 1;
        Some(self.at * 64 + bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots() {
        let mut c = Column::new(130);
        assert!(c.is_empty());
        c.set(0, 1.0);
        c.set(64, 2.0);
        c.set(129, 3.0);
        assert_eq!(c.floats().collect::<Vec<_>>(), [(0, 1.0), (64, 2.0), (129, 3.0)]);
        for from in 0..=130 {
            let all = c.floats().filter(|(step, _)| *step >= from);
            assert!(c.floats_from(from).eq(all), "{from}");
        }
        c.unset(64);
        assert_eq!(c.float_count(), 2);
        assert_eq!(c.float(64), None);
        assert!(Column::constant(130, 1.0).is_full());
        assert!(Column::constant(128, 1.0).is_full());
        let mut c = Column::new(70);
        assert_eq!(c.constant_value(), None);
        c.fill(2.5);
        assert!(c.is_full());
        assert_eq!(c.constant_value(), Some(2.5));
        c.set(69, 2.0);
        assert_eq!(c.constant_value(), None);
        c.fill(f64::NAN);
        assert!(c.constant_value().is_some_and(f64::is_nan));
        c.unset(3);
        assert_eq!(c.constant_value(), None);
    }
}
