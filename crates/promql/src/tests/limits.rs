//! Hostile sizes: refused with a text, never a crash.

use crate::{MAX_DEPTH, Options, parse, parse_series};

/// Runs on a stack as small as that of a worker thread.
fn refused(query: String) -> String {
    let parsed = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        parse(&query, Options::ALL).expect_err("must be refused").complaints[0].message.clone()
    });
    parsed.expect("thread").join().expect("no overflow")
}

#[test]
fn deep_trees_are_refused() {
    const N: usize = 200_000;
    let too_deep = format!("expression is nested more than {MAX_DEPTH} levels deep");
    for query in [
        "(".repeat(N),
        "-".repeat(N) + "x",
        "sum(".repeat(N),
        "abs(".repeat(N),
        "1 ^ ".repeat(N) + "1",
        "a or ".repeat(N) + "a",
        format!("x{}", "[1m:]".repeat(N)),
        format!("x[{}", "(".repeat(N)),
        format!("x[{}", "-".repeat(N)),
        format!("x[{}1]", "1+".repeat(N)),
        format!("x offset {}", "-".repeat(N)),
        format!("x offset {}", "max_of(1,".repeat(N)),
        format!("{}a{}", "(".repeat(MAX_DEPTH - 1), " + a)".repeat(MAX_DEPTH - 1)),
    ] {
        assert_eq!(refused(query.clone()), too_deep, "{}", &query[..20]);
    }
}

#[test]
fn trees_up_to_the_limit_walk_and_print() {
    let half = MAX_DEPTH / 2;
    let query = format!("{}{}1{}", "1 + ".repeat(half - 2), "(".repeat(half), ")".repeat(half));
    let walked = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let expr = parse(&query, Options::default()).expect("within the limit");
        assert_eq!(expr.clone(), expr);
        assert_eq!(expr.to_string(), query);
        crate::to_json(&expr);
        expr.selectors().len()
    });
    assert_eq!(walked.expect("thread").join().ok(), Some(0));
}

#[test]
fn long_flat_queries_are_fine() {
    let args = format!("label_join(x, \"a\", \",\"{})", ", \"b\"".repeat(100_000));
    assert!(parse(&args, Options::default()).is_ok());
    let labels = format!("{{{}}}", "a=\"b\",".repeat(100_000));
    assert!(parse(&labels, Options::default()).is_ok());
}

#[test]
fn repetitions_do_not_eat_the_memory() {
    for line in [
        "x 1x99999999999",
        "x 1+1x99999999999",
        "x _x99999999999",
        "x {{}}x18446744073709551615",
        "x 1x3000000 1x3000000",
    ] {
        let error = parse_series(line).expect_err(line).to_string();
        assert!(error.ends_with("series has more than 5000000 values"), "{error}");
    }
}
