//! A snapshot of the head, whose name fits the log.
#![no_main]
mod store;
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((how, data)) = data.split_first() else { return };
    let file = if *how == 0 { data.to_vec() } else { store::log(data) };
    store::exercise("chunk_snapshot.", "00000000", true, file);
});
