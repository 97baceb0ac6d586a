//! Start timestamps in one data directory: written by both programs in turn, read by the newest Prometheus.
//!
//! Only Prometheus 3.14 and later store them; set `PYRRHA_PROMETHEUS` to one.

use e2e::node::{Node, Role};
use e2e::peers::Peer;
use e2e::query::{eventually, get};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FEATURES: &str =
    "--enable-feature=st-storage,histograms-st-encoding,use-start-timestamps,promql-experimental-functions";

fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// Serves a text as OpenMetrics; gives the address.
fn serve(text: Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    let address = listener.local_addr().expect("bound address").to_string();
    // Ends with the test process: the listener belongs to the thread.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
            while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut chunk) {
                    Ok(n) if n > 0 => request.extend_from_slice(&chunk[..n]),
                    _ => break,
                }
            }
            let body = text.lock().map(|t| t.clone()).unwrap_or_default();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    address
}

/// An instant query of one value.
fn ask(node: &Node, query: &str, at: Option<f64>) -> Option<f64> {
    let time = at.map_or_else(String::new, |at| format!("&time={at:.3}"));
    let reply = get(&node.address, &format!("/api/v1/query?query={query}{time}"));
    reply["data"]["result"][0]["value"][1].as_str().and_then(|v| v.parse().ok())
}

#[test]
fn start_timestamps_survive_both_programs() {
    let test = "start_timestamps_survive_both_programs";
    let mut peers = Peer::Prometheus.find_all_for(test).into_iter();
    let Some((prometheus, _)) = peers.find(|(_, v)| v == "?" || crate::dropin::at_least(v, 3, 14)) else {
        eprintln!("{test}: SKIPPED, no Prometheus of 3.14 or later");
        return;
    };
    let begun = now_seconds() as i64 - 1000;
    let text = Arc::new(Mutex::new(String::new()));
    let config = format!(
        "global:\n  scrape_interval: 250ms\nstorage:\n  tsdb:\n    chunk_encoding:\n      floats: xor2\nscrape_configs:\n- job_name: t\n  static_configs:\n  - targets: ['{}']\n",
        serve(text.clone())
    );
    let ours = e2e::pyrrha();
    let mut node = Node::prepare(&prometheus, Role::Server, &config, &[FEATURES]);
    // A time of each turn, and the start that was told then.
    let mut told: Vec<(f64, f64)> = Vec::new();
    for turn in 0..5 {
        let start = begun + turn;
        *text.lock().expect("no panic") =
            format!("# TYPE begun counter\nbegun_total 5\nbegun_created {start}.25\n# EOF\n");
        node.set_program(if turn % 2 == 1 { &ours } else { &prometheus }, &[]);
        node.run();
        let since = now_seconds();
        let at = eventually("some scrapes", Duration::from_secs(60), || {
            match ask(&node, "timestamp(begun_total)", None) {
                Some(t) if t > since + 1.0 => Ok(t),
                other => Err(format!("newest sample: {other:?}")),
            }
        });
        told.push((at, start as f64 + 0.25));
        if turn % 2 == 0 {
            for (at, start) in &told {
                let found = ask(&node, "start_timestamp(begun_total)", Some(*at));
                assert_eq!(found, Some(*start), "at {at}, in turn {turn}");
            }
        }
        node.stop();
    }
}
