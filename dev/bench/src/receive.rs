//! Receiving remote write: the load, the phases and the table.

use crate::native::encode_histograms;
use crate::peers::{self, Kind, Peer};
use crate::workload::{Target, encode_request, mix, targets};
use e2e::http::Connection;
use e2e::process::{Process, Usage, dir_bytes, free_port};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One load: how many series, how often, in which order.
#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    targets: usize,
    rounds: u64,
    /// Targets come in another order each round.
    shuffled: bool,
    /// Timestamps move by up to this many ms around the schedule.
    jitter_ms: u64,
    /// Native histograms instead of floats.
    histograms: bool,
}

const CONNECTIONS: usize = 4;
const PER_TARGET: usize = 1000;
const PER_REQUEST: usize = 2;
const WRITE_PATH: &str = "/api/v1/write";
const STEP_MS: i64 = 15_000;

pub fn cases(small: bool, only: Option<&str>) -> Vec<Case> {
    let case = |name, targets, rounds, shuffled, jitter_ms| Case {
        name,
        targets,
        rounds,
        shuffled,
        jitter_ms,
        histograms: false,
    };
    let native = |name, targets, rounds| Case { histograms: true, ..case(name, targets, rounds, false, 0) };
    let all = if small {
        vec![case("20k x 20", 20, 20, false, 0), native("histograms, 2k x 20", 2, 20)]
    } else {
        vec![
            case("100k x 120", 100, 120, false, 0),
            case("100k x 60 shuffled, jitter", 100, 60, true, 20),
            case("1M x 5", 1000, 5, false, 0),
            case("1M x 60", 1000, 60, false, 0),
            native("histograms, 20k x 120", 20, 120),
        ]
    };
    all.into_iter().filter(|c| only.is_none_or(|o| c.name.starts_with(o))).collect()
}

struct Row {
    peer: String,
    kind: Kind,
    cpu_per_million: f64,
    first_sight_us: f64,
    samples_per_second: f64,
    bytes_per_series: f64,
    peak_per_series: f64,
    wal_per_sample: f64,
    restart: Duration,
    restart_peak: u64,
    kept: String,
}

