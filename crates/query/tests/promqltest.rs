//! Runs PromQL test scripts: our own, and those of a corpus folder when there is one.

use std::path::{Path, PathBuf};
use testkit::promqltest;

/// Folder of further scripts: `PROMQL_CORPUS`, or `../shared/promqltest` beside the workspace.
fn corpus() -> Option<PathBuf> {
    let folder = match std::env::var_os("PROMQL_CORPUS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/promqltest"),
    };
    folder.is_dir().then_some(folder)
}

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "test"))
        .collect();
    files.sort();
    files
}

/// Runs one script; its failures as text.
fn run(path: &Path) -> String {
    let script = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let report = promqltest::run(&script, |_| None);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    println!(
        "{name}: {} evaluations, {} failures, {} skipped",
        report.evals,
        report.failures.len(),
        report.skipped.len()
    );
    for (line, reason) in &report.skipped {
        println!("{name}:{line}: skipped: {reason}");
    }
    report.failures.iter().map(|(line, text)| format!("{name}:{line}: {text}\n")).collect()
}

fn check(folder: &Path) {
    let failures: String = scripts(folder).iter().map(|path| run(path)).collect();
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn own_scripts() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata"));
}

#[test]
fn corpus_scripts() {
    match corpus() {
        Some(folder) => check(&folder),
        None => println!("skipped: no corpus of PromQL scripts (set PROMQL_CORPUS to its folder)"),
    }
}
