//! Commands that ask a server: here one that gives prepared answers.

use crate::run::{Got, check, tool};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;

/// Serves one answer; gives the address and where the request will be told.
fn serve(status: &'static str, body: &'static str) -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = format!("http://{}", listener.local_addr().expect("address"));
    let (told, asked) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("request");
        let mut request = Vec::new();
        let mut part = [0; 4096];
        loop {
            let n = stream.read(&mut part).expect("read");
            request.extend_from_slice(&part[..n]);
            let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let len = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
            if request.len() >= end + 4 + len.unwrap_or(0) {
                break;
            }
        }
        let len = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).expect("answer");
        let _ = told.send(request);
    });
    (address, asked)
}

#[track_caller]
fn answered(status: &'static str, body: &'static str, args: &[&str], want: (i32, &str, &str)) -> Vec<u8> {
    let (address, asked) = serve(status, body);
    let args: Vec<&str> = args.iter().map(|a| if *a == "URL" { address.as_str() } else { a }).collect();
    check(Path::new("."), &args, "", want);
    asked.recv().expect("asked")
}

#[test]
fn queries() {
    const VECTOR: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a<b"},"value":[10.25,"1"]}]}}"#;
    let request = answered(
        "200 OK",
        VECTOR,
        &["query", "instant", "--time=10.25", "--header=X-Who=me", "URL", "up"],
        (0, "up{job=\"a<b\"} => 1 @[10.25]\n", ""),
    );
    let request = String::from_utf8(request).expect("text");
    assert!(request.starts_with("POST /api/v1/query HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nquery=up&time=10.25"), "{request}");
    assert!(request.to_lowercase().contains("\r\nx-who: me\r\n"), "{request}");
    let json = "[{\"metric\":{\"__name__\":\"up\",\"job\":\"a\\u003cb\"},\"value\":[10.25,\"1\"]}]\n";
    answered("200 OK", VECTOR, &["query", "-o", "json", "instant", "URL", "up"], (0, json, ""));

    const MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"b":"2"},"values":[[1,"1"],[2,"NaN"]]},{"metric":{},"histograms":[[3,{"count":"2","sum":"1.5","buckets":[[0,"1","2","2"]]}]]}]}}"#;
    let text =
        "{} =>\nCount: 2.000000, Sum: 1.500000, Buckets: [(1,2]:2] @[3]\n{b=\"2\"} =>\n1 @[1]\nNaN @[2]\n";
    answered("200 OK", MATRIX, &["query", "range", "URL", "x"], (0, text, ""));

    const SETS: &str = r#"{"status":"success","data":[{"__name__":"a","x":"1"},{"__name__":"b"}]}"#;
    let text = "{__name__=\"a\", x=\"1\"}\n{__name__=\"b\"}\n";
    answered("200 OK", SETS, &["query", "series", "--match=a", "URL"], (0, text, ""));

    const VALUES: &str = r#"{"status":"success","data":["p","q"]}"#;
    let request = answered("200 OK", VALUES, &["query", "labels", "URL", "job"], (0, "p\nq\n", ""));
    assert!(request.starts_with(b"GET /api/v1/label/job/values?end="));

    const BAD: &str = r#"{"status":"error","errorType":"bad_data","error":"no"}"#;
    answered(
        "400 Bad Request",
        BAD,
        &["query", "instant", "URL", "("],
        (1, "", "query error: bad_data: no\n"),
    );
    answered(
        "503 Service Unavailable",
        "later",
        &["query", "instant", "URL", "x"],
        (1, "", "query error: server_error: server error: 503 (detail: later)\n"),
    );
}

/// The texts are promtool's over the same answer.
#[test]
fn populated_buckets() {
    const MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"__name__":"h_bucket","job":"x","le":"+Inf"},"values":[[1,"3"],[2,"7"],[3,"7"]]},
        {"metric":{"__name__":"h_bucket","job":"x","le":"1"},"values":[[1,"0"],[2,"2"],[3,"2"]]},
        {"metric":{"__name__":"h_bucket","job":"x","le":"2"},"values":[[1,"3"],[2,"5"],[3,"7"]]},
        {"metric":{"__name__":"h_bucket","le":"1"},"values":[[1,"4"],[2,"5"]]},
        {"metric":{"__name__":"h_bucket","le":"5"},"values":[[1,"4"]]},
        {"metric":{"__name__":"h_count","job":"x"},"values":[[1,"3"],[2,"7"]]},
        {"metric":{"__name__":"n","job":"x"},"histograms":[
            [1,{"count":"2","sum":"1.5","buckets":[[0,"1","2","2"]]}],
            [2,{"count":"5","sum":"1.5","buckets":[[0,"1","2","2"],[0,"4","8","3"]]}],
            [3,{"count":"5","sum":"1.5","buckets":[[0,"1","2","2"],[0,"2","4","3"]]}]]},
        {"metric":{"__name__":"once"},"histograms":[[1,{"count":"0","sum":"0"}]]}]}}"#;
    let text = "\
Bucket stats for each histogram series over time
------------------------------------------------
First the min, avg, and max number of populated buckets, followed by the total
number of buckets (only if different from the max number of populated buckets
which is typical for classic but not native histograms).

