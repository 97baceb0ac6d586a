//! `push metrics`: an exposition on standard input or in files, sent as remote write 1.0.

use super::client::{Client, server_url};
use super::lint::{MAX_INPUT_BYTES, read_stdin};
use super::{FAILED, failed, many, one};
use clap::ArgMatches;
use disk::{Disk, OsDisk};
use http::{Method, StatusCode};
use model::labels::quote;
use model::{LabelsBuilder, Sample};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use url::Url;
use wire::exposition::{Entry, LabelBuf, ParserOptions, TextParser};
use wire::remote_write::{MessageType, VERSION_HEADER, v1};

/// Most of an answer that is shown.
const SHOWN_BYTES: usize = 1024;

struct Push<'m> {
    client: Client,
    url: Url,
    headers: Vec<(&'m str, &'m str)>,
    labels: Vec<(&'m str, &'m str)>,
    timeout: Duration,
}

/// The command.
pub(crate) fn metrics(m: &ArgMatches) -> u8 {
    let message = one(m, "protobuf_message");
    match MessageType::parse(message) {
        Ok(MessageType::V1) => {}
        Ok(MessageType::V2) => return failed(format_args!("  FAILED: {message}: not built in this version")),
        Err(_) => {
            let known = "prometheus.WriteRequest or io.prometheus.write.v2.Request";
            return failed(format_args!(
                "  FAILED: invalid protobuf message {}, must be {known}",
                quote(message)
            ));
        }
    }
    let push = match Push::new(m) {
        Ok(push) => push,
        Err(e) => return failed(e),
    };
    let files = many(m, "metric-files");
    if files.is_empty() {
        say!("Parsing standard input");
        return match read_stdin().and_then(|text| push.send(&text)) {
            Ok(()) => {
                say!("  SUCCESS: metrics pushed to remote write.");
                0
            }
            Err(e) => failed(format_args!("  FAILED: {e}")),
        };
    }
    let mut code = 0;
    for file in files {
        let read = OsDisk.read(Path::new(file), MAX_INPUT_BYTES).map_err(|e| e.to_string());
        if read.is_ok() {
            say!("Parsing metrics file {file}");
        }
        match read.and_then(|text| push.send(&text)) {
            Ok(()) => say!("  SUCCESS: metrics file {file} pushed to remote write."),
            Err(e) => {
                eprintln!("  FAILED: {e}");
                code = FAILED;
            }
        }
    }
    code
}

impl<'m> Push<'m> {
    fn new(m: &'m ArgMatches) -> Result<Self, String> {
        let mut url = server_url(one(m, "remote-write-url"))?;
        let client = Client::new(m, Some(&url))?;
        let path = one(m, "remote-write.path").trim_start_matches('/');
        // An address that already ends with the path is taken as it is.
        if !url.path().ends_with(&format!("/{path}")) {
            url = super::client::join(&url, &format!("/{path}"));
        }
        let pairs = |name| m.get_many::<(String, String)>(name).into_iter().flatten();
        let mut labels: Vec<(&str, &str)> = pairs("label").map(|(n, v)| (n.as_str(), v.as_str())).collect();
        if labels.is_empty() {
            labels.push(("job", "promtool"));
        }
        let headers = pairs("header").map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let ms = m.get_one::<i64>("timeout").copied().unwrap_or(30_000);
        Ok(Push { client, url, headers, labels, timeout: Duration::from_millis(ms.unsigned_abs()) })
    }

    fn send(&self, text: &[u8]) -> Result<(), String> {
        let body = wire::cap::snappy(&self.message(text)?).map_err(|e| e.to_string())?;
        let mut headers = vec![
            ("Content-Type", MessageType::V1.content_type()),
            ("Content-Encoding", "snappy"),
            (VERSION_HEADER, MessageType::V1.version()),
        ];
        headers.extend(&self.headers);
        let answer = self
            .client
            .send(Method::POST, &self.url, &headers, body, self.timeout)
            .map_err(|e| e.to_string())?;
        if answer.status / 100 == 2 {
            return Ok(());
        }
        let shown = answer.body.get(..SHOWN_BYTES).unwrap_or(&answer.body);
        let shown = String::from_utf8_lossy(shown);
        let code = StatusCode::from_u16(answer.status).ok().and_then(|s| s.canonical_reason());
        let reason = code.map_or_else(String::new, |reason| format!(" {reason}"));
        Err(format!("server returned HTTP status {}{reason}: {}", answer.status, shown.trim_end()))
    }

    /// The message; samples without a time get now.
    fn message(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        let mut parser = TextParser::prometheus(text, ParserOptions::default());
        let (mut buf, mut builder, mut out) = (LabelBuf::default(), LabelsBuilder::new(), Vec::new());
        let mut kinds: Vec<(String, model::MetricType, String)> = Vec::new();
        while let Some(entry) = parser.next_entry().map_err(|e| e.to_string())? {
            match entry {
                Entry::Series(series) => {
                    series.labels(&mut buf).map_err(|e| e.to_string())?;
                    builder.clear();
                    for (name, value) in &self.labels {
                        builder.set(name, value);
                    }
                    for (name, value) in buf.iter() {
                        builder.set(if name == "job" { "exported_job" } else { name }, value);
                    }
                    let key = storage::key::of_labels(&builder.finish());
                    let sample = Sample { t: series.t.unwrap_or(now), v: series.value };
                    v1::push_samples(&mut out, &key, &[sample]);
                }
                Entry::Type { family, kind } => {
                    note(&mut kinds, &family).1 = kind;
                }
                Entry::Help { family, help } => {
                    note(&mut kinds, &family).2 = help.into_owned();
                }
                Entry::Histogram(_) | Entry::Unit { .. } | Entry::Comment(_) => {}
            }
        }
        for (family, kind, help) in &kinds {
            v1::push_metadata(&mut out, family, *kind, help, "");
        }
        Ok(out)
    }
}

type Described = (String, model::MetricType, String);

/// The entry of a family; its lines stand together.
fn note<'k>(kinds: &'k mut Vec<Described>, family: &str) -> &'k mut Described {
    if kinds.last().is_none_or(|(name, ..)| name != family) {
        kinds.push((family.to_owned(), model::MetricType::Unknown, String::new()));
    }
    let at = kinds.len() - 1;
    &mut kinds[at]
}
