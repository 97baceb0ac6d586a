//! `pyrrha <tool>`: the commands of promtool, with its flags, texts and exit codes. The second binary, `promtool`,
//! is nothing but this module under the name that scripts expect.

/// `println!` and `print!` that do not panic when the reader of a pipe has seen enough.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}
macro_rules! put {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stdout(), $($text)*);
    }};
}

mod analyze;
mod backfill;
mod backfill_rules;
mod bench_write;
mod blocks;
mod buckets;
mod check;
mod check_rules;
mod cli;
mod client;
mod debug;
mod dump;
mod head;
mod lint;
mod print;
mod progress;
mod promql;
mod push;
mod query;
mod rule_files;
mod test_rules;
mod text;
mod verify;

use clap::ArgMatches;
use clap::error::ErrorKind;
use std::fmt::Display;
use std::process::ExitCode;

pub(crate) const FAILED: u8 = 1;
/// "One or more lint issues detected."
pub(crate) const LINT: u8 = 3;

/// The tools with one line each, for help texts.
pub(crate) const TOOLS: [(&str, &str); 7] = [
    ("check", "config, rules, web-config, healthy, ready, metrics: is it valid, does it run?"),
    ("query", "instant, range, series, labels, analyze: ask a server"),
    ("debug", "metrics: collect what a server says of itself"),
    ("push", "metrics: send text to a receiver"),
    ("test", "rules: unit tests of rules and expressions"),
    ("tsdb", "list, analyze, dump, dump-openmetrics, create-blocks-from, verify, bench: a data directory"),
    ("promql", "format, label-matchers: edit queries (with --experimental)"),
];

/// Whether the first word of a command line is a tool's.
pub(crate) fn is_tool(word: &str) -> bool {
    TOOLS.iter().any(|(name, _)| *name == word)
}

/// Runs one command; gives its exit code. `program` is what it is called in messages.
pub(crate) fn run(program: &str, args: &[String]) -> u8 {
    if args.iter().any(|a| a == "--version") {
        put!("{}", crate::version::text().replacen("prometheus,", "promtool,", 1));
        return 0;
    }
    let command = cli::command(program);
    // The rest of a short flag is its value, `=` included: `-t=~`.
    let args = args.iter().flat_map(|arg| match arg.strip_prefix("-t") {
        Some(value) if value.starts_with('=') => vec!["-t".to_owned(), value.to_owned()],
        _ => vec![arg.clone()],
    });
    let argv: Vec<String> = std::iter::once(program.to_owned()).chain(args).collect();
    match command.clone().try_get_matches_from(&argv) {
        Ok(found) => dispatch(&found),
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp) => {
            put!("{e}");
            0
        }
        Err(e) => {
            let e = missing_value(&command, &argv)
                .filter(|_| e.kind() == ErrorKind::UnknownArgument)
                .unwrap_or(e);
            eprintln!("{program}: error: {}, try --help", cli::message(&e));
            FAILED
        }
    }
}

/// What is wrong with a flag that is followed by another one in the place of its value: `--step -5s`.
fn missing_value(command: &clap::Command, argv: &[String]) -> Option<clap::Error> {
    let at = argv.windows(2).position(|two| two[0].starts_with("--") && two[1].starts_with('-'))?;
    let error = command.clone().try_get_matches_from(&argv[..=at]).err()?;
    (error.kind() == ErrorKind::InvalidValue).then_some(error)
}

/// The program `promtool`: its whole command line is a tool's.
pub fn promtool(args: &[String]) -> ExitCode {
    let program = args.first().and_then(|a| a.rsplit('/').next()).unwrap_or("promtool");
    ExitCode::from(run_all(program, args.get(1..).unwrap_or_default()))
}

/// As [`run`], and the help text without arguments.
pub(crate) fn run_all(program: &str, args: &[String]) -> u8 {
    if args.is_empty() {
        let _ = cli::command(program).print_help();
        return 0;
    }
    run(program, args)
}

fn dispatch(all: &ArgMatches) -> u8 {
    let mut path = Vec::new();
    let mut m = all;
    while let Some((name, inner)) = m.subcommand() {
        path.push(name);
        m = inner;
    }
    match path.as_slice() {
        ["check", "config"] => check::config(m),
        ["check", "web-config"] => check::web_config(m),
        ["check", "rules"] => check_rules::rules(m),
        ["check", "healthy"] => check::server(m, "/-/healthy"),
        ["check", "ready"] => check::server(m, "/-/ready"),
        ["check", "metrics"] => lint::metrics(m),
        ["query", "instant"] => query::instant(m),
        ["query", "range"] => query::range(m),
        ["query", "series"] => query::series(m),
        ["query", "labels"] => query::labels(m),
        ["query", "analyze"] => buckets::analyze(m),
        ["tsdb", "list"] => blocks::list(m),
        ["debug", "metrics"] => debug::metrics(m),
        ["push", "metrics"] => push::metrics(m),
        ["tsdb", "analyze"] => analyze::analyze(m),
        ["tsdb", "dump"] => dump::dump(m),
        ["tsdb", "dump-openmetrics"] => dump::openmetrics(m),
        ["tsdb", "verify"] => verify::verify(m),
        ["tsdb", "create-blocks-from", "openmetrics"] => backfill::openmetrics(m),
        ["tsdb", "create-blocks-from", "rules"] => backfill_rules::rules(m),
        ["tsdb", "bench", "write"] => bench_write::write(m),
        ["test", "rules"] => test_rules::rules(m),
        ["promql", "format"] => promql::format(m),
        ["promql", "label-matchers", "set"] => promql::set(m),
        ["promql", "label-matchers", "delete"] => promql::delete(m),
        other => failed(format_args!("{}: not built in this version", other.join(" "))),
    }
}

/// A text on stderr and promtool's exit code for failures.
pub(crate) fn failed(e: impl Display) -> u8 {
    eprintln!("{e}");
    FAILED
}

/// Values of an option that may be given several times.
pub(crate) fn many<'a>(m: &'a ArgMatches, name: &str) -> Vec<&'a str> {
    m.get_many::<String>(name).into_iter().flatten().map(String::as_str).collect()
}

/// A value; empty when it was left out.
pub(crate) fn one<'a>(m: &'a ArgMatches, name: &str) -> &'a str {
    m.get_one::<String>(name).map_or("", String::as_str)
}
