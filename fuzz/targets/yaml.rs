//! Configuration documents.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = yaml::parse(text);
});
