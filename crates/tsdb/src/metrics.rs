//! The metrics of the head, with upstream's names.

use meter::{Counter, Gauge, Histogram, Registry};

pub(crate) struct Metrics {
    pub(crate) series_created: Counter,
    pub(crate) series_removed: Counter,
    pub(crate) series_not_found: Counter,
    pub(crate) chunks: Gauge,
    pub(crate) chunks_created: Counter,
    pub(crate) chunks_removed: Counter,
    pub(crate) chunks_mapped: Counter,
    pub(crate) floats_appended: Counter,
    pub(crate) late_appended: Counter,
    pub(crate) out_of_bound: Counter,
    pub(crate) out_of_order: Counter,
    pub(crate) too_old: Counter,
    pub(crate) histograms_appended: Counter,
    pub(crate) out_of_bound_histograms: Counter,
    pub(crate) out_of_order_histograms: Counter,
    pub(crate) too_old_histograms: Counter,
    pub(crate) late_histograms_appended: Counter,
    pub(crate) series_refused: Counter,
    pub(crate) late_delta: Histogram,
    pub(crate) map_corruptions: Counter,
    pub(crate) wal_corruptions: Counter,
    pub(crate) replay_seconds: Gauge,
    pub(crate) unknown_series: Counter,
    pub(crate) unknown_samples: Counter,
    pub(crate) unknown_histograms: Counter,
    pub(crate) unknown_exemplars: Counter,
    pub(crate) unknown_metadata: Counter,
    pub(crate) unknown_tombstones: Counter,
    pub(crate) late_unknown_samples: Counter,
    pub(crate) late_unknown_histograms: Counter,
    pub(crate) late_unknown_markers: Counter,
    pub(crate) snapshot_failures: Counter,
    pub(crate) truncations: Counter,
    pub(crate) truncations_failed: Counter,
    pub(crate) wal_truncate_seconds: meter::Summary,
    pub(crate) gc_seconds: meter::Summary,
    pub(crate) checkpoints: Counter,
    pub(crate) checkpoints_failed: Counter,
    pub(crate) checkpoint_deletions: Counter,
    pub(crate) checkpoint_deletions_failed: Counter,
    pub(crate) exemplars_appended: Counter,
    pub(crate) exemplars_late: Counter,
    pub(crate) exemplars_max: Gauge,
    pub(crate) exemplars_stored: Gauge,
    pub(crate) exemplar_series: Gauge,
    pub(crate) exemplar_last: Gauge,
}

