//! Label sets as numbers: equal sets have equal digests in all stores of one process.
//!
//! A digest is 128 bits, keyed with a secret of the process, so that nobody outside can make two sets meet. It
//! is the sum of the digests of the pairs: taking a label away is a subtraction.

use model::Labels;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

/// Of one text: a name or a value.
pub fn text(text: &str) -> u128 {
    static KEYS: OnceLock<(RandomState, RandomState)> = OnceLock::new();
    let (a, b) = KEYS.get_or_init(|| (RandomState::new(), RandomState::new()));
    let half = |key: &RandomState| {
        let mut hasher = key.build_hasher();
        hasher.write(text.as_bytes());
        u128::from(hasher.finish())
    };
    half(a) << 64 | half(b)
}

/// Of a label, from the digests of its name and of its value. Which of the two is which matters.
#[inline]
pub fn pair(name: u128, value: u128) -> u128 {
    (name ^ value.rotate_left(64)).wrapping_mul(name.rotate_left(17).wrapping_add(value) | 1)
}

/// Of a set: the sum of its pairs.
pub fn labels(labels: &Labels) -> u128 {
    labels.iter().fold(0, |sum: u128, (n, v)| sum.wrapping_add(pair(text(n), text(v))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_differ_in_any_label() {
        let of = |pairs: &[(&str, &str)]| labels(&Labels::from_pairs(pairs.iter().copied()));
        let sets: [&[(&str, &str)]; 7] = [
            &[],
            &[("a", "x")],
            &[("x", "a")],
            &[("a", "x"), ("b", "y")],
            &[("a", "y"), ("b", "x")],
            &[("ab", "x")],
            &[("a", "bx")],
        ];
        for (i, a) in sets.iter().enumerate() {
            for (j, b) in sets.iter().enumerate() {
                assert_eq!(of(a) == of(b), i == j, "{a:?} {b:?}");
            }
        }
        let all = of(&[("__name__", "m"), ("a", "x")]);
        assert_eq!(all.wrapping_sub(pair(text("__name__"), text("m"))), of(&[("a", "x")]));
    }
}
