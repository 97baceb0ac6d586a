//! Every stage of a query asks whether to stop, and stops when it is told to.

use model::Labels;
use query::{Cancel, Engine, EngineOptions, QueryError, QueryOpts, QueryResult};
use std::time::{Duration, Instant};
use testkit::MemStore;

const SERIES: usize = 2500;
/// Work between two looks, in the engine's units.
const CREDIT: usize = 50_000;

fn store() -> MemStore {
    let store = MemStore::new();
    for i in 0..SERIES {
        // Not in the order of their values, nor of `b`.
        let v = i * 7919 % SERIES;
        let b = format!("{v:05}");
        let labels = Labels::from_pairs([("__name__", "x"), ("a", &format!("{i:05}")), ("b", &b)]);
        store.add(&labels, 0, v as f64);
        store.add(&labels, 60_000, v as f64 + 1.0);
    }
    store
}

fn run(
    engine: &Engine,
    store: &MemStore,
    text: &str,
    steps: i64,
    cancel: Cancel,
) -> Result<QueryResult, QueryError> {
    let opts = QueryOpts { cancel, ..QueryOpts::default() };
    match steps {
        1 => engine.instant(store, text, 60_000, &opts),
        _ => engine.range(store, text, 0, (steps - 1) * 1_000, 1_000, &opts),
    }
}

#[test]
fn every_stage_looks_and_stops() {
    let store = store();
    let engine =
        Engine::new(EngineOptions { threads: 1, experimental_functions: true, ..EngineOptions::default() });
    let looks = |text: &str, steps: i64| {
        let cancel = Cancel::new();
        run(&engine, &store, text, steps, cancel.clone()).unwrap_or_else(|e| panic!("{text}: {e}"));
        cancel.looks()
    };
    // Half, for a look pays for more than its credit now and then.
    let per_item = |work: usize| SERIES * work / CREDIT / 2;
    // The query, how many steps it has, the query without the stage, and how often at least the stage looks.
    for (text, steps, without, least) in [
        ("x", 200, "x", per_item(200)),
        ("avg_over_time(x[1m])", 200, "x", 0),
        ("sum by (a) (x)", 100, "sum(x)", per_item(100)),
        ("quantile(0.5, x)", 60, "sum(x)", per_item(60 * 4)),
        ("topk(2000, x)", 60, "x", per_item(60)),
        ("sort(x)", 1, "x", per_item(16 * 8)),
        ("sort_desc(x)", 1, "x", per_item(16 * 8)),
        ("sort_by_label(x, \"b\")", 1, "x", per_item(16 * 8)),
        // Sorted at the end, for its names are exchanged.
        ("label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")", 10, "x", per_item(16 * 8)),
        ("x and x", 100, "x", per_item(100)),
        ("x or x", 100, "x", per_item(100)),
        ("x * on (a) x", 100, "x", per_item(100)),
        ("max_over_time(x[5m:1s])", 10, "x", per_item(300)),
    ] {
        let base = if without == text { looks(text, 1) } else { looks(without, steps) };
        let all = looks(text, steps);
        assert!(all >= base + least, "{text}: {all} looks, {base} without, {least} expected");
        for at in [1, 2, all / 3, all / 2, all - 1, all] {
            let cancel = Cancel::after(at.max(1));
            let error = run(&engine, &store, text, steps, cancel.clone()).expect_err("stopped");
            assert!(matches!(error, QueryError::Canceled(_)), "{text}: {error}");
            // Nobody goes on after that.
            assert_eq!(cancel.looks(), at.max(1), "{text} at {at} of {all}");
        }
    }
}

#[test]
fn a_deadline_that_has_passed_ends_a_query() {
    let (store, engine) = (store(), Engine::new(EngineOptions::default()));
    let deadline = Some(Instant::now().checked_sub(Duration::from_millis(1)).unwrap_or_else(Instant::now));
    let opts = QueryOpts { deadline, ..QueryOpts::default() };
    let error = engine.range(&store, "sort(x)", 0, 60_000, 1_000, &opts).expect_err("too late");
    assert!(matches!(error, QueryError::Timeout(_)), "{error}");
}
