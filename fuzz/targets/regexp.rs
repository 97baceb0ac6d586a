//! Regular expressions in Go's syntax.
#![no_main]
libfuzzer_sys::fuzz_target!(|pair: (&str, &str)| {
    if let Ok(re) = model::regexp::Regexp::anchored(pair.0) {
        let matched = re.is_match(pair.1);
        if let Some(set) = re.set_matches() {
            assert_eq!(matched, set.iter().any(|s| s == pair.1));
        }
    }
});
