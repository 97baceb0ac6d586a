//! What samples take on disk once they are compacted: the same data into each program, the same blocks out.

use crate::peers::{self, Kind, Peer};
use crate::poster::{Poster, metric};
use crate::workload::{Target, encode_jittered, targets};
use e2e::http::Connection;
use e2e::process::{Process, dir_bytes, free_port};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PER_TARGET: usize = 1000;
const HOUR_MS: i64 = 3_600_000;
const STEP_MS: i64 = 15_000;
const ROUNDS_PER_REQUEST: u64 = 40;

/// A metric with many series.
const READ_METRIC: &str = "http_server_request_duration_seconds_bucket";

/// One load.
struct Case {
    name: &'static str,
    targets: usize,
    hours: i64,
    /// Timestamps move by up to this many ms around the schedule.
    jitter_ms: u64,
}

/// Bytes on disk by what they are for.
#[derive(Default)]
struct Sizes {
    samples: u64,
    chunks: u64,
    index: u64,
    /// Log, head chunks, caches.
    other: u64,
    blocks: Vec<String>,
}

struct Row {
    peer: String,
    kind: Kind,
    sizes: Sizes,
    /// Reading the buckets: seconds of wall time.
    decode: f64,
}

pub fn run(pyrrha: &Path, only: Option<&str>, case: Option<&str>, small: bool) -> ExitCode {
    let case_of = |name, targets, hours, jitter_ms| Case { name, targets, hours, jitter_ms };
    let all = if small {
        vec![case_of("aligned", 1, 10, 0)]
    } else {
        vec![case_of("aligned", 4, 22, 0), case_of("jitter", 4, 22, 20)]
    };
    let mut failed = false;
    for case in all.iter().filter(|c| case.is_none_or(|o| c.name == o)) {
        println!(
            "\n## disk {} ({} series, {} h at 15 s, jitter {} ms)",
            case.name,
            case.targets * PER_TARGET,
            case.hours,
            case.jitter_ms
        );
        let load = targets(case.targets, PER_TARGET, 0);
        let mut rows = Vec::new();
        for peer in peers::at_hand(pyrrha.to_owned()) {
            if only.is_some_and(|o| !peer.name.to_lowercase().contains(o)) {
                continue;
            }
            eprintln!("bench: disk {} / {}", case.name, peer.name);
            match measure(&peer, case, &load) {
                Ok(row) => rows.push(row),
                Err(why) => {
                    eprintln!("bench: {}: {why}", peer.name);
                    failed = true;
                }
            }
        }
        print_table(&rows);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measure(peer: &Peer, case: &Case, load: &[Target]) -> Result<Row, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let data = dir.path().join("data");
    std::fs::write(dir.path().join("data.yml"), "global: {}\n").map_err(|e| e.to_string())?;
    let address = format!("127.0.0.1:{}", free_port());
    let log = dir.path().join("log");
    let mut args = peer.args(&data, &address);
    match peer.kind {
        Kind::Pyrrha => args.push("--storage.tsdb.block-reload-interval=1s".into()),
        Kind::VictoriaMetrics => args.push("-search.maxPointsPerTimeseries=1000000".into()),
        Kind::Prometheus => {}
    }
    let mut process = Process::start(&peer.program, &args, &address, &log).map_err(|e| e.to_string())?;
    process.wait_ready(peer.ready_path())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let start_ms = (now - (case.hours + 20) * HOUR_MS) / (18 * HOUR_MS) * (18 * HOUR_MS);
    let rounds = (case.hours * HOUR_MS / STEP_MS) as u64;
    let mut poster = Poster::open(&address)?;
    let mut plain = Vec::new();
    let mut from = 0;
    while from < rounds {
        let to = (from + ROUNDS_PER_REQUEST).min(rounds);
        for one in load.chunks(1) {
            encode_jittered(one, start_ms, STEP_MS, case.jitter_ms, from..to, &mut plain);
            poster.post(&plain)?;
        }
        // Both cut their heads as time goes by, so that none of them keeps more than the other.
        if peer.kind != Kind::VictoriaMetrics && (to as i64 * STEP_MS) % (2 * HOUR_MS) == 0 {
            wait_for_cut(&process, &address)?;
        }
        from = to;
    }
    settle(&process);
    let decode = time_reading(&address, start_ms, case)?;
    process.terminate();
    let sizes = sizes(peer.kind, &data, rounds * load.len() as u64 * PER_TARGET as u64)?;
    Ok(Row { peer: peer.name.clone(), kind: peer.kind, sizes, decode })
}

/// Waits while the head spans so much that it is about to be cut.
fn wait_for_cut(process: &Process, address: &str) -> Result<(), String> {
    let mut connection = Connection::open(address).map_err(|e| e.to_string())?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        let mut of = |name: &str| metric(&mut connection, name).unwrap_or(0.0);
        let span = of("prometheus_tsdb_head_max_time") - of("prometheus_tsdb_head_min_time");
        if span <= 3.0 * HOUR_MS as f64 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = process;
    Err("the head was not cut within a minute".into())
}

fn settle(process: &Process) {
    let mut last = process.usage().cpu_seconds;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_secs(3));
        let now = process.usage().cpu_seconds;
        if now - last < 0.15 {
            return;
        }
        last = now;
    }
}

