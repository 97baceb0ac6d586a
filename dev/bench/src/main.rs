//! Benchmarks beside the peers: starts each with the same load and prints CPU, memory and times as tables.
//!
//! Usage: `bench receive|scrape|agent|query|compact|disk [--small] [--case NAME] [--only NAME] [--pyrrha PATH]
//! [--cores N]`. All traffic stays on loopback; `--cores` is for `query`.
#![forbid(unsafe_code)]

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

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| args.iter().position(|a| a == flag).and_then(|i| args.get(i + 1)).cloned();
    let pyrrha = value("--pyrrha").map_or_else(|| PathBuf::from("target/release/pyrrha"), PathBuf::from);
    let (only, case) = (value("--only"), value("--case"));
    let cores = value("--cores").and_then(|n| n.parse().ok());
    let small = args.iter().any(|a| a == "--small");
    match args.first().map(String::as_str) {
        Some("receive") => receive::run(&pyrrha, only.as_deref(), &receive::cases(small, case.as_deref())),
        Some("scrape") => scrape::run(Mode::Store, &pyrrha, only.as_deref(), small),
        Some("agent") => scrape::run(Mode::Forward, &pyrrha, only.as_deref(), small),
        Some("query") => query::run(&pyrrha, only.as_deref(), case.as_deref(), small, cores),
        Some("compact") => compact::run(&pyrrha, only.as_deref(), small),
        Some("disk") => disk::run(&pyrrha, only.as_deref(), case.as_deref(), small),
        _ => {
            eprintln!(
                "usage: bench receive|scrape|agent|query|compact|disk [--small] [--case NAME] [--only NAME] [--pyrrha PATH] [--cores N]"
            );
            ExitCode::from(2)
        }
    }
}
