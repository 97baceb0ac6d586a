//! The HTTP client section of the configuration (`http_config` of upstream), as written in the file.
//!
//! Structs hold what the file says; reading from YAML checks it with upstream's texts, and so does
//! [`HttpClientConfig::validate`] for values made in code. Paths are relative to the file until
//! `set_directory` is called.
//!
//! A room that has these fields among its own (a scrape job, a remote) embeds the struct with
//! `#[serde(default, rename = "$inline.http")]`, never with `#[serde(flatten)]`: flattening loses the text of
//! scalars (`password: 0123`), and the `yaml` room understands `$inline.` names in both directions.

mod headers;
mod oauth2;
mod proxy;
mod tls;

pub use headers::{Header, Headers};
pub use oauth2::{GRANT_JWT_BEARER, OAuth2};
pub use proxy::{ConfigUrl, ProxyConfig};
pub use tls::{TlsConfig, TlsVersion};

use model::secret::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::path::{Path, PathBuf};

/// A section that contradicts itself; the text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    pub(crate) fn err<T>(text: impl Into<String>) -> Result<T, Invalid> {
        Err(Invalid(text.into()))
    }
}

/// Joins a relative, non-empty path to the directory of the configuration file.
pub fn join_dir(dir: &Path, path: &mut PathBuf) {
    if !path.as_os_str().is_empty() && path.is_relative() {
        *path = dir.join(&*path);
    }
}

pub(crate) fn no_path(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

pub(crate) fn count(set: &[bool]) -> usize {
    set.iter().filter(|s| **s).count()
}

pub(crate) fn refuse_refs(refs: &[&str]) -> Result<(), Invalid> {
    if refs.iter().any(|r| !r.is_empty()) {
        return Invalid::err("cannot use secret ref without manager");
    }
    Ok(())
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(skip_serializing_if = "no_path")]
    pub username_file: PathBuf,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username_ref: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    #[serde(skip_serializing_if = "no_path")]
    pub password_file: PathBuf,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password_ref: String,
}

impl BasicAuth {
    pub fn set_directory(&mut self, dir: &Path) {
        join_dir(dir, &mut self.username_file);
        join_dir(dir, &mut self.password_file);
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// Empty means `Bearer`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub credentials: Secret,
    #[serde(skip_serializing_if = "no_path")]
    pub credentials_file: PathBuf,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub credentials_ref: String,
}

impl Authorization {
    pub fn set_directory(&mut self, dir: &Path) {
        join_dir(dir, &mut self.credentials_file);
    }
}

/// How a client reaches a server and says who it is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct HttpClientConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// Old spelling of `authorization.credentials`; moved there by `validate`.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub bearer_token: Secret,
    /// Old spelling of `authorization.credentials_file`; moved there by `validate`.
    #[serde(skip_serializing_if = "no_path")]
    pub bearer_token_file: PathBuf,
    #[serde(skip_serializing_if = "TlsConfig::is_default")]
    pub tls_config: TlsConfig,
    pub follow_redirects: bool,
    /// `None`: not written; the default is the section's (true for scrapes, false for remote write), and the
    /// owner of the section fills it in.
    #[serde(serialize_with = "shown_http2")]
    pub enable_http2: Option<bool>,
    #[serde(rename = "$inline.proxy")]
    pub proxy: ProxyConfig,
    #[serde(skip_serializing_if = "Headers::is_empty")]
    pub http_headers: Headers,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        HttpClientConfig {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            bearer_token: Secret::default(),
            bearer_token_file: PathBuf::new(),
            tls_config: TlsConfig::default(),
            follow_redirects: true,
            enable_http2: None,
            proxy: ProxyConfig::default(),
            http_headers: Headers::default(),
        }
    }
}

fn shown_http2<S: Serializer>(on: &Option<bool>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_bool(on.unwrap_or(true))
}

impl<'de> Deserialize<'de> for HttpClientConfig {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut config = Self::deserialize(d)?;
        config.validate().map_err(de::Error::custom)?;
        Ok(config)
    }
}

