//! From the command line to a running mode, with upstream's texts and exit codes.

use crate::flags::{self, Settings, UsageError};
use crate::{demo, house, process, telemetry, tool, version};
use disk::OsDisk;
use disk::small::read_text;
use std::path::Path;

/// Longest `@file` of arguments.
const MAX_ARGS_BYTES: u64 = 1 << 20;

/// Runs the program; gives its exit code. `args` begins with the program's name.
pub fn run(args: Vec<String>) -> u8 {
    let program = args.first().and_then(|a| a.rsplit('/').next()).unwrap_or("pyrrha").to_owned();
    let args = args.get(1..).unwrap_or_default();
    if program == "promtool" {
        // A link of that name.
        return tool::run_all(&program, args);
    }
    match args.first().map(String::as_str) {
        Some("demo") => run_demo(&args[1..]),
        Some("help") => match args.get(1) {
            Some(word) if tool::is_tool(word) => tool::run(&program, args),
            _ => run_house(&program, &["--help".to_owned()]),
        },
        Some(word) if tool::is_tool(word) => tool::run(&program, args),
        _ => run_house(&program, args),
    }
}

fn read_args(path: &str) -> Result<String, String> {
    read_text(&OsDisk, Path::new(path), MAX_ARGS_BYTES).map_err(|e| e.to_string())
}

fn run_house(program: &str, args: &[String]) -> u8 {
    let parsed = match flags::parse(args, &read_args) {
        Ok(parsed) => parsed,
        Err(e) => return refuse(program, &e),
    };
    if parsed.help {
        print!("{}", flags::usage(program));
        return 0;
    }
    if parsed.version {
        print!("{}", version::text());
        return 0;
    }
    if parsed.yes("write-documentation") {
        print!("{}", flags::markdown());
        return 0;
    }
    let settings = match Settings::from_flags(&parsed, &|| process::hostname(&OsDisk)) {
        Ok(settings) => settings,
        Err(e) => {
            eprintln!("{e}");
            return e.code;
        }
    };
    telemetry::init(&settings.log_level, settings.log_json);
    for note in &settings.notes {
        match (&note.option, note.warning) {
            (Some(option), _) => tracing::warn!(option, "{}", note.text),
            (None, true) => tracing::warn!("{}", note.text),
            (None, false) => tracing::info!("{}", note.text),
        }
    }
    on_runtime(house::run(settings))
}

/// kingpin prints the shape error twice and stops with 1; for a bad value it shows the usage and stops with 2.
fn refuse(program: &str, e: &UsageError) -> u8 {
    eprintln!("Error parsing command line arguments: {e}");
    match e {
        UsageError::Shape(_) => {
            eprintln!("{program}: error: {e}");
            1
        }
        UsageError::Value(_) => {
            print!("{}", flags::usage(program));
            2
        }
    }
}

fn run_demo(args: &[String]) -> u8 {
    let options = match demo::parse(args) {
        Ok(options) => options,
        Err((text, 0)) => {
            print!("{text}");
            return 0;
        }
        Err((text, code)) => {
            eprint!("{text}");
            return code;
        }
    };
    on_runtime(async {
        match demo::run(options).await {
            Ok(()) => 0,
            Err(e) => {
                eprintln!("\ndemo: {e:#}");
                1
            }
        }
    })
}

fn on_runtime(work: impl Future<Output = u8>) -> u8 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // Everything with an owner was awaited; a blocked read of standard input may be left.
            runtime.shutdown_background();
            code
        }
        Err(e) => {
            eprintln!("cannot start the runtime: {e}");
            1
        }
    }
}
