//! No expression of the scripts may panic, whatever times it is evaluated at.

use query::{Engine, EngineOptions, QueryOpts};
use std::path::Path;
use testkit::promqltest;

/// Expressions of a script, as far as they stand on the line of their command.
fn expressions(script: &str) -> Vec<&str> {
    let after = |line: &'static str| line.len();
    script
        .lines()
        .map(str::trim)
        .filter_map(|line| {
            let words = if line.starts_with("eval instant at ") {
                after("eval instant at ")
            } else if line.starts_with("eval range from ") {
                line.find(" step ")? + after(" step ")
            } else {
                return None;
            };
            line[words..].split_once(' ').map(|(_, expr)| expr.trim())
        })
        .collect()
}

#[test]
fn odd_times_do_not_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let everything = promqltest::engine();
    let plain = Engine::new(EngineOptions { experimental_functions: true, ..EngineOptions::default() });
    let opts = QueryOpts { per_step_stats: true, ..QueryOpts::default() };
    let far = i64::MAX / 1_000_000;
    let mut answered = 0;
    let corpus = match std::env::var_os("PROMQL_CORPUS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/promqltest"),
    };
    let folders = [folder.clone(), folder.join("immediate"), corpus];
    for file in folders.into_iter().filter_map(|f| f.read_dir().ok()).flatten() {
        let file = file.expect("folder entry").path();
        if file.extension().is_none_or(|ext| ext != "test") {
            continue;
        }
        let script = std::fs::read_to_string(&file).expect("script");
        for section in script.split("\nclear") {
            let store = promqltest::load_only(section);
            for (i, expr) in expressions(section).into_iter().enumerate() {
                let engine = if i % 2 == 0 { &everything } else { &plain };
                for (start, end, step) in [(0, 0, 1), (-7, 1_000_001, 333_333), (far, far, 60_000), (9, 3, 5)]
                {
                    answered += usize::from(engine.range(&store, expr, start, end, step, &opts).is_ok());
                }
                for t in [i64::MIN, -1, 77_777, i64::MAX] {
                    answered += usize::from(engine.instant(&store, expr, t, &opts).is_ok());
                }
            }
        }
    }
    assert!(answered > 1000, "{answered}");
}
