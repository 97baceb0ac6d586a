//! What is written down of queries: those that run, and those that have ended. The words are upstream's; where they
//! are kept is the caller's affair.
//!
//! Room: `api`. Pure.

use crate::json::Json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes that one running query may take in the list of running ones, with the comma behind it.
pub const ACTIVE_ENTRY_BYTES: usize = 1000;

/// Keeps what is written down of queries. Calls come from the threads of queries.
pub trait QueryLog: Send + Sync {
    /// A query begins; the place where its `entry` is kept.
    fn begin(&self, entry: &[u8]) -> Option<usize>;
    /// The query at a place has ended.
    fn end(&self, place: usize);
    /// Whether ended queries are wanted.
    fn wants_ended(&self) -> bool;
    /// A query has ended: a line of JSON, with its line end.
    fn ended(&self, line: &[u8]);
}

/// Where a request came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) client: String,
    pub(crate) method: String,
    pub(crate) path: String,
}

/// An ended query.
pub(crate) struct Ended<'a> {
    pub(crate) query: &'a str,
    /// ms.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// ms, 0 for instant queries.
    pub(crate) step: i64,
    pub(crate) error: Option<&'a str>,
    pub(crate) origin: &'a Origin,
}

/// The entry of a running query: its text is cut so that the entry fits.
pub fn active_entry(query: &str) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    let entry = |query: &str| {
        let mut json = Json::default();
        json.raw("{\"query\":").text(query).raw(",\"timestamp_sec\":").int(now).raw("}");
        json.into_bytes()
    };
    let room = ACTIVE_ENTRY_BYTES - 1 - entry("").len();
    let mut end = boundary(query, room);
    loop {
        let bytes = entry(&query[..end]);
        if bytes.len() < ACTIVE_ENTRY_BYTES {
            return bytes;
        }
        // What is escaped is longer than it looks.
        let over = bytes.len() + 1 - ACTIVE_ENTRY_BYTES;
        end = boundary(query, end.saturating_sub(over.div_ceil(6)));
    }
}

/// The last end of a character at or before `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// The line of an ended query; `stats` writes `"stats":{…}`.
pub(crate) fn line(ended: &Ended<'_>, stats: impl FnOnce(&mut Json)) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut json = Json::with_capacity(1024);
    json.raw("{\"time\":\"").raw(&nanos_text(now)).raw("\",\"level\":\"INFO\",\"source\":\"");
    json.raw(concat!("query_log.rs:", line!()))
        .raw("\",\"msg\":\"promql query logged\",\"params\":{\"end\":\"");
    json.raw(&millis_text(ended.end)).raw("\",\"query\":").label_text(ended.query).raw(",\"start\":\"");
    json.raw(&millis_text(ended.start)).raw("\",\"step\":").int(ended.step / 1000).raw("}");
    if let Some(error) = ended.error {
        json.raw(",\"error\":").label_text(error);
    }
    json.raw(",");
    stats(&mut json);
    // There are no traces.
    json.raw(",\"spanID\":\"0000000000000000\",\"traceID\":\"00000000000000000000000000000000\"");
    json.raw(",\"httpRequest\":{\"clientIP\":").label_text(&ended.origin.client);
    json.raw(",\"method\":").label_text(&ended.origin.method);
    json.raw(",\"path\":").label_text(&ended.origin.path).raw("}}\n");
    json.into_bytes()
}

/// `2026-01-02T03:04:05.000Z`.
fn millis_text(ms: i64) -> String {
    let text = crate::v1::targets::time_text(Some(ms));
    let whole = text.trim_end_matches('Z');
    let (seconds, fraction) = whole.split_once('.').unwrap_or((whole, ""));
    format!("{seconds}.{fraction:0<3}Z")
}

/// With nanoseconds, without zeros behind.
fn nanos_text(since: Duration) -> String {
    jiff::Timestamp::from_nanosecond(since.as_nanos() as i128)
        .map_or_else(|_| String::new(), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_fit() {
        for query in ["up".to_owned(), "x".repeat(3000), "<\"\u{1}ü".repeat(700), "日".repeat(999)] {
            let entry = active_entry(&query);
            assert!(entry.len() < ACTIVE_ENTRY_BYTES, "{}", entry.len());
            let text = String::from_utf8(entry).unwrap();
            assert!(text.starts_with("{\"query\":\"") && text.ends_with("}"), "{text}");
        }
        let entry = active_entry(&"x".repeat(3000));
        assert_eq!(entry.len(), ACTIVE_ENTRY_BYTES - 1);
    }

    #[test]
    fn lines_are_upstreams() {
        let origin =
            Origin { client: "127.0.0.1".into(), method: "POST".into(), path: "/api/v1/query_range".into() };
        let ended = Ended {
            query: "sum(up) <bool \"3\"",
            start: 1_700_000_000_000,
            end: 1_700_000_100_500,
            step: 15_500,
            error: Some("it's <broken>"),
            origin: &origin,
        };
        let line = line(&ended, |json| {
            json.raw("\"stats\":{}");
        });
        let line = String::from_utf8(line).unwrap();
        let rest = line.split_once("\"msg\":").unwrap().1;
        assert_eq!(
            rest,
            "\"promql query logged\",\"params\":{\"end\":\"2023-11-14T22:15:00.500Z\",\"query\":\"sum(up) <bool \
             \\\"3\\\"\",\"start\":\"2023-11-14T22:13:20.000Z\",\"step\":15},\"error\":\"it's <broken>\",\
             \"stats\":{},\"spanID\":\"0000000000000000\",\"traceID\":\"00000000000000000000000000000000\",\
             \"httpRequest\":{\"clientIP\":\"127.0.0.1\",\"method\":\"POST\",\"path\":\"/api/v1/query_range\"}}\n"
        );
    }

    #[test]
    fn times_have_their_digits() {
        assert_eq!(nanos_text(Duration::new(1_700_000_000, 0)), "2023-11-14T22:13:20Z");
        assert_eq!(nanos_text(Duration::new(1_700_000_000, 12_300)), "2023-11-14T22:13:20.0000123Z");
        assert_eq!(millis_text(1_700_000_000_050), "2023-11-14T22:13:20.050Z");
    }
}