pub fn run(pyrrha: &Path, only: Option<&str>, cases: &[Case]) -> ExitCode {
    let peers = peers::at_hand(pyrrha.to_owned());
    let mut failed = false;
    for case in cases {
        println!("\n## receive {} ({} series)", case.name, case.targets * PER_TARGET);
        let load = targets(case.targets, PER_TARGET, 0);
        let mut rows = Vec::new();
        for peer in peers.iter().filter(|p| only.is_none_or(|o| p.name.to_lowercase().contains(o))) {
            eprintln!("bench: {} / {}", case.name, peer.name);
            match measure(peer, case, &load) {
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

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// Sends rounds `from..to`; gives the samples that were acknowledged.
fn send(
    case: &Case,
    load: &[Target],
    address: &str,
    start_ms: i64,
    from: u64,
    to: u64,
) -> Result<u64, String> {
    let sent = AtomicU64::new(0);
    let lanes: Vec<Vec<&Target>> = (0..CONNECTIONS)
        .map(|lane| {
            let mine = load.iter().enumerate().filter(|(i, _)| i / PER_REQUEST % CONNECTIONS == lane);
            mine.map(|(_, target)| target).collect()
        })
        .collect();
    let result: Result<Vec<()>, String> = std::thread::scope(|scope| {
        let threads: Vec<_> = lanes
            .into_iter()
            .map(|mut lane| {
                let sent = &sent;
                scope.spawn(move || -> Result<(), String> {
                    let mut connection = Connection::open(address).map_err(|e| e.to_string())?;
                    let (mut plain, mut packed) = (Vec::new(), Vec::new());
                    let mut snappy = snap::raw::Encoder::new();
                    for round in from..to {
                        if case.shuffled {
                            lane.sort_by_key(|t| mix(round ^ (std::ptr::from_ref::<Target>(t) as u64)));
                        }
                        for pair in lane.chunks(PER_REQUEST) {
                            let jitter = if case.jitter_ms == 0 { 0 } else { mix(round) % case.jitter_ms };
                            let t = start_ms + round as i64 * STEP_MS + jitter as i64;
                            let encode = if case.histograms { encode_histograms } else { encode_request };
                            let samples = encode(pair, t, round, &mut plain);
                            packed.resize(snap::raw::max_compress_len(plain.len()), 0);
                            let len = snappy.compress(&plain, &mut packed).map_err(|e| e.to_string())?;
                            let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                                           X-Prometheus-Remote-Write-Version: 0.1.0\r\nUser-Agent: bench\r\n";
                            let reply = connection
                                .post(WRITE_PATH, headers, &packed[..len])
                                .map_err(|e| e.to_string())?;
                            if reply.status / 100 != 2 {
                                let text = String::from_utf8_lossy(&reply.body).into_owned();
                                return Err(format!("status {}: {text}", reply.status));
                            }
                            sent.fetch_add(samples as u64, Ordering::Relaxed);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("sender panicked".into()))).collect()
    });
    result?;
    Ok(sent.load(Ordering::Relaxed))
}

/// Waits until the process has been idle for a second, so that its figures are settled.
fn settle(process: &Process) -> Usage {
    let mut last = process.usage();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(500));
        let now = process.usage();
        if now.cpu_seconds - last.cpu_seconds < 0.02 {
            return now;
        }
        last = now;
    }
    last
}

fn measure(peer: &Peer, case: &Case, load: &[Target]) -> Result<Row, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let data = dir.path().join("data");
    std::fs::write(dir.path().join("data.yml"), "global: {}\n").map_err(|e| e.to_string())?;
    let address = format!("127.0.0.1:{}", free_port());
    let log = dir.path().join("log");
    let mut args = peer.args(&data, &address);
    if case.histograms && peer.kind == Kind::Prometheus {
        // Before 3.9 they have to be switched on.
        args.push("--enable-feature=native-histograms".into());
    }
    let start = || Process::start(&peer.program, &args, &address, &log);
    let mut process = start().map_err(|e| e.to_string())?;
    process.wait_ready(peer.ready_path()).map_err(|e| format!("{e}\n{}", tail(&log)))?;
    let series = case.targets * PER_TARGET;
    let start_ms = now_ms() - case.rounds as i64 * STEP_MS;

    let idle = process.usage();
    send(case, load, &address, start_ms, 0, 1)?;
    let first = settle(&process);
    let begun = Instant::now();
    let samples = send(case, load, &address, start_ms, 1, case.rounds)?;
    let took = begun.elapsed();
    let busy = settle(&process);
    let wal = dir_bytes(&peer.wal_dir(&data));
    process.kill();

    let mut process = start().map_err(|e| e.to_string())?;
    let restart = process.wait_ready(peer.ready_path()).map_err(|e| format!("{e}\n{}", tail(&log)))?;
    let again = process.usage();
    let kept = count_series(&process.address, now_ms());
    process.terminate();
    let warnings = tail(&log);
    if !warnings.is_empty() && peer.kind == Kind::Pyrrha {
        eprintln!("{warnings}");
    }
    Ok(Row {
        peer: peer.name.clone(),
        kind: peer.kind,
        cpu_per_million: (busy.cpu_seconds - first.cpu_seconds) / samples as f64 * 1e6,
        first_sight_us: (first.cpu_seconds - idle.cpu_seconds) / series as f64 * 1e6,
        samples_per_second: samples as f64 / took.as_secs_f64(),
        bytes_per_series: busy.rss_bytes as f64 / series as f64,
        peak_per_series: busy.peak_bytes as f64 / series as f64,
        wal_per_sample: wal as f64 / (samples + series as u64) as f64,
        restart,
        restart_peak: again.peak_bytes,
        kept,
    })
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> =
        text.lines().filter(|l| l.contains("level=ERROR") || l.contains("panic")).collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// How many series the last five minutes hold, asked after the restart.
fn count_series(address: &str, now: i64) -> String {
    let query = format!("/api/v1/query?query=count(%7B__name__%3D~%22.%2B%22%7D)&time={}", now / 1000);
    let body = Connection::open(address).and_then(|mut c| c.get(&query)).map(|r| r.body).unwrap_or_default();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    json["data"]["result"][0]["value"][1].as_str().unwrap_or("none").to_owned()
}

fn print_table(rows: &[Row]) {
    println!(
        "| {:<24} | CPU-s per M samples | µs CPU per new series | samples/s | RSS bytes/series | peak bytes/series | WAL bytes/sample | restart s | restart peak MB | series after kill -9 |",
        "program"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for r in rows {
        println!(
            "| {:<24} | {:.3} | {:.2} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.0} | {} |",
            r.peer,
            r.cpu_per_million,
            r.first_sight_us,
            r.samples_per_second,
            r.bytes_per_series,
            r.peak_per_series,
            r.wal_per_sample,
            r.restart.as_secs_f64(),
            r.restart_peak as f64 / 1e6,
            r.kept
        );
    }
    let Some(ours) = rows.iter().find(|r| r.kind == Kind::Pyrrha) else { return };
    for peer in rows.iter().filter(|r| r.kind != Kind::Pyrrha) {
        println!(
            "| ours beside {:<12} | 1/{:.1} | 1/{:.1} | {:.1}x | 1/{:.1} | 1/{:.1} | 1/{:.1} | 1/{:.1} | | |",
            peer.peer,
            peer.cpu_per_million / ours.cpu_per_million,
            peer.first_sight_us / ours.first_sight_us,
            ours.samples_per_second / peer.samples_per_second,
            peer.bytes_per_series / ours.bytes_per_series,
            peer.peak_per_series / ours.peak_per_series,
            peer.wal_per_sample / ours.wal_per_sample,
            peer.restart.as_secs_f64() / ours.restart.as_secs_f64(),
        );
    }
}
