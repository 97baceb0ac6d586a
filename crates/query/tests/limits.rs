//! What bounds a query: samples, bytes, time, cancellation, depth; and what statistics it leaves.

use model::Labels;
use query::{
    Cancel, Engine, EngineOptions, ProcessMemory, QueryError, QueryOpts, QueryResult, Refused, SampleValue,
    Value,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use testkit::MemStore;

/// `series` series named `x_total`, a sample every 10 s for an hour.
fn store(series: usize) -> MemStore {
    let store = MemStore::new();
    for i in 0..series {
        let labels = Labels::from_pairs([("__name__", "x_total"), ("i", i.to_string().as_str())]);
        for n in 0..=360 {
            store.add(&labels, n * 10_000, n as f64);
        }
    }
    store
}

fn engine(change: impl FnOnce(&mut EngineOptions)) -> Engine {
    let mut options = EngineOptions { per_step_stats: true, ..EngineOptions::default() };
    change(&mut options);
    Engine::new(options)
}

fn range(engine: &Engine, store: &MemStore, text: &str) -> Result<QueryResult, QueryError> {
    let opts = QueryOpts { per_step_stats: true, ..QueryOpts::default() };
    engine.range(store, text, 600_000, 1_200_000, 60_000, &opts)
}

#[test]
fn too_many_samples_are_refused() {
    let store = store(10);
    // 10 series at 11 steps.
    assert!(range(&engine(|o| o.max_samples = 110), &store, "x_total").is_ok());
    for text in ["x_total", "sum(x_total)", "rate(x_total[5m])", "vector(1)[10m:1ms]"] {
        let small = engine(|o| o.max_samples = 109);
        let result = if text.ends_with(']') {
            small.instant(&store, text, 1_200_000, &QueryOpts::default())
        } else {
            range(&small, &store, text)
        };
        let error = result.expect_err(text).to_string();
        assert_eq!(
            error, "query processing would load too many samples into memory in query execution",
            "{text}"
        );
    }
}

#[test]
fn bytes_are_bounded() {
    let store = store(100);
    let small = engine(|o| o.memory_budget_bytes = 30_000);
    let Err(error) = range(&small, &store, "x_total") else { panic!("not refused") };
    assert!(matches!(error, QueryError::Memory(Refused::Query, _)), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("query asked for 2") || text.starts_with("query asked for 3"), "{text}");
    assert!(text.ends_with(" KiB of memory, and one query may hold 29.3 KiB"), "{text}");
    assert_eq!(error.error_type(), "execution");
    // A sum keeps one column, whatever flows through it.
    assert!(range(&small, &store, "sum(x_total)").is_ok());
}

#[test]
fn all_queries_together_are_bounded() {
    let store = store(400);
    // Room for about three results.
    let engine = engine(|o| o.memory_total_bytes = 1 << 20);
    let memory = engine.memory().clone();
    let first = range(&engine, &store, "x_total").expect("alone");
    let one = memory.held();
    assert!(one > 400 * 11 * 8, "{one}");
    let mut kept = vec![first];
    let error = loop {
        assert!(kept.len() < 20, "never refused");
        match range(&engine, &store, "x_total") {
            Ok(result) => kept.push(result),
            Err(e) => break e,
        }
        assert!(memory.held() <= 1 << 20);
    };
    assert!(matches!(error, QueryError::Memory(Refused::Total, _)), "{error}");
    assert!(kept.len() > 2, "{error}");
    // What is refused holds nothing, and results give their memory back.
    let before = memory.held();
    assert!(range(&engine, &store, "x_total").is_err());
    assert_eq!(memory.held(), before);
    kept.clear();
    assert_eq!(memory.held(), 0);
    assert!(range(&engine, &store, "x_total").is_ok());
}

#[test]
fn many_heavy_queries_stay_below_the_limit_while_samples_come_in() {
    const LIMIT: usize = 2 << 20;
    let store = store(300);
    let engine = engine(|o| (o.memory_total_bytes, o.threads) = (LIMIT, 2));
    let memory = engine.memory().clone();
    let labels = Labels::from_pairs([("__name__", "other_total")]);
    let (mut refused, mut answered) = (0, 0);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let run = || range(&engine, &store, "sort(x_total + on (i) group_left () x_total)");
                    (0..20).filter(|_| run().is_ok()).count()
                })
            })
            .collect();
        let mut n = 0;
        while !runs.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            store.add(&labels, n * 1_000, 1.0);
            n += 1;
            // What is asked for in vain is in the account for a moment.
            assert!(memory.held() <= LIMIT + 8 * (1 << 20), "{}", memory.held());
            std::thread::yield_now();
        }
        assert!(n > 0);
        for run in runs {
            let ok = run.join().expect("no panic");
            answered += ok;
            refused += 20 - ok;
        }
    });
    assert!(answered > 0, "{refused} refused");
    assert_eq!(memory.held(), 0);
}

