//! Scrape bodies: the first byte chooses the format.
#![no_main]
use wire::exposition::negotiate::Media;
use wire::exposition::{Entry, LabelBuf, Parser, ParserOptions};
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let media = [Media::Text, Media::OpenMetrics, Media::Protobuf][usize::from(choice % 3)];
    let options = ParserOptions { native_histograms: choice & 8 != 0, ..ParserOptions::default() };
    let mut parser = Parser::new(media, body, options);
    let mut labels = LabelBuf::default();
    while let Ok(Some(entry)) = parser.next_entry() {
        labels.clear();
        let _ = match entry {
            Entry::Series(series) => series.labels(&mut labels),
            Entry::Histogram(histogram) => histogram.labels(&mut labels),
            _ => Ok(()),
        };
    }
});
