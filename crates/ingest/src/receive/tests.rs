//! Tests of the receiver, against a store that keeps what it is given.

use super::remote_write::*;
use meter::Registry;
use model::{Labels, Sample};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::{
    Batch, RejectReason, Rejection, RowKind, SeriesId, SeriesRef, WriteError, WriteOutcome, Writer,
    WriterSource, key,
};
use wire::cap;
use wire::remote_write::{MessageType, v1, v2};

const NOW: i64 = 1_700_000_000_000;

#[derive(Default)]
struct Kept {
    samples: BTreeMap<Labels, Vec<(i64, f64)>>,
    exemplars: Vec<(Labels, i64, f64)>,
    /// Of the last batch.
    starts: Vec<i64>,
    metadata: Vec<(String, String)>,
    writes: usize,
    fail: bool,
    /// Reasons by metric name.
    refuse: BTreeMap<&'static str, (RowKind, RejectReason)>,
}

#[derive(Clone, Default)]
struct Store(Arc<Mutex<Kept>>);

impl WriterSource for Store {
    fn writer(&self) -> Box<dyn Writer> {
        Box::new(self.clone())
    }
}

fn labels(key: &[u8]) -> Labels {
    Labels::from_pairs(key::iter(key).map(|l| l.expect("key")))
}

impl Writer for Store {
    fn write(&mut self, batch: &Batch<'_>, outcome: &mut WriteOutcome) -> Result<(), WriteError> {
        outcome.clear();
        let mut kept = self.0.lock();
        if kept.fail {
            return Err(WriteError::Unavailable("store is starting".into()));
        }
        kept.writes += 1;
        kept.starts = (0..batch.samples.len()).map(|i| batch.starts.get(i).copied().unwrap_or(0)).collect();
        for (at, series) in batch.series.iter().enumerate() {
            let SeriesId::Key(key) = series.id else { panic!("the receiver sends keys") };
            let set = labels(key);
            outcome.refs.push(SeriesRef(1 + at as u64));
            if let Some((kind, reason)) = kept.refuse.get(set.metric_name()).cloned() {
                let row =
                    if kind == RowKind::Exemplar { series.exemplars.start } else { series.samples.start };
                outcome.rejected.push(Rejection { series: at as u32, kind, row, reason });
                if kind != RowKind::Exemplar {
                    continue;
                }
            } else {
                for row in &batch.exemplars[series.exemplars.start as usize..series.exemplars.end as usize] {
                    kept.exemplars.push((labels(row.labels), row.t, row.v));
                    outcome.exemplars += 1;
                }
            }
            let rows = &batch.samples[series.samples.start as usize..series.samples.end as usize];
            outcome.samples += rows.len() as u64;
            kept.samples.entry(set).or_default().extend(rows.iter().map(|s| (s.t, s.v)));
        }
        for row in &batch.metadata {
            kept.metadata.push((row.family.to_owned(), row.help.to_owned()));
        }
        Ok(())
    }
}

struct Bench {
    store: Store,
    receiver: Receiver,
    session: Session,
}

fn bench() -> Bench {
    let store = Store::default();
    let receiver = Receiver::new(Arc::new(store.clone()), &Registry::new(), ReceiverOptions::default());
    let session = receiver.session();
    Bench { store, receiver, session }
}

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

impl Bench {
    fn send(&mut self, content_type: &str, message: &[u8]) -> WriteReply {
        let body = cap::snappy(message).unwrap();
        self.raw(content_type, "snappy", &body)
    }
    fn raw(&mut self, content_type: &str, encoding: &str, body: &[u8]) -> WriteReply {
        let head = RequestHead { content_type: Some(content_type), content_encoding: Some(encoding) };
        self.receiver.receive(&mut self.session, &head, body, NOW)
    }
    fn stored(&self) -> Vec<(String, Vec<(i64, f64)>)> {
        self.store.0.lock().samples.iter().map(|(l, s)| (l.to_string(), s.clone())).collect()
    }
}

fn set(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, v) in pairs {
        key::push_label(&mut out, n, v);
    }
    out
}

fn v1_series(out: &mut Vec<u8>, name: &str, rows: &[(i64, f64)]) {
    let samples: Vec<Sample> = rows.iter().map(|&(t, v)| Sample { t, v }).collect();
    v1::push_samples(out, &set(&[("__name__", name), ("job", "x")]), &samples);
}

