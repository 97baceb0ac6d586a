//! Parsers seen from outside: whole bodies in, one line per entry out.

use super::negotiate::Media;
use super::*;
use crate::proto::put_bytes;
use proptest::prelude::*;

/// Every entry as a line, the error last.
fn read(media: Media, body: &[u8], options: ParserOptions) -> String {
    let mut out = String::new();
    let mut labels = LabelBuf::default();
    let mut parser = Parser::new(media, body, options);
    let result: Result<(), ParseError> = (|| {
        while let Some(entry) = parser.next_entry()? {
            match entry {
                Entry::Type { family, kind } => out.push_str(&format!("type {family} {}", kind.as_str())),
                Entry::Help { family, help } => out.push_str(&format!("help {family} {help:?}")),
                Entry::Unit { family, unit } => out.push_str(&format!("unit {family} {unit:?}")),
                Entry::Comment(text) => out.push_str(&format!("comment {}", String::from_utf8_lossy(text))),
                Entry::Histogram(h) => {
                    h.labels(&mut labels)?;
                    out.push_str(&format!("{} {:?}", shown(&mut labels), h.histogram));
                    if h.start != 0 {
                        out.push_str(&format!(" from {}", h.start));
                    }
                }
                Entry::Series(s) => {
                    s.labels(&mut labels)?;
                    out.push_str(&format!("{} {}", shown(&mut labels), s.value));
                    if let Some(t) = s.t {
                        out.push_str(&format!(" @{t}"));
                    }
                    if s.start != 0 {
                        out.push_str(&format!(" from {}", s.start));
                    }
                    if let Some(e) = s.exemplar {
                        e.labels(&mut labels)?;
                        out.push_str(&format!(" # {} {}", shown(&mut labels), e.value));
                        if let Some(t) = e.t {
                            out.push_str(&format!(" @{t}"));
                        }
                    }
                }
            }
            out.push('\n');
        }
        Ok(())
    })();
    if let Err(e) = result {
        out.push_str(&format!("error {e}\n"));
    }
    out
}

fn shown(labels: &mut LabelBuf) -> String {
    labels.sort();
    let list: Vec<_> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
    list.join(",")
}

#[track_caller]
fn check_text(body: &str, want: &str) {
    assert_eq!(read(Media::Text, body.as_bytes(), ParserOptions::default()), want, "{body}");
}

#[track_caller]
fn check_openmetrics(body: &str, want: &str) {
    assert_eq!(read(Media::OpenMetrics, body.as_bytes(), ParserOptions::default()), want, "{body}");
}

#[test]
fn samples_with_and_without_labels() {
    check_text("up 1\n", "__name__=\"up\" 1\n");
    check_text("up 1", "__name__=\"up\" 1\n");
    check_text("a:b{} 2.5e3\n", "__name__=\"a:b\" 2500\n");
    check_text(
        "m{b=\"2\",a=\"1\",} -3 1700000000123\n",
        "__name__=\"m\",a=\"1\",b=\"2\" -3 @1700000000123\n",
    );
    check_text("m{a=\"}\\\"{\"} 4\n", "__name__=\"m\",a=\"}\\\"{\" 4\n");
    check_text("m{a=\"x\\\\y\\nz\\q\"} 5\n", "__name__=\"m\",a=\"x\\\\y\\nz\\\\q\" 5\n");
}

#[test]
fn odd_blanks_are_read_in_the_older_format() {
    let want = "__name__=\"m\",a=\"1\",b=\"2\" 1\n";
    check_text("m { a = \"1\" , b= \"2\" }\t 1\n", want);
    check_text("\n\n  m{a=\"1\" b=\"2\"}1  \n", want);
    check_text("m{a=\"1\", b=\"2\" , }   1\n", want);
    check_text("m 7  \t 42\n", "__name__=\"m\" 7 @42\n");
}

