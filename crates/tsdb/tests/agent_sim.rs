//! Crash simulation of the agent's store: random schedules of writes, truncation and restarts over a disk that fails,
//! fills up and loses what was not durable, beside one destination that follows.
//!
//! A failing seed prints its number; run it again with `PYRRHA_SIM_SEED=<n>`, and put it into [`FOUND`].

use model::{Labels, Sample};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use storage::feed::{FeedBatch, Position};
use storage::{Batch, BatchSeries, SeriesId, SeriesRef, WriteOutcome, WriterSource, key};
use testkit::{FaultyDisk, Loss};
use tsdb::ReplayHandle;
use tsdb::agent::{AgentError, AgentOptions, AgentStore};

/// Seeds that once found something.
const FOUND: &[u64] = &[];
const SERIES: u64 = 12;
const START: i64 = 1_700_000_000_000;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n - 1`.
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Series number and time.
type Rows = BTreeSet<(u64, i64)>;

struct Sim {
    seed: u64,
    dice: Dice,
    disk: FaultyDisk,
    fsync: bool,
    now: i64,
    /// Everything ever sent, and what of it was acknowledged.
    sent: Rows,
    acknowledged: Rows,
    delivered: Rows,
    followed: Position,
    /// Records of series may be missing: the power went, and nobody had waited for the medium.
    lossy: bool,
    restarts: u64,
    log: Vec<String>,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        Sim {
            seed,
            disk: FaultyDisk::new(seed),
            fsync: dice.one_in(2),
            now: START,
            sent: Rows::new(),
            acknowledged: Rows::new(),
            delivered: Rows::new(),
            followed: Position::default(),
            lossy: false,
            restarts: 0,
            log: Vec::new(),
            dice,
        }
    }

    fn note(&mut self, text: String) {
        self.log.push(format!("{:6} {text}", self.disk.ops()));
    }

    #[track_caller]
    fn ensure(&self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            panic!("seed {}: {}\n{}", self.seed, text(), self.log.join("\n"));
        }
    }

    fn open(&self) -> Result<AgentStore, AgentError> {
        let options = AgentOptions {
            segment_bytes: 1 << 15,
            fsync: self.fsync,
            min_wal_time_ms: 60_000,
            truncate_frequency_ms: 60_000,
            sync_inline: true,
            ..AgentOptions::default()
        };
        let (registry, status) = (meter::Registry::new(), ReplayHandle::default());
        let store = AgentStore::open(self.disk.shared(), Path::new("/agent"), options, &registry, &status)?;
        // As a destination does before it relies on anything.
        store.feed().hold("one", self.followed);
        Ok(store)
    }

    fn write(&mut self, store: &AgentStore) {
        self.now += 1000 * (1 + self.dice.below(30) as i64);
        // Series come and go, so that idle ones are forgotten.
        let young = (self.now - START) / 300_000;
        let chosen: BTreeSet<u64> =
            (0..=self.dice.below(8)).map(|_| young as u64 % 5 + self.dice.below(SERIES)).collect();
        let padding = "x".repeat(self.dice.below(300) as usize + 1);
        let key_of = |n: &u64| {
            let labels = [("__name__", "m".to_owned()), ("n", n.to_string()), ("p", padding.clone())];
            key::of_labels(&Labels::from_pairs(labels))
        };
        // Only now and then with labels that the log has not seen.
        let keys: Vec<Vec<u8>> = match self.dice.one_in(4) {
            true => chosen.iter().map(key_of).collect(),
            false => chosen.iter().map(|n| plain_key(*n)).collect(),
        };
        let mut batch = Batch::default();
        for key in &keys {
            let at = batch.samples.len() as u32;
            batch.samples.push(Sample { t: self.now, v: self.now as f64 });
            let (samples, none) = (at..at + 1, 0..0);
            batch.series.push(BatchSeries {
                id: SeriesId::Key(key),
                samples,
                histograms: none.clone(),
                exemplars: none,
            });
        }
        let rows = chosen.iter().map(|n| (*n, self.now));
        self.sent.extend(rows.clone());
        let mut outcome = WriteOutcome::default();
        let done = store.writer().write(&batch, &mut outcome);
        if done.is_ok() {
            self.ensure(outcome.rejected.is_empty(), || format!("refused: {:?}", outcome.rejected));
            self.acknowledged.extend(rows);
        }
        self.note(format!("write {chosen:?} at {}: {:?}", self.now - START, done.err()));
    }

    /// The destination takes what there is; everything acknowledged must have come by then.
    fn follow(&mut self, store: &AgentStore, complete: bool) {
        let mut reader = store.feed().open(Some(self.followed)).expect("opens");
        let mut names: BTreeMap<SeriesRef, u64> = BTreeMap::new();
        let mut batch = FeedBatch::default();
        while reader.next(Duration::ZERO, &mut batch).expect("the log can be read") {
            names.extend(batch.series.iter().map(|(id, labels)| (*id, number(labels))));
            for sample in &batch.samples {
                let name = names.get(&sample.series);
                self.ensure(name.is_some() || self.lossy, || format!("no labels of {:?}", sample.series));
                let Some(name) = name else { continue };
                let row = (*name, sample.t);
                self.ensure(self.sent.contains(&row), || format!("{row:?} from nowhere"));
                self.delivered.insert(row);
            }
            self.followed = batch.end;
            if self.dice.one_in(20) && !complete {
                break;
            }
        }
        store.feed().hold("one", self.followed);
        self.note(format!("followed to {:?}", self.followed));
        if complete {
            let missed: Vec<_> = self.acknowledged.difference(&self.delivered).collect();
            self.ensure(missed.is_empty(), || format!("acknowledged and never delivered: {missed:?}"));
        }
    }

    /// One life of the process.
    fn live(&mut self) {
        let crash_at = match self.dice.one_in(2) {
            true => self.disk.ops() + 1 + self.dice.below(150),
            false => u64::MAX,
        };
        if crash_at < u64::MAX {
            self.disk.crash_at(crash_at);
        }
        let opened = self.open();
        self.note(format!("open, crash at {crash_at}: {:?}", opened.as_ref().err()));
        if let Ok(store) = opened {
            let mut faults_end = 0;
            for n in 0..20 + self.dice.below(120) {
                if self.disk.ops() >= crash_at {
                    break;
                }
                if faults_end > 0 && n >= faults_end {
                    self.heal();
                    faults_end = 0;
                }
                match self.dice.below(40) {
                    0..=29 => self.write(&store),
                    30..=31 => self.follow(&store, false),
                    32..=34 => {
                        let done = store.truncate(self.now);
                        self.note(format!("truncate {:?}", done.err()));
                    }
                    35 => {
                        self.disk.set_budget(Some(self.dice.below(2000)));
                        self.note("disk fills up".into());
                        faults_end = n + 1 + self.dice.below(10);
                    }
                    36 => {
                        let now = self.disk.ops();
                        let some: Vec<u64> = (0..6).map(|_| now + 1 + self.dice.below(20)).collect();
                        self.note(format!("operations fail: {some:?}"));
                        self.disk.fail_ops(some);
                        faults_end = n + 1 + self.dice.below(10);
                    }
                    37 => {
                        let count = 1 + self.dice.below(3);
                        self.note(format!("{count} fsyncs fail"));
                        self.disk.fail_syncs(count);
                        faults_end = n + 1 + self.dice.below(20);
                    }
                    _ => {}
                }
            }
            if self.disk.ops() < crash_at {
                self.heal();
                self.follow(&store, true);
                if self.dice.one_in(2) {
                    let closed = store.close();
                    self.note(format!("close {:?}", closed.err()));
                }
            }
        }
        self.reboot();
    }

    fn heal(&mut self) {
        self.disk.set_budget(None);
        self.disk.fail_ops([]);
        self.disk.fail_syncs(0);
        self.note("faults end".into());
    }

    /// The next start delivers what is left.
    fn reboot(&mut self) {
        self.restarts += 1;
        let power = self.dice.one_in(3);
        self.disk = self.disk.reboot(if power { Loss::Power } else { Loss::Kill });
        self.note(format!("reboot, power loss: {power}"));
        if power && !self.fsync {
            // Only what is durable is sure; that nothing is invented is still checked.
            self.lossy = true;
            self.acknowledged = self.delivered.clone();
        }
        let opened = self.open();
        self.ensure(opened.is_ok(), || format!("does not open again: {:?}", opened.as_ref().err()));
        if let Ok(store) = opened {
            self.follow(&store, true);
            self.write(&store);
            self.follow(&store, true);
        }
    }

    fn run(seed: u64) -> u64 {
        let mut sim = Sim::new(seed);
        for _ in 0..2 + sim.dice.below(4) {
            sim.live();
        }
        sim.restarts
    }
}

fn plain_key(n: u64) -> Vec<u8> {
    key::of_labels(&Labels::from_pairs([("__name__", "m".to_owned()), ("n", n.to_string())]))
}

fn number(labels: &Labels) -> u64 {
    labels.value("n").parse().expect("a series of ours")
}

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn acknowledged_samples_are_delivered() {
    let seeds =
        env("PYRRHA_SIM_SEED").map_or_else(|| FOUND.iter().copied().chain(0..40).collect(), |s| vec![s]);
    for seed in seeds {
        Sim::run(seed);
    }
}

/// `PYRRHA_SIM_SEEDS=10000 PYRRHA_SIM_FROM=40 cargo test -p tsdb --release --test agent_sim -- --ignored`
#[test]
#[ignore = "minutes"]
fn thousands_of_seeds() {
    let (from, count) = (env("PYRRHA_SIM_FROM").unwrap_or(40), env("PYRRHA_SIM_SEEDS").unwrap_or(2000));
    let mut failed = Vec::new();
    let mut restarts = 0;
    for seed in from..from + count {
        match std::panic::catch_unwind(|| Sim::run(seed)) {
            Ok(n) => restarts += n,
            Err(_) => failed.push(seed),
        }
    }
    eprintln!("{count} seeds from {from}, {restarts} restarts");
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
}
