//! The supervisor: one task that owns all providers and tells the newest sets of groups.

use crate::config::SdConfigs;
use crate::file::{FileProvider, FileSdConfig};
use crate::group::{StaticConfig, TargetGroup};
use crate::http_sd::{HttpProvider, HttpSdConfig};
use crate::metrics::{SdMetrics, SupervisorMetrics};
use meter::Registry;
use net::client::ClientOptions;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// All groups of all jobs; a job without targets has an empty list.
pub type TargetSets = BTreeMap<String, Vec<Arc<TargetGroup>>>;

/// The first pause between two announcements; it grows while updates keep coming.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct SupervisorOptions {
    /// Longest pause between two announcements.
    pub update_interval: Duration,
    /// For the clients of providers.
    pub client: ClientOptions,
}

impl Default for SupervisorOptions {
    fn default() -> Self {
        SupervisorOptions { update_interval: Duration::from_secs(5), client: ClientOptions::default() }
    }
}

/// Runs the providers of all jobs.
///
/// [`Supervisor::apply`] may be called again and again; providers whose section stays the same keep running
/// with what they found. [`Supervisor::updates`] always holds the newest complete state; a listener that is
/// slow misses intermediate ones. [`Supervisor::shutdown`] stops all providers and waits for them; dropping
/// stops them without waiting.
pub struct Supervisor {
    commands: mpsc::Sender<Command>,
    updates: watch::Receiver<Arc<TargetSets>>,
    task: JoinHandle<()>,
}

enum Command {
    Apply(BTreeMap<String, SdConfigs>, oneshot::Sender<()>),
    Stop,
}

impl Supervisor {
    /// Must be called within a tokio runtime. `name` is the label of its metrics: `scrape` or `notify`.
    pub fn start(
        name: &str,
        registry: &Registry,
        metrics: Arc<SdMetrics>,
        options: SupervisorOptions,
    ) -> Supervisor {
        let (commands, inbox) = mpsc::channel(4);
        let (tell, updates) = watch::channel(Arc::default());
        let (found, news) = mpsc::channel(64);
        let state = State {
            own: SupervisorMetrics::new(registry, name),
            metrics,
            options,
            jobs: BTreeSet::new(),
            providers: BTreeMap::new(),
            next_id: 0,
            found,
            tell,
        };
        Supervisor { commands, updates, task: tokio::spawn(state.run(inbox, news)) }
    }

