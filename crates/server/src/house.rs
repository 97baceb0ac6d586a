//! The life of the process: windows first, then the store, then the rooms; reloads; the way out.

use crate::assemble::{self, Rooms};
use crate::flags::Settings;
use crate::modes::Store;
use crate::reload::{self, Plan, ReloadMetrics, SubqueryStep, Watch};
use crate::signals::{Event, Events};
use crate::{process, version};
use api::{Api, Ready};
use disk::{Disk, OsDisk};
use meter::Registry;
use net::listen::{ListenMetrics, ListenOptions, Listener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tsdb::ReplayHandle;

/// How long running requests may go on when everything else has stopped.
const HTTP_GRACE: Duration = Duration::from_secs(5);

/// Runs a server or an agent until it is told to stop; gives the exit code.
pub(crate) async fn run(settings: Settings) -> u8 {
    let settings = Arc::new(settings);
    let disk: Arc<dyn Disk> = OsDisk::shared();
    let registry = Registry::new();
    process::register(&registry, &disk);
    let metrics = ReloadMetrics::new(&registry);
    if let Some(interval) = settings.auto_reload {
        let interval = model::duration::format_duration(interval.as_millis() as i64);
        tracing::info!(interval, "Automatic configuration file reloading enabled");
    }
    let plan = match reload::load(&settings) {
        Ok(plan) => plan,
        Err(e) => {
            let file = settings.config_file.display().to_string();
            let path = std::path::absolute(&settings.config_file).unwrap_or_default();
            let path = path.display().to_string();
            tracing::error!(file = path, err = %e, "Error loading config (--config.file={file})");
            return 2;
        }
    };
    metrics.succeeded();
    greet(&settings, &*disk);

    let (commands, inbox) = mpsc::channel(4);
    let events = match Events::new(inbox) {
        Ok(events) => events,
        Err(e) => {
            tracing::error!(err = %e, "Signals cannot be handled");
            return 1;
        }
    };
    let api = Api::new(assemble::api_options(&settings, &*disk), &registry, commands);
    let windows = match Windows::open(&settings, &api, &registry).await {
        Ok(windows) => windows,
        Err(e) => {
            tracing::error!(err = %e, "Unable to start web listener");
            return 1;
        }
    };
    let house = House { settings, disk, registry, metrics, api, step: SubqueryStep::default() };
    house.live(plan, events, windows).await
}

fn greet(settings: &Settings, disk: &dyn Disk) {
    let (name, mode) = match settings.agent {
        true => ("Prometheus Agent", "agent"),
        false => ("Prometheus Server", "server"),
    };
    let level = format!(
        "(version={}, branch={}, revision={})",
        version::PROMETHEUS_LEVEL,
        version::BRANCH,
        version::REVISION
    );
    let pyrrha = version::VERSION;
    tracing::info!(mode, version = level, pyrrha, "Starting Pyrrha as {name}");
    tracing::info!(
        fd_limits = process::limits_text(disk, "Max open files"),
        vm_limits = process::limits_text(disk, "Max address space"),
        "operational information"
    );
}

/// Listening sockets that are being served.
struct Windows {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Windows {
    async fn open(
        settings: &Settings,
        api: &Arc<Api>,
        registry: &Registry,
    ) -> Result<Windows, net::listen::ListenError> {
        let options = ListenOptions {
            connections: Arc::new(Semaphore::new(settings.max_connections.max(1))),
            read_timeout: settings.read_timeout,
            web_config: Some(PathBuf::from(&settings.web_config_file)).filter(|p| !p.as_os_str().is_empty()),
            metrics: Some(ListenMetrics::new(registry)),
        };
        let mut listeners = Vec::new();
        for address in &settings.listen {
            tracing::info!(component = "web", address, "Start listening for connections");
            listeners.push(Listener::bind(address, options.clone()).await?);
        }
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for listener in listeners {
            tasks.spawn(listener.serve(api::router(api), stop.clone(), HTTP_GRACE));
        }
        Ok(Windows { tasks, stop })
    }

    async fn close(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

struct House {
    settings: Arc<Settings>,
    disk: Arc<dyn Disk>,
    registry: Registry,
    metrics: ReloadMetrics,
    api: Arc<Api>,
    step: SubqueryStep,
}

/// Someone who waits for the outcome of a reload.
type Asker = Option<oneshot::Sender<Result<(), String>>>;

impl House {
    async fn live(self, plan: Plan, mut events: Events, windows: Windows) -> u8 {
        let (opened, askers) = self.open_store(&plan, &mut events).await;
        let store = match opened {
            Opened::Store(store) => store,
            Opened::Stopped => {
                windows.close().await;
                tracing::info!("See you next time!");
                return 0;
            }
            Opened::Failed(e) => {
                tracing::error!(err = format!("opening storage failed: {e:#}"), "Fatal error");
                windows.close().await;
                return 1;
            }
        };
        let rooms = match assemble::furnish(&self.settings, &plan, store, &self.disk, &self.registry) {
            Ok(rooms) => rooms,
            Err(e) => {
                tracing::error!(err = format!("{e:#}"), "Fatal error");
                windows.close().await;
                return 1;
            }
        };
        self.api.set_scrape(Arc::new(rooms.scrape.clone()));
        self.api.set_doors(assemble::doors(&self.settings, &self.disk, &rooms, &self.step));
        if let Some(queries) = &rooms.queries {
            self.api.set_query_log(queries.clone());
        }
        let mut watch = Watch::new(plan.checksum.clone());
        let mut code = 0;
        if let Err(e) = self.apply(&rooms, &plan).await {
            tracing::error!(err = e, "Fatal error");
            code = 1;
        } else {
            self.api.set_ready(Ready::Ready);
            tracing::info!("Server is ready to receive web requests.");
            for asker in askers {
                self.reload(&rooms, &mut watch, asker).await;
            }
            self.attend(&rooms, &mut events, &mut watch).await;
        }
        self.leave(rooms, windows).await;
        code
    }

    /// Opens the store on a thread of its own, while the windows answer 503 and show the progress.
    async fn open_store(&self, plan: &Plan, events: &mut Events) -> (Opened, Vec<Asker>) {
        let replay = ReplayHandle::default();
        let shown = replay.clone();
        self.api.set_replay(move || shown.get());
        let what = if self.settings.agent { "Starting WAL storage ..." } else { "Starting TSDB ..." };
        tracing::info!("{what}");
        let (settings, disk, registry) = (self.settings.clone(), self.disk.clone(), self.registry.clone());
        let config = plan.store;
        let mut opening =
            tokio::task::spawn_blocking(move || Store::open(&settings, config, disk, &registry, replay));
        let mut askers = Vec::new();
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break match opened {
                    Ok(Ok(store)) => Opened::Store(store),
                    Ok(Err(e)) => Opened::Failed(e),
                    Err(e) => Opened::Failed(e.into()),
                },
                event = events.next() => match event {
                    Event::Stop => break Opened::Stopped,
                    Event::Reload(asker) => askers.push(asker),
                },
            }
        };
        if matches!(opened, Opened::Store(_)) {
            let what = if self.settings.agent { "Agent WAL storage started" } else { "TSDB started" };
            tracing::info!("{what}");
        }
        (opened, askers)
    }

    /// Tells every room its part. All are told, even when one refuses.
    async fn apply(&self, rooms: &Rooms, plan: &Plan) -> Result<(), String> {
        let begin = Instant::now();
        let file = self.settings.config_file.display().to_string();
        tracing::info!(filename = file, "Loading configuration file");
        let failures = rooms.apply(plan).await;
        for e in &failures {
            tracing::error!(err = e, "Failed to apply configuration");
        }
        self.step.set(plan.evaluation_interval_ms);
        if failures.is_empty() {
            self.metrics.succeeded();
        } else {
            self.metrics.failed();
        }
        let (last_reload_ok, last_reload_at) = self.metrics.last();
        self.api.set_running(api::Running {
            yaml: plan.yaml.clone(),
            pools: plan.pools(),
            retention: if self.settings.agent { String::new() } else { reload::retention_text(plan.store) },
            last_reload_ok,
            last_reload_at,
        });
        if !failures.is_empty() {
            let file = model::labels::quote(&file);
            return Err(format!(
                "one or more errors occurred while applying the new configuration (--config.file={file})"
            ));
        }
        let total = format!("{:?}", begin.elapsed());
        tracing::info!(filename = file, totalDuration = total, "Completed loading of configuration file");
        Ok(())
    }

    /// Reads the file again. A file that cannot be used changes nothing but the metrics.
    async fn reload(&self, rooms: &Rooms, watch: &mut Watch, asker: Asker) {
        let settings = self.settings.clone();
        let loaded = tokio::task::spawn_blocking(move || reload::load(&settings)).await;
        let result = match loaded {
            Ok(Ok(plan)) => {
                watch.seen(plan.checksum.clone());
                for what in rooms.plan.needs_restart(&plan, self.settings.agent) {
                    tracing::warn!(component = "config", "A change takes effect with the next start: {what}");
                }
                self.apply(rooms, &plan).await
            }
            Ok(Err(e)) => Err(reload::load_error(&self.settings, &e)),
            Err(e) => Err(e.to_string()),
        };
        if let Err(e) = &result {
            tracing::error!(err = e, "Error reloading config");
            self.metrics.failed();
            let (last_reload_ok, last_reload_at) = self.metrics.last();
            let running = api::Running { last_reload_ok, last_reload_at, ..(*self.api.running()).clone() };
            self.api.set_running(running);
        }
        if let Some(asker) = asker {
            // The client may have left.
            let _ = asker.send(result);
        }
    }

    /// Serves events until one says stop.
    async fn attend(&self, rooms: &Rooms, events: &mut Events, watch: &mut Watch) {
        let mut look = self.settings.auto_reload.map(tokio::time::interval);
        if let Some(look) = &mut look {
            look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            look.tick().await;
        }
        loop {
            let looking = async {
                match &mut look {
                    Some(look) => drop(look.tick().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Event::Stop => return,
                    Event::Reload(asker) => self.reload(rooms, watch, asker).await,
                },
                () = looking => self.look_for_changes(rooms, watch).await,
            }
        }
    }

    async fn look_for_changes(&self, rooms: &Rooms, watch: &mut Watch) {
        let settings = self.settings.clone();
        let checksum = tokio::task::spawn_blocking(move || reload::checksum(&settings)).await;
        match checksum.map_err(|e| e.to_string()).and_then(|sum| sum) {
            Ok(sum) if watch.is_new(&sum) => {
                // Remembered even when the file is bad: it is told once, not every interval.
                watch.seen(sum);
                tracing::info!("Configuration file change detected, reloading the configuration.");
                self.reload(rooms, watch, None).await;
            }
            Ok(_) => {}
            Err(e) => {
                tracing::error!(err = e, "Failed to generate checksum during configuration reload");
            }
        }
    }

    /// The way out: nothing more comes in, what is there goes out, the store is closed, the windows last.
    async fn leave(&self, rooms: Rooms, windows: Windows) {
        self.api.set_ready(Ready::Stopping);
        rooms.close(self.settings.flush_deadline).await;
        tracing::info!("Stopping web handler...");
        windows.close().await;
        tracing::info!("See you next time!");
    }
}

enum Opened {
    Store(Store),
    Stopped,
    Failed(anyhow::Error),
}
