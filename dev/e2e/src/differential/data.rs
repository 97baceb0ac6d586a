//! Data that looks real: counters with resets, gauges, histograms of all kinds, gaps, late starts, stale markers.

use super::histogram::{Histogram, Side};
use super::rng::Rng;
use crate::http::Connection;
use crate::push::{field, varint};
use std::collections::HashMap;

/// Time of the first samples: some whole hour in the past.
pub const START: i64 = 1_700_002_800_000;
/// How much time the data covers; it stays in the head of both stores.
pub const SPAN: i64 = 2 * 3_600_000;
/// How long before [`START`] the series are created.
const FIRST: i64 = 50 * 60_000;
/// Time that one request covers, shorter than any distance of two samples.
const SLICE: i64 = 10_000;
const STALE: u64 = 0x7ff0_0000_0000_0002;

#[derive(Clone, Debug)]
enum Value {
    Float(f64),
    Histogram(Box<Histogram>),
}

struct Series {
    labels: Vec<(String, String)>,
    samples: Vec<(i64, Value)>,
    /// Start timestamps of the samples; missing ones are unknown.
    starts: HashMap<i64, i64>,
}

/// When a series has samples.
struct Times {
    every: i64,
    from: i64,
    to: i64,
    gap: Option<(i64, i64)>,
    jitter: bool,
}

impl Times {
    fn random(rng: &mut Rng) -> Self {
        let every = [15_000, 15_000, 30_000, 60_000][rng.below(4)];
        let from = if rng.percent(20) { rng.below(5_400_000) as i64 } else { rng.below(15_000) as i64 };
        let to = if rng.percent(20) { SPAN - rng.below(5_400_000) as i64 } else { SPAN };
        let gap = rng.percent(30).then(|| {
            let at = rng.below(SPAN as usize) as i64;
            (at, at + rng.below(1_500_000) as i64)
        });
        Times { every, from, to, gap, jitter: rng.percent(25) }
    }

    fn list(&self, rng: &mut Rng) -> Vec<i64> {
        let mut out = Vec::new();
        let mut t = self.from;
        while t < self.to {
            let jitter = if self.jitter { rng.below(2000) as i64 } else { 0 };
            if self.gap.is_none_or(|(a, b)| t < a || t > b) {
                out.push(START + t + jitter);
            }
            t += self.every;
        }
        out
    }
}

fn labels(name: &str, rest: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = std::iter::once(("__name__", name))
        .chain(rest.iter().copied())
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect();
    all.sort();
    all
}

/// All series of a seed, in a fixed order.
struct Maker {
    rng: Rng,
    out: Vec<Series>,
}

impl Maker {
    fn add(&mut self, name: &str, rest: &[(&str, &str)], times: &Times, make: impl FnMut(&mut Rng) -> Value) {
        let mut make = make;
        let stale = self.rng.percent(15);
        let list = times.list(&mut self.rng);
        let mut samples: Vec<(i64, Value)> = list.iter().map(|t| (*t, make(&mut self.rng))).collect();
        if stale && !samples.is_empty() {
            let at = self.rng.below(samples.len());
            samples[at].1 = Value::Float(f64::from_bits(STALE));
            if let Some(last) = samples.last_mut() {
                last.1 = Value::Float(f64::from_bits(STALE));
            }
        }
        self.out.push(Series { labels: labels(name, rest), samples, starts: HashMap::new() });
    }

    fn counter(&mut self, name: &str, rest: &[(&str, &str)], by: f64) {
        let times = Times::random(&mut self.rng);
        let whole = self.rng.percent(70);
        let mut v = if self.rng.percent(30) { 1e6 * by } else { 0.0 };
        self.add(name, rest, &times, move |rng| {
            if rng.percent(2) {
                v = 0.0;
            }
            if !rng.percent(15) {
                let step = rng.unit() * by;
                v += if whole { step.ceil() } else { step };
            }
            Value::Float(v)
        });
    }

