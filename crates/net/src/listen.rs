//! The listener: accepts connections within a limit, with or without TLS, and serves HTTP on them.
//!
//! Serves any tower service of requests, axum's router among them. Reading a request has a deadline, so has
//! the TLS handshake; a stop lets running requests finish within a grace period.

mod body;
mod line;

pub use body::RequestBody;

use crate::web::{Door, Guard, WebFile};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use meter::{Counter, Registry};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest head of a request, and so the largest read buffer of a connection: a thousand senders must not cost
/// a gigabyte. (Go allows heads of 1 MiB.)
const HEAD_BYTES: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken, not ours, or not an address.
    #[error("listen tcp {address}: {text}")]
    Bind { address: String, text: String },
    #[error("{0}")]
    WebConfig(#[from] crate::web::WebConfigError),
}

/// How to listen. Clone it for several addresses: they share the limit of connections.
#[derive(Clone)]
pub struct ListenOptions {
    /// Free places for connections (`--web.max-connections`).
    pub connections: Arc<Semaphore>,
    /// For reading a whole request, and for an idle connection (`--web.read-timeout`).
    pub read_timeout: Duration,
    /// `--web.config.file`.
    pub web_config: Option<PathBuf>,
    pub metrics: Option<ListenMetrics>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            connections: Arc::new(Semaphore::new(512)),
            read_timeout: Duration::from_secs(300),
            web_config: None,
            metrics: None,
        }
    }
}

/// `net_conntrack_listener_*`, as upstream exposes them.
#[derive(Clone)]
pub struct ListenMetrics {
    accepted: Counter,
    closed: Counter,
}

impl ListenMetrics {
    pub fn new(registry: &Registry) -> Self {
        let counter =
            |name: &str, help: &str| registry.counter_vec(name, help, &["listener_name"]).with(&["http"]);
        ListenMetrics {
            accepted: counter(
                "net_conntrack_listener_conn_accepted_total",
                "Total number of connections opened to the listener of a given name.",
            ),
            closed: counter(
                "net_conntrack_listener_conn_closed_total",
                "Total number of connections closed that were made to the listener of a given name.",
            ),
        }
    }
}

/// Who sent a request; among the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    pub tls: bool,
}

/// A bound socket that does not serve yet.
pub struct Listener {
    socket: TcpListener,
    options: ListenOptions,
    web: Option<Web>,
}

struct Web {
    file: Arc<WebFile>,
    guard: Arc<Guard>,
    tls: bool,
    http2: bool,
}

impl Listener {
    /// Binds `host:port` (`:9090` for all addresses) and reads the web configuration.
    pub async fn bind(address: &str, options: ListenOptions) -> Result<Listener, ListenError> {
        let web = match &options.web_config {
            None => None,
            Some(path) => {
                let file = Arc::new(WebFile::open(path)?);
                let (tls, http2) = file.modes();
                let guard = Arc::new(Guard::new(Arc::clone(&file))?);
                Some(Web { file, guard, tls, http2 })
            }
        };
        let socket = bind(address).await?;
        let local = socket.local_addr().map_or_else(|_| address.to_owned(), |a| a.to_string());
        tracing::info!(component = "web", address = %local, "Listening on");
        let (tls, http2) = web.as_ref().map_or((false, false), |w| (w.tls, w.tls && w.http2));
        let told = if tls { "TLS is enabled." } else { "TLS is disabled." };
        tracing::info!(component = "web", http2, address = %local, "{told}");
        Ok(Listener { socket, options, web })
    }

    /// Where it listens; the port is the real one when 0 was asked for.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// Serves until `stop` is cancelled, then lets running requests finish for at most `grace`.
    pub async fn serve<S, B>(self, service: S, stop: CancellationToken, grace: Duration)
    where
        S: tower_service::Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let connections = TaskTracker::new();
        let kill = CancellationToken::new();
        let web = self.web.map(Arc::new);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&self.socket, &self.options.connections) => accepted,
            };
            let (stream, address, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: wait instead of spinning.
                    tracing::warn!(component = "web", err = %error, "Accepting a connection failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let connection = Connection {
                service: service.clone(),
                web: web.clone(),
                read_timeout: self.options.read_timeout,
                stop: stop.clone(),
            };
            let (metrics, kill) = (self.options.metrics.clone(), kill.clone());
            connections.spawn(async move {
                if let Some(metrics) = &metrics {
                    metrics.accepted.inc();
                }
                tokio::select! {
                    () = kill.cancelled() => {}
                    () = connection.run(stream, address) => {}
                }
                if let Some(metrics) = &metrics {
                    metrics.closed.inc();
                }
                drop(place);
            });
        }
        drop(self.socket);
        connections.close();
        if tokio::time::timeout(grace, connections.wait()).await.is_err() {
            kill.cancel();
            connections.wait().await;
        }
    }
}

