//! `config`: the configuration file, loaded, checked and shown.
//!
//! Room: floor 5. Composes the sections that other rooms own, fills in what jobs inherit from `global`, checks
//! what concerns several sections, and names file, line and path in every error. What upstream knows and this
//! version does not do yet is read, kept, shown, and told as a [`Warning`].
#![forbid(unsafe_code)]

mod alerting;
mod error;
mod expand;
mod files;
mod global;
mod load;
mod sections;

pub use alerting::{Alerting, AlertmanagerConfig};
pub use error::{ConfigError, Warning};
pub use expand::Environment;
pub use files::read_http_config;
pub use global::Global;
pub use load::LoadOptions;
pub use sections::{
    ChunkEncoding, Exemplars, Otlp, RemoteReadConfig, Retention, Runtime, Storage, Tracing, Tsdb,
};

use discovery::SdConfigs;
use ingest::scrape::config::{Job, ScrapeConfig};
use remote::config::RemoteWriteConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The whole file, after inheritance and with absolute paths.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub global: Global,
    pub runtime: Runtime,
    #[serde(skip_serializing_if = "Alerting::is_empty")]
    pub alerting: Alerting,
    /// Patterns; `*` may stand in the last part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule_files: Vec<PathBuf>,
    /// As `rule_files`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scrape_config_files: Vec<PathBuf>,
    /// Those of the main file; see [`Config::all_scrape_configs`].
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "sections::scrape_jobs")]
    pub scrape_configs: Vec<ScrapeConfig>,
    #[serde(skip_serializing_if = "Storage::is_default")]
    pub storage: Storage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "sections::remote_writes")]
    pub remote_write: Vec<RemoteWriteConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "sections::remote_reads")]
    pub remote_read: Vec<RemoteReadConfig>,
    pub otlp: Otlp,
    /// What was read and has no effect, or an effect that its writer may not expect.
    #[serde(skip)]
    pub warnings: Vec<Warning>,
    /// Jobs of `scrape_config_files`.
    #[serde(skip)]
    file_jobs: Vec<ScrapeConfig>,
}

impl Config {
    /// Loads and checks a file with all scrape config files that it names.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Config, ConfigError> {
        load::load(path, options)
    }

    /// Loads and checks a text as if it stood in `path`.
    pub fn parse(text: &str, path: &Path, options: &LoadOptions) -> Result<Config, ConfigError> {
        load::parse(text, path, options)
    }

    /// A checksum over the file and the scrape config and rule files that it names now (upstream
    /// `GenerateChecksum`), for `--config.auto-reload`. The file need not be valid beyond being YAML.
    pub fn hash_of_files(path: &Path) -> Result<String, ConfigError> {
        files::checksum(path)
    }

    /// Jobs of the main file and of `scrape_config_files`.
    pub fn all_scrape_configs(&self) -> impl Iterator<Item = &ScrapeConfig> {
        self.scrape_configs.iter().chain(&self.file_jobs)
    }

    /// What the scrape supervisor runs.
    pub fn jobs(&self) -> Result<Vec<Job>, ConfigError> {
        let globals = self.global.for_jobs();
        self.all_scrape_configs()
            .map(|job| job.resolve(&globals).map_err(|e| ConfigError::text(e.to_string())))
            .collect()
    }

    /// What the discovery supervisor runs, by job name.
    pub fn discovery(&self) -> BTreeMap<String, SdConfigs> {
        self.all_scrape_configs().map(|job| (job.job_name.clone(), job.sd.clone())).collect()
    }

    /// The section of each job as `/api/v1/scrape_pools/config` shows it, by job name.
    pub fn pools_yaml(&self) -> BTreeMap<String, String> {
        let shown =
            |job| yaml::to_string(job).unwrap_or_else(|e| format!("<error creating config string: {e}>\n"));
        self.all_scrape_configs().map(|job| (job.job_name.clone(), shown(job))).collect()
    }

    /// The configuration as `/api/v1/status/config` shows it: defaults filled in, secrets masked.
    pub fn to_yaml(&self) -> String {
        yaml::to_string(self).unwrap_or_else(|e| format!("<error creating config string: {e}>\n"))
    }
}

#[cfg(test)]
mod tests;