#[test]
fn no_query_begins_while_the_process_is_near_its_limit() {
    let store = store(1);
    let used = Arc::new(AtomicUsize::new(900 << 20));
    let asked = used.clone();
    let process = ProcessMemory { used: Arc::new(move || asked.load(Ordering::Relaxed)), ceiling: 950 << 20 };
    let engine = engine(|o| o.process_memory = Some(process));
    assert!(range(&engine, &store, "x_total").is_ok());
    used.store(951 << 20, Ordering::Relaxed);
    let error = range(&engine, &store, "x_total").expect_err("refused");
    assert!(matches!(error, QueryError::Memory(Refused::Process, _)));
    assert_eq!(
        error.to_string(),
        "query refused: the process uses 951.0 MiB of memory, and no query is begun from 950.0 MiB on"
    );
}

#[test]
fn cancelled_and_timed_out_queries_stop() {
    let store = store(1);
    let cancel = Cancel::new();
    cancel.cancel();
    let opts = QueryOpts { cancel, ..QueryOpts::default() };
    let error = engine(|_| ()).instant(&store, "x_total", 0, &opts).expect_err("cancelled");
    assert_eq!(error.to_string(), "query was canceled in expression evaluation");
    assert_eq!(error.error_type(), "canceled");
    let opts = QueryOpts { deadline: Some(Instant::now()), ..QueryOpts::default() };
    let error = engine(|_| ()).instant(&store, "x_total", 0, &opts).expect_err("timed out");
    assert_eq!(error.to_string(), "query timed out in expression evaluation");
    assert_eq!(error.error_type(), "timeout");
}

#[test]
fn cancellation_takes_effect_in_the_middle() {
    let store = store(50);
    let cancel = Cancel::new();
    let opts = QueryOpts { cancel: cancel.clone(), ..QueryOpts::default() };
    let engine = engine(|o| o.timeout = Duration::from_secs(600));
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            // Minutes of work if nobody stops it.
            engine.range(&store, "sum(quantile_over_time(0.5, x_total[1h]))", 0, 3_600_000, 20, &opts)
        });
        cancel.cancel();
        assert!(matches!(run.join().expect("no panic"), Err(QueryError::Canceled(_))));
    });
}

#[test]
fn deep_queries_do_not_overflow_the_stack() {
    let store = store(1);
    for (open, middle, close, depth) in [("(", "x_total", ")", 450), ("-", "x_total", "", 450)] {
        let text = format!("{}{middle}{}", open.repeat(depth), close.repeat(depth));
        let result = engine(|_| ()).instant(&store, &text, 60_000, &QueryOpts::default());
        assert!(result.is_ok(), "{open}: {}", result.err().map(|e| e.to_string()).unwrap_or_default());
    }
    let chain = vec!["x_total"; 450].join(" + ");
    let result = engine(|_| ()).instant(&store, &chain, 60_000, &QueryOpts::default()).expect("chain");
    let Value::Vector(v) = result.value else { panic!("no vector") };
    assert!(matches!(v[0].value, SampleValue::Float(v) if v == 450.0 * 6.0));
}

