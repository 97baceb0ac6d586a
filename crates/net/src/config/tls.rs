//! `tls_config` of a client.

use super::{Invalid, count, join_dir, no_path, refuse_refs};
use model::secret::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

impl TlsVersion {
    pub const fn as_str(self) -> &'static str {
        match self {
            TlsVersion::Tls10 => "TLS10",
            TlsVersion::Tls11 => "TLS11",
            TlsVersion::Tls12 => "TLS12",
            TlsVersion::Tls13 => "TLS13",
        }
    }
}

impl<'de> Deserialize<'de> for TlsVersion {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        [TlsVersion::Tls10, TlsVersion::Tls11, TlsVersion::Tls12, TlsVersion::Tls13]
            .into_iter()
            .find(|v| v.as_str() == text)
            .ok_or_else(|| de::Error::custom(format!("unknown TLS version: {text}")))
    }
}

impl Serialize for TlsVersion {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM text; as `cert` and `key`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub key: Secret,
    #[serde(skip_serializing_if = "no_path")]
    pub ca_file: PathBuf,
    #[serde(skip_serializing_if = "no_path")]
    pub cert_file: PathBuf,
    #[serde(skip_serializing_if = "no_path")]
    pub key_file: PathBuf,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca_ref: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_ref: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_ref: String,
    /// Name in SNI and in the check of the certificate, instead of the host of the URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    pub insecure_skip_verify: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsVersion>,
}

impl<'de> Deserialize<'de> for TlsConfig {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let config = Self::deserialize(d)?;
        config.validate().map_err(de::Error::custom)?;
        Ok(config)
    }
}

impl Serialize for TlsConfig {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, s)
    }
}

impl TlsConfig {
    pub fn is_default(&self) -> bool {
        *self == TlsConfig::default()
    }

    pub fn set_directory(&mut self, dir: &Path) {
        join_dir(dir, &mut self.ca_file);
        join_dir(dir, &mut self.cert_file);
        join_dir(dir, &mut self.key_file);
    }

    pub fn validate(&self) -> Result<(), Invalid> {
        if count(&[!self.ca.is_empty(), !no_path(&self.ca_file), !self.ca_ref.is_empty()]) > 1 {
            return Invalid::err("at most one of ca, ca_file & ca_ref must be configured");
        }
        let cert = count(&[!self.cert.is_empty(), !no_path(&self.cert_file), !self.cert_ref.is_empty()]);
        if cert > 1 {
            return Invalid::err("at most one of cert, cert_file & cert_ref must be configured");
        }
        let key = count(&[!self.key.is_empty(), !no_path(&self.key_file), !self.key_ref.is_empty()]);
        if key > 1 {
            return Invalid::err("at most one of key and key_file must be configured");
        }
        if cert == 1 && key == 0 {
            return Invalid::err(
                "exactly one of key or key_file must be configured when a client certificate is configured",
            );
        }
        if key == 1 && cert == 0 {
            return Invalid::err(
                "exactly one of cert or cert_file must be configured when a client key is configured",
            );
        }
        if let (Some(min), Some(max)) = (self.min_version, self.max_version)
            && max < min
        {
            return Invalid::err(
                "tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified",
            );
        }
        if let Some(max @ (TlsVersion::Tls10 | TlsVersion::Tls11)) = self.max_version {
            return Invalid::err(format!(
                "tls_config.max_version {} is not supported in this version: TLS12 is the oldest",
                max.as_str()
            ));
        }
        refuse_refs(&[&self.ca_ref, &self.cert_ref, &self.key_ref])
    }
}
