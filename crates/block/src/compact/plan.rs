//! Choosing blocks for compaction, by upstream's rules (`tsdb/compact.go`), so that both programs would leave
//! the same blocks behind.

use crate::meta::{BlockMeta, hints};

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

/// The rules of choosing.
#[derive(Clone, Debug)]
pub struct Planner {
    /// From [`level_ranges`].
    pub ranges: Vec<i64>,
    /// Join blocks that overlap in time.
    pub overlapping: bool,
}

impl Planner {
    /// What to do next with `blocks`, which are sorted by their first time.
    pub fn plan(&self, blocks: &[&BlockMeta]) -> Plan {
        // Blocks with a part of the head's series say less about their time range than others. Joined with those
        // they would lose their hint, so each class is planned alone; ordinary blocks come first.
        let class = |meta: &BlockMeta| {
            let has = |hint| meta.compaction.has_hint(hint);
            if has(hints::STALE_SERIES) {
                1
            } else if has(hints::SELECTED_SERIES) {
                2
            } else {
                0
            }
        };
        for wanted in 0..3 {
            let places: Vec<usize> = (0..blocks.len()).filter(|i| class(blocks[*i]) == wanted).collect();
            let members: Vec<&BlockMeta> = places.iter().map(|i| blocks[*i]).collect();
            let to_all = |group: Vec<usize>| group.into_iter().map(|i| places[i]).collect();
            match self.plan_class(&members) {
                Plan::Nothing => {}
                Plan::Overlapping(group) => return Plan::Overlapping(to_all(group)),
                Plan::Level(group) => return Plan::Level(to_all(group)),
                Plan::Tombstones(one) => return Plan::Tombstones(places[one]),
            }
        }
        Plan::Nothing
    }

