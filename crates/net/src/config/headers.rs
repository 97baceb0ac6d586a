//! `http_headers`: extra request headers from values, secrets and files.

use super::{Invalid, join_dir};
use model::labels::quote;
use model::secret::Secret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Headers that change the connection or are set by us.
const RESERVED: [&str; 18] = [
    "Authorization",
    "Host",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "User-Agent",
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Www-Authenticate",
    "Accept-Encoding",
    "X-Prometheus-Remote-Write-Version",
    "X-Prometheus-Remote-Read-Version",
    "X-Prometheus-Scrape-Timeout-Seconds",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Amz-Content-Sha256",
];

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Header {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Headers(pub BTreeMap<String, Header>);

impl Headers {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn set_directory(&mut self, dir: &Path) {
        for header in self.0.values_mut() {
            for file in &mut header.files {
                join_dir(dir, file);
            }
        }
    }

    pub fn validate(&self) -> Result<(), Invalid> {
        for (name, header) in &self.0 {
            if let Some(reserved) = RESERVED.iter().find(|r| r.eq_ignore_ascii_case(name)) {
                return Invalid::err(format!("setting header {} is not allowed", quote(reserved)));
            }
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                return Invalid::err(format!("{} is not a valid header name", quote(name)));
            }
            let texts = header.values.iter().map(String::as_str);
            for text in texts.chain(header.secrets.iter().map(Secret::expose)) {
                if http::HeaderValue::from_str(text).is_err() {
                    return Invalid::err(format!("a value of header {} cannot be sent", quote(name)));
                }
            }
        }
        Ok(())
    }
}
