//! Compaction of a large head while writes go on: memory, latency of writes, CPU.

use crate::peers::{self, Kind, Peer};
use crate::poster::{Poster, metric};
use crate::workload::{Target, encode_request, targets};
use e2e::http::Connection;
use e2e::process::{Process, dir_bytes, free_port};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PER_TARGET: usize = 1000;
const PER_REQUEST: usize = 2;
const LANES: usize = 4;
const HOUR_MS: i64 = 3_600_000;
const STEP_MS: i64 = 180_000;
/// Scrapes until the head spans three hours less one step: it is cut when it spans more than three.
const ROUNDS: u64 = (3 * HOUR_MS / STEP_MS) as u64;
/// Targets that go on sending, and how often a request of them goes out.
const STEADY_TARGETS: usize = 200;
const PAUSE: Duration = Duration::from_millis(50);
/// Longer than any compaction takes that is worth printing.
const PATIENCE: Duration = Duration::from_secs(150);

struct Row {
    peer: String,
    rss_before: u64,
    rss_peak: u64,
    before: Latency,
    during: Latency,
    took: f64,
    cpu: f64,
    block_bytes: u64,
}

#[derive(Clone, Copy)]
struct Latency {
    count: usize,
    p50: f64,
    p99: f64,
    max: f64,
}

fn latency(times: &[Duration]) -> Latency {
    let mut ms: Vec<f64> = times.iter().map(|t| t.as_secs_f64() * 1e3).collect();
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms.get(((ms.len() as f64 * share) as usize).min(ms.len().saturating_sub(1)));
    let at = |share: f64| at(share).copied().unwrap_or(f64::NAN);
    Latency { count: ms.len(), p50: at(0.5), p99: at(0.99), max: at(1.0) }
}

