//! The configuration file as the frame uses it: loading, what becomes of it, when it changed.

use crate::flags::Settings;
use crate::modes::{RECEIVER_WINDOW_MS, StoreConfig};
use config::{Config, Environment, LoadOptions, Retention};
use discovery::SdConfigs;
use ingest::scrape::Job;
use meter::{Gauge, Registry};
use model::Labels;
use model::duration::format_duration;
use model::labels::quote;
use model::relabel::NameValidation;
use remote::config::RemoteWriteConfig;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where neither time nor size is limited.
const DEFAULT_RETENTION_MS: i64 = 15 * 24 * 3_600_000;

/// A configuration, resolved: what each room is told.
#[derive(Clone, Debug)]
pub struct Plan {
    pub jobs: Vec<Job>,
    pub discovery: BTreeMap<String, SdConfigs>,
    pub remote_write: Vec<RemoteWriteConfig>,
    pub external_labels: Labels,
    pub store: StoreConfig,
    /// An out-of-order window stands in the file, so that scrapes may be late as well.
    pub window_written: bool,
    pub evaluation_interval_ms: i64,
    /// Where ended queries are logged; empty for nowhere.
    pub query_log_file: PathBuf,
    /// As `/api/v1/status/config` shows it.
    pub yaml: String,
    /// Sections of the jobs, likewise.
    pub pools_yaml: BTreeMap<String, String>,
    /// Changes when a file of the configuration does.
    pub checksum: String,
}

impl Plan {
    /// What the API shows of scrape pools.
    pub fn pools(&self) -> BTreeMap<String, api::PoolConfig> {
        let shown = |job: &Job| api::PoolConfig {
            yaml: self.pools_yaml.get(&job.name).cloned().unwrap_or_default(),
            relabel: job.relabel.clone(),
            scheme: job.validation,
        };
        self.jobs.iter().map(|job| (job.name.clone(), shown(job))).collect()
    }

    /// What of a new configuration takes effect only with the next start; `self` is the one that was started
    /// with.
    pub fn needs_restart(&self, new: &Plan, agent: bool) -> Vec<&'static str> {
        let window_differs = agent && self.store.window_ms != new.store.window_ms;
        let names_differ = agent && self.store.legacy_names != new.store.legacy_names;
        let told = [
            (window_differs, "storage.tsdb.out_of_order_time_window of an agent"),
            (names_differ, "global.metric_name_validation_scheme of an agent's store"),
        ];
        told.into_iter().filter(|(yes, _)| *yes).map(|(_, what)| what).collect()
    }
}

/// Metrics of reloads.
#[derive(Clone)]
pub struct ReloadMetrics {
    successful: Gauge,
    success_at: Gauge,
}

impl ReloadMetrics {
    pub fn new(registry: &Registry) -> Self {
        ReloadMetrics {
            successful: registry.gauge(
                "prometheus_config_last_reload_successful",
                "Whether the last configuration reload attempt was successful.",
            ),
            success_at: registry.gauge(
                "prometheus_config_last_reload_success_timestamp_seconds",
                "Timestamp of the last successful configuration reload.",
            ),
        }
    }

