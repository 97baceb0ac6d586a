//! OAuth2 tokens: client credentials (RFC 6749 §4.4) and JWT bearer (RFC 7523 §2.1), cached until they expire.

use super::credentials::{self, Source};
use super::tls::provider;
use super::{ClientError, ClientOptions, HttpClient};
use crate::config::{HttpClientConfig, OAuth2};
use crate::pem;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use http_body_util::Full;
use rustls::SignatureScheme;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::form_urlencoded;

const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
const TOKEN_BYTES: u64 = 1 << 20;
/// A token this close to its end is got anew.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);
const JWT_LIFE: Duration = Duration::from_secs(600);

/// How the client names itself to the token endpoint; found out by the first success.
const STYLE_UNKNOWN: u8 = 0;
const STYLE_HEADER: u8 = 1;
const STYLE_PARAMS: u8 = 2;

pub(super) struct TokenSource {
    config: OAuth2,
    secret: Source,
    client: HttpClient,
    style: AtomicU8,
    issued: AtomicU64,
    /// Held while a token is fetched, so that requests wait for one fetch instead of each making one.
    token: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderValue,
    /// What it was got with; another secret needs another token.
    secret: String,
    expires: Option<Instant>,
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource").field("config", &self.config).finish_non_exhaustive()
    }
}

impl TokenSource {
    pub(super) fn new(config: &OAuth2, options: &ClientOptions) -> Result<Self, ClientError> {
        let http = HttpClientConfig {
            tls_config: config.tls_config.clone(),
            proxy: config.proxy.clone(),
            ..HttpClientConfig::default()
        };
        let secret = if config.is_jwt() {
            Source::of(config.client_certificate_key.expose(), &config.client_certificate_key_file)
        } else {
            Source::of(config.client_secret.expose(), &config.client_secret_file)
        };
        let options = ClientOptions { http2: false, round_robin_dns: false, ..options.clone() };
        Ok(TokenSource {
            config: config.clone(),
            secret,
            client: HttpClient::new(&http, options)?,
            style: AtomicU8::new(STYLE_UNKNOWN),
            issued: AtomicU64::new(0),
            token: Mutex::new(None),
        })
    }

    /// The `Authorization` header with a token that is still good.
    pub(super) async fn header(&self) -> Result<HeaderValue, ClientError> {
        let secret = self.secret.read("oauth2 client secret")?;
        let mut token = self.token.lock().await;
        if let Some(token) = &*token
            && token.secret == secret
            && token.expires.is_none_or(|at| Instant::now() + EXPIRY_MARGIN < at)
        {
            return Ok(token.header.clone());
        }
        let fresh = self.fetch(secret).await?;
        let header = fresh.header.clone();
        *token = Some(fresh);
        Ok(header)
    }

    async fn fetch(&self, secret: String) -> Result<Token, ClientError> {
        let body = if self.config.is_jwt() {
            let form = self.jwt_form(&secret)?;
            self.post(&form, None).await?
        } else {
            self.credentials_grant(&secret).await?
        };
        parse_token(&body, secret)
    }

