//! What the passes make of a query: golden plans, and that results stay what they are without them.

use model::Labels;
use query::{Engine, EngineOptions, QueryOpts, QueryResult, Value};
use testkit::MemStore;

fn engine() -> Engine {
    Engine::new(EngineOptions { per_step_stats: true, ..EngineOptions::default() })
}

#[track_caller]
fn plan(text: &str, want: &str) {
    let explained = engine().explain(text, 0, 600_000, 60_000, &QueryOpts::default()).expect(text);
    assert_eq!(explained.text().trim_end(), want.trim(), "{text}");
}

#[test]
fn equal_parts_are_evaluated_once() {
    plan(
        "sum(rate(x_total[5m])) / count(rate( x_total[5m] ))",
        r#"
binary /
  aggregate sum
    shared result 0
      call rate
        window fetch 0 of 300000 ms
  aggregate count
    shared result 0
      call rate
        window fetch 0 of 300000 ms
fetch 0: {__name__="x_total"} from -299999 to 600000, labels __name__, __type__, __unit__"#,
    );
    // The steps of a subquery are others; a selector alone is not worth keeping.
    plan(
        "max_over_time(sum(x)[5m:1m]) + sum(x)",
        r#"
binary +
  call max_over_time
    subquery of 300000 ms, step 60000 ms
      aggregate sum
        instant fetch 0
  aggregate sum
    instant fetch 0
fetch 0: {__name__="x"} from -599999 to 600000, labels __name__, __type__, __unit__"#,
    );
}

#[test]
fn only_labels_that_are_looked_at_are_made() {
    plan(
        "sum by (b, a) (rate(x_total[5m])) > 2",
        r#"
binary >
  aggregate sum by (a, b)
    call rate
      window fetch 0 of 300000 ms
  number 2
fetch 0: {__name__="x_total"} from -299999 to 600000, labels __name__, __type__, __unit__, a, b"#,
    );
    for text in ["sum without (a) (x)", "topk by (a) (2, x)", "sum by (a) (abs(x))", "sum by (a) (x) + x"] {
        let explained = engine().explain(text, 0, 0, 0, &QueryOpts::default()).expect(text);
        assert!(explained.fetches.iter().all(|f| f.labels.is_none()), "{text}");
    }
}

#[test]
fn matchers_go_where_partners_are_sought() {
    plan(
        r#"a{job="x"} / b"#,
        r#"
binary /
  instant fetch 0
  instant fetch 1
fetch 0: {job="x",__name__="a"} from -299999 to 600000, all labels
fetch 1: {__name__="b",job="x"} from -299999 to 600000, all labels"#,
    );
    let selectors = |text: &str| {
        let explained = engine().explain(text, 0, 0, 0, &QueryOpts::default()).expect(text);
        explained.fetches.into_iter().map(|f| f.selector).collect::<Vec<_>>()
    };
    for (text, want) in [
        // Set operators know no errors.
        (r#"a and on (job) b{job="x"}"#, [r#"{__name__="a",job="x"}"#, r#"{job="x",__name__="b"}"#]),
        (r#"rate(a{job="x"}[1m]) unless b"#, [r#"{job="x",__name__="a"}"#, r#"{__name__="b",job="x"}"#]),
        (r#"a unless b{job="x"}"#, [r#"{__name__="a"}"#, r#"{job="x",__name__="b"}"#]),
        (r#"a * rate(b{job="x"}[1m])"#, [r#"{__name__="a",job="x"}"#, r#"{job="x",__name__="b"}"#]),
        // Two partners are an error, but not when there is nothing to find: narrowing could hide it.
        (r#"a * {job="x"}"#, [r#"{__name__="a"}"#, r#"{job="x"}"#]),
        (r#"a * on (job) group_left () b{job="x"}"#, [r#"{__name__="a"}"#, r#"{job="x",__name__="b"}"#]),
        (r#"a{job="x"} * on (job) group_left () b"#, [r#"{job="x",__name__="a"}"#, r#"{__name__="b"}"#]),
        // Labels that are not matched on say nothing; series that only one side has count with `or`.
        (r#"a and on (i) b{job="x"}"#, [r#"{__name__="a"}"#, r#"{job="x",__name__="b"}"#]),
        (r#"a or b{job="x"}"#, [r#"{__name__="a"}"#, r#"{job="x",__name__="b"}"#]),
        (r#"sum by (job) (a) / b{job="x"}"#, [r#"{__name__="a"}"#, r#"{job="x",__name__="b"}"#]),
    ] {
        assert_eq!(selectors(text), want, "{text}");
    }
}

fn store() -> MemStore {
    let store = MemStore::new();
    for name in ["x_total", "y_total"] {
        for i in 0..40u32 {
            let (job, i) = ((i % 3).to_string(), i.to_string());
            let labels = Labels::from_pairs([("__name__", name), ("job", job.as_str()), ("i", i.as_str())]);
            (0..=80).for_each(|n| store.add(&labels, n * 15_000, f64::from(n as u32 * 7) * 0.1));
        }
    }
    store
}

#[test]
fn kept_results_count_as_often_as_they_are_used() {
    let (store, engine) = (store(), engine());
    let opts = QueryOpts { per_step_stats: true, ..QueryOpts::default() };
    let run = |text: &str| -> QueryResult {
        engine.range(&store, text, 300_000, 1_200_000, 60_000, &opts).expect(text)
    };
    let one = run("sum by (job) (rate(x_total[5m]))");
    let thrice = run(
        "sum by (job) (rate(x_total[5m])) + sum by (job) (rate(x_total[5m])) + count by (job) (rate(x_total[5m]))",
    );
    assert_eq!(thrice.stats.samples.total_queryable_samples, 3 * one.stats.samples.total_queryable_samples);
    assert_eq!(thrice.stats.samples.samples_read, 3 * one.stats.samples.samples_read);
    let (Value::Matrix(one), Value::Matrix(all)) = (&one.value, &thrice.value) else { panic!("matrices") };
    for ((a, b), count) in one.iter().zip(all).zip([14.0, 13.0, 13.0]) {
        for ((t, a), (u, b)) in a.points.floats().zip(b.points.floats()) {
            assert_eq!((t, a + a + count), (u, b));
        }
    }
}

#[test]
fn costs_are_told_when_asked_for() {
    let (store, engine) = (store(), engine());
    let text = "sum by (job) (rate(x_total[5m])) / on (job) count by (job) (y_total)";
    let run = |explain| {
        let opts = QueryOpts { explain, ..QueryOpts::default() };
        engine.range(&store, text, 300_000, 1_200_000, 60_000, &opts).expect(text)
    };
    assert!(run(false).explanation.is_none());
    let explained = run(true).explanation.expect("asked for");
    let sum = &explained.root.children[0];
    let rate = &sum.children[0];
    let of = |o: &query::Operator| o.cost.map(|c| (c.series, c.samples, c.calls));
    assert_eq!((rate.kind, of(rate)), ("call", Some((40, 40 * 16, 1))));
    assert_eq!((sum.what.as_str(), of(sum)), ("sum by (job)", Some((3, 3 * 16, 1))));
    assert_eq!(of(&explained.root), Some((3, 48, 1)));
    // The window is read by the function.
    assert_eq!(of(&rate.children[0]), None);
    assert_eq!(explained.fetches[1].series, Some(40));
    assert_eq!(&text[rate.start..rate.end], "rate(x_total[5m])");
}