/// A 2.0 request of series `(name, rows)`.
fn v2_message(series: &[(&str, &[(i64, f64)])]) -> Vec<u8> {
    let mut symbols = vec![String::new(), "__name__".into(), "help".into()];
    let mut encoder = v2::Encoder::new();
    for (name, rows) in series {
        let refs = [1, symbols.len() as u32];
        symbols.push((*name).to_owned());
        let rows: Vec<v2::Row<'_>> = rows.iter().map(|&(t, v)| v2::Row::Sample { t, start: 0, v }).collect();
        encoder.push(&refs, v2::MetadataRefs { kind: model::MetricType::Gauge, help: 2, unit: 0 }, &rows);
    }
    let mut out = Vec::new();
    encoder.finish(&symbols, &mut out);
    out
}

#[track_caller]
fn refused(content_type: &str, encoding: &str, body: &[u8], status: u16, text: &str) {
    let reply = bench().raw(content_type, encoding, body);
    assert_eq!((reply.status, reply.body.as_str()), (status, format!("{text}\n").as_str()));
}

#[test]
fn negotiation_has_upstreams_texts() {
    refused(
        "application/json",
        "",
        b"",
        415,
        "expected application/x-protobuf as the first (media) part, got application/json content-type",
    );
    refused(
        "application/x-protobuf;proto=foo",
        "",
        b"",
        415,
        "got application/x-protobuf;proto=foo content type; unknown type for remote write protobuf message foo, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request",
    );
    refused(
        "application/x-protobuf;foo",
        "",
        b"",
        415,
        "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got foo in application/x-protobuf;foo content-type",
    );
    refused(
        "application/x-protobuf",
        "zstd",
        b"",
        415,
        "zstd encoding (compression) is not accepted by this server; only snappy is acceptable",
    );
    let only_v1 = ReceiverOptions { accepted: vec![MessageType::V1], ..ReceiverOptions::default() };
    let receiver = Receiver::new(Arc::new(Store::default()), &Registry::new(), only_v1);
    let head = RequestHead { content_type: Some(V2), content_encoding: None };
    assert_eq!(
        receiver.negotiate(&head).unwrap_err().body,
        "io.prometheus.write.v2.Request protobuf message is not accepted by this server; only accepts prometheus.WriteRequest\n"
    );
}

#[test]
fn bad_bodies_have_upstreams_texts() {
    refused("", "", b"", 400, "s2: corrupt input");
    refused("", "snappy", b"hello", 400, "s2: corrupt input");
    refused("", "", &[0x80, 0x80, 0x80, 0x20], 400, "decoded size exceeds the 33554432 bytes limit");
    refused("", "", &[0x03, 0x08, 0x0a, 0xff, 0x01], 400, "unexpected EOF");
    let reply = bench().raw(V2, "", &[0x03, 0x08, 0x0a, 0xff, 0x01]);
    assert_eq!((reply.status, reply.written), (400, Some(Written::default())));
    let small = ReceiverOptions { max_body_bytes: 3, ..ReceiverOptions::default() };
    let receiver = Receiver::new(Arc::new(Store::default()), &Registry::new(), small);
    let reply = receiver.receive(&mut receiver.session(), &RequestHead::default(), b"abcd", NOW);
    assert_eq!((reply.status, reply.body.as_str()), (413, "request body exceeds the 3 bytes limit\n"));
}