#[test]
fn metadata_and_comments() {
    check_text(
        "# HELP m Some\\nhelp \\\\ \\\"x\\\".\n# \tTYPE m counter\n# HELP n\n# just a remark\n#EOF\nm_total 1\n",
        "help m \"Some\\nhelp \\\\ \\\\\\\"x\\\\\\\".\"\ntype m counter\nhelp n \"\"\ncomment # just a remark\n\
         comment #EOF\n__name__=\"m_total\" 1\n",
    );
    check_text("# TYPE m untyped\n", "type m unknown\n");
    check_text("# TYPE m gauge \n", "error invalid metric type \"gauge \"\n");
    check_openmetrics(
        "# TYPE m_seconds counter\n# UNIT m_seconds seconds\n# HELP m_seconds A \\\"b\\\".\n# EOF\n",
        "type m_seconds counter\nunit m_seconds \"seconds\"\nhelp m_seconds \"A \\\"b\\\".\"\n",
    );
    check_openmetrics("# UNIT m bytes\n# EOF\n", "error unit \"bytes\" not a suffix of metric \"m\"\n");
}

#[test]
fn quoted_names() {
    check_text("{\"http.requests\",code=\"200\"} 1\n", "__name__=\"http.requests\",code=\"200\" 1\n");
    check_text("{code=\"200\",\"http.requests\"} 1\n", "__name__=\"http.requests\",code=\"200\" 1\n");
    check_text("m{\"service.name\"=\"x\"} 1\n", "__name__=\"m\",service.name=\"x\" 1\n");
    check_text("# TYPE \"a.b\" gauge\n{\"a.b\"} 1\n", "type a.b gauge\n__name__=\"a.b\" 1\n");
    check_openmetrics("{\"a.b\",\"c d\"=\"e\"} 1 2.5\n# EOF\n", "__name__=\"a.b\",c d=\"e\" 1 @2500\n");
    check_text("m{\"n\"} 1\n", "error metric name already set while parsing: \"m{\\\"n\\\"}\"\n");
}

