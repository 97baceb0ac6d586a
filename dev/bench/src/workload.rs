//! The series that the load generator sends: targets that look like node_exporter, cadvisor,
//! kube-state-metrics and an application's histograms in equal parts, with their label bytes encoded once.

use std::fmt::Write as _;

/// What one series does from scrape to scrape.
#[derive(Clone, Copy)]
enum Shape {
    /// The same value for ever.
    Constant,
    /// A counter that moves each scrape.
    Counter,
    /// A gauge that jitters.
    Gauge,
    /// Changes about every tenth scrape.
    Rare,
}

/// One series: its `repeated Label` bytes of remote write 1.0 and how its value moves.
pub struct Series {
    pub labels: Vec<u8>,
    /// Metric and labels as an exposition has them, without those of the place.
    text: String,
    shape: Shape,
    pub seed: u64,
}

impl Series {
    /// Value at scrape number `round`.
    pub fn value(&self, round: u64) -> f64 {
        match self.shape {
            Shape::Constant => (self.seed % 1000) as f64,
            Shape::Counter => (self.seed % 100_000 + round * (1 + self.seed % 977)) as f64,
            Shape::Gauge => (mix(self.seed ^ round) % 1_000_000) as f64 / 1024.0,
            Shape::Rare => (self.seed % 50 + (round + self.seed % 10) / 10) as f64,
        }
    }
}

/// A target: series that are scraped, and so sent, together.
pub struct Target {
    pub series: Vec<Series>,
}

pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

pub fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_label(out: &mut Vec<u8>, name: &str, value: &str) {
    let mut inner = Vec::with_capacity(name.len() + value.len() + 6);
    for (tag, text) in [(0x0a, name), (0x12, value)] {
        inner.push(tag);
        put_varint(&mut inner, text.len() as u64);
        inner.extend_from_slice(text.as_bytes());
    }
    out.push(0x0a);
    put_varint(out, inner.len() as u64);
    out.extend_from_slice(&inner);
}

fn encode(mut labels: Vec<(String, String)>) -> Vec<u8> {
    labels.sort();
    let mut out = Vec::new();
    for (name, value) in &labels {
        put_label(&mut out, name, value);
    }
    out
}

/// `name{label="value",…}` without the labels of `but`.
fn exposed(labels: &[(String, String)], but: &[&str]) -> String {
    let name = labels.iter().find(|(n, _)| n == "__name__").map_or("", |(_, v)| v);
    let shown = labels.iter().filter(|(n, _)| n != "__name__" && !but.contains(&n.as_str()));
    let pairs: Vec<String> = shown.map(|(n, v)| format!("{n}=\"{v}\"")).collect();
    format!("{name}{{{}}}", pairs.join(","))
}

/// What a target answers to one scrape.
pub type Page = String;

/// For each of `targets` targets the pages of scrapes `0..rounds`; about a third of the values change from one
/// to the next.
pub fn pages(count: usize, per_target: usize, rounds: u64) -> Vec<Vec<Page>> {
    let render = |target: &Target, round: u64| {
        let mut page = Page::new();
        let mut family = "";
        for series in &target.series {
            let name = series.text.split('{').next().unwrap_or("");
            if name != family {
                let ty = if name.ends_with("_total") { "counter" } else { "untyped" };
                let _ = writeln!(page, "# HELP {name} A figure of the benchmark.\n# TYPE {name} {ty}");
                family = name;
            }
            let _ = writeln!(page, "{} {}", series.text, series.value(round));
        }
        page
    };
    let all = targets(count, per_target, 0);
    all.iter().map(|t| (0..rounds).map(|round| render(t, round)).collect()).collect()
}

/// `targets` targets of `per_target` series each. `offset` shifts identities, for churn.
pub fn targets(targets: usize, per_target: usize, offset: usize) -> Vec<Target> {
    (offset..offset + targets).map(|t| target(t, per_target)).collect()
}

