//! Golden messages of Prometheus 3.14, round trips and hostile bytes.

use super::*;
use crate::cap;
use model::histogram::{CounterResetHint, Span};
use model::{Labels, Sample};
use proptest::prelude::*;

/// Builds what a walk tells, for tests only.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    series: Vec<SeenSeries>,
    metadata: Vec<(String, MetricType, String, String)>,
    bad: Vec<String>,
    open: SeenSeries,
    keys: Vec<Vec<u8>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct SeenSeries {
    key: Vec<u8>,
    range: Option<Range<u32>>,
    samples: Vec<(i64, u64, i64)>,
    histograms: Vec<(i64, FloatHistogram)>,
    exemplars: Vec<SeenExemplar>,
    metadata: Option<(MetricType, String, String, String)>,
}

type SeenExemplar = (Vec<u8>, Option<Range<u32>>, i64, f64);

fn place(key: Key<'_>) -> (Vec<u8>, Option<Range<u32>>) {
    match key {
        Key::Body(bytes) => (bytes.to_vec(), None),
        Key::Arena(range) => (Vec::new(), Some(range)),
    }
}

impl<'a> Sink<'a> for Seen {
    fn sample(&mut self, t: i64, v: f64, start: i64) {
        self.open.samples.push((t, v.to_bits(), start));
    }
    fn histogram(&mut self, t: i64, histogram: Arc<FloatHistogram>, _: i64) {
        self.open.histograms.push((t, Arc::unwrap_or_clone(histogram)));
    }
    fn exemplar(&mut self, labels: Key<'a>, t: i64, v: f64) {
        let (bytes, range) = place(labels);
        self.open.exemplars.push((bytes, range, t, v));
    }
    fn series(&mut self, key: Key<'a>, counts: Counts, metadata: Option<SeriesMetadata<'a>>) {
        let mut series = std::mem::take(&mut self.open);
        assert_eq!(counts.samples as usize, series.samples.len());
        assert_eq!(counts.histograms as usize, series.histograms.len());
        assert_eq!(counts.exemplars as usize, series.exemplars.len());
        (series.key, series.range) = place(key);
        series.metadata =
            metadata.map(|m| (m.kind, m.metric.to_owned(), m.help.to_owned(), m.unit.to_owned()));
        self.series.push(series);
    }
    fn bad_series(&mut self, _: Counts, why: BadRow) {
        self.open = SeenSeries::default();
        self.bad.push(why.to_string());
    }
    fn bad_exemplar(&mut self, why: BadRow) {
        self.bad.push(why.to_string());
    }
    fn metadata(&mut self, family: &'a str, kind: MetricType, help: &'a str, unit: &'a str) {
        self.metadata.push((family.to_owned(), kind, help.to_owned(), unit.to_owned()));
    }
    fn bad_metadata(&mut self) {
        self.bad.push("metadata".into());
    }
}

type Decode = fn(&[u8], &mut Scratch, &mut Seen) -> Result<(), ProtoError>;

fn walk(decode: Decode, body: &[u8]) -> Result<Seen, ProtoError> {
    let (mut seen, mut scratch) = (Seen::default(), Scratch::new());
    decode(body, &mut scratch, &mut seen)?;
    for series in &mut seen.series {
        if let Some(range) = series.range.take() {
            series.key = scratch.bytes(&range).to_vec();
        }
        for (bytes, range, ..) in &mut series.exemplars {
            if let Some(range) = range.take() {
                *bytes = scratch.bytes(&range).to_vec();
            }
        }
    }
    Ok(seen)
}

fn v1(body: &[u8]) -> Result<Seen, ProtoError> {
    walk(|b, s, k| super::v1::decode(b, s, k), body)
}

fn v2(body: &[u8]) -> Result<Seen, ProtoError> {
    walk(|b, s, k| super::v2::decode(b, s, k), body)
}

fn golden(packed: &[u8]) -> Vec<u8> {
    cap::unsnappy(packed, cap::REMOTE_WRITE_LIMIT, &mut Vec::new()).unwrap().to_vec()
}

/// A key as `storage::key` writes it.
fn key(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        let mut label = Vec::new();
        crate::proto::put_bytes(&mut label, 1, name.as_bytes());
        crate::proto::put_bytes(&mut label, 2, value.as_bytes());
        crate::proto::put_bytes(&mut out, 1, &label);
    }
    out
}

