//! Sorting that can be stopped: runs are sorted and merged, with a question between small amounts of work.

use crate::error::StorageError;
use crate::select::Stop;
use std::cmp::Ordering;

/// Items that are put in order between two looks: some tenths of a millisecond.
const RUN: usize = 1024;

/// Sorts, equal items staying in their order. `look` is told how many comparisons were made since the last time, at
/// most some thousands, and its error ends the sorting.
pub fn stable<T, E>(
    mut list: Vec<T>,
    order: impl Fn(&T, &T) -> Ordering,
    mut look: impl FnMut(usize) -> Result<(), E>,
) -> Result<Vec<T>, E> {
    let mut sorted = true;
    for at in 1..list.len() {
        if order(&list[at - 1], &list[at]) == Ordering::Greater {
            sorted = false;
            break;
        }
        look(1)?;
    }
    if sorted {
        return Ok(list);
    }
    let mut runs = Vec::with_capacity(list.len().div_ceil(RUN));
    for run in list.chunks_mut(RUN) {
        run.sort_by(&order);
        look(run.len() * 8)?;
    }
    // Taken apart from behind, so that nothing is moved twice.
    while list.len() > RUN {
        let at = (list.len() - 1) / RUN * RUN;
        runs.push(list.split_off(at));
    }
    runs.push(list);
    runs.reverse();
    while runs.len() > 1 {
        let mut longer = Vec::with_capacity(runs.len().div_ceil(2));
        let mut pairs = runs.into_iter();
        while let Some(first) = pairs.next() {
            longer.push(match pairs.next() {
                Some(second) => merge(first, second, &order, &mut look)?,
                None => first,
            });
        }
        runs = longer;
    }
    Ok(runs.pop().unwrap_or_default())
}

fn merge<T, E>(
    first: Vec<T>,
    second: Vec<T>,
    order: &impl Fn(&T, &T) -> Ordering,
    look: &mut impl FnMut(usize) -> Result<(), E>,
) -> Result<Vec<T>, E> {
    let mut merged = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    while let (Some(a), Some(b)) = (first.as_slice().first(), second.as_slice().first()) {
        let from = if order(a, b) == Ordering::Greater { &mut second } else { &mut first };
        merged.extend(from.next());
        look(1)?;
    }
    merged.extend(first);
    merged.extend(second);
    Ok(merged)
}

/// As [`stable`], until `stop` says so.
pub fn until<T>(
    list: Vec<T>,
    stop: &Stop,
    order: impl Fn(&T, &T) -> Ordering,
) -> Result<Vec<T>, StorageError> {
    let mut since = 0;
    stable(list, order, |comparisons| {
        since += comparisons;
        if since < RUN {
            return Ok(());
        }
        since = 0;
        stop.check()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[test]
    fn order_is_kept_and_every_look_can_end_it() {
        let mut seed = 7u64;
        for len in [0, 1, 2, RUN - 1, RUN, RUN + 1, 3 * RUN + 5, 40 * RUN + 1] {
            let list: Vec<(u64, usize)> = (0..len)
                .map(|i| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 52, i)
                })
                .collect();
            let mut want = list.clone();
            want.sort_by_key(|(key, _)| *key);
            let order = |a: &(u64, usize), b: &(u64, usize)| a.0.cmp(&b.0);
            assert_eq!(until(list.clone(), &Stop::default(), order).expect("nobody stops it"), want);
            assert_eq!(until(want.clone(), &Stop::default(), order).expect("nobody stops it"), want);
            let asked = Arc::new(AtomicUsize::new(0));
            let counting = |at: usize| {
                let asked = asked.clone();
                Stop::when(move || asked.fetch_add(1, Relaxed) + 1 == at)
            };
            assert!(until(list.clone(), &counting(usize::MAX), order).is_ok());
            let looks = asked.swap(0, Relaxed);
            assert!(looks >= len / RUN, "{looks} looks for {len}");
            for at in [1, looks / 2, looks].into_iter().filter(|at| (1..=looks).contains(at)) {
                assert!(until(list.clone(), &counting(at), order).is_err(), "{at} of {looks}");
                assert_eq!(asked.swap(0, Relaxed), at, "nobody goes on");
            }
        }
    }
}
