//! The command line of the tools: what clap is told, and its errors in kingpin's words.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use model::duration::parse_duration;
use std::path::Path;

fn arg(name: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("value")
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

fn several(name: &'static str) -> Arg {
    arg(name).action(ArgAction::Append)
}

fn word(name: &'static str) -> Arg {
    Arg::new(name).required(true)
}

/// Go's notation as promtool reads it, or days and more as Prometheus writes them; in ms.
fn duration(text: &str) -> Result<i64, String> {
    crate::flags::go_duration_ns(text)
        .map(|ns| ns / 1_000_000)
        .or_else(|e| parse_duration(text).map_err(|_| e))
}

fn existing(text: &str) -> Result<String, String> {
    use disk::Disk;
    match disk::OsDisk.exists(Path::new(text)) {
        true => Ok(text.to_owned()),
        false => Err(format!("path '{text}' does not exist")),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=').or_else(|| text.split_once(':')) {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("expected KEY=VALUE got '{text}'")),
    }
}

fn existing_files(name: &'static str, required: bool) -> Arg {
    Arg::new(name).required(required).action(ArgAction::Append).num_args(1..).value_parser(existing)
}

fn http_config() -> Arg {
    arg("http.config.file").value_parser(existing).help("HTTP client configuration file")
}

fn group(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).subcommand_required(true)
}

fn lint_flags(command: Command, options: &'static str) -> Command {
    command
        .arg(arg("lint").default_value("duplicate-rules").help(options))
        .arg(flag("lint-fatal").help("Make lint errors exit with exit code 3"))
        .arg(flag("ignore-unknown-fields").help("Ignore unknown fields in rule groups"))
}

/// All tools.
pub(crate) fn command(program: &str) -> Command {
    Command::new(program.to_owned())
        .about("Tooling for the Prometheus monitoring system.")
        .subcommand_required(true)
        .disable_help_subcommand(false)
        .arg(flag("experimental").global(true).help("Enable experimental commands"))
        .arg(several("enable-feature").global(true).help("Comma separated feature names to enable"))
        .subcommand(check())
        .subcommand(query())
        .subcommand(debug())
        .subcommand(push())
        .subcommand(test())
        .subcommand(tsdb())
        .subcommand(promql())
}

fn check() -> Command {
    let server = |name, about| {
        Command::new(name)
            .about(about)
            .arg(http_config())
            .arg(arg("url").default_value("http://localhost:9090").help("The URL for the server"))
    };
    let config = Command::new("config")
        .about("Check if the config files are valid or not.")
        .arg(existing_files("config-files", true))
        .arg(flag("syntax-only").help("Only check the syntax, not the files that it names"))
        .arg(flag("agent").help("Check config file for agent mode"));
    let rules = Command::new("rules")
        .about("Check if the rule files are valid or not; without files, standard input is checked.")
        .arg(existing_files("rule-files", false));
    group("check", "Check the resources for validity.")
        .arg(
            arg("query.lookback-delta")
                .global(true)
                .default_value("5m")
                .value_parser(duration)
                .help("The server's maximum query lookback duration"),
        )
        .subcommand(
            Command::new("service-discovery")
                .about("Perform service discovery for a job (not built in this version).")
                .arg(word("config-file").value_parser(existing))
                .arg(word("job"))
                .arg(arg("timeout").default_value("30s").value_parser(duration)),
        )
        .subcommand(lint_flags(
            config,
            "Linting checks: all, duplicate-rules, none, too-long-scrape-interval (several with commas)",
        ))
        .subcommand(
            Command::new("web-config")
                .about("Check if the web config files are valid or not.")
                .arg(existing_files("web-config-files", true)),
        )
        .subcommand(server("healthy", "Check if the server is healthy."))
        .subcommand(server("ready", "Check if the server is ready."))
        .subcommand(lint_flags(rules, "Linting checks: all, duplicate-rules, none"))
        .subcommand(
            Command::new("metrics")
                .about("Pass metrics over stdin to lint them for consistency and correctness.")
                .arg(flag("extended").help("Print extended information on the cardinality of the metrics"))
                .arg(arg("lint").default_value("all").help("Linting checks to apply: all, none")),
        )
}

