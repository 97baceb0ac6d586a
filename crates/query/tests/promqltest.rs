//! Runs PromQL test scripts: our own, and those of a corpus folder when there is one.

use query::{Engine, EngineOptions};
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
fn run(path: &Path, engine: &Engine) -> String {
    let script = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let report = promqltest::run_with(&script, engine, |_| None);
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

fn check(folder: &Path, engine: &Engine) {
    let failures: String = scripts(folder).iter().map(|path| run(path, engine)).collect();
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn own_scripts() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata"), &promqltest::engine());
}

/// Metric names dropped at once, as without feature flags: answers recorded from Prometheus 3.14.
#[test]
fn recorded_answers() {
    let engine = Engine::new(EngineOptions {
        experimental_functions: true,
        extended_range_selectors: true,
        binop_fill_modifiers: true,
        ..EngineOptions::default()
    });
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/immediate"), &engine);
}

#[test]
fn corpus_scripts() {
    match corpus() {
        Some(folder) => check(&folder, &promqltest::engine()),
        None => println!("skipped: no corpus of PromQL scripts (set PROMQL_CORPUS to its folder)"),
    }
}