/// Reads a key back; independent of the code under test.
fn labels(key: &[u8]) -> Labels {
    let mut pairs = Vec::new();
    let mut cursor = Cursor::new(key);
    while let Some(field) = cursor.field("key").unwrap() {
        assert_eq!(field.number, 1);
        let mut label = cursor.message().unwrap();
        let (mut name, mut value) = (String::new(), String::new());
        while let Some(field) = label.field("Label").unwrap() {
            let text = String::from_utf8(label.bytes().unwrap().to_vec()).unwrap();
            match field.number {
                1 => name = text,
                _ => value = text,
            }
        }
        pairs.push((name, value));
    }
    Labels::from_pairs(pairs)
}

use crate::proto::{Cursor, ProtoError};

#[test]
fn prometheus_1_0_request() {
    let body = golden(include_bytes!("../../testdata/remote_write/prometheus-3.14-v1.snappy"));
    let seen = v1(&body).unwrap();
    assert!(seen.series.len() > 500 && seen.bad.is_empty());
    let names: std::collections::BTreeSet<String> =
        seen.series.iter().map(|s| labels(&s.key).metric_name().to_owned()).collect();
    assert!(names.contains("go_goroutines") || names.contains("prometheus_build_info"), "{names:?}");
    for series in &seen.series {
        let set = labels(&series.key);
        assert_eq!(set.value("cluster"), "x");
        let rows = series.samples.len() + series.histograms.len() + series.exemplars.len();
        assert_eq!(rows, 1);
        assert!(series.samples.iter().all(|(t, ..)| *t > 1_700_000_000_000));
    }
    let histograms: Vec<_> = seen.series.iter().flat_map(|s| &s.histograms).collect();
    assert!(!histograms.is_empty());
    for (t, h) in histograms {
        assert!(*t > 1_700_000_000_000 && h.schema <= 8);
        let buckets: f64 = h.positive_buckets.iter().chain(&h.negative_buckets).sum();
        assert_eq!(h.count, buckets + h.zero_count, "{h:?}");
    }
    // Written again from what was seen, it is the same message.
    for series in seen.series.iter().filter(|s| !s.histograms.is_empty()) {
        let (t, h) = &series.histograms[0];
        assert!(h.integer, "{h:?}");
        let mut one = Vec::new();
        super::v1::push_histogram(&mut one, &series.key, *t, h);
        assert!(body.windows(one.len()).any(|w| w == one), "not as upstream wrote it: {h:?}");
    }
    let mut again = Vec::new();
    for series in seen.series.iter().filter(|s| s.histograms.is_empty()) {
        if let [(t, v, _)] = series.samples[..] {
            super::v1::push_samples(&mut again, &series.key, &[Sample { t, v: f64::from_bits(v) }]);
        }
    }
    let back = v1(&again).unwrap();
    let want: Vec<_> = seen.series.into_iter().filter(|s| !s.samples.is_empty()).collect();
    assert_eq!(back.series, want);
    for series in &want {
        let mut one = Vec::new();
        let (t, v, _) = series.samples[0];
        super::v1::push_samples(&mut one, &series.key, &[Sample { t, v: f64::from_bits(v) }]);
        assert!(body.windows(one.len()).any(|w| w == one), "not as upstream wrote it");
    }
}

#[test]
fn prometheus_1_0_metadata() {
    let body = golden(include_bytes!("../../testdata/remote_write/prometheus-3.14-v1-metadata.snappy"));
    let seen = v1(&body).unwrap();
    assert!(seen.series.is_empty() && seen.metadata.len() > 100);
    let mut again = Vec::new();
    for (family, kind, help, unit) in &seen.metadata {
        super::v1::push_metadata(&mut again, family, *kind, help, unit);
    }
    assert_eq!(again, body);
}

#[test]
fn prometheus_2_0_request() {
    let body = golden(include_bytes!("../../testdata/remote_write/prometheus-3.14-v2.snappy"));
    let seen = v2(&body).unwrap();
    assert!(seen.series.len() > 500 && seen.bad.is_empty());
    for series in &seen.series {
        let set = labels(&series.key);
        assert_eq!(set.value("cluster"), "x");
        if let Some((_, metric, ..)) = &series.metadata {
            assert_eq!(metric, set.metric_name());
        }
    }
}

#[test]
fn labels_in_pieces_become_one_key() {
    let (a, b) = (key(&[("__name__", "up")]), key(&[("job", "x")]));
    let sample = [0x12, 0x0b, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0x05];
    let exemplar = [0x1a, 0x02, 0x18, 0x07];
    let inner = [&a[..], &sample, &b, &exemplar, &b].concat();
    let mut body = Vec::new();
    crate::proto::put_bytes(&mut body, 1, &inner);
    let seen = v1(&body).unwrap();
    assert_eq!(seen.series[0].key, [&a[..], &b, &b].concat());
    assert_eq!(seen.series[0].samples, [(5, 1f64.to_bits(), 0)]);
    assert_eq!(seen.series[0].exemplars[0].2, 7);
}