#[test]
fn good_requests_are_stored() {
    let mut bench = bench();
    let mut message = Vec::new();
    v1_series(&mut message, "a", &[(NOW, 1.0), (NOW + 1, 2.0)]);
    v1_series(&mut message, "b", &[(NOW, 3.0)]);
    v1::push_metadata(&mut message, "a", model::MetricType::Gauge, "help", "");
    for content_type in ["", "application/x-protobuf", "application/x-protobuf;proto=prometheus.WriteRequest"]
    {
        let reply = bench.send(content_type, &message);
        assert_eq!(reply, WriteReply { status: 204, body: String::new(), written: None });
    }
    let reply = bench.send(V2, &v2_message(&[("c", &[(NOW, 4.0)])]));
    assert_eq!((reply.status, reply.written.map(|w| w.samples)), (204, Some(1)));
    assert_eq!(reply.headers().len(), 3);
    let names: Vec<String> = bench.stored().into_iter().map(|(l, _)| l).collect();
    assert_eq!(names, [r#"{__name__="a", job="x"}"#, r#"{__name__="b", job="x"}"#, r#"{__name__="c"}"#]);
    assert_eq!(bench.store.0.lock().writes, 4);
}

#[test]
fn metadata_of_2_0_is_passed_on_once() {
    let mut bench = bench();
    let message = v2_message(&[("c", &[(NOW, 4.0)]), ("d", &[(NOW, 4.0)])]);
    bench.send(V2, &message);
    bench.send(V2, &message);
    let want = [("c".to_owned(), "help".to_owned()), ("d".to_owned(), "help".to_owned())];
    assert_eq!(bench.store.0.lock().metadata, want);
}

#[test]
fn bad_rows_are_named_and_good_ones_stored() {
    for (content_type, v2) in [("", false), (V2, true)] {
        let mut bench = bench();
        bench.store.0.lock().refuse.insert("b", (RowKind::Sample, RejectReason::OutOfOrder));
        let future = NOW + 10 * 60 * 1000 + 1;
        let series: [(&str, &[(i64, f64)]); 3] =
            [("a", &[(NOW, 1.0), (future, 1.0)]), ("b", &[(NOW, 2.0)]), ("c", &[(NOW, 3.0)])];
        let mut message = Vec::new();
        if v2 {
            message = v2_message(&series);
        } else {
            series.iter().for_each(|(name, rows)| v1_series(&mut message, name, rows));
        }
        let reply = bench.send(content_type, &message);
        let job = if v2 { "" } else { r#", job="x""# };
        let want = format!(
            "out of bounds: timestamp is too far in the future for series {{__name__=\"a\"{job}}}\nout of order sample for series {{__name__=\"b\"{job}}}\n"
        );
        assert_eq!((reply.status, reply.body), (400, want));
        assert_eq!(reply.written, Some(Written { samples: 2, ..Written::default() }));
        assert_eq!(bench.stored().len(), 2);
    }
}

#[test]
fn offenders_are_bounded() {
    let mut bench = bench();
    let mut message = Vec::new();
    for i in 0..50 {
        v1_series(&mut message, &format!("m{i}"), &[(NOW * 2, 1.0), (NOW * 2 + 1, 1.0)]);
    }
    let reply = bench.send("", &message);
    assert_eq!(reply.body.lines().count(), 11);
    assert!(reply.body.ends_with("\n100 rows were refused, the others are stored\n"), "{}", reply.body);
}

#[test]
fn invalid_labels_are_counted() {
    let registry = Registry::new();
    let store = Store::default();
    let text = "invalid metric name or labels, got {}";
    let reason = RejectReason::InvalidLabels(text.into());
    store.0.lock().refuse.insert("a", (RowKind::Series, reason));
    let options = ReceiverOptions {
        label_limits: LabelLimits { value_length: 5, ..LabelLimits::default() },
        ..ReceiverOptions::default()
    };
    let receiver = Receiver::new(Arc::new(store.clone()), &registry, options);
    let mut message = Vec::new();
    v1_series(&mut message, "a", &[(NOW, 1.0), (NOW + 1, 1.0)]);
    v1_series(&mut message, "a_long_one", &[(NOW, 1.0)]);
    v1_series(&mut message, "b", &[(NOW, 1.0)]);
    let body = cap::snappy(&message).unwrap();
    let reply = receiver.receive(&mut receiver.session(), &RequestHead::default(), &body, NOW);
    assert_eq!(
        reply.body,
        format!(
            "label value length exceeds the limit of 5 for series {{__name__=\"a_long_one\", job=\"x\"}}\n{text}\n3 rows were refused, the others are stored\n"
        )
    );
    let families = registry.snapshot();
    let invalid = families.iter().find(|f| f.name.contains("invalid_labels")).unwrap();
    assert_eq!(invalid.points[0].value, 3.0);
}

#[test]
fn empty_series_of_2_0_are_refused() {
    let mut bench = bench();
    let reply = bench.send(V2, &v2_message(&[("a", &[]), ("b", &[(NOW, 1.0)])]));
    assert_eq!(
        reply.body,
        "TimeSeries must contain at least one sample or histogram for series {__name__=\"a\"}\n"
    );
    assert_eq!(reply.written.map(|w| w.samples), Some(1));
    // 1.0 takes them without a word.
    let mut message = Vec::new();
    v1_series(&mut message, "a", &[]);
    assert_eq!(bench.send("", &message).status, 204);
}

#[test]
fn exemplars_fail_a_request_only_as_upstream() {
    let check = |content_type: &str, reason: RejectReason, status: u16| {
        let mut bench = bench();
        bench.store.0.lock().refuse.insert("a", (RowKind::Exemplar, reason));
        let mut message = Vec::new();
        if content_type == V2 {
            let mut encoder = v2::Encoder::new();
            let rows = [
                v2::Row::Sample { t: NOW, start: 0, v: 1.0 },
                v2::Row::Exemplar { t: NOW, v: 1.0, refs: &[1, 2] },
            ];
            encoder.push(&[1, 2], v2::MetadataRefs::default(), &rows);
            encoder.finish(["", "__name__", "a"], &mut message);
        } else {
            let row = v1::ExemplarRow { labels: &set(&[("trace_id", "1")]), t: NOW, v: 1.0 };
            v1::push_exemplar(&mut message, &set(&[("__name__", "a")]), row);
        }
        assert_eq!(bench.send(content_type, &message).status, status);
    };
    check("", RejectReason::OutOfOrderExemplar, 204);
    check("", RejectReason::ExemplarsDisabled, 204);
    check(V2, RejectReason::OutOfOrderExemplar, 400);
    check(V2, RejectReason::DuplicateExemplar, 204);
}

#[test]
fn start_timestamps_reach_the_store() {
    let mut bench = bench();
    let mut encoder = v2::Encoder::new();
    let row = |t: i64, start: i64| v2::Row::Sample { t, start, v: 1.0 };
    // One lies too far in the future.
    let far = NOW + 24 * 3_600_000;
    let series = [
        ([1, 2], vec![row(NOW, 0), row(NOW + 1, 5)]),
        ([1, 3], vec![row(far, 7), row(NOW + 2, 6)]),
        ([1, 4], vec![row(NOW, 0)]),
    ];
    for (refs, rows) in &series {
        encoder.push(refs, v2::MetadataRefs::default(), rows);
    }
    let mut message = Vec::new();
    encoder.finish(["", "__name__", "a", "b", "c"], &mut message);
    assert_eq!(bench.send(V2, &message).status, 400);
    assert_eq!(bench.store.0.lock().starts, [0, 5, 6, 0]);
}

#[test]
fn exemplars_keep_their_labels() {
    let mut bench = bench();
    let mut encoder = v2::Encoder::new();
    let rows =
        [v2::Row::Sample { t: NOW, start: 0, v: 1.0 }, v2::Row::Exemplar { t: NOW, v: 0.5, refs: &[3, 2] }];
    encoder.push(&[1, 2], v2::MetadataRefs::default(), &rows);
    let mut message = Vec::new();
    encoder.finish(["", "__name__", "a", "trace_id"], &mut message);
    let reply = bench.send(V2, &message);
    assert_eq!(reply.written, Some(Written { samples: 1, histograms: 0, exemplars: 1 }));
    let want = Labels::from_pairs([("trace_id", "a")]);
    assert_eq!(bench.store.0.lock().exemplars, [(want, NOW, 0.5)]);
}

#[test]
fn series_with_exemplars_only_are_taken() {
    let mut bench = bench();
    let mut encoder = v2::Encoder::new();
    let rows = [v2::Row::Exemplar { t: NOW, v: 0.5, refs: &[3, 2] }];
    encoder.push(&[1, 2], v2::MetadataRefs::default(), &rows);
    let mut message = Vec::new();
    encoder.finish(["", "__name__", "a", "trace_id"], &mut message);
    let reply = bench.send(V2, &message);
    assert_eq!((reply.status, bench.store.0.lock().exemplars.len()), (204, 1));
}

#[test]
fn a_store_that_cannot_write_asks_for_a_retry() {
    let mut bench = bench();
    bench.store.0.lock().fail = true;
    let message = v2_message(&[("a", &[(NOW, 1.0)])]);
    let reply = bench.send(V2, &message);
    assert_eq!((reply.status, reply.body.as_str()), (503, "store is starting\n"));
    assert_eq!(reply.written, Some(Written::default()));
    bench.store.0.lock().fail = false;
    assert_eq!(bench.send(V2, &message).status, 204);
    assert_eq!(bench.store.0.lock().metadata.len(), 1);
}

#[test]
fn requests_of_empty_messages_are_bounded() {
    let mut bench = bench();
    let reply = bench.send("", &[0x0a, 0x00].repeat(2 << 20));
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (400, "request holds more rows than this server accepts\n")
    );
    let histograms = [&[0x0a, 0x88, 0x80, 0x80, 0x01][..], &[0x22, 0x00].repeat((1 << 20) + 4)].concat();
    assert_eq!(bench.send("", &histograms).status, 400);
    assert_eq!(bench.store.0.lock().writes, 0);
}
