//! One data directory, copied: both programs answer requests of administration alike, and print the same about it.

use crate::dropin::load::{Kinds, MINUTE, send};
use crate::dropin::{at_least, promtool};
use e2e::http::Connection;
use e2e::node::{Node, Role};
use e2e::peers::Peer;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const CONFIG: &str = "storage:\n  tsdb:\n    out_of_order_time_window: 12h\n";
const ARGS: [&str; 2] = ["--web.enable-remote-write-receiver", "--web.enable-admin-api"];
const HOUR: i64 = 60 * MINUTE;

/// Blocks of two days ago, and a head with series of all kinds and late samples.
fn origin(now: i64) -> Node {
    let mut node = Node::prepare(&e2e::pyrrha(), Role::Server, CONFIG, &ARGS);
    let start = (now - 48 * HOUR) / (2 * HOUR) * (2 * HOUR);
    let mut lines = String::from("# TYPE old counter\n");
    for series in 0..30 {
        for m in (0..360).step_by(3) {
            let (t, v) = ((start + m * MINUTE) / 1000, m as f64 * 0.25 + f64::from(series));
            lines += &format!("old_total{{n=\"{series}\",odd=\"{}\",q=\"a\\\"b\"}} {v} {t}\n", series % 2);
        }
    }
    let input = node.dir().join("old.om");
    std::fs::write(&input, lines + "# EOF\n").expect("input written");
    let data = node.dir().join("data");
    let out = Command::new(e2e::pyrrha())
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&input, &data])
        .output()
        .expect("runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    node.run();
    let kinds = Kinds { histograms: true, gauges: true, custom: false };
    send(&node, "first", now - 100 * MINUTE, now - 50 * MINUTE, kinds);
    send(&node, "second", now - 90 * MINUTE, now, Kinds::FLOATS);
    send(&node, "second", now - 120 * MINUTE, now - 91 * MINUTE, Kinds::FLOATS);
    node.stop();
    node
}

/// A program that does not tell its version was built from the newest source.
fn is_at_least(version: &str, major: u32, minor: u32) -> bool {
    version == "?" || at_least(version, major, minor)
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder made");
    for entry in std::fs::read_dir(from).expect("folder read").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("file copied");
        }
    }
}

/// Ours and the peer on copies of a folder.
fn twins(origin: &Node, peer: &Path) -> [Node; 2] {
    [&e2e::pyrrha(), peer].map(|program| {
        let mut node = Node::prepare(program, Role::Server, CONFIG, &ARGS);
        copy(&origin.dir().join("data"), &node.dir().join("data"));
        node.run();
        node
    })
}

/// Status and body of one request: by `GET`, or `POST` where the path begins with `+`.
fn answer(node: &Node, path: &str) -> (u16, Value) {
    let mut connection = Connection::open(&node.address).expect("connects");
    let reply = match path.strip_prefix('+') {
        Some(path) => connection.post(&format!("/api/v1/admin/tsdb/{path}"), "", b""),
        None => connection.get(path),
    };
    let reply = reply.expect("an answer");
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or(Value::String(text)))
}

/// Brings lists without an order into one, and removes names that are made up.
fn settle(value: &mut Value) {
    match value {
        Value::Array(list) => {
            list.iter_mut().for_each(settle);
            if list.iter().any(Value::is_object) {
                list.sort_by_key(Value::to_string);
            }
        }
        Value::Object(map) => {
            for made_up in ["ulid", "sources", "parents"] {
                map.remove(made_up);
            }
            // After a start Prometheus may say where its blocks end.
            if map.contains_key("chunkCount") {
                map.remove("minTime");
            }
            if let Some(Value::String(name)) = map.get_mut("name")
                && name.len() == 33
            {
                name.clear();
            }
            map.values_mut().for_each(settle);
        }
        _ => {}
    }
}

#[track_caller]
fn same(case: &str, [ours, peer]: &[Node; 2], path: &str) {
    let [mut a, mut b] = [ours, peer].map(|node| answer(node, path));
    settle(&mut a.1);
    settle(&mut b.1);
    assert_eq!(a.0, b.0, "{case}: status of {path}: {} | {}", a.1, b.1);
    assert_eq!(a.1, b.1, "{case}: {path}");
}

#[test]
fn administration_answers_alike() {
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64) / MINUTE * MINUTE;
    let peers = Peer::Prometheus.find_all_for("administration_answers_alike");
    if peers.is_empty() {
        return;
    }
    let origin = origin(now);
    std::thread::scope(|scope| {
        for (program, version) in &peers {
            let origin = &origin;
            scope.spawn(move || {
                let case = format!("beside {version}");
                administer(&case, &twins(origin, program), now, version);
                if let Some(promtool) = promtool(program) {
                    tools(&case, origin, &promtool, version);
                }
            });
        }
    });
}

