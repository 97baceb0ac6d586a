//! From settings and configuration to furnished rooms: who gets which door.

use crate::features_shown;
use crate::flags::Settings;
use crate::modes::Store;
use crate::query_log::QueryFiles;
use crate::reload::{Plan, SubqueryStep};
use crate::{memory, process, version};
use api::{BuildInfo, Doors, Options, Reading};
use discovery::{SdMetrics, SupervisorOptions};
use disk::Disk;
use ingest::receive::ReceiverOptions;
use ingest::scrape;
use ingest::status::ScrapeStatus;
use meter::Registry;
use model::Metadata;
use net::client::ClientOptions;
use query::{Engine, EngineOptions};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use storage::metadata::MetadataSource;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::remote_write::MessageType;

/// The language as the features have it.
pub(crate) fn language(settings: &Settings) -> promql::Options {
    let features = &settings.features;
    promql::Options {
        experimental_functions: features.experimental_functions,
        duration_expressions: true,
        extended_range_selectors: features.extended_range_selectors,
        fill_modifiers: features.binop_fill_modifiers,
    }
}

fn receiver_options(settings: &Settings) -> Option<ReceiverOptions> {
    let accepts = [(settings.accept_v1, MessageType::V1), (settings.accept_v2, MessageType::V2)];
    let accepted = accepts.into_iter().filter(|(yes, _)| *yes).map(|(_, kind)| kind).collect();
    settings.receiver.then(|| ReceiverOptions { accepted, ..ReceiverOptions::default() })
}

pub(crate) fn api_options(settings: &Settings, disk: &dyn Disk) -> Options {
    let started_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let external = &settings.external_url;
    Options {
        agent: settings.agent,
        cors: settings.cors.clone(),
        enable_lifecycle: settings.enable_lifecycle,
        enable_admin: settings.enable_admin_api,
        receiver: receiver_options(settings),
        route_prefix: settings.route_prefix.clone(),
        external_scheme: external.scheme.clone(),
        external_host: external.host.clone(),
        external_path: external.path.clone(),
        listen_address: settings.listen.first().cloned().unwrap_or_default(),
        page_title: settings.page_title.clone(),
        flags: settings.shown.clone(),
        build: BuildInfo {
            version: version::PROMETHEUS_LEVEL.into(),
            revision: version::REVISION.into(),
            branch: version::BRANCH.into(),
            build_user: String::new(),
            build_date: version::BUILD_DATE.into(),
            go_version: String::new(),
            pyrrha: version::VERSION.into(),
        },
        lookback_ms: settings.lookback_ms,
        query_timeout: settings.query_timeout,
        max_concurrency: settings.max_concurrency.max(1),
        language: language(settings),
        cwd: std::env::current_dir().map_or_else(|e| format!("<{e}>"), |dir| dir.display().to_string()),
        hostname: process::hostname(disk),
        started_ns: i128::try_from(started_ns).unwrap_or(0),
        features: features_shown::shown(settings),
    }
}

fn engine_options(settings: &Settings, disk: &Arc<dyn Disk>, step: &SubqueryStep) -> EngineOptions {
    let memory = memory::query_memory(settings, disk);
    let (features, language) = (&settings.features, language(settings));
    EngineOptions {
        lookback_delta_ms: settings.lookback_ms,
        timeout: settings.query_timeout,
        max_samples: settings.max_samples,
        max_concurrency: settings.max_concurrency.max(1),
        memory_budget_bytes: memory.of_one,
        memory_total_bytes: memory.of_all,
        process_memory: memory.process,
        threads: 0,
        no_step_subquery_interval: step.function(),
        per_step_stats: features.per_step_stats,
        delayed_name_removal: features.delayed_name_removal,
        type_and_unit_labels: features.type_and_unit_labels,
        use_start_timestamps: features.use_start_timestamps,
        experimental_functions: language.experimental_functions,
        duration_expressions: language.duration_expressions,
        extended_range_selectors: language.extended_range_selectors,
        binop_fill_modifiers: language.fill_modifiers,
    }
}

/// The doors that the API looks through.
pub(crate) fn doors(settings: &Settings, disk: &Arc<dyn Disk>, rooms: &Rooms, step: &SubqueryStep) -> Doors {
    let reading = match &rooms.store {
        Store::Server { db, .. } => Some(Reading {
            engine: Arc::new(Engine::new(engine_options(settings, disk, step))),
            queryable: Arc::new(db.clone()),
            exemplars: Arc::new(db.clone()),
            admin: Arc::new(db.clone()),
        }),
        Store::Agent(_) => None,
    };
    Doors { reading, writers: Some(rooms.store.writers()), metadata: Some(rooms.store.metadata()) }
}

/// The rooms that work while the process lives.
pub(crate) struct Rooms {
    pub(crate) store: Store,
    pub(crate) scrape: scrape::Supervisor,
    /// What they were started with.
    pub(crate) plan: Plan,
    /// Scrapes may bring late samples.
    late_scrapes: Arc<AtomicBool>,
    /// Where queries are written down; agents have none.
    pub(crate) queries: Option<Arc<QueryFiles>>,
    discovery: discovery::Supervisor,
    /// Carries what discovery finds to scraping.
    carrier: JoinHandle<()>,
    remote: remote::write::Supervisor,
    housekeeping: JoinHandle<()>,
    stop_housekeeping: CancellationToken,
}

