//! Connections: resolve, connect, through a proxy or not, TLS or not.

use super::ClientError;
use super::proxy::{Proxy, ProxyChoice};
use http::Uri;
use hyper::rt::ReadBufCursor;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// Head start of the first address family, as in Go.
const FALLBACK_DELAY: Duration = Duration::from_millis(300);
/// Longest answer of a proxy to CONNECT.
const PROXY_HEAD_BYTES: usize = 16 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[derive(Clone)]
pub(super) struct Connector(Arc<Settings>);

struct Settings {
    tls: TlsConnector,
    server_name: Option<ServerName<'static>>,
    proxy: Arc<ProxyChoice>,
    /// Counts connections, to begin with another address each time.
    turn: Option<AtomicUsize>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    pub(super) fn new(
        rustls: Arc<rustls::ClientConfig>,
        server_name: &str,
        proxy: Arc<ProxyChoice>,
        round_robin: bool,
    ) -> Result<Self, ClientError> {
        let server_name = if server_name.is_empty() {
            None
        } else {
            let name = ServerName::try_from(server_name.to_owned());
            Some(name.map_err(|_| ClientError::Config(format!("invalid server_name {server_name:?}")))?)
        };
        let turn = round_robin.then(|| AtomicUsize::new(0));
        Ok(Connector(Arc::new(Settings { tls: TlsConnector::from(rustls), server_name, proxy, turn })))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Conn;
    type Error = ClientError;
    type Future = Pin<Box<dyn Future<Output = Result<Conn, ClientError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let settings = Arc::clone(&self.0);
        Box::pin(async move { settings.connect(&uri).await })
    }
}

impl Settings {
    async fn connect(&self, uri: &Uri) -> Result<Conn, ClientError> {
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            other => {
                let shown = other.unwrap_or("");
                return Err(ClientError::Connect(format!("unsupported protocol scheme \"{shown}\"")));
            }
        };
        let Some(host) = uri.host().map(|h| h.trim_matches(['[', ']'])).filter(|h| !h.is_empty()) else {
            return Err(ClientError::Connect("http: no Host in request URL".into()));
        };
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let Some(proxy) = self.proxy.of(uri) else {
            let stream = self.dial(host, port).await?;
            return if tls { self.encrypt(stream, host).await } else { Ok(Conn::plain(stream, false)) };
        };
        let stream = self.dial(&proxy.host, proxy.port).await?;
        let mut stream: Box<dyn Stream> = if proxy.tls {
            Box::new(self.handshake(stream, &proxy.host, false).await?)
        } else {
            Box::new(stream)
        };
        if !tls {
            return Ok(Conn::plain(stream, true));
        }
        self.tunnel(&mut stream, proxy, host, port).await?;
        self.encrypt(stream, host).await
    }

    async fn encrypt(&self, stream: impl Stream + 'static, host: &str) -> Result<Conn, ClientError> {
        let stream = self.handshake(stream, host, true).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Conn { stream: TokioIo::new(Box::new(stream)), proxied: false, http2 })
    }

    async fn handshake<S: Stream>(
        &self,
        stream: S,
        host: &str,
        target: bool,
    ) -> Result<tokio_rustls::client::TlsStream<S>, ClientError> {
        let name = match &self.server_name {
            Some(name) if target => name.clone(),
            _ => ServerName::try_from(host.to_owned())
                .map_err(|_| ClientError::Connect(format!("tls: invalid server name {host:?}")))?,
        };
        let handshake = if target {
            self.tls.connect(name, stream)
        } else {
            // A proxy is spoken to in HTTP/1.1 whatever the target may speak.
            self.tls.with_alpn(vec![b"http/1.1".to_vec()]).connect(name, stream)
        };
        match tokio::time::timeout(TLS_HANDSHAKE, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(e)) => Err(ClientError::Connect(tls_text(&e))),
            Err(_) => Err(ClientError::Connect("net/http: TLS handshake timeout".into())),
        }
    }

    async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, ClientError> {
        let mut addresses: Vec<SocketAddr> = match host.parse() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => match tokio::net::lookup_host((host, port)).await {
                Ok(found) => found.collect(),
                Err(_) => Vec::new(),
            },
        };
        if addresses.is_empty() {
            return Err(ClientError::Connect(format!("dial tcp: lookup {host}: no such host")));
        }
        if let Some(turn) = &self.turn {
            let by = turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(by);
        }
        let (first, second): (Vec<_>, Vec<_>) =
            addresses.iter().partition(|a| a.is_ipv4() == addresses[0].is_ipv4());
        if second.is_empty() {
            return dial_each(first).await;
        }
        let primary = dial_each(first);
        let fallback = async {
            tokio::time::sleep(FALLBACK_DELAY).await;
            dial_each(second.clone()).await
        };
        tokio::pin!(primary, fallback);
        tokio::select! {
            stream = &mut primary => match stream {
                Ok(stream) => Ok(stream),
                Err(error) => dial_each(second.clone()).await.map_err(|_| error),
            },
            stream = &mut fallback => match stream {
                Ok(stream) => Ok(stream),
                Err(_) => primary.await,
            },
        }
    }

    /// Asks a proxy for a tunnel to the target.
    async fn tunnel(
        &self,
        stream: &mut Box<dyn Stream>,
        proxy: &Proxy,
        host: &str,
        port: u16,
    ) -> Result<(), ClientError> {
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        let own = self.proxy.connect_headers();
        let authorization = proxy
            .authorization
            .as_ref()
            .filter(|_| !own.contains_key(http::header::PROXY_AUTHORIZATION))
            .map(|value| (&http::header::PROXY_AUTHORIZATION, value));
        for (name, value) in own.iter().chain(authorization) {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let broken = |e: io::Error| ClientError::Connect(format!("proxyconnect tcp: {e}"));
        stream.write_all(&head).await.map_err(broken)?;
        let mut answer = Vec::new();
        // Byte by byte, so that nothing of the tunnel itself is taken; the head is short.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= PROXY_HEAD_BYTES {
                return Err(ClientError::Connect("proxyconnect tcp: answer too long".into()));
            }
            answer.push(stream.read_u8().await.map_err(broken)?);
        }
        let line = String::from_utf8_lossy(&answer);
        let line = line.lines().next().unwrap_or("");
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some(version), Some("200"), _) if version.starts_with("HTTP/1.") => Ok(()),
            (Some(version), Some(code), reason) if version.starts_with("HTTP/1.") => {
                Err(ClientError::Connect(reason.filter(|r| !r.is_empty()).unwrap_or(code).to_owned()))
            }
            _ => Err(ClientError::Connect(format!("proxyconnect tcp: malformed HTTP response {line:?}"))),
        }
    }
}

