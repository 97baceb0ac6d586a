//! Benchmarks beside the peers: starts each as a receiver, sends it the same remote-write load and prints
//! CPU, memory, log bytes and restart time as one table.
//!
//! Usage: `bench receive [--small] [--only NAME] [--pyrrha PATH]`. All traffic stays on loopback.
#![forbid(unsafe_code)]

mod peers;
mod receive;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| args.iter().position(|a| a == flag).and_then(|i| args.get(i + 1)).cloned();
    let pyrrha = value("--pyrrha").map_or_else(|| PathBuf::from("target/release/pyrrha"), PathBuf::from);
    let only = value("--only");
    let cases = receive::cases(args.iter().any(|a| a == "--small"), value("--case").as_deref());
    match args.first().map(String::as_str) {
        Some("receive") => receive::run(&pyrrha, only.as_deref(), &cases),
        _ => {
            eprintln!("usage: bench receive [--small] [--case NAME] [--only NAME] [--pyrrha PATH]");
            ExitCode::from(2)
        }
    }
}