fn query() -> Command {
    let of_server = |name, about| Command::new(name).about(about).arg(word("server"));
    let times = |command: Command| {
        command
            .arg(arg("start").allow_hyphen_values(true).help("Start time (RFC3339 or Unix timestamp)"))
            .arg(arg("end").allow_hyphen_values(true).help("End time (RFC3339 or Unix timestamp)"))
    };
    let header = || several("header").value_parser(pair).help("Extra headers to send to server (name=value)");
    group("query", "Run query against a Prometheus server.")
        .arg(
            arg("format")
                .short('o')
                .global(true)
                .default_value("promql")
                .value_parser(["promql", "json"])
                .help("Output format of the query"),
        )
        .arg(http_config().global(true))
        .subcommand(
            of_server("instant", "Run instant query.")
                .arg(word("expr"))
                .arg(
                    arg("time").allow_hyphen_values(true).help("Evaluation time (RFC3339 or Unix timestamp)"),
                )
                .arg(header()),
        )
        .subcommand(times(
            of_server("range", "Run range query.")
                .arg(word("expr"))
                .arg(header())
                .arg(arg("step").value_parser(duration).help("Query step size (duration)")),
        ))
        .subcommand(times(
            of_server("series", "Run series query.").arg(
                several("match").required(true).help("Series selector. Can be specified multiple times"),
            ),
        ))
        .subcommand(times(
            of_server("labels", "Run labels query.")
                .arg(word("name"))
                .arg(several("match").help("Series selector. Can be specified multiple times")),
        ))
        .subcommand(
            Command::new("analyze")
                .about("Run queries against a server to analyze the usage pattern of certain metrics.")
                .arg(arg("server").required(true).help("The server to query"))
                .arg(arg("type").required(true).help("Type of metric: histogram"))
                .arg(arg("duration").default_value("1h").value_parser(duration).help("Time frame to analyze"))
                .arg(
                    arg("time")
                        .allow_hyphen_values(true)
                        .help("Query time (RFC3339 or Unix timestamp), default now"),
                )
                .arg(
                    several("match").required(true).help("Series selector. Can be specified multiple times"),
                ),
        )
}

fn debug() -> Command {
    let of = |name, about| Command::new(name).about(about).arg(word("server"));
    group("debug", "Fetch debug information.")
        .subcommand(of("pprof", "Fetch profiling debug information (not built in this version)."))
        .subcommand(of("metrics", "Fetch metrics debug information."))
        .subcommand(of("all", "Fetch all debug information (not built in this version)."))
}

fn push() -> Command {
    group("push", "Push to a Prometheus server.").arg(http_config().global(true)).subcommand(
        Command::new("metrics")
            .about("Push metrics to a prometheus remote write (for testing purpose only).")
            .arg(word("remote-write-url"))
            .arg(existing_files("metric-files", false))
            .arg(
                several("label")
                    .value_parser(pair)
                    .help("Label to attach to metrics [default: job=promtool]"),
            )
            .arg(arg("timeout").default_value("30s").value_parser(duration))
            .arg(several("header").value_parser(pair).help("Remote write header (name=value)"))
            .arg(arg("protobuf_message").default_value("prometheus.WriteRequest"))
            .arg(arg("remote-write.path").default_value("/api/v1/write")),
    )
}

fn test() -> Command {
    group("test", "Unit testing.")
        .arg(arg("junit").global(true).help("File path to store JUnit XML test results"))
        .subcommand(
            Command::new("rules")
                .about("Unit tests for rules.")
                .arg(existing_files("test-rule-file", true).help("The unit test file"))
                .arg(several("run").help(
                    "Run only tests whose name matches the regular expression. Can be specified multiple times",
                ))
                .arg(flag("debug").help("Print times of tests and all samples"))
                .arg(flag("diff").help("Print expected and received alerts as one text in colours"))
                .arg(flag("ignore-unknown-fields").help("Ignore unknown fields in the rule files")),
        )
}

