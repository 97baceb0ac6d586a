//! The series that each scrape reports about itself: `up` and its siblings.

use model::{Labels, LabelsBuilder, METRIC_NAME};
use storage::{SeriesRef, key};

/// Reported always, in upstream's order; the values of a [`Reported`] stand in the same order.
const ALWAYS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];
/// Reported with `extra_scrape_metrics`.
const EXTRA: [&str; 3] = ["scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes"];

pub(super) const MOST: usize = ALWAYS.len() + EXTRA.len();

/// Values of one report.
pub(super) type Reported = [f64; MOST];

#[derive(Debug)]
pub(super) struct ReportSeries {
    pub(super) key: Vec<u8>,
    /// 0: not known yet.
    pub(super) reference: SeriesRef,
}

/// The report series of a target.
pub(super) fn series(target: &Labels, extra: bool) -> Vec<ReportSeries> {
    let names = ALWAYS.iter().chain(if extra { EXTRA.as_slice() } else { &[] });
    names
        .map(|name| {
            let mut labels: LabelsBuilder = target.builder();
            labels.set(METRIC_NAME, name);
            ReportSeries { key: key::of_labels(&labels.finish()), reference: SeriesRef(0) }
        })
        .collect()
}