/// Best of three: a query that decodes all histogram buckets of the first 18 hours, a quarter of the samples.
fn time_reading(address: &str, start_ms: i64, case: &Case) -> Result<f64, String> {
    let mut connection = Connection::open(address).map_err(|e| e.to_string())?;
    let hours = case.hours.min(18);
    let at = start_ms / 1000 + hours * 3600;
    let path = format!("/api/v1/query?query=sum(count_over_time({READ_METRIC}%5B{hours}h%5D))&time={at}");
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let begun = Instant::now();
        let reply = connection.get(&path).map_err(|e| e.to_string())?;
        if reply.status != 200 {
            return Err(format!("status {}: {}", reply.status, String::from_utf8_lossy(&reply.body)));
        }
        best = best.min(begun.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn sizes(kind: Kind, data: &Path, sent: u64) -> Result<Sizes, String> {
    let mut sizes = Sizes::default();
    if kind == Kind::VictoriaMetrics {
        sizes.samples = sent;
        sizes.chunks = dir_bytes(&data.join("data"));
        sizes.index = dir_bytes(&data.join("indexdb"));
        sizes.other = dir_bytes(data).saturating_sub(sizes.chunks + sizes.index);
        return Ok(sizes);
    }
    for entry in std::fs::read_dir(data).map_err(|e| e.to_string())?.flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path().join("meta.json")) else {
            let path = entry.path();
            sizes.other +=
                if path.is_dir() { dir_bytes(&path) } else { entry.metadata().map_or(0, |m| m.len()) };
            continue;
        };
        let meta: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        sizes.samples += meta["stats"]["numSamples"].as_u64().unwrap_or(0);
        sizes.chunks += dir_bytes(&entry.path().join("chunks"));
        sizes.index += std::fs::metadata(entry.path().join("index")).map_or(0, |m| m.len());
        let span = meta["maxTime"].as_i64().unwrap_or(0) - meta["minTime"].as_i64().unwrap_or(0);
        sizes.blocks.push(format!("{} h", (span + HOUR_MS / 2) / HOUR_MS));
    }
    sizes.blocks.sort();
    Ok(sizes)
}

fn print_table(rows: &[Row]) {
    println!(
        "| {:<24} | blocks | samples in blocks | bytes per sample | chunks | index | log and other MB | reading buckets s |",
        "program"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    let per = |bytes: u64, s: &Sizes| bytes as f64 / s.samples.max(1) as f64;
    for r in rows {
        let s = &r.sizes;
        println!(
            "| {:<24} | {} | {} | {:.3} | {:.3} | {:.3} | {:.1} | {:.2} |",
            r.peer,
            s.blocks.join(", "),
            s.samples,
            per(s.chunks + s.index, s),
            per(s.chunks, s),
            per(s.index, s),
            s.other as f64 / 1e6,
            r.decode,
        );
    }
    let Some(ours) = rows.iter().find(|r| r.kind == Kind::Pyrrha) else { return };
    for peer in rows.iter().filter(|r| r.kind != Kind::Pyrrha) {
        let (a, b) = (&ours.sizes, &peer.sizes);
        println!(
            "| ours beside {:<12} | | | {:.3} | {:.3} | {:.3} | | {:.2} |",
            peer.peer,
            per(a.chunks + a.index, a) / per(b.chunks + b.index, b),
            per(a.chunks, a) / per(b.chunks, b),
            per(a.index, a) / per(b.index, b),
            ours.decode / peer.decode,
        );
    }
}
