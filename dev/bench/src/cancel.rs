//! How soon work ends after its client has gone: dear requests whose connections are closed at random times.
//!
//! Seen from outside: the CPU time of the process is read every millisecond, and work has ended at the last reading
//! that found some. The gauge `prometheus_engine_queries` is polled instead in every second run, where it counts.

use crate::panels::escape;
use crate::peers::{self, Kind};
use crate::query::{Case, STEP_MS, fill, now_ms, settle};
use crate::workload::{mix, targets};
use e2e::http::Connection;
use e2e::process::{Process, free_port};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs of each shape with either way to look.
const RUNS: u64 = 15;
/// Between two readings of the CPU time.
const TICK: Duration = Duration::from_millis(1);
/// A process that uses less than this part of a core is done.
const BUSY: f64 = 0.25;
/// How long it must be so.
const QUIET: Duration = Duration::from_millis(150);

struct Shape {
    name: &'static str,
    path: String,
    /// The reply is read up to somewhere within its first megabytes before the connection is closed.
    within_reply: bool,
}

fn shapes(end: i64) -> Vec<Shape> {
    let mut all = Vec::new();
    let mut put = |name, path: String, within_reply| all.push(Shape { name, path, within_reply });
    let hour = |query: &str, step: i64| {
        format!("/api/v1/query_range?query={}&start={}&end={end}&step={step}", escape(query), end - 3600)
    };
    let now = |query: &str| format!("/api/v1/query?query={}&time={end}", escape(query));
    let any = r#"{__name__=~".+"}"#;
    // Of one name: functions drop it.
    let bucket = "http_server_request_duration_seconds_bucket";
    put("rates of buckets", hour(&format!("sum by (instance) (rate({bucket}[5m]))"), 15), false);
    put("quantile of all", hour(&format!("quantile(0.9, {any})"), 60), false);
    put("long subquery", now(&format!("max_over_time(sum by (le) (rate({bucket}[5m]))[50m:5s])")), false);
    put("quantiles over time", hour(&format!("sum(quantile_over_time(0.9, {bucket}[30m]))"), 15), false);
    put("regex over all values", now(r#"count({pod=~".*(a|1|e).*[0-9]+.*(7|x|w).*[a-z]?.*2.*"})"#), false);
    put("sort of all", now(&format!("sort_desc({any})")), false);
    put("sort by labels", now(&format!(r#"sort_by_label_desc({any}, "instance", "pod", "le")"#)), false);
    put("topk of all", hour(&format!("topk(5000, {any})"), 60), false);
    put("count_values", now(&format!(r#"count_values("v", {any})"#)), false);
    put(
        "label_replace of all",
        hour(&format!(r#"count(label_replace({any}, "x", "$2-$1", "instance", "(.*)[.](.*):.*"))"#), 60),
        false,
    );
    put("and of all", hour(&format!("count({any} and {any})"), 60), false);
    put("or of all", hour(&format!("{any} or {any} > 3"), 60), false);
    put("raw hour of all", now(&format!("{any}[1h]")), false);
    put("raw hour of all, within the reply", now(&format!("{any}[1h]")), true);
    put("graph of all", hour(any, 15), false);
    put("graph of all, within the reply", hour(any, 15), true);
    let find = escape(any);
    put("/series of all", format!("/api/v1/series?match[]={find}"), false);
    put("/series of all, two matchers", format!("/api/v1/series?match[]={find}&match[]={find}"), false);
    put("/series of all, within the reply", format!("/api/v1/series?match[]={find}"), true);
    put("/labels of all", format!("/api/v1/labels?match[]={find}"), false);
    put("/label/pod/values of all", format!("/api/v1/label/pod/values?match[]={find}"), false);
    all
}

/// Loads 100k series x 60 samples and prints a table; nothing is asserted.
pub fn run(pyrrha: &Path, only: Option<&str>, case: Option<&str>, small: bool) -> ExitCode {
    let load = Case { name: "cancel", targets: if small { 20 } else { 100 }, rounds: 60 };
    let mut failed = false;
    for peer in peers::at_hand(pyrrha.to_owned()) {
        let wanted = only.map_or(peer.kind == Kind::Pyrrha, |o| peer.name.to_lowercase().contains(o));
        if !wanted || peer.kind == Kind::VictoriaMetrics {
            continue;
        }
        if let Err(why) = measure(&peer, &load, case) {
            eprintln!("bench: {}: {why}", peer.name);
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn measure(peer: &peers::Peer, load: &Case, case: Option<&str>) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let data = dir.path().join("data");
    std::fs::write(dir.path().join("data.yml"), "global: {}\n").map_err(|e| e.to_string())?;
    let address = format!("127.0.0.1:{}", free_port());
    let mut args = peer.args(&data, &address);
    args.push("--query.max-samples=500000000".into());
    args.push("--enable-feature=promql-experimental-functions".into());
    let mut process =
        Process::start(&peer.program, &args, &address, &dir.path().join("log")).map_err(|e| e.to_string())?;
    process.wait_ready(peer.ready_path())?;
    let end_ms = now_ms() / STEP_MS * STEP_MS - 2 * STEP_MS;
    fill(load, &targets(load.targets, 1000, 0), &address, end_ms)?;
    settle(&process);
    println!("\n## cancel ({}, {} series x {} samples)", peer.name, load.targets * 1000, load.rounds);
    println!(
        "| ms after the client has gone | first byte | CPU ends: median | max | gauge falls: median | max |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for shape in shapes(end_ms / 1000).iter().filter(|s| case.is_none_or(|c| s.name.contains(c))) {
        let row = one_shape(&process, &address, peer.kind, shape).map_err(|e| e.to_string())?;
        println!("| {} | {row} |", shape.name);
    }
    process.terminate();
    Ok(())
}

fn one_shape(process: &Process, address: &str, kind: Kind, shape: &Shape) -> std::io::Result<String> {
    let mut seed = 7;
    let mut random = || {
        seed = mix(seed);
        (seed >> 11) as f64 / (1u64 << 53) as f64
    };
    // Once in full, to know how long it takes.
    let begun = Instant::now();
    let mut stream = ask(address, &shape.path)?;
    let mut first = [0; 12];
    stream.read_exact(&mut first)?;
    let whole = begun.elapsed();
    if !first.ends_with(b"200") {
        let mut rest = [0; 1024];
        let len = stream.read(&mut rest)?;
        let text = String::from_utf8_lossy(&rest[..len]).replace("\r\n", " ");
        return Ok(format!("{}: {}{text}", whole.as_millis(), String::from_utf8_lossy(&first)));
    }
    drop(stream);
    quiet(process);
    let (mut by_cpu, mut by_gauge) = (Vec::new(), Vec::new());
    let gauged = kind == Kind::Pyrrha && shape.path.contains("/query") && !shape.within_reply;
    for run in 0..RUNS * if gauged { 2 } else { 1 } {
        let mut stream = ask(address, &shape.path)?;
        if shape.within_reply {
            let mut part = vec![0; (random() * 3e6) as usize + 1];
            let _ = stream.read_exact(&mut part);
        } else {
            std::thread::sleep(whole.mul_f64(0.02 + random() * 0.9));
        }
        let with_gauge = gauged && run % 2 == 1;
        let mut watcher = if with_gauge { Some(Connection::open(address)?) } else { None };
        drop(stream);
        let closed = Instant::now();
        match &mut watcher {
            Some(connection) => by_gauge.push(gauge_falls(connection, closed)?),
            None => by_cpu.push(work_ends(process, closed)),
        }
        quiet(process);
    }
    let figures = |list: &mut Vec<Duration>| {
        list.sort();
        let ms = |d: &Duration| format!("{:.0}", d.as_secs_f64() * 1e3);
        match list.last() {
            Some(last) => format!("{} | {}", ms(&list[list.len() / 2]), ms(last)),
            None => "- | -".into(),
        }
    };
    Ok(format!("{} | {} | {}", whole.as_millis(), figures(&mut by_cpu), figures(&mut by_gauge)))
}

fn ask(address: &str, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
    Ok(stream)
}

/// Time from `closed` to the last reading that found work.
fn work_ends(process: &Process, closed: Instant) -> Duration {
    let (mut at, mut cpu) = (closed, process.cpu_ns());
    let mut ended = Duration::ZERO;
    while at.duration_since(closed) < ended + QUIET {
        std::thread::sleep(TICK);
        let (now, used) = (Instant::now(), process.cpu_ns());
        if used.saturating_sub(cpu) as f64 > BUSY * now.duration_since(at).as_nanos() as f64 {
            ended = now.duration_since(closed);
        }
        (at, cpu) = (now, used);
    }
    ended
}

fn gauge_falls(connection: &mut Connection, closed: Instant) -> std::io::Result<Duration> {
    loop {
        let reply = connection.get("/metrics?name[]=prometheus_engine_queries")?;
        let text = String::from_utf8_lossy(&reply.body);
        if text.lines().any(|line| line == "prometheus_engine_queries 0") {
            return Ok(closed.elapsed());
        }
    }
}

fn quiet(process: &Process) {
    let now = Instant::now();
    work_ends(process, now);
}
