//! Records of the write-ahead log, of every type.
#![no_main]
use tsdb::wal::record;
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = record::series(data, |_, labels| drop(labels.to_labels()));
    let _ = record::samples(data, &mut Vec::new(), &mut Vec::new());
    let _ = record::tombstones(data, &mut Vec::new());
    let _ = record::exemplars(data, &mut Vec::new());
    let _ = record::metadata(data, &mut Vec::new());
    let _ = record::mmap_markers(data, &mut Vec::new());
    let _ = record::histograms(data, &mut Vec::new());
});