#[test]
fn bounds_are_normalised_by_the_type_before() {
    check_text(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_bucket{le=\"x\"} 3\n",
        "type h histogram\n__name__=\"h_bucket\",le=\"1.0\" 1\n__name__=\"h_bucket\",le=\"+Inf\" 2\n\
         __name__=\"h_bucket\",le=\"x\" 3\n",
    );
    check_text(
        "# TYPE s summary\ns{quantile=\"0\"} 1\ns{le=\"1\"} 1\n# TYPE g gauge\ng{le=\"1\"} 1\n",
        "type s summary\n__name__=\"s\",quantile=\"0.0\" 1\n__name__=\"s\",le=\"1\" 1\ntype g gauge\n\
         __name__=\"g\",le=\"1\" 1\n",
    );
}

#[test]
fn exemplars() {
    check_openmetrics(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1 # {trace_id=\"ab\"} 0.5 1700000000.25\nh_count 3 1.5 # {} 2\n# EOF",
        "type h histogram\n__name__=\"h_bucket\",le=\"1.0\" 1 # trace_id=\"ab\" 0.5 @1700000000250\n\
         __name__=\"h_count\" 3 @1500 #  2\n",
    );
    check_openmetrics(
        "c_total 1 # {a=\"b\" } 1\n# EOF\n",
        "error expected comma or brace close, got \" \" (\"INVALID\") while parsing: \"c_total 1 # {a=\\\"b\\\" \"\n",
    );
}

#[test]
fn the_end_of_openmetrics_is_marked() {
    check_openmetrics("m 1\n", "__name__=\"m\" 1\nerror data does not end with # EOF\n");
    check_openmetrics("m 1", "error data does not end with # EOF\n");
    check_openmetrics("# EOF\nm 1\n", "error unexpected data after # EOF\n");
    check_openmetrics("m 1\n# EOF", "__name__=\"m\" 1\n");
}

#[test]
fn wrong_lines_are_named_as_upstream_names_them() {
    check_text(
        "m{x='y'} 1\n",
        "error expected label value, got \"'\" (\"INVALID\") while parsing: \"m{x='\"\n",
    );
    check_text(
        "ok 1\nbad\n",
        "__name__=\"ok\" 1\nerror expected value after metric, got \"\\n\" (\"INVALID\") while parsing: \"bad\\n\"\n",
    );
    check_text(
        "m one\n",
        "error strconv.ParseFloat: parsing \"one\": invalid syntax while parsing: \"m one\"\n",
    );
    check_text(
        "m 1 -5\n",
        "error expected timestamp or new record, got \"-\" (\"INVALID\") while parsing: \"m 1 -\"\n",
    );
    check_text("{x=\"y\"} 1\n", "error metric name not set while parsing: \"{x=\\\"y\\\"} 1\"\n");
    check_text(
        "m{x=\"y\" 1\n",
        "error expected label name, got \"1\" (\"INVALID\") while parsing: \"m{x=\\\"y\\\" 1\"\n",
    );
    check_text(
        "m 1 99999999999999999999\n",
        "error strconv.ParseInt: parsing \"99999999999999999999\": value out of range while parsing: \"m 1 99999999999999999999\"\n",
    );
    let bad_utf8 = read(Media::Text, b"m{x=\"\xfe\"} 1\n", ParserOptions::default());
    assert_eq!(bad_utf8, "error invalid UTF-8 label value: \"\\\"\\xfe\\\"\"\n");
    let zero = read(Media::Text, b"m{x=\"a\0b\"} 1\n", ParserOptions::default());
    assert_eq!(zero, "__name__=\"m\",x=\"a\\0b\" 1\n");
}

#[test]
fn type_and_unit_become_labels_when_asked() {
    let options = ParserOptions { type_and_unit_labels: true, ..ParserOptions::default() };
    let body =
        b"# TYPE m_seconds gauge\n# UNIT m_seconds seconds\nm_seconds{__type__=\"x\",a=\"b\"} 1\n# EOF\n";
    assert_eq!(
        read(Media::OpenMetrics, body, options),
        "type m_seconds gauge\nunit m_seconds \"seconds\"\n\
         __name__=\"m_seconds\",__type__=\"gauge\",__unit__=\"seconds\",a=\"b\" 1\n"
    );
}

#[test]
fn created_lines_are_starts_of_the_series_before_them() {
    let options = ParserOptions { start_timestamps: true, ..ParserOptions::default() };
    let body = "# TYPE c counter\n\
        c_total{a=\"x\"} 1\nc_created{a=\"x\"} 1520430000.123\n\
        c_total{a=\"y\"} 2\nc_total{a=\"z\"} 3\nc_created{a=\"z\"} 20\n\
        # TYPE h histogram\n\
        h_bucket{le=\"1.0\"} 4\nh_bucket{le=\"+Inf\"} 5\nh_count 5\nh_sum 6\nh_created 30.5\n\
        # TYPE g gauge\n\
        g 7\ng_created 8\n\
        # TYPE s summary\n\
        s{quantile=\"0.5\"} 9\n# EOF\n";
    assert_eq!(
        read(Media::OpenMetrics, body.as_bytes(), options),
        "type c counter\n\
         __name__=\"c_total\",a=\"x\" 1 from 1520430000123\n\
         __name__=\"c_total\",a=\"y\" 2\n\
         __name__=\"c_total\",a=\"z\" 3 from 20000\n\
         type h histogram\n\
         __name__=\"h_bucket\",le=\"1.0\" 4 from 30500\n\
         __name__=\"h_bucket\",le=\"+Inf\" 5 from 30500\n\
         __name__=\"h_count\" 5 from 30500\n\
         __name__=\"h_sum\" 6 from 30500\n\
         type g gauge\n\
         __name__=\"g\" 7\n\
         __name__=\"g_created\" 8\n\
         type s summary\n\
         __name__=\"s\",quantile=\"0.5\" 9\n"
    );
    let plain = read(Media::OpenMetrics, body.as_bytes(), ParserOptions::default());
    assert!(plain.contains("__name__=\"c_created\",a=\"x\" 1520430000.123\n") && !plain.contains("from"));
}

#[test]
fn protobuf_values_have_starts() {
    let stamp = [varint_field(1, 9), vec![2 << 3, 0xc0, 0x84, 0x3d]].concat();
    let counter = [double_field(1, 7.0), message(&[(3, &stamp)])].concat();
    let summary = [varint_field(1, 4), message(&[(4, &stamp)])].concat();
    let native = [varint_field(1, 1), double_field(6, 0.5), message(&[(15, &stamp)])].concat();
    let body = [
        family("c", 0, &[message(&[(3, &counter)])]),
        family("s", 2, &[message(&[(4, &summary)])]),
        family("h", 4, &[message(&[(7, &native)])]),
    ]
    .concat();
    let options =
        ParserOptions { start_timestamps: true, native_histograms: true, ..ParserOptions::default() };
    let starts: Vec<_> = read(Media::Protobuf, &body, options)
        .lines()
        .filter(|line| line.starts_with("__name__"))
        .map(|line| line.rsplit_once(" from ").map(|(_, start)| start.to_owned()))
        .collect();
    assert_eq!(starts, vec![Some("9001".to_owned()); 4]);
    let options = ParserOptions { start_timestamps: false, ..options };
    assert!(!read(Media::Protobuf, &body, options).contains(" from "));
}

/// A message of fields.
fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, bytes) in fields {
        put_bytes(&mut out, *number, bytes);
    }
    out
}

