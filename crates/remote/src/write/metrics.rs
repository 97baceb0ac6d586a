//! Metrics of the sender, with upstream's names; one set of families for all destinations.

use meter::{Counter, Gauge, Histogram, Registry, Vector};

const LABELS: [&str; 2] = ["remote_name", "url"];
/// Upstream's default buckets and its four more.
const DURATIONS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0];

/// Why rows are dropped without being refused.
pub(super) const TOO_OLD: &str = "too_old";
pub(super) const DROPPED_SERIES: &str = "dropped_series";
pub(super) const UNKNOWN_SERIES: &str = "unintentionally_dropped_series";
pub(super) const NHCB: &str = "nhcb_in_rw1_not_supported";

macro_rules! families {
    ($($field:ident: $make:ident $name:literal $help:literal;)*) => {
        /// The families.
        pub(super) struct Families {
            $($field: Vector<families!(@type $make)>,)*
            samples_dropped: Vector<Counter>,
            exemplars_dropped: Vector<Counter>,
            histograms_dropped: Vector<Counter>,
            batch_duration: Vector<Histogram>,
            segment: Vector<Gauge>,
            pub(super) samples_in: Counter,
            pub(super) exemplars_in: Counter,
            pub(super) histograms_in: Counter,
            pub(super) highest_incoming: Gauge,
        }

        /// The metrics of one destination.
        pub(super) struct Metrics {
            $(pub(super) $field: families!(@type $make),)*
            pub(super) samples_dropped: Dropped,
            pub(super) exemplars_dropped: Dropped,
            pub(super) histograms_dropped: Dropped,
            pub(super) batch_duration: Histogram,
            pub(super) segment: Gauge,
        }

        impl Families {
            pub(super) fn new(registry: &Registry) -> Self {
                let r = registry;
                let reason = ["remote_name", "url", "reason"];
                let dropped = |what: &str| r.counter_vec(
                    &format!("prometheus_remote_storage_{what}_dropped_total"),
                    &format!("Total number of {what} which were dropped after being read from the WAL before being sent via remote write, either via relabelling, due to being too old or unintentionally because of an unknown reference ID."),
                    &reason,
                );
                let incoming = |what: &str| r.counter(
                    &format!("prometheus_remote_storage_{what}_in_total"),
                    &format!("{what} in to remote storage, compare to {what} out for queue managers."),
                );
                Families {
                    $($field: r.$make(concat!("prometheus_remote_storage_", $name), $help, &LABELS),)*
                    samples_dropped: dropped("samples"),
                    exemplars_dropped: dropped("exemplars"),
                    histograms_dropped: dropped("histograms"),
                    batch_duration: r.histogram_vec(
                        "prometheus_remote_storage_sent_batch_duration_seconds",
                        "Duration of send calls to the remote storage.",
                        &DURATIONS,
                        &LABELS,
                    ),
                    segment: r.gauge_vec(
                        "prometheus_wal_watcher_current_segment",
                        "Current segment the WAL watcher is reading records from.",
                        &["consumer"],
                    ),
                    samples_in: incoming("samples"),
                    exemplars_in: incoming("exemplars"),
                    histograms_in: incoming("histograms"),
                    highest_incoming: r.gauge(
                        "prometheus_remote_storage_highest_timestamp_in_seconds",
                        "Highest timestamp that has come into the remote storage via the Appender interface, in seconds since epoch. Initialized to 0 when no data has been received yet. Deprecated, check prometheus_remote_storage_queue_highest_timestamp_seconds which is more accurate.",
                    ),
                }
            }

            pub(super) fn of(&self, name: &str, url: &str) -> Metrics {
                let values = [name, url];
                Metrics {
                    $($field: self.$field.with(&values),)*
                    samples_dropped: Dropped::new(&self.samples_dropped, name, url),
                    exemplars_dropped: Dropped::new(&self.exemplars_dropped, name, url),
                    histograms_dropped: Dropped::new(&self.histograms_dropped, name, url),
                    batch_duration: self.batch_duration.with(&values),
                    segment: self.segment.with(&[name]),
                }
            }

            /// Takes a destination's metrics off the exposition.
            pub(super) fn forget(&self, name: &str, url: &str) {
                let values = [name, url];
                $(self.$field.remove(&values);)*
                self.batch_duration.remove(&values);
                self.segment.remove(&[name]);
                for family in [&self.samples_dropped, &self.exemplars_dropped, &self.histograms_dropped] {
                    for reason in [TOO_OLD, DROPPED_SERIES, UNKNOWN_SERIES, NHCB] {
                        family.remove(&[name, url, reason]);
                    }
                }
            }
        }
    };
    (@type counter_vec) => { Counter };
    (@type gauge_vec) => { Gauge };
}

