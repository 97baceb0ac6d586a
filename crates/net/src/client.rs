//! The HTTP client: upstream's `http_config` behind one call, with every wait and every body bounded.
//!
//! Credentials in files are read for each request, TLS files when they change. Redirects keep credentials
//! within the first host and its subdomains only. Error texts are close to Go's, because people read them on
//! the targets page.

mod connect;
mod credentials;
mod error;
mod oauth2;
mod proxy;
pub(crate) mod tls;

pub use error::ClientError;

use crate::config::HttpClientConfig;
use bytes::Bytes;
use connect::Connector;
use credentials::Credentials;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use proxy::ProxyChoice;
use std::sync::Arc;
use std::time::Duration;
use tls::ClientTls;
use tokio::time::Instant;
use url::Url;

/// As Go's client: the request after the tenth redirect is not made.
const MAX_REDIRECTS: usize = 10;
/// Longest secret or header file.
const SECRET_FILE_BYTES: u64 = 1 << 20;

/// What a client is told by its owner rather than by the file.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `User-Agent` of every request.
    pub user_agent: String,
    /// Whether HTTP/2 may be negotiated where `enable_http2` is not written.
    pub http2: bool,
    /// Whether connections are used again.
    pub keep_alive: bool,
    /// How long an unused connection stays open.
    pub idle_timeout: Duration,
    /// Connect to another address of the host each time (`round_robin_dns`).
    pub round_robin_dns: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            user_agent: concat!("Pyrrha/", env!("CARGO_PKG_VERSION")).to_owned(),
            http2: true,
            keep_alive: true,
            idle_timeout: Duration::from_secs(300),
            round_robin_dns: false,
        }
    }
}

/// An HTTP client. Cloning shares connections, credentials and tokens.
#[derive(Clone, Debug)]
pub struct HttpClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: HttpClientConfig,
    options: ClientOptions,
    user_agent: HeaderValue,
    credentials: Credentials,
    proxy: Arc<ProxyChoice>,
    live: Mutex<Live>,
}

type Pool = hyper_util::client::legacy::Client<Connector, Full<Bytes>>;

/// What is rebuilt when a certificate file changes.
#[derive(Debug)]
struct Live {
    tls: ClientTls,
    pool: Pool,
}

impl HttpClient {
    /// Builds a client. TLS files are read now, so that a missing or broken one is told at load time.
    pub fn new(config: &HttpClientConfig, options: ClientOptions) -> Result<HttpClient, ClientError> {
        let mut config = config.clone();
        config.validate().map_err(|e| ClientError::Config(e.0))?;
        let user_agent = HeaderValue::from_str(&options.user_agent)
            .map_err(|_| ClientError::Config("user agent cannot be sent".into()))?;
        let proxy = Arc::new(ProxyChoice::new(&config.proxy));
        let tls = ClientTls::new(&config.tls_config)?;
        let http2 = config.http2_or(options.http2);
        let pool = pool(&options, http2, &proxy, &config, tls.rustls(http2)?)?;
        let credentials = Credentials::new(&config, &options)?;
        let live = Mutex::new(Live { tls, pool });
        Ok(HttpClient(Arc::new(Inner { config, options, user_agent, credentials, proxy, live })))
    }

    /// Sends a request and gives the answer's head; the body follows under the same deadline.
    ///
    /// `timeout` covers everything from connecting to the last byte of the body. A status is never an error.
    pub async fn request(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Response, ClientError> {
        let deadline = Instant::now() + timeout;
        let method = request.method().clone();
        let url = request.uri().to_string();
        let told = |error: ClientError| error.of(&method, &url);
        match tokio::time::timeout_at(deadline, self.0.follow(request)).await {
            Ok(Ok(response)) => {
                let (parts, body) = response.into_parts();
                Ok(Response { status: parts.status, headers: parts.headers, body, deadline })
            }
            Ok(Err(error)) => Err(told(error)),
            Err(_) => Err(told(ClientError::Timeout)),
        }
    }

    /// A GET without more headers than the configured ones.
    pub async fn get(&self, url: &str, timeout: Duration) -> Result<Response, ClientError> {
        let request = Request::get(url).body(Full::default());
        self.request(request.map_err(|e| ClientError::Config(e.to_string()))?, timeout).await
    }
}

fn pool(
    options: &ClientOptions,
    http2: bool,
    proxy: &Arc<ProxyChoice>,
    config: &HttpClientConfig,
    rustls: Arc<rustls::ClientConfig>,
) -> Result<Pool, ClientError> {
    let connector =
        Connector::new(rustls, &config.tls_config.server_name, Arc::clone(proxy), options.round_robin_dns)?;
    let mut builder = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(options.idle_timeout)
        .pool_max_idle_per_host(if options.keep_alive { 1000 } else { 0 })
        .http1_title_case_headers(true);
    if http2 {
        builder.http2_keep_alive_interval(Duration::from_secs(60)).http2_adaptive_window(true);
    }
    Ok(builder.build(connector))
}

impl Inner {
    /// The pool, made anew when a TLS file has changed.
    fn pool(&self) -> Result<Pool, ClientError> {
        let mut live = self.live.lock();
        if live.tls.refresh()? {
            let http2 = self.config.http2_or(self.options.http2);
            let rustls = live.tls.rustls(http2)?;
            live.pool = pool(&self.options, http2, &self.proxy, &self.config, rustls)?;
        }
        Ok(live.pool.clone())
    }

