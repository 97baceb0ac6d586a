//! Compressed bodies under a ceiling.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::cap::fuzz_decode(data));
