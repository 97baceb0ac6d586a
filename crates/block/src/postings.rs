//! Lists of series ids and the set operations on them. Lists are sorted and hold no id twice.

/// Ids in both lists. When one is much shorter, it gallops through the longer one.
pub fn intersect(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut out = Vec::with_capacity(short.len());
    let mut rest = long;
    for &id in short {
        rest = skip_to(rest, id);
        match rest.first() {
            None => break,
            Some(&found) if found == id => out.push(id),
            Some(_) => {}
        }
    }
    out
}

/// The part of a list from the first id that is not less than `id`: doubles its step, then halves it.
fn skip_to(list: &[u32], id: u32) -> &[u32] {
    let mut step = 1;
    while step < list.len() && list[step] < id {
        step *= 2;
    }
    let (from, to) = (step / 2, (step + 1).min(list.len()));
    let at = from + list[from..to].partition_point(|found| *found < id);
    &list[at..]
}

/// Ids of `a` that are not in `b`.
pub fn without(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut rest = b;
    a.iter()
        .copied()
        .filter(|id| {
            rest = skip_to(rest, *id);
            rest.first() != Some(id)
        })
        .collect()
}

/// Ids in any of the lists.
pub fn union(lists: &[Vec<u32>]) -> Vec<u32> {
    match lists {
        [] => Vec::new(),
        [one] => one.clone(),
        many => {
            let mut all: Vec<u32> = many.concat();
            // Lists of series with one value each tend to interleave little; sort runs in near linear time.
            all.sort();
            all.dedup();
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn agree_with_sets() {
        let lists: [Vec<u32>; 5] = [
            vec![],
            vec![1],
            (0..1000).collect(),
            (0..1000).filter(|n| n % 7 == 3).collect(),
            (500..5000).step_by(13).collect(),
        ];
        for a in &lists {
            for b in &lists {
                let (x, y): (BTreeSet<u32>, BTreeSet<u32>) =
                    (a.iter().copied().collect(), b.iter().copied().collect());
                assert_eq!(intersect(a, b), x.intersection(&y).copied().collect::<Vec<_>>());
                assert_eq!(without(a, b), x.difference(&y).copied().collect::<Vec<_>>());
                assert_eq!(union(&[a.clone(), b.clone()]), x.union(&y).copied().collect::<Vec<_>>());
            }
        }
    }
}
