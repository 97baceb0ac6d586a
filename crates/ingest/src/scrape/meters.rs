//! The meters of scraping, with upstream's names.

use meter::{Counter, Gauge, Histogram, Registry, Summary, Vector};

const QUANTILES: [f64; 5] = [0.01, 0.05, 0.5, 0.9, 0.99];
const LENGTHS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];

#[derive(Clone)]
pub(super) struct Meters {
    pub(super) pools: Counter,
    pub(super) pools_failed: Counter,
    pub(super) reload_length: Vector<Summary>,
    pub(super) reloads: Counter,
    pub(super) reloads_failed: Counter,
    pub(super) exceeded_target_limit: Counter,
    pub(super) target_limit: Vector<Gauge>,
    pub(super) targets: Vector<Gauge>,
    pub(super) syncs: Vector<Counter>,
    pub(super) sync_length: Vector<Summary>,
    pub(super) sync_length_histogram: Vector<Histogram>,
    pub(super) sync_failed: Vector<Counter>,
    pub(super) body_size_limit: Counter,
    pub(super) cache_flush_forced: Counter,
    pub(super) interval_length: Vector<Summary>,
    pub(super) interval_length_histogram: Vector<Histogram>,
    pub(super) sample_limit: Counter,
    pub(super) duplicate: Counter,
    pub(super) out_of_order: Counter,
    pub(super) out_of_bounds: Counter,
    pub(super) label_limits: Counter,
    pub(super) bucket_limit: Counter,
    pub(super) exemplar_out_of_order: Counter,
    pub(super) scrape_duration: Histogram,
}

impl Meters {
    pub(super) fn new(r: &Registry) -> Self {
        let job = &["scrape_job"];
        Meters {
            pools: r.counter(
                "prometheus_target_scrape_pools_total",
                "Total number of scrape pool creation attempts.",
            ),
            pools_failed: r.counter(
                "prometheus_target_scrape_pools_failed_total",
                "Total number of scrape pool creations that failed.",
            ),
            reload_length: r.summary_vec(
                "prometheus_target_reload_length_seconds",
                "Actual interval to reload the scrape pool with a given configuration.",
                &QUANTILES,
                &["interval"],
            ),
            reloads: r.counter(
                "prometheus_target_scrape_pool_reloads_total",
                "Total number of scrape pool reloads.",
            ),
            reloads_failed: r.counter(
                "prometheus_target_scrape_pool_reloads_failed_total",
                "Total number of failed scrape pool reloads.",
            ),
            exceeded_target_limit: r.counter(
                "prometheus_target_scrape_pool_exceeded_target_limit_total",
                "Total number of times scrape pools hit the target limit, during sync or config reload.",
            ),
            target_limit: r.gauge_vec(
                "prometheus_target_scrape_pool_target_limit",
                "Maximum number of targets allowed in this scrape pool.",
                job,
            ),
            targets: r.gauge_vec(
                "prometheus_target_scrape_pool_targets",
                "Current number of targets in this scrape pool.",
                job,
            ),
            syncs: r.counter_vec(
                "prometheus_target_scrape_pool_sync_total",
                "Total number of syncs that were executed on a scrape pool.",
                job,
            ),
            sync_length: r.summary_vec(
                "prometheus_target_sync_length_seconds",
                "Actual interval to sync the scrape pool.",
                &QUANTILES,
                job,
            ),
            sync_length_histogram: r.histogram_vec(
                "prometheus_target_sync_length_histogram_seconds",
                "Actual interval to sync the scrape pool.",
                &LENGTHS,
                job,
            ),
            sync_failed: r.counter_vec(
                "prometheus_target_sync_failed_total",
                "Total number of target sync failures.",
                job,
            ),
            body_size_limit: r.counter(
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Total number of scrapes that hit the body size limit",
            ),
            cache_flush_forced: r.counter(
                "prometheus_target_scrapes_cache_flush_forced_total",
                "How many times a scrape cache was flushed due to getting big while scrapes are failing.",
            ),
            interval_length: r.summary_vec(
                "prometheus_target_interval_length_seconds",
                "Actual intervals between scrapes.",
                &QUANTILES,
                &["interval"],
            ),
            interval_length_histogram: r.histogram_vec(
                "prometheus_target_interval_length_histogram_seconds",
                "Actual intervals between scrapes.",
                &LENGTHS,
                &["interval"],
            ),
            sample_limit: r.counter(
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Total number of scrapes that hit the sample limit and were rejected.",
            ),
            duplicate: r.counter(
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Total number of samples rejected due to duplicate timestamps but different values.",
            ),
            out_of_order: r.counter(
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Total number of samples rejected due to not being out of the expected order.",
            ),
            out_of_bounds: r.counter(
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Total number of samples rejected due to timestamp falling outside of the time bounds.",
            ),
            label_limits: r.counter(
                "prometheus_target_scrape_pool_exceeded_label_limits_total",
                "Total number of times scrape pools hit the label limits, during sync or config reload.",
            ),
            bucket_limit: r.counter(
                "prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total",
                "Total number of scrapes that hit the native histogram bucket limit and were rejected.",
            ),
            exemplar_out_of_order: r.counter(
                "prometheus_target_scrapes_exemplar_out_of_order_total",
                "Total number of exemplar rejected due to not being out of the expected order.",
            ),
            scrape_duration: r.histogram(
                "prometheus_target_scrape_duration_seconds",
                "Total duration of the scrape from start to commit completion in seconds.",
                &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
            ),
        }
    }

    /// Forgets the children of a pool that is gone.
    pub(super) fn forget_pool(&self, name: &str) {
        let name = &[name];
        self.target_limit.remove(name);
        self.targets.remove(name);
        self.syncs.remove(name);
        self.sync_length.remove(name);
        self.sync_length_histogram.remove(name);
        self.sync_failed.remove(name);
    }
}
