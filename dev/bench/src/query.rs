//! Queries as dashboards send them: loads the same series everywhere, asks cold and warm, compares answers.

use crate::compare::difference;
use crate::panels::{Panel, panels};
use crate::peers::{self, Kind, Peer};
use crate::workload::{Target, encode_rounds, targets};
use e2e::http::Connection;
use e2e::process::{Process, dir_bytes, free_port};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One load: how many targets of [`PER_TARGET`] series, for how many scrapes of [`STEP_MS`].
pub struct Case {
    pub name: &'static str,
    pub targets: usize,
    pub rounds: u64,
}

const PER_TARGET: usize = 1000;
pub const STEP_MS: i64 = 60_000;
/// Scrapes of one series that go into one request.
const ROUNDS_PER_REQUEST: u64 = 30;
/// Answers further apart than this, relatively, are named.
const TOLERANCE: f64 = 1e-6;
/// A warm query is repeated at least this often, and until its CPU time can be read from ticks of 10 ms.
const WARM_RUNS: u32 = 5;
const WARM_LEAST: Duration = Duration::from_millis(150);

fn cases(small: bool, only: Option<&str>) -> Vec<Case> {
    let case = |name, targets, rounds| Case { name, targets, rounds };
    let all = if small {
        vec![case("day", 4, 360), case("wide", 20, 60)]
    } else {
        vec![case("day", 10, 1440), case("wide", 100, 60)]
    };
    all.into_iter().filter(|c| only.is_none_or(|o| c.name == o)).collect()
}

/// Queries that take Prometheus longer than this (s, warm) have a figure of their own.
const DEAR: f64 = 0.005;
/// Differences below this (s) are those of the connection.
const SLACK: f64 = 0.0003;

/// What one query cost one program.
struct Timing {
    cold: f64,
    warm: f64,
    cpu: f64,
    /// Most memory of the program while this query ran, bytes.
    peak_bytes: u64,
    /// The first answer, for comparing; an error's text otherwise.
    answer: Result<Vec<u8>, String>,
}

struct Column {
    peer: String,
    kind: Kind,
    timings: Vec<Timing>,
    loaded_bytes: u64,
    peak_bytes: u64,
    disk_bytes: u64,
}

