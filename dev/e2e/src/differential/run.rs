//! Runs the comparison: two processes with the same data, the same requests to both.

use super::compare::{Rules, TOLERANCE, difference};
use super::data::{self, SPAN, START};
use super::explain;
use super::grammar::{Grammar, Level};
use super::mutate::mutate;
use super::rng::Rng;
use super::shrink::shrink;
use super::tree::Tree;
use crate::http::Connection;
use crate::node::{Node, Role};
use crate::peers::version_of;
use crate::query::escape;
use serde_json::Value;
use std::path::Path;

/// One set of feature flags.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    pub name: &'static str,
    pub flags: &'static str,
}

/// The sets that are compared, with what the newest Prometheus knows.
pub const FEATURES: &[Features] = &[
    Features {
        name: "all",
        flags: "promql-experimental-functions,promql-extended-range-selectors,promql-binop-fill-modifiers,\
                promql-delayed-name-removal,promql-per-step-stats",
    },
    Features { name: "none", flags: "" },
    Features {
        name: "functions",
        flags: "promql-experimental-functions,promql-extended-range-selectors,promql-binop-fill-modifiers",
    },
    Features { name: "names", flags: "promql-delayed-name-removal,type-and-unit-labels" },
    Features {
        name: "types",
        flags: "promql-experimental-functions,promql-extended-range-selectors,promql-binop-fill-modifiers,\
                type-and-unit-labels,promql-per-step-stats",
    },
    Features {
        name: "starts",
        flags: "promql-experimental-functions,promql-extended-range-selectors,promql-binop-fill-modifiers,\
                promql-per-step-stats,st-storage,histograms-st-encoding,use-start-timestamps",
    },
];

/// What some requests say beside query and times.
const PARAMETERS: &[&str] = &[
    "&limit=1",
    "&limit=3",
    "&limit=100",
    "&lookback_delta=1m",
    "&lookback_delta=15s",
    "&lookback_delta=20m",
    "&lookback_delta=0.5",
    "&lookback_delta=-5m",
    "&stats=all",
    "&stats=all",
    "&stats=1",
    "&stats=all&lookback_delta=1m",
];

/// A request to both sides.
#[derive(Clone, Debug)]
pub enum Request {
    Instant {
        at: i64,
        /// Further parameters of the request.
        more: &'static str,
    },
    Range {
        start: i64,
        end: i64,
        step: i64,
        more: &'static str,
    },
    /// `/api/v1/parse_query`
    Parse,
    /// `/api/v1/format_query`
    Format,
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

impl Request {
    fn random(rng: &mut Rng) -> Self {
        let mut at = START - 300_000 + rng.below((SPAN + 600_000) as usize) as i64;
        if rng.percent(70) {
            at -= at % 15_000;
        }
        let more = if rng.percent(25) { rng.pick(PARAMETERS) } else { "" };
        if rng.percent(50) {
            return Request::Instant { at, more };
        }
        let step = [7_000, 15_000, 30_000, 60_000, 300_000, 1_000, 61_500, 90_000][rng.below(8)];
        let mut end = at + step * rng.below(16) as i64;
        if rng.percent(15) {
            end += rng.below(step as usize) as i64;
        }
        Request::Range { start: at, end, step, more }
    }

    /// The same without `limit`; `None` when it has none.
    fn without_limit(&self) -> Option<Request> {
        let mut all = self.clone();
        match &mut all {
            Request::Instant { more, .. } | Request::Range { more, .. } if more.starts_with("&limit") => {
                *more = ""
            }
            _ => return None,
        }
        Some(all)
    }

    fn path(&self) -> &'static str {
        match self {
            Request::Instant { .. } => "/api/v1/query",
            Request::Range { .. } => "/api/v1/query_range",
            Request::Parse => "/api/v1/parse_query",
            Request::Format => "/api/v1/format_query",
        }
    }

    fn form(&self, query: &str) -> String {
        let query = escape(query);
        match self {
            Request::Instant { at, more } => format!("query={query}&time={}{more}", seconds(*at)),
            Request::Range { start, end, step, more } => {
                format!(
                    "query={query}&start={}&end={}&step={}{more}",
                    seconds(*start),
                    seconds(*end),
                    seconds(*step)
                )
            }
            Request::Parse | Request::Format => format!("query={query}"),
        }
    }
}

struct Client {
    address: String,
    connection: Option<Connection>,
}

impl Client {
    /// The reply as JSON; an object with `lost` when there was none.
    fn ask(&mut self, request: &Request, query: &str) -> Value {
        let form = request.form(query);
        for _ in 0..2 {
            let Some(connection) = &mut self.connection else {
                self.connection = Connection::open(&self.address).ok();
                continue;
            };
            let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
            match connection.post(request.path(), headers, form.as_bytes()) {
                Ok(reply) if reply.status != 0 => {
                    return serde_json::from_slice(&reply.body).unwrap_or_else(|_| {
                        serde_json::json!({"status": reply.status, "error": String::from_utf8_lossy(&reply.body)})
                    });
                }
                _ => self.connection = Connection::open(&self.address).ok(),
            }
        }
        serde_json::json!({"status": "lost"})
    }
}

