//! What service discovery tells about itself; upstream's names.

use meter::{Counter, Gauge, Histogram, Registry, Summary, Vector};

/// Metrics of the mechanisms; one set for the whole process.
#[derive(Clone)]
pub struct SdMetrics {
    pub(crate) refresh_failures: Vector<Counter>,
    pub(crate) refresh_duration: Vector<Summary>,
    pub(crate) refresh_histogram: Vector<Histogram>,
    pub(crate) file_read_errors: Counter,
    pub(crate) file_scan_duration: Summary,
    pub(crate) file_mtime: Vector<Gauge>,
    pub(crate) http_failures: Counter,
}

const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

impl SdMetrics {
    pub fn new(registry: &Registry) -> Self {
        // Kept for dashboards: without a watcher there are no watcher errors.
        registry.counter(
            "prometheus_sd_file_watcher_errors_total",
            "The number of File-SD errors caused by filesystem watch failures.",
        );
        SdMetrics {
            refresh_failures: registry.counter_vec(
                "prometheus_sd_refresh_failures_total",
                "Number of refresh failures for the given SD mechanism.",
                &["mechanism", "config"],
            ),
            refresh_duration: registry.summary_vec(
                "prometheus_sd_refresh_duration_seconds",
                "The duration of a refresh in seconds for the given SD mechanism.",
                &QUANTILES,
                &["mechanism", "config"],
            ),
            refresh_histogram: registry.histogram_vec(
                "prometheus_sd_refresh_duration_histogram_seconds",
                "The duration of a refresh for the given SD mechanism.",
                &[0.01, 0.1, 1.0, 10.0],
                &["mechanism"],
            ),
            file_read_errors: registry
                .counter("prometheus_sd_file_read_errors_total", "The number of File-SD read errors."),
            file_scan_duration: registry.summary(
                "prometheus_sd_file_scan_duration_seconds",
                "The duration of the File-SD scan in seconds.",
                &QUANTILES,
            ),
            file_mtime: registry.gauge_vec(
                "prometheus_sd_file_mtime_seconds",
                "Timestamp (mtime) of files read by FileSD. Timestamp is set at read time.",
                &["filename"],
            ),
            http_failures: registry.counter(
                "prometheus_sd_http_failures_total",
                "Number of HTTP service discovery refresh failures.",
            ),
        }
    }

    pub(crate) fn forget(&self, mechanism: &str, job: &str) {
        self.refresh_failures.remove(&[mechanism, job]);
        self.refresh_duration.remove(&[mechanism, job]);
    }
}

/// Metrics of one supervisor.
pub(crate) struct SupervisorMetrics {
    name: String,
    pub(crate) failed_configs: Gauge,
    discovered: Vector<Gauge>,
    last_updated: Vector<Gauge>,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
}

impl SupervisorMetrics {
    pub(crate) fn new(registry: &Registry, name: &str) -> Self {
        let counter = |metric: &str, help: &str| registry.counter_vec(metric, help, &["name"]).with(&[name]);
        let failed = registry.gauge_vec(
            "prometheus_sd_failed_configs",
            "Current number of service discovery configurations that failed to load.",
            &["name"],
        );
        // A slow listener sees the newest state when it looks again, so nothing is ever delayed.
        counter(
            "prometheus_sd_updates_delayed_total",
            "Total number of update events that couldn't be sent immediately.",
        );
        SupervisorMetrics {
            name: name.to_owned(),
            failed_configs: failed.with(&[name]),
            discovered: registry.gauge_vec(
                "prometheus_sd_discovered_targets",
                "Current number of discovered targets.",
                &["config", "name"],
            ),
            last_updated: registry.gauge_vec(
                "prometheus_sd_last_update_timestamp_seconds",
                "Timestamp of the last update sent to the SD consumers.",
                &["config", "name"],
            ),
            received: counter(
                "prometheus_sd_received_updates_total",
                "Total number of update events received from the SD providers.",
            ),
            sent: counter(
                "prometheus_sd_updates_total",
                "Total number of update events sent to the SD consumers.",
            ),
        }
    }

    pub(crate) fn targets(&self, job: &str, count: usize, now_seconds: f64) {
        self.discovered.with(&[job, &self.name]).set(count as f64);
        self.last_updated.with(&[job, &self.name]).set(now_seconds);
    }

    pub(crate) fn forget(&self, job: &str) {
        self.discovered.remove(&[job, &self.name]);
        self.last_updated.remove(&[job, &self.name]);
    }
}
