//! `check rules`, and the rule files of `check config`.

use super::{FAILED, LINT, many, one};
use ::rules::{GroupText, ReadOptions};
use clap::ArgMatches;
use disk::OsDisk;
use disk::small::{DEFAULT_LIMIT_BYTES, read_text};
use model::labels::quote;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// What checks of rules found, over all files.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) failed: bool,
    /// Other than lints.
    pub(crate) errors: bool,
}

/// How rule files are checked.
pub(crate) struct Checker {
    pub(crate) options: ReadOptions,
    pub(crate) duplicates: bool,
}

impl Checker {
    pub(crate) fn of(m: &ArgMatches, duplicates: bool) -> Checker {
        let ignore_unknown_fields = m.get_flag("ignore-unknown-fields");
        let language = super::promql::options(m);
        Checker { options: ReadOptions { language, ignore_unknown_fields }, duplicates }
    }

    pub(crate) fn file(&self, file: &str, findings: &mut Findings) {
        say!("Checking {file}");
        let read = read_text(&OsDisk, Path::new(file), DEFAULT_LIMIT_BYTES);
        let named = |errors: Vec<String>| errors.iter().map(|e| format!("{file}: {e}")).collect();
        let read = match read {
            Ok(text) => ::rules::parse(&text, self.options).map_err(named),
            Err(e) => Err(vec![format!("{file}: {e}")]),
        };
        if self.told(read, findings) {
            say!();
        }
    }

    fn input(&self, findings: &mut Findings) {
        say!("Checking standard input");
        let mut text = String::new();
        let limit = DEFAULT_LIMIT_BYTES;
        if let Err(e) = std::io::stdin().lock().take(limit).read_to_string(&mut text) {
            eprintln!("  FAILED: {e}");
            (findings.failed, findings.errors) = (true, true);
            return;
        }
        if self.told(::rules::parse(&text, self.options), findings) {
            say!();
        }
    }

    /// False when the file could not be read at all.
    fn told(&self, read: Result<Vec<GroupText>, Vec<String>>, findings: &mut Findings) -> bool {
        let groups = match read {
            Ok(groups) => groups,
            Err(errors) => {
                eprintln!("  FAILED:");
                errors.iter().for_each(|e| eprintln!("{e}"));
                (findings.failed, findings.errors) = (true, true);
                return false;
            }
        };
        let twice = if self.duplicates { duplicates(&groups) } else { Vec::new() };
        if twice.is_empty() {
            say!("  SUCCESS: {} rules found", groups.iter().map(|g| g.rules.len()).sum::<usize>());
            return true;
        }
        eprintln!("  FAILED:\nlint error {} duplicate rule(s) found.", twice.len());
        for (name, labels) in twice {
            eprintln!("Metric: {name}\nLabel(s):");
            labels.iter().for_each(|(n, v)| eprintln!("\t{n}: {v}"));
        }
        eprintln!("Might cause inconsistency while recording expressions");
        findings.failed = true;
        true
    }
}

/// Names and labels that more than one rule has, sorted.
fn duplicates(groups: &[GroupText]) -> Vec<(String, BTreeMap<String, String>)> {
    let mut seen: BTreeMap<(String, BTreeMap<String, String>), usize> = BTreeMap::new();
    for group in groups {
        for rule in &group.rules {
            let name = if rule.alert.is_empty() { &rule.record } else { &rule.alert };
            let mut labels = group.labels.clone();
            labels.extend(rule.labels.clone());
            *seen.entry((name.clone(), labels)).or_default() += 1;
        }
    }
    seen.into_iter().filter(|(_, n)| *n > 1).map(|(rule, _)| rule).collect()
}

/// The command.
pub(crate) fn rules(m: &ArgMatches) -> u8 {
    let mut wanted = false;
    for option in one(m, "lint").split(',') {
        match option {
            "all" | "duplicate-rules" => wanted = true,
            "none" | "" => {}
            other => say!("WARNING: unknown lint option: {}", quote(other)),
        }
    }
    let checker = Checker::of(m, wanted);
    let mut findings = Findings::default();
    match many(m, "rule-files").as_slice() {
        [] => checker.input(&mut findings),
        files => files.iter().for_each(|file| checker.file(file, &mut findings)),
    }
    match findings {
        Findings { failed: true, errors: true } => FAILED,
        Findings { failed: true, .. } if m.get_flag("lint-fatal") => LINT,
        _ => 0,
    }
}
