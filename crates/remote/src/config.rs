//! The `remote_write` section of the configuration, as written in the file.
//!
//! Defaults, limits and error texts are upstream's (`config.RemoteWriteConfig`, `QueueConfig`,
//! `MetadataConfig`). Of upstream's signers none is built in: `sigv4`, `azuread` and `google_iam` are refused
//! by name.

use model::duration::DurationMs;
use model::relabel::{NameValidation, RelabelConfig, RelabelError};
use model::size::ByteSize;
use net::config::{ConfigUrl, HttpClientConfig};
use serde::de::{self, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::Path;
use wire::remote_write::MessageType;

/// A section that contradicts itself; the text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

fn refuse<T>(text: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(text.into()))
}

/// One destination.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct RemoteWriteConfig {
    /// Never `None` after [`RemoteWriteConfig::validate`].
    pub url: Option<ConfigUrl>,
    pub remote_timeout: DurationMs,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "rules")]
    pub write_relabel_configs: Vec<RelabelConfig>,
    /// Identity of the destination: its queue survives every other change. Empty: a hash stands for it, see
    /// [`RemoteWriteConfig::identity`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "is_false")]
    pub send_exemplars: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub send_native_histograms: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub round_robin_dns: bool,
    #[serde(with = "message")]
    pub protobuf_message: MessageType,
    #[serde(skip_serializing_if = "is_false")]
    pub failed_request_logging: bool,
    #[serde(rename = "$inline.http")]
    pub http: HttpClientConfig,
    pub queue_config: QueueConfig,
    pub metadata_config: MetadataConfig,
    #[serde(skip_serializing)]
    sigv4: Option<NotBuilt>,
    #[serde(skip_serializing)]
    azuread: Option<NotBuilt>,
    #[serde(skip_serializing)]
    google_iam: Option<NotBuilt>,
}

/// A section that is recognised and refused.
#[derive(Clone, Copy, Debug, PartialEq)]
struct NotBuilt;

impl<'de> Deserialize<'de> for NotBuilt {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(d).map(|_| NotBuilt)
    }
}

impl Default for RemoteWriteConfig {
    fn default() -> Self {
        RemoteWriteConfig {
            url: None,
            remote_timeout: DurationMs(30_000),
            headers: BTreeMap::new(),
            write_relabel_configs: Vec::new(),
            name: String::new(),
            send_exemplars: false,
            send_native_histograms: false,
            round_robin_dns: false,
            protobuf_message: MessageType::V1,
            failed_request_logging: false,
            http: HttpClientConfig { enable_http2: Some(false), ..HttpClientConfig::default() },
            queue_config: QueueConfig::default(),
            metadata_config: MetadataConfig::default(),
            sigv4: None,
            azuread: None,
            google_iam: None,
        }
    }
}

impl<'de> Deserialize<'de> for RemoteWriteConfig {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut config = Self::deserialize(d)?;
        config.validate().map_err(de::Error::custom)?;
        Ok(config)
    }
}

impl Serialize for RemoteWriteConfig {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, s)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(b: &bool) -> bool {
    !*b
}

fn rules<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<RelabelConfig>, D::Error> {
    Option::<Vec<Option<RelabelConfig>>>::deserialize(d)?
        .unwrap_or_default()
        .into_iter()
        .map(|rule| {
            rule.ok_or_else(|| de::Error::custom("empty or null relabeling rule in remote write config"))
        })
        .collect()
}

mod message {
    use super::{Deserialize, Deserializer, MessageType, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(message: &MessageType, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(message.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<MessageType, D::Error> {
        MessageType::parse(&String::deserialize(d)?)
            .map_err(|why| de::Error::custom(format!("invalid protobuf_message value: {why}")))
    }
}

/// Headers that the sender sets itself, lower-case.
const RESERVED_HEADERS: [&str; 16] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "user-agent",
    "www-authenticate",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-prometheus-remote-read-version",
    "x-prometheus-remote-write-version",
];

/// Checks custom headers of a remote endpoint.
pub fn validate_headers(headers: &BTreeMap<String, String>) -> Result<(), Invalid> {
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        if lower == "authorization" {
            return refuse(
                "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter",
            );
        }
        if RESERVED_HEADERS.contains(&lower.as_str()) {
            return refuse(format!("{name} is a reserved header. It must not be changed"));
        }
        if http::HeaderName::from_bytes(name.as_bytes()).is_err()
            || http::HeaderValue::from_str(value).is_err()
        {
            return refuse(format!("header {} cannot be sent", model::labels::quote(name)));
        }
    }
    Ok(())
}

impl RemoteWriteConfig {
    /// Checks the section and fills in what depends on it. Harmless when repeated. Rules are checked by
    /// [`RemoteWriteConfig::validate_rules`], which needs the scheme of the `global` section.
    pub fn validate(&mut self) -> Result<(), Invalid> {
        let Some(url) = &self.url else { return refuse("url for remote_write is empty") };
        if !matches!(url.0.scheme(), "http" | "https") {
            return refuse(format!("unsupported protocol scheme {}", model::labels::quote(url.0.scheme())));
        }
        validate_headers(&self.headers)?;
        self.http.validate().map_err(|e| Invalid(e.0))?;
        self.http.enable_http2.get_or_insert(false);
        self.queue_config.validate()?;
        self.metadata_config.validate()?;
        self.validate_auth()
    }