    fn gauge(&mut self, name: &str, rest: &[(&str, &str)], odd: bool) {
        let times = Times::random(&mut self.rng);
        let mut v = self.rng.unit() * 100.0 - 30.0;
        self.add(name, rest, &times, move |rng| {
            v += rng.unit() * 4.0 - 2.0;
            let strange = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e300, -1e300, 5e-324];
            Value::Float(if odd && rng.percent(8) { strange[rng.below(8)] } else { v })
        });
    }

    /// Classic buckets with a sum and a count.
    fn classic(&mut self, name: &str, rest: &[(&str, &str)], bounds: &[&str], monotonic: bool) {
        let times = Times::random(&mut self.rng);
        let mut at = self.rng.clone();
        let moments = times.list(&mut at);
        let mut counts = vec![0.0; bounds.len()];
        let mut sum = 0.0;
        let mut rows: Vec<Vec<(i64, Value)>> = vec![Vec::new(); bounds.len() + 2];
        for t in moments {
            if self.rng.percent(1) {
                counts.fill(0.0);
                sum = 0.0;
            }
            let mut total = 0.0;
            for (i, count) in counts.iter_mut().enumerate() {
                let more = self.rng.below(5) as f64;
                *count += more;
                total += *count;
                sum += more * 0.3 * (i + 1) as f64;
                let off = if !monotonic && self.rng.percent(10) { 3.0 } else { 0.0 };
                rows[i].push((t, Value::Float((total - off).max(0.0))));
            }
            rows[bounds.len()].push((t, Value::Float(sum)));
            rows[bounds.len() + 1].push((t, Value::Float(total)));
        }
        for (i, samples) in rows.into_iter().enumerate() {
            let (suffix, le) = match i.checked_sub(bounds.len()) {
                None => ("_bucket", Some(bounds[i])),
                Some(0) => ("_sum", None),
                Some(_) => ("_count", None),
            };
            let all: Vec<(&str, &str)> = rest.iter().copied().chain(le.map(|le| ("le", le))).collect();
            let labels = labels(&format!("{name}{suffix}"), &all);
            self.out.push(Series { labels, samples, starts: HashMap::new() });
        }
    }

    /// Native histograms; `shape` varies schema and bounds.
    fn native(&mut self, name: &str, rest: &[(&str, &str)], shape: &Shape) {
        let times = Times::random(&mut self.rng);
        let mut h = shape.first(&mut self.rng);
        let shape = shape.clone();
        self.add(name, rest, &times, move |rng| {
            if shape.floats > 0 && rng.percent(shape.floats) {
                return Value::Float((rng.unit() * 50.0).round());
            }
            shape.next(&mut h, rng);
            Value::Histogram(Box::new(h.clone()))
        });
    }
}

/// How the native histograms of one series come about.
#[derive(Clone, Debug, Default)]
struct Shape {
    custom: bool,
    gauge: bool,
    integer: bool,
    negative: bool,
    /// The schema or the bounds change now and then.
    changing: bool,
    /// Percent of plain floats between the histograms.
    floats: usize,
}

const BOUNDS: [&[f64]; 4] =
    [&[0.1, 0.5, 1.0, 2.5], &[0.5, 1.0, 5.0, 10.0], &[0.1, 1.0, 10.0], &[-5.0, 0.0, 5.0]];

impl Shape {
    fn first(&self, rng: &mut Rng) -> Histogram {
        let mut h = Histogram { gauge: self.gauge, integer: self.integer, ..Histogram::default() };
        if self.custom {
            h.schema = -53;
            h.bounds = BOUNDS[rng.below(BOUNDS.len())].to_vec();
            h.positive.counts = vec![0.0; h.bounds.len() + 1];
        } else {
            h.schema = rng.below(4) as i32 - 1;
            h.zero_threshold = [0.001, 0.0, 0.25][rng.below(3)];
            h.positive = Side { offset: rng.below(5) as i32 - 2, counts: vec![0.0; 3 + rng.below(5)] };
            if self.negative {
                h.negative = Side { offset: rng.below(3) as i32 - 1, counts: vec![0.0; 1 + rng.below(4)] };
            }
        }
        h
    }

    fn next(&self, h: &mut Histogram, rng: &mut Rng) {
        if rng.percent(2) || (self.changing && rng.percent(3)) {
            let sum = h.sum;
            let fresh = self.first(rng);
            if self.changing || !self.custom {
                *h = fresh;
            } else {
                h.positive.counts.fill(0.0);
                h.sum = 0.0;
            }
            if self.gauge {
                h.sum = sum;
            }
        }
        let whole = self.integer || rng.percent(50);
        let add = |count: &mut f64, rng: &mut Rng| {
            let more = if self.gauge { rng.unit() * 8.0 - 3.0 } else { rng.unit() * 4.0 };
            *count = (*count + if whole { more.round() } else { more }).max(0.0);
        };
        for count in h.positive.counts.iter_mut().chain(&mut h.negative.counts) {
            if rng.percent(60) {
                add(count, rng);
            }
        }
        if !self.custom {
            add(&mut h.zero_count, rng);
        }
        h.sum += rng.unit() * 10.0;
    }
}

/// How a source tells when its counters began.
#[derive(Clone, Copy)]
enum Origin {
    Unknown,
    /// At one time, until the counter falls.
    Cumulative,
    /// At the time of the sample before.
    Delta,
    /// At its own time, which says nothing.
    Own,
    /// Now so, now so.
    Wild,
}

