//! The smaller sections: runtime, storage, tracing, remote read, OTLP.

use ingest::scrape::config::ScrapeConfig;
use model::duration::DurationMs;
use model::labels::quote;
use model::size::ByteSize;
use net::config::{ConfigUrl, HttpClientConfig, TlsConfig};
use remote::config::{RemoteWriteConfig, validate_headers};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A list without null entries.
fn whole<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D, what: &str) -> Result<Vec<T>, D::Error> {
    let list: Option<Vec<Option<T>>> = Deserialize::deserialize(d)?;
    let list: Option<Vec<T>> = list.unwrap_or_default().into_iter().collect();
    list.ok_or_else(|| de::Error::custom(format!("empty or null {what} config section")))
}

pub(crate) fn scrape_jobs<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<ScrapeConfig>, D::Error> {
    whole(d, "scrape")
}

pub(crate) fn remote_writes<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<RemoteWriteConfig>, D::Error> {
    whole(d, "remote write")
}

pub(crate) fn remote_reads<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<RemoteReadConfig>, D::Error> {
    whole(d, "remote read")
}

/// Reading checks, writing is derived: for sections whose fields must agree.
macro_rules! checked {
    ($($kind:ident)*) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let section = Self::deserialize(d)?;
                section.check().map_err(de::Error::custom)?;
                Ok(section)
            }
        }

        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, s)
            }
        }
    )*};
}

checked! { Retention ChunkEncoding Tracing RemoteReadConfig Otlp }

/// Settings of Go's runtime; accepted for compatibility, without effect here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runtime {
    pub gogc: i64,
}

