//! `oauth2`: the client-credentials and JWT-bearer grants.

use super::proxy::ProxyConfig;
use super::tls::TlsConfig;
use super::{Invalid, count, join_dir, no_path, refuse_refs};
use model::secret::Secret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `grant_type` of RFC 7523; anything else means client credentials, as upstream has it.
pub const GRANT_JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OAuth2 {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_secret: Secret,
    #[serde(skip_serializing_if = "no_path")]
    pub client_secret_file: PathBuf,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_secret_ref: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_certificate_key_id: String,
    /// PEM text of the RSA key that signs the JWT.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_certificate_key: Secret,
    #[serde(skip_serializing_if = "no_path")]
    pub client_certificate_key_file: PathBuf,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_certificate_key_ref: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grant_type: String,
    /// `RS256` (when empty), `RS384` or `RS512`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signature_algorithm: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub iss: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub audience: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token_url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoint_params: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "TlsConfig::is_default")]
    pub tls_config: TlsConfig,
    #[serde(rename = "$inline.proxy")]
    pub proxy: ProxyConfig,
}

impl OAuth2 {
    pub fn is_jwt(&self) -> bool {
        self.grant_type == GRANT_JWT_BEARER
    }

    pub fn set_directory(&mut self, dir: &Path) {
        join_dir(dir, &mut self.client_secret_file);
        join_dir(dir, &mut self.client_certificate_key_file);
        self.tls_config.set_directory(dir);
    }

    pub fn validate(&self) -> Result<(), Invalid> {
        if self.client_id.is_empty() {
            return Invalid::err("oauth2 client_id must be configured");
        }
        if self.token_url.is_empty() {
            return Invalid::err("oauth2 token_url must be configured");
        }
        if self.is_jwt() {
            let given = [
                !self.client_certificate_key.is_empty(),
                !no_path(&self.client_certificate_key_file),
                !self.client_certificate_key_ref.is_empty(),
            ];
            if count(&given) > 1 {
                return Invalid::err(
                    "at most one of oauth2 client_certificate_key, client_certificate_key_file & client_certificate_key_ref must be configured using grant-type=urn:ietf:params:oauth:grant-type:jwt-bearer",
                );
            }
            if !matches!(self.signature_algorithm.as_str(), "" | "RS256" | "RS384" | "RS512") {
                return Invalid::err("valid signature algorithms are RS256, RS384 and RS512");
            }
        } else if count(&[
            !self.client_secret.is_empty(),
            !no_path(&self.client_secret_file),
            !self.client_secret_ref.is_empty(),
        ]) > 1
        {
            return Invalid::err(
                "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured using grant-type=client_credentials",
            );
        }
        self.tls_config.validate()?;
        self.proxy.validate()?;
        refuse_refs(&[&self.client_secret_ref, &self.client_certificate_key_ref])
    }
}