/// Starts the rooms around an open store; they have nothing to do before [`Rooms::apply`].
pub(crate) fn furnish(
    settings: &Settings,
    plan: &Plan,
    store: Store,
    disk: &Arc<dyn Disk>,
    registry: &Registry,
) -> anyhow::Result<Rooms> {
    let client = ClientOptions { user_agent: version::user_agent(), ..ClientOptions::default() };
    let late_scrapes = Arc::new(AtomicBool::new(plan.window_written));
    let options = scrape::Options {
        offset_seed: scrape::offset_seed(&process::hostname(&**disk), &plan.external_labels),
        timestamp_tolerance: settings.adjust_timestamps.then_some(settings.timestamp_tolerance),
        accept_out_of_order: late_scrapes.clone(),
        type_and_unit_labels: settings.features.type_and_unit_labels,
        start_timestamps: settings.features.parses_starts(),
        start_synthesis: settings.features.start_synthesis,
        client: client.clone(),
        ..scrape::Options::default()
    };
    let scrape = scrape::Supervisor::new(store.writers(), registry, options);
    let metrics = Arc::new(SdMetrics::new(registry));
    let options = SupervisorOptions { update_interval: settings.discovery_reload_interval, client };
    let discovery = discovery::Supervisor::start("scrape", registry, metrics, options);
    let follower = scrape.clone();
    let updates = discovery.updates();
    let carrier = tokio::spawn(async move { follower.follow(updates).await });
    let remote = remote::write::Supervisor::new(remote::write::Environment {
        disk: disk.clone(),
        storage_dir: settings.storage_path.clone(),
        metadata: known_metadata(&scrape, store.metadata()),
        registry: registry.clone(),
        runtime: tokio::runtime::Handle::current(),
        flush_deadline: settings.flush_deadline,
    });
    let slots = settings.max_concurrency.max(1);
    let queries =
        (!settings.agent).then(|| Arc::new(QueryFiles::open(disk, &settings.storage_path, slots, registry)));
    let stop_housekeeping = CancellationToken::new();
    let interval = match settings.agent {
        // An agent only looks whether it is time to truncate.
        true => Duration::from_secs(15),
        false => settings.maintenance_interval,
    };
    let rounds = keep_house(store.clone(), interval, stop_housekeeping.clone());
    let housekeeping = tokio::spawn(rounds);
    Ok(Rooms {
        store,
        scrape,
        plan: plan.clone(),
        late_scrapes,
        queries,
        discovery,
        carrier,
        remote,
        housekeeping,
        stop_housekeeping,
    })
}

/// Rounds of housekeeping, each on a thread of its own, until told to stop; a round is never left half done.
async fn keep_house(store: Store, interval: Duration, stop: CancellationToken) {
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let store = store.clone();
        if let Err(e) = tokio::task::spawn_blocking(move || store.maintain()).await {
            tracing::error!(component = "tsdb", err = %e, "Housekeeping failed");
        }
    }
}

/// Metadata of what is scraped and of what was pushed, one entry for each family.
fn known_metadata(
    scrape: &scrape::Supervisor,
    pushed: Arc<dyn MetadataSource>,
) -> remote::write::MetadataSource {
    let scrape = scrape.clone();
    Arc::new(move || {
        let mut all: BTreeMap<String, Metadata> = pushed.metadata(None).into_iter().collect();
        for family in scrape.metadata().into_iter().flat_map(|target| target.families) {
            let metadata = Metadata { kind: family.kind, unit: family.unit, help: family.help };
            all.insert(family.family, metadata);
        }
        all.into_iter().collect()
    })
}

impl Rooms {
    /// Tells every room its part of a configuration. Gives what they refused.
    pub(crate) async fn apply(&self, plan: &Plan) -> Vec<String> {
        let mut failures = Vec::new();
        self.store.apply(plan.store);
        self.late_scrapes.store(plan.window_written, Ordering::Relaxed);
        let feed = self.store.feed();
        if let Err(e) = self.remote.apply(&plan.remote_write, &plan.external_labels, &feed) {
            failures.push(e.to_string());
        }
        if let Err(e) = self.scrape.apply_config(plan.jobs.clone()).await {
            failures.push(e.to_string());
        }
        if let Some(Err(e)) = self.queries.as_ref().map(|queries| queries.log_to(&plan.query_log_file)) {
            failures.push(e);
        }
        self.discovery.apply(plan.discovery.clone()).await;
        failures
    }

    /// Nothing more comes in by scraping, what is there goes out, the store is closed.
    pub(crate) async fn close(self, flush_deadline: Duration) {
        tracing::info!("Stopping scrape discovery manager...");
        self.discovery.shutdown().await;
        tracing::info!("Stopping scrape manager...");
        self.scrape.shutdown().await;
        self.carrier.abort();
        tracing::info!("Stopping remote storage...");
        self.remote.shutdown(flush_deadline).await;
        tracing::info!("Stopping storage...");
        self.stop_housekeeping.cancel();
        if let Err(e) = self.housekeeping.await {
            tracing::error!(err = %e, "Housekeeping ended badly");
        }
        let store = self.store;
        match tokio::task::spawn_blocking(move || store.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::error!(err = format!("{e:#}"), "Error stopping storage"),
            Err(e) => tracing::error!(err = %e, "Error stopping storage"),
        }
    }
}
