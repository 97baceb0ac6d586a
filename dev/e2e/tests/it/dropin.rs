//! Drop-in proof: one data directory goes from Prometheus to ours and back, and every query agrees at each step.

use e2e::http::Connection;
use e2e::node::{Node, PATIENCE, Role};
use e2e::peers::{Peer, version_of};
use e2e::push::{self, Series};
use e2e::query::{self, eventually};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MINUTE: i64 = 60_000;
const HOSTS: usize = 8;
/// The configuration of both: a window for late samples.
const CONFIG: &str = "storage:\n  tsdb:\n    out_of_order_time_window: 12h\n";
const ARGS: [&str; 4] = [
    "--web.enable-remote-write-receiver",
    "--web.enable-admin-api",
    "--enable-feature=exemplar-storage",
    "--storage.tsdb.min-block-duration=30m",
];
/// Log lines of level WARN that a healthy program writes here: at SIGTERM, and about its lock file after `kill -9`.
const EXPECTED: [&str; 2] = ["exiting gracefully", "lockfile"];

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// How a program ends.
#[derive(Clone, Copy)]
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

fn value(host: usize, t: i64) -> f64 {
    (t / 1000 % 100_000) as f64 * 0.25 + host as f64
}

/// Sends one sample per minute of every host, and one exemplar, from `from` to `to`.
fn send(node: &Node, job: &str, from: i64, to: i64) {
    let mut connection = Connection::open(&node.address).expect("connects");
    let hosts: Vec<String> = (0..HOSTS).map(|h| format!("host-{h}")).collect();
    for start in (from..to).step_by(10 * MINUTE as usize) {
        let times: Vec<i64> = (start..(start + 10 * MINUTE).min(to)).step_by(MINUTE as usize).collect();
        let samples: Vec<Vec<(i64, f64)>> =
            (0..HOSTS).map(|h| times.iter().map(|t| (*t, value(h, *t))).collect()).collect();
        let labels: Vec<[(&str, &str); 3]> = hosts
            .iter()
            .map(|h| [("__name__", "dropin_total"), ("host", h.as_str()), ("job", job)])
            .collect();
        let series: Vec<Series<'_>> =
            labels.iter().zip(&samples).map(|(labels, samples)| Series { labels, samples }).collect();
        let mut body = push::encode(&series);
        exemplar(&mut body, times[0]);
        let body = snap::raw::Encoder::new().compress_vec(&body).expect("compresses");
        let reply = connection.post("/api/v1/write", push::HEADERS, &body).expect("an answer");
        assert_eq!(reply.status, 204, "{}", String::from_utf8_lossy(&reply.body));
    }
}

/// Adds a series with one sample and one exemplar to a write request.
fn exemplar(request: &mut Vec<u8>, t: i64) {
    let labels = [("__name__", "dropin_exemplars_total"), ("job", "exemplars")];
    let samples = [(t, t as f64)];
    let one = push::encode(&[Series { labels: &labels, samples: &samples }]);
    // `timeseries = 1`, its length, its fields; all shorter than 128 bytes.
    let mut series = one[2..].to_vec();
    let mut body = vec![0x0a, 11, 0x0a, 2, b'i', b'd', 0x12, 5];
    body.extend_from_slice(format!("{:05}", t / MINUTE % 100_000).as_bytes());
    body.push(0x11);
    body.extend_from_slice(&2.5f64.to_le_bytes());
    body.push(0x18);
    let mut n = t as u64;
    while n >= 0x80 {
        body.push(n as u8 | 0x80);
        n >>= 7;
    }
    body.push(n as u8);
    series.push(0x1a);
    series.push(body.len() as u8);
    series.extend_from_slice(&body);
    request.push(0x0a);
    request.push(series.len() as u8);
    request.extend_from_slice(&series);
}

/// The answer of one path with its lists in a fixed order.
fn answer(address: &str, path: &str) -> Value {
    let mut reply = query::get(address, path);
    assert_eq!(reply["status"], "success", "{path}: {reply}");
    let data = reply["data"].take();
    let mut list = match data {
        Value::Array(list) => list,
        Value::Object(mut object) => {
            object.remove("result").and_then(|r| r.as_array().cloned()).unwrap_or_default()
        }
        other => vec![other],
    };
    list.sort_by_key(Value::to_string);
    Value::Array(list)
}

