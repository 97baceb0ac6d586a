//! The large run of the differential test: see `--help`.

use e2e::differential::run::{FEATURES, Outcome, Pair, Request};
use e2e::peers::{Peer, version_of};
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
differential: random queries over the same data, put to Prometheus and to pyrrha

  --queries N     how many queries in all (default 20000)
  --seed N        what everything follows from (default 1)
  --peer PATH     the Prometheus to compare with (default: as the end-to-end tests find it)
  --pyrrha PATH   ours (default: PYRRHA_BIN, or the one built beside this program)
  --features NAME only one set of feature flags: all, none, functions, names, types, starts
  --spoiled N     percent of queries whose text is spoiled and only parsed (default 15)
  --most N        stop after so many differences (default 50)
  --query TEXT    ask only this, as instant query at --at SECONDS, and print what both say
  --serve         send the data and leave both running until Enter is pressed";

struct Options {
    queries: usize,
    seed: u64,
    peer: Option<PathBuf>,
    pyrrha: Option<PathBuf>,
    features: Option<String>,
    spoiled: usize,
    most: usize,
    query: Option<String>,
    at: f64,
    serve: bool,
}

fn options() -> Result<Options, String> {
    let mut out = Options {
        queries: 20_000,
        seed: 1,
        peer: None,
        pyrrha: None,
        features: None,
        spoiled: 15,
        most: 50,
        query: None,
        at: 1_700_006_400.0,
        serve: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--serve" {
            out.serve = true;
            continue;
        }
        if name == "--help" {
            return Err(HELP.to_owned());
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|e| format!("{name}: {e}"));
        match name.as_str() {
            "--queries" => out.queries = number()? as usize,
            "--seed" => out.seed = number()?,
            "--spoiled" => out.spoiled = number()? as usize,
            "--most" => out.most = number()? as usize,
            "--peer" => out.peer = Some(value.into()),
            "--pyrrha" => out.pyrrha = Some(value.into()),
            "--features" => out.features = Some(value),
            "--query" => out.query = Some(value),
            "--at" => out.at = value.parse().map_err(|e| format!("{name}: {e}"))?,
            _ => return Err(format!("unknown argument {name}\n\n{HELP}")),
        }
    }
    Ok(out)
}

fn run(options: &Options) -> Result<bool, String> {
    let ours = options.pyrrha.clone().unwrap_or_else(e2e::pyrrha);
    let peer = options.peer.clone().or_else(|| Peer::Prometheus.find()).ok_or("no prometheus found")?;
    println!("{} beside {} {}", ours.display(), peer.display(), version_of(&peer));
    let sets: Vec<_> =
        FEATURES.iter().filter(|f| options.features.as_ref().is_none_or(|name| name == f.name)).collect();
    let mut out = Outcome::default();
    for (i, features) in sets.iter().enumerate() {
        let mut pair = Pair::start(&ours, &peer, **features, options.seed)?;
        if options.serve {
            println!("{:?}; Enter ends them", pair.addresses());
            std::io::stdin().read_line(&mut String::new()).map_err(|e| e.to_string())?;
            return Ok(true);
        }
        if let Some(query) = &options.query {
            let request = Request::Instant { at: (options.at * 1000.0) as i64, more: "" };
            let (what, peer) = pair.ask(&request, query);
            println!("peer: {peer:#}\ndifference: {}", what.as_deref().unwrap_or("none"));
            return Ok(what.is_none());
        }
        let count = options.queries / sets.len();
        let seed = options.seed.wrapping_mul(1000) + i as u64;
        pair.compare(seed, count, options.spoiled, options.most, &mut out);
    }
    println!(
        "{} queries: {} with values, {} with errors, {} with annotations; {} unstable, {} ill-conditioned, {} of two kinds; \
         {} differences",
        out.queries,
        out.with_values,
        out.with_errors,
        out.with_annotations,
        out.unstable,
        out.ill_conditioned,
        out.two_kinds,
        out.finds.len()
    );
    Ok(out.finds.is_empty())
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}