    fn plan_class(&self, blocks: &[&BlockMeta]) -> Plan {
        if self.overlapping {
            let overlapping = overlapping(blocks);
            if !overlapping.is_empty() {
                return Plan::Overlapping(overlapping);
            }
        }
        // The newest block may still get a neighbour from the head: it rests.
        let Some((_, settled)) = blocks.split_last() else { return Plan::Nothing };
        let group = next_level(settled, &self.ranges);
        if !group.is_empty() {
            return Plan::Level(group);
        }
        let large = self.ranges.get(self.ranges.len() / 2).copied().unwrap_or(i64::MAX);
        for (i, meta) in settled.iter().enumerate().rev() {
            let stats = &meta.stats;
            if meta.max_time - meta.min_time < large {
                // Smaller ones are rewritten by the next level anyway, unless everything in them is deleted.
                if stats.num_tombstones > 0 && stats.num_tombstones >= stats.num_series {
                    return Plan::Tombstones(i);
                }
                break;
            }
            if stats.num_tombstones as f64 / (stats.num_series + 1) as f64 > TOMBSTONE_SHARE {
                return Plan::Tombstones(i);
            }
        }
        Plan::Nothing
    }
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
fn next_level(blocks: &[&BlockMeta], ranges: &[i64]) -> Vec<usize> {
    let Some(newest_start) = blocks.last().map(|m| m.min_time) else { return Vec::new() };
    for range in ranges.iter().skip(1) {
        let mut from = 0;
        while from < blocks.len() {
            let end = blocks[from].min_time.div_euclid(*range).saturating_mul(*range).saturating_add(*range);
            if blocks[from].max_time > end {
                from += 1;
                continue;
            }
            let count = blocks[from..].iter().take_while(|m| m.max_time <= end).count();
            let part = &blocks[from..from + count];
            let last = part.last().map_or(end, |m| m.max_time);
            // A group waits while a block that belongs into its range may still come.
            let complete = last - part[0].min_time == *range || last <= newest_start;
            if part.len() > 1 && complete && part.iter().all(|m| !m.compaction.failed) {
                return (from..from + count).collect();
            }
            from += count;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulid::Ulid;

    fn planner() -> Planner {
        Planner { ranges: vec![20, 60, 180, 540], overlapping: true }
    }

    /// Blocks as `(first, end)` in units of 20.
    fn check(spans: &[(i64, i64)], want: Plan) {
        let metas: Vec<BlockMeta> =
            spans.iter().map(|(min, max)| BlockMeta::level_1(Ulid::nil(), *min, *max)).collect();
        let metas: Vec<&BlockMeta> = metas.iter().collect();
        assert_eq!(planner().plan(&metas), want, "{spans:?}");
    }

    #[test]
    fn levels_fill_up() {
        check(&[], Plan::Nothing);
        check(&[(0, 20)], Plan::Nothing);
        check(&[(0, 20), (20, 40)], Plan::Nothing);
        // Three fill 0–60, but the newest rests until a fourth is there.
        check(&[(0, 20), (20, 40), (40, 60)], Plan::Nothing);
        check(&[(0, 20), (20, 40), (40, 60), (60, 80)], Plan::Level(vec![0, 1, 2]));
        // With a gap it does not fill its range until a newer one has settled.
        check(&[(0, 20), (20, 40), (60, 80)], Plan::Nothing);
        check(&[(0, 20), (20, 40), (60, 80), (80, 100)], Plan::Level(vec![0, 1]));
        check(&[(0, 60), (60, 120), (120, 180), (180, 200)], Plan::Level(vec![0, 1, 2]));
        check(&[(0, 60), (60, 80), (80, 100), (120, 140)], Plan::Nothing);
        check(&[(0, 60), (60, 80), (80, 100), (120, 140), (140, 160)], Plan::Level(vec![1, 2]));
        check(&[(20, 40), (60, 120), (120, 180), (720, 960), (960, 980)], Plan::Level(vec![0, 1, 2]));
        check(&[(0, 360), (360, 420), (420, 540), (540, 560)], Plan::Level(vec![1, 2]));
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
        assert_eq!(planner().plan(&[&large, &newest]), Plan::Tombstones(0));
        // The newest small block behind it ends the search, as upstream's.
        let small = BlockMeta::level_1(Ulid::nil(), 540, 560);
        let last = BlockMeta::level_1(Ulid::nil(), 560, 580);
        assert_eq!(planner().plan(&[&large, &small, &last]), Plan::Nothing);
        let mut gone = small.clone();
        (gone.stats.num_series, gone.stats.num_tombstones) = (2, 2);
        assert_eq!(planner().plan(&[&large, &gone, &last]), Plan::Tombstones(1));
        large.stats.num_tombstones = 0;
        assert_eq!(planner().plan(&[&large, &newest]), Plan::Nothing);
    }

    #[test]
    fn failed_blocks_and_classes_stay_apart() {
        let block = |min, max| BlockMeta::level_1(Ulid::nil(), min, max);
        let mut metas = vec![block(0, 20), block(20, 40), block(40, 60), block(60, 80)];
        let plan = |metas: &[BlockMeta], planner: Planner| planner.plan(&metas.iter().collect::<Vec<_>>());
        metas[1].compaction.failed = true;
        assert_eq!(plan(&metas, planner()), Plan::Nothing);
        metas[1].compaction.failed = false;
        // A block of stale series is joined only with its like, though it overlaps.
        metas.insert(1, block(0, 20));
        metas[1].compaction.hints = vec![hints::STALE_SERIES.into()];
        assert_eq!(plan(&metas, planner()), Plan::Level(vec![0, 2, 3]));
        metas.insert(2, block(10, 20));
        metas[2].compaction.hints = vec![hints::STALE_SERIES.into()];
        metas.drain(3..4);
        metas.retain(|m| m.min_time != 40);
        assert_eq!(plan(&metas, planner()), Plan::Overlapping(vec![1, 2]));
        let apart = Planner { overlapping: false, ..planner() };
        assert_eq!(plan(&metas, apart), Plan::Nothing);
    }

    #[test]
    fn ranges() {
        assert_eq!(level_ranges(20, 600), [20, 60, 180, 540]);
        assert_eq!(level_ranges(20, 10), [20]);
    }
}