impl Serialize for HttpClientConfig {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, s)
    }
}

impl HttpClientConfig {
    /// Whether this client may speak HTTP/2 where nothing is written.
    pub fn http2_or(&self, default: bool) -> bool {
        self.enable_http2.unwrap_or(default)
    }

    /// Makes relative paths relative to `dir`.
    pub fn set_directory(&mut self, dir: &Path) {
        self.tls_config.set_directory(dir);
        if let Some(basic) = &mut self.basic_auth {
            basic.set_directory(dir);
        }
        if let Some(authorization) = &mut self.authorization {
            authorization.set_directory(dir);
        }
        if let Some(oauth2) = &mut self.oauth2 {
            oauth2.set_directory(dir);
        }
        self.http_headers.set_directory(dir);
        join_dir(dir, &mut self.bearer_token_file);
    }

    /// Checks the section and moves the old bearer fields to `authorization`. Harmless when repeated.
    pub fn validate(&mut self) -> Result<(), Invalid> {
        let token = !self.bearer_token.is_empty();
        let token_file = !no_path(&self.bearer_token_file);
        if token && token_file {
            return Invalid::err("at most one of bearer_token & bearer_token_file must be configured");
        }
        if (self.basic_auth.is_some() || self.oauth2.is_some()) && (token || token_file) {
            return Invalid::err(
                "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
            );
        }
        self.validate_basic()?;
        self.validate_authorization(token, token_file)?;
        if let Some(oauth2) = &self.oauth2 {
            if self.basic_auth.is_some() {
                return Invalid::err("at most one of basic_auth, oauth2 & authorization must be configured");
            }
            oauth2.validate()?;
        }
        self.tls_config.validate()?;
        self.proxy.validate()?;
        self.http_headers.validate()
    }

    fn validate_basic(&self) -> Result<(), Invalid> {
        let Some(basic) = &self.basic_auth else { return Ok(()) };
        if count(&[
            !basic.username.is_empty(),
            !no_path(&basic.username_file),
            !basic.username_ref.is_empty(),
        ]) > 1
        {
            return Invalid::err(
                "at most one of basic_auth username, username_file & username_ref must be configured",
            );
        }
        if count(&[
            !basic.password.is_empty(),
            !no_path(&basic.password_file),
            !basic.password_ref.is_empty(),
        ]) > 1
        {
            return Invalid::err(
                "at most one of basic_auth password, password_file & password_ref must be configured",
            );
        }
        refuse_refs(&[&basic.username_ref, &basic.password_ref])
    }

    fn validate_authorization(&mut self, token: bool, token_file: bool) -> Result<(), Invalid> {
        let Some(auth) = &mut self.authorization else {
            if token || token_file {
                self.authorization = Some(Authorization {
                    kind: "Bearer".into(),
                    credentials: std::mem::take(&mut self.bearer_token),
                    credentials_file: std::mem::take(&mut self.bearer_token_file),
                    credentials_ref: String::new(),
                });
            }
            return Ok(());
        };
        if token || token_file {
            return Invalid::err("authorization is not compatible with bearer_token & bearer_token_file");
        }
        let given = [
            !auth.credentials.is_empty(),
            !no_path(&auth.credentials_file),
            !auth.credentials_ref.is_empty(),
        ];
        if count(&given) > 1 {
            return Invalid::err(
                "at most one of authorization credentials & credentials_file must be configured",
            );
        }
        auth.kind = auth.kind.trim().to_owned();
        if auth.kind.is_empty() {
            auth.kind = "Bearer".into();
        }
        if auth.kind.eq_ignore_ascii_case("basic") {
            return Invalid::err("authorization type cannot be set to \"basic\", use \"basic_auth\" instead");
        }
        if self.basic_auth.is_some() || self.oauth2.is_some() {
            return Invalid::err("at most one of basic_auth, oauth2 & authorization must be configured");
        }
        refuse_refs(&[&auth.credentials_ref])
    }
}

#[cfg(test)]
mod tests;