impl Metrics {
    pub(crate) fn new(r: &Registry) -> Self {
        let by_type = |name: &str, help: &str| {
            let vector = r.counter_vec(name, help, &["type"]);
            (vector.with(&["float"]), vector.with(&["histogram"]))
        };
        let (floats_appended, histograms_appended) =
            by_type("prometheus_tsdb_head_samples_appended_total", "Total number of appended samples.");
        let (late_appended, late_histograms_appended) = by_type(
            "prometheus_tsdb_head_out_of_order_samples_appended_total",
            "Total number of appended out of order samples.",
        );
        let (out_of_bound, out_of_bound_histograms) = by_type(
            "prometheus_tsdb_out_of_bound_samples_total",
            "Total number of out of bound samples ingestion failed attempts with out of order support disabled.",
        );
        let (out_of_order, out_of_order_histograms) = by_type(
            "prometheus_tsdb_out_of_order_samples_total",
            "Total number of out of order samples ingestion failed attempts due to out of order being disabled.",
        );
        let (too_old, too_old_histograms) = by_type(
            "prometheus_tsdb_too_old_samples_total",
            "Total number of out of order samples ingestion failed attempts with out of support enabled, but sample outside of time window.",
        );
        let unknown = r.counter_vec(
            "prometheus_tsdb_wal_replay_unknown_refs_total",
            "Total number of unknown series references encountered during WAL replay.",
            &["type"],
        );
        let late_unknown = r.counter_vec(
            "prometheus_tsdb_wbl_replay_unknown_refs_total",
            "Total number of unknown series references encountered during WBL replay.",
            &["type"],
        );
        Metrics {
            series_created: r.counter(
                "prometheus_tsdb_head_series_created_total",
                "Total number of series created in the head",
            ),
            series_removed: r.counter(
                "prometheus_tsdb_head_series_removed_total",
                "Total number of series removed in the head",
            ),
            series_not_found: r.counter(
                "prometheus_tsdb_head_series_not_found_total",
                "Total number of requests for series that were not found.",
            ),
            chunks: r.gauge("prometheus_tsdb_head_chunks", "Total number of chunks in the head block."),
            chunks_created: r.counter(
                "prometheus_tsdb_head_chunks_created_total",
                "Total number of chunks created in the head",
            ),
            chunks_removed: r.counter(
                "prometheus_tsdb_head_chunks_removed_total",
                "Total number of chunks removed in the head",
            ),
            chunks_mapped: r.counter(
                "prometheus_tsdb_mmap_chunks_total",
                "Total number of chunks that were memory-mapped.",
            ),
            floats_appended,
            late_appended,
            out_of_bound,
            out_of_order,
            too_old,
            histograms_appended,
            out_of_bound_histograms,
            out_of_order_histograms,
            too_old_histograms,
            late_histograms_appended,
            series_refused: r.counter(
                "pyrrha_tsdb_series_limit_refused_total",
                "New series that were refused because the series ceiling was reached.",
            ),
            late_delta: r.histogram(
                "prometheus_tsdb_sample_ooo_delta",
                "Delta in seconds by which a sample is considered out of order (reported regardless of OOO time window and whether sample is accepted or not).",
                &[600.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0],
            ),
            map_corruptions: r.counter(
                "prometheus_tsdb_mmap_chunk_corruptions_total",
                "Total number of memory-mapped chunk corruptions.",
            ),
            wal_corruptions: r.counter(
                "prometheus_tsdb_wal_corruptions_total",
                "Total number of WAL corruptions.",
            ),
            replay_seconds: r.gauge(
                "prometheus_tsdb_data_replay_duration_seconds",
                "Time taken to replay the data on disk.",
            ),
            unknown_series: unknown.with(&["series"]),
            unknown_samples: unknown.with(&["samples"]),
            unknown_histograms: unknown.with(&["histograms"]),
            unknown_exemplars: unknown.with(&["exemplars"]),
            unknown_metadata: unknown.with(&["metadata"]),
            unknown_tombstones: unknown.with(&["tombstones"]),
            late_unknown_samples: late_unknown.with(&["samples"]),
            late_unknown_histograms: late_unknown.with(&["histograms"]),
            late_unknown_markers: late_unknown.with(&["mmap_markers"]),
            snapshot_failures: r.counter(
                "prometheus_tsdb_snapshot_replay_error_total",
                "Total number snapshot replays that failed.",
            ),
            truncations: r.counter(
                "prometheus_tsdb_head_truncations_total",
                "Total number of head truncations attempted.",
            ),
            truncations_failed: r.counter(
                "prometheus_tsdb_head_truncations_failed_total",
                "Total number of head truncations that failed.",
            ),
            wal_truncate_seconds: r.summary(
                "prometheus_tsdb_wal_truncate_duration_seconds",
                "Duration of WAL truncation.",
                &[],
            ),
            gc_seconds: r.summary(
                "prometheus_tsdb_head_gc_duration_seconds",
                "Runtime of garbage collection in the head block.",
                &[],
            ),
            checkpoints: r.counter(
                "prometheus_tsdb_checkpoint_creations_total",
                "Total number of checkpoint creations attempted.",
            ),
            checkpoints_failed: r.counter(
                "prometheus_tsdb_checkpoint_creations_failed_total",
                "Total number of checkpoint creations that failed.",
            ),
            checkpoint_deletions: r.counter(
                "prometheus_tsdb_checkpoint_deletions_total",
                "Total number of checkpoint deletions attempted.",
            ),
            checkpoint_deletions_failed: r.counter(
                "prometheus_tsdb_checkpoint_deletions_failed_total",
                "Total number of checkpoint deletions that failed.",
            ),
            exemplars_appended: r.counter(
                "prometheus_tsdb_exemplar_exemplars_appended_total",
                "Total number of appended exemplars.",
            ),
            exemplars_late: r.counter(
                "prometheus_tsdb_exemplar_out_of_order_exemplars_total",
                "Total number of out of order exemplar ingestion failed attempts.",
            ),
            exemplars_max: r.gauge(
                "prometheus_tsdb_exemplar_max_exemplars",
                "Total number of exemplars the exemplar storage can store, resizeable.",
            ),
            exemplars_stored: r.gauge(
                "prometheus_tsdb_exemplar_exemplars_in_storage",
                "Number of exemplars currently in circular storage.",
            ),
            exemplar_series: r.gauge(
                "prometheus_tsdb_exemplar_series_with_exemplars_in_storage",
                "Number of series with exemplars currently in circular storage.",
            ),
            exemplar_last: r.gauge(
                "prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds",
                "The timestamp of the oldest exemplar stored in circular storage. Useful to check for what time range the current exemplar buffer limit allows. This usually means the last timestamp for all exemplars for a typical setup. This is not true though if one of the series timestamp is in future compared to rest series.",
            ),
        }
    }
}
