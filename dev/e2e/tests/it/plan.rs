//! Two copies of many blocks, one for each program: they end as the same blocks with the same samples, and the peer reads
//! what we wrote.

use crate::twins::copy;
use e2e::node::{Node, Role};
use e2e::peers::Peer;
use e2e::query;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const HOUR: i64 = 3600;
/// Both compact once a minute.
const PATIENCE: Duration = Duration::from_secs(200);
const ARGS: [&str; 3] = [
    "--storage.tsdb.min-block-duration=2h",
    "--storage.tsdb.max-block-duration=18h",
    "--storage.tsdb.retention.time=100d",
];

/// Six series for two and a half days with a gap, and two later backfills that overlap them in part.
fn inputs(begin: i64) -> [String; 3] {
    let text = |from: i64, to: i64, series: std::ops::Range<i64>, add: f64| {
        let mut lines = String::from("# TYPE planned counter\n");
        for s in series {
            for t in (from..to).step_by(60).filter(|t| !(20..31).contains(&((t - begin) / HOUR))) {
                let v = (t - begin) as f64 * 0.125 + s as f64 + add;
                lines += &format!("planned_total{{s=\"{s}\"}} {v} {t}\n");
            }
        }
        lines + "# EOF\n"
    };
    [
        text(begin, begin + 60 * HOUR, 0..6, 0.0),
        text(begin + 5 * HOUR, begin + 9 * HOUR, 4..8, 0.0),
        text(begin + 35 * HOUR + 900, begin + 36 * HOUR, 0..2, 0.0),
    ]
}

fn origin() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    let begin = now / (54 * HOUR) * (54 * HOUR) - 108 * HOUR;
    for text in inputs(begin) {
        let input = folder.path().join("input.om");
        std::fs::write(&input, text).expect("input written");
        let mut command = Command::new(e2e::pyrrha());
        command.args(["tsdb", "create-blocks-from", "openmetrics"]);
        let out = command.arg(&input).arg(folder.path().join("data")).output().expect("runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    folder
}

fn node(program: &Path, data: &Path) -> Node {
    let mut node = Node::prepare(program, Role::Server, "", &ARGS);
    copy(data, &node.dir().join("data"));
    node.run();
    node
}

/// Range, level, ranges of the parents and counts of samples and series of each block.
fn blocks(data: &Path) -> Vec<(i64, i64, i64, String, String)> {
    let entries = std::fs::read_dir(data).expect("data directory").flatten();
    let metas = entries.filter_map(|e| std::fs::read(e.path().join("meta.json")).ok());
    let mut blocks: Vec<_> = metas
        .filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .map(|meta| {
            let number = |v: &Value| v.as_i64().unwrap_or(-1);
            let compaction = &meta["compaction"];
            let parents = compaction["parents"].as_array().cloned().unwrap_or_default();
            let mut parents: Vec<_> =
                parents.iter().map(|p| (number(&p["minTime"]), number(&p["maxTime"]))).collect();
            parents.sort_unstable();
            let stats = &meta["stats"];
            let counts = format!("{} samples, {} series", stats["numSamples"], stats["numSeries"]);
            let (min, max) = (number(&meta["minTime"]), number(&meta["maxTime"]));
            (min, max, number(&compaction["level"]), format!("{parents:?}"), counts)
        })
        .collect();
    blocks.sort_unstable();
    blocks
}

fn samples(node: &Node) -> Vec<Value> {
    let asked =
        ["planned_total[5d]", "sum_over_time(planned_total[5d])", "rate(planned_total[5h] offset 60h)"];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    let now = now / (54 * HOUR) * (54 * HOUR);
    asked
        .iter()
        .map(|q| {
            let escaped = q.replace('[', "%5B").replace(']', "%5D").replace(' ', "%20");
            let mut reply = query::get(&node.address, &format!("/api/v1/query?time={now}&query={escaped}"));
            assert_eq!(reply["status"], "success", "{q}: {reply}");
            let mut rows = reply["data"]["result"].take().as_array().cloned().unwrap_or_default();
            rows.sort_by_key(|row| row["metric"].to_string());
            Value::Array(rows)
        })
        .collect()
}

#[test]
fn both_compact_to_the_same_blocks() {
    let peers = Peer::Prometheus.find_all_for("both_compact_to_the_same_blocks");
    if peers.is_empty() {
        return;
    }
    let origin = origin();
    let data: PathBuf = origin.path().join("data");
    let mut ours = node(&e2e::pyrrha(), &data);
    let mut others: Vec<(Node, &String, &PathBuf)> =
        peers.iter().map(|(program, version)| (node(program, &data), version, program)).collect();
    let before = blocks(&data);
    let blocks = |node: &Node| blocks(&node.dir().join("data"));
    let begun = Instant::now();
    loop {
        let own = blocks(&ours);
        let same = others.iter().all(|(other, ..)| blocks(other) == own);
        if same && own != before {
            break;
        }
        if begun.elapsed() > PATIENCE {
            for (other, version, _) in &others {
                assert_eq!(own, blocks(other), "ours | {version}");
            }
            panic!("nobody compacts: {own:?}");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let deepest = blocks(&ours).iter().map(|b| b.2).max();
    assert!(deepest >= Some(3), "levels up to {deepest:?}");
    let own = samples(&ours);
    ours.stop();
    for (mut other, version, program) in others.drain(..) {
        let theirs = samples(&other);
        assert!(own == theirs, "samples of {version} differ");
        other.stop();
        // Our chunks of up to 480 samples.
        let reader = node(program, &ours.dir().join("data"));
        assert!(samples(&reader) == theirs, "{version} reads our blocks otherwise");
        reader.assert_quiet(&[]);
    }
}