/// Runs it with a million series, or with 20,000.
pub fn run(pyrrha: &Path, only: Option<&str>, small: bool) -> ExitCode {
    let count = if small { 20 } else { 1000 };
    let load = targets(count, PER_TARGET, 0);
    println!("\n## compact a head of {} series x {ROUNDS} samples", count * PER_TARGET);
    let mut failed = false;
    let mut rows = Vec::new();
    // VictoriaMetrics has no head that is cut.
    for peer in peers::at_hand(pyrrha.to_owned()).iter().filter(|p| p.kind != Kind::VictoriaMetrics) {
        if only.is_some_and(|o| !peer.name.to_lowercase().contains(o)) {
            continue;
        }
        eprintln!("bench: compact / {}", peer.name);
        match measure(peer, &load) {
            Ok(row) => rows.push(row),
            Err(why) => {
                eprintln!("bench: {}: {why}", peer.name);
                failed = true;
            }
        }
    }
    print_table(&rows);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn fill(load: &[Target], address: &str, start_ms: i64) -> Result<(), String> {
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                scope.spawn(move || {
                    let mut poster = Poster::open(address)?;
                    let mut plain = Vec::new();
                    for round in 0..ROUNDS {
                        for pair in load.chunks(PER_REQUEST).skip(lane).step_by(LANES) {
                            let pair: Vec<&Target> = pair.iter().collect();
                            encode_request(&pair, start_ms + round as i64 * STEP_MS, round, &mut plain);
                            poster.post(&plain)?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        lanes.into_iter().try_for_each(|l| l.join().unwrap_or_else(|_| Err("sender panicked".into())))
    })
}

/// Writes at a steady rate until told to stop; gives when each request was answered and how long it took.
fn steady(
    load: &[Target],
    address: &str,
    start_ms: i64,
    stop: &AtomicBool,
) -> Result<Vec<(Instant, Duration)>, String> {
    let mut poster = Poster::open(address)?;
    let (mut plain, mut times) = (Vec::new(), Vec::new());
    for round in ROUNDS.. {
        for pair in load[..STEADY_TARGETS.min(load.len())].chunks(PER_REQUEST) {
            if stop.load(Ordering::Relaxed) {
                return Ok(times);
            }
            let due = Instant::now() + PAUSE;
            let pair: Vec<&Target> = pair.iter().collect();
            encode_request(&pair, start_ms + round as i64 * STEP_MS, round, &mut plain);
            let took = poster.post(&plain)?;
            times.push((Instant::now(), took));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    Ok(times)
}

/// What was seen while the head was cut.
struct Watched {
    from: Instant,
    to: Instant,
    peak: u64,
    cpu: f64,
}

/// Waits for the compaction to begin and to end: the head was truncated, and the program is as idle as before.
fn watch(process: &Process, address: &str, idle_cpu: f64) -> Result<Watched, String> {
    let mut connection = Connection::open(address).map_err(|e| e.to_string())?;
    let from = Instant::now();
    let (mut peak, mut cut, mut quiet) = (0, false, Instant::now());
    let first = process.usage().cpu_seconds;
    let (mut mark, mut mark_at) = (first, Instant::now());
    let mut looked = Instant::now();
    while from.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
        let now = process.usage();
        peak = peak.max(now.rss_bytes);
        if !cut && looked.elapsed() > Duration::from_millis(500) {
            looked = Instant::now();
            cut = metric(&mut connection, "prometheus_tsdb_head_gc_duration_seconds_count").unwrap_or(0.0)
                > 0.0;
            quiet = Instant::now();
        }
        if mark_at.elapsed() > Duration::from_secs(1) {
            let rate = (now.cpu_seconds - mark) / mark_at.elapsed().as_secs_f64();
            (mark, mark_at) = (now.cpu_seconds, Instant::now());
            if rate > idle_cpu + 0.15 {
                quiet = Instant::now();
            }
        }
        if cut && quiet.elapsed() > Duration::from_secs(3) {
            let cpu = now.cpu_seconds - first - idle_cpu * from.elapsed().as_secs_f64();
            return Ok(Watched { from, to: quiet, peak, cpu });
        }
    }
    Err("no compaction within the time".into())
}

fn measure(peer: &Peer, load: &[Target]) -> Result<Row, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let data = dir.path().join("data");
    std::fs::write(dir.path().join("data.yml"), "global: {}\n").map_err(|e| e.to_string())?;
    let address = format!("127.0.0.1:{}", free_port());
    let log = dir.path().join("log");
    let mut args = peer.args(&data, &address);
    if peer.kind == Kind::Pyrrha {
        // Prometheus looks after each write, Pyrrha in rounds.
        args.push("--storage.tsdb.block-reload-interval=1s".into());
    }
    let mut process = Process::start(&peer.program, &args, &address, &log).map_err(|e| e.to_string())?;
    process.wait_ready(peer.ready_path())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let start_ms = (now - 6 * HOUR_MS) / (2 * HOUR_MS) * (2 * HOUR_MS);
    fill(load, &address, start_ms)?;
    std::thread::sleep(Duration::from_secs(5));

    let stop = AtomicBool::new(false);
    let (watched, times, rss_before) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| steady(load, &address, start_ms, &stop));
        // The first round of the steady writer is not beyond three hours yet.
        let first = process.usage().cpu_seconds;
        std::thread::sleep(Duration::from_secs(4));
        let usage = process.usage();
        let watched = watch(&process, &address, (usage.cpu_seconds - first) / 4.0);
        stop.store(true, Ordering::Relaxed);
        let times = writer.join().unwrap_or_else(|_| Err("writer panicked".into()));
        (watched, times, usage.rss_bytes)
    });
    let (watched, times) = (watched?, times?);
    let part = |from: Option<Instant>, to: Option<Instant>| {
        let within = |at: &Instant| from.is_none_or(|f| f <= *at) && to.is_none_or(|t| *at <= t);
        latency(&times.iter().filter(|(at, _)| within(at)).map(|(_, took)| *took).collect::<Vec<_>>())
    };
    let took = Connection::open(&address)
        .ok()
        .and_then(|mut c| metric(&mut c, "prometheus_tsdb_compaction_duration_seconds_sum"));
    process.terminate();
    let blocks =
        std::fs::read_dir(&data).map_err(|e| e.to_string())?.flatten().filter(|e| e.file_name().len() == 26);
    Ok(Row {
        peer: peer.name.clone(),
        rss_before,
        rss_peak: watched.peak,
        before: part(None, Some(watched.from)),
        during: part(Some(watched.from), Some(watched.to)),
        took: took.unwrap_or(f64::NAN),
        cpu: watched.cpu,
        block_bytes: blocks.map(|b| dir_bytes(&b.path())).sum(),
    })
}

fn print_table(rows: &[Row]) {
    println!(
        "| {:<24} | RSS before MB | peak MB | growth | write ms before: p50 / p99 / max | during: p50 / p99 / max (n) | compaction s | CPU-s | block MB |",
        "program"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for r in rows {
        println!(
            "| {:<24} | {:.0} | {:.0} | {:+.1} % | {:.1} / {:.1} / {:.1} | {:.1} / {:.1} / {:.1} ({}) | {:.1} | {:.1} | {:.1} |",
            r.peer,
            r.rss_before as f64 / 1e6,
            r.rss_peak as f64 / 1e6,
            (r.rss_peak as f64 / r.rss_before as f64 - 1.0) * 100.0,
            r.before.p50,
            r.before.p99,
            r.before.max,
            r.during.p50,
            r.during.p99,
            r.during.max,
            r.during.count,
            r.took,
            r.cpu,
            r.block_bytes as f64 / 1e6,
        );
    }
}
