//! Results do not depend on the number of threads: values to the last bit, order, annotations, statistics, errors.

use model::Labels;
use query::{Engine, EngineOptions, QueryOpts};
use testkit::MemStore;

/// Enough series of enough samples that helpers are worth their start.
fn store() -> MemStore {
    let store = MemStore::new();
    let mut seed = 1u64;
    for i in 0..600u64 {
        let name = if i % 3 == 0 { "a_total" } else { "b_total" };
        let (job, i) = ((i % 7).to_string(), i.to_string());
        let labels = Labels::from_pairs([("__name__", name), ("job", job.as_str()), ("i", i.as_str())]);
        for n in 0..=240 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            store.add(&labels, n * 15_000 + (seed >> 61) as i64, (seed >> 40) as f64 / 977.0);
        }
    }
    // The same labels but for the name.
    for name in ["twin_a", "twin_b"] {
        for i in 0..200 {
            let labels = Labels::from_pairs([("__name__", name), ("i", i.to_string().as_str())]);
            (0..=240).for_each(|n| store.add(&labels, n * 15_000, 1.0));
        }
    }
    store
}

#[test]
fn results_do_not_depend_on_threads() {
    let store = store();
    let engine = |threads| {
        let options = EngineOptions { per_step_stats: true, threads, ..EngineOptions::default() };
        Engine::new(options)
    };
    let engines = [engine(1), engine(4)];
    let opts = QueryOpts { per_step_stats: true, ..QueryOpts::default() };
    for text in [
        "sum(rate(b_total[5m]))",
        "sum by (job) (rate(b_total[5m]))",
        "avg by (job) (b_total)",
        "b_total",
        "stddev(quantile_over_time(0.3, b_total[2m]))",
        "topk(3, increase(b_total[3m]))",
        r#"sum by (job) (rate({__name__=~".+_total"}[5m]))"#,
        // Two series become one: an error, and it is the same.
        r#"sum(rate({__name__=~"twin_.+"}[5m]))"#,
        // An annotation about each metric.
        r#"count(rate(twin_a[5m])) + count(rate(b_total[5m]))"#,
        "max_over_time(sum(rate(b_total[1m]))[5m:15s])",
    ] {
        let run = |engine: &Engine| match engine.range(&store, text, 0, 3_600_000, 6_000, &opts) {
            Ok(result) => {
                format!(
                    "{:?} {:?} {:?} {:?}",
                    result.value, result.warnings, result.infos, result.stats.samples
                )
            }
            Err(e) => e.to_string(),
        };
        let alone = run(&engines[0]);
        for engine in &engines[1..] {
            let threads = engine.options().threads;
            assert!(run(engine) == alone, "{text} differs with {threads} threads");
        }
    }
}

#[test]
fn helpers_stop_when_the_query_is_cancelled() {
    let store = store();
    let engine = Engine::new(EngineOptions { threads: 3, ..EngineOptions::default() });
    let opts = QueryOpts::default();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            // Minutes of work if nobody stops it; the scope inside ends only when all helpers have.
            engine.range(&store, "sum(quantile_over_time(0.5, b_total[1h]))", 0, 3_600_000, 400, &opts)
        });
        opts.cancel.cancel();
        assert!(run.join().expect("no panic").is_err());
    });
}
