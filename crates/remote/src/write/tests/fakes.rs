//! The log in memory and the scripted receiver.

use crate::config::RemoteWriteConfig;
use crate::write::{Environment, Supervisor};
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use meter::Registry;
use model::{FloatHistogram, Labels, Metadata, MetricType};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::feed::{Feed, FeedBatch, FeedExemplar, FeedReader, FeedSample, Position};
use storage::{SeriesRef, StorageError};
use wire::remote_write::{BadRow, Counts, Key, Scratch, SeriesMetadata, Sink, v1, v2};

/// A log of records; offsets are their numbers.
#[derive(Default)]
pub(super) struct Log {
    records: Mutex<Vec<FeedBatch>>,
    grown: Condvar,
    pub(super) holds: Mutex<BTreeMap<String, Position>>,
}

impl Log {
    pub(super) fn push(&self, mut record: FeedBatch) {
        let mut records = self.records.lock();
        record.end = Position { segment: 0, offset: records.len() as u64 + 1 };
        records.push(record);
        self.grown.notify_all();
    }

    /// Series `m0`, `m1`, … with a label `job`.
    pub(super) fn series(&self, count: u64) {
        let series = (0..count).map(|i| {
            let name = format!("m{i}");
            (SeriesRef(i), Labels::from_pairs([("__name__", name.as_str()), ("job", "x")]))
        });
        self.push(FeedBatch { series: series.collect(), ..FeedBatch::default() });
    }

    /// A record with one sample for each of the first series.
    pub(super) fn samples(&self, count: u64, t: i64, v: f64) {
        let samples = (0..count).map(|i| FeedSample { series: SeriesRef(i), t, v });
        self.push(FeedBatch { samples: samples.collect(), ..FeedBatch::default() });
    }

    pub(super) fn exemplar(&self, series: u64, t: i64) {
        let labels = Labels::from_pairs([("trace_id", "abc")]);
        let exemplars = vec![FeedExemplar { series: SeriesRef(series), t, v: 0.5, labels }];
        self.push(FeedBatch { exemplars, ..FeedBatch::default() });
    }

    pub(super) fn held(&self, name: &str) -> Option<u64> {
        self.holds.lock().get(name).map(|p| p.offset)
    }
}

/// The feed of a log.
pub(super) struct LogFeed(pub(super) Arc<Log>);

impl Feed for LogFeed {
    fn open(&self, from: Option<Position>) -> Result<Box<dyn FeedReader>, StorageError> {
        let from = from.unwrap_or_else(|| self.end());
        Ok(Box::new(Reader { log: self.0.clone(), from: from.offset as usize, next: 0 }))
    }
    fn hold(&self, name: &str, position: Position) {
        self.0.holds.lock().insert(name.to_owned(), position);
    }
    fn release(&self, name: &str) {
        self.0.holds.lock().remove(name);
    }
    fn end(&self) -> Position {
        Position { segment: 0, offset: self.0.records.lock().len() as u64 }
    }
    fn backlog_bytes(&self, from: Position) -> u64 {
        (self.end().offset - from.offset) * 100
    }
    fn is_live(&self, _: SeriesRef) -> bool {
        true
    }
}

struct Reader {
    log: Arc<Log>,
    from: usize,
    next: usize,
}

impl FeedReader for Reader {
    fn next(&mut self, wait: Duration, batch: &mut FeedBatch) -> Result<bool, StorageError> {
        batch.clear();
        let mut records = self.log.records.lock();
        if self.next >= records.len() {
            self.log.grown.wait_for(&mut records, wait);
        }
        let Some(record) = records.get(self.next) else { return Ok(false) };
        *batch = record.clone();
        if self.next < self.from {
            batch.samples.clear();
            batch.exemplars.clear();
        }
        self.next += 1;
        Ok(true)
    }
}

/// A row that arrived.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) labels: Labels,
    pub(super) t: i64,
    pub(super) v: f64,
    pub(super) exemplar: bool,
}

/// A request as the script sees it.
pub(super) struct Got {
    pub(super) headers: HeaderMap,
    pub(super) rows: Vec<Row>,
    pub(super) metadata: Vec<(String, MetricType, String)>,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }
    pub(super) fn is_v2(&self) -> bool {
        self.header("content-type").ends_with("io.prometheus.write.v2.Request")
    }
}

