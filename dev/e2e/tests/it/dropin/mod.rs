//! Drop-in proof: one data directory goes from one program to the other and back, and every query agrees at each step.
//!
//! Every version of Prometheus at hand is taken, in both directions, with clean stops and with `kill -9`. The cases run
//! side by side: they mostly wait for housekeeping.

mod ask;
pub(crate) mod load;
mod walk;

use ask::{Answers, assert_same, everything, exemplars};
use e2e::http::Connection;
use e2e::node::{Node, Role};
use e2e::peers::{Peer, version_of};
use e2e::query::{self, eventually};
use load::{Kinds, MINUTE, send};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Housekeeping of ours looks once a minute.
const HOUSEKEEPING: Duration = Duration::from_secs(180);
/// The configuration of both: a window for late samples.
const CONFIG: &str = "storage:\n  tsdb:\n    out_of_order_time_window: 12h\n";
const ARGS: [&str; 3] =
    ["--web.enable-remote-write-receiver", "--web.enable-admin-api", "--storage.tsdb.min-block-duration=30m"];
/// Log lines of level WARN that a healthy program writes here: at SIGTERM, about its lock file after `kill -9`, and of
/// exemplars that come with late samples, of blocks that it cut from late samples itself and joins next, and when
/// Prometheus is stopped while it compacts. Late exemplars are logged as 3.14 does; older ones name them.
const EXPECTED: [&str; 7] = [
    "exiting gracefully",
    "lockfile",
    "out-of-order exemplars",
    "err=\"out of order exemplar\"",
    "Overlapping blocks found",
    "context canceled",
    // Both say so when a head is due while they join blocks, as here, where hours arrive at once.
    "aborting block compactions to persist the head block",
];
const EXEMPLARS: &str = "--enable-feature=exemplar-storage";

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stop,
    Kill,
}

impl End {
    fn of(self, node: &mut Node) {
        match self {
            End::Stop => node.stop(),
            End::Kill => node.kill(),
        }
    }
}

/// One of the two programs of a case.
#[derive(Clone, Debug)]
struct Side {
    program: PathBuf,
    name: String,
    own: Vec<&'static str>,
}

impl Side {
    fn ours() -> Side {
        Side { program: e2e::pyrrha(), name: "pyrrha".into(), own: vec![EXEMPLARS] }
    }

    fn prometheus(program: PathBuf, version: &str) -> Side {
        let own = match at_least(version, 3, 8) {
            // The newest one takes snapshots of its head and reads ours; the others know nothing of them.
            true => vec!["--enable-feature=exemplar-storage,memory-snapshot-on-shutdown"],
            false => vec!["--enable-feature=exemplar-storage,native-histograms"],
        };
        Side { program, name: format!("prometheus-{version}"), own }
    }
}

