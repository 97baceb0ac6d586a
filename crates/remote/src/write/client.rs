//! One request to a destination, and what its answer means.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use net::client::HttpClient;
use std::time::{Duration, SystemTime};
use wire::remote_write::{
    EXEMPLARS_WRITTEN_HEADER, HISTOGRAMS_WRITTEN_HEADER, MessageType, SAMPLES_WRITTEN_HEADER, VERSION_HEADER,
};

/// Longest text of an answer that is logged, as upstream.
const MAX_MESSAGE_BYTES: u64 = 1024;
/// A destination cannot make us wait longer than this at once.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Rows that a receiver says it stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) samples: u64,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// 2xx; the counts when the receiver gave any.
    Delivered(Option<Written>),
    /// Try again, at the earliest after what the receiver asked for.
    Retry { why: String, after: Option<Duration> },
    /// 413.
    TooLarge(String),
    /// 415.
    Unsupported(String),
    /// 400.
    Bad { why: String, written: Option<Written> },
    /// Any other answer: trying again would not help.
    Refused(String),
}

/// Where and how requests go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) client: HttpClient,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) retry_429: bool,
}

impl Target {
    /// Sends one compressed body; `attempt` counts from 0.
    pub(super) async fn send(&self, message: MessageType, body: Bytes, attempt: u32) -> Verdict {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(http::header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(message.content_type()));
        let version = HeaderName::from_bytes(VERSION_HEADER.as_bytes());
        if let Ok(name) = version {
            headers.insert(name, HeaderValue::from_static(message.version()));
        }
        if attempt > 0 {
            headers.insert(HeaderName::from_static("retry-attempt"), HeaderValue::from(attempt));
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        let response = match self.client.request(request, self.timeout).await {
            Ok(response) => response,
            Err(why) => return Verdict::Retry { why: why.to_string(), after: None },
        };
        let (status, written) = (response.status, written(&response.headers));
        if status.is_success() {
            response.discard().await;
            return Verdict::Delivered(written);
        }
        let after = response.headers.get(http::header::RETRY_AFTER).and_then(|v| v.to_str().ok());
        let after = after.and_then(|text| retry_after(text, SystemTime::now()));
        let text = response.read_start(MAX_MESSAGE_BYTES).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let why = format!("server returned HTTP status {status}: {}", text.trim_end());
        match status {
            StatusCode::TOO_MANY_REQUESTS if self.retry_429 => Verdict::Retry { why, after },
            _ if status.is_server_error() => Verdict::Retry { why, after },
            StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooLarge(why),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Verdict::Unsupported(why),
            StatusCode::BAD_REQUEST => Verdict::Bad { why, written },
            _ => Verdict::Refused(why),
        }
    }
}

/// `None` when there is no such header at all.
fn written(headers: &HeaderMap) -> Option<Written> {
    let read = |name: &str| {
        headers.get(name).map(|v| v.to_str().ok().and_then(|v| v.trim().parse().ok()).unwrap_or(0))
    };
    let (samples, histograms, exemplars) =
        (read(SAMPLES_WRITTEN_HEADER), read(HISTOGRAMS_WRITTEN_HEADER), read(EXEMPLARS_WRITTEN_HEADER));
    if samples.is_none() && histograms.is_none() && exemplars.is_none() {
        return None;
    }
    Some(Written {
        samples: samples.unwrap_or(0),
        histograms: histograms.unwrap_or(0),
        exemplars: exemplars.unwrap_or(0),
    })
}

/// Reads `Retry-After`: seconds or an HTTP date. Times in the past count as absent.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            Duration::from_secs(http_date(text)?).checked_sub(now)?
        }
    };
    (!wait.is_zero()).then(|| wait.min(MAX_RETRY_AFTER))
}

/// Seconds since the epoch of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts.as_slice() else { return None };
    let day: i64 = day.parse().ok().filter(|d| (1..=31).contains(d))?;
    let month = MONTHS.iter().position(|m| m == month)? as i64 + 1;
    let year: i64 = year.parse().ok().filter(|y| (1970..=9999).contains(y))?;
    let clock: Vec<u64> = time.split(':').map(|p| p.parse().ok()).collect::<Option<_>>()?;
    let &[hours, minutes, seconds] = clock.as_slice() else { return None };
    if hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    // Days since the epoch, counting years from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(u64::try_from(days).ok()? * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        let check = |text: &str, want: Option<u64>| {
            assert_eq!(retry_after(text, now).map(|d| d.as_secs()), want, "{text}");
        };
        check("5", Some(5));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(30));
        check("Sun, 06 Nov 1993 08:49:37 GMT", None);
        check("0", None);
        check("-1", None);
        check("soon", None);
        check("99999999999", Some(3600));
        assert_eq!(http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
    }
}