fn administer(case: &str, nodes: &[Node; 2], now: i64, version: &str) {
    // Texts of errors, figures of the head and the list of blocks are those of the newest.
    let newest = is_at_least(version, 3, 14);
    let asked = |query: &str| format!("/api/v1/query?time={}&query={query}", now / 1000);
    let samples = [
        asked("count_over_time(%7B__name__%3D~%22.%2B%22%7D%5B3d%5D)"),
        asked("last_over_time(%7B__name__%3D~%22.%2Btotal%22%7D%5B3d%5D)"),
        "/api/v1/label/__name__/values".to_owned(),
    ];
    let at = |hours: i64| (now - hours * HOUR) / 1000;
    let deletions = [
        "+delete_series?match[]=nothing".to_owned(),
        format!("+delete_series?match[]=old_total{{odd=\"1\"}}&start={}&end={}", at(46), at(45)),
        format!("+delete_series?match[]=dropin_ints&match[]={{n=\"4\"}}&end={}.5", at(1)),
        format!("+delete_series?match[]=dropin_total{{job=\"first\"}}&start={}", at(1)),
        "+delete_series?match[]={host=\"host-2\",job=\"first\"}".to_owned(),
        "+clean_tombstones".to_owned(),
        "+snapshot?skip_head=true".to_owned(),
        "+snapshot".to_owned(),
    ];
    let errors = [
        "+delete_series",
        "+delete_series?match[]=",
        "+delete_series?match[]={",
        "+delete_series?match[]={}",
        "+delete_series?match[]=up&start=abc",
        "+delete_series?match[]=up&start=5&end=4",
        "+snapshot?skip_head=abc",
        "/api/v1/status/tsdb?limit=0",
        "/api/v1/status/tsdb?limit=abc",
        "/api/v1/status/tsdb?limit=10001",
    ];
    let figures = ["/api/v1/status/tsdb?limit=1000", "/api/v1/status/tsdb/blocks"];
    let escaped = |path: &str| path.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
    samples.iter().for_each(|path| same(case, nodes, path));
    if newest {
        errors.iter().for_each(|path| same(case, nodes, &escaped(path)));
        figures.iter().for_each(|path| same(case, nodes, path));
    }
    // 2.42 fails to write its own histograms again.
    let stays =
        |path: &&String| is_at_least(version, 3, 0) || !(path.contains("clean") || path.contains("snap"));
    for path in deletions.iter().filter(stays) {
        same(case, nodes, &escaped(path));
        samples.iter().for_each(|path| same(case, nodes, path));
    }
    if newest {
        figures.iter().for_each(|path| same(case, nodes, path));
        let levels = answer(&nodes[0], "/api/v1/status/tsdb/blocks").1;
        assert_ne!(levels["data"]["blocks"], json!([]));
    }
}

/// What a tool prints, and its exit code. Ranked lists of equals have no order.
fn printed(program: &Path, args: &[&str]) -> (Option<i32>, Vec<String>) {
    let out = Command::new(program).arg("tsdb").args(args).output().expect("runs");
    let mut lines: Vec<String> = String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect();
    if args[0] == "analyze" {
        lines.sort();
    }
    (out.status.code(), lines)
}

fn tools(case: &str, origin: &Node, promtool: &Path, version: &str) {
    let folder = tempfile::tempdir().expect("temporary folder");
    copy(&origin.dir().join("data"), folder.path());
    let data = folder.path().display().to_string();
    let mut commands = vec![
        vec!["list", &data],
        vec!["list", "-r", &data],
        vec!["dump", "--match", "{__name__=~\".*_total\"}", &data],
    ];
    if is_at_least(version, 3, 5) {
        commands.extend([
            vec!["dump-openmetrics", &data],
            vec!["dump", "--match={}", &data],
            vec!["analyze", "--limit=1000", &data],
            vec!["analyze", "--limit=1000", "--extended", "--match=old_total{n=~\"1.*\"}", &data],
        ]);
    }
    if is_at_least(version, 3, 14) {
        // Older ones leave histograms of floats out.
        commands.extend([vec!["dump", &data], vec!["dump", "--format=seriesjson", &data]]);
    }
    for args in commands {
        let (ours, theirs) = (printed(&e2e::pyrrha(), &args), printed(promtool, &args));
        assert_eq!(ours.0, theirs.0, "{case}: exit code of {args:?}");
        let differs = ours.1.iter().zip(&theirs.1).find(|(a, b)| a != b);
        assert_eq!(differs, None, "{case}: {args:?}");
        assert_eq!(ours.1.len(), theirs.1.len(), "{case}: lines of {args:?}");
    }
}
