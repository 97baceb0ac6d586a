//! `web.config.file`: TLS, users, headers and rate limit of the listener, as exporter-toolkit defines them.
//!
//! The file and the certificates it names are looked at for each request and each handshake, so changes need
//! no reload; switching TLS or HTTP/2 on or off needs a restart. An empty file is valid and changes nothing.

mod auth;
mod san;
mod tls;

pub(crate) use auth::{Door, Guard};

use crate::config::{TlsVersion, join_dir};
use disk::small::{DEFAULT_LIMIT_BYTES, Watched};
use model::labels::quote;
use model::secret::Secret;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tls::ServerTls;

/// The file is unreadable or contradicts itself; the text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WebConfigError(pub String);

impl WebConfigError {
    fn err<T>(text: impl Into<String>) -> Result<T, WebConfigError> {
        Err(WebConfigError(text.into()))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebConfig {
    tls_server_config: TlsServerConfig,
    http_server_config: HttpServerConfig,
    rate_limit: RateLimit,
    /// Hashes by user.
    basic_auth_users: BTreeMap<String, Secret>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsServerConfig {
    cert: String,
    key: Secret,
    client_ca: String,
    cert_file: PathBuf,
    key_file: PathBuf,
    client_auth_type: String,
    client_ca_file: PathBuf,
    cipher_suites: Vec<String>,
    curve_preferences: Vec<String>,
    min_version: TlsVersion,
    max_version: TlsVersion,
    /// Read and without effect, as in upstream since Go 1.18.
    prefer_server_cipher_suites: bool,
    client_allowed_sans: Vec<String>,
}

impl Default for TlsServerConfig {
    fn default() -> Self {
        TlsServerConfig {
            cert: String::new(),
            key: Secret::default(),
            client_ca: String::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_auth_type: String::new(),
            client_ca_file: PathBuf::new(),
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            prefer_server_cipher_suites: true,
            client_allowed_sans: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpServerConfig {
    http2: bool,
    headers: BTreeMap<String, String>,
}

impl Default for HttpServerConfig {
    fn default() -> Self {
        HttpServerConfig { http2: true, headers: BTreeMap::new() }
    }
}

/// `burst` requests at once, and one more each `interval`; an interval of 0 means no limit.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RateLimit {
    burst: u32,
    #[serde(deserialize_with = "go_duration")]
    interval: Duration,
}

/// Go's durations: `1.5s`, `100ms`, `1h2m`; a bare number counts nanoseconds.
fn go_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(d)?;
    let bad = || de::Error::custom(format!("time: invalid duration {}", quote(&text)));
    if let Ok(nanos) = text.parse::<u64>() {
        return Ok(Duration::from_nanos(nanos));
    }
    let (mut rest, mut seconds) = (text.as_str(), 0.0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let scale = match &rest[..letters] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        seconds += number * scale;
        rest = &rest[letters..];
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| bad())
}

/// Headers that may be set, with their legal values where those are few.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

impl WebConfig {
    fn parse(text: &str, dir: &Path) -> Result<WebConfig, WebConfigError> {
        let config: Option<WebConfig> = yaml::from_str(text).map_err(|e| WebConfigError(e.to_string()))?;
        let mut config = config.unwrap_or_default();
        for (name, value) in &config.http_server_config.headers {
            let Some((_, legal)) = HEADERS.iter().find(|(known, _)| known == name) else {
                return WebConfigError::err(format!("HTTP header {} can not be configured", quote(name)));
            };
            if !legal.is_empty() && !legal.contains(&value.as_str()) {
                let legal: Vec<String> = legal.iter().map(|l| quote(l)).collect();
                return WebConfigError::err(format!(
                    "invalid value for {name}. Expected one of: [{}], but got: {}",
                    legal.join(" "),
                    quote(value)
                ));
            }
            if http::HeaderValue::from_str(value).is_err() {
                return WebConfigError::err(format!("the value of HTTP header {name} cannot be sent"));
            }
        }
        for hash in config.basic_auth_users.values() {
            auth::check_hash(hash.expose())?;
        }
        let tls = &mut config.tls_server_config;
        join_dir(dir, &mut tls.cert_file);
        join_dir(dir, &mut tls.key_file);
        join_dir(dir, &mut tls.client_ca_file);
        Ok(config)
    }
}

/// The file, followed.
pub(crate) struct WebFile {
    state: Mutex<State>,
    dir: PathBuf,
}

struct State {
    watched: Watched,
    config: Arc<WebConfig>,
    /// `None` where TLS is off.
    tls: Option<ServerTls>,
    /// Why the file as it is now cannot be used.
    broken: Option<WebConfigError>,
}

impl WebFile {
    /// Reads and checks the file with all that it names.
    pub(crate) fn open(path: &Path) -> Result<WebFile, WebConfigError> {
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut watched = Watched::new(disk::OsDisk::shared(), path, DEFAULT_LIMIT_BYTES);
        let text = watched.changed().map_err(|e| WebConfigError(e.to_string()))?.unwrap_or_default();
        let config = Arc::new(WebConfig::parse(&text, &dir)?);
        let tls = ServerTls::new(&config)?;
        Ok(WebFile { state: Mutex::new(State { watched, config, tls, broken: None }), dir })
    }

    /// The settings as the file has them now.
    pub(crate) fn config(&self) -> Result<Arc<WebConfig>, WebConfigError> {
        let mut state = self.state.lock();
        self.refresh(&mut state)?;
        Ok(Arc::clone(&state.config))
    }

    /// Whether TLS was on when the file was opened, and whether HTTP/2 was.
    pub(crate) fn modes(&self) -> (bool, bool) {
        let state = self.state.lock();
        (state.tls.is_some(), state.config.http_server_config.http2)
    }

    /// What the next handshake uses. `http2` is what the listener started with.
    pub(crate) fn rustls(&self, http2: bool) -> Result<Arc<rustls::ServerConfig>, WebConfigError> {
        let mut state = self.state.lock();
        self.refresh(&mut state)?;
        match &mut state.tls {
            Some(tls) => tls.rustls(http2),
            None => WebConfigError::err("TLS config is not present"),
        }
    }

    fn refresh(&self, state: &mut State) -> Result<(), WebConfigError> {
        match state.watched.changed() {
            Ok(None) => {}
            Ok(Some(text)) => {
                let read = WebConfig::parse(&text, &self.dir)
                    .and_then(|config| ServerTls::new(&config).map(|tls| (config, tls)));
                match read {
                    Ok((config, tls)) => {
                        (state.config, state.tls, state.broken) = (Arc::new(config), tls, None);
                    }
                    Err(error) => state.broken = Some(error),
                }
            }
            Err(e) => state.broken = Some(WebConfigError(e.to_string())),
        }
        state.broken.clone().map_or(Ok(()), Err)
    }
}

/// Checks a file as `promtool check web-config` does.
pub fn check_file(path: &Path) -> Result<(), WebConfigError> {
    WebFile::open(path).map(|_| ())
}

#[cfg(test)]
mod tests;
