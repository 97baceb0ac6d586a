//! The `alerting` section: read, checked and shown; nothing is notified in this version.
//!
//! Its service discovery is kept as it stands, for a file must not fail over a mechanism that nobody would
//! run.

use discovery::SECTIONS;
use model::duration::DurationMs;
use model::relabel::{NameValidation, RelabelConfig, RelabelError};
use net::config::HttpClientConfig;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerting {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "alert_rules")]
    pub alert_relabel_configs: Vec<RelabelConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

impl Alerting {
    pub fn is_empty(&self) -> bool {
        *self == Alerting::default()
    }

    pub(crate) fn validate(&self, scheme: NameValidation) -> Result<(), RelabelError> {
        let of_peers =
            self.alertmanagers.iter().flat_map(|a| a.relabel_configs.iter().chain(&a.alert_relabel_configs));
        self.alert_relabel_configs.iter().chain(of_peers).try_for_each(|rule| rule.validate(scheme))
    }

    pub(crate) fn set_directory(&mut self, dir: &Path) {
        for peer in &mut self.alertmanagers {
            peer.http.set_directory(dir);
        }
    }
}

/// A set of Alertmanagers.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertmanagerConfig {
    #[serde(rename = "$inline.http")]
    pub http: HttpClientConfig,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "masked_option")]
    pub sigv4: Option<Value>,
    pub scheme: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_prefix: String,
    pub timeout: DurationMs,
    #[serde(deserialize_with = "version")]
    pub api_version: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "peer_rules")]
    pub relabel_configs: Vec<RelabelConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "peer_alert_rules")]
    pub alert_relabel_configs: Vec<RelabelConfig>,
    #[serde(rename = "$inline.sd")]
    pub sd: AnySd,
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        AlertmanagerConfig {
            http: HttpClientConfig::default(),
            sigv4: None,
            scheme: "http".into(),
            path_prefix: String::new(),
            timeout: DurationMs(10_000),
            api_version: "v2".into(),
            relabel_configs: Vec::new(),
            alert_relabel_configs: Vec::new(),
            sd: AnySd::default(),
        }
    }
}

fn version<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    match text.as_str() {
        "v2" => Ok(text),
        "v1" => Err(de::Error::custom(
            "expected Alertmanager api version to be one of [v2] but got v1: Alertmanager v1 API has been removed",
        )),
        other => Err(de::Error::custom(format!(
            "expected Alertmanager api version to be one of [v2] but got {other}"
        ))),
    }
}

fn rules<'de, D: Deserializer<'de>>(d: D, what: &str) -> Result<Vec<RelabelConfig>, D::Error> {
    let rules: Option<Vec<Option<RelabelConfig>>> = Deserialize::deserialize(d)?;
    let rules: Option<Vec<RelabelConfig>> = rules.unwrap_or_default().into_iter().collect();
    rules.ok_or_else(|| de::Error::custom(format!("empty or null {what} rule")))
}

fn alert_rules<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<RelabelConfig>, D::Error> {
    rules(d, "alert relabeling")
}

fn peer_rules<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<RelabelConfig>, D::Error> {
    rules(d, "Alertmanager target relabeling")
}

fn peer_alert_rules<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<RelabelConfig>, D::Error> {
    rules(d, "Alertmanager alert relabeling")
}

/// Sections of service discovery as they stand in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnySd(pub BTreeMap<&'static str, Value>);

impl<'de> Deserialize<'de> for AnySd {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_struct("AnySd", &SECTIONS, Sections)
    }
}

struct Sections;

impl<'de> Visitor<'de> for Sections {
    type Value = AnySd;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("service discovery sections")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnySd, A::Error> {
        let mut found = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let known = SECTIONS.iter().find(|name| **name == key);
            let name = known.ok_or_else(|| de::Error::unknown_field(&key, &SECTIONS))?;
            found.insert(*name, map.next_value::<Value>()?);
        }
        Ok(AnySd(found))
    }
}

impl Serialize for AnySd {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = s.serialize_struct("AnySd", self.0.len())?;
        for (name, value) in &self.0 {
            out.serialize_field(name, &masked(value))?;
        }
        out.end()
    }
}

fn masked_option<S: Serializer>(value: &Option<Value>, s: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(masked).serialize(s)
}

/// Fields of upstream's discovery sections that hold secrets.
const SECRETS: [&str; 14] = [
    "password",
    "credentials",
    "bearer_token",
    "client_secret",
    "client_certificate_key",
    "key",
    "secret_key",
    "token",
    "api_token",
    "api_key",
    "application_credential_secret",
    "application_secret",
    "consumer_key",
    "secrets",
];

/// The same with secrets hidden.
fn masked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let hide = |name: &str, v: &Value| {
                if SECRETS.contains(&name) && !v.is_null() { Value::from("<secret>") } else { masked(v) }
            };
            Value::Object(fields.iter().map(|(name, v)| (name.clone(), hide(name, v))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(masked).collect()),
        other => other.clone(),
    }
}