#[test]
fn samples_are_counted_as_upstream_counts_them() {
    let store = store(2);
    let stats = |text: &str| range(&engine(|_| ()), &store, text).expect("result").stats.samples;
    let plain = stats("x_total");
    assert_eq!((plain.total_queryable_samples, plain.samples_read, plain.peak_samples), (22, 22, 22));
    assert_eq!(plain.total_queryable_samples_per_step.expect("per step")[0], (600_000, 2));
    // 30 samples in each window, 6 of them new at each step but the first.
    let rate = stats("rate(x_total[5m])");
    assert_eq!((rate.total_queryable_samples, rate.samples_read), (2 * 11 * 30, 2 * (30 + 10 * 6)));
    // Loaded once, counted at each step.
    let pinned = stats("sum(x_total @ 600)");
    assert_eq!((pinned.total_queryable_samples, pinned.samples_read), (22, 2));
    // A subquery alone counts what its steps looked at: 30 samples in each window; below a function its points count.
    let at = |text: &str| {
        let result = engine(|_| ()).instant(&store, text, 1_200_000, &QueryOpts::default());
        result.expect("result").stats.samples.total_queryable_samples
    };
    assert_eq!(at("increase(x_total[5m] @ 600)[10m:1m]"), 2 * 10 * 30);
    assert_eq!(at("sum_over_time(increase(x_total[5m] @ 600)[10m:1m])"), 2 * 10);
}

#[test]
fn results_are_cut_to_the_limit_with_a_warning() {
    let store = store(3);
    let opts = QueryOpts { limit: 2, ..QueryOpts::default() };
    let result = engine(|_| ()).instant(&store, "x_total", 60_000, &opts).expect("result");
    assert!(matches!(&result.value, Value::Vector(v) if v.len() == 2));
    assert_eq!(result.warnings, ["results truncated due to limit"]);
}

#[test]
fn names_are_dropped_at_once_unless_delayed() {
    let store = MemStore::new();
    for (name, t) in [("a", 0), ("b", 60_000)] {
        store.add(&Labels::from_pairs([("__name__", name), ("l", "1")]), t, 1.0);
        store.add(&Labels::from_pairs([("__name__", name), ("l", "1")]), t + 1, model::stale_nan());
    }
    let engine = engine(|_| ());
    // Series that become one are merged as long as they have no step in common.
    let result = engine.range(&store, r#"abs({l="1"})"#, 0, 60_000, 60_000, &QueryOpts::default());
    let Value::Matrix(m) = result.expect("result").value else { panic!("no matrix") };
    assert_eq!((m.len(), m[0].points.float_count(), m[0].labels.to_string()), (1, 2, r#"{l="1"}"#.into()));
    let error = engine.instant(&store, r#"rate({l="1"}[2m])"#, 60_000, &QueryOpts::default());
    // One sample each: no rate, nothing to refuse.
    assert!(error.is_ok());
    let error = engine.instant(&store, r#"count_over_time({l="1"}[2m])"#, 60_000, &QueryOpts::default());
    assert_eq!(
        error.expect_err("same labels").to_string(),
        "vector cannot contain metrics with the same labelset"
    );
}

#[test]
fn labels_do_not_grow_without_end() {
    let store = store(1);
    let nested =
        |times: usize, one: &dyn Fn(String) -> String| (0..times).fold("x_total".to_owned(), |e, _| one(e));
    let join = |e: String| format!(r#"label_join({e}, "i", "", "i", "i", "i", "i", "i", "i", "i", "i")"#);
    let replace = |e: String| format!(r#"label_replace({e}, "i", "${{1}}${{1}}${{1}}${{1}}", "i", "(.*)")"#);
    let run = |text: String| {
        let result = engine(|_| ()).instant(&store, &text, 1_200_000, &QueryOpts::default());
        result.map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(run(nested(6, &join)), Ok(()));
    assert_eq!(run(nested(9, &replace)), Ok(()));
    let want = "label_join(): label value of 2097152 bytes exceeds the limit of 1048576";
    assert_eq!(run(nested(12, &join)), Err(want.into()));
    let error = run(nested(15, &replace)).expect_err("too long");
    assert!(error.starts_with("label_replace(): label value of "), "{error}");
}