/// What the script answers. Rows count as stored when the status is 2xx.
pub(super) struct Answer(pub(super) u16, pub(super) Vec<(&'static str, String)>, pub(super) &'static str);

/// An answer of a receiver that stored everything.
pub(super) fn ok(got: &Got) -> Answer {
    if !got.is_v2() {
        return Answer(204, Vec::new(), "");
    }
    let exemplars = got.rows.iter().filter(|r| r.exemplar).count();
    written(204, got.rows.len() - exemplars, exemplars)
}

pub(super) fn written(status: u16, samples: usize, exemplars: usize) -> Answer {
    let headers = vec![
        ("X-Prometheus-Remote-Write-Samples-Written", samples.to_string()),
        ("X-Prometheus-Remote-Write-Exemplars-Written", exemplars.to_string()),
    ];
    Answer(status, headers, "")
}

type Script = Box<dyn FnMut(&Got) -> Answer + Send>;

#[derive(Default)]
pub(super) struct Stored {
    pub(super) rows: Vec<Row>,
    pub(super) metadata: Vec<(String, MetricType, String)>,
    pub(super) requests: usize,
}

/// A receiver on a free port.
pub(super) struct Server {
    pub(super) url: String,
    pub(super) stored: Arc<Mutex<Stored>>,
    script: Arc<Mutex<Script>>,
    changed: Arc<tokio::sync::Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start(script: impl FnMut(&Got) -> Answer + Send + 'static) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
        let stored: Arc<Mutex<Stored>> = Arc::default();
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let changed: Arc<tokio::sync::Notify> = Arc::default();
        let (shared, scripted, notify) = (stored.clone(), script.clone(), changed.clone());
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (shared, scripted, notify) = (shared.clone(), scripted.clone(), notify.clone());
                let service = hyper::service::service_fn(move |request: http::Request<_>| {
                    let (shared, scripted, notify) = (shared.clone(), scripted.clone(), notify.clone());
                    async move {
                        let (parts, body): (_, hyper::body::Incoming) = request.into_parts();
                        let Ok(body) = body.collect().await else { return Err("broken body") };
                        let got = read(parts.headers, &body.to_bytes());
                        let Answer(status, headers, text) = (scripted.lock())(&got);
                        {
                            let mut stored = shared.lock();
                            stored.requests += 1;
                            if status < 300 {
                                stored.rows.extend(got.rows);
                                stored.metadata.extend(got.metadata);
                            }
                        }
                        notify.notify_waiters();
                        let mut response = Response::builder().status(status);
                        for (name, value) in headers {
                            response = response.header(name, value);
                        }
                        response.body(Full::new(Bytes::from_static(text.as_bytes()))).map_err(|_| "answer")
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Server { url, stored, script, changed, task }
    }

    pub(super) fn script(&self, script: impl FnMut(&Got) -> Answer + Send + 'static) {
        *self.script.lock() = Box::new(script);
    }

    /// Waits until what is stored satisfies.
    pub(super) async fn wait(&self, what: &str, mut done: impl FnMut(&Stored) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if done(&self.stored.lock()) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), wait).await.is_err() {
            let stored = self.stored.lock();
            panic!("{what}: {} rows after {} requests", stored.rows.len(), stored.requests);
        }
    }

    pub(super) async fn wait_rows(&self, count: usize) {
        self.wait("rows", |stored| stored.rows.len() >= count).await;
    }

    /// Asserts that each series arrived once and in order of time: times `0..count` times 1000.
    pub(super) fn assert_complete(&self, series: usize, count: usize) {
        let mut by_series: BTreeMap<Labels, Vec<i64>> = BTreeMap::new();
        for row in &self.stored.lock().rows {
            by_series.entry(row.labels.clone()).or_default().push(row.t);
        }
        assert_eq!(by_series.len(), series);
        let want: Vec<i64> = (1..=count as i64).map(|t| t * 1000).collect();
        for (labels, times) in by_series {
            assert_eq!(times, want, "{labels}");
        }
    }
}

fn read(headers: HeaderMap, body: &[u8]) -> Got {
    let mut got = Got { headers, rows: Vec::new(), metadata: Vec::new() };
    assert_eq!(got.header("content-encoding"), "snappy");
    let mut memory = Vec::new();
    let body = wire::cap::unsnappy(body, 1 << 24, &mut memory).unwrap();
    let mut scratch = Scratch::new();
    let mut rows = Rows::default();
    if got.is_v2() {
        assert_eq!(got.header("x-prometheus-remote-write-version"), "2.0.0");
        v2::decode(body, &mut scratch, &mut rows).unwrap();
    } else {
        assert_eq!(got.header("x-prometheus-remote-write-version"), "0.1.0");
        v1::decode(body, &mut scratch, &mut rows).unwrap();
    }
    assert!(got.header("user-agent").starts_with("Pyrrha/"));
    let bytes = |key: &Key<'_>| match key {
        Key::Body(bytes) => bytes.to_vec(),
        Key::Arena(range) => scratch.bytes(range).to_vec(),
    };
    for (key, told) in &rows.done {
        let labels = Labels::from_pairs(storage::key::iter(&bytes(key)).map(|l| l.unwrap()));
        for (exemplar, t, v) in told {
            got.rows.push(Row { labels: labels.clone(), t: *t, v: *v, exemplar: *exemplar });
        }
    }
    got.metadata = rows.metadata;
    got
}

/// Whether it is an exemplar, time, value.
type Told = (bool, i64, f64);

#[derive(Default)]
struct Rows<'a> {
    open: Vec<Told>,
    done: Vec<(Key<'a>, Vec<Told>)>,
    metadata: Vec<(String, MetricType, String)>,
}

impl<'a> Sink<'a> for Rows<'a> {
    fn sample(&mut self, t: i64, v: f64, _: i64) {
        self.open.push((false, t, v));
    }
    fn histogram(&mut self, t: i64, h: Arc<FloatHistogram>, _: i64) {
        self.open.push((false, t, h.count));
    }
    fn exemplar(&mut self, _: Key<'a>, t: i64, v: f64) {
        self.open.push((true, t, v));
    }
    fn series(&mut self, key: Key<'a>, _: Counts, metadata: Option<SeriesMetadata<'a>>) {
        self.done.push((key, std::mem::take(&mut self.open)));
        if let Some(m) = metadata {
            self.metadata.push((m.metric.to_owned(), m.kind, m.help.to_owned()));
        }
    }
    fn bad_series(&mut self, _: Counts, why: BadRow) {
        panic!("{why}");
    }
    fn bad_exemplar(&mut self, why: BadRow) {
        panic!("{why}");
    }
    fn metadata(&mut self, family: &'a str, kind: MetricType, help: &'a str, _: &'a str) {
        self.metadata.push((family.to_owned(), kind, help.to_owned()));
    }
    fn bad_metadata(&mut self) {
        panic!("metadata");
    }
}

