//! Scraping every second, into storage or as an agent that forwards to a sink which forgets.

use crate::peers::{self, Kind, Peer};
use crate::serve::{self, Counts};
use crate::workload::pages;
use e2e::process::{Process, dir_bytes, free_port};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a program does with what it scrapes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Store,
    Forward,
}

const PER_TARGET: usize = 1000;
/// Rendered pages of one target, served in turn.
const ROUNDS: u64 = 16;

struct Row {
    peer: String,
    kind: Kind,
    cpu_per_million: f64,
    rss: u64,
    peak: u64,
    /// Scrapes that were made, of those that the interval asks for.
    made: f64,
    written_per_sample: f64,
    sent_per_sample: f64,
    requests: u64,
}

pub fn run(mode: Mode, pyrrha: &Path, only: Option<&str>, small: bool) -> ExitCode {
    let (count, warm_up, span) = if small { (10, 4, 8) } else { (50, 15, 45) };
    let word = if mode == Mode::Store { "scrape" } else { "agent" };
    println!("\n## {word}: {count} targets x {PER_TARGET} series every second for {span} s");
    let peers = match mode {
        Mode::Store => peers::at_hand(pyrrha.to_owned()),
        Mode::Forward => peers::agents_at_hand(pyrrha.to_owned()),
    };
    let scraped = Arc::new(Counts::default());
    let address = serve::targets(pages(count, PER_TARGET, ROUNDS), scraped.clone());
    let mut rows = Vec::new();
    let mut failed = false;
    for peer in peers.iter().filter(|p| only.is_none_or(|o| p.name.to_lowercase().contains(o))) {
        eprintln!("bench: {word} / {}", peer.name);
        let spans = (Duration::from_secs(warm_up), Duration::from_secs(span));
        match measure(mode, peer, count, &address, &scraped, spans) {
            Ok(row) => rows.push(row),
            Err(why) => {
                eprintln!("bench: {}: {why}", peer.name);
                failed = true;
            }
        }
    }
    print_table(mode, &rows);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Configuration that all programs understand: the targets differ by path and carry the labels of their places.
fn config(count: usize, address: &str, sink: Option<&str>) -> String {
    let mut text = String::from(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  external_labels: {replica: a}\n",
    );
    text.push_str("scrape_configs:\n- job_name: bench\n  static_configs:\n");
    for t in 0..count {
        let _ = writeln!(
            text,
            "  - targets: ['{address}']\n    labels: {{__metrics_path__: /t/{t}, instance: '10.0.0.{t}:9100', \
             cluster: prod-eu-west-1, namespace: team-{}, node: ip-10-0-0-{t}.eu-west-1.compute.internal}}",
            t % 7
        );
    }
    if let Some(sink) = sink {
        let _ = writeln!(text, "remote_write:\n- url: http://{sink}/api/v1/write");
    }
    text
}

fn arguments(mode: Mode, peer: &Peer, dir: &Path, address: &str, sink: &str) -> Vec<String> {
    let (config, data) = (dir.join("data.yml").display().to_string(), dir.join("data"));
    match (mode, peer.kind) {
        (Mode::Store, Kind::VictoriaMetrics) => {
            let mut args = peer.args(&data, address);
            args.push(format!("-promscrape.config={config}"));
            args
        }
        (Mode::Store, _) => peer.args(&data, address),
        (Mode::Forward, Kind::VictoriaMetrics) => vec![
            format!("-promscrape.config={config}"),
            format!("-httpListenAddr={address}"),
            format!("-remoteWrite.url=http://{sink}/api/v1/write"),
            format!("-remoteWrite.tmpDataPath={}", data.display()),
            "-remoteWrite.forcePromProto".into(),
        ],
        (Mode::Forward, _) => vec![
            "--agent".into(),
            format!("--config.file={config}"),
            format!("--storage.agent.path={}", data.display()),
            format!("--web.listen-address={address}"),
            "--log.level=warn".into(),
        ],
    }
}

fn measure(
    mode: Mode,
    peer: &Peer,
    count: usize,
    targets: &str,
    scraped: &Counts,
    (warm_up, span): (Duration, Duration),
) -> Result<Row, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let sent = Arc::new(Counts::default());
    let sink = serve::sink(sent.clone());
    // vmagent takes the place to write to as a flag only.
    let in_config = mode == Mode::Forward && peer.kind != Kind::VictoriaMetrics;
    let text = config(count, targets, in_config.then_some(sink.as_str()));
    std::fs::write(dir.path().join("data.yml"), text).map_err(|e| e.to_string())?;
    let (address, log) = (format!("127.0.0.1:{}", free_port()), dir.path().join("log"));
    let args = arguments(mode, peer, dir.path(), &address, &sink);
    let why = |e: String| format!("{e}\n{}", std::fs::read_to_string(&log).unwrap_or_default());
    let mut process = Process::start(&peer.program, &args, &address, &log).map_err(|e| e.to_string())?;
    process.wait_ready(peer.ready_path()).map_err(why)?;
    std::thread::sleep(warm_up);
    let written = || dir_bytes(&dir.path().join("data"));
    let (usage, pages, bytes, requests, disk) =
        (process.usage(), scraped.requests(), sent.bytes(), sent.requests(), written());
    let begun = Instant::now();
    std::thread::sleep(span);
    let took = begun.elapsed().as_secs_f64();
    let after = process.usage();
    let samples = (scraped.requests() - pages) as f64 * PER_TARGET as f64;
    if samples == 0.0 {
        return Err(why("nothing was scraped".into()));
    }
    if sent.strange() > 0 {
        eprintln!("bench: {}: {} requests were not snappy", peer.name, sent.strange());
    }
    let row = Row {
        peer: peer.name.clone(),
        kind: peer.kind,
        cpu_per_million: (after.cpu_seconds - usage.cpu_seconds) / samples * 1e6,
        rss: after.rss_bytes,
        peak: after.peak_bytes,
        made: samples / PER_TARGET as f64 / (count as f64 * took),
        written_per_sample: written().saturating_sub(disk) as f64 / samples,
        sent_per_sample: (sent.bytes() - bytes) as f64 / samples,
        requests: sent.requests() - requests,
    };
    process.terminate();
    Ok(row)
}

fn print_table(mode: Mode, rows: &[Row]) {
    println!(
        "| program | CPU-s per M samples | RSS MB | peak MB | scrapes made | disk bytes/sample | sent bytes/sample | requests |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for r in rows {
        println!(
            "| {:<24} | {:.3} | {:.0} | {:.0} | {:.0} % | {:.2} | {:.2} | {} |",
            r.peer,
            r.cpu_per_million,
            r.rss as f64 / 1e6,
            r.peak as f64 / 1e6,
            r.made * 100.0,
            r.written_per_sample,
            r.sent_per_sample,
            r.requests
        );
    }
    let Some(ours) = rows.iter().find(|r| r.kind == Kind::Pyrrha) else { return };
    if mode == Mode::Forward && ours.requests == 0 {
        println!("ours sent nothing");
    }
    for peer in rows.iter().filter(|r| r.kind != Kind::Pyrrha) {
        println!(
            "| ours beside {} | 1/{:.1} | 1/{:.1} | 1/{:.1} | | | | |",
            peer.peer,
            peer.cpu_per_million / ours.cpu_per_million,
            peer.rss as f64 / ours.rss as f64,
            peer.peak as f64 / ours.peak as f64
        );
    }
}
