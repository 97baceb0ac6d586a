//! Crash simulation of the whole store: random schedules of writes, deletions, housekeeping, snapshots and
//! restarts over a disk that fails, fills up, tears writes and loses what was not durable. Some seeds have start
//! timestamps and XOR2 chunks, or switch them on and off.
//!
//! A failing seed prints its number; run it again with `PYRRHA_SIM_SEED=<n>` (and `PYRRHA_SIM_HISTOGRAMS=1` if it had
//! histograms), and put it into [`FOUND`] or [`FOUND_WITH_HISTOGRAMS`].

mod actions;
mod truth;
mod world;

use disk::OsDisk;
use model::{Labels, TimeRange};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use storage::admin::Admin;
use storage::feed::Position;
use testkit::{FaultyDisk, Loss};
use truth::{Fate, Rows, Truth};
use tsdb::{Db, Running};
use world::*;

/// Seeds that once found something with floats only, before there were failing fsyncs, reloads, retention and a jumping
/// clock: they run without these.
const FOUND: &[u64] = &[114, 248, 264, 279, 313, 388, 411, 506, 671, 838, 1088, 1188, 1267, 1483, 1490];
/// Seeds that found something since.
const FOUND_LATER: &[u64] = &[832, 1348, 2270, 2288, 3448, 3594, 61551, 62679, 80016];
/// The same with histograms.
const FOUND_WITH_HISTOGRAMS: &[u64] = &[60201, 60456, 61121, 61551, 61627, 61631, 62559];

struct Sim {
    seed: u64,
    dice: Dice,
    /// Decides over the newer actions.
    more: Option<Dice>,
    disk: FaultyDisk,
    truth: Truth,
    /// Ranges of series whose deletion was asked for.
    deleted: Vec<(usize, TimeRange)>,
    /// Sent and never acknowledged; they may have reached one of two logs only.
    unanswered: BTreeSet<(usize, i64)>,
    /// Sent without an answer since the start: a deletion does not see them, the next start may.
    latent: BTreeSet<(usize, i64)>,
    /// Before this time retention may have deleted: what is gone may be gone, and an older log may bring it back.
    retained_from: i64,
    running: Running,
    now: i64,
    /// Length of the shortest block.
    range: i64,
    step: i64,
    sync: bool,
    restarts: u64,
    power: bool,
    /// Where a follower of the log has got to, and what it has seen.
    followed: Position,
    delivered: Truth,
    labels: BTreeMap<u64, Labels>,
    log: Vec<String>,
    /// Whether some series have histograms.
    histograms: bool,
    starts: Starts,
    /// Decides over the kinds of chunks where they change.
    flips: Option<Dice>,
    kinds: Kinds,
    /// Decides when series of floats end, in seeds that write ended series to blocks of their own.
    ends: Option<Dice>,
}

impl Sim {
    fn new(seed: u64, histograms: bool) -> Self {
        let mut dice = Dice(seed);
        // Milliseconds for the ways that depend on passing time, else so long that it does not pass.
        let step = if dice.one_in(4) { 1 } else { 5000 };
        let sync = dice.one_in(2);
        let is_old = [FOUND, FOUND_LATER, FOUND_WITH_HISTOGRAMS].iter().any(|list| list.contains(&seed));
        let mut flips = Dice(seed ^ 0x57a7);
        let starts = match flips.below(4) {
            0 if !is_old => Starts::Some,
            1 if !is_old => Starts::All,
            _ => Starts::None,
        };
        let on = starts == Starts::All;
        let kinds = Kinds { xor2: on, store_starts: on, histogram_starts: on };
        let mut ends = Dice(seed ^ 0xe4d5);
        let ends = (!is_old && ends.one_in(4)).then_some(ends);
        let running = Running {
            stale_series_threshold: if ends.is_some() { 0.3 } else { 0.0 },
            floats_xor2: kinds.xor2,
            out_of_order_window_ms: step * 120,
            retention_time_ms: 0,
            max_exemplars: 50,
            ..Running::default()
        };
        Sim {
            seed,
            disk: FaultyDisk::new(seed),
            truth: Truth::new(),
            deleted: Vec::new(),
            unanswered: BTreeSet::new(),
            latent: BTreeSet::new(),
            retained_from: i64::MIN,
            running,
            now: START,
            range: step * 20,
            step,
            sync,
            restarts: 0,
            power: false,
            followed: Position::default(),
            delivered: Truth::new(),
            labels: BTreeMap::new(),
            log: Vec::new(),
            histograms,
            starts,
            flips: (starts == Starts::Some).then_some(flips),
            kinds,
            ends,
            more: (!FOUND.contains(&seed)).then_some(Dice(seed ^ 0x5eed)),
            dice,
        }
    }

