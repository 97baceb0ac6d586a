//! Remote-write bodies of both versions.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wire::remote_write::v1::fuzz_decode(data);
    wire::remote_write::v2::fuzz_decode(data);
});