async fn dial_each(addresses: Vec<SocketAddr>) -> Result<TcpStream, ClientError> {
    let mut first_error = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small requests must not wait for one another.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(e) => {
                let text = format!("dial tcp {address}: connect: {}", os_text(&e));
                first_error.get_or_insert(ClientError::Connect(text));
            }
        }
    }
    Err(first_error.unwrap_or_else(|| ClientError::Connect("dial tcp: no address".into())))
}

/// `connection refused` instead of `Connection refused (os error 111)`.
fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or("").to_owned();
    match text.strip_prefix(|c: char| c.is_ascii_uppercase()) {
        Some(rest) => format!("{}{rest}", text[..1].to_ascii_lowercase()),
        None => text,
    }
}

fn tls_text(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            format!("tls: failed to verify certificate: {}", certificate_text(reason))
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            "tls: first record does not look like a TLS handshake".into()
        }
        Some(rustls::Error::AlertReceived(alert)) => format!("remote error: tls: {alert:?}"),
        Some(other) => format!("tls: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "EOF".into(),
        None => format!("tls: {}", os_text(error)),
    }
}

fn certificate_text(error: &rustls::CertificateError) -> String {
    use rustls::CertificateError as E;
    match error {
        E::UnknownIssuer => "x509: certificate signed by unknown authority".into(),
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => {
            format!("x509: certificate has expired or is not yet valid: {error}")
        }
        other => format!("x509: {other}"),
    }
}

/// A connection as hyper wants it.
pub(super) struct Conn {
    stream: TokioIo<Box<dyn Stream>>,
    proxied: bool,
    http2: bool,
}

impl Conn {
    fn plain(stream: impl Stream + 'static, proxied: bool) -> Conn {
        Conn { stream: TokioIo::new(Box::new(stream)), proxied, http2: false }
    }
}

impl Connection for Conn {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.proxied);
        if self.http2 { connected.negotiated_h2() } else { connected }
    }
}

impl hyper::rt::Read for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
