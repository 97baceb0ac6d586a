//! Makes a query that differs smaller while it still differs.

use super::tree::Tree;

/// How many smaller queries are tried for one find.
const TRIES: usize = 200;

/// The smallest tree found for which `differs` holds.
pub fn shrink(tree: &Tree, mut differs: impl FnMut(&str) -> bool) -> Tree {
    let mut best = tree.clone();
    let mut tries = 0;
    'smaller: loop {
        let length = best.render().len();
        for candidate in best.smaller() {
            let text = candidate.render();
            tries += 1;
            if tries > TRIES {
                return best;
            }
            if text.len() < length && differs(&text) {
                best = candidate;
                continue 'smaller;
            }
        }
        return best;
    }
}
