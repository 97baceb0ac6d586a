//! Benchmarks beside the peers: starts each with the same load and prints CPU, memory and times as tables.
//!
//! All traffic stays on loopback. `bench --help` lists the kinds and flags.
#![forbid(unsafe_code)]

mod cancel;
mod compact;
mod compare;
mod disk;
mod native;
mod panels;
mod peers;
mod poster;
mod query;
mod receive;
mod scrape;
mod serve;
mod workload;

use scrape::Mode;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: bench KIND [FLAGS]

  receive   remote write: known series, first sight, memory, restart
  scrape    targets into storage
  agent     targets to a destination
  query     queries of dashboards
  cancel    how long work goes on when its client has gone
  compact   a head of two hours becomes blocks
  disk      bytes of compacted blocks

  --small           less data: for a look, not for figures
  --case NAME       only cases whose name starts with this (receive, query, disk; cancel: that have it in them)
  --only NAME       only programs whose name has this in it, in lower case
  --pyrrha PATH     our binary (target/release/pyrrha)
  --cores N         every program may use N cores (query)

PYRRHA_PEERS is a folder of unpacked packages of peers; without it those that are installed are used.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--help" || a == "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let (mut pyrrha, mut only, mut case, mut cores, mut small) = (None, None, None, None, false);
    let mut rest = args.get(1..).unwrap_or_default().iter();
    while let Some(flag) = rest.next() {
        match (flag.as_str(), rest.as_slice().first()) {
            ("--small", _) => {
                small = true;
                continue;
            }
            ("--pyrrha", Some(value)) => pyrrha = Some(PathBuf::from(value)),
            ("--only", Some(value)) => only = Some(value.as_str()),
            ("--case", Some(value)) => case = Some(value.as_str()),
            ("--cores", Some(value)) if value.parse::<usize>().is_ok() => cores = value.parse().ok(),
            _ => return refuse(&format!("unknown flag or missing value: {flag}")),
        }
        rest.next();
    }
    let pyrrha = pyrrha.unwrap_or_else(|| PathBuf::from("target/release/pyrrha"));
    match args.first().map(String::as_str) {
        Some("receive") => receive::run(&pyrrha, only, &receive::cases(small, case)),
        Some("scrape") => scrape::run(Mode::Store, &pyrrha, only, small),
        Some("agent") => scrape::run(Mode::Forward, &pyrrha, only, small),
        Some("query") => query::run(&pyrrha, only, case, small, cores),
        Some("cancel") => cancel::run(&pyrrha, only, case, small),
        Some("compact") => compact::run(&pyrrha, only, small),
        Some("disk") => disk::run(&pyrrha, only, case, small),
        other => refuse(&other.map_or("say what to measure".into(), |kind| format!("unknown kind: {kind}"))),
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("bench: {why}\n\n{USAGE}");
    ExitCode::from(2)
}
