//! Queries that ask for too much: each is refused with what it asked for, or stays within its bounds.

use crate::door::{Answer, Door};
use model::Labels;
use query::EngineOptions;
use testkit::MemStore;

const SERIES: usize = 5000;

/// `big`, with another value in each series, and `one`.
fn store() -> MemStore {
    let store = MemStore::new();
    for n in 0..SERIES {
        let (i, job) = (n.to_string(), format!("j{}", n % 5));
        let labels = Labels::from_pairs([("__name__", "big"), ("i", &i), ("job", &job)]);
        store.add(&labels, 10_000, n as f64 + 0.5);
    }
    store.add(&Labels::from_pairs([("__name__", "one")]), 10_000, 1.0);
    store
}

fn door() -> Door {
    let engine = EngineOptions {
        experimental_functions: true,
        binop_fill_modifiers: true,
        memory_budget_bytes: 64 << 20,
        ..EngineOptions::default()
    };
    Door::over(store(), engine, |_| {})
}

async fn ask(door: &Door, query: &str) -> Answer {
    door.post("/api/v1/query", &[("query", query), ("time", "10")]).await
}

#[track_caller]
fn refused(answer: &Answer, status: u16, kind: &str, text: &str) {
    let want = format!(r#"{{"status":"error","errorType":"{kind}","error":"{text}"#);
    let start: String = answer.body.chars().take(400).collect();
    assert!(answer.status == status && start.starts_with(&want), "{} {start}, wanted {want}", answer.status);
}

#[track_caller]
fn gives(answer: &Answer, value: &str) {
    let want = format!(r#"{{"resultType":"vector","result":[{{"metric":{{}},"value":[10,"{value}"]}}]}}"#);
    let start: String = answer.body.chars().take(400).collect();
    assert!(answer.status == 200 && start.contains(&want), "{} {start}, wanted {want}", answer.status);
}

#[tokio::test]
async fn expressions_of_any_size() {
    let door = door();
    let list: Vec<_> = (4000..104_000).map(|n| n.to_string()).collect();
    gives(&ask(&door, &format!(r#"count(big{{i=~"{}"}})"#, list.join("|"))).await, "1000");
    gives(&ask(&door, &format!(r#"count(big{{i!~"({})"}})"#, list.join("|"))).await, "4000");
    let shapes: Vec<_> = (0..100_000).map(|n| format!("{n}.+x")).collect();
    let answer = ask(&door, &format!(r#"count(big{{i=~"{}"}})"#, shapes.join("|"))).await;
    let text = r#"invalid parameter \"query\": 1:11: parse error: error parsing regexp: expression too large: `0.+x|1.+x|"#;
    refused(&answer, 400, "bad_data", text);
    let copies = r#"count(big{i=~"(a{100}){100}"})"#;
    let text = r#"invalid parameter \"query\": 1:11: parse error: error parsing regexp: invalid repeat count: `{100}`"}"#;
    refused(&ask(&door, copies).await, 400, "bad_data", text);
    let text = "invalid regular expression in label_replace(): (.*)v0|";
    let groups: Vec<_> = (0..50_000).map(|n| format!("(.*)v{n}")).collect();
    let query = format!(r#"label_replace(big, "x", "$1", "i", "{}")"#, groups.join("|"));
    refused(&ask(&door, &query).await, 422, "execution", text);
}

#[tokio::test]
async fn costly_matching_can_be_stopped() {
    let door = door();
    let groups: Vec<_> = (0..5000).map(|n| format!("(.*)v{n}")).collect();
    let query = format!(r#"label_replace(big, "x", "$1", "i", "{}")"#, groups.join("|"));
    let form = [("query", query.as_str()), ("time", "10"), ("timeout", "1")];
    let text = "query timed out in expression evaluation";
    refused(&door.post("/api/v1/query", &form).await, 503, "timeout", text);
    let names = vec![r#""i""#; 100_000].join(",");
    let query = format!(r#"label_join(big, "x", "-", {names})"#);
    let form = [("query", query.as_str()), ("time", "10"), ("timeout", "1")];
    let answer = door.post("/api/v1/query", &form).await;
    // Either bound is met first, by the speed of the machine.
    assert!(answer.status == 503 || answer.body.contains("one query may hold"), "{}", answer.status);
}

#[tokio::test]
async fn matching_is_bounded_by_both_lengths() {
    let door = door();
    let replaced = |value: usize, expression: usize| {
        let value = format!(r#"label_replace(one, "a", "{}", "", "")"#, "x".repeat(value));
        format!(r#"label_replace({value}, "b", "$1", "a", "(.*){}")"#, "y".repeat(expression - 4))
    };
    assert_eq!(ask(&door, &replaced(1000, 30_000)).await.status, 200);
    let text = "label_replace(): an expression of 30000 bytes is too long for a label value of 20000 bytes";
    refused(&ask(&door, &replaced(20_000, 30_000)).await, 422, "execution", text);
}

#[tokio::test]
async fn no_time_is_a_timeout() {
    let door = door();
    let form = [("query", "big"), ("time", "10"), ("timeout", "0")];
    refused(&door.post("/api/v1/query", &form).await, 503, "timeout", "query timed out in ");
    // No place for queries counts as one.
    let door = Door::over(store(), EngineOptions::default(), |options| options.max_concurrency = 0);
    gives(&ask(&door, "count(big)").await, &SERIES.to_string());
}

#[tokio::test]
async fn long_and_deep_texts() {
    let door = door();
    let text = "error parsing form values: length limit exceeded";
    refused(&ask(&door, &"a".repeat(10 << 20)).await, 400, "bad_data", text);
    let garbage = ask(&door, &"a ".repeat(2 << 20)).await;
    refused(
        &garbage,
        400,
        "bad_data",
        r#"invalid parameter \"query\": 1:3: parse error: unexpected identifier \"a\""#,
    );
    const N: usize = 10_000;
    for query in [
        format!("{}1{}", "(".repeat(N), ")".repeat(N)),
        format!("{}1", "-".repeat(N)),
        format!("1{}", "+1".repeat(N)),
        format!("1{}", "^1".repeat(N)),
        format!("one{}", " or one".repeat(N)),
        format!("{}one{}", "abs(".repeat(N), ")".repeat(N)),
        format!("{}one{}", "max_over_time(".repeat(N), "[1m:])".repeat(N)),
        "(".repeat(N),
    ] {
        let answer = ask(&door, &query).await;
        let text = "parse error: expression is nested more than 500 levels deep";
        assert!(answer.status == 400 && answer.body.contains(text), "{}", &query[..20]);
    }
    let names: Vec<_> = (0..N).map(|n| format!(r#"a{n}="b""#)).collect();
    let answer = ask(&door, &format!("absent(none{{{}}})", names.join(","))).await;
    assert_eq!((answer.status, answer.body.matches(r#":"b""#).count()), (200, N));
}

#[tokio::test]
async fn steps_and_times() {
    let door = door();
    let points = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
    let width = r#"invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"#;
    let overflow =
        r#"invalid parameter \"step\": cannot parse \"1e10\" to a valid duration. It overflows int64"#;
    for (start, end, step, text) in [
        ("0", "11001", "1", points),
        ("0", "11000", "1", ""),
        ("0", "1", "1e-9", points),
        ("0", "1", "1e-10", width),
        ("0", "1", "0", width),
        ("0", "1", "-5m", r#"invalid parameter \"step\": cannot parse \"-5m\" to a valid duration"#),
        ("0", "1", "-1", width),
        ("0", "1", "1e10", overflow),
        ("0", "1", "9e9", ""),
        ("-292273086-05-16T16:47:06Z", "292277025-08-18T07:12:54.999999999Z", "1e9", points),
    ] {
        let form = [("query", "count(big)"), ("start", start), ("end", end), ("step", step)];
        let answer = door.post("/api/v1/query_range", &form).await;
        match text {
            "" => assert_eq!(answer.status, 200, "{start} {end} {step}: {}", answer.body),
            _ => refused(&answer, 400, "bad_data", text),
        }
    }
    let plain = Door::over(store(), EngineOptions::default(), |_| {});
    let many = "query processing would load too many samples into memory in query execution";
    for query in [
        "sum_over_time(vector(1)[100y:1ms])",
        "sum_over_time(sum(big)[100y:1ms])",
        "max_over_time(max_over_time(one[1y:1s])[1y:1s])",
        "one[290y:1s]",
    ] {
        refused(&ask(&plain, query).await, 422, "execution", many);
    }
    gives(&ask(&door, "absent_over_time(none[100y])").await, "1");
}

#[tokio::test]
async fn labels_explode_within_bounds() {
    let door = door();
    let mut query = r#"label_replace(one, "a", "x", "", "")"#.to_owned();
    for _ in 0..8 {
        query = format!(r#"label_replace({query}, "a", "$1$1$1$1$1$1$1$1$1$1", "a", "(.*)")"#);
    }
    let text = "label_replace(): label value of 10000020 bytes exceeds the limit of 1048576";
    refused(&ask(&door, &query).await, 422, "execution", text);
    let mut query = r#"label_replace(one, "l0", "xx", "", "")"#.to_owned();
    for n in 1..40 {
        let names: Vec<_> = (0..n).map(|n| format!(r#""l{n}""#)).collect();
        query = format!(r#"label_join({query}, "l{n}", "-", {})"#, names.join(", "));
    }
    let text = "label_join(): label value of 1572863 bytes exceeds the limit of 1048576";
    refused(&ask(&door, &query).await, 422, "execution", text);
    // 5,000 series with 30 KB each.
    let long = "x".repeat(30_000);
    let query = format!(r#"label_replace(big, "a", "{long}", "", "")"#);
    let answer = ask(&door, &query).await;
    refused(&answer, 422, "execution", "query asked for 64.");
    assert!(answer.body.ends_with(r#" MiB of memory, and one query may hold 64.0 MiB"}"#), "{}", answer.body);
    gives(&ask(&door, r#"count(count_values("v", big))"#).await, &SERIES.to_string());
    let tight = EngineOptions { memory_budget_bytes: 1 << 20, ..EngineOptions::default() };
    let answer = ask(&Door::over(store(), tight, |_| {}), r#"count_values("v", big)"#).await;
    assert!(
        answer.status == 422 && answer.body.ends_with("one query may hold 1.0 MiB\"}"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn parameters_beyond_all_bounds() {
    let door = door();
    let all = SERIES.to_string();
    for (query, want) in [
        ("count(topk(1e18, big))", all.as_str()),
        ("count(bottomk(9e18, big))", &all),
        ("count(limitk(1e18, big))", &all),
        ("count(info(big))", &all),
        ("count(topk(-1e19, big) or vector(1))", "1"),
        ("quantile(1e300, big)", "+Inf"),
        ("quantile(-1e300, big)", "-Inf"),
    ] {
        gives(&ask(&door, query).await, want);
    }
    for (query, text) in [
        ("topk(1e19, big)", "Scalar value 1e+19 overflows int64"),
        ("bottomk(Inf, big)", "Scalar value +Inf overflows int64"),
        ("limitk(NaN, big)", "Parameter value is NaN"),
        ("limit_ratio(NaN, big)", "Ratio value is NaN"),
        (
            "big + on(job) group_left() big",
            r#"found duplicate series for the match group {job=\"j0\"} on the right hand-side of the operation: [{__name__=\"big\", i=\"0\", job=\"j0\"}, {__name__=\"big\", i=\"10\", job=\"j0\"}];many-to-many matching not allowed"#,
        ),
    ] {
        refused(&ask(&door, query).await, 422, "execution", text);
    }
}
