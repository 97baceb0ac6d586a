//! The table of flags: one line of facts for each. Parsing, help and `/api/v1/status/flags` read it.
//!
//! Names, defaults and order are those of Prometheus 3.14, so that scripts and charts keep working.

/// How the text of a flag is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--name` and `--no-name`.
    Bool,
    Text,
    /// May be given several times.
    List,
    /// `5m`, `1h30m`, `15d`.
    Duration,
    /// Go's notation, with fractions: `2ms`, `1.5s`.
    GoDuration,
    /// A whole number; exponents are allowed (`5e7`).
    Int,
    Float,
    /// `512MB`; powers of two, a unit is required.
    Size,
    Choice(&'static [&'static str]),
    /// Names of remote write messages; list and commas.
    Messages,
}

/// Which mode a flag belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Both,
    Server,
    Agent,
}

/// What this version makes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Works,
    /// Accepted; when it is changed from its default a warning says that the part is not there.
    NotBuilt(&'static str),
}

/// Chapters of the help text, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    General,
    Web,
    Storage,
    Agent,
    Remote,
    Query,
    Rules,
    Process,
}

#[derive(Clone, Copy, Debug)]
pub struct Flag {
    pub name: &'static str,
    pub kind: Kind,
    /// Values when it is not given; empty where it has none.
    pub default: &'static [&'static str],
    pub mode: Mode,
    pub group: Group,
    pub hidden: bool,
    pub state: State,
    pub help: &'static str,
}

const fn flag(name: &'static str, kind: Kind, default: &'static [&'static str], group: Group) -> Flag {
    Flag { name, kind, default, mode: Mode::Both, group, hidden: false, state: State::Works, help: "" }
}

impl Flag {
    const fn help(mut self, help: &'static str) -> Flag {
        self.help = help;
        self
    }
    const fn server(mut self) -> Flag {
        self.mode = Mode::Server;
        self
    }
    const fn agent(mut self) -> Flag {
        self.mode = Mode::Agent;
        self
    }
    const fn hidden(mut self) -> Flag {
        self.hidden = true;
        self
    }
    const fn not_built(mut self, what: &'static str) -> Flag {
        self.state = State::NotBuilt(what);
        self
    }

    pub fn find(name: &str) -> Option<&'static Flag> {
        FLAGS.iter().find(|f| f.name == name)
    }
}

use Group::{Agent, General, Process, Query, Remote, Rules, Storage, Web};
use Kind::{Bool, Choice, Duration, Float, GoDuration, Int, List, Messages, Size, Text};

const NO: &[&str] = &["false"];
const YES: &[&str] = &["true"];
const NONE: &[&str] = &[];
const COMPRESSIONS: Kind = Choice(&["snappy", "zstd"]);
const RULES: &str = "rules are not built yet";
const ALERTS: &str = "rules and alerts are not built yet";
const READ: &str = "remote read is not built yet";
const GO: &str = "it tunes the Go runtime, which this program does not have";

/// The messages that a receiver may accept.
pub const WRITE_MESSAGES: &[&str] = &["prometheus.WriteRequest", "io.prometheus.write.v2.Request"];

