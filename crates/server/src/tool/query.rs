//! `query instant`, `range`, `series`, `labels`: ask a server and print its answer.

use super::client::{Client, FATAL, join, server_url};
use super::print::{self, Format};
use super::text::parse_time;
use super::{FAILED, failed, many, one};
use clap::ArgMatches;
use http::Method;
use model::float::plain_string;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use url::Url;
use url::form_urlencoded::Serializer;

const TIMEOUT: Duration = Duration::from_secs(120);
const SECOND: i128 = 1_000_000_000;
/// How far before and after now series and labels are looked for, in nanoseconds.
const EVER: i128 = 9999 * 3600 * SECOND;
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

pub(crate) type Params = Vec<(&'static str, String)>;

/// A server that answers the query API.
pub(crate) struct Server<'m> {
    url: Url,
    client: Client,
    headers: Vec<(&'m str, &'m str)>,
}

/// A failed call, as the Go client words it.
pub(crate) struct ApiError {
    text: String,
    detail: String,
}

impl ApiError {
    fn plain(text: impl ToString) -> Self {
        ApiError { text: text.to_string(), detail: String::new() }
    }

    fn tell(&self) -> u8 {
        match self.detail.trim() {
            "" => eprintln!("query error: {}", self.text),
            detail => eprintln!("query error: {} (detail: {detail})", self.text),
        }
        FAILED
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl<'m> Server<'m> {
    fn of(m: &'m ArgMatches) -> Result<Self, u8> {
        let wrong = |e: String| match e.starts_with(FATAL) {
            true => failed(e),
            false => failed(format_args!("error creating API client: {e}")),
        };
        let url = server_url(one(m, "server"))
            .map_err(|e| failed(format_args!("{FATAL}invalid URL: {e}, try --help")))?;
        Server::at(m, url).map_err(wrong)
    }

    /// With the HTTP settings and headers of a command line.
    pub(crate) fn at(m: &'m ArgMatches, url: Url) -> Result<Self, String> {
        let client = Client::new(m, Some(&url))?;
        let pairs = m.try_get_many::<(String, String)>("header").ok().flatten();
        let headers = pairs.into_iter().flatten().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        Ok(Server { url, client, headers })
    }

    fn send(
        &self,
        method: Method,
        url: &Url,
        more: &[(&str, &str)],
        body: &str,
    ) -> Result<(u16, Vec<u8>), ApiError> {
        let headers: Vec<(&str, &str)> = self.headers.iter().chain(more).copied().collect();
        let answer = self.client.send(method, url, &headers, body.as_bytes().to_vec(), TIMEOUT);
        answer.map(|a| (a.status, a.body.to_vec())).map_err(ApiError::plain)
    }

    /// `data` of the answer; asked by POST where `post` says so, by GET when the server does not take that.
    pub(crate) fn ask(&self, path: &str, params: &Params, post: bool) -> Result<Value, ApiError> {
        let mut sorted = params.clone();
        sorted.sort_by_key(|(name, _)| *name);
        let form = Serializer::new(String::new()).extend_pairs(&sorted).finish();
        // As promtool, which passes warnings over elsewhere.
        let warn = path.starts_with("/api/v1/label/");
        let url = join(&self.url, path);
        if post {
            let (status, body) = self.send(Method::POST, &url, &[FORM], &form)?;
            if !matches!(status, 403 | 405 | 501) {
                return data(status, &body, warn);
            }
        }
        let mut url = url;
        url.set_query(Some(&form));
        let (status, body) = self.send(Method::GET, &url, &[], "")?;
        data(status, &body, warn)
    }
}

fn data(status: u16, body: &[u8], warn: bool) -> Result<Value, ApiError> {
    if status / 100 != 2 && !matches!(status, 400 | 422) {
        let text = match status / 100 {
            4 => format!("client_error: client error: {status}"),
            5 => format!("server_error: server error: {status}"),
            _ => format!("bad_response: bad response code {status}"),
        };
        return Err(ApiError { text, detail: String::from_utf8_lossy(body).into_owned() });
    }
    let bad = |text: &str| ApiError::plain(format_args!("bad_response: {text}"));
    let mut answer: Value = serde_json::from_slice(body).map_err(|e| bad(&e.to_string()))?;
    if let Some(warnings) = answer.get("warnings").and_then(Value::as_array).filter(|_| warn) {
        warnings.iter().for_each(|w| eprintln!("query warning: {}", w.as_str().unwrap_or("")));
    }
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("");
    match text("status") {
        "error" => Err(ApiError::plain(format_args!("{}: {}", text("errorType"), text("error")))),
        "success" if matches!(status, 400 | 422) => Err(bad("inconsistent body for response code")),
        _ => Ok(answer.get_mut("data").map(Value::take).unwrap_or_default()),
    }
}

pub(crate) fn now() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128)
}