- n{job=\"x\"} (native): 1/1.667/2/3
- h_bucket{job=\"x\"} (classic): 1/2.000/3
- h_bucket{} (classic): 1/1.000/1/2

Aggregated bucket stats
-----------------------
Each line shows min/avg/max over the series above.

Native histogram series (1 in total):
- min populated: 1/1.000/1
- avg populated: 1/1.000/1
- max populated: 2/2.000/2
- total: 3/3.000/3

Classic histogram series (2 in total):
- min populated: 1/1.000/1
- avg populated: 1/1.500/2
- max populated: 1/2.000/3
- total: 2/2.500/3
";
    let command = ["query", "analyze", "--server=URL", "--type=histogram", "--time=3", "--match=h"];
    let (address, asked) = serve("200 OK", MATRIX);
    let server = format!("--server={address}");
    let args: Vec<&str> = command.iter().map(|a| if a.contains("URL") { &server } else { *a }).collect();
    check(Path::new("."), &args, "", (0, text, ""));
    let request = String::from_utf8(asked.recv().expect("asked")).expect("text");
    assert!(request.ends_with("\r\n\r\nquery=h%5B1h%5D&time=3"), "{request}");
    let mut other = args.clone();
    other[3] = "--type=gauge";
    check(Path::new("."), &other, "", (1, "", "analyze type is gauge, must be 'histogram'\n"));
}

#[test]
fn health() {
    answered(
        "200 OK",
        "Prometheus Server is Ready.\n",
        &["check", "ready", "--url", "URL"],
        (0, "", "  SUCCESS:  Prometheus Server is Ready.\n\n"),
    );
    let (address, _asked) = serve("503 Service Unavailable", "no");
    let text = format!("check failed: URL={address}, status=503\n");
    check(Path::new("."), &["check", "healthy", "--url", &address], "", (1, "", &text));
}

#[test]
fn push() {
    let (address, asked) = serve("204 No Content", "");
    let got = tool(Path::new("."), &["push", "metrics", "--label=env=t", &address], "a{job=\"x\"} 1 5\n");
    let stdout = "Parsing standard input\n  SUCCESS: metrics pushed to remote write.\n".to_owned();
    assert_eq!(got, Got { code: Some(0), stdout, stderr: String::new() });
    let request = asked.recv().expect("asked");
    assert!(request.starts_with(b"POST /api/v1/write HTTP/1.1\r\n"));
    let body = request.windows(4).position(|w| w == b"\r\n\r\n").expect("head") + 4;
    let mut scratch = Vec::new();
    let message = wire::cap::unsnappy(&request[body..], 1 << 20, &mut scratch).expect("snappy");
    for text in ["exported_job", "env", "__name__"] {
        assert!(message.windows(text.len()).any(|w| w == text.as_bytes()), "{text}");
    }
    let (address, _asked) = serve("400 Bad Request", "out of order sample");
    let got = tool(Path::new("."), &["push", "metrics", &address], "a 1\n");
    assert_eq!(
        (got.code, got.stderr.as_str()),
        (Some(1), "  FAILED: server returned HTTP status 400 Bad Request: out of order sample\n")
    );
}

#[test]
fn rules_over_the_past() {
    const RULES: &str = "groups:\n- name: g\n  interval: 1m\n  labels: {team: z}\n  rules:\n  - record: job:a:sum\n    expr: sum( a )\n    labels: {env: prod}\n";
    const MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"env":"x"},"values":[[1700000057.427,"1"],[1700000117.427,"+Inf"]]}]}}"#;
    let dir = tempfile::tempdir().expect("dir");
    let dir = dir.path();
    std::fs::write(dir.join("rules.yml"), RULES).expect("written");
    let (address, asked) = serve("200 OK", MATRIX);
    let url = format!("--url={address}");
    let command = ["tsdb", "create-blocks-from", "rules"];
    let args =
        [&command[..], &["--start=1700000000", "--end=1700000200", &url, "--output-dir=out", "rules.yml"]];
    let got = tool(dir, &args.concat(), "");
    assert_eq!(got.code, Some(0), "{got:?}");
    let request = String::from_utf8(asked.recv().expect("asked")).expect("text");
    // At the times at which a server evaluates this group of this file.
    let form = "\r\nend=1700000200&query=sum%28a%29&start=1700000057.4267";
    assert!(request.contains(form) && request.ends_with("&step=60"), "{request}");
    let dump = "{__name__=\"job:a:sum\", env=\"prod\", team=\"z\"} 1 1700000057427\n\
                {__name__=\"job:a:sum\", env=\"prod\", team=\"z\"} +Inf 1700000117427\n";
    check(dir, &["tsdb", "dump", "out"], "", (0, dump, ""));
    for (args, text) in [
        (&["--start=5", "--end=4", "rules.yml"], "start time is not before end time"),
        (
            &["--start=x", "--end=4", "rules.yml"],
            "error parsing start time: cannot parse \"x\" to a valid timestamp",
        ),
        (&["--start=1", "--url=http://127.0.0.1:1", "rules.yml"], "error importing rules"),
    ] {
        let got = tool(dir, &[&command[..], args].concat(), "");
        assert_eq!(got.code, Some(1), "{got:?}");
        assert!(got.stderr.trim_end().ends_with(text), "{got:?}");
    }
}