    async fn credentials_grant(&self, secret: &str) -> Result<Vec<u8>, ClientError> {
        let config = &self.config;
        let mut form = vec![("grant_type".to_owned(), "client_credentials".to_owned())];
        if !config.scopes.is_empty() {
            form.push(("scope".into(), config.scopes.join(" ")));
        }
        self.add_params(&mut form)?;
        let style = self.style.load(Ordering::Relaxed);
        if style != STYLE_PARAMS {
            // RFC 6749 §2.3.1: both halves are form-encoded before they are joined.
            let encode = |t: &str| form_urlencoded::byte_serialize(t.as_bytes()).collect::<String>();
            let header = credentials::basic(&encode(&config.client_id), &encode(secret))?;
            match self.post(&form, Some(header)).await {
                Ok(body) => {
                    self.style.store(STYLE_HEADER, Ordering::Relaxed);
                    return Ok(body);
                }
                // Servers that know only parameters refuse the header; ask once more.
                Err(Refused::Answer(_)) if style == STYLE_UNKNOWN => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        form.push(("client_id".into(), config.client_id.clone()));
        if !secret.is_empty() {
            form.push(("client_secret".into(), secret.to_owned()));
        }
        let body = self.post(&form, None).await?;
        self.style.store(STYLE_PARAMS, Ordering::Relaxed);
        Ok(body)
    }

    fn add_params(&self, form: &mut Vec<(String, String)>) -> Result<(), ClientError> {
        for (name, value) in &self.config.endpoint_params {
            match form.iter_mut().find(|(n, _)| n == name) {
                // Some servers want a grant type of their own.
                Some(pair) if name == "grant_type" => pair.1.clone_from(value),
                Some(_) => {
                    return Err(ClientError::Credentials(format!(
                        "oauth2: cannot overwrite parameter {}",
                        model::labels::quote(name)
                    )));
                }
                None => form.push((name.clone(), value.clone())),
            }
        }
        Ok(())
    }

    fn jwt_form(&self, key: &str) -> Result<Vec<(String, String)>, ClientError> {
        let assertion = self.assertion(key)?;
        let mut form = vec![
            ("grant_type".to_owned(), crate::config::GRANT_JWT_BEARER.to_owned()),
            ("assertion".to_owned(), assertion),
        ];
        if !self.config.scopes.is_empty() {
            form.push(("scope".into(), self.config.scopes.join(" ")));
        }
        self.add_params(&mut form)?;
        Ok(form)
    }

    fn assertion(&self, key: &str) -> Result<String, ClientError> {
        let config = &self.config;
        let (name, scheme) = match config.signature_algorithm.as_str() {
            "RS384" => ("RS384", SignatureScheme::RSA_PKCS1_SHA384),
            "RS512" => ("RS512", SignatureScheme::RSA_PKCS1_SHA512),
            _ => ("RS256", SignatureScheme::RSA_PKCS1_SHA256),
        };
        let mut header = json!({ "alg": name, "typ": "JWT" });
        if !config.client_certificate_key_id.is_empty() {
            header["kid"] = json!(config.client_certificate_key_id);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let issued = self.issued.fetch_add(1, Ordering::Relaxed);
        let text = |text: &str| Value::String(text.to_owned());
        let mut claims = Map::new();
        claims
            .insert("iss".into(), text(if config.iss.is_empty() { &config.client_id } else { &config.iss }));
        claims.insert("sub".into(), text(&config.client_id));
        // Unique per assertion: the time in nanoseconds, this process and a count.
        let id = format!("{:032x}-{:x}-{issued:x}", now.as_nanos(), std::process::id());
        claims.insert("jti".into(), Value::String(id));
        let audience = if config.audience.is_empty() { &config.token_url } else { &config.audience };
        claims.insert("aud".into(), text(audience));
        claims.insert("iat".into(), json!(now.as_secs()));
        claims.insert("exp".into(), json!((now + JWT_LIFE).as_secs()));
        if !config.scopes.is_empty() {
            claims.insert("scope".into(), Value::String(config.scopes.join(" ")));
        }
        claims.extend(config.claims.iter().map(|(k, v)| (k.clone(), v.clone())));

        let encode = |v: &Value| BASE64_URL_SAFE_NO_PAD.encode(v.to_string());
        let message = format!("{}.{}", encode(&header), encode(&Value::Object(claims)));
        let told = |e: String| ClientError::Credentials(format!("oauth2: client certificate key: {e}"));
        let key = pem::private_key(key).map_err(told)?;
        let key = provider().key_provider.load_private_key(key).map_err(|e| told(e.to_string()))?;
        let signer = key.choose_scheme(&[scheme]).ok_or_else(|| told("not an RSA key".into()))?;
        let signature = signer.sign(message.as_bytes()).map_err(|e| told(e.to_string()))?;
        Ok(format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }

    async fn post(&self, form: &[(String, String)], auth: Option<HeaderValue>) -> Result<Vec<u8>, Refused> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request =
            Request::post(&self.config.token_url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(auth) = auth {
            request = request.header(AUTHORIZATION, auth);
        }
        let fault = |e: &dyn std::fmt::Display| {
            Refused::Fault(ClientError::Credentials(format!("oauth2: cannot fetch token: {e}")))
        };
        let request = request.body(Full::from(body)).map_err(|e| fault(&e))?;
        // Boxed: the client of a token endpoint has no credentials of its own, but the types do not know.
        let answer = Box::pin(self.client.request(request, TOKEN_TIMEOUT)).await.map_err(|e| fault(&e))?;
        let status = answer.status;
        let body = answer.read_body(TOKEN_BYTES).await.map_err(|e| fault(&e))?;
        if !status.is_success() {
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(Refused::Answer(format!("oauth2: cannot fetch token: {status}\nResponse: {body}")));
        }
        Ok(body.to_vec())
    }
}

enum Refused {
    /// The endpoint answered no.
    Answer(String),
    Fault(ClientError),
}

impl From<Refused> for ClientError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Answer(text) => ClientError::Credentials(text),
            Refused::Fault(error) => error,
        }
    }
}

fn parse_token(body: &[u8], secret: String) -> Result<Token, ClientError> {
    let bad = |why: String| ClientError::Credentials(format!("oauth2: cannot parse json: {why}"));
    let answer: Map<String, Value> = serde_json::from_slice(body).map_err(|e| bad(e.to_string()))?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("");
    let access = text("access_token");
    if access.is_empty() {
        return Err(ClientError::Credentials("oauth2: server response missing access_token".into()));
    }
    let kind = match text("token_type").to_ascii_lowercase().as_str() {
        "" | "bearer" => "Bearer".to_owned(),
        "mac" => "MAC".to_owned(),
        "basic" => "Basic".to_owned(),
        _ => text("token_type").to_owned(),
    };
    // Some servers write the number as a text.
    let seconds = answer.get("expires_in").and_then(|v| match v {
        Value::String(s) => s.parse::<f64>().ok(),
        other => other.as_f64(),
    });
    let expires = seconds.filter(|s| *s > 0.0).map(|s| Instant::now() + Duration::from_secs_f64(s.min(1e9)));
    Ok(Token { header: credentials::sensitive(&format!("{kind} {access}"))?, secret, expires })
}
