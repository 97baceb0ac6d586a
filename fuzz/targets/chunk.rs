//! Chunks of every encoding: the first byte chooses.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((encoding, data)) = data.split_first() else { return };
    let (mut times, mut floats, mut histograms, mut starts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut into = chunk::Columns {
        times: &mut times,
        floats: &mut floats,
        histograms: &mut histograms,
        starts: &mut starts,
    };
    let _ = chunk::decode(encoding % 7, data, &mut into);
    assert_eq!(times.len(), floats.len());
    assert!(starts.len() <= times.len());
});