/// Everything that is compared, as (path, answer).
fn everything(node: &Node, from: i64, to: i64) -> Vec<(String, Value)> {
    let (from, to) = (from / 1000, to / 1000);
    let window = format!("start={from}&end={to}");
    let span = (to - from) / 60 + 1;
    let raw = format!("/api/v1/query?time={to}&query=");
    let mut paths = vec![
        format!("{raw}dropin_total%5B{span}m%5D"),
        format!("{raw}dropin_exemplars_total%5B{span}m%5D"),
        format!("{raw}count_over_time(dropin_total%5B{span}m%5D)"),
        format!("{raw}sum%20by(job)(sum_over_time(dropin_total%5B{span}m%5D))"),
        format!("{raw}count(%7B__name__%3D~%22dropin.*%22%7D)"),
        format!("/api/v1/series?match%5B%5D=%7B__name__%3D~%22dropin.*%22%7D&{window}"),
        format!("/api/v1/label/host/values?{window}"),
        format!("/api/v1/label/job/values?match%5B%5D=dropin_total&{window}"),
        format!("/api/v1/labels?match%5B%5D=dropin_total&{window}"),
    ];
    for query in [
        "dropin_total",
        "rate(dropin_total%5B10m%5D)",
        "sum%20by(host)(dropin_total)",
        "max_over_time(dropin_total%7Bhost%3D~%22host-%5B1-3%5D%22%7D%5B30m%5D)",
        "dropin_total%7Bhost!%3D%22host-1%22%7D%20offset%2020m",
        "histogram_quantile(0.9%2Cdropin_total)",
        "topk(2%2Cdropin_total)",
    ] {
        paths.push(format!("/api/v1/query_range?query={query}&{window}&step=77"));
    }
    paths
        .into_iter()
        .map(|path| {
            let found = answer(&node.address, &path);
            (path, found)
        })
        .collect()
}

#[track_caller]
fn assert_same(before: &[(String, Value)], after: &[(String, Value)], when: &str) {
    for ((path, a), (_, b)) in before.iter().zip(after) {
        assert!(a == b, "{when}: {path} differs: {}", difference(a, b));
    }
}

/// What only one of two answers has: whole rows, and of rows with the same labels only the samples.
fn difference(a: &Value, b: &Value) -> String {
    let rows = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let samples =
        |row: &Value| row["values"].as_array().or(row["value"].as_array()).cloned().unwrap_or_default();
    let mut out = String::new();
    for (mark, from, other) in [("lost", a, b), ("new", b, a)] {
        let other = rows(other);
        for row in rows(from).iter().filter(|row| !other.contains(row)) {
            match other.iter().find(|o| o["metric"] == row["metric"] && row["metric"].is_object()) {
                Some(twin) => {
                    let kept = samples(twin);
                    let only: Vec<Value> = samples(row).into_iter().filter(|s| !kept.contains(s)).collect();
                    out += &format!(
                        "\n{mark} {}: {} samples: {}",
                        row["metric"],
                        only.len(),
                        Value::Array(only)
                    );
                }
                None => out += &format!("\n{mark} {row}"),
            }
        }
    }
    out.chars().take(6000).collect()
}

fn blocks(node: &Node) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(node.dir().join("data")).expect("data directory").flatten();
    entries.map(|e| e.path()).filter(|p| p.join("meta.json").is_file()).collect()
}

fn promtool(prometheus: &Path) -> Option<std::path::PathBuf> {
    let beside = prometheus.with_file_name("promtool");
    let package = prometheus.ancestors().nth(4).map(|p| p.join("promtool/usr/bin/promtool"));
    let versioned = prometheus.file_name().map(|n| n.to_string_lossy().replace("prometheus", "promtool"));
    let versioned = versioned.map(|n| prometheus.with_file_name(n));
    [Some(beside), package, versioned].into_iter().flatten().find(|p| p.is_file())
}