impl Series {
    fn begin(&mut self, rng: &mut Rng) {
        use Origin::{Cumulative, Delta, Own, Unknown, Wild};
        let origin = [Unknown, Cumulative, Cumulative, Delta, Own, Wild, Wild][rng.below(7)];
        let lead = rng.below(200_000) as i64;
        let (mut before, mut since, mut last) = (None, None, 0.0);
        for (t, value) in &self.samples {
            let amount = match value {
                Value::Float(v) => *v,
                Value::Histogram(h) => h.count(),
            };
            if amount < last || rng.percent(1) {
                since = before.map(|b: i64| b + rng.below((t - b) as usize + 1) as i64);
            }
            let told = since.unwrap_or(self.samples[0].0 - lead);
            let start = match origin {
                Unknown => 0,
                Cumulative => told,
                Delta => before.unwrap_or(0),
                Own => *t,
                Wild => match rng.below(8) {
                    0 => 0,
                    1 => t - rng.below(600_000) as i64,
                    2 => t + rng.below(1000) as i64,
                    3 => t - 1,
                    4 | 5 => before.unwrap_or(0),
                    _ => told,
                },
            };
            if start != 0 {
                self.starts.insert(*t, start);
            }
            (before, last) = (Some(*t), amount);
        }
    }
}

fn series(seed: u64, with_starts: bool) -> Vec<Series> {
    let mut m = Maker { rng: Rng::new(seed), out: Vec::new() };
    let places = [("api", "a:80"), ("api", "b:80"), ("web", "a:80"), ("web", "c:80"), ("db", "d:5432")];
    for (job, instance) in places {
        let base = [("job", job), ("instance", instance)];
        m.gauge("up", &base, false);
        for code in ["200", "404", "500"] {
            for handler in ["/", "/api"] {
                let all = [base[0], base[1], ("code", code), ("handler", handler)];
                m.counter("http_requests_total", &all, 10.0);
            }
        }
        m.counter("process_cpu_seconds_total", &base, 0.5);
        m.gauge("memory_bytes", &[base[0], base[1], ("__type__", "gauge"), ("__unit__", "bytes")], false);
        m.gauge("memory_limit_bytes", &base, false);
        m.counter("typed_total", &[base[0], base[1], ("__type__", "counter")], 3.0);
        m.counter("typed_gauge", &[base[0], base[1], ("__type__", "gauge")], 3.0);
        m.gauge("odd_values", &base, true);
        m.gauge("step_seconds", &[base[0], base[1], ("room", "x"), ("code", "200")], false);
        m.classic("request_seconds", &base, &["0.1", "0.5", "1", "2.5", "+Inf"], true);
        info(&mut m, &base);
        natives(&mut m, &base);
    }
    strange(&mut m);
    if with_starts {
        let mut rng = Rng::new(seed ^ 0xaaaa);
        m.out.iter_mut().for_each(|one| one.begin(&mut rng));
    }
    // Prometheus selects the series of its head in the order of their creation, which shows in ties and in which of
    // two series an error names. A stale marker ahead of everything creates them in the order of their labels.
    m.out.sort_by(|a, b| a.labels.cmp(&b.labels));
    for one in &mut m.out {
        one.samples.insert(0, (START - FIRST, Value::Float(f64::from_bits(STALE))));
    }
    m.out
}

fn info(m: &mut Maker, base: &[(&str, &str); 2]) {
    let version = if base[0].1 == "api" { "1.2" } else { "2.0" };
    let all = Times { every: 30_000, from: 0, to: SPAN, gap: None, jitter: false };
    m.add("target_info", &[base[0], base[1], ("version", version), ("cluster", "eu")], &all, |_| {
        Value::Float(1.0)
    });
    m.add("build_info", &[base[0], base[1], ("rev", "abc")], &all, |_| Value::Float(1.0));
    if base[1].1 == "b:80" {
        let late = Times { from: SPAN / 2, ..all };
        m.add("target_info", &[base[0], base[1], ("version", "1.3")], &late, |_| Value::Float(1.0));
    }
}

fn natives(m: &mut Maker, base: &[(&str, &str); 2]) {
    let plain = Shape::default();
    m.native("latency_seconds", base, &plain);
    m.native("size_bytes", base, &Shape { integer: true, negative: true, ..plain.clone() });
    m.native("load_gauge", base, &Shape { gauge: true, ..plain.clone() });
    m.native("changing_seconds", base, &Shape { changing: true, negative: true, ..plain.clone() });
    m.native("custom_seconds", base, &Shape { custom: true, ..plain.clone() });
    m.native(
        "custom_changing",
        base,
        &Shape { custom: true, changing: true, integer: true, ..plain.clone() },
    );
    m.native("mixed_seconds", base, &Shape { floats: 30, ..plain.clone() });
    m.native("mixed_custom", base, &Shape { floats: 10, custom: true, changing: true, ..plain });
}