pub(crate) fn at_least(version: &str, major: u32, minor: u32) -> bool {
    let mut parts = version.split('.').map(|p| p.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (major, minor)
}

struct Case {
    name: String,
    first: Side,
    second: Side,
    prometheus: PathBuf,
    /// PromQL of 3.x, custom buckets.
    newer: bool,
    end: End,
}

impl Case {
    fn kinds(&self) -> Kinds {
        // 2.42 does not compact gauge histograms, nor its own.
        Kinds { histograms: true, gauges: self.newer, custom: self.newer }
    }

    /// 2.42 refuses late histograms.
    fn late_kinds(&self) -> Kinds {
        if self.newer { self.kinds() } else { Kinds::FLOATS }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

fn blocks(node: &Node) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(node.dir().join("data")).expect("data directory").flatten();
    entries.map(|e| e.path()).filter(|p| p.join("meta.json").is_file()).collect()
}

pub(crate) fn promtool(prometheus: &Path) -> Option<PathBuf> {
    let beside = prometheus.with_file_name("promtool");
    let package = prometheus.ancestors().nth(4).map(|p| p.join("promtool/usr/bin/promtool"));
    [Some(beside), package].into_iter().flatten().find(|p| p.is_file())
}

/// A block of three days ago, written by promtool.
fn backfill(case: &Case, node: &Node, start: i64) {
    let Some(promtool) = promtool(&case.prometheus) else { return };
    let lines: String = (0..120)
        .map(|m| {
            let (t, v) = ((start + m * MINUTE) / 1000, m as f64 * 1.5);
            format!("dropin_total{{host=\"host-1\",job=\"backfilled\"}} {v} {t}\n")
        })
        .collect();
    let input = node.dir().join("backfill.om");
    std::fs::write(&input, format!("# TYPE dropin unknown\n{lines}# EOF\n")).expect("input written");
    let mut command = Command::new(&promtool);
    command.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&input).arg(node.dir().join("data"));
    let out = command.output().expect("promtool runs");
    assert!(out.status.success(), "backfill: {}", String::from_utf8_lossy(&out.stderr));
}

#[track_caller]
fn admin(node: &Node, what: &str) -> Vec<u8> {
    let path = format!("/api/v1/admin/tsdb/{what}");
    let reply = Connection::open(&node.address).and_then(|mut c| c.post(&path, "", b"")).expect("an answer");
    assert!(matches!(reply.status, 200 | 204), "{what}: {}", String::from_utf8_lossy(&reply.body));
    reply.body
}

/// Waits until the head begins at or behind a time, so that what was before stands in blocks.
#[track_caller]
fn wait_for_cut(case: &Case, node: &Node, from: i64) {
    eventually(&format!("{}: blocks", case.name), HOUSEKEEPING, || {
        let status = query::get(&node.address, "/api/v1/status/tsdb");
        let oldest = status["data"]["headStats"]["minTime"].as_i64().unwrap_or(0);
        if oldest >= from && !blocks(node).is_empty() {
            Ok(())
        } else {
            Err(format!("head begins at {oldest}, want {from}; {} blocks", blocks(node).len()))
        }
    });
}

/// Deletes samples that never were late: Prometheus takes late chunks of deleted samples up again when it starts.
#[track_caller]
fn delete(node: &Node, host: usize, job: &str, from: i64, to: i64) {
    let selector = format!("dropin_total%7Bhost%3D%22host-{host}%22%2Cjob%3D%22{job}%22%7D");
    admin(node, &format!("delete_series?match[]={selector}&start={}&end={}", from / 1000, to / 1000));
}

/// Fails when the log, from a line on, warns of something that is not expected.
#[track_caller]
fn quiet(node: &Node, from: usize, who: &str) -> usize {
    let log = node.log();
    for line in log.lines().skip(from) {
        let loud = ["level=ERROR", "level=WARN", "level=error", "level=warn", "panic"]
            .iter()
            .any(|l| line.contains(l));
        assert!(!loud || EXPECTED.iter().any(|e| line.contains(e)), "{who}: unexpected log line: {line}");
    }
    log.lines().count()
}

/// What ours left needs no compaction at the start.
#[track_caller]
fn no_overlaps(case: &Case, node: &Node, started: &Side, from: usize) {
    if started.name != "pyrrha" {
        let log = node.log();
        let line = log.lines().skip(from).find(|l| l.contains("Overlapping blocks found"));
        assert!(line.is_none(), "{}: {} at its start: {line:?}", case.name, started.name);
    }
}

/// promtool of the peer likes every block.
#[track_caller]
fn promtool_likes(case: &Case, node: &Node) {
    let Some(promtool) = promtool(&case.prometheus) else { return };
    let data = node.dir().join("data");
    let run = |args: &[&str]| {
        let out = Command::new(&promtool).args(args).output().expect("promtool runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "promtool {} {args:?}: {text}", version_of(&promtool));
        text
    };
    let path = data.display().to_string();
    let list = run(&["tsdb", "list", &path]);
    for block in blocks(node) {
        let id = block.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(list.contains(&id), "promtool does not list {id}: {list}");
        let text = run(&["tsdb", "analyze", "--extended", &path, &id]);
        assert!(text.contains("Series: "), "{text}");
    }
}

/// The snapshot of a running program, opened by the other one.
#[track_caller]
fn snapshot_agrees(case: &Case, node: &Node, other: &Side, want: &Answers, span: (i64, i64)) {
    let reply: serde_json::Value = serde_json::from_slice(&admin(node, "snapshot")).expect("JSON");
    let name = reply["data"]["name"].as_str().expect("a name").to_owned();
    let mut copy = Node::prepare(&other.program, Role::Server, CONFIG, &ARGS);
    copy.set_program(&other.program, &other.own);
    std::fs::rename(node.dir().join("data/snapshots").join(name), copy.dir().join("data")).expect("moved");
    copy.run();
    let got = everything(&copy, span.0, span.1, case.newer);
    assert_same(want, &got, &format!("{}: {} on a snapshot", case.name, other.name));
    copy.stop();
    quiet(&copy, 0, &format!("{}: {} on a snapshot", case.name, other.name));
}

/// First program, second program, and the first again.
fn there_and_back(case: &Case) {
    let Case { name, first, second, .. } = case;
    let end_of_all = now_ms() / MINUTE * MINUTE;
    let start = end_of_all - 10 * 60 * MINUTE;
    let middle = start + 5 * 60 * MINUTE;
    let oldest = start - 3 * 24 * 60 * MINUTE;

    // Blocks, a head with chunks on disk, late samples for both.
    let mut node = Node::prepare(&first.program, Role::Server, CONFIG, &ARGS);
    node.set_program(&first.program, &first.own);
    backfill(case, &node, oldest);
    node.run();
    send(&node, "first", start + 60 * MINUTE, middle, case.kinds());
    send(&node, "late", start + 120 * MINUTE, start + 150 * MINUTE, case.late_kinds());
    send(&node, "first", start, start + 60 * MINUTE, case.late_kinds());
    send(&node, "late", middle - 50 * MINUTE, middle - 20 * MINUTE, case.late_kinds());
    send(&node, "late", middle - 90 * MINUTE, middle - 50 * MINUTE, case.late_kinds());
    wait_for_cut(case, &node, start + 120 * MINUTE);
    // Late samples and exemplars that are still in the logs when the program ends.
    send(&node, "late-again", middle - 20 * MINUTE, middle, case.late_kinds());
    send(&node, "late-again", middle - 40 * MINUTE, middle - 20 * MINUTE, case.late_kinds());
    let before = everything(&node, oldest, middle, case.newer);
    for (path, rows) in &before {
        let lacking = (path.contains("customs") || path.contains("levels")) && !case.newer;
        assert!(lacking || rows != &serde_json::json!([]), "{name}: {path} is empty");
    }
    let exemplars_before = exemplars(&node, start, middle);
    case.end.of(&mut node);
    for part in ["wal", "wbl", "chunks_head"] {
        let found = std::fs::read_dir(node.dir().join("data").join(part)).map_or(0, Iterator::count);
        // Killed soon after a truncation, ours has all chunks since then in its buffer.
        let may_lack = part == "chunks_head" && first.name == "pyrrha" && case.end == End::Kill;
        assert!(found > 0 || may_lack, "{name}: {part} of {} is empty", first.name);
    }
    let lines = quiet(&node, 0, name);

    // The other one takes over.
    node.set_program(&second.program, &second.own);
    node.run();
    no_overlaps(case, &node, second, lines);
    let got = everything(&node, oldest, middle, case.newer);
    assert_same(&before, &got, &format!("{name}: {} on the directory of {}", second.name, first.name));
    let kept = exemplars(&node, start, middle);
    assert!(!kept.is_empty() && kept.iter().all(|e| exemplars_before.contains(e)), "{name}: {kept:?}");
    // Older ones than the head are not taken up; how many those are hangs on the minute.
    let newest =
        |list: &[(i64, String)]| list.iter().rev().take(kept.len().min(3)).cloned().collect::<Vec<_>>();
    assert_eq!(newest(&kept), newest(&exemplars_before), "{name}: exemplars of the log");
    send(&node, "second", middle, end_of_all, case.kinds());
    send(&node, "late-second", middle - 30 * MINUTE, middle + 30 * MINUTE, case.late_kinds());
    delete(&node, 5, "first", start + 160 * MINUTE, start + 200 * MINUTE);
    delete(&node, 6, "second", end_of_all - 30 * MINUTE, end_of_all - 10 * MINUTE);
    wait_for_cut(case, &node, middle + 60 * MINUTE);
    admin(&node, "clean_tombstones");
    let before = everything(&node, oldest, end_of_all, case.newer);
    snapshot_agrees(case, &node, first, &before, (oldest, end_of_all));
    case.end.of(&mut node);
    let lines = quiet(&node, lines, name);
    promtool_likes(case, &node);

    // And back.
    node.set_program(&first.program, &first.own);
    node.run();
    no_overlaps(case, &node, first, lines);
    let got = everything(&node, oldest, end_of_all, case.newer);
    assert_same(&before, &got, &format!("{name}: {} on the directory of {}", first.name, second.name));
    send(&node, "third", end_of_all - 5 * MINUTE, end_of_all, case.kinds());
    delete(&node, 7, "third", end_of_all - 5 * MINUTE, end_of_all - 3 * MINUTE);
    let before = everything(&node, oldest, end_of_all, case.newer);
    node.stop();
    let lines = quiet(&node, lines, name);

    // Once more, so that what the second program left is seen after a replay of the first's own making.
    node.set_program(&second.program, &second.own);
    node.run();
    let got = everything(&node, oldest, end_of_all, case.newer);
    assert_same(&before, &got, &format!("{name}: {} for the second time", second.name));
    node.stop();
    quiet(&node, lines, name);
}

fn cases(test: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for (prometheus, version) in Peer::Prometheus.find_all_for(test) {
        let theirs = Side::prometheus(prometheus.clone(), &version);
        for (first, second) in [(theirs.clone(), Side::ours()), (Side::ours(), theirs)] {
            for end in [End::Stop, End::Kill] {
                cases.push(Case {
                    name: format!("{} to {}, {end:?}", first.name, second.name),
                    first: first.clone(),
                    second: second.clone(),
                    prometheus: prometheus.clone(),
                    newer: at_least(&version, 3, 0),
                    end,
                });
            }
        }
    }
    let only = std::env::var("DROPIN_CASE").unwrap_or_default();
    cases.retain(|case| case.name.contains(&only));
    cases
}

/// `DROPIN_CASE=<part of a name>` runs some of the cases only.
#[test]
fn directories_go_from_one_program_to_the_other_and_back() {
    let running: Vec<_> = cases("dropin")
        .into_iter()
        .map(|case| {
            let name = case.name.clone();
            (name, std::thread::spawn(move || there_and_back(&case)))
        })
        .collect();
    let failed: Vec<String> =
        running.into_iter().filter_map(|(name, case)| case.join().is_err().then_some(name)).collect();
    assert!(failed.is_empty(), "failed: {failed:#?}");
}
