//! The notation of series.

use crate::{SeriesValue, parse_series, parse_start_times};
use model::is_stale_nan;

fn show(line: &str) -> String {
    let series = match parse_series(line) {
        Ok(series) => series,
        Err(e) => return e.to_string(),
    };
    let mut out = series.labels.to_string();
    for value in series.values {
        out += &match value {
            SeriesValue::Omitted => " _".into(),
            SeriesValue::Float(v) if is_stale_nan(v) => " stale".into(),
            SeriesValue::Float(v) => format!(" {v}"),
            SeriesValue::Histogram { histogram: h, hint_set } => format!(
                " {}/{}/{}{:?}{:?}{}",
                h.schema,
                h.sum,
                h.count,
                h.positive_spans.iter().map(|s| (s.offset, s.length)).collect::<Vec<_>>(),
                h.positive_buckets,
                if hint_set { "!" } else { "" }
            ),
        };
    }
    out
}

#[test]
fn values() {
    for (line, want) in [
        ("a", "{__name__=\"a\"}"),
        ("a{b=\"c\"} 1 -2.5 _ stale NaN", "{__name__=\"a\", b=\"c\"} 1 -2.5 _ stale NaN"),
        ("a 1x2 _x2 3-1x2", "{__name__=\"a\"} 1 1 1 _ _ 3 2 1"),
        ("a 1+0.5x1\t+Inf", "{__name__=\"a\"} 1 1.5 inf"),
        ("{\"x.y\", c=\"d\"} 5", "{__name__=\"x.y\", c=\"d\"} 5"),
        (
            "a {{}} {{schema:1 sum:2.5 count:-3 buckets:[1 2] offset:-1}}",
            "{__name__=\"a\"} 0/0/0[][] 1/2.5/-3[(-1, 2)][1.0, 2.0]",
        ),
        ("a {{count:1 counter_reset_hint:gauge}}x1", "{__name__=\"a\"} 0/0/1[][]! 0/0/1[][]!"),
        (
            "a {{sum:1 buckets:[1]}}+{{sum:2 buckets:[1 1] offset:2}}x1",
            "{__name__=\"a\"} 0/1/0[(0, 1)][1.0] 0/3/0[(0, 1), (1, 2)][1.0, 1.0, 1.0]",
        ),
        (
            "a {{buckets:[3]}}-{{schema:1 buckets:[1] offset:-1}}x1",
            "{__name__=\"a\"} 0/0/0[(0, 1)][3.0] 0/0/0[(0, 1)][2.0]",
        ),
        (
            "a foo",
            "1:3: parse error: unexpected identifier \"foo\" in series values, expected number or \"stale\"",
        ),
        ("a 1x", "1:5: parse error: unexpected end of input in series values"),
        (
            "a 1x1.5",
            "1:5: parse error: invalid repetition in series values: strconv.ParseUint: parsing \"1.5\": invalid syntax",
        ),
        ("a {{foo:1}}", "1:5: parse error: bad histogram descriptor found: \"foo\""),
        ("a {{sum:1 sum:2}}", "1:1: parse error: duplicate key \"sum\" in histogram"),
        (
            "a {{schema:2}}+{{schema:1}}x2",
            "1:29: parse error: error combining histograms: cannot merge from schema 1 to 2",
        ),
    ] {
        assert_eq!(show(line), want, "{line}");
    }
}

#[test]
fn start_times() {
    let read = |line: &str| parse_start_times(line).map(|r| r.map(|s| s.offsets).map_err(|e| e.to_string()));
    assert_eq!(read("a{b=\"c\"} 1 2"), None);
    assert_eq!(
        read("  a{b=\"c\"}@st 0s -1m _x2 -1m+10sx2 5sx1"),
        Some(Ok([0, -60, 1, 1, -60, -50, -40, 5, 5].map(|s| (s != 1).then_some(s * 1000)).to_vec()))
    );
    for (line, want) in [
        (
            "a@st 5",
            "invalid @st sequence: invalid ST item \"5\": invalid duration \"5\": not a valid duration string: \"5\"",
        ),
        ("a@st 5sx", "invalid @st sequence: invalid ST item \"5sx\": invalid repeat count"),
        (
            "a@st 5s+1s",
            "invalid @st sequence: invalid ST item \"5s+1s\": expected 'x<count>' after step duration",
        ),
    ] {
        assert_eq!(read(line), Some(Err(want.into())));
    }
}