pub const FLAGS: &[Flag] = &[
    flag("config.file", Text, &["prometheus.yml"], General).help("Configuration file."),
    flag("config.auto-reload", Bool, NO, General)
        .help("Reload the configuration when the file changes. See also --config.auto-reload-interval."),
    flag("config.auto-reload-interval", Duration, &["30s"], General)
        .help("How often --config.auto-reload looks for changes; at least 1s."),
    flag("web.listen-address", List, &["0.0.0.0:9090"], Web)
        .help("Address to listen on for API, UI and telemetry. Can be repeated."),
    flag("auto-gomaxprocs", Bool, YES, Process).help("Go runtime only: without effect.").not_built(GO),
    flag("auto-gomemlimit", Bool, YES, Process)
        .help("Refuse a query that would take more than a quarter of the memory limit: that of the container, else of the host."),
    flag("auto-gomemlimit.ratio", Float, &["0.9"], Process)
        .help("Share of the container's or host's memory that counts as the limit for --auto-gomemlimit."),
    flag("auto-gomemlimit.refresh-interval", Duration, &["0s"], Process)
        .help("Go runtime only: without effect.")
        .not_built(GO),
    flag("web.config.file", Text, &[""], Web)
        .help("File with TLS settings, users and response headers of the web server."),
    flag("web.read-timeout", Duration, &["5m"], Web)
        .help("Longest time to read a request, and to keep an idle connection."),
    flag("web.max-connections", Int, &["512"], Web)
        .help("Most connections at a time, over all listeners."),
    flag("web.max-notifications-subscribers", Int, &["16"], Web)
        .help("Most subscribers of live notifications.")
        .not_built("live notifications are not built yet"),
    flag("web.external-url", Text, NONE, Web).help(
        "URL under which this server is reached from outside, e.g. through a reverse proxy. Its path becomes \
         the prefix of all endpoints. Derived from host name and port when left out.",
    ),
    flag("web.route-prefix", Text, NONE, Web)
        .help("Prefix of the endpoints. The path of --web.external-url when left out."),
    flag("web.user-assets", Text, NONE, Web)
        .help("Directory served below /user.")
        .not_built("user assets are not built yet"),
    flag("web.enable-lifecycle", Bool, NO, Web).help("Allow reload and shutdown by HTTP request."),
    flag("web.enable-admin-api", Bool, NO, Web)
        .help("Allow deletion of series and snapshots by HTTP request."),
    flag("web.enable-remote-write-receiver", Bool, NO, Web)
        .help("Accept remote write at /api/v1/write: this makes the server a receiver for agents."),
    flag("web.remote-write-receiver.accepted-protobuf-messages", Messages, WRITE_MESSAGES, Web)
        .help("Remote write messages that the receiver accepts."),
    flag("web.enable-otlp-receiver", Bool, NO, Web)
        .help("Accept OTLP metrics at /api/v1/otlp/v1/metrics.")
        .not_built("the OTLP receiver is not built yet"),
    flag("web.console.templates", Text, &["consoles"], Web)
        .help("Directory of console templates.")
        .not_built("console templates are not built yet"),
    flag("web.console.libraries", Text, &["console_libraries"], Web)
        .help("Directory of console libraries.")
        .not_built("console templates are not built yet"),
    flag("web.page-title", Text, &["Prometheus Time Series Collection and Processing Server"], Web)
        .help("Title of the web pages."),
    flag("web.cors.origin", Text, &[".*"], Web)
        .help("Regular expression of allowed CORS origins, fully anchored: 'https?://(domain1|domain2)\\.com'"),
    flag("storage.tsdb.path", Text, &["data/"], Storage).server().help("Directory of the database."),
    flag("storage.tsdb.min-block-duration", Duration, &["2h"], Storage)
        .server()
        .hidden()
        .help("Shortest block."),
    flag("storage.tsdb.max-block-duration", Duration, NONE, Storage)
        .server()
        .hidden()
        .help("Longest block; a tenth of the retention when left out."),
    flag("storage.tsdb.max-block-chunk-segment-size", Size, NONE, Storage)
        .server()
        .hidden()
        .help("Largest chunk file of a block, e.g. 512MB."),
    flag("storage.tsdb.wal-segment-size", Size, NONE, Storage)
        .server()
        .hidden()
        .help("Size of WAL segments, e.g. 100MB."),
    flag("storage.tsdb.retention.time", Duration, NONE, Storage)
        .server()
        .help("How long to keep samples (y, w, d, h, m, s, ms); 15d when neither time nor size is given. \
               Deprecated: use storage.tsdb.retention.time in the configuration file."),
    flag("storage.tsdb.retention.size", Size, NONE, Storage)
        .server()
        .help("Most bytes of blocks to keep, e.g. 512MB. Deprecated: use storage.tsdb.retention.size in the \
               configuration file."),
    flag("storage.tsdb.no-lockfile", Bool, NO, Storage)
        .server()
        .help("Do not lock the data directory."),
    flag("storage.tsdb.allow-overlapping-compaction", Bool, YES, Storage)
        .server()
        .hidden()
        .help("Compact overlapping blocks. When off, they are left for another program."),
    flag("storage.tsdb.wal-compression", Bool, YES, Storage).server().hidden().help("Compress the WAL."),
    flag("storage.tsdb.wal-compression-type", COMPRESSIONS, &["snappy"], Storage)
        .server()
        .hidden()
        .help("How the WAL is compressed."),
    flag("storage.tsdb.head-chunks-write-queue-size", Int, &["0"], Storage)
        .server()
        .help("Size of upstream's chunk write queue.")
        .not_built("full chunks go into a buffer of 256 KiB that is written when it is full, so there is no queue"),
    flag("storage.tsdb.samples-per-chunk", Int, &["120"], Storage)
        .server()
        .hidden()
        .help("Samples per chunk."),
    flag("storage.tsdb.delayed-compaction.max-percent", Int, &["10"], Storage)
        .server()
        .hidden()
        .help("Upper limit of the random compaction delay, as a percentage of the shortest block. Acts with \
               --enable-feature=delayed-compaction."),
    flag("storage.tsdb.compaction-chunk-samples", Int, &["480"], Storage)
        .server()
        .help("Float chunks are joined up to so many samples, and 4 KiB, when blocks are compacted; 0 leaves \
               them as they are. Any Prometheus reads the result."),
    flag("storage.tsdb.delay-compact-file.path", Text, &[""], Storage)
        .server()
        .help("File that names uploaded blocks: level-1 blocks are compacted up to the first that it does not \
               name (Thanos sidecar)."),
    flag("storage.tsdb.block-reload-interval", Duration, &["1m"], Storage)
        .server()
        .hidden()
        .help("How often new or removed blocks are looked for."),
    flag("storage.agent.path", Text, &["data-agent/"], Agent).agent().help("Directory of the agent's WAL."),
    flag("storage.agent.wal-segment-size", Size, NONE, Agent)
        .agent()
        .hidden()
        .help("Size of WAL segments, e.g. 100MB."),
    flag("storage.agent.wal-compression", Bool, YES, Agent).agent().help("Compress the agent's WAL."),
    flag("storage.agent.wal-compression-type", COMPRESSIONS, &["snappy"], Agent)
        .agent()
        .hidden()
        .help("How the agent's WAL is compressed."),
    flag("storage.agent.wal-truncate-frequency", Duration, NONE, Agent)
        .agent()
        .hidden()
        .help("How often the WAL is truncated."),
    flag("storage.agent.retention.min-time", Duration, &["5m"], Agent)
        .agent()
        .help("Age that samples reach before a truncation may delete them."),
    flag("storage.agent.retention.max-time", Duration, &["4h"], Agent)
        .agent()
        .help("Age at which a truncation deletes samples even when they were not sent."),
    flag("storage.agent.checkpoint-from-in-memory-series", Bool, NO, Agent)
        .agent()
        .help("Build checkpoints from series in memory only.")
        .not_built("checkpoints are built in one way only"),
    flag("storage.agent.checkpoint-batch-size", Int, &["1000"], Agent)
        .agent()
        .help("Batch size of such checkpoints.")
        .not_built("checkpoints are built in one way only"),
    flag("storage.agent.no-lockfile", Bool, NO, Agent).agent().help("Do not lock the data directory."),
    flag("storage.remote.flush-deadline", Duration, &["1m"], Remote)
        .help("How long shutdown and reload wait for remote write to deliver."),
    flag("storage.remote.read-sample-limit", Int, &["50000000"], Remote)
        .server()
        .help("Most samples that one remote read may return; 0 for no limit.")
        .not_built(READ),
    flag("storage.remote.read-concurrent-limit", Int, &["10"], Remote)
        .server()
        .help("Most remote reads at a time; 0 for no limit.")
        .not_built(READ),
    flag("storage.remote.read-max-bytes-in-frame", Int, &["1048576"], Remote)
        .server()
        .help("Largest frame of a streamed remote read.")
        .not_built(READ),
    flag("web.search.max-limit", Int, &["10000"], Web)
        .server()
        .help("Largest limit that the search API accepts; 0 for no limit.")
        .not_built("the search API is not built yet"),
    flag("rules.alert.for-outage-tolerance", Duration, &["1h"], Rules)
        .server()
        .help("Longest outage over which the \"for\" state of alerts is restored.")
        .not_built(ALERTS),
    flag("rules.alert.for-grace-period", Duration, &["10m"], Rules)
        .server()
        .help("Shortest time between an alert and its restored \"for\" state.")
        .not_built(ALERTS),
    flag("rules.alert.resend-delay", Duration, &["1m"], Rules)
        .server()
        .help("Shortest time before an alert is sent again.")
        .not_built(ALERTS),
    flag("rules.max-concurrent-evals", Int, &["4"], Rules)
        .server()
        .help("Most independent rules evaluated at a time.")
        .not_built(RULES),
    flag("scrape.adjust-timestamps", Bool, YES, General)
        .hidden()
        .help("Align scrape timestamps with the schedule, within --scrape.timestamp-tolerance."),
    flag("scrape.timestamp-tolerance", GoDuration, &["2ms"], General)
        .hidden()
        .help("How far a scrape timestamp may be moved."),
    flag("alertmanager.notification-queue-capacity", Int, &["10000"], Rules)
        .server()
        .help("Capacity of the queue of alert notifications.")
        .not_built(ALERTS),
    flag("alertmanager.notification-batch-size", Int, &["256"], Rules)
        .server()
        .help("Most notifications in one request.")
        .not_built(ALERTS),
    flag("alertmanager.drain-notification-queue-on-shutdown", Bool, YES, Rules)
        .server()
        .help("Send what is queued before shutting down.")
        .not_built(ALERTS),
    flag("query.lookback-delta", Duration, &["5m"], Query)
        .server()
        .help("How far back an expression looks for the latest sample."),
    flag("query.timeout", Duration, &["2m"], Query).server().help("Longest time a query may take."),
    flag("query.max-concurrency", Int, &["20"], Query).server().help("Most queries evaluated at a time."),
    flag("query.max-samples", Int, &["50000000"], Query)
        .server()
        .help("Most samples that one query may hold in memory."),
    flag("scrape.discovery-reload-interval", Duration, &["5s"], General)
        .hidden()
        .help("How long target updates are collected before they are applied."),
    flag("enable-feature", List, NONE, General)
        .help("Experimental features to enable; comma separated, can be repeated. `pyrrha --help` lists them below."),
    flag("agent", Bool, NO, General)
        .help("Agent mode: discover, scrape and forward by remote write; nothing can be queried here."),
    flag("log.level", Choice(&["debug", "info", "warn", "error"]), &["info"], General)
        .help("Least severity of messages that are logged."),
    flag("log.format", Choice(&["logfmt", "json"]), &["logfmt"], General).help("Format of log messages."),
    flag("write-documentation", Bool, NO, General).hidden().help("Print the flags as Markdown and exit."),
    flag("storage.max-series", Int, &["0"], Storage).help(
        "Most series in memory; new ones are refused beyond it while known ones go on. 0 for no limit. Not in \
         Prometheus.",
    ),
    flag("storage.head-snapshot", Bool, YES, Storage).server().help(
        "Write a snapshot of recent samples on a clean stop and start from it, instead of replaying the whole \
         WAL. Not in Prometheus, which has a feature for it.",
    ),
    flag("storage.wal-sync", Bool, NO, Storage).help(
        "Acknowledge samples only when they are on the medium, so that they survive a power cut as well as a \
         crash; slower. Not in Prometheus.",
    ),
    flag("storage.remote.backlog-limit", Size, NONE, Remote).help(
        "Most bytes of WAL that are kept for remote write destinations that are behind, e.g. 10GB; the oldest \
         go first, which is logged and counted. No limit of bytes when left out. Not in Prometheus.",
    ),
    flag("strict", Bool, NO, General).help(
        "Refuse what Prometheus 3 refuses. Without it, flags that only older versions know and sections that \
         agents have no use for start with a warning.",
    ),
];
