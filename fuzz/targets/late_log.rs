//! A segment of `wbl/`, the log of late samples.
#![no_main]
mod store;
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((how, data)) = data.split_first() else { return };
    let file = if *how == 0 { data.to_vec() } else { store::log(data) };
    store::exercise("wbl", "00000000", false, file);
});
