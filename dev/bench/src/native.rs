//! Requests of native histograms: one integer histogram of every series, as a client library with exponential
//! buckets makes them.

use crate::workload::{Target, mix, put_varint};

/// Buckets of one side, in two spans with a gap.
const SPANS: [(i64, u64); 2] = [(-20, 16), (4, 8)];
const SCHEMA: i64 = 3;

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn put_field(out: &mut Vec<u8>, number: u64, body: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, body.len() as u64);
    out.extend_from_slice(body);
}

fn put_number(out: &mut Vec<u8>, number: u64, n: u64) {
    put_varint(out, number << 3);
    put_varint(out, n);
}

fn put_double(out: &mut Vec<u8>, number: u64, v: f64) {
    put_varint(out, number << 3 | 1);
    out.extend_from_slice(&v.to_le_bytes());
}

/// Count of one bucket after `round` scrapes: a few buckets take most observations, about a third none.
fn bucket(seed: u64, at: u64, round: u64) -> i64 {
    let rate = mix(seed ^ at) % 12;
    let rate = if rate < 4 { 0 } else { rate - 3 };
    (mix(seed ^ at << 8) % 500 + rate * round + mix(seed ^ at ^ round) % (rate + 1)) as i64
}

/// The message `prometheus.Histogram` of a series at `t` ms.
fn put_histogram(out: &mut Vec<u8>, seed: u64, t: i64, round: u64) {
    let (mut spans, mut deltas, mut count, mut before) = (Vec::new(), Vec::new(), 0u64, 0i64);
    let mut at = 0;
    for (offset, length) in SPANS {
        let mut span = Vec::new();
        put_number(&mut span, 1, zigzag(offset));
        put_number(&mut span, 2, length);
        put_field(&mut spans, 11, &span);
        for _ in 0..length {
            let n = bucket(seed, at, round);
            put_varint(&mut deltas, zigzag(n - before));
            (before, count, at) = (n, count + n as u64, at + 1);
        }
    }
    put_number(out, 1, count);
    put_double(out, 3, count as f64 * 0.125);
    put_number(out, 4, zigzag(SCHEMA));
    put_double(out, 5, 1e-128);
    put_number(out, 6, 0);
    out.extend_from_slice(&spans);
    put_field(out, 12, &deltas);
    put_number(out, 15, t as u64);
}

/// Encodes one remote-write 1.0 request: one native histogram of every series of `targets` at `t` ms.
pub fn encode_histograms(targets: &[&Target], t: i64, round: u64, out: &mut Vec<u8>) -> usize {
    out.clear();
    let (mut samples, mut inner, mut histogram) = (0, Vec::new(), Vec::new());
    for series in targets.iter().flat_map(|target| &target.series) {
        inner.clear();
        inner.extend_from_slice(&series.labels);
        histogram.clear();
        put_histogram(&mut histogram, series.seed, t, round);
        put_field(&mut inner, 4, &histogram);
        put_field(out, 1, &inner);
        samples += 1;
    }
    samples
}
