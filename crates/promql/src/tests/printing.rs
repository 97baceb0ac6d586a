//! From tree to text: plain, split over lines, JSON.

use super::tree;
use crate::{prettify, to_json};

fn same(query: &str) {
    assert_eq!(tree(query).to_string(), query);
}

#[test]
fn canonical_text_prints_as_it_is() {
    for query in [
        "a",
        "{__name__=\"foo.bar\"}",
        "a{b=\"1\",c!=\"2\",d=~\"3\",e!~\"4\"}",
        "sum by (a, \"b.c\") (d)",
        "sum without () (d)",
        "topk(3, a)",
        "a / on () b",
        "a == bool ignoring (c) group_left (d) b",
        "a + fill (1) b",
        "a + fill_left (1) fill_right (-2.5) b",
        "a atan2 b",
        "a </ 1 >/ 2",
        "a[5m] @ 1.500 offset -1h30m",
        "a[5m] anchored @ start() offset 1m",
        "a @ end() smoothed offset 1m",
        "a[step() + 5m]",
        "a[max_of(1m, (range() - 2m) * 3):min_of(step(), 10)] offset -(5m + 1m)",
        "a[1h:]",
        "a[1h:5m] @ 10.000 offset 1w",
        "-a ^ 2",
        "+(1 - -2)",
        "5m",
        "+Inf",
        "label_replace(a, \"b\", \"$1\\n\", \"c\", \"(.*)\")",
        "time()",
        "count_values(\"a\\xc5z\", b)",
    ] {
        same(query);
    }
}

#[test]
fn other_text_becomes_canonical() {
    for (query, want) in [
        ("SUM(a)BY(b)", "sum by (b) (a)"),
        ("sum by () (a)", "sum(a)"),
        ("a{z='1',b=`2`,}", "a{b=\"2\",z=\"1\"}"),
        ("{__name__=\"a\"}", "{__name__=\"a\"}"),
        ("0x1F + 1_000 + 017 + .5 + 1e3", "31 + 1000 + 15 + 0.5 + 1000"),
        ("a[300] offset 90", "a[5m] offset 1m30s"),
        ("a offset 5m @ 1", "a @ 1.000 offset 5m"),
        ("a # comment\n+ b", "a + b"),
        ("NaN + inf", "NaN + +Inf"),
    ] {
        assert_eq!(tree(query).to_string(), want);
    }
}

#[test]
fn long_expressions_are_split() {
    let long = "a_metric_with_quite_a_long_name_indeed_for_a_test{job=\"x\"}";
    for (query, want) in [
        (format!("sum by(job)({long})"), format!("sum by (job) ({long})")),
        (
            format!("sum by(job)(rate({long}[5m])) / on(job) -topk(2, {long})"),
            format!("  sum by (job) (rate({long}[5m]))\n/ on (job)\n  -topk(2, {long})",),
        ),
        (
            format!("quantile(0.9, ({long} + {long}))"),
            format!("quantile(\n  0.9,\n  (\n      {long}\n    +\n      {long}\n  )\n)",),
        ),
        (
            format!("label_replace({long}, \"a\", \"b\", \"c\", \"some regular expression.*\")[1h:1m]"),
            format!(
                "label_replace(\n  {long},\n  \"a\",\n  \"b\",\n  \"c\",\n  \"some regular expression.*\"\n)[1h:1m]",
            ),
        ),
    ] {
        let expr = tree(&query);
        assert_eq!(prettify(&expr), want);
        assert_eq!(tree(&want).to_string(), expr.to_string());
    }
}

#[test]
fn json_has_upstreams_shape() {
    for (query, want) in [
        ("1.5", r#"{"type":"numberLiteral","val":"1.5"}"#),
        (
            "a{b=~\"c\"}[5m] @ 2 offset -1m",
            r#"{"anchored":false,"matchers":[{"name":"b","type":"=~","value":"c"},{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":-60000,"offsetExpr":null,"range":300000,"rangeExpr":null,"smoothed":false,"startOrEnd":null,"timestamp":2000,"type":"matrixSelector"}"#,
        ),
        (
            "-round(vector(1))",
            r#"{"expr":{"args":[{"args":[{"type":"numberLiteral","val":"1"}],"func":{"argTypes":["scalar"],"name":"vector","returnType":"vector","variadic":0},"type":"call"}],"func":{"argTypes":["vector","scalar"],"name":"round","returnType":"vector","variadic":1},"type":"call"},"op":"-","type":"unaryExpr"}"#,
        ),
        (
            "a == bool on(b) group_left(c) fill_left(2) d",
            r#"{"bool":true,"lhs":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"a"}],"name":"a","offset":0,"offsetExpr":null,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"matching":{"card":"many-to-one","fillValues":{"lhs":2,"rhs":null},"include":["c"],"labels":["b"],"on":true},"op":"==","rhs":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"d"}],"name":"d","offset":0,"offsetExpr":null,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"type":"binaryExpr"}"#,
        ),
        (
            "max by (a) (count_over_time({b=\"\",c=\"d\"}[(1m)*2:step()] @ start()))",
            r#"{"expr":{"args":[{"expr":{"anchored":false,"matchers":[{"name":"b","type":"=","value":""},{"name":"c","type":"=","value":"d"}],"name":"","offset":0,"offsetExpr":null,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"vectorSelector"},"offset":0,"offsetExpr":null,"range":0,"rangeExpr":{"lhs":{"lhs":null,"op":"+","rhs":{"duration":true,"type":"numberLiteral","val":"60"},"type":"durationExpr","wrapped":true},"op":"*","rhs":{"duration":false,"type":"numberLiteral","val":"2"},"type":"durationExpr","wrapped":false},"startOrEnd":"start","step":0,"stepExpr":{"lhs":null,"op":"step","rhs":null,"type":"durationExpr","wrapped":false},"timestamp":null,"type":"subquery"}],"func":{"argTypes":["matrix"],"name":"count_over_time","returnType":"vector","variadic":0},"type":"call"},"grouping":["a"],"op":"max","param":null,"type":"aggregation","without":false}"#,
        ),
    ] {
        assert_eq!(to_json(&tree(query)).to_string(), want, "{query}");
    }
}