/// Runs the cases and prints one table for each; fails when a program fails or an answer differs. With `cores`,
/// each program answers on the first so many cores only.
pub fn run(
    pyrrha: &Path,
    only: Option<&str>,
    case: Option<&str>,
    small: bool,
    cores: Option<usize>,
) -> ExitCode {
    let peers = peers::at_hand(pyrrha.to_owned());
    let mut failed = false;
    for case in cases(small, case) {
        let on = cores.map_or(String::new(), |n| format!(", {n} cores"));
        let series = case.targets * PER_TARGET;
        println!("\n## query {} ({series} series x {} samples{on})", case.name, case.rounds);
        let load = targets(case.targets, PER_TARGET, 0);
        let end_ms = now_ms() / STEP_MS * STEP_MS - 2 * STEP_MS;
        let panels = panels(end_ms / 1000, case.rounds as i64 * STEP_MS / 1000);
        let mut columns = Vec::new();
        for peer in peers.iter().filter(|p| only.is_none_or(|o| p.name.to_lowercase().contains(o))) {
            eprintln!("bench: query {} / {}", case.name, peer.name);
            match measure(peer, &case, &load, end_ms, &panels, cores) {
                Ok(column) => columns.push(column),
                Err(why) => {
                    eprintln!("bench: {}: {why}", peer.name);
                    failed = true;
                }
            }
        }
        print_table(&panels, &columns);
        failed |= !compare(&panels, &columns);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// Sends everything in the order of time over one connection: a head takes old samples only in order.
pub fn fill(case: &Case, load: &[Target], address: &str, end_ms: i64) -> Result<(), String> {
    let mut connection = Connection::open(address).map_err(|e| e.to_string())?;
    let (mut plain, mut packed) = (Vec::new(), Vec::new());
    let mut snappy = snap::raw::Encoder::new();
    let start_ms = end_ms - (case.rounds as i64 - 1) * STEP_MS;
    let mut from = 0;
    while from < case.rounds {
        let to = (from + ROUNDS_PER_REQUEST).min(case.rounds);
        for pair in load.chunks(2) {
            encode_rounds(pair, start_ms, STEP_MS, from..to, &mut plain);
            packed.resize(snap::raw::max_compress_len(plain.len()), 0);
            let len = snappy.compress(&plain, &mut packed).map_err(|e| e.to_string())?;
            let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                           X-Prometheus-Remote-Write-Version: 0.1.0\r\nUser-Agent: bench\r\n";
            let reply =
                connection.post("/api/v1/write", headers, &packed[..len]).map_err(|e| e.to_string())?;
            if reply.status / 100 != 2 {
                return Err(format!("status {}: {}", reply.status, String::from_utf8_lossy(&reply.body)));
            }
        }
        from = to;
    }
    Ok(())
}

/// Waits until the process has been idle for two seconds.
pub fn settle(process: &Process) {
    let mut last = process.usage().cpu_seconds;
    for _ in 0..30 {
        std::thread::sleep(Duration::from_secs(2));
        let now = process.usage().cpu_seconds;
        if now - last < 0.1 {
            return;
        }
        last = now;
    }
}

fn measure(
    peer: &Peer,
    case: &Case,
    load: &[Target],
    end_ms: i64,
    panels: &[Panel],
    cores: Option<usize>,
) -> Result<Column, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let data = dir.path().join("data");
    std::fs::write(dir.path().join("data.yml"), "global: {}\n").map_err(|e| e.to_string())?;
    let address = format!("127.0.0.1:{}", free_port());
    let log = dir.path().join("log");
    let mut args = peer.args(&data, &address);
    if peer.kind == Kind::VictoriaMetrics {
        args.push("-search.maxUniqueTimeseries=1000000".into());
    }
    let start = || Process::start(&peer.program, &args, &address, &log);
    let mut process = start().map_err(|e| e.to_string())?;
    process.wait_ready(peer.ready_path())?;
    fill(case, load, &address, end_ms)?;
    settle(&process);
    process.terminate();

    let start = || match cores {
        // Pinned before it begins: programs count their cores at start.
        Some(cores) => {
            let mut pinned = vec!["-c".into(), format!("0-{}", cores.max(1) - 1)];
            pinned.push(peer.program.display().to_string());
            pinned.extend_from_slice(&args);
            Process::start(Path::new("taskset"), &pinned, &address, &log)
        }
        None => start(),
    };
    let mut process = start().map_err(|e| e.to_string())?;
    process.wait_ready(peer.ready_path())?;
    settle(&process);
    let loaded_bytes = process.usage().rss_bytes;
    let mut connection = Connection::open(&address).map_err(|e| e.to_string())?;
    let timings = panels
        .iter()
        .map(|panel| time_one(&mut connection, &process, &panel.path))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| e.to_string())?;
    let peak_bytes = timings.iter().map(|t| t.peak_bytes).max().unwrap_or(0);
    if let Ok(seconds) = std::env::var("BENCH_HOLD") {
        eprintln!("bench: {} stays at {address} for {seconds} s", peer.name);
        std::thread::sleep(Duration::from_secs(seconds.parse().unwrap_or(0)));
    }
    process.terminate();
    let disk_bytes = dir_bytes(&data);
    Ok(Column { peer: peer.name.clone(), kind: peer.kind, timings, loaded_bytes, peak_bytes, disk_bytes })
}

fn time_one(connection: &mut Connection, process: &Process, path: &str) -> std::io::Result<Timing> {
    process.forget_peak();
    let begun = Instant::now();
    let reply = connection.get(path)?;
    let cold = begun.elapsed().as_secs_f64();
    let answer = if reply.status == 200 {
        Ok(reply.body)
    } else {
        Err(format!("status {}: {}", reply.status, String::from_utf8_lossy(&reply.body)))
    };
    let cpu = process.usage().cpu_seconds;
    let begun = Instant::now();
    let mut runs = 0;
    let mut times = Vec::new();
    while runs < WARM_RUNS || begun.elapsed() < WARM_LEAST {
        let one = Instant::now();
        connection.get(path)?;
        times.push(one.elapsed().as_secs_f64());
        runs += 1;
    }
    times.sort_by(f64::total_cmp);
    // Half a tick stands for less than one.
    let cpu = (process.usage().cpu_seconds - cpu).max(0.005) / f64::from(runs);
    let peak_bytes = process.usage().peak_bytes;
    Ok(Timing { cold, warm: times[times.len() / 2], cpu, peak_bytes, answer })
}

