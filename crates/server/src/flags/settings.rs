//! What the flags mean: typed settings, checked as upstream checks them, with its exit codes.

use super::parse::Parsed;
use super::table::{Mode, State};
use super::value;
use crate::features::{Features, Note};
use model::labels::quote;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A command line that is well formed and still cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct FlagError {
    /// 1 meaning of flags, 2 URL or expression, 3 flags of the other mode.
    pub code: u8,
    pub text: String,
}

/// The URL under which clients reach this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalUrl {
    pub scheme: String,
    /// Host, with port where given.
    pub host: String,
    /// Without a slash at the end; empty for the root.
    pub path: String,
}

impl std::fmt::Display for ExternalUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.is_empty() {
            f.write_str(&self.path)
        } else {
            write!(f, "{}://{}{}", self.scheme, self.host, self.path)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalCompression {
    None,
    Snappy,
    Zstd,
}

/// Everything that the command line says.
#[derive(Clone, Debug)]
pub struct Settings {
    pub agent: bool,
    pub strict: bool,
    pub config_file: PathBuf,
    /// Interval of looking for changes of the configuration file.
    pub auto_reload: Option<Duration>,
    pub listen: Vec<String>,
    pub web_config_file: String,
    pub read_timeout: Duration,
    pub max_connections: usize,
    pub external_url: ExternalUrl,
    /// Begins with a slash; just that for the root.
    pub route_prefix: String,
    pub page_title: String,
    pub cors: api::Cors,
    pub enable_lifecycle: bool,
    pub enable_admin_api: bool,
    pub receiver: bool,
    pub accept_v1: bool,
    pub accept_v2: bool,
    /// Data directory of the mode.
    pub storage_path: PathBuf,
    pub wal_segment_bytes: Option<u64>,
    pub wal_compression: WalCompression,
    pub lockfile: bool,
    /// 0: no limit.
    pub max_series: u64,
    /// Snapshots of the head on a clean stop.
    pub head_snapshot: bool,
    pub wal_sync: bool,
    /// Share of the memory that the process may use; `None` to use all that queries ask for.
    pub memory_ratio: Option<f64>,
    /// Bytes of log for destinations that are behind; 0: no limit.
    pub backlog_limit: u64,
    pub min_block_ms: i64,
    pub max_block_ms: Option<i64>,
    pub block_segment_bytes: Option<u64>,
    pub samples_per_chunk: u16,
    pub delay_compact_file: Option<PathBuf>,
    pub overlapping_compaction: bool,
    /// 0: chunks stay as they are.
    pub compaction_chunk_samples: usize,
    /// 0: no delay.
    pub compaction_delay_percent: u32,
    /// How often the store is tidied up.
    pub maintenance_interval: Duration,
    pub retention_ms: Option<i64>,
    pub retention_bytes: Option<u64>,
    pub agent_min_ms: i64,
    pub agent_max_ms: i64,
    pub agent_truncate: Option<Duration>,
    pub flush_deadline: Duration,
    pub adjust_timestamps: bool,
    pub timestamp_tolerance: Duration,
    pub discovery_reload_interval: Duration,
    pub lookback_ms: i64,
    pub query_timeout: Duration,
    pub max_concurrency: usize,
    pub max_samples: usize,
    pub log_level: String,
    pub log_json: bool,
    pub features: Features,
    /// Name and value of every flag, for the API.
    pub shown: BTreeMap<String, String>,
    /// Lines for the log.
    pub notes: Vec<Note>,
}

fn fail<T>(code: u8, text: impl Into<String>) -> Result<T, FlagError> {
    Err(FlagError { code, text: text.into() })
}

impl Settings {
    /// `hostname` is asked only when the external URL must be derived.
    pub fn from_flags(flags: &Parsed, hostname: &dyn Fn() -> String) -> Result<Settings, FlagError> {
        let strict = flags.yes("strict");
        let (features, mut notes) = Features::read(flags.all("enable-feature"), strict)
            .map_err(|e| FlagError { code: 1, text: format!("Error parsing feature list: {e}") })?;
        let agent = flags.yes("agent") || features.agent;
        if let n @ ..0 = whole(flags, "web.search.max-limit") {
            return fail(
                1,
                format!("--web.search.max-limit must be non-negative; got {n} (use 0 to disable the cap)"),
            );
        }
        check_mode(flags, agent)?;
        if agent && whole(flags, "storage.agent.checkpoint-batch-size") <= 0 {
            return fail(1, "--storage.agent.checkpoint-batch-size must be greater than 0.");
        }
        let samples = whole(flags, "storage.tsdb.samples-per-chunk");
        if !SAMPLES_PER_CHUNK.contains(&samples) {
            let (min, max) = (SAMPLES_PER_CHUNK.start(), SAMPLES_PER_CHUNK.end());
            return fail(
                1,
                format!("--storage.tsdb.samples-per-chunk must be from {min} to {max}; got {samples}"),
            );
        }
        let joined = whole(flags, "storage.tsdb.compaction-chunk-samples");
        if !COMPACTION_CHUNK_SAMPLES.contains(&joined) {
            let max = COMPACTION_CHUNK_SAMPLES.end();
            return fail(
                1,
                format!("--storage.tsdb.compaction-chunk-samples must be from 0 to {max}; got {joined}"),
            );
        }
        let delay = compaction_delay(flags, &features, &mut notes);
        let ratio = value::float(flags.one("auto-gomemlimit.ratio")).unwrap_or(0.9);
        if !(ratio > 0.0 && ratio <= 1.0) {
            return fail(1, "--auto-gomemlimit.ratio must be greater than 0 and less than or equal to 1.");
        }
        let segment = "storage.tsdb.max-block-chunk-segment-size";
        if bytes(flags.one(segment)).is_some_and(|n| n < 1 << 20) {
            return fail(1, format!("flag '{segment}' must be set over 1MB"));
        }
        let listen = flags.all("web.listen-address").to_vec();
        let text = flags.one("web.external-url");
        let external_url = external_url(text, &listen, hostname)
            .map_err(|e| FlagError { code: 2, text: format!("parse external URL {}: {e}", quote(text)) })?;
        let origin = flags.one("web.cors.origin");
        let cors = api::Cors::new(origin).map_err(|e| FlagError {
            code: 2,
            text: format!("could not compile CORS regex string {}: {e}", quote(origin)),
        })?;
        warn_of_unbuilt(flags, &mut notes);

        let prefix = match flags.one("web.route-prefix") {
            "" => external_url.path.clone(),
            given => given.to_owned(),
        };
        let auto_reload = (flags.yes("config.auto-reload") || features.auto_reload)
            .then(|| span(flags, "config.auto-reload-interval").max(Duration::from_secs(1)));
        let messages = flags.all("web.remote-write-receiver.accepted-protobuf-messages");
        let accepts = |name: &str| messages.iter().any(|m| m == name);
        let place = if agent { "storage.agent" } else { "storage.tsdb" };
        let of = |name: &str| flags.one(&format!("{place}.{name}"));
        let route_prefix = format!("/{}", prefix.trim_matches('/'));
        let mut shown = flags.shown();
        shown.insert("agent".into(), agent.to_string());
        shown.insert("web.route-prefix".into(), route_prefix.clone());
        let receiver = flags.yes("web.enable-remote-write-receiver") || features.receiver;
        shown.insert("web.enable-remote-write-receiver".into(), receiver.to_string());
        show_block_defaults(flags, agent, &mut shown);
        Ok(Settings {
            agent,
            strict,
            config_file: flags.one("config.file").into(),
            auto_reload,
            listen,
            web_config_file: flags.one("web.config.file").to_owned(),
            read_timeout: span(flags, "web.read-timeout"),
            max_connections: count(flags, "web.max-connections"),
            external_url,
            route_prefix,
            page_title: flags.one("web.page-title").to_owned(),
            cors,
            enable_lifecycle: flags.yes("web.enable-lifecycle"),
            enable_admin_api: flags.yes("web.enable-admin-api"),
            receiver,
            accept_v1: accepts(super::WRITE_MESSAGES[0]),
            accept_v2: accepts(super::WRITE_MESSAGES[1]),
            storage_path: of("path").into(),
            wal_segment_bytes: bytes(of("wal-segment-size")).map(i64::unsigned_abs),
            wal_compression: match (of("wal-compression"), of("wal-compression-type")) {
                ("false", _) => WalCompression::None,
                (_, "zstd") => WalCompression::Zstd,
                _ => WalCompression::Snappy,
            },
            lockfile: of("no-lockfile") != "true",
            max_series: u64::try_from(whole(flags, "storage.max-series")).unwrap_or(0),
            head_snapshot: flags.yes("storage.head-snapshot"),
            wal_sync: flags.yes("storage.wal-sync"),
            memory_ratio: flags.yes("auto-gomemlimit").then_some(ratio),
            backlog_limit: bytes(flags.one("storage.remote.backlog-limit")).unwrap_or(0).unsigned_abs(),
            retention_ms: optional_ms(flags, "storage.tsdb.retention.time"),
            retention_bytes: bytes(flags.one("storage.tsdb.retention.size")).map(i64::unsigned_abs),
            min_block_ms: ms(flags, "storage.tsdb.min-block-duration"),
            max_block_ms: optional_ms(flags, "storage.tsdb.max-block-duration"),
            block_segment_bytes: bytes(flags.one("storage.tsdb.max-block-chunk-segment-size"))
                .map(i64::unsigned_abs),
            samples_per_chunk: u16::try_from(samples).unwrap_or(120),
            delay_compact_file: Some(PathBuf::from(flags.one("storage.tsdb.delay-compact-file.path")))
                .filter(|path| !path.as_os_str().is_empty()),
            overlapping_compaction: flags.yes("storage.tsdb.allow-overlapping-compaction"),
            compaction_chunk_samples: usize::try_from(joined).unwrap_or(0),
            compaction_delay_percent: delay,
            maintenance_interval: span(flags, "storage.tsdb.block-reload-interval")
                .max(Duration::from_secs(1)),
            agent_min_ms: ms(flags, "storage.agent.retention.min-time"),
            agent_max_ms: ms(flags, "storage.agent.retention.max-time"),
            agent_truncate: optional_ms(flags, "storage.agent.wal-truncate-frequency").map(to_span),
            flush_deadline: span(flags, "storage.remote.flush-deadline"),
            adjust_timestamps: flags.yes("scrape.adjust-timestamps"),
            timestamp_tolerance: go_span(flags, "scrape.timestamp-tolerance"),
            discovery_reload_interval: span(flags, "scrape.discovery-reload-interval"),
            lookback_ms: ms(flags, "query.lookback-delta"),
            query_timeout: span(flags, "query.timeout"),
            max_concurrency: count(flags, "query.max-concurrency"),
            max_samples: count(flags, "query.max-samples"),
            log_level: flags.one("log.level").to_owned(),
            log_json: flags.one("log.format") == "json",
            features,
            shown,
            notes,
        })
    }
}

/// Percent of the shortest block that a due compaction may wait; 0 without the feature.
fn compaction_delay(flags: &Parsed, features: &Features, notes: &mut Vec<Note>) -> u32 {
    if !features.delayed_compaction {
        return 0;
    }
    match whole(flags, "storage.tsdb.delayed-compaction.max-percent") {
        percent @ 1..=100 => percent as u32,
        _ => {
            let text = "The --storage.tsdb.delayed-compaction.max-percent should have a value between 1 and 100. Using default: 10";
            notes.push(Note { warning: true, text: text.into(), option: None });
            10
        }
    }
}

/// Upstream shows what these come to when they are left out.
fn show_block_defaults(flags: &Parsed, agent: bool, shown: &mut BTreeMap<String, String>) {
    const DAY_MS: i64 = 86_400_000;
    let mut retention = ms(flags, "storage.tsdb.retention.time");
    if agent {
        return;
    }
    if retention == 0 && bytes(flags.one("storage.tsdb.retention.size")).is_none() {
        retention = 15 * DAY_MS;
    }
    let mut put = |name: &str, ms: i64| {
        shown.insert(name.to_owned(), model::duration::format_duration(ms));
    };
    put("storage.tsdb.retention.time", retention);
    if ms(flags, "storage.tsdb.max-block-duration") == 0 {
        let longest = if retention == 0 { 31 * DAY_MS } else { (retention / 10).min(31 * DAY_MS) };
        put("storage.tsdb.max-block-duration", longest);
    }
}

fn check_mode(flags: &Parsed, agent: bool) -> Result<(), FlagError> {
    let wrong = if agent { Mode::Server } else { Mode::Agent };
    let names: Vec<String> =
        flags.given.iter().filter(|f| f.mode == wrong).map(|f| format!("\"--{}\"", f.name)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let how = if agent { "can not be used" } else { "can only be used" };
    fail(3, format!("The following flag(s) {how} in agent mode: [{}]", names.join(" ")))
}

/// A flag of a part that is not there says so, unless it was set to what it is anyway.
/// What the head can be told: fewer make chunks pointless, more do not fit its counters.
const SAMPLES_PER_CHUNK: std::ops::RangeInclusive<i64> = 4..=4096;
/// A query of one moment reads the whole chunk.
const COMPACTION_CHUNK_SAMPLES: std::ops::RangeInclusive<i64> = 0..=4096;

fn warn_of_unbuilt(flags: &Parsed, notes: &mut Vec<Note>) {
    for flag in &flags.given {
        let State::NotBuilt(why) = flag.state else { continue };
        let default: Vec<String> = flag.default.iter().map(|d| (*d).to_owned()).collect();
        // Console directories stand in most old command lines and mean nothing without templates.
        let harmless = flag.name.starts_with("web.console.");
        if flags.all(flag.name) != default && !harmless {
            let text = format!("--{} has no effect in this version: {why}", flag.name);
            notes.push(Note { warning: true, text, option: None });
        }
    }
}

fn external_url(text: &str, listen: &[String], hostname: &dyn Fn() -> String) -> Result<ExternalUrl, String> {
    if text.is_empty() {
        let address = listen.first().map_or("", String::as_str);
        let (_, port) =
            address.rsplit_once(':').ok_or_else(|| format!("address {address}: missing port in address"))?;
        let host = format!("{}:{port}", hostname());
        return Ok(ExternalUrl { scheme: "http".into(), host, path: String::new() });
    }
    if text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) {
        return Err("URL must not begin or end with quotes".into());
    }
    let path_of = |path: &str| match path.trim_end_matches('/') {
        "" => String::new(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    match url::Url::parse(text) {
        Ok(url) => {
            let host = url.host_str().unwrap_or("");
            let host = match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            };
            Ok(ExternalUrl { scheme: url.scheme().to_owned(), host, path: path_of(url.path()) })
        }
        Err(url::ParseError::RelativeUrlWithoutBase) if text.starts_with(':') => {
            Err(format!("parse {}: missing protocol scheme", quote(text)))
        }
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            Ok(ExternalUrl { scheme: String::new(), host: String::new(), path: path_of(text) })
        }
        Err(e) => Err(format!("parse {}: {e}", quote(text))),
    }
}

// The parser has checked every text, so these fall back only where a flag has no value.
fn ms(flags: &Parsed, name: &str) -> i64 {
    value::duration_ms(flags.one(name)).unwrap_or(0)
}
fn optional_ms(flags: &Parsed, name: &str) -> Option<i64> {
    Some(ms(flags, name)).filter(|ms| *ms > 0)
}
fn to_span(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}
fn span(flags: &Parsed, name: &str) -> Duration {
    to_span(ms(flags, name))
}
fn go_span(flags: &Parsed, name: &str) -> Duration {
    let ns = value::go_duration_ns(flags.one(name)).unwrap_or(0);
    Duration::from_nanos(ns.max(0).unsigned_abs())
}
fn whole(flags: &Parsed, name: &str) -> i64 {
    value::int(flags.one(name)).unwrap_or(0)
}
fn count(flags: &Parsed, name: &str) -> usize {
    usize::try_from(whole(flags, name)).unwrap_or(0)
}
fn bytes(text: &str) -> Option<i64> {
    value::size_bytes(text).ok().filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    fn run(line: &str) -> Result<Settings, FlagError> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let parsed = parse(&args, &|_| Err("no files".into())).expect("well formed");
        Settings::from_flags(&parsed, &|| "host".into())
    }

    #[track_caller]
    fn refused(line: &str, code: u8, text: &str) {
        assert_eq!(run(line).err(), Some(FlagError { code, text: text.into() }), "{line}");
    }

    #[test]
    fn refusals_have_upstreams_codes_and_texts() {
        refused(
            "--agent --storage.tsdb.path=x --query.timeout=1m",
            3,
            "The following flag(s) can not be used in agent mode: [\"--storage.tsdb.path\" \"--query.timeout\"]",
        );
        refused(
            "--storage.agent.path=x",
            3,
            "The following flag(s) can only be used in agent mode: [\"--storage.agent.path\"]",
        );
        refused(
            "--web.search.max-limit=-1",
            1,
            "--web.search.max-limit must be non-negative; got -1 (use 0 to disable the cap)",
        );
        refused(
            "--storage.tsdb.samples-per-chunk=5000",
            1,
            "--storage.tsdb.samples-per-chunk must be from 4 to 4096; got 5000",
        );
        refused(
            "--storage.tsdb.compaction-chunk-samples=-1",
            1,
            "--storage.tsdb.compaction-chunk-samples must be from 0 to 4096; got -1",
        );
        refused(
            "--storage.tsdb.max-block-chunk-segment-size=1KB",
            1,
            "flag 'storage.tsdb.max-block-chunk-segment-size' must be set over 1MB",
        );
        refused(
            "--web.external-url=:x",
            2,
            "parse external URL \":x\": parse \":x\": missing protocol scheme",
        );
        refused(
            "--web.external-url=\"x\"",
            2,
            "parse external URL \"\\\"x\\\"\": URL must not begin or end with quotes",
        );
        refused(
            "--web.listen-address=foo",
            2,
            "parse external URL \"\": address foo: missing port in address",
        );
        refused(
            "--strict --enable-feature=agent --storage.agent.path=x",
            3,
            "The following flag(s) can only be used in agent mode: [\"--storage.agent.path\"]",
        );
    }

    #[test]
    fn the_deployments_start() {
        let agent = run("--config.file /etc/config/prometheus.yml --enable-feature=exemplar-storage \
                         --enable-feature=agent --storage.agent.retention.max-time=5m")
        .expect("starts");
        assert!(agent.agent && agent.features.exemplar_storage);
        assert_eq!(agent.agent_max_ms, 300_000);
        let server = run("--storage.tsdb.retention.time=42d --config.file=a --storage.tsdb.path=/data \
             --web.console.libraries=/etc/prometheus/console_libraries --web.console.templates=/x \
             --web.enable-lifecycle --enable-feature=exemplar-storage --web.enable-remote-write-receiver")
        .expect("starts");
        assert!(server.receiver && server.notes.iter().all(|n| !n.warning));
        assert_eq!(server.external_url.to_string(), "http://host:9090");
        let old =
            run("--enable-feature=remote-write-receiver --rules.alert.resend-delay=2m").expect("starts");
        assert!(old.receiver);
        assert_eq!(old.notes.len(), 2);
        assert_eq!(run("--web.external-url=http://h/a/").expect("starts").route_prefix, "/a");
        let plain = run("").expect("starts").shown;
        assert_eq!(plain["storage.tsdb.retention.time"], "15d");
        assert_eq!(plain["storage.tsdb.max-block-duration"], "1d12h");
    }
}
