//! What is sent: series of every kind whose values follow from time and place, so that nothing has to be remembered.

use e2e::http::Connection;
use e2e::node::Node;
use e2e::write::{Entry, Native, Version, post};

pub(crate) const MINUTE: i64 = 60_000;
const HOSTS: usize = 8;

/// Which kinds of samples a program takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kinds {
    /// Counters, integer and float.
    pub(crate) histograms: bool,
    pub(crate) gauges: bool,
    /// Custom buckets, by remote write 2.0.
    pub(crate) custom: bool,
}

impl Kinds {
    pub(crate) const FLOATS: Kinds = Kinds { histograms: false, gauges: false, custom: false };
}

fn value(host: usize, t: i64) -> f64 {
    (t / 1000 % 100_000) as f64 * 0.25 + host as f64
}

/// Counters that fall back now and then, and a layout that grows on the way.
fn histogram(t: i64, integer: bool, schema: i32) -> Native {
    let k = (t / MINUTE % 97) as f64;
    let spans = if k < 50.0 { vec![(0, 2), (1, 2)] } else { vec![(0, 2), (0, 3)] };
    let buckets = if k < 50.0 { vec![k, 2.0 * k, k, 3.0] } else { vec![k, 2.0 * k, 1.0, k, 3.0 + k] };
    Native {
        integer,
        schema,
        zero_threshold: 0.001,
        zero_count: k,
        sum: k * 12.5,
        spans,
        buckets: if integer { buckets } else { buckets.iter().map(|b| b * 0.5).collect() },
        negative_spans: vec![(-2, 1)],
        negative_buckets: vec![k + 1.0],
        ..Native::default()
    }
}

fn gauge(t: i64) -> Native {
    let up = (t / MINUTE % 7) as f64;
    Native { buckets: vec![up, 7.0 - up], spans: vec![(1, 2)], hint: 3, sum: up, ..histogram(t, true, 1) }
}

fn custom(t: i64) -> Native {
    let k = (t / MINUTE % 101) as f64;
    Native {
        integer: true,
        schema: -53,
        sum: k,
        spans: vec![(0, 4)],
        buckets: vec![k, 2.0 * k, 0.0, k],
        custom: vec![0.1, 1.0, 10.0],
        ..Native::default()
    }
}

type Make = fn(i64) -> Native;

/// Name, maker.
const HISTOGRAMS: [(&str, Make); 2] =
    [("dropin_ints", |t| histogram(t, true, 3)), ("dropin_fractions", |t| histogram(t, false, 0))];

#[track_caller]
fn send_all(node: &Node, version: Version, entries: &[Entry]) {
    let mut connection = Connection::open(&node.address).expect("connects");
    let reply = post(&mut connection, version, entries).expect("an answer");
    assert!(matches!(reply.status, 200 | 204), "{}: {}", reply.status, String::from_utf8_lossy(&reply.body));
}

/// Sends one sample per minute of every series of a job, and exemplars, from `from` to `to`.
#[track_caller]
pub(crate) fn send(node: &Node, job: &str, from: i64, to: i64, kinds: Kinds) {
    for start in (from..to).step_by(10 * MINUTE as usize) {
        let times: Vec<i64> = (start..(start + 10 * MINUTE).min(to)).step_by(MINUTE as usize).collect();
        let mut entries: Vec<Entry> = (0..HOSTS)
            .map(|h| Entry {
                floats: times.iter().map(|t| (*t, value(h, *t))).collect(),
                ..Entry::of(&[("__name__", "dropin_total"), ("host", &format!("host-{h}")), ("job", job)])
            })
            .collect();
        let t = times[0];
        entries.push(Entry {
            floats: vec![(t, t as f64)],
            exemplars: vec![(t, 2.5, format!("{:05}", t / MINUTE % 100_000))],
            ..Entry::of(&[("__name__", "dropin_exemplars_total"), ("job", job)])
        });
        let native = |(name, make): &(&str, Make)| Entry {
            histograms: times.iter().map(|t| (*t, make(*t))).collect(),
            ..Entry::of(&[("__name__", name), ("job", job)])
        };
        if kinds.histograms {
            entries.extend(HISTOGRAMS.iter().map(native));
        }
        if kinds.gauges {
            entries.push(native(&("dropin_levels", gauge)));
        }
        send_all(node, Version::One, &entries);
        if kinds.custom {
            send_all(node, Version::Two, &[native(&("dropin_customs", custom))]);
        }
    }
}
