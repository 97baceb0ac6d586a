//! A house with nothing behind its windows but a store in memory.

use api::{Api, BuildInfo, Command, Cors, Doors, Options, Reading, Ready, router};
use axum::body::Body;
use http::{Request, Response};
use model::{Labels, Matcher, TimeRange};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::StorageError;
use storage::admin::{Admin, BlockInfo, HeadStats, NameCount, ReplayStatus};
use storage::exemplars::{ExemplarSource, SeriesExemplars};
use testkit::MemStore;
use tokio::sync::mpsc;
use tower::ServiceExt;

pub(crate) struct Door {
    pub(crate) api: Arc<Api>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) engine: Arc<query::Engine>,
    router: axum::Router,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }
}

/// A form value as browsers send it.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

struct Side;

impl ExemplarSource for Side {
    fn select(&self, _: TimeRange, matchers: &[Vec<Matcher>]) -> Result<Vec<SeriesExemplars>, StorageError> {
        let series = Labels::from_pairs([("__name__", "up")]);
        if !matchers.iter().any(|set| set.iter().all(|m| m.matches_labels(&series))) {
            return Ok(Vec::new());
        }
        let labels = Labels::from_pairs([("trace_id", "<x>")]);
        let exemplar = model::Exemplar { labels, value: 1.5, t: Some(1500) };
        Ok(vec![SeriesExemplars { series, exemplars: vec![exemplar] }])
    }
}

impl Admin for Side {
    fn delete_series(&self, _: TimeRange, sets: &[Vec<Matcher>]) -> Result<(), StorageError> {
        match sets.iter().any(Vec::is_empty) {
            true => Err(StorageError::Other("that is everything".into())),
            false => Ok(()),
        }
    }
    fn clean_tombstones(&self) -> Result<(), StorageError> {
        Err(StorageError::Other("no tombstones here".into()))
    }
    fn snapshot(&self, skip_head: bool) -> Result<String, StorageError> {
        Ok(format!("20150101T000000Z-{skip_head}"))
    }
    fn head_stats(&self, limit: usize) -> Result<HeadStats, StorageError> {
        let top = NameCount { name: "__name__".into(), value: limit as u64 };
        Ok(HeadStats { num_series: 2, label_values_by_label: vec![top], ..HeadStats::default() })
    }
    fn replay_status(&self) -> ReplayStatus {
        ReplayStatus::default()
    }
    fn blocks(&self) -> Vec<BlockInfo> {
        vec![BlockInfo { meta_json: "{\n\t\"ulid\": \"a b\"\n}\n".into() }]
    }
}

fn options() -> Options {
    Options {
        agent: false,
        cors: Cors::new(".*").expect("regex"),
        enable_lifecycle: true,
        enable_admin: true,
        receiver: None,
        route_prefix: "/".into(),
        external_scheme: "http".into(),
        external_host: "host:9090".into(),
        external_path: String::new(),
        listen_address: "0.0.0.0:9090".into(),
        page_title: "Title <x>".into(),
        flags: BTreeMap::from([("config.file".to_owned(), "a&b".to_owned())]),
        build: BuildInfo { version: "3.14.0".into(), pyrrha: "0.1.0".into(), ..BuildInfo::default() },
        lookback_ms: 300_000,
        query_timeout: Duration::from_secs(10),
        max_concurrency: 4,
        language: promql::Options { duration_expressions: true, ..promql::Options::default() },
        cwd: "/".into(),
        hostname: "host".into(),
        started_ns: 0,
        features: BTreeMap::from([(
            "promql_operators".to_owned(),
            BTreeMap::from([(">=".to_owned(), true)]),
        )]),
    }
}

/// Two series at 10 s and 20 s after the epoch.
fn store() -> MemStore {
    let store = MemStore::new();
    for (instance, value) in [("a", 1.0), ("b\"", 0.5)] {
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", instance), ("job", "x")]);
        store.add(&labels, 10_000, value);
        store.add(&labels, 20_000, value + 1.0);
    }
    store
}

impl Door {
    pub(crate) fn open() -> Door {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Door {
        Self::over(store(), query::EngineOptions::default(), change)
    }

    pub(crate) fn over(
        store: MemStore,
        engine: query::EngineOptions,
        change: impl FnOnce(&mut Options),
    ) -> Door {
        let mut options = options();
        change(&mut options);
        let (sender, commands) = mpsc::channel(4);
        let agent = options.agent;
        let api = Api::new(options, &meter::Registry::new(), sender);
        let side = Arc::new(Side);
        let engine = Arc::new(query::Engine::new(engine));
        let reading = Reading {
            engine: engine.clone(),
            queryable: Arc::new(store),
            exemplars: side.clone(),
            admin: side,
        };
        api.set_doors(Doors { reading: (!agent).then_some(reading), writers: None, metadata: None });
        api.set_ready(Ready::Ready);
        Door { router: router(&api), api, commands, engine }
    }

    pub(crate) async fn reply(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.expect("infallible")
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.reply(request).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 24).await.expect("body");
        let body = String::from_utf8_lossy(&body).into_owned();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("request");
        self.send(request).await
    }

    /// Sends parameters as a form.
    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let pairs: Vec<_> = form.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
        let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(pairs.join("&"))).expect("request")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }

    #[track_caller]
    pub(crate) fn check(answer: &Answer, status: u16, body: &str, path: &str) {
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
    }
}