#[test]
fn sample_fields_come_in_any_order_and_may_be_missing() {
    let check = |sample: &[u8], want: (i64, f64)| {
        let mut series = Vec::new();
        crate::proto::put_bytes(&mut series, 2, sample);
        let mut body = Vec::new();
        crate::proto::put_bytes(&mut body, 1, &series);
        assert_eq!(v1(&body).unwrap().series[0].samples, [(want.0, want.1.to_bits(), 0)], "{sample:x?}");
    };
    check(&[], (0, 0.0));
    check(&[0x10, 0x05], (5, 0.0));
    check(&[0x10, 0x05, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f], (5, 1.0));
    check(&[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0x05, 0x10, 0x06, 0x7a, 0x00], (6, 1.0));
    // A negative time takes ten bytes.
    check(&[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], (-1, 0.0));
}

#[test]
fn broken_messages_have_upstreams_texts() {
    let bad =
        |decode: fn(&[u8]) -> Result<Seen, ProtoError>, body: &[u8]| decode(body).unwrap_err().to_string();
    assert_eq!(bad(v1, &[0x0a, 0xff, 0x01]), "unexpected EOF");
    assert_eq!(bad(v2, &[0x2a, 0xff, 0x01]), "unexpected EOF");
    assert_eq!(bad(v1, &[0x08, 0x01]), "proto: wrong wireType = 0 for field Timeseries");
    assert_eq!(bad(v1, &[0x00]), "proto: WriteRequest: illegal tag 0 (wire type 0)");
    assert_eq!(bad(v2, &[0x0c]), "proto: Request: wiretype end group for non-group");
}

/// A 2.0 request with symbols `"" a b` and one series of raw bytes.
fn v2_with(series: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    crate::proto::put_bytes(&mut body, 5, series);
    for symbol in ["", "a", "b"] {
        crate::proto::put_bytes(&mut body, 4, symbol.as_bytes());
    }
    body
}

#[test]
fn wrong_references_spoil_only_their_row() {
    let check = |series: &[u8], want: &str| {
        let mut body = v2_with(series);
        crate::proto::put_bytes(&mut body, 5, &[0x0a, 0x02, 0x01, 0x02]);
        let seen = v2(&body).unwrap();
        assert_eq!(seen.bad, [want]);
        assert_eq!(seen.series.last().map(|s| s.key.clone()), Some(key(&[("a", "b")])));
    };
    check(&[0x0a, 0x01, 0x01], "parsing labels for series [1]: invalid labelRefs length 1");
    check(
        &[0x0a, 0x02, 0x01, 0x07],
        "parsing labels for series [1 7]: labelRefs 1 (name) = 7 (value) outside of symbols table (size 3)",
    );
    check(
        &[0x0a, 0x02, 0x01, 0x02, 0x2a, 0x02, 0x20, 0x09],
        "parsing metadata for series [1 2]: metadata unit_ref 9 outside of symbols table (size 3)",
    );
    check(
        &[0x0a, 0x02, 0x01, 0x02, 0x2a, 0x02, 0x18, 0x09],
        "parsing metadata for series [1 2]: metadata help_ref 9 outside of symbols table (size 3)",
    );
    check(
        &[0x0a, 0x02, 0x01, 0x02, 0x22, 0x03, 0x0a, 0x01, 0x01],
        r#"parsing exemplar for series {a="b"}: invalid labelRefs length 1"#,
    );
}

#[test]
fn families_lose_their_suffix() {
    let check = |metric: &str, kind: MetricType, want: &str| {
        assert_eq!(super::v2::family_of(metric, kind), want);
    };
    check("x_bucket", MetricType::Histogram, "x");
    check("x_count", MetricType::Summary, "x");
    check("x_count", MetricType::Counter, "x_count");
    check("_sum", MetricType::Summary, "_sum");
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{1,12}", "\\PC{0,8}", Just("v".repeat(200))]
}

