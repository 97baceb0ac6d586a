//! Choosing blocks for compaction, by upstream's rules (`tsdb/compact.go`), so that both programs would leave
//! the same blocks behind.

use crate::meta::BlockMeta;

/// Share of deleted series above which a block is rewritten.
const TOMBSTONE_SHARE: f64 = 0.05;
/// Each level spans three times the one below.
const LEVEL_FACTOR: i64 = 3;

/// Indexes into the list that was planned over, in order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    Nothing,
    /// Blocks that overlap in time: their samples are merged.
    Overlapping(Vec<usize>),
    /// Neighbours that fill a range of the next level.
    Level(Vec<usize>),
    /// One block with many tombstones: written anew without the deleted samples.
    Tombstones(usize),
}

/// Ranges of the levels in ms: `min` and its multiples by three, up to `max`.
pub fn level_ranges(min: i64, max: i64) -> Vec<i64> {
    let mut ranges = Vec::new();
    let mut range = min.max(1);
    while range <= max && ranges.len() < 10 {
        ranges.push(range);
        let Some(next) = range.checked_mul(LEVEL_FACTOR) else { break };
        range = next;
    }
    if ranges.is_empty() {
        ranges.push(min.max(1));
    }
    ranges
}

/// What to do next with `blocks`, which are sorted by their first time. `ranges` from [`level_ranges`].
pub fn plan(blocks: &[&BlockMeta], ranges: &[i64]) -> Plan {
    let overlapping = overlapping(blocks);
    if !overlapping.is_empty() {
        return Plan::Overlapping(overlapping);
    }
    // The newest block may still get a neighbour from the head: it rests.
    let Some((newest, settled)) = blocks.split_last() else { return Plan::Nothing };
    let group = next_level(settled, ranges, newest.min_time);
    if !group.is_empty() {
        return Plan::Level(group);
    }
    let largest = ranges.last().copied().unwrap_or(i64::MAX);
    for (i, meta) in settled.iter().enumerate().rev() {
        let half_of_largest = largest / 2;
        if meta.max_time - meta.min_time < half_of_largest {
            // Smaller ones are rewritten by the next level anyway, unless everything in them is deleted.
            if meta.stats.num_tombstones > 0 && meta.stats.num_tombstones >= meta.stats.num_series {
                return Plan::Tombstones(i);
            }
            continue;
        }
        if meta.stats.num_tombstones as f64 / (meta.stats.num_series + 1) as f64 > TOMBSTONE_SHARE {
            return Plan::Tombstones(i);
        }
    }
    Plan::Nothing
}

fn overlapping(blocks: &[&BlockMeta]) -> Vec<usize> {
    let mut group: Vec<usize> = Vec::new();
    let Some(first) = blocks.first() else { return group };
    let mut end = first.max_time;
    for (i, meta) in blocks.iter().enumerate().skip(1) {
        if meta.min_time < end {
            if group.is_empty() {
                group.push(i - 1);
            }
            group.push(i);
        } else if !group.is_empty() {
            break;
        }
        end = end.max(meta.max_time);
    }
    group
}

/// The first complete group of neighbours within one range of a level above the first.
fn next_level(blocks: &[&BlockMeta], ranges: &[i64], newest_min: i64) -> Vec<usize> {
    for range in ranges.iter().skip(1) {
        let mut from = 0;
        while from < blocks.len() {
            let start = blocks[from].min_time.div_euclid(*range) * range;
            if blocks[from].max_time > start + range {
                from += 1;
                continue;
            }
            let fits = |m: &&BlockMeta| m.max_time <= start + range;
            let count = blocks[from..].iter().take_while(|m| fits(m)).count();
            let part = &blocks[from..from + count];
            let filled = part.last().is_some_and(|last| {
                last.max_time - part[0].min_time == *range || last.max_time <= newest_min
            });
            // A group waits while a block that belongs into its range may still come.
            let complete = filled
                && (start + range <= newest_min || part.last().is_some_and(|l| l.max_time == start + range));
            if part.len() > 1 && complete && part.iter().all(|m| !m.compaction.failed) {
                return (from..from + count).collect();
            }
            from += count.max(1);
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulid::Ulid;

    /// Blocks as `(first, end)` in units of 20.
    fn check(spans: &[(i64, i64)], want: Plan) {
        let metas: Vec<BlockMeta> =
            spans.iter().map(|(min, max)| BlockMeta::level_1(Ulid::nil(), *min, *max)).collect();
        let metas: Vec<&BlockMeta> = metas.iter().collect();
        assert_eq!(plan(&metas, &[20, 60, 180, 540]), want, "{spans:?}");
    }

    #[test]
    fn levels_fill_up() {
        check(&[], Plan::Nothing);
        check(&[(0, 20)], Plan::Nothing);
        check(&[(0, 20), (20, 40)], Plan::Nothing);
        // Three fill 0–60, but the newest rests until a fourth is there.
        check(&[(0, 20), (20, 40), (40, 60)], Plan::Nothing);
        check(&[(0, 20), (20, 40), (40, 60), (60, 80)], Plan::Level(vec![0, 1, 2]));
        check(&[(0, 20), (20, 40), (60, 80)], Plan::Level(vec![0, 1]));
        check(&[(0, 60), (60, 120), (120, 180), (180, 200)], Plan::Level(vec![0, 1, 2]));
        check(&[(0, 60), (60, 80), (80, 100), (120, 140)], Plan::Level(vec![1, 2]));
        // A gap of a whole level above joins what is left of it.
        check(&[(0, 60), (120, 180), (180, 200)], Plan::Level(vec![0, 1]));
        check(&[(0, 20), (20, 40), (40, 60), (60, 120), (120, 140)], Plan::Level(vec![0, 1, 2]));
    }

    #[test]
    fn overlaps_come_first() {
        check(&[(0, 20), (19, 40), (40, 60)], Plan::Overlapping(vec![0, 1]));
        check(&[(0, 20), (20, 40), (20, 40)], Plan::Overlapping(vec![1, 2]));
        check(&[(0, 100), (20, 40), (60, 80), (100, 120)], Plan::Overlapping(vec![0, 1, 2]));
    }

    #[test]
    fn tombstones_are_cleared() {
        let mut large = BlockMeta::level_1(Ulid::nil(), 0, 540);
        large.stats.num_series = 10;
        large.stats.num_tombstones = 3;
        let newest = BlockMeta::level_1(Ulid::nil(), 540, 560);
        assert_eq!(plan(&[&large, &newest], &[20, 60, 180, 540]), Plan::Tombstones(0));
        large.stats.num_tombstones = 0;
        assert_eq!(plan(&[&large, &newest], &[20, 60, 180, 540]), Plan::Nothing);
    }

    #[test]
    fn ranges() {
        assert_eq!(level_ranges(20, 600), [20, 60, 180, 540]);
        assert_eq!(level_ranges(20, 10), [20]);
    }
}
