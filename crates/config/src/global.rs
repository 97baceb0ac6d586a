//! The `global` section.

use ingest::scrape::config::{Globals, check_protocols};
use model::duration::DurationMs;
use model::labels::quote;
use model::relabel::NameValidation;
use model::size::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MINUTE: DurationMs = DurationMs(60_000);

/// What jobs inherit and rules start from. Defaults are upstream's.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields, default = "Global::unset")]
pub struct Global {
    #[serde(skip_serializing_if = "is_default")]
    pub scrape_interval: DurationMs,
    #[serde(skip_serializing_if = "is_default")]
    pub scrape_timeout: DurationMs,
    /// `None`: each job chooses by whether it scrapes native histograms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_protocols: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_default")]
    pub evaluation_interval: DurationMs,
    #[serde(skip_serializing_if = "is_default")]
    pub rule_query_offset: DurationMs,
    #[serde(skip_serializing_if = "no_path")]
    pub query_log_file: PathBuf,
    #[serde(skip_serializing_if = "no_path")]
    pub scrape_failure_log_file: PathBuf,
    /// Expanded.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub external_labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    pub body_size_limit: ByteSize,
    #[serde(skip_serializing_if = "is_default")]
    pub sample_limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub target_limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub label_limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub label_name_length_limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub label_value_length_limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub keep_dropped_targets: u64,
    pub metric_name_validation_scheme: NameValidation,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metric_name_escaping_scheme: String,
    #[serde(deserialize_with = "null_is_false")]
    pub scrape_native_histograms: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub convert_classic_histograms_to_nhcb: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub always_scrape_classic_histograms: bool,
    #[serde(deserialize_with = "null_is_false")]
    pub extra_scrape_metrics: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn no_path(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

fn null_is_false<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Ok(Option::<bool>::deserialize(d)?.unwrap_or(false))
}

impl Default for Global {
    fn default() -> Self {
        Global::unset().filled()
    }
}

impl Global {
    /// Nothing written; zero stands for the default.
    fn unset() -> Self {
        Global {
            scrape_interval: DurationMs(0),
            scrape_timeout: DurationMs(0),
            scrape_protocols: None,
            evaluation_interval: DurationMs(0),
            rule_query_offset: DurationMs(0),
            query_log_file: PathBuf::new(),
            scrape_failure_log_file: PathBuf::new(),
            external_labels: BTreeMap::new(),
            body_size_limit: ByteSize(0),
            sample_limit: 0,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: NameValidation::Utf8,
            metric_name_escaping_scheme: String::new(),
            scrape_native_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            always_scrape_classic_histograms: false,
            extra_scrape_metrics: false,
        }
    }
}

impl<'de> Deserialize<'de> for Global {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = Self::deserialize(d)?;
        raw.check().map_err(de::Error::custom)?;
        Ok(raw.filled())
    }
}

impl Serialize for Global {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, s)
    }
}

impl Global {
    fn check(&self) -> Result<(), String> {
        let interval = if self.scrape_interval.0 == 0 { MINUTE } else { self.scrape_interval };
        if self.scrape_timeout > interval {
            return Err("global scrape timeout greater than scrape interval".into());
        }
        let scheme = self.metric_name_validation_scheme;
        if let Some(name) = self.external_labels.keys().find(|name| !scheme.label_name(name)) {
            return Err(format!("{} is not a valid label name", quote(name)));
        }
        if let Some(protocols) = &self.scrape_protocols {
            check_protocols(protocols).map_err(|e| format!("{e} for global config"))?;
        }
        Ok(())
    }

    /// Zero means the default for intervals.
    fn filled(mut self) -> Self {
        if self.scrape_interval.0 == 0 {
            self.scrape_interval = MINUTE;
        }
        if self.scrape_timeout.0 == 0 {
            self.scrape_timeout = DurationMs(10_000).min(self.scrape_interval);
        }
        if self.evaluation_interval.0 == 0 {
            self.evaluation_interval = MINUTE;
        }
        self
    }

    pub fn set_directory(&mut self, dir: &Path) {
        net::config::join_dir(dir, &mut self.query_log_file);
        net::config::join_dir(dir, &mut self.scrape_failure_log_file);
    }

    /// What scrape jobs take over.
    pub fn for_jobs(&self) -> Globals {
        Globals {
            scrape_interval: self.scrape_interval,
            scrape_timeout: self.scrape_timeout,
            scrape_protocols: self.scrape_protocols.clone(),
            scrape_failure_log_file: self.scrape_failure_log_file.to_string_lossy().into_owned(),
            body_size_limit: self.body_size_limit,
            sample_limit: self.sample_limit,
            target_limit: self.target_limit,
            label_limit: self.label_limit,
            label_name_length_limit: self.label_name_length_limit,
            label_value_length_limit: self.label_value_length_limit,
            keep_dropped_targets: self.keep_dropped_targets,
            metric_name_validation_scheme: self.metric_name_validation_scheme,
            metric_name_escaping_scheme: self.metric_name_escaping_scheme.clone(),
            scrape_native_histograms: self.scrape_native_histograms,
            convert_classic_histograms_to_nhcb: self.convert_classic_histograms_to_nhcb,
            always_scrape_classic_histograms: self.always_scrape_classic_histograms,
            extra_scrape_metrics: self.extra_scrape_metrics,
        }
    }
}
