//! Query texts: what parses must print to something that parses to the same.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(tree) = promql::parse(text, promql::Options::default()) {
        let printed = tree.to_string();
        let again = promql::parse(&printed, promql::Options::default());
        assert_eq!(again.map(|t| t.to_string()).ok().as_deref(), Some(printed.as_str()));
    }
    let _ = promql::parse_metric_selector(text);
});
