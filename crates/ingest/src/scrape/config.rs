//! Scrape settings: `scrape_config` as written, and the same resolved against the global section.
//!
//! [`ScrapeConfig`] is the raw shape; [`ScrapeConfig::fill`] takes over global defaults and validates with
//! upstream's texts (so that the shown configuration has them, as upstream's has); [`ScrapeConfig::resolve`]
//! gives the [`Job`] that the supervisor runs.

use discovery::SdConfigs;
use model::duration::DurationMs;
use model::labels::quote;
use model::relabel::{NameValidation, RelabelConfig};
use model::size::ByteSize;
use net::config::HttpClientConfig;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::collections::BTreeMap;
use std::path::Path;
use wire::exposition::negotiate::{DEFAULT_PROTOCOLS, Escaping, PROTO_FIRST_PROTOCOLS, ScrapeProtocol};

/// One entry of `scrape_configs`, as written. Zero and `None` mean "as the global section says".
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScrapeConfig {
    pub job_name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    pub track_timestamps_staleness: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "is_default")]
    pub scrape_interval: DurationMs,
    #[serde(skip_serializing_if = "is_default")]
    pub scrape_timeout: DurationMs,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_protocols: Option<Vec<String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fallback_scrape_protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_native_histograms: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always_scrape_classic_histograms: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convert_classic_histograms_to_nhcb: Option<bool>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scrape_failure_log_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metrics_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheme: String,
    pub enable_compression: bool,
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
    pub native_histogram_bucket_limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub native_histogram_min_bucket_factor: f64,
    #[serde(skip_serializing_if = "is_default")]
    pub keep_dropped_targets: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_name_validation_scheme: Option<NameValidation>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metric_name_escaping_scheme: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_scrape_metrics: Option<bool>,
    /// Inlined; see `net::config`.
    #[serde(rename = "$inline.http")]
    pub http: HttpClientConfig,
    #[serde(deserialize_with = "target_rules", skip_serializing_if = "Vec::is_empty")]
    pub relabel_configs: Vec<RelabelConfig>,
    #[serde(deserialize_with = "metric_rules", skip_serializing_if = "Vec::is_empty")]
    pub metric_relabel_configs: Vec<RelabelConfig>,
    /// Inlined; see `net::config`. Last, as upstream shows it.
    #[serde(rename = "$inline.sd")]
    pub sd: SdConfigs,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        ScrapeConfig {
            job_name: String::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            params: BTreeMap::new(),
            scrape_interval: DurationMs(0),
            scrape_timeout: DurationMs(0),
            scrape_protocols: None,
            fallback_scrape_protocol: String::new(),
            scrape_native_histograms: None,
            always_scrape_classic_histograms: None,
            convert_classic_histograms_to_nhcb: None,
            scrape_failure_log_file: String::new(),
            metrics_path: "/metrics".into(),
            scheme: "http".into(),
            enable_compression: true,
            body_size_limit: ByteSize(0),
            sample_limit: 0,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            native_histogram_bucket_limit: 0,
            native_histogram_min_bucket_factor: 0.0,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: None,
            metric_name_escaping_scheme: String::new(),
            extra_scrape_metrics: None,
            http: HttpClientConfig::default(),
            sd: SdConfigs::default(),
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
        }
    }
}

fn rules<'de, D: Deserializer<'de>>(d: D, what: &str) -> Result<Vec<RelabelConfig>, D::Error> {
    let rules: Option<Vec<Option<RelabelConfig>>> = Deserialize::deserialize(d)?;
    rules
        .unwrap_or_default()
        .into_iter()
        .collect::<Option<_>>()
        .ok_or_else(|| de::Error::custom(format!("empty or null {what} relabeling rule in scrape config")))
}

fn target_rules<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<RelabelConfig>, D::Error> {
    rules(d, "target")
}

fn metric_rules<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<RelabelConfig>, D::Error> {
    rules(d, "metric")
}

/// What a scrape config takes from the global section. Built by the configuration room.
#[derive(Clone, Debug, PartialEq)]
pub struct Globals {
    pub scrape_interval: DurationMs,
    pub scrape_timeout: DurationMs,
    pub scrape_protocols: Option<Vec<String>>,
    pub scrape_failure_log_file: String,
    pub body_size_limit: ByteSize,
    pub sample_limit: u64,
    pub target_limit: u64,
    pub label_limit: u64,
    pub label_name_length_limit: u64,
    pub label_value_length_limit: u64,
    pub keep_dropped_targets: u64,
    pub metric_name_validation_scheme: NameValidation,
    /// Empty: as the validation scheme asks.
    pub metric_name_escaping_scheme: String,
    pub scrape_native_histograms: bool,
    pub convert_classic_histograms_to_nhcb: bool,
    pub always_scrape_classic_histograms: bool,
    pub extra_scrape_metrics: bool,
}

