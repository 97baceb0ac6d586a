//! Metrics of a log, under upstream's names.

use super::options::WalOptions;
use disk::Disk;
use meter::{Counter, Gauge, Registry, Summary};
use std::path::PathBuf;
use std::sync::Arc;

pub(super) struct WalMetrics {
    pub(super) fsync_duration: Summary,
    pub(super) fsyncs_failed: Counter,
    pub(super) page_flushes: Counter,
    pub(super) completed_pages: Counter,
    pub(super) truncations_failed: Counter,
    pub(super) truncations: Counter,
    pub(super) current_segment: Gauge,
    pub(super) writes_failed: Counter,
    pub(super) record_parts: Counter,
    pub(super) record_part_bytes: Counter,
    pub(super) bytes_saved: Counter,
}

impl WalMetrics {
    pub(super) fn new(registry: &Registry, options: &WalOptions, disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        let prefix = options.kind.metric_prefix();
        let name = |n: &str| format!("{prefix}{n}");
        registry.gauge_fn(&name("storage_size_bytes"), "Size of the write log directory.", move || {
            directory_bytes(&*disk, &dir) as f64
        });
        WalMetrics {
            fsync_duration: registry.summary(
                &name("fsync_duration_seconds"),
                "Duration of write log fsync.",
                &[0.5, 0.9, 0.99],
            ),
            fsyncs_failed: registry.counter(
                &name("fsyncs_failed_total").replacen("prometheus", "pyrrha", 1),
                "Times that a segment could not be made durable. Nothing is written to such a segment any more.",
            ),
            page_flushes: registry.counter(&name("page_flushes_total"), "Total number of page flushes."),
            completed_pages: registry
                .counter(&name("completed_pages_total"), "Total number of completed pages."),
            truncations_failed: registry.counter(
                &name("truncations_failed_total"),
                "Total number of write log truncations that failed.",
            ),
            truncations: registry
                .counter(&name("truncations_total"), "Total number of write log truncations attempted."),
            current_segment: registry.gauge(
                &name("segment_current"),
                "Write log segment index that TSDB is currently writing to.",
            ),
            writes_failed: registry
                .counter(&name("writes_failed_total"), "Total number of write log writes that failed."),
            record_parts: registry.counter(
                &name("record_part_writes_total"),
                "Total number of record parts written before flushing.",
            ),
            record_part_bytes: registry.counter(
                &name("record_parts_bytes_written_total"),
                "Total number of record part bytes written before flushing, including CRC and compression headers.",
            ),
            bytes_saved: registry.counter_vec(
                &name("record_bytes_saved_total"),
                "Total number of bytes saved by the optional record compression. Use this metric to learn about the effectiveness compression.",
                &["compression"],
            ).with(&[options.compression.as_str()]),
        }
    }
}

/// Bytes of all files below a directory.
pub(super) fn directory_bytes(disk: &dyn Disk, dir: &std::path::Path) -> u64 {
    let Ok(entries) = disk.list(dir) else { return 0 };
    entries.iter().map(|e| if e.is_dir { directory_bytes(disk, &dir.join(&e.name)) } else { e.len }).sum()
}
