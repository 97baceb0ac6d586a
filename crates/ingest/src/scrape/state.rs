//! What a job and a target keep while they run, and what the API reads of it.

use super::config::Job;
use super::metadata::MetadataCache;
use super::meters::Meters;
use super::target::{Target, discovered};
use crate::status::{ActiveTarget, Health};
use model::Labels;
use model::duration::format_duration;
use model::relabel::{RelabelError, Rule, compile};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use wire::exposition::negotiate::accept_header;

/// Writes failed scrapes down (`scrape_failure_log_file`). The frame owns the file.
pub trait FailureLog: Send + Sync {
    /// One line for one failed scrape.
    fn failed(&self, job: &str, target: &str, error: &str);
}

/// A job with what is derived from it once.
pub(super) struct JobRuntime {
    pub(super) job: Job,
    pub(super) rules: Vec<Rule>,
    pub(super) metric_rules: Vec<Rule>,
    pub(super) accept: String,
    pub(super) failure_log: Option<Arc<dyn FailureLog>>,
    pub(super) meters: Meters,
    /// See `Options::accept_out_of_order`.
    pub(super) accept_out_of_order: Arc<AtomicBool>,
    pub(super) switches: Switches,
}

/// What the process was told to do with samples, whatever the job.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Switches {
    /// Feature `type-and-unit-labels`.
    pub(super) type_and_unit_labels: bool,
    /// Read start timestamps (features `st-storage`, `created-timestamp-zero-ingestion`).
    pub(super) start_timestamps: bool,
    /// Make them up where there are none (feature `st-synthesis`).
    pub(super) start_synthesis: bool,
}

impl JobRuntime {
    pub(super) fn new(
        job: Job,
        meters: Meters,
        failure_log: Option<Arc<dyn FailureLog>>,
        accept_out_of_order: Arc<AtomicBool>,
        switches: Switches,
    ) -> Result<Self, RelabelError> {
        let rules = compile(&job.relabel, job.validation)?;
        let metric_rules = compile(&job.metric_relabel, job.validation)?;
        let accept = accept_header(&job.protocols, job.escaping);
        Ok(JobRuntime {
            job,
            rules,
            metric_rules,
            accept,
            failure_log,
            meters,
            accept_out_of_order,
            switches,
        })
    }

    /// Whether samples older than the newest of their series are offered to the store.
    pub(super) fn takes_late(&self) -> bool {
        !self.switches.start_synthesis && self.accept_out_of_order.load(Relaxed)
    }
}

/// How the last scrape went.
#[derive(Clone, Debug, Default)]
pub(super) struct LastScrape {
    pub(super) health: Health,
    pub(super) error: String,
    pub(super) start_ms: Option<i64>,
    pub(super) duration: Duration,
}

/// A target that is being scraped, shared by its worker, its pool and the API.
pub(super) struct TargetState {
    pub(super) target: Target,
    /// Labels that discovery gave: its own and those of its group.
    found: Mutex<(Labels, Labels)>,
    pub(super) last: Mutex<LastScrape>,
    pub(super) metadata: Mutex<MetadataCache>,
    /// The pool has too many targets: every scrape fails with this.
    pub(super) forced_error: Mutex<Option<String>>,
}

impl TargetState {
    pub(super) fn new(target: Target, own: Labels, group: Labels) -> Self {
        TargetState {
            target,
            found: Mutex::new((own, group)),
            last: Mutex::default(),
            metadata: Mutex::default(),
            forced_error: Mutex::default(),
        }
    }

    /// Takes over what discovery says now; the labels after relabelling are the same.
    pub(super) fn rediscovered_as(&self, other: &TargetState) {
        let found = other.found.lock().clone();
        *self.found.lock() = found;
    }

    pub(super) fn status(&self, job: &Job) -> ActiveTarget {
        let (own, group) = self.found.lock().clone();
        let last = self.last.lock().clone();
        let shown = |d: Duration| format_duration(i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        ActiveTarget {
            discovered_labels: discovered(job, &own, &group).finish(),
            labels: self.target.public.clone(),
            scrape_pool: job.name.clone(),
            scrape_url: self.target.url.clone(),
            last_error: last.error,
            last_scrape_ms: last.start_ms,
            last_scrape_duration_seconds: last.duration.as_secs_f64(),
            health: last.health,
            scrape_interval: shown(self.target.interval),
            scrape_timeout: shown(self.target.timeout),
        }
    }
}
