//! Records as Prometheus 3.14 encodes them, one line for each type in `testdata/records.hex`.

use super::*;
use crate::wal::{HistogramEntry, RecordBuf};

fn golden() -> Vec<Vec<u8>> {
    let byte = |line: &str, i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).expect("hex");
    let lines = include_str!("../../testdata/records.hex").lines();
    lines.map(|line| (0..line.len() / 2).map(|i| byte(line, i)).collect()).collect()
}

fn labels() -> Labels {
    Labels::from_pairs([("__name__", "up"), ("job", "a")])
}

fn histogram() -> FloatHistogram {
    FloatHistogram {
        schema: 1,
        zero_threshold: 0.5,
        zero_count: 2.0,
        count: 9.0,
        sum: -1.5,
        positive_spans: vec![Span { offset: -3, length: 2 }],
        positive_buckets: vec![3.0, 2.0],
        negative_spans: vec![Span { offset: 4, length: 1 }],
        negative_buckets: vec![2.0],
        ..FloatHistogram::default()
    }
}

fn custom() -> FloatHistogram {
    FloatHistogram {
        counter_reset_hint: CounterResetHint::Gauge,
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: 5.0,
        sum: 7.0,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_buckets: vec![2.0, 3.0],
        custom_values: vec![0.5, 10.0],
        ..FloatHistogram::default()
    }
}

const SAMPLES: [FeedSample; 4] = [
    FeedSample { series: SeriesRef(7), t: 1000, v: 1.5 },
    FeedSample { series: SeriesRef(5), t: -2000, v: 2.0 },
    FeedSample { series: SeriesRef(300_000), t: 9_000_000, v: -3.0 },
    FeedSample { series: SeriesRef(9), t: 1001, v: 4.0 },
];

#[test]
fn types_are_in_order() {
    for (i, record) in golden().iter().enumerate() {
        assert_eq!(RecordType::of(record).map(|kind| kind as usize), Some(i + 1));
    }
}

#[test]
fn encodes_as_prometheus() {
    let golden = golden();
    let mut buf = RecordBuf::new();
    let mut out = buf.series();
    out.push(SeriesRef(7), &labels());
    out.push(SeriesRef(1 << 40), &Labels::empty());
    drop(out);
    let mut out = buf.samples();
    SAMPLES.iter().for_each(|s| out.push(s.series, s.t, s.v));
    drop(out);
    let mut out = buf.tombstones();
    out.push(SeriesRef(7), -5, 100);
    out.push(SeriesRef(7), 200, 300);
    drop(out);
    let mut out = buf.exemplars();
    out.push(SeriesRef(7), 1000, 1.5, &labels());
    out.push(SeriesRef(6), 999, 2.0, &labels());
    drop(out);
    buf.mmap_markers().push(SeriesRef(7), 1 << 33);
    let metadata = Metadata { kind: MetricType::Gauge, unit: "s".into(), help: "h".into() };
    buf.metadata().push(SeriesRef(300), &metadata);
    // Integers first; a record for each kind.
    let integer = |h: FloatHistogram| FloatHistogram { integer: true, ..h };
    let all = [integer(histogram()), histogram(), integer(custom()), custom()];
    let rows = all.iter().flat_map(|h| {
        let entry = |series, t| {
            let (series, integer) = (SeriesRef(series), h.holds_integers());
            HistogramEntry { series, t, start: 0, integer, histogram: h }
        };
        [entry(7, 1000), entry(8, 1001)].into_iter().take(if h.uses_custom_buckets() { 1 } else { 2 })
    });
    buf.histograms(false, rows);
    let want = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    for (got, want) in buf.iter().zip(want) {
        assert_eq!(got, golden[want], "type {}", want + 1);
    }
    assert_eq!(buf.len(), want.len());
}

#[test]
fn decodes_what_prometheus_encoded() {
    let golden = golden();
    let mut series_got = Vec::new();
    series(&golden[0], |id, l| series_got.push((id.0, l.to_labels()))).expect("decodes");
    assert_eq!(series_got, [(7, labels()), (1 << 40, Labels::empty())]);
    for kind in [2, 11] {
        let mut got = Vec::new();
        let mut starts = Vec::new();
        samples(&golden[kind - 1], &mut got, &mut starts).expect("decodes");
        assert_eq!(got, SAMPLES, "type {kind}");
        assert_eq!(starts.iter().any(|start| *start != 0), kind == 11);
        if kind == 11 {
            let mut again = RecordBuf::new();
            let mut out = again.samples_with_starts();
            let starts = starts.into_iter().chain(std::iter::repeat(0));
            got.iter().zip(starts).for_each(|(s, start)| out.push(s.series, s.t, start, s.v));
            drop(out);
            assert_eq!(again.iter().next(), Some(&golden[10][..]));
        }
    }
    for (kind, custom_buckets) in [(7, false), (8, false), (9, true), (10, true), (12, false), (13, false)] {
        let mut got = Vec::new();
        assert_eq!(histograms(&golden[kind - 1], &mut got), Ok(0));
        let rows: Vec<_> = got.iter().map(|h| (h.series.0, h.t)).collect();
        assert_eq!(rows, [(7, 1000), (8, 1001)][..rows.len()], "type {kind}");
        assert_eq!(rows.len(), if custom_buckets { 1 } else { 2 });
        let want = if custom_buckets { custom() } else { histogram() };
        let want = FloatHistogram { integer: [7, 9, 12].contains(&kind), ..want };
        if kind > 11 {
            assert!(got.iter().any(|h| h.start != 0));
            let mut again = RecordBuf::new();
            let rows = got.iter().map(|h| HistogramEntry {
                integer: h.histogram.holds_integers(),
                series: h.series,
                t: h.t,
                start: h.start,
                histogram: &h.histogram,
            });
            again.histograms(true, rows);
            assert_eq!(again.iter().collect::<Vec<_>>(), [&golden[kind - 1][..]], "type {kind}");
        }
        assert!(got.iter().all(|h| *h.histogram == want), "type {kind}: {got:?}");
    }
}

#[test]
fn cut_records_are_errors_or_shorter() {
    for record in golden() {
        for cut in 1..record.len() {
            let part = &record[..cut];
            let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
            let rows = match RecordType::of(part).expect("a type") {
                RecordType::Samples | RecordType::SamplesV2 => {
                    samples(part, &mut a, &mut Vec::new()).map(|()| a.len())
                }
                RecordType::Exemplars => exemplars(part, &mut b).map(|()| b.len()),
                RecordType::Series
                | RecordType::Tombstones
                | RecordType::MmapMarkers
                | RecordType::Metadata => {
                    continue;
                }
                _ => histograms(part, &mut c).map(|_| c.len()),
            };
            assert!(rows.unwrap_or(0) < 4, "cut at {cut}");
        }
    }
}
