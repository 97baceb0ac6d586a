//! Printed trees parse to trees that print the same; no text makes the parser panic.

use crate::{Options, parse, parse_series, prettify};
use proptest::prelude::*;

fn selector() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("foo"), Just("sum"), Just("a:b"), Just("offset"), Just("fill")];
    let braces = prop_oneof![Just(""), Just("{a=\"b\"}"), Just("{c!~\"d.*\",\"e.f\"=\"g\"}")];
    let times =
        prop_oneof![Just(""), Just(" offset 5m"), Just(" @ 1.5 offset -(1m+step())"), Just(" @ start()")];
    (name, braces, times).prop_map(|(n, b, t)| format!("{n}{b}{t}"))
}

fn vector() -> impl Strategy<Value = String> {
    selector().prop_recursive(5, 40, 3, |inner| {
        let op = prop_oneof![
            Just("+"),
            Just("*"),
            Just("^"),
            Just("and"),
            Just("or"),
            Just("== bool"),
            Just("</"),
            Just("/ on(a) group_left(b)"),
            Just("- fill_left(1)")
        ];
        let call =
            prop_oneof![Just("abs"), Just("sum by (x)"), Just("topk without (y) (2,"), Just("-"), Just("+")];
        let range = prop_oneof![
            Just("[5m:]"),
            Just("[1h:max_of(1m, step())] offset 1h"),
            Just("[(range())*2:1m] @ 7")
        ];
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (call, inner.clone()).prop_map(|(call, a)| match call.ends_with(',') {
                true => format!("{call} {a})"),
                false => format!("{call}({a})"),
            }),
            (inner, range).prop_map(|(a, range)| format!("rate(({a}){range})")),
        ]
    })
}

const BITS: &[&str] = &[
    "(", ")", "[", "]", "{", "}", ",", ":", "@", "=", "=~", "\"a\"", "a", "5m", "1", "+", "-", "sum", "by",
    "on", "offset", "step", "start", " ", "\n", "#", "{{", "}}", "_", "x3", "é", "\u{fffd}", "\\", "'", "`",
    "rate",
];

proptest! {
    #[test]
    fn print_then_parse(query in vector()) {
        if let Ok(expr) = parse(&query, Options::ALL) {
            let printed = expr.to_string();
            for text in [printed.clone(), prettify(&expr)] {
                let again = parse(&text, Options::ALL).map(|e| e.to_string());
                prop_assert_eq!(again.as_ref().ok(), Some(&printed));
            }
        }
    }

    #[test]
    fn any_text_is_answered(bits in prop::collection::vec(prop::sample::select(BITS), 0..24)) {
        let text = bits.concat();
        for error in [parse(&text, Options::ALL).err(), parse_series(&format!("m {text}")).err()].into_iter().flatten() {
            prop_assert!(error.to_string().contains("parse error: "));
            for c in &error.complaints {
                prop_assert!(c.span.start <= error.query.len());
            }
        }
    }
}