fn tsdb() -> Command {
    let of_dir =
        |name, about| Command::new(name).about(about).arg(Arg::new("db path").default_value("data/"));
    let time = |name, default| {
        arg(name)
            .allow_hyphen_values(true)
            .default_value(default)
            .value_parser(clap::value_parser!(i64))
            .help("Milliseconds since the Unix epoch")
    };
    let dump = |command: Command| {
        command
            .arg(arg("sandbox-dir-root").help("Accepted; nothing is written"))
            .arg(time("min-time", "-9223372036854775808"))
            .arg(time("max-time", "9223372036854775807"))
            .arg(several("match").help("Series selector. Can be specified multiple times"))
    };
    let count = |name, default, help| {
        arg(name).default_value(default).value_parser(clap::value_parser!(usize)).help(help)
    };
    let readable = || flag("human-readable").short('r').help("Print human readable values");
    group("tsdb", "Run tsdb commands.")
        .subcommand(
            group("bench", "Run benchmarks.").subcommand(
                Command::new("write")
                    .about("Run a write performance benchmark.")
                    .arg(arg("out").default_value("benchout").help("Set the output path; what is there goes"))
                    .arg(count("metrics", "10000", "Number of metrics to read"))
                    .arg(count("scrapes", "3000", "Number of scrapes to simulate"))
                    .arg(Arg::new("file").help(
                        "Input file, one label set a line: {\"__name__\":\"a\",\"b\":\"c\"}; without it series are made up",
                    )),
            ),
        )
        .subcommand(
            of_dir("analyze", "Analyze churn, label pair cardinality and compaction efficiency.")
                .arg(Arg::new("block id"))
                .arg(
                    arg("limit")
                        .default_value("20")
                        .value_parser(clap::value_parser!(usize))
                        .help("How many items to show in each list"),
                )
                .arg(flag("extended").help("Run extended analysis"))
                .arg(arg("match").help("Series selector to analyze")),
        )
        .subcommand(of_dir("list", "List tsdb blocks.").arg(readable()))
        .subcommand(
            dump(of_dir("dump", "Dump data (series+samples or optionally just series) from a TSDB.")).arg(
                arg("format")
                    .default_value("prom")
                    .value_parser(["prom", "seriesjson"])
                    .help("Output format of the dump"),
            ),
        )
        .subcommand(dump(of_dir(
            "dump-openmetrics",
            "Dump samples from a TSDB into OpenMetrics text format.",
        )))
        .subcommand(
            of_dir("verify", "Read every block: index, postings, checksums and samples of all chunks.")
                .arg(flag("quiet").short('q').help("No progress")),
        )
        .subcommand(
            group("create-blocks-from", "Import samples from input and produce TSDB blocks.")
                .arg(readable().global(true))
                .arg(flag("quiet").short('q').global(true).help("Do not print created blocks"))
                .arg(arg("max-block-duration").global(true).hide(true).value_parser(duration))
                .subcommand(
                    Command::new("openmetrics")
                        .about("Import samples from OpenMetrics input and produce TSDB blocks.")
                        .arg(word("input file"))
                        .arg(Arg::new("output directory").default_value("data/"))
                        .arg(several("label").value_parser(pair).help("Label to attach (name=value)")),
                )
                .subcommand(
                    Command::new("rules")
                        .about("Create blocks of data for new recording rules.")
                        .arg(
                            existing_files("rule-files", true)
                                .help("Files with recording rules; alerting rules in them are left out"),
                        )
                        .arg(http_config())
                        .arg(
                            arg("url")
                                .default_value("http://localhost:9090")
                                .help("The server that has the data and evaluates the rules"),
                        )
                        .arg(
                            arg("start")
                                .required(true)
                                .help("The first time to evaluate (RFC3339 or Unix timestamp). Required"),
                        )
                        .arg(arg("end").help("The last time; three hours ago where it is left out"))
                        .arg(arg("output-dir").default_value("data/").help("Where blocks are written to"))
                        .arg(
                            arg("eval-interval")
                                .default_value("60s")
                                .value_parser(duration)
                                .help("How often to evaluate where the group does not say"),
                        ),
                ),
        )
}

