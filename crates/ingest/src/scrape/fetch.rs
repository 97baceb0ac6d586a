//! Getting a body: one GET under a deadline and a ceiling.

use super::state::{JobRuntime, TargetState};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use net::client::{ClientError, HttpClient};
use wire::cap::{CapError, gunzip_into};

/// Ceiling of a body, compressed or not, where the job sets no `body_size_limit`.
const MOST_BYTES: u64 = 1 << 30;

/// A reply as it came.
pub(super) struct Fetched {
    pub(super) body: Bytes,
    pub(super) gzip: bool,
    pub(super) content_type: String,
}

/// Why there is no body; upstream's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FetchError {
    BodyTooLarge,
    Other(String),
}

impl FetchError {
    pub(super) fn text(&self) -> &str {
        match self {
            FetchError::BodyTooLarge => "body size limit exceeded",
            FetchError::Other(text) => text,
        }
    }
}

/// Bytes that a body may have: fewer than the limit, as upstream counts.
fn ceiling(job: &JobRuntime) -> u64 {
    match job.job.body_size_limit {
        0 => MOST_BYTES,
        limit => limit - 1,
    }
}

pub(super) async fn fetch(
    client: &HttpClient,
    job: &JobRuntime,
    state: &TargetState,
) -> Result<Fetched, FetchError> {
    let target = &state.target;
    if target.unix_socket.is_some() {
        return Err(FetchError::Other(
            "scraping through a unix socket (__unix_socket__) is not supported by this version".into(),
        ));
    }
    let encoding = if job.job.enable_compression { "gzip" } else { "identity" };
    let request = Request::get(&target.url)
        .header(header::ACCEPT, &job.accept)
        .header(header::ACCEPT_ENCODING, encoding)
        .header("X-Prometheus-Scrape-Timeout-Seconds", target.timeout.as_secs_f64().to_string())
        .body(Full::default())
        .map_err(|e| FetchError::Other(format!("parse {}: {e}", model::labels::quote(&target.url))))?;
    let reply =
        client.request(request, target.timeout).await.map_err(|e| FetchError::Other(e.to_string()))?;
    if reply.status != StatusCode::OK {
        let status = reply.status;
        reply.discard().await;
        let reason = status.canonical_reason().unwrap_or("");
        return Err(FetchError::Other(format!(
            "server returned HTTP status {}",
            format!("{} {reason}", status.as_u16()).trim_end()
        )));
    }
    let gzip = reply.header(header::CONTENT_ENCODING) == "gzip";
    let content_type = reply.header(header::CONTENT_TYPE).to_owned();
    let body = reply.read_body(ceiling(job)).await.map_err(|e| match e.cause() {
        ClientError::TooLong { .. } => FetchError::BodyTooLarge,
        _ => FetchError::Other(e.to_string()),
    })?;
    Ok(Fetched { body, gzip, content_type })
}

/// The plain body; `buffer` keeps it when it was compressed.
pub(super) fn decode<'a>(
    fetched: &'a Fetched,
    job: &JobRuntime,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], FetchError> {
    if !fetched.gzip {
        return Ok(&fetched.body);
    }
    buffer.clear();
    let limit = usize::try_from(ceiling(job)).unwrap_or(usize::MAX);
    match gunzip_into(&fetched.body, limit, buffer) {
        Ok(()) => Ok(buffer),
        Err(CapError::TooLarge { .. }) => Err(FetchError::BodyTooLarge),
        Err(e) => Err(FetchError::Other(e.to_string())),
    }
}
