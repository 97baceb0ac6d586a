//! HTTP for the tools: one client, one request after the other.

use bytes::Bytes;
use clap::ArgMatches;
use config::read_http_config;
use http::{Method, Request, Uri};
use http_body_util::Full;
use net::client::{ClientError, ClientOptions, HttpClient};
use net::config::HttpClientConfig;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// Longest answer that is read.
const MAX_BODY_BYTES: u64 = 1 << 30;

/// How texts of faults begin that promtool finds before it runs a command.
pub(crate) const FATAL: &str = "promtool: error: ";

/// A client on a runtime of its own, for code that has nothing else to do while it waits.
pub(crate) struct Client {
    http: HttpClient,
    runtime: tokio::runtime::Runtime,
}

/// Status and body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Client {
    /// With the settings of `--http.config.file`, where the command has that flag and it was given.
    pub(crate) fn new(m: &ArgMatches, url: Option<&Url>) -> Result<Client, String> {
        let file = m.try_get_one::<String>("http.config.file").ok().flatten();
        if file.is_some() && url.is_some_and(|u| !u.username().is_empty()) {
            return Err(format!(
                "{FATAL}Cannot set base auth in the server URL and use a http.config.file at the same time"
            ));
        }
        let config = match file {
            None => HttpClientConfig::default(),
            Some(file) => read_http_config(Path::new(file))
                .map_err(|e| format!("{FATAL}Failed to load HTTP config file: {e}"))?,
        };
        let http = HttpClient::new(&config, ClientOptions::default())
            .map_err(|e| format!("{FATAL}Failed to create a new HTTP round tripper: {e}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Client { http, runtime: runtime.map_err(|e| format!("cannot start the runtime: {e}"))? })
    }

    /// Sends one request; everything up to the end of the answer within `timeout`.
    pub(crate) fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Answer, ClientError> {
        let uri: Uri = url.as_str().parse().map_err(|e| ClientError::Config(format!("{url}: {e}")))?;
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|e| ClientError::Config(e.to_string()))?;
        self.runtime.block_on(async {
            let response = self.http.request(request, timeout).await?;
            let status = response.status.as_u16();
            Ok(Answer { status, body: response.read_body(MAX_BODY_BYTES).await? })
        })
    }
}

/// A server's address; `http` where no scheme is written.
pub(crate) fn server_url(text: &str) -> Result<Url, String> {
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let wrong = |why: &dyn std::fmt::Display| format!("parse {}: {why}", model::labels::quote(text));
    if let Some(why) = go_fault(&full) {
        return Err(wrong(&why));
    }
    Url::parse(&full).map_err(|e| wrong(&e))
}

/// What Go says of ports that are no numbers and of broken escapes before the query.
fn go_fault(url: &str) -> Option<String> {
    use model::labels::quote;
    let (_, rest) = url.split_once("://")?;
    let rest = rest.split('?').next().unwrap_or("");
    let host = rest.split(['/', '#']).next().unwrap_or("");
    let host = host.rsplit('@').next().unwrap_or("");
    if host.starts_with('[') && !host.contains(']') {
        return Some("missing ']' in host".to_owned());
    }
    if let Some((_, port)) = host.rsplit_once(':').filter(|(_, port)| !port.contains(']'))
        && !port.bytes().all(|b| b.is_ascii_digit())
    {
        return Some(format!("invalid port {} after host", quote(&format!(":{port}"))));
    }
    let broken = rest.match_indices('%').find_map(|(at, _)| {
        let shown: String = rest[at..].chars().take(3).collect();
        let whole = shown.len() == 3 && shown.bytes().skip(1).all(|b| b.is_ascii_hexdigit());
        (!whole).then_some(shown)
    })?;
    Some(format!("invalid URL escape {}", quote(&broken)))
}

/// `url` with `path` behind its own path.
pub(crate) fn join(url: &Url, path: &str) -> Url {
    let mut joined = url.clone();
    joined.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_addresses_read_as_in_go() {
        for (text, want) in [
            ("http://%zz", r#"parse "http://%zz": invalid URL escape "%zz""#),
            ("http://a/x%2", r#"parse "http://a/x%2": invalid URL escape "%2""#),
            ("http://a:b", r#"parse "http://a:b": invalid port ":b" after host"#),
            ("http://a:1/%20?q=%zz", ""),
            ("http://[::1]:9090", ""),
            ("http://[::1", r#"parse "http://[::1": missing ']' in host"#),
            ("http://u:p%40@a:1", ""),
        ] {
            let got = server_url(text).err().unwrap_or_default();
            assert_eq!(got, want);
        }
    }
}