fn target(t: usize, count: usize) -> Target {
    let kind = t % 4;
    let (job, metric_stem) = match kind {
        0 => ("node-exporter", "node"),
        1 => ("kubelet", "container"),
        2 => ("kube-state-metrics", "kube"),
        _ => ("checkout-api", "http_server_request_duration_seconds"),
    };
    const PLACE: [&str; 6] = ["cluster", "job", "instance", "namespace", "node", "prometheus"];
    let base: Vec<(String, String)> = [
        ("cluster", format!("prod-eu-west-{}", t % 7)),
        ("job", job.into()),
        ("instance", format!("10.{}.{}.{}:9100", t / 60_000 % 250, t / 250 % 250, t % 250)),
        ("namespace", format!("team-{}", t % 23)),
        (
            "node",
            format!("ip-10-{}-{}-{}.eu-west-1.compute.internal", t / 62_500 % 250, t / 250 % 250, t % 250),
        ),
        ("prometheus", "monitoring/k8s".into()),
    ]
    .into_iter()
    .map(|(n, v)| (n.to_owned(), v))
    .collect();
    let series = (0..count)
        .map(|i| {
            let mut labels = base.clone();
            let mut add = |n: &str, v: String| labels.push((n.to_owned(), v));
            let mut shape = [
                Shape::Constant,
                Shape::Counter,
                Shape::Constant,
                Shape::Rare,
                Shape::Gauge,
                Shape::Constant,
            ][i % 6];
            match kind {
                0 => {
                    add("__name__", format!("{metric_stem}_disk_and_cpu_figure_{}_total", i / 16));
                    add("device", format!("nvme{}n1p{}", i % 4, i / 4 % 4));
                    add("mode", ["idle", "iowait", "system", "user"][i % 4].into());
                    add("fstype", "ext4".into());
                }
                1 => {
                    add("__name__", format!("{metric_stem}_resource_usage_{}_bytes", i / 20));
                    add(
                        "pod",
                        format!(
                            "workload-{}-{:08x}-{:05x}",
                            i % 20,
                            mix(t as u64) as u32,
                            mix((t * 7 + i % 20) as u64) & 0xfffff
                        ),
                    );
                    add("container", "server".into());
                    add(
                        "image",
                        format!("registry.example.com/platform/workload-{}:v1.{}.{}", i % 20, t % 9, i % 9),
                    );
                    add("id", format!("/kubepods/burstable/pod{:032x}", mix((t * 31 + i % 20) as u64)));
                    add("name", format!("k8s_server_{:016x}", mix((t * 131 + i % 20) as u64)));
                }
                2 => {
                    add("__name__", format!("{metric_stem}_object_status_condition_{}", i / 50));
                    add("pod", format!("workload-{}-{:08x}", i % 50, mix((t * 17 + i % 50) as u64) as u32));
                    add("uid", format!("{:032x}", mix((t * 29 + i % 50) as u64)));
                    add("condition", ["true", "false", "unknown"][i % 3].into());
                    if !i.is_multiple_of(10) {
                        shape = Shape::Constant;
                    }
                }
                _ => {
                    const BOUNDS: [&str; 12] = [
                        "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0",
                        "+Inf",
                    ];
                    add("__name__", format!("{metric_stem}_bucket"));
                    add("le", BOUNDS[i % 12].into());
                    add("method", ["GET", "POST", "PUT"][i / 12 % 3].into());
                    add("route", format!("/api/v{}/orders/{{id}}/items/{}", i / 36 % 3, i / 108));
                    add("status_code", ["200", "404", "500"][i / 7 % 3].into());
                    shape = if i / 12 % 3 == 0 { Shape::Counter } else { Shape::Constant };
                }
            }
            let text = exposed(&labels, &PLACE);
            Series { labels: encode(labels), text, shape, seed: mix((t * 100_003 + i) as u64) }
        })
        .collect();
    Target { series }
}

/// As [`encode_rounds`], with times that move by up to `jitter_ms` around the schedule, all series of a target
/// together.
pub fn encode_jittered(
    targets: &[Target],
    start_ms: i64,
    step_ms: i64,
    jitter_ms: u64,
    rounds: std::ops::Range<u64>,
    out: &mut Vec<u8>,
) {
    let jitter = |round: u64| if jitter_ms == 0 { 0 } else { (mix(round) % jitter_ms) as i64 };
    encode_at(targets, |round| start_ms + round as i64 * step_ms + jitter(round), rounds, out);
}

/// Encodes one remote-write 1.0 request: the samples of several rounds of every series of `targets`; round 0
/// is at `start_ms`.
pub fn encode_rounds(
    targets: &[Target],
    start_ms: i64,
    step_ms: i64,
    rounds: std::ops::Range<u64>,
    out: &mut Vec<u8>,
) {
    encode_at(targets, |round| start_ms + round as i64 * step_ms, rounds, out);
}

fn encode_at(targets: &[Target], time: impl Fn(u64) -> i64, rounds: std::ops::Range<u64>, out: &mut Vec<u8>) {
    out.clear();
    let mut inner = Vec::new();
    let mut sample = Vec::with_capacity(24);
    for series in targets.iter().flat_map(|t| &t.series) {
        inner.clear();
        inner.extend_from_slice(&series.labels);
        for round in rounds.clone() {
            sample.clear();
            sample.push(0x09);
            sample.extend_from_slice(&series.value(round).to_le_bytes());
            sample.push(0x10);
            put_varint(&mut sample, time(round) as u64);
            inner.push(0x12);
            inner.push(sample.len() as u8);
            inner.extend_from_slice(&sample);
        }
        out.push(0x0a);
        put_varint(out, inner.len() as u64);
        out.extend_from_slice(&inner);
    }
}

/// Encodes one remote-write 1.0 request: one sample of every series of `targets` at `t` ms.
pub fn encode_request(targets: &[&Target], t: i64, round: u64, out: &mut Vec<u8>) -> usize {
    out.clear();
    let mut samples = 0;
    let mut sample = Vec::with_capacity(24);
    for target in targets {
        for series in &target.series {
            sample.clear();
            sample.push(0x09);
            sample.extend_from_slice(&series.value(round).to_le_bytes());
            sample.push(0x10);
            put_varint(&mut sample, t as u64);
            let inner = series.labels.len() + 2 + sample.len();
            out.push(0x0a);
            put_varint(out, inner as u64);
            out.extend_from_slice(&series.labels);
            out.push(0x12);
            out.push(sample.len() as u8);
            out.extend_from_slice(&sample);
            samples += 1;
        }
    }
    samples
}