    fn open(&self) -> Result<Db, tsdb::OpenError> {
        // Every fourth start is one of a program that knows nothing of snapshots of the head.
        let knows = !(self.seed + self.restarts).is_multiple_of(4);
        let on = (self.sync, knows, self.kinds);
        open_on(self.disk.shared(), Path::new(DATA), self.range, on, self.running)
    }

    fn crashed(&self, at: u64) -> bool {
        self.disk.ops() >= at
    }

    fn note(&mut self, text: String) {
        self.log.push(format!("{:6} {text}", self.disk.ops()));
    }

    #[track_caller]
    fn ensure(&self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            panic!("seed {}: step {}: {}\n{}", self.seed, self.step, text(), self.log.join("\n"));
        }
    }

    /// Everything there is; queries always work.
    fn read(&self, db: &Db, when: &str) -> Rows {
        let rows = try_read(db, self.seed, self.starts);
        self.ensure(rows.is_ok(), || format!("{when}: query: {:?}", rows.as_ref().err()));
        rows.unwrap_or_default()
    }

    /// Another start may have another configuration.
    fn flip(&mut self) {
        if let Some(flips) = &mut self.flips {
            let [xor2, store_starts, histogram_starts] = [2, 3, 2].map(|n| flips.one_in(n));
            self.kinds = Kinds { xor2: xor2 || store_starts, store_starts, histogram_starts };
            self.running.floats_xor2 = self.kinds.xor2;
            self.note(format!("{:?}", self.kinds));
        }
    }

    /// One life of the process: until a crash or a restart.
    fn live(&mut self) {
        self.flip();
        let reboots_at = self.disk.ops() + 1 + self.dice.below(250);
        let ends_by_crash = self.dice.one_in(2);
        let crash_at = if ends_by_crash { reboots_at } else { u64::MAX };
        if ends_by_crash {
            self.disk.crash_at(crash_at);
        }
        let steps = 5 + self.dice.below(40);
        let opened = self.open();
        self.note(format!("open, crash at {crash_at}: {:?}", opened.as_ref().err()));
        let Ok(db) = opened else {
            self.ensure(self.crashed(crash_at), || "does not open".into());
            return self.reboot();
        };
        let mut closed = false;
        let mut faults_end = 0;
        for n in 0..steps {
            if self.crashed(crash_at) || closed {
                break;
            }
            if faults_end > 0 && n >= faults_end {
                self.disk.set_budget(None);
                self.disk.fail_ops([]);
                self.disk.fail_syncs(0);
                faults_end = 0;
                self.note("faults end".into());
            }
            if let Some(mut more) = self.more.take() {
                match more.below(40) {
                    0 => self.reload(&db, &mut more),
                    1 => {
                        let count = 1 + more.below(4);
                        self.note(format!("{count} fsyncs fail"));
                        self.disk.fail_syncs(count);
                        faults_end = n + 1 + more.below(12);
                    }
                    2 => {
                        CLOCK.set(NOW - more.below(290_000_000));
                        self.note("the clock jumps".into());
                    }
                    3 => {
                        let second = self.open();
                        self.ensure(second.is_err(), || "a second process gets the lock".into());
                    }
                    4 => self.snapshot(&db, true),
                    _ => {}
                }
                self.more = Some(more);
            }
            match self.dice.below(40) {
                0..=23 => self.write(&db),
                24..=26 => self.delete(&db),
                27..=32 => {
                    let hold = Some(self.followed.segment);
                    let done = db.maintain(hold);
                    self.note(format!("maintain {:?}", done.err()));
                    self.retain();
                }
                33 => {
                    let done = db.clean_tombstones();
                    self.note(format!("clean {:?}", done.err()));
                }
                34 => self.snapshot(&db, false),
                35 => {
                    self.disk.set_budget(Some(self.dice.below(3000)));
                    self.note("disk fills up".into());
                    faults_end = n + 1 + self.dice.below(6);
                }
                36 => {
                    let now = self.disk.ops();
                    let some: Vec<u64> = (0..8).map(|_| now + 1 + self.dice.below(30)).collect();
                    self.note(format!("operations fail: {some:?}"));
                    self.disk.fail_ops(some);
                    faults_end = n + 1 + self.dice.below(6);
                }
                37 => self.follow(&db),
                38 if self.dice.one_in(3) => {
                    closed = true;
                    let done = db.close();
                    self.note(format!("close {:?}", done.err()));
                }
                _ => {}
            }
            if !self.crashed(crash_at) && self.dice.one_in(3) {
                self.check(&self.read(&db, "while running"), "while running");
            }
        }
        if !self.crashed(crash_at) {
            self.check(&self.read(&db, "at the end"), "at the end");
            self.disk.set_budget(None);
            self.disk.fail_ops([]);
            self.disk.fail_syncs(0);
        }
        drop(db);
        self.reboot();
    }

    /// The next start finds what is there.
    fn reboot(&mut self) {
        self.restarts += 1;
        self.power = self.dice.one_in(3);
        let loss = if self.power { Loss::Power } else { Loss::Kill };
        self.disk = self.disk.reboot(loss);
        self.note(format!("reboot {loss:?}"));
        self.flip();
        let db = self.open();
        self.ensure(db.is_ok(), || format!("does not open again: {:?}", db.as_ref().err()));
        let Ok(db) = db else { return };
        let found = self.read(&db, "after a restart");
        if self.power && !self.sync {
            // Only what was durable is sure: nothing is invented, but the newest may be gone, deletions too.
            for (at, v) in &found {
                let known = self.truth.get(at).is_some_and(|(_, values)| values.contains(v));
                self.ensure(known, || format!("{at:?} = {v} from nowhere after a power loss"));
            }
            self.delivered.clear();
            let seen = self.truth.iter().map(|(at, (_, values))| (*at, (Fate::Sure, values.clone())));
            self.delivered.extend(seen);
        } else {
            self.check(&found, "after a restart");
        }
        self.settle(&found);
        self.follow(&db);
        let at = self.disk.ops();
        drop(db);
        if self.dice.one_in(4) {
            // Not even a second start changes anything.
            self.disk = self.disk.reboot(Loss::Kill);
            self.note(format!("second start at {at}"));
            let db = self.open();
            self.ensure(db.is_ok(), || format!("does not open twice: {:?}", db.as_ref().err()));
            if let Ok(db) = db {
                self.check(&self.read(&db, "after a second start"), "after a second start");
            }
        }
    }

    fn run(seed: u64, histograms: bool) -> u64 {
        let mut sim = Sim::new(seed, histograms);
        for _ in 0..3 + sim.dice.below(4) {
            sim.live();
        }
        sim.restarts
    }
}

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_is_lost_invented_or_doubled() {
    if let Some(seed) = env("PYRRHA_SIM_SEED") {
        Sim::run(seed, env("PYRRHA_SIM_HISTOGRAMS").is_some());
        return;
    }
    FOUND.iter().chain(FOUND_LATER).chain(&(0..25).collect::<Vec<u64>>()).for_each(|seed| {
        Sim::run(*seed, false);
    });
}