fn promql() -> Command {
    group("promql", "PromQL formatting and editing. Requires the --experimental flag.")
        .subcommand(
            Command::new("format").about("Format PromQL query to pretty printed form.").arg(word("query")),
        )
        .subcommand(
            group("label-matchers", "Edit label matchers contained within an existing PromQL query.")
                .subcommand(
                    Command::new("set")
                        .about("Set a label matcher in the query.")
                        .arg(
                            arg("type")
                                .short('t')
                                .default_value("=")
                                .value_parser(["=", "!=", "=~", "!~"])
                                .help("Type of the label matcher to set"),
                        )
                        .arg(word("query"))
                        .arg(word("name"))
                        .arg(word("value")),
                )
                .subcommand(
                    Command::new("delete")
                        .about("Delete a label from the query.")
                        .arg(word("query"))
                        .arg(word("name")),
                ),
        )
}

/// The text of a refused command line, as kingpin words it.
pub(crate) fn message(e: &clap::Error) -> String {
    let text = |kind| match e.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(list)) => list.join(","),
        _ => String::new(),
    };
    // `<config-files>...` and `--match <value>`
    let bare = |shown: &str| {
        let shown = shown.split(" <value>").next().unwrap_or("");
        shown.trim_start_matches('<').trim_end_matches("...").trim_end_matches('>').to_owned()
    };
    let name = bare(&text(ContextKind::InvalidArg));
    match e.kind() {
        ErrorKind::UnknownArgument if name.starts_with("--") => format!("unknown long flag '{name}'"),
        ErrorKind::UnknownArgument if name.starts_with('-') => format!("unknown short flag '{name}'"),
        ErrorKind::UnknownArgument => format!("unexpected {name}"),
        ErrorKind::InvalidSubcommand => {
            format!(
                "expected command but got {}",
                model::labels::quote(&text(ContextKind::InvalidSubcommand))
            )
        }
        ErrorKind::MissingSubcommand => {
            let path = text(ContextKind::InvalidSubcommand);
            match path.split_once(' ') {
                Some((_, command)) => format!("must select a subcommand of '{command}'"),
                None => "command not specified".to_owned(),
            }
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = text(ContextKind::InvalidArg);
            let missing: Vec<String> = missing.split(',').map(bare).collect();
            let flags: Vec<String> =
                missing.iter().filter(|n| n.starts_with("--")).map(|n| format!("'{n}'")).collect();
            match flags.is_empty() {
                true => {
                    format!("required argument '{}' not provided", missing.first().map_or("", String::as_str))
                }
                false => format!("required flag(s) {} not provided", flags.join(", ")),
            }
        }
        ErrorKind::InvalidValue if !text(ContextKind::ValidValue).is_empty() => {
            let (allowed, got) = (text(ContextKind::ValidValue), text(ContextKind::InvalidValue));
            format!("enum value must be one of {allowed}, got '{got}'")
        }
        ErrorKind::InvalidValue => format!("expected argument for flag '{name}'"),
        ErrorKind::ValueValidation => std::error::Error::source(e)
            .map_or_else(|| format!("invalid value of '{name}'"), ToString::to_string),
        ErrorKind::ArgumentConflict => format!("flag '{name}' cannot be repeated"),
        _ => e.to_string().lines().next().unwrap_or("").trim_start_matches("error: ").to_owned(),
    }
}