    pub fn succeeded(&self) {
        self.successful.set(1.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.success_at.set(now.as_secs_f64());
    }

    pub fn failed(&self) {
        self.successful.set(0.0);
    }

    /// Whether the last one went well, and when the last good one was, in seconds.
    pub fn last(&self) -> (bool, i64) {
        (self.successful.get() == 1.0, self.success_at.get() as i64)
    }
}

/// The step of subqueries that name none: the evaluation interval, which a reload may change.
#[derive(Clone)]
pub struct SubqueryStep(Arc<AtomicI64>);

impl Default for SubqueryStep {
    fn default() -> Self {
        SubqueryStep(Arc::new(AtomicI64::new(60_000)))
    }
}

impl SubqueryStep {
    pub fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    pub fn function(&self) -> query::SubqueryStepFn {
        let step = self.0.clone();
        Arc::new(move |_| step.load(Ordering::Relaxed))
    }
}

/// Text of a failed reload, as upstream words it.
pub fn load_error(settings: &Settings, e: &str) -> String {
    let file = quote(&settings.config_file.display().to_string());
    format!("couldn't load configuration (--config.file={file}): {e}")
}

/// Loads and checks the file, and logs what is strange in it.
pub fn load(settings: &Settings) -> Result<Plan, String> {
    let path = &settings.config_file;
    let options = LoadOptions {
        agent: settings.agent,
        strict: settings.strict,
        proto_first: settings.features.parses_starts(),
        environment: Environment::Process,
    };
    let checksum = Config::hash_of_files(path).unwrap_or_default();
    let config = Config::load(path, &options).map_err(|e| e.to_string())?;
    let mut jobs = config.jobs().map_err(|e| e.to_string())?;
    if settings.features.extra_scrape_metrics {
        jobs.iter_mut().for_each(|job| job.extra_metrics = true);
    }
    for warning in &config.warnings {
        tracing::warn!(component = "config", "{warning}");
    }
    let window = config.storage.tsdb.out_of_order_time_window.map(|window| window.0);
    let exemplars = config.storage.exemplars.clone().unwrap_or_default().max_exemplars;
    let store = StoreConfig {
        window_ms: window_ms(settings, window),
        max_exemplars: match settings.features.exemplar_storage {
            true => usize::try_from(exemplars).unwrap_or(0),
            false => 0,
        },
        floats_xor2: floats_xor2(settings, &config)?,
        legacy_names: config.global.metric_name_validation_scheme == NameValidation::Legacy,
        ..retention(settings, &config)
    };
    Ok(Plan {
        jobs,
        discovery: config.discovery(),
        remote_write: config.remote_write.clone(),
        external_labels: Labels::from_pairs(&config.global.external_labels),
        store,
        window_written: window.is_some_and(|ms| ms > 0),
        evaluation_interval_ms: config.global.evaluation_interval.0,
        query_log_file: config.global.query_log_file.clone(),
        yaml: config.to_yaml(),
        pools_yaml: config.pools_yaml(),
        checksum,
    })
}

/// A checksum over the file and those that it names.
pub fn checksum(settings: &Settings) -> Result<String, String> {
    Config::hash_of_files(&settings.config_file).map_err(|e| e.to_string())
}

/// How long and how much to keep: the file decides, then the flags, then 15 days. (The other fields are open.)
fn retention(settings: &Settings, config: &Config) -> StoreConfig {
    let written = &config.storage.tsdb.retention;
    let (mut ms, mut bytes) = (settings.retention_ms.unwrap_or(0), settings.retention_bytes.unwrap_or(0));
    if ms == 0 && bytes == 0 {
        ms = DEFAULT_RETENTION_MS;
    }
    if *written != Retention::default() {
        (ms, bytes) = (written.time.0, written.size.0);
    }
    StoreConfig {
        window_ms: 0,
        max_exemplars: 0,
        retention_ms: ms,
        retention_bytes: bytes,
        retention_percent: written.percentage,
        floats_xor2: false,
        legacy_names: false,
        stale_series_threshold: config.storage.tsdb.stale_series_compaction_threshold,
    }
}

/// Whether floats go to XOR2 chunks: the file decides, then the feature.
fn floats_xor2(settings: &Settings, config: &Config) -> Result<bool, String> {
    let xor2 = match config.storage.tsdb.chunk_encoding.floats.as_str() {
        "" => settings.features.xor2,
        written => written == "xor2",
    };
    if settings.features.st_storage && !settings.agent && !xor2 {
        return Err(
            "float chunk encoding \"xor\" is incompatible with start-timestamp storage; XOR chunks do not \
                    store start timestamps, use \"xor2\""
                .into(),
        );
    }
    Ok(xor2)
}

/// `15d or 512MiB`, as upstream shows it.
pub fn retention_text(config: StoreConfig) -> String {
    let mut parts = Vec::new();
    if config.retention_ms != 0 {
        parts.push(format_duration(config.retention_ms));
    }
    if config.retention_bytes != 0 {
        parts.push(crate::flags::size_text(config.retention_bytes));
    }
    if config.retention_percent != 0.0 {
        parts.push(format!("{}%", config.retention_percent));
    }
    parts.join(" or ")
}

/// How late samples may be: as written; where nothing is written, a receiver takes a night's outage.
fn window_ms(settings: &Settings, written: Option<i64>) -> i64 {
    let default =
        if settings.receiver && !settings.agent && !settings.strict { RECEIVER_WINDOW_MS } else { 0 };
    written.unwrap_or(default)
}

/// The configuration as it was seen last.
#[derive(Debug)]
pub struct Watch(String);

impl Watch {
    pub fn new(checksum: String) -> Self {
        Watch(checksum)
    }