/// One query on which the two do not agree.
#[derive(Clone, Debug)]
pub struct Find {
    pub features: &'static str,
    pub query: String,
    /// The query as it was made, before it was made smaller.
    pub original: String,
    pub request: Request,
    pub what: String,
}

impl std::fmt::Display for Find {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "[{}] {:?}\n  {}\n  {}", self.features, self.request, self.query, self.what)?;
        if self.original != self.query { writeln!(f, "  from: {}", self.original) } else { Ok(()) }
    }
}

/// What came out.
#[derive(Debug, Default)]
pub struct Outcome {
    pub queries: usize,
    /// Queries that both answered with a value that is not empty.
    pub with_values: usize,
    pub with_errors: usize,
    pub with_annotations: usize,
    /// Differences where the peer itself does not always say the same (it walks through a Go map): not compared.
    pub unstable: usize,
    /// Differences in digits that a change of the last bit of a function's result makes just as large.
    pub ill_conditioned: usize,
    /// Differences because the peer gives one series a float and a histogram at one time, where we refuse.
    pub two_kinds: usize,
    pub finds: Vec<Find>,
}

/// Both processes with the data of a seed.
pub struct Pair {
    features: Features,
    level: Level,
    ours: Client,
    peer: Client,
    /// Kept so that they run.
    nodes: [Node; 2],
}

const CONFIG: &str = "global: {scrape_interval: 1m}\n";
/// Chunks of floats that have room for start timestamps.
const CONFIG_OF_STARTS: &str = "storage: {tsdb: {chunk_encoding: {floats: xor2}}}\n";

/// True for versions from 3.6 on.
fn is_recent(version: &str) -> bool {
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version == "?" || major > 3 || (major == 3 && minor >= 10)
}

