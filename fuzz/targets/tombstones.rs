//! The tombstones of a block.
#![no_main]
mod store;
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((how, data)) = data.split_first() else { return };
    let mut file = data.to_vec();
    if *how != 0 {
        file = vec![0x01, 0x30, 0xba, 0x30, 1];
        file.extend_from_slice(data);
        file.extend_from_slice(&disk::crc::crc32c(data).to_be_bytes());
    }
    // Blocks are the folders whose names begin with the time.
    store::exercise("0", "tombstones", false, file);
});
