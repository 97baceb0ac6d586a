//! Who may pass: users with bcrypt hashes, and the rate limit.

use super::{RateLimit, WebConfigError, WebFile};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// A hash of no one's password, compared with when the user is unknown, so that time does not tell whether a
/// user exists.
const FAKE_HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
/// Remembered results.
const CACHE: usize = 100;
/// Longest password that is compared; bcrypt itself looks at the first 72 bytes.
const PASSWORD_BYTES: usize = 4096;

/// What happens to a request.
pub(crate) enum Door {
    /// Serve it, and add these headers to the answer.
    Open(Vec<(HeaderName, HeaderValue)>),
    Closed {
        status: StatusCode,
        headers: Vec<(HeaderName, HeaderValue)>,
        ask: bool,
    },
}

/// Judges requests by the file as it is now.
pub(crate) struct Guard {
    file: Arc<WebFile>,
    /// Results by user, hash and password.
    known: Mutex<HashMap<[String; 3], bool>>,
    /// Held while a hash is computed: one at a time, for it is meant to be expensive.
    computing: tokio::sync::Mutex<()>,
    limit: Option<Bucket>,
}

impl Guard {
    pub(crate) fn new(file: Arc<WebFile>) -> Result<Self, WebConfigError> {
        let limit = file.config()?.rate_limit;
        let limit = (!limit.interval.is_zero()).then(|| {
            let (burst, interval) = (limit.burst, limit.interval.as_secs_f64());
            tracing::info!(component = "web", burst, interval, "Rate Limiter is enabled.");
            Bucket::new(limit)
        });
        Ok(Guard { file, known: Mutex::default(), computing: tokio::sync::Mutex::new(()), limit })
    }

    pub(crate) async fn judge(&self, request: &HeaderMap) -> Door {
        let config = match self.file.config() {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(component = "web", err = %error, "Unable to parse configuration");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return Door::Closed { status, headers: Vec::new(), ask: false };
            }
        };
        if self.limit.as_ref().is_some_and(|bucket| !bucket.take(Instant::now())) {
            return Door::Closed { status: StatusCode::TOO_MANY_REQUESTS, headers: Vec::new(), ask: false };
        }
        let headers = config
            .http_server_config
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.parse().ok()?, HeaderValue::from_str(value).ok()?)));
        let headers = headers.collect();
        let users = &config.basic_auth_users;
        if users.is_empty() {
            return Door::Open(headers);
        }
        if let Some((user, password)) = basic(request) {
            let known = users.get(&user);
            let hash = known.map_or(FAKE_HASH, |h| h.expose()).to_owned();
            if self.compare(user, hash, password).await && known.is_some() {
                return Door::Open(headers);
            }
        }
        Door::Closed { status: StatusCode::UNAUTHORIZED, headers, ask: true }
    }

    async fn compare(&self, user: String, hash: String, password: String) -> bool {
        let key = [user, hash, password];
        if let Some(known) = self.known.lock().get(&key) {
            return *known;
        }
        let turn = self.computing.lock().await;
        // Another request with the same password may just have been served.
        if let Some(known) = self.known.lock().get(&key) {
            return *known;
        }
        let (hash, password) = (key[1].clone(), key[2].clone());
        let right = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false));
        let right = right.await.unwrap_or(false);
        drop(turn);
        let mut known = self.known.lock();
        if known.len() >= CACHE {
            // Which go is of no account; hash order is as good as chance.
            let gone: Vec<_> = known.keys().take(CACHE / 10 + 1).cloned().collect();
            for key in gone {
                known.remove(&key);
            }
        }
        known.insert(key, right);
        right
    }
}

/// User and password of an `Authorization: Basic` header.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > 2 * PASSWORD_BYTES {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Refuses what is no bcrypt hash, in the words of Go's library.
pub(super) fn check_hash(hash: &str) -> Result<(), WebConfigError> {
    if hash.len() < 59 {
        return WebConfigError::err("crypto/bcrypt: hashedSecret too short to be a bcrypted password");
    }
    hash.parse::<bcrypt::HashParts>().map(|_| ()).map_err(|e| WebConfigError(format!("crypto/bcrypt: {e}")))
}

/// A token bucket: full at the start, one token back each interval.
struct Bucket {
    limit: RateLimit,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    fn new(limit: RateLimit) -> Self {
        Bucket { limit, state: Mutex::new((f64::from(limit.burst), Instant::now())) }
    }

    fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let (tokens, last) = *state;
        let gained = now.saturating_duration_since(last).as_secs_f64() / self.limit.interval.as_secs_f64();
        let tokens = (tokens + gained).min(f64::from(self.limit.burst));
        let pass = tokens >= 1.0;
        *state = (if pass { tokens - 1.0 } else { tokens }, now);
        pass
    }
}