/// Drops by reason.
pub(super) struct Dropped {
    family: Vector<Counter>,
    name: String,
    url: String,
    by_rule: Counter,
}

impl Dropped {
    fn new(family: &Vector<Counter>, name: &str, url: &str) -> Self {
        let by_rule = family.with(&[name, url, DROPPED_SERIES]);
        Dropped { family: family.clone(), name: name.to_owned(), url: url.to_owned(), by_rule }
    }

    /// A row of a series that relabelling drops: the common case, without a look-up.
    pub(super) fn by_rule(&self) {
        self.by_rule.inc();
    }

    pub(super) fn add(&self, reason: &str, rows: u64) {
        if rows > 0 {
            self.family.with(&[&self.name, &self.url, reason]).add(rows);
        }
    }
}

families! {
    samples: counter_vec "samples_total" "Total number of samples sent to remote storage.";
    exemplars: counter_vec "exemplars_total" "Total number of exemplars sent to remote storage.";
    histograms: counter_vec "histograms_total" "Total number of histograms sent to remote storage.";
    metadata: counter_vec "metadata_total" "Total number of metadata entries sent to remote storage.";
    samples_failed: counter_vec "samples_failed_total" "Total number of samples which failed on send to remote storage, non-recoverable errors.";
    exemplars_failed: counter_vec "exemplars_failed_total" "Total number of exemplars which failed on send to remote storage, non-recoverable errors.";
    histograms_failed: counter_vec "histograms_failed_total" "Total number of histograms which failed on send to remote storage, non-recoverable errors.";
    metadata_failed: counter_vec "metadata_failed_total" "Total number of metadata entries which failed on send to remote storage, non-recoverable errors.";
    samples_retried: counter_vec "samples_retried_total" "Total number of samples which failed on send to remote storage but were retried because the send error was recoverable.";
    exemplars_retried: counter_vec "exemplars_retried_total" "Total number of exemplars which failed on send to remote storage but were retried because the send error was recoverable.";
    histograms_retried: counter_vec "histograms_retried_total" "Total number of histograms which failed on send to remote storage but were retried because the send error was recoverable.";
    metadata_retried: counter_vec "metadata_retried_total" "Total number of metadata entries which failed on send to remote storage but were retried because the send error was recoverable.";
    enqueue_retries: counter_vec "enqueue_retries_total" "Total number of times enqueue has failed because a shards queue was full.";
    highest_timestamp: gauge_vec "queue_highest_timestamp_seconds" "Highest timestamp that was enqueued, in seconds since epoch. Initialized to 0 when no data has been received yet.";
    highest_sent: gauge_vec "queue_highest_sent_timestamp_seconds" "Highest timestamp successfully sent by this queue, in seconds since epoch. Initialized to 0 when no data has been sent yet.";
    samples_pending: gauge_vec "samples_pending" "The number of samples pending in the queues shards to be sent to the remote storage.";
    exemplars_pending: gauge_vec "exemplars_pending" "The number of exemplars pending in the queues shards to be sent to the remote storage.";
    histograms_pending: gauge_vec "histograms_pending" "The number of histograms pending in the queues shards to be sent to the remote storage.";
    shard_capacity: gauge_vec "shard_capacity" "The capacity of each shard of the queue used for parallel sending to the remote storage.";
    shards: gauge_vec "shards" "The number of shards used for parallel sending to the remote storage.";
    shards_max: gauge_vec "shards_max" "The maximum number of shards that the queue is allowed to run.";
    shards_min: gauge_vec "shards_min" "The minimum number of shards that the queue is allowed to run.";
    shards_desired: gauge_vec "shards_desired" "The number of shards that the queues shard calculation wants to run based on the rate of samples in vs. samples out.";
    bytes: counter_vec "bytes_total" "The total number of bytes of data (not metadata) sent by the queue after compression. Note that when exemplars over remote write is enabled the exemplars included in a remote write request count towards this metric.";
    metadata_bytes: counter_vec "metadata_bytes_total" "The total number of bytes of metadata sent by the queue after compression.";
    max_samples_per_send: gauge_vec "max_samples_per_send" "The maximum number of samples to be sent, in a single request, to the remote storage. Note that, when sending of exemplars over remote write is enabled, exemplars count towards this limit.";
    backlog_bytes: gauge_vec "queue_backlog_bytes" "Bytes of the WAL that are not delivered to this destination yet.";
}

/// Raises a gauge of seconds to a time in milliseconds.
pub(super) fn raise(gauge: &Gauge, t: i64) {
    // Whole seconds, as upstream shows them.
    let seconds = (t / 1000) as f64;
    if seconds > gauge.get() {
        gauge.set(seconds);
    }
}