fn geometric_mean(ratios: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = ratios.fold((0.0, 0), |(sum, n), r| (sum + r.ln(), n + 1));
    (sum / f64::from(n.max(1))).exp()
}

fn print_table(panels: &[Panel], columns: &[Column]) {
    print!("| ms: cold / warm / CPU |");
    columns.iter().for_each(|c| print!(" {} |", c.peer));
    println!("\n|---|{}", "---:|".repeat(columns.len()));
    for (i, panel) in panels.iter().enumerate() {
        print!("| {:<40} |", panel.name);
        for column in columns {
            let t = &column.timings[i];
            let failed = if t.answer.is_err() { " (refused)" } else { "" };
            print!(" {:.1} / {:.1} / {:.1}{failed} |", t.cold * 1e3, t.warm * 1e3, t.cpu * 1e3);
        }
        println!();
    }
    for (what, of) in [
        ("MB after restart", (|c: &Column| c.loaded_bytes) as fn(&Column) -> u64),
        ("MB at peak", |c| c.peak_bytes),
        ("MB on disk", |c| c.disk_bytes),
    ] {
        print!("| {what} |");
        columns.iter().for_each(|c| print!(" {:.0} |", of(c) as f64 / 1e6));
        println!();
    }
    let Some(ours) = columns.iter().find(|c| c.kind == Kind::Pyrrha) else { return };
    let prometheus = columns.iter().find(|c| c.kind == Kind::Prometheus);
    let dear: Vec<bool> =
        prometheus.map_or(Vec::new(), |c| c.timings.iter().map(|t| t.warm > DEAR).collect());
    for peer in columns.iter().filter(|c| c.kind != Kind::Pyrrha) {
        println!("\n{} needs, for each of ours (geometric mean):", peer.peer);
        for (what, all) in [("all queries", true), ("queries that cost Prometheus over 5 ms", false)] {
            let chosen: Vec<usize> =
                (0..panels.len()).filter(|i| all || dear.get(*i) == Some(&true)).collect();
            let mean = |of: fn(&Timing) -> f64| {
                let both = chosen.iter().map(|i| (&peer.timings[*i], &ours.timings[*i]));
                geometric_mean(
                    both.filter(|(p, o)| p.answer.is_ok() && o.answer.is_ok()).map(|(p, o)| of(p) / of(o)),
                )
            };
            let (cold, warm, cpu) = (mean(|t| t.cold), mean(|t| t.warm), mean(|t| t.cpu));
            println!("- {what} ({}): cold {cold:.2}x, warm {warm:.2}x, CPU {cpu:.2}x", chosen.len());
        }
        let heaviest = |c: &Column| c.timings.iter().map(|t| t.peak_bytes).max().unwrap_or(0);
        println!(
            "- peak memory in its heaviest query: {:.2}x",
            heaviest(peer) as f64 / heaviest(ours).max(1) as f64
        );
        let slower: Vec<&str> = (0..panels.len())
            .filter(|i| ours.timings[*i].warm > peer.timings[*i].warm.max(SLACK))
            .map(|i| panels[i].name.as_str())
            .collect();
        println!("- ours is slower, warm, in {}: {}", slower.len(), slower.join("; "));
    }
}

/// Names every query that ours answers otherwise than Prometheus; false when there is one.
fn compare(panels: &[Panel], columns: &[Column]) -> bool {
    let of = |kind| columns.iter().find(|c| c.kind == kind);
    let (Some(ours), Some(theirs)) = (of(Kind::Pyrrha), of(Kind::Prometheus)) else { return true };
    let mut same = 0;
    for ((panel, a), b) in panels.iter().zip(&ours.timings).zip(&theirs.timings) {
        let why = match (&a.answer, &b.answer) {
            (Ok(a), Ok(b)) => difference(a, b, TOLERANCE),
            (Err(_), Err(_)) => None,
            (Err(why), Ok(_)) => Some(format!("ours refuses: {why}")),
            (Ok(_), Err(why)) => Some(format!("{} refuses: {why}", theirs.peer)),
        };
        match why {
            None => same += 1,
            Some(why) => println!("DIFFERS {} ({}): {why}", panel.name, panel.query),
        }
    }
    println!("answers equal to {} within {TOLERANCE:e}: {same} of {}", theirs.peer, panels.len());
    same == panels.len()
}
