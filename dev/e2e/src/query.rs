//! Asking a Prometheus API, and waiting for an answer.

use crate::http::Connection;
use serde_json::Value;
use std::time::{Duration, Instant};

pub(crate) fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// `GET /api/v1/query`; the whole reply.
pub fn instant(address: &str, query: &str) -> Value {
    get(address, &format!("/api/v1/query?query={}", escape(query)))
}

/// Any API path, parsed; `Null` when the server did not answer with JSON.
pub fn get(address: &str, path: &str) -> Value {
    let reply = Connection::open(address).and_then(|mut c| c.get(path));
    reply.ok().and_then(|r| serde_json::from_slice(&r.body).ok()).unwrap_or_default()
}

/// Result series of an instant query as `(labels, value)`; empty on any error.
pub fn vector(address: &str, query: &str) -> Vec<(Value, String)> {
    let reply = instant(address, query);
    let rows = reply["data"]["result"].as_array().cloned().unwrap_or_default();
    rows.into_iter().map(|r| (r["metric"].clone(), r["value"][1].as_str().unwrap_or("").to_owned())).collect()
}

/// All raw samples `(seconds, value)` of the series that a selector with range names, of all series together.
pub fn raw(address: &str, selector: &str) -> Vec<(f64, String)> {
    let reply = instant(address, selector);
    let rows = reply["data"]["result"].as_array().cloned().unwrap_or_default();
    rows.iter()
        .flat_map(|r| r["values"].as_array().cloned().unwrap_or_default())
        .map(|pair| (pair[0].as_f64().unwrap_or(0.0), pair[1].as_str().unwrap_or("").to_owned()))
        .collect()
}

/// Polls until `ask` gives something; panics with `what` and the last state when the time is over.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(found) => return found,
            Err(state) if start.elapsed() > within => panic!("{what}: not within {within:?}: {state}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