fn histogram() -> impl Strategy<Value = FloatHistogram> {
    let counts = prop_oneof![
        prop::collection::vec(any::<f64>(), 0..5).prop_map(|list| (false, list)),
        prop::collection::vec((0..1u64 << 53).prop_map(|n| n as f64), 0..5).prop_map(|list| (true, list)),
    ];
    (any::<i8>(), counts, any::<i32>(), any::<f64>()).prop_map(|(schema, (integer, buckets), offset, sum)| {
        FloatHistogram {
            integer,
            counter_reset_hint: CounterResetHint::Gauge,
            schema: i32::from(schema),
            zero_threshold: 0.001,
            zero_count: 0.0,
            count: 3.0,
            sum,
            positive_spans: vec![Span { offset, length: buckets.len() as u32 }],
            negative_spans: Vec::new(),
            positive_buckets: buckets.clone(),
            negative_buckets: buckets,
            custom_values: vec![1.0, 2.0],
        }
    })
}

proptest! {
    #[test]
    fn v1_round_trip(
        sets in prop::collection::vec(prop::collection::vec((text(), text()), 0..5), 0..6),
        rows in prop::collection::vec((any::<i64>(), any::<f64>()), 0..5),
        h in histogram(),
    ) {
        let mut body = Vec::new();
        let mut want = Vec::new();
        let samples: Vec<Sample> = rows.iter().map(|(t, v)| Sample { t: *t, v: *v }).collect();
        for set in &sets {
            let pairs: Vec<(&str, &str)> = set.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let key = key(&pairs);
            super::v1::push_samples(&mut body, &key, &samples);
            want.push(SeenSeries {
                key: key.clone(),
                samples: samples.iter().map(|s| (s.t, s.v.to_bits(), 0)).collect(),
                ..SeenSeries::default()
            });
            let row = super::v1::ExemplarRow { labels: &key, t: 7, v: 0.5 };
            super::v1::push_exemplar(&mut body, &key, row);
            want.push(SeenSeries {
                key: key.clone(),
                exemplars: vec![(key.clone(), None, 7, 0.5)],
                ..SeenSeries::default()
            });
        }
        super::v1::push_histogram(&mut body, b"", 9, &h);
        let seen = v1(&body).unwrap();
        let got = seen.series.last().unwrap();
        prop_assert_eq!(format!("{:?}", got.histograms), format!("{:?}", vec![(9, h)]));
        prop_assert_eq!(&seen.series[..seen.series.len() - 1], &want[..]);
    }

    #[test]
    fn v2_round_trip(
        set in prop::collection::btree_map(text(), text(), 1..5),
        rows in prop::collection::vec((any::<i64>(), any::<f64>()), 1..5),
    ) {
        let mut symbols = vec![String::new()];
        let mut refs = Vec::new();
        for (name, value) in &set {
            refs.push(symbols.len() as u32);
            symbols.push(name.clone());
            refs.push(symbols.len() as u32);
            symbols.push(value.clone());
        }
        let mut encoder = super::v2::Encoder::new();
        let samples: Vec<super::v2::Row<'_>> =
            rows.iter().map(|(t, v)| super::v2::Row::Sample { t: *t, start: *t / 2, v: *v }).collect();
        let metadata = super::v2::MetadataRefs { kind: MetricType::Gauge, help: 1, unit: 0 };
        encoder.push(&refs, metadata, &samples);
        let exemplar = super::v2::Row::Exemplar { t: 3, v: 1.5, refs: &refs };
        encoder.push(&refs, super::v2::MetadataRefs::default(), &[exemplar]);
        let mut body = Vec::new();
        encoder.finish(&symbols, &mut body);
        let seen = v2(&body).unwrap();
        prop_assert!(seen.bad.is_empty());
        let pairs: Vec<(&str, &str)> = set.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let want = key(&pairs);
        prop_assert_eq!(&seen.series[0].key, &want);
        prop_assert_eq!(&seen.series[1].exemplars, &vec![(want, None, 3, 1.5)]);
        let want: Vec<_> = rows.iter().map(|(t, v)| (*t, v.to_bits(), *t / 2)).collect();
        prop_assert_eq!(&seen.series[0].samples, &want);
        let (kind, _, help, unit) = seen.series[0].metadata.clone().unwrap();
        prop_assert_eq!((kind, help, unit), (MetricType::Gauge, symbols[1].clone(), String::new()));
        prop_assert!(seen.series[1].metadata.is_none());
    }

    #[test]
    fn any_bytes_are_harmless(body in prop::collection::vec(any::<u8>(), 0..200)) {
        super::v1::fuzz_decode(&body);
        super::v2::fuzz_decode(&body);
    }

    #[test]
    fn damaged_requests_are_harmless(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        for packed in [
            &include_bytes!("../../testdata/remote_write/prometheus-3.14-v1.snappy")[..],
            &include_bytes!("../../testdata/remote_write/prometheus-3.14-v2.snappy")[..],
        ] {
            let mut body = golden(packed);
            body.truncate(4000);
            let at = at.index(body.len());
            body[at] = byte;
            body.truncate(cut.index(body.len()));
            super::v1::fuzz_decode(&body);
            super::v2::fuzz_decode(&body);
        }
    }
}