impl Default for Runtime {
    fn default() -> Self {
        Runtime { gogc: 75 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    #[serde(skip_serializing_if = "is_default")]
    pub tsdb: Tsdb,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exemplars: Option<Exemplars>,
}

impl Storage {
    pub(crate) fn is_default(&self) -> bool {
        *self == Storage::default()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tsdb {
    /// `None`: not written, and the store takes its own default. An explicit `0s` refuses late samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_order_time_window: Option<DurationMs>,
    #[serde(skip_serializing_if = "is_default")]
    pub stale_series_compaction_threshold: f64,
    #[serde(skip_serializing_if = "is_default")]
    pub chunk_encoding: ChunkEncoding,
    #[serde(skip_serializing_if = "is_default")]
    pub retention: Retention,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct ChunkEncoding {
    /// `xor`, `xor2`, or empty: as the feature flag says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub floats: String,
}

impl ChunkEncoding {
    fn check(&self) -> Result<(), String> {
        if matches!(self.floats.as_str(), "" | "xor" | "xor2") {
            return Ok(());
        }
        Err(format!(
            "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely, got {}",
            quote(&self.floats)
        ))
    }
}

/// Zero: not limited by the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct Retention {
    #[serde(skip_serializing_if = "is_default")]
    pub time: DurationMs,
    #[serde(skip_serializing_if = "is_default")]
    pub size: ByteSize,
    /// Of the disk.
    #[serde(skip_serializing_if = "is_default")]
    pub percentage: f64,
}

impl Retention {
    fn check(&self) -> Result<(), String> {
        if (0.0..=100.0).contains(&self.percentage) {
            return Ok(());
        }
        let got = self.percentage;
        Err(format!("'storage.tsdb.retention.percentage' must be in the range [0, 100], got {got}"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exemplars {
    /// 0 or less switches exemplars off.
    pub max_exemplars: i64,
}

impl Default for Exemplars {
    fn default() -> Self {
        Exemplars { max_exemplars: 100_000 }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct Tracing {
    pub client_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    #[serde(skip_serializing_if = "is_default")]
    pub sampling_fraction: f64,
    #[serde(skip_serializing_if = "is_default")]
    pub insecure: bool,
    #[serde(skip_serializing_if = "TlsConfig::is_default")]
    pub tls_config: TlsConfig,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression: String,
    #[serde(skip_serializing_if = "is_default")]
    pub timeout: DurationMs,
}

impl Default for Tracing {
    fn default() -> Self {
        Tracing {
            client_type: "grpc".into(),
            endpoint: String::new(),
            sampling_fraction: 0.0,
            insecure: false,
            tls_config: TlsConfig::default(),
            headers: BTreeMap::new(),
            compression: String::new(),
            timeout: DurationMs(0),
        }
    }
}

impl Tracing {
    fn check(&self) -> Result<(), String> {
        if !matches!(self.client_type.as_str(), "grpc" | "http") {
            let got = &self.client_type;
            return Err(format!("expected tracing client type to be to be http or grpc, but got {got}"));
        }
        if self.headers.keys().any(|n| n.eq_ignore_ascii_case("authorization")) {
            return Err("custom authorization header configuration is not yet supported".into());
        }
        validate_headers(&self.headers).map_err(|e| e.to_string())?;
        if self.endpoint.is_empty() {
            return Err("tracing endpoint must be set".into());
        }
        if !matches!(self.compression.as_str(), "" | "gzip") {
            let got = &self.compression;
            return Err(format!("invalid compression type {got} provided, valid options: gzip"));
        }
        Ok(())
    }
}

/// A peer to read from.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct RemoteReadConfig {
    pub url: Option<ConfigUrl>,
    pub remote_timeout: DurationMs,
    /// Bytes of one frame.
    pub chunked_read_limit: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    pub read_recent: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(rename = "$inline.http")]
    pub http: HttpClientConfig,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub required_matchers: BTreeMap<String, String>,
    pub filter_external_labels: bool,
}

impl Default for RemoteReadConfig {
    fn default() -> Self {
        RemoteReadConfig {
            url: None,
            remote_timeout: DurationMs(60_000),
            chunked_read_limit: 50_000_000,
            headers: BTreeMap::new(),
            read_recent: false,
            name: String::new(),
            http: HttpClientConfig::default(),
            required_matchers: BTreeMap::new(),
            filter_external_labels: true,
        }
    }
}

impl RemoteReadConfig {
    fn check(&self) -> Result<(), String> {
        if self.url.is_none() {
            return Err("url for remote_read is empty".into());
        }
        validate_headers(&self.headers).map_err(|e| e.to_string())
    }

    pub(crate) fn set_directory(&mut self, dir: &Path) {
        self.http.set_directory(dir);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct Otlp {
    #[serde(skip_serializing_if = "is_default")]
    pub promote_all_resource_attributes: bool,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "trimmed")]
    pub promote_resource_attributes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "trimmed")]
    pub ignore_resource_attributes: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub translation_strategy: String,
    #[serde(skip_serializing_if = "is_default")]
    pub keep_identifying_resource_attributes: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub convert_histograms_to_nhcb: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub promote_scope_metadata: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub label_name_underscore_sanitization: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub label_name_preserve_multiple_underscores: bool,
}

fn trimmed<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let list = Option::<Vec<String>>::deserialize(d)?.unwrap_or_default();
    Ok(list.into_iter().map(|a| a.trim().to_owned()).collect())
}

impl Default for Otlp {
    fn default() -> Self {
        Otlp {
            promote_all_resource_attributes: false,
            promote_resource_attributes: Vec::new(),
            ignore_resource_attributes: Vec::new(),
            translation_strategy: "UnderscoreEscapingWithSuffixes".into(),
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
        }
    }
}

impl Otlp {
    fn check(&self) -> Result<(), String> {
        let (promoted, ignored) = (&self.promote_resource_attributes, &self.ignore_resource_attributes);
        if self.promote_all_resource_attributes {
            if !promoted.is_empty() {
                return Err("'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously".into());
            }
            return attributes(ignored, "ignored")
                .map_err(|e| format!("invalid 'ignore_resource_attributes': {e}"));
        }
        if !ignored.is_empty() {
            return Err("'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true".into());
        }
        attributes(promoted, "promoted").map_err(|e| format!("invalid 'promote_resource_attributes': {e}"))
    }

    /// The strategy against the name scheme of `global`.
    pub(crate) fn check_strategy(&self, legacy: bool) -> Result<(), String> {
        let strategy = self.translation_strategy.as_str();
        match strategy {
            "" | "UnderscoreEscapingWithSuffixes" | "UnderscoreEscapingWithoutSuffixes" => Ok(()),
            "NoTranslation" | "NoUTF8EscapingWithSuffixes" if legacy => Err(format!(
                "OTLP translation strategy {} is not allowed when UTF8 is disabled",
                quote(strategy)
            )),
            "NoTranslation" | "NoUTF8EscapingWithSuffixes" => Ok(()),
            other => Err(format!("unsupported OTLP translation strategy {}", quote(other))),
        }
    }
}

fn attributes(list: &[String], adjective: &str) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for name in list {
        if name.is_empty() {
            wrong.push(format!("empty {adjective} OTel resource attribute"));
        } else if !seen.insert(name) {
            wrong.push(format!("duplicated {adjective} OTel resource attribute {}", quote(name)));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
