//! What is malformed is refused with Prometheus' status and text; the server lives and stores the good part.

use e2e::http::Connection;
use e2e::node::{Node, Role};
use e2e::push::{self, Series};
use e2e::query;
use std::time::{SystemTime, UNIX_EPOCH};

fn receiver() -> Node {
    Node::start(&e2e::pyrrha(), Role::Server, "global: {}\n", &["--web.enable-remote-write-receiver"])
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[test]
fn malformed_writes_are_refused_and_the_server_lives() {
    let node = receiver();
    let labels = [("__name__", "good"), ("job", "x")];
    let good = push::encode(&[Series { labels: &labels, samples: &[(now_ms(), 1.0)] }]);
    let packed = snap::raw::Encoder::new().compress_vec(&good).expect("compresses");
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
    let truncated = snap::raw::Encoder::new().compress_vec(&good[..good.len() - 3]).expect("compresses");
    let kind = "Content-Type: application/x-protobuf\r\n";
    let snappy = "Content-Encoding: snappy\r\n";
    for (what, headers, body, status) in [
        ("malformed snappy", format!("{kind}{snappy}"), &b"not snappy at all"[..], 400),
        ("declared size over the ceiling", format!("{kind}{snappy}"), &bomb[..], 400),
        ("truncated protobuf", format!("{kind}{snappy}"), &truncated[..], 400),
        ("wrong content type", format!("Content-Type: application/json\r\n{snappy}"), &packed[..], 415),
        (
            "unknown message",
            format!("Content-Type: application/x-protobuf;proto=yolo\r\n{snappy}"),
            &packed[..],
            415,
        ),
        ("wrong encoding", format!("{kind}Content-Encoding: zstd\r\n"), &packed[..], 415),
        ("good", format!("{kind}{snappy}"), &packed[..], 204),
    ] {
        let mut connection = Connection::open(&node.address).expect("connects");
        let reply = connection.post("/api/v1/write", &headers, body).expect("an answer");
        assert_eq!(reply.status, status, "{what}: {}", String::from_utf8_lossy(&reply.body));
        assert!(status == 204 || !reply.body.is_empty(), "{what}: the body says why");
    }
    assert_eq!(query::vector(&node.address, "good").len(), 1);
}

#[test]
fn the_good_part_of_a_request_is_stored() {
    let node = receiver();
    let now = now_ms();
    let mut connection = Connection::open(&node.address).expect("connects");
    let reply = push::post(
        &mut connection,
        &[
            Series { labels: &[("__name__", "a"), ("job", "x")], samples: &[(now, 1.0)] },
            Series { labels: &[("job", "without a name")], samples: &[(now, 1.0)] },
            Series { labels: &[("__name__", "b"), ("x", "1"), ("x", "2")], samples: &[(now, 1.0)] },
            Series { labels: &[("__name__", "c")], samples: &[(now + 3_600_000, 1.0)] },
            Series { labels: &[("__name__", "d")], samples: &[(now, 1.0), (now, 2.0)] },
            Series { labels: &[("__name__", "e")], samples: &[(now, 1.0)] },
        ],
    )
    .expect("an answer");
    assert_eq!(reply.status, 400, "{}", String::from_utf8_lossy(&reply.body));
    for (name, count) in [("a", 1), ("b", 0), ("c", 0), ("d", 1), ("e", 1)] {
        assert_eq!(query::vector(&node.address, name).len(), count, "{name}");
    }
}

#[test]
fn bad_queries_have_prometheus_errors() {
    let node = receiver();
    for (path, status, kind, message) in [
        (
            "/api/v1/query?query=sum(",
            400,
            "bad_data",
            "invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis",
        ),
        (
            "/api/v1/query?query=up&time=yesterday",
            400,
            "bad_data",
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"yesterday\" to a valid timestamp",
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=100&step=0",
            400,
            "bad_data",
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a \
             positive integer",
        ),
        (
            "/api/v1/query_range?query=up&start=100&end=0&step=1",
            400,
            "bad_data",
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=11001&step=1",
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution \
             (?step=XX)",
        ),
        ("/api/v1/series", 400, "bad_data", "no match[] parameter provided"),
        (
            "/api/v1/series?match[]=%7B%7D",
            400,
            "bad_data",
            "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher",
        ),
    ] {
        let reply = Connection::open(&node.address).and_then(|mut c| c.get(path)).expect("an answer");
        let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        assert_eq!(reply.status, status, "{path}: {json}");
        assert_eq!(json["errorType"], kind, "{path}: {json}");
        assert_eq!(json["error"], message, "{path}");
    }
}