fn double_field(number: u32, value: f64) -> Vec<u8> {
    let mut out = vec![(number << 3 | 1) as u8];
    out.extend_from_slice(&value.to_le_bytes());
    out
}

fn varint_field(number: u32, value: u8) -> Vec<u8> {
    vec![(number << 3) as u8, value]
}

/// A delimited family.
fn family(name: &str, kind: u8, metrics: &[Vec<u8>]) -> Vec<u8> {
    let mut inner = message(&[(1, name.as_bytes()), (2, b"Help.")]);
    inner.extend(varint_field(3, kind));
    for metric in metrics {
        inner.extend(message(&[(4, metric)]));
    }
    let mut out = Vec::new();
    crate::proto::put_varint(&mut out, inner.len() as u64);
    out.extend(inner);
    out
}

#[track_caller]
fn check_proto(body: &[u8], options: ParserOptions, want: &str) {
    assert_eq!(read(Media::Protobuf, body, options), want);
}

#[test]
fn protobuf_counters_and_summaries() {
    let label = message(&[(1, b"code"), (2, b"200")]);
    let exemplar_label = message(&[(1, b"id"), (2, b"x")]);
    let stamp = varint_field(1, 9);
    let exemplar = [message(&[(1, &exemplar_label)]), double_field(2, 0.5), message(&[(3, &stamp)])].concat();
    let counter = [double_field(1, 7.0), message(&[(2, &exemplar)])].concat();
    let mut metric = message(&[(1, &label), (3, &counter)]);
    metric.extend(varint_field(6, 42));
    let quantile = [double_field(1, 0.5), double_field(2, 3.0)].concat();
    let summary = [varint_field(1, 4), double_field(2, 8.0), message(&[(3, &quantile)])].concat();
    let body = [
        family("c_total", 0, &[metric]),
        family("empty", 1, &[]),
        family("s", 2, &[message(&[(4, &summary)])]),
    ]
    .concat();
    check_proto(
        &body,
        ParserOptions::default(),
        "help c_total \"Help.\"\ntype c_total counter\n\
         __name__=\"c_total\",code=\"200\" 7 @42 # id=\"x\" 0.5 @9000\n\
         help s \"Help.\"\ntype s summary\n__name__=\"s_count\" 4\n__name__=\"s_sum\" 8\n\
         __name__=\"s\",quantile=\"0.5\" 3\n",
    );
    check_proto(
        &body[..body.len() - 1],
        ParserOptions::default(),
        &format!(
            "{}error unexpected EOF\n",
            "help c_total \"Help.\"\ntype c_total counter\n__name__=\"c_total\",code=\"200\" 7 @42 # id=\"x\" 0.5 @9000\n"
        ),
    );
}

