//! Which proxy a request goes through, by the rules of Go's `httpproxy`.

use super::credentials;
use crate::config::ProxyConfig;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::net::IpAddr;
use url::Url;

#[derive(Debug, Default)]
pub(super) struct ProxyChoice {
    http: Option<Proxy>,
    https: Option<Proxy>,
    /// `None`: the proxy is for everything, loopback included.
    exceptions: Option<Vec<Exception>>,
    connect_headers: HeaderMap,
}

#[derive(Clone, Debug)]
pub(super) struct Proxy {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authorization: Option<HeaderValue>,
}

#[derive(Debug, PartialEq)]
enum Exception {
    All,
    Address(IpAddr, Option<u16>),
    Network(IpAddr, u8),
    /// The domain itself (unless it was written with a leading dot) and all below it.
    Domain {
        name: String,
        below_only: bool,
        port: Option<u16>,
    },
}

impl ProxyChoice {
    pub(super) fn new(config: &ProxyConfig) -> Self {
        let mut connect_headers = HeaderMap::new();
        for (name, values) in &config.proxy_connect_header {
            for value in values {
                if let (Ok(name), Ok(value)) =
                    (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value.expose()))
                {
                    connect_headers.append(name, value);
                }
            }
        }
        if config.proxy_from_environment {
            let var = |upper: &str| {
                let lower = upper.to_ascii_lowercase();
                [std::env::var(upper), std::env::var(lower)].into_iter().flatten().find(|v| !v.is_empty())
            };
            let proxy = |name| var(name).and_then(|text| Proxy::from_text(&text));
            return ProxyChoice {
                http: proxy("HTTP_PROXY"),
                https: proxy("HTTPS_PROXY"),
                exceptions: Some(exceptions(&var("NO_PROXY").unwrap_or_default())),
                connect_headers,
            };
        }
        let proxy = config.proxy_url.as_ref().and_then(|url| Proxy::from_url(&url.0));
        let no_proxy = (!config.no_proxy.is_empty()).then(|| exceptions(&config.no_proxy));
        ProxyChoice { http: proxy.clone(), https: proxy, exceptions: no_proxy, connect_headers }
    }

    pub(super) fn connect_headers(&self) -> &HeaderMap {
        &self.connect_headers
    }

    /// The proxy for a URL; `None` means directly.
    pub(super) fn of(&self, uri: &Uri) -> Option<&Proxy> {
        let tls = uri.scheme_str() == Some("https");
        let proxy = if tls { self.https.as_ref() } else { self.http.as_ref() }?;
        let host =
            uri.host().unwrap_or("").trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        match &self.exceptions {
            Some(exceptions) if excepted(exceptions, &host, port) => None,
            _ => Some(proxy),
        }
    }

    /// `Proxy-Authorization` of a request that a proxy sees in clear.
    pub(super) fn plain_authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        if uri.scheme_str() == Some("https") {
            return None;
        }
        self.of(uri)?.authorization.clone()
    }
}

impl Proxy {
    fn from_text(text: &str) -> Option<Proxy> {
        let url = Url::parse(text).ok().filter(|u| matches!(u.scheme(), "http" | "https"));
        Proxy::from_url(&url.or_else(|| Url::parse(&format!("http://{text}")).ok())?)
    }

    fn from_url(url: &Url) -> Option<Proxy> {
        let decode = |t: &str| percent_encoding::percent_decode_str(t).decode_utf8_lossy().into_owned();
        let authorization = (!url.username().is_empty())
            .then(|| credentials::basic(&decode(url.username()), &decode(url.password().unwrap_or(""))).ok())
            .flatten();
        Some(Proxy {
            tls: url.scheme() == "https",
            host: url.host_str()?.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default()?,
            authorization,
        })
    }
}

fn excepted(exceptions: &[Exception], host: &str, port: u16) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|a| a.is_loopback()) {
        return true;
    }
    exceptions.iter().any(|exception| match exception {
        Exception::All => true,
        Exception::Address(ip, p) => address == Some(*ip) && p.is_none_or(|p| p == port),
        Exception::Network(net, bits) => address.is_some_and(|a| in_network(a, *net, *bits)),
        Exception::Domain { name, below_only, port: p } => {
            let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
            (below || (!below_only && host == name)) && p.is_none_or(|p| p == port)
        }
    })
}

fn in_network(address: IpAddr, net: IpAddr, bits: u8) -> bool {
    let shift = |wide: u32| wide.saturating_sub(u32::from(bits));
    match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            (u32::from(a) ^ u32::from(n)).checked_shr(shift(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            (u128::from(a) ^ u128::from(n)).checked_shr(shift(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

fn exceptions(text: &str) -> Vec<Exception> {
    text.split(',')
        .map(|e| e.trim().to_ascii_lowercase())
        .filter(|e| !e.is_empty())
        .filter_map(|e| one(&e))
        .collect()
}

fn one(text: &str) -> Option<Exception> {
    if text == "*" {
        return Some(Exception::All);
    }
    if let Some((net, bits)) = text.split_once('/')
        && let (Ok(net), Ok(bits)) = (net.parse::<IpAddr>(), bits.parse::<u8>())
    {
        let most = if net.is_ipv4() { 32 } else { 128 };
        return (bits <= most).then_some(Exception::Network(net, bits));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
        return Some(Exception::Address(ip, None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
        return Some(Exception::Address(ip, port));
    }
    let name = host.strip_prefix("*.").map(|h| format!(".{h}")).unwrap_or_else(|| host.to_owned());
    let below_only = name.starts_with('.');
    let name = name.trim_start_matches('.').to_owned();
    (!name.is_empty()).then_some(Exception::Domain { name, below_only, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(no_proxy: &str, url: &str, want: bool) {
        let config = ProxyConfig {
            proxy_url: crate::config::ConfigUrl::parse("http://u:p@proxy:3128").ok(),
            no_proxy: no_proxy.into(),
            ..ProxyConfig::default()
        };
        let uri: Uri = url.parse().expect("uri");
        assert_eq!(ProxyChoice::new(&config).of(&uri).is_some(), want, "{no_proxy} {url}");
    }

    #[test]
    fn exceptions_follow_go() {
        check("", "http://127.0.0.1:9090/", true);
        check("x", "http://127.0.0.1:9090/", false);
        check("x", "http://localhost/", false);
        check("x", "http://foo/", true);
        check("foo", "http://foo/", false);
        check("foo", "http://a.foo/", false);
        check("foo", "http://afoo/", true);
        check(".foo", "http://foo/", true);
        check("*.foo", "http://a.foo/", false);
        check("*", "https://a.foo/", false);
        check("foo:80", "https://foo/", true);
        check("foo:443, bar", "https://foo/", false);
        check("10.0.0.0/8", "http://10.1.2.3/", false);
        check("10.0.0.0/8", "http://11.1.2.3/", true);
        check("0.0.0.0/0", "http://11.1.2.3/", false);
        check("10.1.2.3:80", "http://10.1.2.3/", false);
        check("fd00::/8", "http://[fd00::1]:80/", false);
    }
}