async fn bind(address: &str) -> Result<TcpListener, ListenError> {
    let told = |e: std::io::Error| {
        let text = e.to_string();
        let text = text.split(" (os error").next().unwrap_or("").to_lowercase();
        ListenError::Bind { address: address.to_owned(), text: format!("bind: {text}") }
    };
    match address.strip_prefix(':') {
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Ok(socket) => Ok(socket),
            // A host without IPv6.
            Err(e) if e.kind() != std::io::ErrorKind::AddrInUse => {
                TcpListener::bind(format!("0.0.0.0:{port}")).await.map_err(told)
            }
            Err(e) => Err(told(e)),
        },
        None => TcpListener::bind(address).await.map_err(told),
    }
}

/// Waits for a free place first, so that what cannot be served stays in the system's queue.
async fn accept(
    socket: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, address) = socket.accept().await?;
    // Answers must not wait for more bytes.
    let _ = stream.set_nodelay(true);
    Ok((stream, address, place))
}

struct Connection<S> {
    service: S,
    web: Option<Arc<Web>>,
    read_timeout: Duration,
    stop: CancellationToken,
}

impl<S, B> Connection<S>
where
    S: tower_service::Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn run(self, stream: TcpStream, address: SocketAddr) {
        let Some(web) = self.web.clone().filter(|w| w.tls) else {
            return self.http(stream, Peer { address, tls: false }, false).await;
        };
        let config = match web.file.rustls(web.http2) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(component = "web", err = %error, "TLS handshake is not possible");
                return;
            }
        };
        let mut stream = stream;
        // A handshake begins with 0x16, a plain request with a letter.
        let mut first = [0];
        let peeked = tokio::time::timeout(HANDSHAKE, stream.peek(&mut first)).await;
        if matches!(peeked, Ok(Ok(1))) && first[0].is_ascii_alphabetic() {
            let told = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
            let answer = async {
                // Closing over unread bytes would reset the connection under the answer.
                let mut request = [0; 4096];
                let _some = stream.read(&mut request).await?;
                stream.write_all(told).await?;
                stream.shutdown().await
            };
            // The peer may already be gone.
            let _ = tokio::time::timeout(HANDSHAKE, answer).await;
            return;
        }
        let handshake = tokio_rustls::TlsAcceptor::from(config).accept(stream);
        match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.http(stream, Peer { address, tls: true }, http2).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(component = "web", remote = %address, err = %error, "TLS handshake error");
            }
            Err(_) => {
                tracing::debug!(component = "web", remote = %address, err = "timeout", "TLS handshake error");
            }
        }
    }

    async fn http<I>(self, stream: I, peer: Peer, http2: bool)
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.read_timeout)
            .max_buf_size(HEAD_BYTES)
            .title_case_headers(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(60))
            .max_concurrent_streams(250)
            .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
            .adaptive_window(true);
        let builder = if http2 { builder.http2_only() } else { builder.http1_only() };
        let (service, web, timeout) = (self.service, self.web, self.read_timeout);
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            answer(service.clone(), web.clone(), peer, timeout, request)
        });
        // The frames of HTTP/2 have no first line.
        let stream = match http2 {
            true => tokio_util::either::Either::Left(stream),
            false => tokio_util::either::Either::Right(line::FirstLine::new(stream)),
        };
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // A peer that went away is its own affair.
            tracing::trace!(component = "web", remote = %peer.address, err = %error, "Connection ended");
        }
    }
}

type Answer<B> = Response<Either<B, Full<Bytes>>>;

async fn answer<S, B>(
    mut service: S,
    web: Option<Arc<Web>>,
    peer: Peer,
    timeout: Duration,
    request: Request<Incoming>,
) -> Result<Answer<B>, Infallible>
where
    S: tower_service::Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
{
    let mut more = Vec::new();
    if let Some(web) = &web {
        match web.guard.judge(request.headers()).await {
            Door::Open(headers) => more = headers,
            Door::Closed { status, headers, ask } => {
                let text = format!("{}\n", status.canonical_reason().unwrap_or(""));
                let mut answer = Response::new(Either::Right(Full::from(text)));
                *answer.status_mut() = status;
                answer.headers_mut().extend(headers.into_iter().map(|(n, v)| (Some(n), v)));
                let own = answer.headers_mut();
                own.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
                own.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                if ask {
                    own.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
                }
                return Ok(answer);
            }
        }
    }
    let mut request = request.map(|body| RequestBody::new(body, timeout));
    request.extensions_mut().insert(peer);
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    let mut answer = service.call(request).await?.map(Either::Left);
    for (name, value) in more {
        // What the handler says itself stays.
        answer.headers_mut().entry(name).or_insert(value);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests;
