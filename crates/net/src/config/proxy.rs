//! Proxy settings of a client, and URLs whose password is not shown.

use super::Invalid;
use model::labels::quote;
use model::secret::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;
use url::Url;

/// A URL from the configuration; shown with its password replaced by `xxxxx`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ConfigUrl(pub Url);

impl ConfigUrl {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Url::parse(text).map(ConfigUrl).map_err(|e| {
            let why = match e {
                // Go takes a bare path for a URL, but not one that begins with a colon.
                url::ParseError::RelativeUrlWithoutBase if text.starts_with(':') => {
                    "missing protocol scheme".to_owned()
                }
                e => e.to_string(),
            };
            Invalid(format!("parse {}: {why}", quote(text)))
        })
    }

    /// The text without the password.
    pub fn redacted(&self) -> String {
        let mut url = self.0.clone();
        if url.password().is_some() && url.set_password(Some("xxxxx")).is_err() {
            return String::from("<secret>");
        }
        // Upstream's URLs have no slash that was not written.
        let text = url.to_string();
        if url.path() == "/" && url.query().is_none() && url.fragment().is_none() {
            return text.trim_end_matches('/').to_owned();
        }
        text
    }
}

impl fmt::Debug for ConfigUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Display for ConfigUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl<'de> Deserialize<'de> for ConfigUrl {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        ConfigUrl::parse(&String::deserialize(d)?).map_err(de::Error::custom)
    }
}

impl Serialize for ConfigUrl {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.redacted())
    }
}

/// An empty text means that there is no URL.
fn optional_url<'de, D: Deserializer<'de>>(d: D) -> Result<Option<ConfigUrl>, D::Error> {
    let text = String::deserialize(d)?;
    if text.is_empty() {
        return Ok(None);
    }
    ConfigUrl::parse(&text).map(Some).map_err(de::Error::custom)
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    #[serde(deserialize_with = "optional_url", skip_serializing_if = "Option::is_none")]
    pub proxy_url: Option<ConfigUrl>,
    /// Comma-separated hosts, domains, addresses and networks that are reached directly.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub no_proxy: String,
    /// Take `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (or lower-case) from the environment.
    #[serde(skip_serializing_if = "is_false")]
    pub proxy_from_environment: bool,
    /// Headers of the CONNECT request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(b: &bool) -> bool {
    !*b
}

impl ProxyConfig {
    pub fn validate(&self) -> Result<(), Invalid> {
        let (url, env) = (self.proxy_url.is_some(), self.proxy_from_environment);
        if !self.proxy_connect_header.is_empty() && !env && !url {
            return Invalid::err(
                "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
            );
        }
        if env && url {
            return Invalid::err("if proxy_from_environment is configured, proxy_url must not be configured");
        }
        if env && !self.no_proxy.is_empty() {
            return Invalid::err("if proxy_from_environment is configured, no_proxy must not be configured");
        }
        if !url && !self.no_proxy.is_empty() {
            return Invalid::err("if no_proxy is configured, proxy_url must also be configured");
        }
        if let Some(url) = &self.proxy_url
            && !matches!(url.0.scheme(), "http" | "https")
        {
            return Invalid::err(format!(
                "proxy scheme {} is not supported in this version",
                quote(url.0.scheme())
            ));
        }
        for (name, values) in &self.proxy_connect_header {
            let sendable = http::HeaderName::from_bytes(name.as_bytes()).is_ok()
                && values.iter().all(|v| http::HeaderValue::from_str(v.expose()).is_ok());
            if !sendable {
                return Invalid::err(format!("proxy_connect_header {} cannot be sent", quote(name)));
            }
        }
        Ok(())
    }
}