    /// Replaces the configuration of all jobs. When it returns, jobs that are gone are gone from the updates.
    pub async fn apply(&self, jobs: BTreeMap<String, SdConfigs>) {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::Apply(jobs, done)).await.is_ok() {
            // An error means that the task has ended, and with it all jobs.
            let _ = wait.await;
        }
    }

    pub fn updates(&self) -> watch::Receiver<Arc<TargetSets>> {
        self.updates.clone()
    }

    pub async fn shutdown(self) {
        if self.commands.send(Command::Stop).await.is_ok()
            && let Err(error) = self.task.await
        {
            tracing::error!(component = "discovery manager", err = %error, "Service discovery ended badly");
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Section {
    Static(Vec<StaticConfig>),
    File(FileSdConfig),
    Http(Box<HttpSdConfig>),
}

impl Section {
    fn mechanism(&self) -> &'static str {
        match self {
            Section::Static(_) => "static",
            Section::File(_) => "file",
            Section::Http(_) => "http",
        }
    }

    fn of(configs: SdConfigs) -> Vec<Section> {
        let mut sections = Vec::new();
        if !configs.static_configs.is_empty() {
            sections.push(Section::Static(configs.static_configs));
        }
        sections.extend(configs.file_sd_configs.into_iter().map(Section::File));
        sections.extend(configs.http_sd_configs.into_iter().map(|c| Section::Http(Box::new(c))));
        sections
    }
}

/// A running provider; equal sections of several jobs share one.
struct Provider {
    section: Section,
    jobs: BTreeSet<String>,
    groups: BTreeMap<String, Arc<TargetGroup>>,
    stop: CancellationToken,
    /// None for lists in the configuration, which need no task.
    task: Option<JoinHandle<()>>,
}

type Found = (u64, Vec<TargetGroup>);

struct State {
    own: SupervisorMetrics,
    metrics: Arc<SdMetrics>,
    options: SupervisorOptions,
    jobs: BTreeSet<String>,
    providers: BTreeMap<u64, Provider>,
    next_id: u64,
    found: mpsc::Sender<Found>,
    tell: watch::Sender<Arc<TargetSets>>,
}

impl State {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>, mut news: mpsc::Receiver<Found>) {
        let mut pause = FIRST_PAUSE;
        let mut last_told: Option<Instant> = None;
        let mut dirty = false;
        loop {
            let due = last_told.map_or_else(Instant::now, |at| at + pause);
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(Command::Apply(jobs, done)) => {
                        self.apply(jobs).await;
                        self.announce();
                        (pause, last_told, dirty) = (FIRST_PAUSE, Some(Instant::now()), false);
                        // The asker may have gone.
                        let _ = done.send(());
                    }
                    Some(Command::Stop) | None => break,
                },
                Some((id, groups)) = news.recv() => {
                    self.own.received.inc();
                    dirty |= self.take(id, groups);
                }
                () = tokio::time::sleep_until(due), if dirty => {
                    self.announce();
                    let quiet = last_told.is_none_or(|at| at.elapsed() > self.options.update_interval);
                    pause = if quiet { FIRST_PAUSE } else { (pause * 3 / 2).min(self.options.update_interval) };
                    (last_told, dirty) = (Some(Instant::now()), false);
                }
            }
        }
        for provider in self.providers.values() {
            provider.stop.cancel();
        }
        // Nobody reads from here on; a provider must not wait for us.
        news.close();
        for task in self.providers.into_values().filter_map(|p| p.task) {
            let _ = task.await;
        }
    }

    /// Stores what a provider found; whether that changed anything.
    fn take(&mut self, id: u64, groups: Vec<TargetGroup>) -> bool {
        // A provider that was stopped may still have had something on the way.
        let Some(provider) = self.providers.get_mut(&id) else { return false };
        let mut changed = false;
        for group in groups {
            if group.targets.is_empty() {
                changed |= provider.groups.remove(&group.source).is_some();
            } else if provider.groups.get(&group.source).is_none_or(|old| **old != group) {
                provider.groups.insert(group.source.clone(), Arc::new(group));
                changed = true;
            }
        }
        changed
    }

    async fn apply(&mut self, jobs: BTreeMap<String, SdConfigs>) {
        let names: BTreeSet<String> = jobs.keys().cloned().collect();
        let mut wanted: Vec<(Section, BTreeSet<String>)> = Vec::new();
        for (job, configs) in jobs {
            for section in Section::of(configs) {
                match wanted.iter_mut().find(|(known, _)| *known == section) {
                    Some((_, jobs)) => {
                        jobs.insert(job.clone());
                    }
                    None => wanted.push((section, BTreeSet::from([job.clone()]))),
                }
            }
        }
        let mut stopped = Vec::new();
        let mut kept = BTreeMap::new();
        for (id, mut provider) in std::mem::take(&mut self.providers) {
            let mechanism = provider.section.mechanism();
            let again = wanted.iter().position(|(section, _)| *section == provider.section);
            let jobs = again.map(|at| wanted.swap_remove(at).1).unwrap_or_default();
            for job in provider.jobs.difference(&jobs) {
                self.metrics.forget(mechanism, job);
            }
            if jobs.is_empty() {
                provider.stop.cancel();
                stopped.extend(provider.task.take());
            } else {
                provider.jobs = jobs;
                kept.insert(id, provider);
            }
        }
        self.providers = kept;
        let mut failed = 0;
        for (section, jobs) in wanted {
            match self.launch(section, jobs) {
                Ok(provider) => {
                    self.providers.insert(self.next_id, provider);
                    self.next_id += 1;
                }
                Err((mechanism, jobs, error)) => {
                    failed += jobs.len();
                    let jobs = jobs.into_iter().collect::<Vec<_>>().join(",");
                    tracing::error!(component = "discovery manager", err = %error, r#type = mechanism, config = %jobs, "Cannot create service discovery");
                }
            }
        }
        self.own.failed_configs.set(failed as f64);
        for gone in self.jobs.difference(&names) {
            self.own.forget(gone);
        }
        self.jobs = names;
        for task in stopped {
            let _ = task.await;
        }
    }

    fn launch(
        &self,
        section: Section,
        jobs: BTreeSet<String>,
    ) -> Result<Provider, (&'static str, BTreeSet<String>, String)> {
        let id = self.next_id;
        let stop = CancellationToken::new();
        let (send, mut receive) = mpsc::channel::<Vec<TargetGroup>>(1);
        let mut groups = BTreeMap::new();
        let task = match &section {
            Section::Static(list) => {
                for (i, config) in list.iter().enumerate().filter(|(_, c)| !c.targets.is_empty()) {
                    groups.insert(i.to_string(), Arc::new(config.group(i.to_string(), None)));
                }
                None
            }
            Section::File(config) => {
                let provider = FileProvider::new(config.clone(), Arc::clone(&self.metrics));
                Some(tokio::spawn(provider.run(send, stop.clone())))
            }
            Section::Http(config) => {
                let job = jobs.first().cloned().unwrap_or_default();
                let client = self.options.client.clone();
                match HttpProvider::new((**config).clone(), job, Arc::clone(&self.metrics), client) {
                    Ok(provider) => Some(tokio::spawn(provider.run(send, stop.clone()))),
                    Err(error) => return Err(("http", jobs, error.to_string())),
                }
            }
        };
        // Tags what comes with the provider it comes from; ends when the provider drops its sender.
        let task = task.map(|provider| {
            let (found, stop) = (self.found.clone(), stop.clone());
            tokio::spawn(async move {
                while let Some(groups) = receive.recv().await {
                    // Whoever stops a provider waits for it, and does not read meanwhile.
                    let sent = tokio::select! {
                        () = stop.cancelled() => break,
                        sent = found.send((id, groups)) => sent,
                    };
                    if sent.is_err() {
                        break;
                    }
                }
                drop(receive);
                if let Err(error) = provider.await {
                    tracing::error!(component = "discovery manager", err = %error, "A service discovery provider ended badly");
                }
            })
        });
        Ok(Provider { section, jobs, groups, stop, task })
    }

    fn announce(&self) {
        let mut sets: TargetSets = self.jobs.iter().map(|job| (job.clone(), Vec::new())).collect();
        for provider in self.providers.values() {
            for job in &provider.jobs {
                if let Some(set) = sets.get_mut(job) {
                    set.extend(provider.groups.values().cloned());
                }
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        for (job, groups) in &sets {
            self.own.targets(job, groups.iter().map(|g| g.targets.len()).sum(), now);
        }
        self.own.sent.inc();
        self.tell.send_replace(Arc::new(sets));
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