impl Default for Globals {
    fn default() -> Self {
        Globals {
            scrape_interval: DurationMs(60_000),
            scrape_timeout: DurationMs(10_000),
            scrape_protocols: None,
            scrape_failure_log_file: String::new(),
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

/// What is wrong with a scrape config; upstream's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScrapeConfigError(pub String);

fn refuse<T>(text: impl Into<String>) -> Result<T, ScrapeConfigError> {
    Err(ScrapeConfigError(text.into()))
}

/// The `scrape_protocols` that ask for protobuf first.
pub fn proto_first() -> Vec<String> {
    PROTO_FIRST_PROTOCOLS.iter().map(|p| p.name().to_owned()).collect()
}

/// Checks a `scrape_protocols` list (upstream `validateAcceptScrapeProtocols`); the caller says where it stood.
pub fn check_protocols(names: &[String]) -> Result<Vec<ScrapeProtocol>, String> {
    if names.is_empty() {
        return Err("scrape_protocols cannot be empty".into());
    }
    let mut protocols = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        if names[..at].iter().any(|before| before.eq_ignore_ascii_case(name)) {
            return Err(format!("duplicated protocol in scrape_protocols, got [{}]", names.join(" ")));
        }
        protocols.push(check_protocol(name).map_err(|e| format!("scrape_protocols: {e}"))?);
    }
    Ok(protocols)
}

fn check_protocol(name: &str) -> Result<ScrapeProtocol, String> {
    ScrapeProtocol::from_name(name).ok_or_else(|| {
        let known: Vec<_> = ScrapeProtocol::ALL.iter().map(|p| p.name()).collect();
        format!("unknown scrape protocol {name}, supported: [{}]", known.join(" "))
    })
}

fn check_escaping(name: &str, whose: &str) -> Result<Escaping, ScrapeConfigError> {
    Escaping::from_name(name).map_or_else(
        || {
            refuse(format!(
                "unknown {whose} name escaping method specified, must be one of 'allow-utf-8', 'underscores', 'dots', or 'values', got {}",
                quote(name)
            ))
        },
        Ok,
    )
}

impl ScrapeConfig {
    /// Joins relative paths with the directory of the configuration file.
    pub fn set_directory(&mut self, dir: &Path) {
        self.http.set_directory(dir);
        self.sd.set_directory(dir);
        if !self.scrape_failure_log_file.is_empty() {
            let joined = dir.join(&self.scrape_failure_log_file);
            self.scrape_failure_log_file = joined.to_string_lossy().into_owned();
        }
    }

    /// Takes over what the global section says and validates (upstream `ScrapeConfig.Validate`).
    pub fn fill(&mut self, globals: &Globals) -> Result<(), ScrapeConfigError> {
        if self.job_name.is_empty() {
            return refuse("job_name is empty");
        }
        self.http.validate().map_err(|e| ScrapeConfigError(e.to_string()))?;
        if self.relabel_configs.is_empty() {
            let addresses = self.sd.static_configs.iter().flat_map(|group| &group.targets);
            if let Some(address) = addresses.into_iter().find(|a| a.contains('/')) {
                return refuse(format!("{} is not a valid hostname", quote(address)));
            }
        }
        let job = quote(&self.job_name);
        or_global(&mut self.scrape_interval, globals.scrape_interval);
        if self.scrape_timeout > self.scrape_interval {
            return refuse(format!(
                "scrape timeout greater than scrape interval for scrape config with job name {job}"
            ));
        }
        or_global(&mut self.scrape_timeout, globals.scrape_timeout.min(self.scrape_interval));
        or_global(&mut self.body_size_limit, globals.body_size_limit);
        or_global(&mut self.sample_limit, globals.sample_limit);
        or_global(&mut self.target_limit, globals.target_limit);
        or_global(&mut self.label_limit, globals.label_limit);
        or_global(&mut self.label_name_length_limit, globals.label_name_length_limit);
        or_global(&mut self.label_value_length_limit, globals.label_value_length_limit);
        or_global(&mut self.keep_dropped_targets, globals.keep_dropped_targets);
        if self.scrape_failure_log_file.is_empty() {
            self.scrape_failure_log_file.clone_from(&globals.scrape_failure_log_file);
        }
        let native = *self.scrape_native_histograms.get_or_insert(globals.scrape_native_histograms);
        self.extra_scrape_metrics.get_or_insert(globals.extra_scrape_metrics);
        if self.scrape_protocols.is_none() {
            self.scrape_protocols = globals.scrape_protocols.clone().or_else(|| {
                let list: &[ScrapeProtocol] =
                    if native { &PROTO_FIRST_PROTOCOLS } else { &DEFAULT_PROTOCOLS };
                Some(list.iter().map(|p| p.name().to_owned()).collect())
            });
        }
        if let Err(e) = check_protocols(self.scrape_protocols.as_deref().unwrap_or_default()) {
            return refuse(format!("{e} for scrape config with job name {job}"));
        }
        if !self.fallback_scrape_protocol.is_empty()
            && let Err(e) = check_protocol(&self.fallback_scrape_protocol)
        {
            return refuse(format!(
                "invalid fallback_scrape_protocol for scrape config with job name {job}: {e}"
            ));
        }
        self.fill_names(globals)?;
        self.convert_classic_histograms_to_nhcb.get_or_insert(globals.convert_classic_histograms_to_nhcb);
        self.always_scrape_classic_histograms.get_or_insert(globals.always_scrape_classic_histograms);
        let scheme = self.metric_name_validation_scheme.unwrap_or_default();
        for rule in self.relabel_configs.iter().chain(&self.metric_relabel_configs) {
            rule.validate(scheme).map_err(|e| ScrapeConfigError(e.to_string()))?;
        }
        Ok(())
    }

    fn fill_names(&mut self, globals: &Globals) -> Result<(), ScrapeConfigError> {
        let natural = |scheme: NameValidation| match scheme {
            NameValidation::Utf8 => Escaping::AllowUtf8,
            NameValidation::Legacy => Escaping::Underscores,
        };
        let global_escaping = if globals.metric_name_escaping_scheme.is_empty() {
            natural(globals.metric_name_validation_scheme)
        } else {
            check_escaping(&globals.metric_name_escaping_scheme, "global")?
        };
        let own = self.metric_name_validation_scheme;
        let scheme = *self.metric_name_validation_scheme.get_or_insert(globals.metric_name_validation_scheme);
        if self.metric_name_escaping_scheme.is_empty() {
            let escaping = own.map_or(global_escaping, natural);
            self.metric_name_escaping_scheme = escaping.name().to_owned();
        }
        let escaping = check_escaping(&self.metric_name_escaping_scheme, "scrape config")?;
        if escaping == Escaping::AllowUtf8 && scheme != NameValidation::Utf8 {
            return refuse("utf8 metric names requested but validation scheme is not set to UTF8");
        }
        Ok(())
    }

    /// The settings to run with: [`ScrapeConfig::fill`] on a copy, with every choice made.
    pub fn resolve(&self, globals: &Globals) -> Result<Job, ScrapeConfigError> {
        let mut c = self.clone();
        c.fill(globals)?;
        let protocols =
            check_protocols(c.scrape_protocols.as_deref().unwrap_or_default()).map_err(ScrapeConfigError)?;
        let fallback = ScrapeProtocol::from_name(&c.fallback_scrape_protocol);
        let escaping = check_escaping(&c.metric_name_escaping_scheme, "scrape config")?;
        Ok(Job {
            name: c.job_name,
            interval: c.scrape_interval,
            timeout: c.scrape_timeout,
            honor_labels: c.honor_labels,
            honor_timestamps: c.honor_timestamps,
            track_timestamps_staleness: c.track_timestamps_staleness,
            params: c.params,
            protocols,
            fallback,
            native_histograms: c.scrape_native_histograms.unwrap_or_default(),
            always_classic: c.always_scrape_classic_histograms.unwrap_or_default(),
            convert_to_nhcb: c.convert_classic_histograms_to_nhcb.unwrap_or_default(),
            failure_log_file: c.scrape_failure_log_file,
            metrics_path: c.metrics_path,
            scheme: c.scheme,
            enable_compression: c.enable_compression,
            body_size_limit: c.body_size_limit.0,
            sample_limit: c.sample_limit,
            target_limit: c.target_limit,
            label_limit: c.label_limit,
            label_name_length_limit: c.label_name_length_limit,
            label_value_length_limit: c.label_value_length_limit,
            native_histogram_bucket_limit: c.native_histogram_bucket_limit,
            native_histogram_min_bucket_factor: c.native_histogram_min_bucket_factor,
            keep_dropped_targets: c.keep_dropped_targets,
            validation: c.metric_name_validation_scheme.unwrap_or_default(),
            escaping,
            extra_metrics: c.extra_scrape_metrics.unwrap_or_default(),
            http: c.http,
            relabel: c.relabel_configs,
            metric_relabel: c.metric_relabel_configs,
        })
    }
}

fn or_global<T: Default + PartialEq>(own: &mut T, global: T) {
    if *own == T::default() {
        *own = global;
    }
}

/// Everything a scrape pool needs to know; no field is open any more. Limits of 0 mean no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub name: String,
    pub interval: DurationMs,
    pub timeout: DurationMs,
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    pub track_timestamps_staleness: bool,
    pub params: BTreeMap<String, Vec<String>>,
    pub protocols: Vec<ScrapeProtocol>,
    pub fallback: Option<ScrapeProtocol>,
    pub native_histograms: bool,
    pub always_classic: bool,
    pub convert_to_nhcb: bool,
    /// Empty: none.
    pub failure_log_file: String,
    pub metrics_path: String,
    pub scheme: String,
    pub enable_compression: bool,
    /// Bytes, uncompressed.
    pub body_size_limit: u64,
    pub sample_limit: u64,
    pub target_limit: u64,
    pub label_limit: u64,
    /// Bytes.
    pub label_name_length_limit: u64,
    /// Bytes.
    pub label_value_length_limit: u64,
    pub native_histogram_bucket_limit: u64,
    pub native_histogram_min_bucket_factor: f64,
    pub keep_dropped_targets: u64,
    pub validation: NameValidation,
    pub escaping: Escaping,
    pub extra_metrics: bool,
    pub http: HttpClientConfig,
    pub relabel: Vec<RelabelConfig>,
    pub metric_relabel: Vec<RelabelConfig>,
}