/// A supervisor over a log.
pub(super) struct Agent {
    pub(super) supervisor: Supervisor,
    pub(super) registry: Registry,
    pub(super) feed: Arc<dyn Feed>,
}

impl Agent {
    pub(super) fn start(dir: &Path, log: &Arc<Log>) -> Agent {
        let registry = Registry::new();
        let metadata =
            Metadata { kind: MetricType::Gauge, unit: String::new(), help: "help of m0".to_owned() };
        let supervisor = Supervisor::new(Environment {
            disk: Arc::new(disk::OsDisk),
            storage_dir: dir.to_owned(),
            metadata: Arc::new(move || vec![("m0".to_owned(), metadata.clone())]),
            registry: registry.clone(),
            runtime: tokio::runtime::Handle::current(),
            flush_deadline: Duration::from_secs(5),
        });
        Agent { supervisor, registry, feed: Arc::new(LogFeed(log.clone())) }
    }

    pub(super) fn apply(&self, configs: &[RemoteWriteConfig]) {
        self.supervisor.apply(configs, &Labels::empty(), &self.feed).unwrap();
    }

    /// Sum of a metric over its children.
    pub(super) fn metric(&self, name: &str) -> f64 {
        let name = format!("prometheus_remote_storage_{name}");
        let families = self.registry.snapshot();
        families.iter().filter(|f| f.name == name).flat_map(|f| &f.points).map(|p| p.value).sum()
    }

    /// Waits until everything in the log is done with.
    pub(super) async fn settled(&self) {
        let end = self.feed.end();
        let wait = async {
            while self.supervisor.lowest_position().is_none_or(|at| at < end) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the log was never delivered");
    }
}

/// A destination with short waits; `more` adds fields as JSON.
pub(super) fn config(url: &str, queue: &str, more: &str) -> RemoteWriteConfig {
    let text = format!(
        r#"{{"url":"{url}","name":"dest","metadata_config":{{"send":false}},"queue_config":{{"batch_send_deadline":"50ms","min_backoff":"1ms","max_backoff":"10ms"{queue}}}{more}}}"#
    );
    serde_json::from_str(&text).unwrap()
}