/// Starts both on the same data with start timestamps, which Prometheus' receiver does not store: ours takes them, and
/// the peer gets a copy of the folder.
fn of_one_folder(ours: &Path, peer: &Path, arguments: &[&str], seed: u64) -> Result<[Node; 2], String> {
    let config = format!("{CONFIG}{CONFIG_OF_STARTS}");
    let mut nodes = [ours, peer].map(|program| Node::prepare(program, Role::Server, &config, arguments));
    nodes[0].set_program(ours, &["--no-storage.head-snapshot"]);
    nodes[0].run();
    data::send(seed, true, &[&nodes[0].address])?;
    nodes[0].stop();
    let [from, to] = [0, 1].map(|i| nodes[i].dir().join("data"));
    copy_folder(&from, &to).map_err(|e| format!("{}: {e}", from.display()))?;
    nodes.iter_mut().for_each(Node::run);
    Ok(nodes)
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if entry.file_name() != "lock" {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

impl Pair {
    /// Starts both and sends them the data.
    pub fn start(ours: &Path, peer: &Path, features: Features, seed: u64) -> Result<Self, String> {
        let recent = is_recent(&version_of(peer));
        let has = |name: &str| features.flags.contains(name);
        let experimental_functions = has("promql-experimental-functions");
        let level = Level {
            experimental_functions,
            duration_expressions: recent,
            extended_ranges: recent && has("promql-extended-range-selectors"),
            fill: recent && has("promql-binop-fill-modifiers"),
            starts: has("use-start-timestamps"),
            recent,
        };
        let mut flags = features.flags.to_owned();
        if !recent {
            // Before 3.8 native histograms are received only with this.
            flags += ",native-histograms";
        }
        let flags_empty = flags.is_empty();
        let flag = format!("--enable-feature={flags}");
        let mut arguments =
            vec!["--web.enable-remote-write-receiver", "--query.timeout=20s", "--log.level=warn"];
        if !flags_empty {
            arguments.push(&flag);
        }
        let nodes = if level.starts {
            if !recent {
                return Err(format!("{} stores no start timestamps", peer.display()));
            }
            of_one_folder(ours, peer, &arguments, seed)?
        } else {
            let nodes = [ours, peer].map(|program| Node::start(program, Role::Server, CONFIG, &arguments));
            data::send(seed, false, &[&nodes[0].address, &nodes[1].address])?;
            nodes
        };
        let client = |node: &Node| Client { address: node.address.clone(), connection: None };
        Ok(Pair { features, level, ours: client(&nodes[0]), peer: client(&nodes[1]), nodes })
    }

    /// Addresses of ours and of the peer.
    pub fn addresses(&self) -> [&str; 2] {
        [&self.nodes[0].address, &self.nodes[1].address]
    }

    /// The difference of the replies to one query, and the peer's reply.
    pub fn ask(&mut self, request: &Request, query: &str) -> (Option<String>, Value) {
        let ours = self.ours.ask(request, query);
        let peer = self.peer.ask(request, query);
        if !self.level.recent {
            return (loosely(&ours, &peer), peer);
        }
        if matches!(request, Request::Parse | Request::Format) {
            // Infinity has no JSON; there Prometheus fails without an answer.
            if peer["error"].as_str().is_some_and(|e| e.contains("unsupported value")) {
                return (None, peer);
            }
            let differs = ours["status"] != peer["status"]
                || ours["error"] != peer["error"]
                || ours["data"] != peer["data"];
            let what = differs.then(|| format!("ours {ours}\n  peer {peer}"));
            return (what, peer);
        }
        let ordered =
            query.starts_with("sort") || query.starts_with("topk(") || query.starts_with("bottomk(");
        let ranged = matches!(request, Request::Range { .. });
        let what = difference(
            &ours,
            &peer,
            Rules { tolerance: TOLERANCE, ordered, ranged, stats: counts_the_same(query) },
        );
        let what = what.filter(|_| !self.is_explained(request, query, &ours, &peer));
        (what, peer)
    }

    /// Compares `count` queries that follow from `seed`; stops after `most` finds.
    pub fn compare(&mut self, seed: u64, count: usize, spoiled: usize, most: usize, out: &mut Outcome) {
        let mut grammar = Grammar::new(seed, self.level);
        let mut rng = Rng::new(seed ^ 0x5555);
        for _ in 0..count {
            if out.finds.len() >= most {
                return;
            }
            let mut tree = grammar.query();
            while !self.level.recent && differs_in_old(&tree.render()) {
                tree = grammar.query();
            }
            let request = Request::random(&mut rng);
            let text = tree.render();
            out.queries += 1;
            if self.level.recent && rng.percent(spoiled) {
                let text = mutate(&text, &mut rng);
                let request = if rng.percent(30) { Request::Format } else { Request::Parse };
                let (what, peer) = self.ask(&request, &text);
                out.with_errors += usize::from(peer["status"] == "error");
                if let Some(what) = what {
                    self.found(request, text.clone(), text, what, out);
                }
                continue;
            }
            let (what, peer) = self.ask(&request, &text);
            out.count(&peer);
            if what.is_some() && self.is_unstable(&request, &text, &peer) {
                out.unstable += 1;
            } else if what.is_some() && self.is_ill_conditioned(&request, &tree, &peer) {
                out.ill_conditioned += 1;
            } else if what.is_some() {
                let tree: Tree = shrink(&tree, |smaller| {
                    let (what, peer) = self.ask(&request, smaller);
                    what.is_some() && !self.is_unstable(&request, smaller, &peer)
                });
                let smaller = tree.render();
                if self.has_two_kinds(&request, &smaller) || self.is_ill_conditioned(&request, &tree, &peer) {
                    out.two_kinds += 1;
                    continue;
                }
                let what = self.ask(&request, &smaller).0.or(what).unwrap_or_default();
                self.found(request, smaller, text, what, out);
            }
        }
    }

    /// True for what is not a thing to imitate; the reasons stand in [`explain`].
    fn is_explained(&mut self, request: &Request, query: &str, ours: &Value, peer: &Value) -> bool {
        if explain::falls_over(query, peer)
            || explain::stumbles(ours, peer)
            || explain::names_other_series(ours, peer)
            || matches!(request, Request::Range { .. }) && explain::has_moving_parameter(query)
        {
            return true;
        }
        if let Some(all) = request.without_limit() {
            // Any of the series may be the ones that are left.
            let rules = Rules { tolerance: TOLERANCE, ordered: false, ranged: true, stats: false };
            let count = |reply: &Value| reply["data"]["result"].as_array().map(Vec::len);
            let (x, y) = (self.ours.ask(&all, query), self.peer.ask(&all, query));
            if count(ours) == count(peer) && difference(&x, &y, rules).is_none() {
                return true;
            }
        }
        if let Some(larger) = explain::larger_logarithms(query) {
            let rules = |tolerance| Rules { tolerance, ordered: false, ranged: true, stats: false };
            let (x, y) = (self.ours.ask(request, &larger), self.peer.ask(request, &larger));
            if difference(ours, peer, rules(0.06)).is_none() && difference(&x, &y, rules(TOLERANCE)).is_none()
            {
                return true;
            }
        }
        let singles = explain::single_quantiles(query);
        !singles.is_empty()
            && singles.iter().all(|query| {
                let (ours, peer) = (self.ours.ask(request, query), self.peer.ask(request, query));
                let rules = Rules { tolerance: TOLERANCE, ordered: false, ranged: true, stats: false };
                difference(&ours, &peer, rules).is_none()
            })
    }

    /// True when we refuse a query that gives one series a float and a histogram at one time, and the peer shows
    /// both.
    fn has_two_kinds(&mut self, request: &Request, query: &str) -> bool {
        let ours = self.ours.ask(request, query);
        if !explain::refuses_same_labels(&ours) {
            return false;
        }
        let ranged = match *request {
            Request::Instant { at, more } => Request::Range { start: at, end: at, step: 1000, more },
            ref other => other.clone(),
        };
        explain::shows_two_kinds(&self.peer.ask(&ranged, query))
    }

    /// True when the peer's own answer changes by much when what its functions give changes in the last digits.
    fn is_ill_conditioned(&mut self, request: &Request, tree: &Tree, peer: &Value) -> bool {
        let Some(perturbed) = explain::perturbed(tree) else { return false };
        let ours = self.ours.ask(request, &tree.render());
        let rules = |tolerance| Rules { tolerance, ordered: false, ranged: true, stats: false };
        if difference(&ours, peer, rules(3.0)).is_some() {
            return false;
        }
        perturbed.iter().any(|query| {
            let changed = self.peer.ask(request, query);
            // Places in annotations, and names that a multiplication takes away, are no digits.
            let bare = |reply: &Value| serde_json::json!({"status": reply["status"], "data": reply["data"]});
            let labels = |reply: &Value| -> Vec<Value> {
                let list = reply["data"]["result"].as_array();
                let mut all: Vec<Value> =
                    list.into_iter().flatten().map(|one| one["metric"].clone()).collect();
                all.sort_by_key(Value::to_string);
                all
            };
            changed["status"] == "success"
                && labels(&changed) == labels(peer)
                && difference(&bare(&changed), &bare(peer), rules(TOLERANCE * 10.0)).is_some()
        })
    }

    /// True when the peer, asked again, says something else.
    fn is_unstable(&mut self, request: &Request, query: &str, first: &Value) -> bool {
        let rules = Rules { tolerance: TOLERANCE, ordered: is_ordered(query), ranged: true, stats: false };
        (0..12).any(|_| difference(&self.peer.ask(request, query), first, rules).is_some())
    }

    fn found(&self, request: Request, query: String, original: String, what: String, out: &mut Outcome) {
        let find = Find { features: self.features.name, query, original, request, what };
        eprintln!("{find}");
        out.finds.push(find);
    }
}

impl Outcome {
    fn count(&mut self, reply: &Value) {
        self.with_errors += usize::from(reply["status"] == "error");
        self.with_values += usize::from(reply["data"]["result"].as_array().is_some_and(|r| !r.is_empty()));
        self.with_annotations += usize::from(reply["warnings"].is_array() || reply["infos"].is_array());
    }
}

/// True when the order of an instant vector is asked for.
fn is_ordered(query: &str) -> bool {
    ["sort", "topk(", "bottomk("].iter().any(|word| query.starts_with(word))
}

/// False where matchers of one side of an operator narrow the other side here, so that fewer samples are read.
fn counts_the_same(query: &str) -> bool {
    let operators =
        ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless"];
    !operators.iter().any(|op| query.contains(&format!(" {op} ")) || query.contains(&format!(" {op} bool")))
}

/// True for what means something else in the Prometheus of long-term support (3.5) than in the one that we follow:
/// functions that it does not have, most of what concerns custom buckets and floats among histograms.
fn differs_in_old(query: &str) -> bool {
    let any = |words: &[&str]| words.iter().any(|word| query.contains(word));
    let native = ["latency", "load_gauge", "size_bytes"];
    let combined = ["rate(", "increase(", "delta(", "sum", "avg"];
    any(&["first_over_time", "last_over_time", "histogram_fraction", "custom", "mixed", "changing"])
        || any(&["{__name__", "{job=", "sort", "NaN", "Inf", "info(", "'y'", "absent", "odd_values"])
        || any(&["topk", "bottomk", "limitk"]) && any(&["scalar", "nothing", "=\"\""])
        || any(&combined) && any(&native)
}

/// Compares with a Prometheus that is not the one we follow: values, and whether there is an error.
fn loosely(ours: &Value, peer: &Value) -> Option<String> {
    if ours["status"] != peer["status"] {
        return Some(format!("status: ours {ours}, peer {peer}"));
    }
    if ours["status"] != "success" || ours["data"]["result"].is_null() {
        return None;
    }
    let bare = |reply: &Value| serde_json::json!({"status": "success", "data": reply["data"]});
    difference(
        &bare(ours),
        &bare(peer),
        Rules { tolerance: 1e-9, ordered: false, ranged: true, stats: false },
    )
}