    fn validate_auth(&self) -> Result<(), Invalid> {
        let configured: Vec<&str> = [
            (self.http.basic_auth.is_some(), "basic_auth"),
            (self.http.authorization.is_some(), "authorization"),
            (self.http.oauth2.is_some(), "oauth2"),
            (self.sigv4.is_some(), "sigv4"),
            (self.azuread.is_some(), "azuread"),
            (self.google_iam.is_some(), "google_iam"),
        ]
        .into_iter()
        .filter_map(|(on, name)| on.then_some(name))
        .collect();
        match configured.as_slice() {
            [] | ["basic_auth" | "authorization" | "oauth2"] => Ok(()),
            [signer] => refuse(format!(
                "{signer} is not built in: requests can be authenticated by basic_auth, authorization or oauth2"
            )),
            _ => refuse(format!(
                "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured. Currently configured: [{}]",
                configured.join(" ")
            )),
        }
    }

    /// Checks the write relabelling rules.
    pub fn validate_rules(&self, scheme: NameValidation) -> Result<(), RelabelError> {
        self.write_relabel_configs.iter().try_for_each(|rule| rule.validate(scheme))
    }

    /// Makes relative paths relative to `dir`.
    pub fn set_directory(&mut self, dir: &Path) {
        self.http.set_directory(dir);
    }

    /// The name, or without one six hex digits of a hash of what makes the destination: URL (its password
    /// aside), relabelling and headers. Secrets and tuning may change without a new identity.
    pub fn identity(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let url = self.url.as_ref().map(ConfigUrl::redacted).unwrap_or_default();
        let parts = (url, &self.headers, &self.write_relabel_configs, &self.http.http_headers);
        // Maps are sorted: the same section always gives the same text.
        let text = serde_json::to_string(&parts).unwrap_or_default();
        format!("{:06x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()) >> 40)
    }
}

/// Checks what concerns several destinations: unique names, no two that are the same.
pub fn validate_all(configs: &[RemoteWriteConfig]) -> Result<(), Invalid> {
    let mut names = std::collections::BTreeSet::new();
    for config in configs {
        if names.insert(config.identity()) {
            continue;
        }
        if config.name.is_empty() {
            let url = config.url.as_ref().map(ConfigUrl::redacted).unwrap_or_default();
            return refuse(format!(
                "duplicate remote write configs are not allowed, found duplicate for URL: {url}"
            ));
        }
        let name = model::labels::quote(&config.name);
        return refuse(format!("found multiple remote write configs with job name {name}"));
    }
    Ok(())
}

/// Batches, concurrency and backoff of a destination.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Samples that each shard holds at most.
    pub capacity: i64,
    /// Most and least concurrent requests.
    pub max_shards: i64,
    pub min_shards: i64,
    pub max_samples_per_send: i64,
    /// Longest time that a sample waits for its batch to fill.
    pub batch_send_deadline: DurationMs,
    pub min_backoff: DurationMs,
    pub max_backoff: DurationMs,
    #[serde(skip_serializing_if = "is_false")]
    pub retry_on_http_429: bool,
    /// Samples older than this are dropped and counted; 0 keeps all.
    #[serde(skip_serializing_if = "is_zero")]
    pub sample_age_limit: DurationMs,
    /// Ours: most bytes of a compressed request. Front ends refuse bodies over 1 MB by default.
    #[serde(skip_serializing_if = "is_default_bytes")]
    pub max_bytes_per_send: ByteSize,
}

const DEFAULT_MAX_BYTES: ByteSize = ByteSize(1_000_000);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(d: &DurationMs) -> bool {
    d.0 == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_default_bytes(bytes: &ByteSize) -> bool {
    *bytes == DEFAULT_MAX_BYTES
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2000,
            batch_send_deadline: DurationMs(5000),
            min_backoff: DurationMs(30),
            max_backoff: DurationMs(5000),
            retry_on_http_429: false,
            sample_age_limit: DurationMs(0),
            max_bytes_per_send: DEFAULT_MAX_BYTES,
        }
    }
}

