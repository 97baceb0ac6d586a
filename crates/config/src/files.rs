//! The files around the main one: reading, patterns, checksum.

use crate::error::ConfigError;
use disk::small::{DEFAULT_LIMIT_BYTES, read_text};
use disk::{Disk, OsDisk};
use ingest::scrape::config::ScrapeConfig;
use net::config::HttpClientConfig;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::{Path, PathBuf};

pub(crate) fn read(path: &Path) -> Result<String, ConfigError> {
    read_text(&OsDisk, path, DEFAULT_LIMIT_BYTES).map_err(|e| ConfigError::read(&e))
}

/// A file that holds nothing but the settings of an HTTP client (`--http.config.file` of the tools); its paths start
/// from its directory.
pub fn read_http_config(path: &Path) -> Result<HttpClientConfig, ConfigError> {
    let read: Result<Option<HttpClientConfig>, yaml::Error> = yaml::from_str(&read(path)?);
    let read = read.map_err(|error| ConfigError::Yaml { file: path.to_owned(), error })?;
    let mut http = read.unwrap_or_default();
    http.set_directory(dir_of(path));
    Ok(http)
}

/// The directory that relative paths of a file start from.
pub(crate) fn dir_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Whether `*` stands in the last part only.
pub(crate) fn valid_pattern(pattern: &Path) -> bool {
    let text = pattern.to_string_lossy();
    text.split_once('*').is_none_or(|(_, after)| !after.contains(['*', '/']))
}

pub(crate) fn matching(pattern: &Path) -> Vec<PathBuf> {
    discovery::glob(&OsDisk, pattern)
}

/// A file of `scrape_config_files`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ScrapeConfigFile {
    #[serde(deserialize_with = "crate::sections::scrape_jobs")]
    pub(crate) scrape_configs: Vec<ScrapeConfig>,
}

/// What the checksum looks at; everything else may be wrong.
fn named_files(node: &yaml::Node, section: &str, dir: &Path) -> Vec<PathBuf> {
    let patterns = node.get(section).map(yaml::Node::items).unwrap_or_default();
    patterns
        .iter()
        .filter_map(yaml::Node::as_str)
        .map(|pattern| {
            let mut pattern = PathBuf::from(pattern);
            net::config::join_dir(dir, &mut pattern);
            pattern
        })
        .collect()
}

pub(crate) fn checksum(path: &Path) -> Result<String, ConfigError> {
    let bytes = |path: &Path| OsDisk.read(path, DEFAULT_LIMIT_BYTES).map_err(|e| ConfigError::read(&e));
    let text = read(path)?;
    let node = yaml::parse(&text).map_err(|error| ConfigError::Yaml { file: path.to_owned(), error })?;
    let mut hash = Sha256::new();
    hash.update(text.as_bytes());
    for (mark, section) in [("r", "rule_files"), ("s", "scrape_config_files")] {
        for pattern in named_files(&node, section, dir_of(path)) {
            for file in matching(&pattern) {
                hash.update(format!("{mark}\0{}\0", file.display()).as_bytes());
                hash.update(bytes(&file)?);
                hash.update(b"\0");
            }
        }
    }
    let mut hex = String::with_capacity(64);
    for byte in hash.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}
