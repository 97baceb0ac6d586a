//! Runner of PromQL test scripts (`.test`): loads series into a store, evaluates, compares.
//!
//! Format: upstream's `promqltest` (see the shared README). A script runs to its end whatever fails; the
//! [`Report`] names each failure with its line.

mod compare;
mod load;
mod pin;
mod script;
mod store;

use crate::MemStore;
use query::{Engine, EngineOptions, QueryOpts, QueryResult};
use script::{Command, Eval, Kind};
use std::time::Duration;
use storage::Queryable;
pub use store::{Row, RowValue, ScriptStore};

/// What became of a script.
#[derive(Debug, Default)]
pub struct Report {
    /// Evaluations that ran.
    pub evals: usize,
    /// Line (from 1) and what is wrong.
    pub failures: Vec<(usize, String)>,
    /// Line and reason of evaluations that were left out.
    pub skipped: Vec<(usize, String)>,
}

impl Report {
    /// The failures as text, one to a line; empty when all is well.
    pub fn text(&self) -> String {
        self.failures.iter().map(|(line, text)| format!("line {line}: {text}\n")).collect()
    }
}

/// The engine that scripts assume: everything experimental is on.
pub fn engine() -> Engine {
    Engine::new(EngineOptions {
        timeout: Duration::from_secs(100),
        per_step_stats: true,
        delayed_name_removal: true,
        use_start_timestamps: true,
        experimental_functions: true,
        duration_expressions: true,
        extended_range_selectors: true,
        binop_fill_modifiers: true,
        ..EngineOptions::default()
    })
}

/// Runs a script with the engine of [`engine`]; `skip` gives a reason to leave an evaluation (its whole text)
/// out.
pub fn run(script: &str, skip: impl Fn(&str) -> Option<String>) -> Report {
    run_with(script, &engine(), skip)
}

/// Runs a script in memory with an engine of the caller's.
pub fn run_with(script: &str, engine: &Engine, skip: impl Fn(&str) -> Option<String>) -> Report {
    run_over(&mut MemStore::new(), script, engine, skip)
}

/// Runs a script over a store of the caller's, which must be empty.
pub fn run_over(
    store: &mut dyn ScriptStore,
    script: &str,
    engine: &Engine,
    skip: impl Fn(&str) -> Option<String>,
) -> Report {
    let mut report = Report::default();
    for (line, command) in script::parse(script) {
        match command {
            Err(text) => report.failures.push((line, text)),
            Ok(Command::Clear) => store.clear(),
            Ok(Command::Load(load)) => {
                if let Err(text) = load.rows().and_then(|rows| store.load(rows)) {
                    report.failures.push((line, text));
                }
            }
            Ok(Command::Eval(eval)) => {
                if let Some(reason) = skip(&eval.text) {
                    report.skipped.push((line, reason));
                    continue;
                }
                report.evals += 1;
                if let Err(text) = evaluate(&eval, engine, store.queryable()) {
                    report.failures.push((line, format!("{}: {text}", eval.expr)));
                }
            }
        }
    }
    report
}

/// Minutes before and after an instant evaluation that its range twin covers.
const AROUND: i64 = 60_000;

fn evaluate(eval: &Eval, engine: &Engine, store: &dyn Queryable) -> Result<(), String> {
    match eval.kind {
        Kind::Range { start, end, step } => {
            let opts = QueryOpts::default();
            let result = engine.range(store, &eval.expr, start, end, step, &opts);
            let Some(result) = judge(eval, result.map_err(|e| e.to_string()), false)? else { return Ok(()) };
            compare::value(eval, &result.value)
        }
        Kind::Instant { at } => {
            instant(eval, engine, store, &eval.expr, at)?;
            // Pinned in time, the result must be the same at any other time.
            let Some(pinned) = pin::pinned(&eval.expr, at) else { return Ok(()) };
            for t in [-10 * at, at / 5, 10 * at + 1000] {
                instant(eval, engine, store, &pinned, t).map_err(|e| format!("{pinned} at {t} ms: {e}"))?;
            }
            Ok(())
        }
    }
}

/// Evaluates at one time, and as the middle of a range.
fn instant(eval: &Eval, engine: &Engine, store: &dyn Queryable, expr: &str, at: i64) -> Result<(), String> {
    let opts = QueryOpts::default();
    let result = engine.instant(store, expr, at, &opts);
    let pinned = expr != eval.expr;
    let Some(result) = judge(eval, result.map_err(|e| e.to_string()), pinned)? else { return Ok(()) };
    compare::value(eval, &result.value)?;
    let context = ["range()", "step()", "start()", "end()"];
    if eval.expected_range.is_some()
        || eval.expected_string.is_some()
        || context.iter().any(|f| expr.contains(f))
    {
        return Ok(());
    }
    let result = engine
        .range(store, expr, at - AROUND, at + AROUND, AROUND, &opts)
        .map_err(|e| format!("in range mode: {e}"))?;
    if eval.ordered() {
        return Ok(());
    }
    let middle = compare::at_time(&result.value, at, eval.expects_scalar())?;
    compare::value(eval, &middle).map_err(|e| format!("in range mode: {e}"))
}

/// Judges failure and annotations. `None`: it failed as it should.
fn judge(
    eval: &Eval,
    result: Result<QueryResult, String>,
    pinned: bool,
) -> Result<Option<QueryResult>, String> {
    match (result, eval.fails()) {
        (Err(error), Some(expectations)) => match expectations.iter().find(|e| !e.matches(&error)) {
            Some(e) => Err(format!("wanted error {e:?}, got: {error}")),
            None => Ok(None),
        },
        (Err(error), None) => Err(error),
        (Ok(_), Some(_)) => Err("expected an error but got none".into()),
        (Ok(result), None) => {
            // Places in a changed text are others.
            if !pinned {
                eval.judge_annotations("warn", &result.warnings)?;
                eval.judge_annotations("info", &result.infos)?;
            }
            Ok(Some(result))
        }
    }
}

/// A store with what a script loads (after its last `clear`); evaluations and faults are passed over.
pub fn load_only(script: &str) -> MemStore {
    let mut store = MemStore::new();
    for (_, command) in script::parse(script) {
        match command {
            Ok(Command::Clear) => store.clear(),
            Ok(Command::Load(load)) => drop(load.rows().and_then(|rows| store.load(rows))),
            _ => {}
        }
    }
    store
}