/// From Prometheus to ours and back; both of them end in the given way.
fn there_and_back(test: &str, end: End) {
    let Some(prometheus) = Peer::Prometheus.find_for(test) else { return };
    let ours = e2e::pyrrha();
    let end_of_all = now_ms() / MINUTE * MINUTE;
    let start = end_of_all - 10 * 60 * MINUTE;

    // Blocks, a head with chunks on disk, late samples for both.
    let mut node = Node::start(&prometheus, Role::Server, CONFIG, &ARGS);
    let middle = start + 5 * 60 * MINUTE;
    send(&node, "first", start + 60 * MINUTE, middle);
    send(&node, "late", start + 120 * MINUTE, start + 150 * MINUTE);
    send(&node, "first", start, start + 60 * MINUTE);
    send(&node, "late", middle - 50 * MINUTE, middle - 20 * MINUTE);
    send(&node, "late", middle - 90 * MINUTE, middle - 50 * MINUTE);
    eventually("blocks of Prometheus", PATIENCE, || match blocks(&node).len() {
        0 => Err("none".into()),
        n => Ok(n),
    });
    let before = everything(&node, start, middle);
    assert!(
        before
            .iter()
            .all(|(path, rows)| path.contains("histogram_quantile") || rows != &Value::Array(Vec::new()))
    );
    let of_prometheus = blocks(&node).len();
    end.of(&mut node);
    for part in ["wal", "wbl", "chunks_head"] {
        let found = std::fs::read_dir(node.dir().join("data").join(part)).map_or(0, Iterator::count);
        assert!(found > 0, "{part} of Prometheus is not empty");
    }
    let lines_before = node.log().lines().count();

    // Ours takes over.
    node.set_program(&ours);
    node.run();
    assert_same(&before, &everything(&node, start, middle), "ours on the directory of Prometheus");
    let (path, exemplars) = (
        format!(
            "/api/v1/query_exemplars?query=dropin_exemplars_total&start={}&end={}",
            start / 1000,
            end_of_all / 1000
        ),
        1,
    );
    assert!(
        answer(&node.address, &path).as_array().map_or(0, Vec::len) >= exemplars,
        "exemplars come from the log"
    );
    send(&node, "second", middle, end_of_all);
    send(&node, "late-second", middle - 30 * MINUTE, middle + 30 * MINUTE);
    // Not of late samples: Prometheus takes late chunks of deleted samples up again when it starts;
    // ours knows that blocks have them.
    let delete = format!(
        "/api/v1/admin/tsdb/delete_series?match[]=dropin_total%7Bhost%3D%22host-5%22%2Cjob%3D%22first%22%7D&start={}&end={}",
        (start + 160 * MINUTE) / 1000,
        (start + 200 * MINUTE) / 1000
    );
    let reply =
        Connection::open(&node.address).and_then(|mut c| c.post(&delete, "", b"")).expect("an answer");
    assert_eq!(reply.status, 204, "{}", String::from_utf8_lossy(&reply.body));
    eventually("blocks of ours", Duration::from_secs(150), || {
        let samples = query::get(&node.address, "/api/v1/status/tsdb");
        let oldest = samples["data"]["headStats"]["minTime"].as_i64().unwrap_or(0);
        if oldest >= middle + 60 * MINUTE {
            Ok(())
        } else {
            Err(format!("head begins at {oldest}, {} blocks, {of_prometheus} before", blocks(&node).len()))
        }
    });
    let before = everything(&node, start, end_of_all);
    end.of(&mut node);
    quiet(&node, lines_before, "ours");
    let lines_before = node.log().lines().count();
    if let Some(promtool) = promtool(&prometheus) {
        for command in ["list", "analyze"] {
            let data = node.dir().join("data");
            let out =
                Command::new(&promtool).args(["tsdb", command]).arg(&data).output().expect("promtool runs");
            let text =
                String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "promtool {} tsdb {command}: {text}", version_of(&promtool));
        }
    }

    // And back.
    node.set_program(&prometheus);
    node.run();
    assert_same(&before, &everything(&node, start, end_of_all), "Prometheus on the directory of ours");
    send(&node, "third", end_of_all - 5 * MINUTE, end_of_all);
    node.stop();
    quiet(&node, lines_before, "Prometheus after ours");
}

/// Fails when the log, from a line on, warns of something that is not expected.
#[track_caller]
fn quiet(node: &Node, from: usize, who: &str) {
    let log = node.log();
    for line in log.lines().skip(from) {
        let loud = ["level=ERROR", "level=WARN", "level=error", "level=warn", "panic"]
            .iter()
            .any(|l| line.contains(l));
        assert!(!loud || EXPECTED.iter().any(|e| line.contains(e)), "{who}: unexpected log line: {line}");
    }
}

#[test]
fn prometheus_to_ours_and_back() {
    there_and_back("prometheus_to_ours_and_back", End::Stop);
}

#[test]
fn prometheus_to_ours_and_back_with_kills() {
    there_and_back("prometheus_to_ours_and_back_with_kills", End::Kill);
}