/// Prints what a walk costs: `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test -p wire walk_cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn walk_cost() {
    #[derive(Default)]
    struct Keys(u64, u64);
    impl<'a> Sink<'a> for Keys {
        fn sample(&mut self, t: i64, v: f64, _: i64) {
            self.0 = self.0.wrapping_add(t as u64 ^ v.to_bits());
        }
        fn histogram(&mut self, _: i64, _: Arc<FloatHistogram>, _: i64) {}
        fn exemplar(&mut self, _: Key<'a>, _: i64, _: f64) {}
        fn series(&mut self, key: Key<'a>, _: Counts, _: Option<SeriesMetadata<'a>>) {
            if let Key::Body(bytes) = key {
                self.1 += bytes.len() as u64;
            }
        }
        fn bad_series(&mut self, _: Counts, _: BadRow) {}
        fn bad_exemplar(&mut self, _: BadRow) {}
        fn metadata(&mut self, _: &'a str, _: MetricType, _: &'a str, _: &'a str) {}
        fn bad_metadata(&mut self) {}
    }
    let (mut one, mut encoder) = (Vec::new(), super::v2::Encoder::new());
    let mut symbols = vec![String::new()];
    for i in 0..2000 {
        let pairs = [
            ("__name__".to_owned(), "http_request_duration_seconds_bucket".to_owned()),
            ("cluster".to_owned(), "production-eu-1".to_owned()),
            ("handler".to_owned(), format!("/api/v1/{}", i / 20)),
            ("instance".to_owned(), "10.0.0.17:9090".to_owned()),
            ("job".to_owned(), "kubernetes-pods".to_owned()),
            ("le".to_owned(), format!("{}", i % 20)),
            ("namespace".to_owned(), "monitoring".to_owned()),
            ("pod".to_owned(), "prometheus-6d4b75cb6d-hbkml".to_owned()),
        ];
        let borrowed: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let sample = Sample { t: 1_700_000_000_000 + i, v: i as f64 * 1.5 + 1.0 };
        super::v1::push_samples(&mut one, &key(&borrowed), &[sample]);
        let mut refs = Vec::new();
        for (name, value) in &pairs {
            for text in [name, value] {
                let at = symbols.iter().position(|s| s == text).unwrap_or_else(|| {
                    symbols.push(text.clone());
                    symbols.len() - 1
                });
                refs.push(at as u32);
            }
        }
        let row = super::v2::Row::Sample { t: sample.t, start: 0, v: sample.v };
        encoder.push(&refs, super::v2::MetadataRefs::default(), &[row]);
    }
    let mut two = Vec::new();
    encoder.finish(&symbols, &mut two);
    let mut scratch = Scratch::new();
    let mut memory = Vec::new();
    let (packed1, packed2) = (cap::snappy(&one).unwrap(), cap::snappy(&two).unwrap());
    let time = |what: &str, f: &mut dyn FnMut()| {
        f();
        let begin = std::time::Instant::now();
        for _ in 0..200 {
            f();
        }
        let per_million = begin.elapsed().as_secs_f64() / 200.0 / 2000.0 * 1e6;
        eprintln!("{what}: {per_million:.4} s per million samples");
    };
    let mut keys = Keys::default();
    time("1.0 walk", &mut || super::v1::decode(&one, &mut scratch, &mut keys).unwrap());
    time("2.0 walk", &mut || super::v2::decode(&two, &mut scratch, &mut keys).unwrap());
    eprintln!("bodies: {} and {}, packed {} and {}", one.len(), two.len(), packed1.len(), packed2.len());
    time("1.0 unsnappy", &mut || {
        cap::unsnappy(&packed1, 1 << 24, &mut memory).unwrap();
    });
    time("2.0 unsnappy", &mut || {
        cap::unsnappy(&packed2, 1 << 24, &mut memory).unwrap();
    });
    let mut encoder = cap::SnappyEncoder::new();
    time("1.0 snappy", &mut || {
        encoder.encode(&one).unwrap();
    });
    assert!(keys.1 > 0);
}
