//! `test rules`: unit tests of rules and expressions.

mod diff;
mod file;
mod input;
mod junit;
mod run;
mod show;

use super::{FAILED, failed, many, one};
use clap::ArgMatches;
use disk::{Disk, OsDisk};
use file::TestFile;
use junit::Suite;
use std::path::Path;
use std::time::Instant;

/// What the command line says.
struct Options {
    /// Only tests whose name matches.
    run: Option<regex::Regex>,
    diff: bool,
    debug: bool,
    ignore_unknown_fields: bool,
    language: promql::Options,
    delayed_name_removal: bool,
}

/// The command.
pub(crate) fn rules(m: &ArgMatches) -> u8 {
    let junit = match one(m, "junit") {
        "" => None,
        path => match OsDisk.create(Path::new(path)) {
            Ok(file) => Some(file),
            Err(e) => return failed(e),
        },
    };
    let run = match many(m, "run").as_slice() {
        [] => None,
        patterns => match model::regexp::search(&patterns.join("|")) {
            Ok(run) => Some(run),
            Err(e) => return failed(e),
        },
    };
    let features = many(m, "enable-feature");
    let options = Options {
        run,
        diff: m.get_flag("diff"),
        debug: m.get_flag("debug"),
        ignore_unknown_fields: m.get_flag("ignore-unknown-fields"),
        language: super::promql::options(m),
        delayed_name_removal: features
            .iter()
            .flat_map(|list| list.split(','))
            .any(|name| name == "promql-delayed-name-removal"),
    };
    let mut suites = Vec::new();
    let mut code = 0;
    for name in many(m, "test-rule-file") {
        let mut suite = Suite::new(name);
        let errors = test_file(name, &options, &mut suite);
        suites.push(suite);
        if errors.is_empty() {
            say!("  SUCCESS");
        } else {
            eprintln!("  FAILED:");
            for e in errors {
                eprintln!("{e}");
                say!();
            }
            code = FAILED;
        }
        say!();
    }
    if let Some(file) = junit
        && let Err(e) = file.write_at(0, junit::xml(&suites).as_bytes())
    {
        eprintln!("failed to write JUnit XML: {e}");
    }
    code
}

/// What failed in a file.
fn test_file(name: &str, options: &Options, suite: &mut Suite) -> Vec<String> {
    let file = match file::read(name) {
        Ok(file) => file,
        Err(e) => {
            suite.abort(&e);
            return vec![e];
        }
    };
    suite.timestamp = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let mut errors = Vec::new();
    let TestFile { tests, .. } = &file;
    for (i, test) in tests.iter().enumerate() {
        if options.run.as_ref().is_some_and(|run| !run.is_match(&test.name)) {
            continue;
        }
        let name = if test.name.is_empty() { format!("unnamed#{i}") } else { test.name.clone() };
        suite.case(&name);
        let began = Instant::now();
        if options.debug {
            eprintln!("DEBUG: Starting test {name}");
        }
        let found = run::test(&file, test, options);
        if options.debug {
            eprintln!("DEBUG: Test {name} finished, took {:?}", began.elapsed());
        }
        found.iter().for_each(|e| suite.fail(e));
        errors.extend(found);
    }
    errors
}