#[test]
fn histograms_are_not_lost_invented_or_doubled_either() {
    FOUND_WITH_HISTOGRAMS.iter().chain(&(0..25).collect::<Vec<u64>>()).for_each(|seed| {
        Sim::run(*seed, true);
    });
}

/// `PYRRHA_SIM_SEEDS=10000 PYRRHA_SIM_FROM=50 cargo test -p tsdb --test sim -- --ignored`; with
/// `PYRRHA_SIM_HISTOGRAMS=1` some series have histograms.
#[test]
#[ignore = "minutes"]
fn thousands_of_seeds() {
    let (from, count) = (env("PYRRHA_SIM_FROM").unwrap_or(50), env("PYRRHA_SIM_SEEDS").unwrap_or(2000));
    let mut failed = Vec::new();
    let mut restarts = 0;
    let histograms = env("PYRRHA_SIM_HISTOGRAMS").is_some();
    for seed in from..from + count {
        match std::panic::catch_unwind(|| Sim::run(seed, histograms)) {
            Ok(n) => restarts += n,
            Err(_) => failed.push(seed),
        }
    }
    eprintln!("{count} seeds from {from}, {restarts} restarts");
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
}

#[test]
fn real_disks_behave_like_the_simulated_one() {
    let dir = tempfile::tempdir().expect("folder");
    let db =
        open_on(Arc::new(OsDisk), dir.path(), 100_000, (false, true, Kinds::default()), Running::default())
            .expect("opens");
    db.maintain(None).expect("maintains");
    assert!(try_read(&db, 0, Starts::None).expect("reads").is_empty());
}