/// Names and values at the edges of what is allowed.
fn strange(m: &mut Maker) {
    m.gauge("my.dotted.metric", &[("job", "api"), ("label.dot", "x.y")], false);
    m.gauge("my.dotted.metric", &[("job", "web"), ("label.dot", "ö\"\\\n")], false);
    m.gauge("温度", &[("job", "api"), ("raum", "küche")], false);
    m.counter("single_total", &[], 7.0);
    m.gauge("empty_labels", &[("job", "api")], true);
    for le in ["0.1", "1.0", "1e1", "abc", "Inf", "+Inf"] {
        m.counter("bad_bucket", &[("job", "api"), ("le", le)], 4.0);
    }
    m.classic("shaky", &[("job", "api"), ("instance", "a:80")], &["1", "2", "4", "8", "+Inf"], false);
    m.classic("negative", &[("job", "api"), ("instance", "a:80")], &["-3", "-1", "0", "2", "+Inf"], true);
    m.classic("latency_seconds", &[("job", "api"), ("instance", "a:80")], &["0.5", "1", "+Inf"], true);
    for n in 0..12 {
        let n = n.to_string();
        m.gauge("many", &[("n", &n), ("job", "many")], n == "3");
    }
    for (a, b) in [("x", "y"), ("y", "x"), ("x", "x")] {
        m.gauge("pair_a", &[("a", a), ("b", b)], false);
        m.gauge("pair_b", &[("a", a), ("b", b)], false);
    }
}

/// One request of remote write 2.0, not compressed, with the samples of a slice of time.
fn encode(series: &[Series], from: i64, to: i64) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut known: HashMap<String, u64> = HashMap::new();
    let mut rows = Vec::new();
    for one in series {
        let samples: Vec<&(i64, Value)> =
            one.samples.iter().filter(|(t, _)| (from..to).contains(t)).collect();
        if samples.is_empty() {
            continue;
        }
        let mut refs = Vec::new();
        for text in one.labels.iter().flat_map(|(n, v)| [n, v]) {
            let id = *known.entry(text.clone()).or_insert_with(|| {
                symbols.push(text.clone());
                symbols.len() as u64 - 1
            });
            varint(&mut refs, id);
        }
        let mut body = Vec::new();
        field(&mut body, 0x0a, &refs);
        for (t, value) in samples {
            let start = one.starts.get(t).map(|start| *start as u64);
            match value {
                Value::Float(v) => {
                    let mut sample = vec![0x09];
                    sample.extend_from_slice(&v.to_le_bytes());
                    sample.push(0x10);
                    varint(&mut sample, *t as u64);
                    if let Some(start) = start {
                        sample.push(0x18);
                        varint(&mut sample, start);
                    }
                    field(&mut body, 0x12, &sample);
                }
                Value::Histogram(h) => {
                    let mut message = h.encode(*t);
                    if let Some(start) = start {
                        // Field 17 needs a tag of two bytes.
                        message.extend_from_slice(&[0x88, 0x01]);
                        varint(&mut message, start);
                    }
                    field(&mut body, 0x1a, &message);
                }
            }
        }
        field(&mut rows, 0x2a, &body);
    }
    let mut request = Vec::new();
    for symbol in symbols {
        field(&mut request, 0x22, symbol.as_bytes());
    }
    request.extend_from_slice(&rows);
    request
}

const HEADERS: &str = "Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n\
                       Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 2.0.0\r\nUser-Agent: e2e\r\n";

/// Sends the data of a seed to all addresses, slice by slice, also when the samples started if that is wanted; gives
/// the number of series.
pub fn send(seed: u64, with_starts: bool, addresses: &[&str]) -> Result<usize, String> {
    let all = series(seed, with_starts);
    // No series has two samples in a slice: receivers take floats before histograms.
    for address in addresses {
        let mut connection = Connection::open(address).map_err(|e| e.to_string())?;
        let mut from = START - FIRST;
        while from < START + SPAN + 60_000 {
            let body = snap::raw::Encoder::new()
                .compress_vec(&encode(&all, from, from + SLICE))
                .map_err(|e| e.to_string())?;
            let reply = connection.post("/api/v1/write", HEADERS, &body).map_err(|e| e.to_string())?;
            if reply.status >= 300 {
                return Err(format!("{address}: {} {}", reply.status, String::from_utf8_lossy(&reply.body)));
            }
            from += SLICE;
        }
    }
    Ok(all.len())
}