    pub fn is_new(&self, checksum: &str) -> bool {
        self.0 != checksum
    }

    pub fn seen(&mut self, checksum: String) {
        self.0 = checksum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags;

    fn try_plan(flags: &str, file: &str) -> Result<Plan, String> {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("prometheus.yml");
        disk::Disk::create(&disk::OsDisk, &path).and_then(|f| f.append(file.as_bytes())).expect("written");
        let mut args: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
        args.push(format!("--config.file={}", path.display()));
        let parsed = flags::parse(&args, &|_| Err("no files".into())).expect("well formed");
        let settings = Settings::from_flags(&parsed, &|| "host".into()).expect("settings");
        load(&settings)
    }

    fn plan(flags: &str, file: &str) -> Plan {
        try_plan(flags, file).expect("loads")
    }

    #[test]
    fn late_samples_are_taken_by_receivers() {
        const ON: &str = "--web.enable-remote-write-receiver";
        for (flags, file, want) in [
            ("", "", 0),
            (ON, "", RECEIVER_WINDOW_MS),
            ("--enable-feature=remote-write-receiver", "", RECEIVER_WINDOW_MS),
            ("--strict --web.enable-remote-write-receiver", "", 0),
            ("--agent --web.enable-remote-write-receiver", "", 0),
            (ON, "storage: {tsdb: {out_of_order_time_window: 0s}}", 0),
            (ON, "storage: {tsdb: {out_of_order_time_window: 5m}}", 300_000),
        ] {
            let plan = plan(flags, file);
            assert_eq!(plan.store.window_ms, want, "{flags} {file}");
            assert_eq!(plan.window_written, file.contains("5m"), "{flags} {file}");
        }
    }

    #[test]
    fn the_file_chooses_the_encoding_of_floats() {
        const XOR2: &str = "storage: {tsdb: {chunk_encoding: {floats: xor2}}}";
        const XOR: &str = "storage: {tsdb: {chunk_encoding: {floats: xor}}}";
        const ST: &str = "--enable-feature=st-storage";
        for (flags, file, want) in [
            ("", "", Ok(false)),
            ("", XOR2, Ok(true)),
            ("--enable-feature=xor2-encoding", "", Ok(true)),
            ("--enable-feature=xor2-encoding", XOR, Ok(false)),
            (ST, XOR2, Ok(true)),
            (ST, "", Err(())),
            (ST, XOR, Err(())),
            ("--agent --enable-feature=st-storage", "", Ok(false)),
        ] {
            let got = try_plan(flags, file).map(|plan| plan.store.floats_xor2).map_err(|e| {
                assert_eq!(
                    e,
                    "float chunk encoding \"xor\" is incompatible with start-timestamp storage; XOR chunks do not store \
                     start timestamps, use \"xor2\""
                );
            });
            assert_eq!(got, want, "{flags} {file}");
        }
        let first = |flags: &str, file: &str| {
            plan(flags, file).yaml.contains("- PrometheusProto\n  - OpenMetricsText1.0.0")
        };
        assert!(first(ST, XOR2) && !first("", XOR2));
    }

    #[test]
    fn only_agents_have_changes_that_wait_for_a_restart() {
        let (plain, window) = (plan("", ""), plan("", "storage: {tsdb: {out_of_order_time_window: 5m}}"));
        assert_eq!(plain.needs_restart(&plain, true).len(), 0);
        assert_eq!(plain.needs_restart(&window, false).len(), 0);
        assert_eq!(plain.needs_restart(&window, true).len(), 1);
    }

    #[test]
    fn retention_and_exemplars() {
        for (flags, file, want) in [
            ("", "", "15d"),
            ("--storage.tsdb.retention.size=512MB", "", "512MiB"),
            ("--storage.tsdb.retention.time=12h --storage.tsdb.retention.size=1GB", "", "12h or 1GiB"),
            ("--storage.tsdb.retention.time=12h", "storage: {tsdb: {retention: {time: 30d}}}", "30d"),
        ] {
            assert_eq!(retention_text(plan(flags, file).store), want, "{flags} {file}");
        }
        assert_eq!(plan("", "").store.max_exemplars, 0);
        assert_eq!(plan("--enable-feature=exemplar-storage", "").store.max_exemplars, 100_000);
    }
}