#[test]
fn protobuf_histograms_classic_and_native() {
    let bucket = [varint_field(1, 2), double_field(2, 1.0)].concat();
    let span = [varint_field(1, 2), varint_field(2, 2)].concat();
    let histogram = [
        varint_field(1, 3),
        double_field(2, 6.5),
        message(&[(3, &bucket)]),
        varint_field(5, 0),
        double_field(6, 0.001),
        message(&[(12, &span), (13, &[4, 1])]),
    ]
    .concat();
    let body = family("h", 4, &[message(&[(7, &histogram)])]);
    let head = "help h \"Help.\"\ntype h histogram\n";
    let classic = "__name__=\"h_count\" 3\n__name__=\"h_sum\" 6.5\n__name__=\"h_bucket\",le=\"1.0\" 2\n\
                   __name__=\"h_bucket\",le=\"+Inf\" 3\n";
    check_proto(&body, ParserOptions::default(), &format!("{head}{classic}"));
    let native = ParserOptions { native_histograms: true, ..ParserOptions::default() };
    let got = read(Media::Protobuf, &body, native);
    assert!(got.starts_with(&format!("{head}__name__=\"h\" FloatHistogram")), "{got}");
    assert!(got.contains("positive_buckets: [2.0, 1.0]"), "{got}");
    assert!(!got.contains("h_bucket"));
    let both = read(Media::Protobuf, &body, ParserOptions { keep_classic: true, ..native });
    assert!(both.ends_with(classic), "{both}");
    let wrong = [varint_field(1, 3), message(&[(12, &span), (13, &[4])])].concat();
    let body = family("h", 4, &[message(&[(7, &wrong)])]);
    check_proto(
        &body,
        native,
        &format!("{head}error histogram \"h\": positive side: spans require 2 buckets, have 1\n"),
    );
}

/// Bytes that look a little like an exposition.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"m".to_vec()),
        Just(b"{a=\"b\"}".to_vec()),
        Just(b"{\"x.y\",".to_vec()),
        Just(b"# TYPE m histogram\n".to_vec()),
        Just(b"# HELP m x\\n\n".to_vec()),
        Just(b"# UNIT m_s s\n".to_vec()),
        Just(b" # {a=\"b\"} 1".to_vec()),
        Just(b" 1.5".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\\\"".to_vec()),
        Just(b"# EOF\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn damaged_protobuf_is_read_or_refused(at in 0usize..200, byte in any::<u8>(), kind in 0u8..7) {
        let span = [varint_field(1, 2), varint_field(2, 2)].concat();
        let histogram = [varint_field(1, 3), double_field(6, 1.0), message(&[(12, &span), (13, &[4, 1])])].concat();
        let label = message(&[(1, b"a"), (2, b"b")]);
        let metric = message(&[(1, &label), (7, &histogram), (4, &histogram), (3, &histogram)]);
        let mut body = family("h", kind, &[metric.clone(), metric]);
        if let Some(slot) = body.get_mut(at) {
            *slot = byte;
        }
        read(Media::Protobuf, &body, ParserOptions { native_histograms: true, ..ParserOptions::default() });
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in body()) {
        for media in [Media::Text, Media::OpenMetrics, Media::Protobuf] {
            read(media, &body, ParserOptions { type_and_unit_labels: true, native_histograms: true, keep_classic: true, start_timestamps: true });
        }
    }

    /// The fast path and the strict one agree on where a metric ends.
    #[test]
    fn labels_survive(names in proptest::collection::btree_map("[a-z_][a-z0-9_]{0,5}", "[ -~é\n\\\\\"]{0,8}", 0..5), v in any::<f64>()) {
        let escaped: Vec<_> = names
            .iter()
            .map(|(n, v)| format!("{n}=\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")))
            .collect();
        let line = format!("m{{{}}} {}\n# EOF\n", escaped.join(","), if v.is_nan() { "NaN".into() } else { format!("{v:e}").replace("inf", "Inf") });
        for media in [Media::Text, Media::OpenMetrics] {
            let mut parser = Parser::new(media, line.as_bytes(), ParserOptions::default());
            let Some(Entry::Series(s)) = parser.next_entry().unwrap() else { panic!("{line}") };
            let mut labels = LabelBuf::default();
            s.labels(&mut labels).unwrap();
            let got: Vec<_> = labels.iter().skip(1).collect();
            let want: Vec<_> = names.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            prop_assert_eq!(got, want);
            prop_assert!(s.value == v || v.is_nan());
        }
    }
}
