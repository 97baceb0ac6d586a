//! A block's index: opened from any bytes, then read through.
#![no_main]
use std::sync::Arc;
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let map = Arc::new(disk::Map::of_bytes(data.to_vec()));
    if let Ok(index) = block::index::IndexReader::over(map, std::path::Path::new("index")) {
        if let Ok(ids) = index.all_postings() {
            for id in ids.iter() {
                let _ = index.series(id);
            }
        }
    }
});
