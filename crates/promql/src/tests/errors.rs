//! Refusals: the text and the place users see, and all complaints in order.

use crate::{Options, parse, parse_metric, parse_metric_selector};

fn check(query: &str, want: &str) {
    check_with(query, Options::ALL, want);
}

fn check_with(query: &str, options: Options, want: &str) {
    match parse(query, options) {
        Ok(expr) => panic!("{query}: read as {expr}"),
        Err(e) => assert_eq!(e.to_string(), want, "{query}"),
    }
}

#[test]
fn syntax() {
    for (query, want) in [
        ("", "unknown position: parse error: no expression found in input"),
        (" # only a comment", "1:1: parse error: no expression found in input"),
        ("up up", "1:4: parse error: unexpected identifier \"up\""),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("a\n  ==\n)", "3:2: parse error: unexpected right parenthesis ')'"),
        ("(a", "1:3: parse error: unclosed left parenthesis"),
        ("sum(a b)", "1:7: parse error: unexpected identifier \"b\" in aggregation"),
        ("sum by a (b)", "1:8: parse error: unexpected identifier \"a\" in grouping opts, expected \"(\""),
        (
            "sum by (a b) (c)",
            "1:11: parse error: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"",
        ),
        ("sum by (1) (c)", "1:9: parse error: unexpected number \"1\" in grouping opts, expected label"),
        ("sum by (without) (c)", "1:9: parse error: unexpected <without> in grouping opts, expected label"),
        ("sum by (\"\") (c)", "1:9: parse error: invalid label name for grouping: \"\""),
        (r#"sum by ("\xff" a) (c)"#, r#"1:9: parse error: invalid label name for grouping: "\xff""#),
        ("a + on(b) group_left ]", "1:22: parse error: unexpected right bracket ']'"),
        ("a + on(b) group_left , c", "1:22: parse error: unexpected \",\" in grouping opts, expected \"(\""),
        ("a{b}", "1:4: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("a{b=c}", "1:5: parse error: unexpected identifier \"c\" in label matching, expected string"),
        (
            "a{b=\"c\" d}",
            "1:9: parse error: unexpected identifier \"d\" in label matching, expected \",\" or \"}\"",
        ),
        ("a{,}", "1:3: parse error: unexpected \",\" in label matching, expected identifier or \"}\""),
        ("a{b=~\"(\"}", "1:3: parse error: error parsing regexp: missing closing ): `(`"),
        ("a{b", "1:4: parse error: unexpected end of input inside braces"),
        ("a[", "1:3: parse error: unexpected end of input in duration expression"),
        (
            "a[]",
            "1:3: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        ("a[5m", "1:5: parse error: unclosed left bracket"),
        ("a[5m,]", "1:5: parse error: unexpected \",\" in subquery or range, expected \":\" or \"]\""),
        ("a[5m:1m,]", "1:8: parse error: unexpected \",\" in subquery selector, expected \"]\""),
        ("a[5m x]", "1:6: parse error: unexpected character: 'x', expected ':'"),
        ("a[0]", "1:3: parse error: duration must be greater than 0"),
        ("a[5mm]", "1:3: parse error: bad number or duration syntax: \"5mm\""),
        ("a[1h5h]", "1:3: parse error: not a valid duration string: \"1h5h\""),
        ("a[1hs]", "1:3: parse error: unknown unit \"hs\" in duration \"1hs\""),
        ("a[300y]", "1:3: parse error: duration out of range"),
        ("a[5m/0]", "1:5: parse error: division by zero"),
        (
            "a offset",
            "1:9: parse error: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        ("a @ b", "1:5: parse error: unexpected identifier \"b\" in @, expected timestamp"),
        ("a @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
        ("a @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("a offset 1m offset 1m", "1:1: parse error: offset may not be set multiple times"),
        ("a offset 1m [5m]", "1:13: parse error: no offset modifiers allowed before range"),
        ("a @ 1 [5m]", "1:7: parse error: no @ modifiers allowed before range"),
        ("rate(a)[5m]", "1:8: parse error: ranges only allowed for vector selectors"),
        (
            "(a) offset 1m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("a anchored smoothed", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
        ("a[5m:] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"),
        ("foo(1)", "1:1: parse error: unknown function with name \"foo\""),
        ("abs(a,)", "1:6: parse error: trailing commas not allowed in function call args"),
        ("0b1", "1:1: parse error: bad number or duration syntax: \"0\""),
        (
            "1e999",
            "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of range",
        ),
        ("\"\\q\"", "1:1: parse error: unknown escape sequence U+0071 'q'"),
        ("\"a", "1:1: parse error: unterminated quoted string"),
        ("`a", "1:1: parse error: unterminated raw string"),
        ("a ! b", "1:3: parse error: unexpected character after '!': ' '"),
        ("a $ b", "1:3: parse error: unexpected character: '$'"),
        ("a == a_very_long_name:with_colon b", "1:34: parse error: unexpected identifier \"b\""),
        ("a \"a very long text\"", "1:3: parse error: unexpected string \"\\\"a very lo\"..."),
        ("offset(a)", "1:7: parse error: unexpected \"(\""),
        ("a bool b", "1:3: parse error: unexpected <bool>"),
    ] {
        check(query, want);
    }
}

#[test]
fn types() {
    for (query, want) in [
        ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
        ("topk(a, b)", "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"),
        (
            "count_values(1, b)",
            "1:14: parse error: expected type string in aggregation parameter, got scalar",
        ),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        (
            "topk(b)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        (
            "rate(a)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        ("rate(a[1m], 1)", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 2"),
        (
            "label_join(a)",
            "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 1",
        ),
        ("round(a, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"),
        ("info(a, b)", "1:9: parse error: expected label selectors only, got vector selector instead"),
        (
            "info(a, 1)",
            "1:1: parse error: expected type instant vector in call to function \"info\", got scalar",
        ),
        (
            "-\"a\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("a and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        ("a and on(b) group_left c", "1:1: parse error: no grouping allowed for \"and\" operation"),
        ("a or fill(0) c", "1:1: parse error: filling in missing series not allowed for set operators"),
        ("a + fill(0) 1", "1:1: parse error: filling in missing series only allowed between instant vectors"),
        ("a + on(b) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        (
            "a / on(b) group_left(b) c",
            "1:3: parse error: label \"b\" must not occur in ON and GROUP clause at once",
        ),
        (
            "a + b[1m]",
            "1:5: parse error: binary expression must contain only scalar and instant vector types",
        ),
        ("1[1m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("{a=~\".*\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("a{__name__=\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\""),
    ] {
        check(query, want);
    }
}

#[test]
fn experiments_are_off_by_default() {
    for (query, want) in [
        (
            "limitk(1, a)",
            "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        ("info(a)", "1:1: parse error: function \"info\" is not enabled"),
        ("a[5m+1m]", "1:3: parse error: experimental duration expression is not enabled"),
        ("a offset step()", "1:10: parse error: experimental duration expression is not enabled"),
        ("a[5m] smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"),
        ("a + fill(0) b", "1:1: parse error: binop fill modifiers are experimental and not enabled"),
    ] {
        check_with(query, Options::default(), want);
        assert!(parse(query, Options::ALL).is_ok(), "{query}");
    }
}

#[test]
fn goes_on_after_an_error() {
    for (query, want) in [
        (
            "sum(",
            &[(4, "unclosed left parenthesis"), (0, "no arguments for aggregate expression provided")][..],
        ),
        (
            "sum by (1 2, a) (b c)",
            &[
                (8, "unexpected number \"1\" in grouping opts, expected label"),
                (19, "unexpected identifier \"c\" in aggregation"),
                (0, "no arguments for aggregate expression provided"),
            ],
        ),
        (
            "rate(a) + abs(1)",
            &[
                (5, "expected type range vector in call to function \"rate\", got instant vector"),
                (14, "expected type instant vector in call to function \"abs\", got scalar"),
            ],
        ),
    ] {
        let error = parse(query, Options::ALL).expect_err(query);
        let got: Vec<_> = error.complaints.iter().map(|c| (c.span.start, c.message.as_str())).collect();
        assert_eq!(got, want, "{query}");
    }
}

#[test]
fn selectors_and_metrics() {
    let matchers = parse_metric_selector("a{b!~\"c|d\", \"e.f\"=\"g\", h=\"\"}").expect("valid");
    let texts: Vec<_> = matchers.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["b!~\"c|d\"", "\"e.f\"=\"g\"", "h=\"\"", "__name__=\"a\""]);
    assert!(parse_metric_selector("{}").is_ok(), "whoever must refuse this one checks for it");
    for (selector, want) in [
        ("", "unknown position: parse error: unexpected end of input"),
        ("a[5m]", "1:2: parse error: unexpected \"[\""),
        ("a{b=1}", "1:5: parse error: unexpected character inside braces: '1'"),
        ("sum(a)", "1:4: parse error: unexpected \"(\""),
    ] {
        assert_eq!(parse_metric_selector(selector).expect_err(selector).to_string(), want);
    }
    assert_eq!(
        parse_metric("a{\"b.c\"=\"d\"}").expect("valid").to_string(),
        "{__name__=\"a\", \"b.c\"=\"d\"}"
    );
    let error = parse_metric("a{b!=\"c\"}").expect_err("no metric");
    assert_eq!(error.to_string(), "1:4: parse error: unexpected <op:!=> in label set, expected \"=\"");
}

/// More than a thousand queries, broken at random, with Prometheus' complaints.
#[test]
fn broken_queries_have_upstreams_complaints() {
    let lines = include_str!("../../testdata/broken.txt").lines().skip(1);
    for line in lines {
        let (query, want) = line.split_once('\t').expect("query, tab, error");
        check(query, want);
    }
}
