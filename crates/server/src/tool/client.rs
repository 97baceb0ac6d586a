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
    Url::parse(&full).map_err(|e| format!("parse {}: {e}", model::labels::quote(text)))
}

/// `url` with `path` behind its own path.
pub(crate) fn join(url: &Url, path: &str) -> Url {
    let mut joined = url.clone();
    joined.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
    joined
}
