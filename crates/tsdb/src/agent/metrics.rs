//! Metrics of the agent store, under upstream's names.

use meter::{Counter, Gauge, Registry, Summary};

pub(super) struct AgentMetrics {
    pub(super) clean_start: Gauge,
    pub(super) active_series: Gauge,
    pub(super) deleted_series: Gauge,
    pub(super) float_samples: Counter,
    pub(super) histogram_samples: Counter,
    pub(super) exemplars: Counter,
    pub(super) out_of_order: Counter,
    pub(super) truncate_duration: Summary,
    pub(super) corruptions: Counter,
    pub(super) replay_duration: Gauge,
    pub(super) checkpoint_deletions_failed: Counter,
    pub(super) checkpoint_deletions: Counter,
    pub(super) checkpoint_creations_failed: Counter,
    pub(super) checkpoint_creations: Counter,
    pub(super) forced_segments: Counter,
    pub(super) forced_bytes: Counter,
}

impl AgentMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let name = |n: &str| format!("prometheus_agent_{n}");
        let counter = |n: &str, help: &str| registry.counter(&name(n), help);
        let gauge = |n: &str, help: &str| registry.gauge(&name(n), help);
        let appended = registry.counter_vec(
            &name("samples_appended_total"),
            "Total number of samples appended to the storage",
            &["type"],
        );
        AgentMetrics {
            clean_start: gauge(
                "clean_start",
                "-1: lockfile is disabled. 0: a lockfile from a previous execution was replaced. 1: lockfile creation was clean",
            ),
            active_series: gauge("active_series", "Number of active series being tracked by the WAL storage"),
            deleted_series: gauge("deleted_series", "Number of series pending deletion from the WAL"),
            float_samples: appended.with(&["float"]),
            histogram_samples: appended.with(&["histogram"]),
            exemplars: counter(
                "exemplars_appended_total",
                "Total number of exemplars appended to the storage",
            ),
            out_of_order: counter(
                "out_of_order_samples_total",
                "Total number of out of order samples ingestion failed attempts.",
            ),
            truncate_duration: registry.summary(
                &name("truncate_duration_seconds"),
                "Duration of WAL truncation.",
                &[],
            ),
            corruptions: counter("corruptions_total", "Total number of WAL corruptions."),
            replay_duration: gauge(
                "data_replay_duration_seconds",
                "Time taken to replay the data on disk.",
            ),
            checkpoint_deletions_failed: counter(
                "checkpoint_deletions_failed_total",
                "Total number of checkpoint deletions that failed.",
            ),
            checkpoint_deletions: counter(
                "checkpoint_deletions_total",
                "Total number of checkpoint deletions attempted.",
            ),
            checkpoint_creations_failed: counter(
                "checkpoint_creations_failed_total",
                "Total number of checkpoint creations that failed.",
            ),
            checkpoint_creations: counter(
                "checkpoint_creations_total",
                "Total number of checkpoint creations attempted.",
            ),
            forced_segments: registry.counter(
                "pyrrha_agent_wal_forced_segments_total",
                "Total number of log segments removed by the age or byte budget before every destination had them.",
            ),
            forced_bytes: registry.counter(
                "pyrrha_agent_wal_forced_bytes_total",
                "Total number of bytes of log removed by the age or byte budget before every destination had them.",
            ),
        }
    }
}
