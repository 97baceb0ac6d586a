//! A random walk of one data directory between the two programs, each ended in the middle of its housekeeping.
//!
//! A failing walk names its seed; `DROPIN_WALK=<seed>` takes it again (its moments are not quite the same), and
//! `DROPIN_WALKS=<n>` takes so many other ones. `DROPIN_KEEP=<folder>` gets the data directory as it was before each start.

use super::ask::{assert_same, everything};
use super::load::{MINUTE, send};
use super::{ARGS, CONFIG, Case, End, Side, at_least, now_ms, quiet};
use e2e::node::{Node, Role};
use e2e::peers::Peer;
use std::time::{Duration, Instant};

const HOPS: u64 = 8;
/// Gaps are filled while they are younger: less than the window of the configuration.
const WINDOW: i64 = 11 * 60 * MINUTE;
/// Programs that never get to the chosen moment are ended after this.
const LONGEST_HOP: Duration = Duration::from_secs(8);
/// Log lines of housekeeping, of both programs.
const STEPS: [&str; 8] = [
    "write block",
    "Head GC completed",
    "compact blocks",
    "Deleting obsolete block",
    "heckpoint",
    "Overlapping blocks found",
    "Found overlapping blocks",
    "chunk snapshot",
];

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
}

/// Waits for so many lines of housekeeping after line `from` of the log, or until it is late.
fn wait_for_steps(node: &Node, from: usize, count: u64) {
    let begun = Instant::now();
    while begun.elapsed() < LONGEST_HOP {
        let log = node.log();
        let steps = log.lines().skip(from).filter(|line| STEPS.iter().any(|step| line.contains(step)));
        if steps.count() as u64 >= count {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn keep(node: &Node, name: &str) {
    let Some(folder) = std::env::var_os("DROPIN_KEEP") else { return };
    let to = std::path::Path::new(&folder).join(name);
    let done = std::process::Command::new("cp").arg("-a").arg(node.dir()).arg(&to).status();
    assert!(done.is_ok_and(|s| s.success()), "cannot keep {}", to.display());
}

fn walk(seed: u64, sides: &[Side; 2], case: &Case) {
    let mut dice = Dice(seed);
    let mut now = now_ms() / MINUTE * MINUTE - 24 * 60 * MINUTE;
    let oldest = now;
    let mut before = None;
    let mut gaps: Vec<(i64, i64)> = Vec::new();
    let mut lines = 0;
    let mut way = format!("walk {seed}");
    let mut node = Node::prepare(&sides[0].program, Role::Server, CONFIG, &ARGS);
    for hop in 0..HOPS {
        keep(&node, &format!("{seed}-{hop}"));
        let side = &sides[dice.below(2) as usize];
        way += &format!(" > {}", side.name);
        node.set_program(&side.program, &side.own);
        node.run();
        if let Some(before) = &before {
            let got = everything(&node, oldest, now, case.newer);
            assert_same(before, &got, &way);
        }
        // In order, but for gaps that are filled later.
        for _ in 0..1 + dice.below(3) {
            let (length, gap) = (10 + 10 * dice.below(3) as i64, 10 * dice.below(4) as i64);
            send(&node, "walk", now, now + length * MINUTE, case.kinds());
            now += length * MINUTE;
            if gap > 0 {
                gaps.push((now, now + gap * MINUTE));
                now += gap * MINUTE;
            }
        }
        send(&node, "walk", now, now + 5 * MINUTE, case.kinds());
        now += 5 * MINUTE;
        gaps.retain(|(from, _)| *from > now - WINDOW);
        while !gaps.is_empty() && dice.below(3) > 0 {
            let (from, to) = gaps.swap_remove(dice.below(gaps.len() as u64) as usize);
            send(&node, "walk", from, to, case.kinds());
        }
        before = Some(everything(&node, oldest, now, case.newer));
        let (end, steps) = (if dice.below(3) == 0 { End::Stop } else { End::Kill }, dice.below(16));
        way += &format!(", {steps} steps, {end:?}");
        if dice.below(4) > 0 {
            // Housekeeping begins at the start, if not before.
            end.of(&mut node);
            keep(&node, &format!("{seed}-{hop}-again"));
            node.run();
            let got = everything(&node, oldest, now, case.newer);
            assert_same(before.as_ref().unwrap_or(&got), &got, &format!("{way}, again"));
        }
        wait_for_steps(&node, lines, steps);
        end.of(&mut node);
        lines = quiet(&node, lines, &way);
    }
}

#[test]
fn random_walks_between_the_two_programs_lose_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    // Native histograms came, and changed, on the way to 3.x.
    let mut peers = Peer::Prometheus.find_all_for("walk");
    peers.retain(|(_, version)| at_least(version, 3, 0));
    for (program, version) in peers {
        let theirs = Side::prometheus(program.clone(), &version);
        let seeds: Vec<u64> = match (number("DROPIN_WALK"), number("DROPIN_WALKS")) {
            (Some(seed), _) => vec![seed],
            (None, Some(count)) => (0..count).map(|n| now_ms() as u64 + n).collect(),
            (None, None) => vec![1, 2],
        };
        for some in seeds.chunks(4) {
            let walks: Vec<_> = some
                .iter()
                .map(|&seed| {
                    let sides = [theirs.clone(), Side::ours()];
                    let case = Case {
                        name: format!("walk {seed}"),
                        first: sides[0].clone(),
                        second: sides[1].clone(),
                        prometheus: program.clone(),
                        newer: true,
                        end: End::Kill,
                    };
                    (seed, std::thread::spawn(move || walk(seed, &sides, &case)))
                })
                .collect();
            let failed: Vec<u64> =
                walks.into_iter().filter_map(|(seed, w)| w.join().is_err().then_some(seed)).collect();
            assert!(failed.is_empty(), "{version}: failed walks: {failed:?}");
        }
    }
}