impl QueueConfig {
    pub fn validate(&self) -> Result<(), Invalid> {
        let checks = [
            (self.max_shards > 0, "max_shards must be positive"),
            (self.min_shards > 0, "min_shards must be positive"),
            (self.min_shards <= self.max_shards, "min_shards must not be greater than max_shards"),
            (self.max_samples_per_send > 0, "max_samples_per_send must be positive"),
            (self.capacity > 0, "capacity must be positive"),
            (self.max_backoff >= self.min_backoff, "max_backoff must not be less than min_backoff"),
            (self.max_bytes_per_send.0 > 0, "max_bytes_per_send must be positive"),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => refuse(format!("remote write queue {what}")),
            None => Ok(()),
        }
    }
}

/// Metadata of remote write 1.0.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetadataConfig {
    pub send: bool,
    pub send_interval: DurationMs,
    pub max_samples_per_send: i64,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        MetadataConfig { send: true, send_interval: DurationMs(60_000), max_samples_per_send: 2000 }
    }
}

impl MetadataConfig {
    /// Upstream divides by these without a look; we look.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.send && self.max_samples_per_send <= 0 {
            return refuse("remote write metadata max_samples_per_send must be positive");
        }
        if self.send && self.send_interval.0 <= 0 {
            return refuse("remote write metadata send_interval must be positive");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<RemoteWriteConfig, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[track_caller]
    fn refused(json: &str, want: &str) {
        let got = parse(json).expect_err(json);
        assert!(got.starts_with(want), "{json}: {got}");
    }

    #[test]
    fn texts_are_upstreams() {
        refused("{}", "url for remote_write is empty");
        refused(
            r#"{"url":"http://a","queue_config":{"max_shards":0}}"#,
            "remote write queue max_shards must be positive",
        );
        refused(
            r#"{"url":"http://a","queue_config":{"capacity":-1}}"#,
            "remote write queue capacity must be positive",
        );
        refused(
            r#"{"url":"http://a","headers":{"Authorization":"x"}}"#,
            "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4",
        );
        refused(
            r#"{"url":"http://a","headers":{"Content-Type":"x"}}"#,
            "Content-Type is a reserved header. It must not be changed",
        );
        refused(
            r#"{"url":"http://a","protobuf_message":"foo"}"#,
            "invalid protobuf_message value: unknown type for remote write protobuf message foo, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request",
        );
        refused(
            r#"{"url":"http://a","write_relabel_configs":[null]}"#,
            "empty or null relabeling rule in remote write config",
        );
        refused(r#"{"url":"http://a","foo":1}"#, "unknown field `foo`");
        refused(r#"{"url":"http://a","sigv4":{"region":"x"}}"#, "sigv4 is not built in");
    }

    #[test]
    fn defaults_are_upstreams() {
        let config = parse(r#"{"url":"http://a"}"#).unwrap();
        assert_eq!((config.remote_timeout.0, config.http.enable_http2), (30_000, Some(false)));
        assert_eq!((config.queue_config.capacity, config.queue_config.max_shards), (10_000, 50));
        assert_eq!(config.metadata_config, MetadataConfig::default());
    }

    #[test]
    fn identity_is_the_name_or_what_makes_the_destination() {
        let id = |json: &str| parse(json).unwrap().identity();
        assert_eq!(id(r#"{"url":"http://a","name":"x"}"#), "x");
        let a = id(r#"{"url":"http://a"}"#);
        assert_eq!(a.len(), 6);
        assert_eq!(a, id(r#"{"url":"http://a","queue_config":{"max_shards":2}}"#));
        assert_ne!(a, id(r#"{"url":"http://a","headers":{"X-Scope-OrgID":"1"}}"#));
    }

    #[test]
    fn two_destinations_cannot_be_one() {
        let check = |a: &str, b: &str| validate_all(&[parse(a).unwrap(), parse(b).unwrap()]);
        let named = r#"{"url":"http://a","name":"x"}"#;
        assert_eq!(
            check(named, named).unwrap_err().to_string(),
            r#"found multiple remote write configs with job name "x""#
        );
        let plain = r#"{"url":"http://a"}"#;
        assert_eq!(
            check(plain, plain).unwrap_err().to_string(),
            "duplicate remote write configs are not allowed, found duplicate for URL: http://a"
        );
        assert_eq!(check(plain, named), Ok(()));
    }
}