/// A time option in nanoseconds; `default` when it was not given.
fn time(m: &ArgMatches, name: &str, what: &str, default: i128) -> Result<i128, u8> {
    match one(m, name) {
        "" => Ok(default),
        text => parse_time(text).map_err(|e| failed(format_args!("error parsing {what} time: {e}"))),
    }
}

/// Seconds, as parameters carry them.
pub(crate) fn seconds(ns: i128) -> String {
    plain_string(ns.div_euclid(SECOND) as f64 + ns.rem_euclid(SECOND) as f64 / 1e9)
}

fn asked(m: &ArgMatches, work: impl FnOnce(&Server<'_>) -> Result<Result<String, ApiError>, u8>) -> u8 {
    let done = Server::of(m).and_then(|server| work(&server));
    match done {
        Err(code) => code,
        Ok(Err(e)) => e.tell(),
        Ok(Ok(text)) => {
            put!("{text}");
            0
        }
    }
}

fn format(m: &ArgMatches) -> Format {
    if one(m, "format") == "json" { Format::Json } else { Format::Promql }
}

fn value(data: Result<Value, ApiError>, format: Format) -> Result<String, ApiError> {
    print::value(&data?, format).map_err(ApiError::plain)
}

pub(crate) fn instant(m: &ArgMatches) -> u8 {
    asked(m, |server| {
        let at = time(m, "time", "evaluation", now())?;
        let params = vec![("query", one(m, "expr").to_owned()), ("time", seconds(at))];
        Ok(value(server.ask("/api/v1/query", &params, true), format(m)))
    })
}

pub(crate) fn range(m: &ArgMatches) -> u8 {
    asked(m, |server| {
        let end = time(m, "end", "end", now())?;
        let start = time(m, "start", "start", end - 300 * SECOND)?;
        if start >= end {
            return Err(failed("start time is not before end time"));
        }
        let step = match m.get_one::<i64>("step").copied().unwrap_or(0) {
            0 => ((end - start) / SECOND / 250).max(1) as f64,
            ms => ms as f64 / 1000.0,
        };
        let params = vec![
            ("query", one(m, "expr").to_owned()),
            ("start", seconds(start)),
            ("end", seconds(end)),
            ("step", plain_string(step)),
        ];
        Ok(value(server.ask("/api/v1/query_range", &params, true), format(m)))
    })
}

/// Parameters of series and labels.
fn selection(m: &ArgMatches) -> Result<Params, u8> {
    let start = time(m, "start", "start", now() - EVER)?;
    let end = time(m, "end", "end", now() + EVER)?;
    let matchers = many(m, "match").into_iter().map(|text| ("match[]", text.to_owned()));
    Ok(matchers.chain([("start", seconds(start)), ("end", seconds(end))]).collect())
}

pub(crate) fn series(m: &ArgMatches) -> u8 {
    asked(m, |server| {
        let data = server.ask("/api/v1/series", &selection(m)?, true);
        Ok(data.and_then(|d| print::series(&d, format(m)).map_err(ApiError::plain)))
    })
}

pub(crate) fn labels(m: &ArgMatches) -> u8 {
    asked(m, |server| {
        let params = selection(m)?;
        let name: String = Serializer::new(String::new()).append_key_only(one(m, "name")).finish();
        let data = server.ask(&format!("/api/v1/label/{name}/values"), &params, false);
        Ok(data.and_then(|d| print::values(&d, format(m)).map_err(ApiError::plain)))
    })
}