    async fn follow(&self, request: Request<Full<Bytes>>) -> Result<http::Response<Incoming>, ClientError> {
        let (mut parts, mut body) = request.into_parts();
        parts.headers.insert(USER_AGENT, self.user_agent.clone());
        let first_host = parts.uri.host().unwrap_or("").to_ascii_lowercase();
        let mut strange = false;
        for hop in 0..=MAX_REDIRECTS {
            let mut headers = parts.headers.clone();
            self.credentials.add_headers(&mut headers)?;
            if strange {
                strip_credentials(&mut headers);
            } else if !headers.contains_key(AUTHORIZATION)
                && let Some(value) = self.credentials.authorization().await?
            {
                headers.insert(AUTHORIZATION, value);
            }
            let uri = without_user(&parts.uri, &mut headers, strange)?;
            if let Some(value) = self.proxy.plain_authorization(&uri) {
                headers.insert(http::header::PROXY_AUTHORIZATION, value);
            }
            let mut request = Request::new(body.clone());
            *request.method_mut() = parts.method.clone();
            *request.uri_mut() = uri;
            *request.headers_mut() = headers;
            let response = self.pool()?.request(request).await.map_err(ClientError::from_hyper)?;
            let Some(next) = redirect(&response, &parts.uri).filter(|_| self.config.follow_redirects) else {
                return Ok(response);
            };
            if hop == MAX_REDIRECTS {
                return Err(ClientError::Redirect(format!("stopped after {MAX_REDIRECTS} redirects")));
            }
            let next = next?;
            if !matches!(response.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
                && parts.method != Method::HEAD
                && parts.method != Method::GET
            {
                parts.method = Method::GET;
                body = Full::default();
                parts.headers.remove(CONTENT_TYPE);
                parts.headers.remove(CONTENT_LENGTH);
                parts.headers.remove(http::header::CONTENT_ENCODING);
            }
            parts.headers.remove(HOST);
            parts.uri = next;
            strange |= !same_domain(parts.uri.host().unwrap_or(""), &first_host);
        }
        Err(ClientError::Redirect(format!("stopped after {MAX_REDIRECTS} redirects")))
    }
}

/// Where an answer sends us; `None` when it is no redirect.
fn redirect(response: &http::Response<Incoming>, from: &Uri) -> Option<Result<Uri, ClientError>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    let target = location
        .to_str()
        .ok()
        .and_then(|to| Url::parse(&from.to_string()).ok()?.join(to).ok())
        .filter(|to| matches!(to.scheme(), "http" | "https"))
        .and_then(|to| to.as_str().split('#').next().and_then(|to| to.parse().ok()));
    Some(target.ok_or_else(|| ClientError::Redirect(format!("failed to parse Location header {location:?}"))))
}

/// Whether `host` is `of` or below it.
fn same_domain(host: &str, of: &str) -> bool {
    let host = host.to_ascii_lowercase();
    if host == of {
        return true;
    }
    !host.contains([':', '%'])
        && host.strip_suffix(of).is_some_and(|rest| !of.is_empty() && rest.ends_with('.'))
}

fn strip_credentials(headers: &mut HeaderMap) {
    for name in ["www-authenticate", "cookie2", "proxy-authorization", "proxy-authenticate"] {
        headers.remove(name);
    }
    headers.remove(AUTHORIZATION);
    headers.remove(COOKIE);
}

/// Takes `user:password@` out of a URL and makes basic auth of it, as Go does.
fn without_user(uri: &Uri, headers: &mut HeaderMap, strange: bool) -> Result<Uri, ClientError> {
    let Some((user, host)) = uri.authority().and_then(|a| a.as_str().rsplit_once('@')) else {
        return Ok(uri.clone());
    };
    if !strange && !headers.contains_key(AUTHORIZATION) {
        let decode = |t: &str| percent_encoding::percent_decode_str(t).decode_utf8_lossy().into_owned();
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        headers.insert(AUTHORIZATION, credentials::basic(&decode(name), &decode(password))?);
    }
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(host.parse().map_err(|_| ClientError::Config(format!("bad host {host}")))?);
    Uri::from_parts(parts).map_err(|e| ClientError::Config(e.to_string()))
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    deadline: Instant,
}

impl Response {
    /// The value of a header when it is text; empty otherwise.
    pub fn header(&self, name: http::header::HeaderName) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// The whole body; longer than `limit_bytes` is [`ClientError::TooLong`].
    pub async fn read_body(self, limit_bytes: u64) -> Result<Bytes, ClientError> {
        let (bytes, whole) = self.read(limit_bytes).await?;
        if whole { Ok(bytes) } else { Err(ClientError::TooLong { limit_bytes }) }
    }

    /// At most the first `limit_bytes` of the body, for messages of a peer.
    pub async fn read_start(self, limit_bytes: u64) -> Result<Bytes, ClientError> {
        Ok(self.read(limit_bytes).await?.0)
    }

    /// Reads the body away (up to 64 KiB), so that the connection can be used again.
    pub async fn discard(self) {
        let _ = self.read(64 << 10).await;
    }

    /// The body up to the limit, and whether that was all of it.
    async fn read(mut self, limit_bytes: u64) -> Result<(Bytes, bool), ClientError> {
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        // Most answers are one piece, which is handed on without a copy.
        let mut first = Bytes::new();
        let mut all: Vec<u8> = Vec::new();
        loop {
            let frame = tokio::time::timeout_at(self.deadline, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| ClientError::Timeout)? else { break };
            let frame = frame.map_err(|e| ClientError::Body(error::chain(&e)))?;
            let Ok(mut data) = frame.into_data() else { continue };
            let room = limit - first.len() - all.len();
            let whole = data.len() <= room;
            data.truncate(room);
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&data);
            }
            if !whole {
                return Ok((if all.is_empty() { first } else { all.into() }, false));
            }
        }
        Ok((if all.is_empty() { first } else { all.into() }, true))
    }
}

#[cfg(test)]
mod tests;
