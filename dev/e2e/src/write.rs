//! Remote-write requests with all kinds of samples, 1.0 and 2.0, written from the specification, independent of ours.

use crate::http::{Connection, Reply};

/// One native histogram, with absolute bucket counts.
#[derive(Clone, Debug, Default)]
pub struct Native {
    /// Counts are written as integers and deltas.
    pub integer: bool,
    /// -53 for custom buckets.
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub sum: f64,
    /// Offset and length.
    pub spans: Vec<(i32, u32)>,
    pub buckets: Vec<f64>,
    pub negative_spans: Vec<(i32, u32)>,
    pub negative_buckets: Vec<f64>,
    /// Upper bounds of custom buckets.
    pub custom: Vec<f64>,
    /// 0 unknown, 1 reset, 2 none, 3 gauge.
    pub hint: u64,
}

/// One series of a request. Times are in ms.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Sorted by name.
    pub labels: Vec<(String, String)>,
    pub floats: Vec<(i64, f64)>,
    pub histograms: Vec<(i64, Native)>,
    /// Time, value, and the value of the label `trace_id`.
    pub exemplars: Vec<(i64, f64, String)>,
}

impl Entry {
    pub fn of(pairs: &[(&str, &str)]) -> Entry {
        let labels = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Entry { labels, ..Entry::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

/// A protobuf message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn int(&mut self, field: u64, n: u64) {
        self.varint(field << 3);
        self.varint(n);
    }

    fn signed(&mut self, field: u64, n: i64) {
        self.int(field, zigzag(n));
    }

    fn double(&mut self, field: u64, v: f64) {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn packed(&mut self, field: u64, numbers: impl Iterator<Item = u64>) {
        let mut inner = Message::default();
        numbers.for_each(|n| inner.varint(n));
        self.bytes(field, &inner.0);
    }

    fn doubles(&mut self, field: u64, values: &[f64]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(field, &bytes);
    }
}

const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

/// Differences between neighbours, the first to 0.
fn deltas(counts: &[f64]) -> impl Iterator<Item = u64> {
    let before = std::iter::once(0).chain(counts.iter().map(|c| *c as i64));
    counts.iter().map(|c| *c as i64).zip(before).map(|(now, before)| zigzag(now - before))
}

impl Native {
    pub fn count(&self) -> f64 {
        self.zero_count + self.buckets.iter().chain(&self.negative_buckets).sum::<f64>()
    }

    fn encode(&self, t: i64) -> Vec<u8> {
        let mut m = Message::default();
        match self.integer {
            true => m.int(1, self.count() as u64),
            false => m.double(2, self.count()),
        }
        m.double(3, self.sum);
        m.signed(4, i64::from(self.schema));
        m.double(5, self.zero_threshold);
        match self.integer {
            true => m.int(6, self.zero_count as u64),
            false => m.double(7, self.zero_count),
        }
        let sides = [(8, &self.negative_spans, &self.negative_buckets), (11, &self.spans, &self.buckets)];
        for (field, spans, buckets) in sides {
            for (offset, length) in spans {
                let mut span = Message::default();
                span.signed(1, i64::from(*offset));
                span.int(2, u64::from(*length));
                m.bytes(field, &span.0);
            }
            match self.integer {
                _ if buckets.is_empty() => {}
                true => m.packed(field + 1, deltas(buckets)),
                false => m.doubles(field + 2, buckets),
            }
        }
        m.int(14, self.hint);
        m.int(15, t as u64);
        if !self.custom.is_empty() {
            m.doubles(16, &self.custom);
        }
        m.0
    }
}

fn sample(t: i64, v: f64) -> Vec<u8> {
    let mut m = Message::default();
    m.double(1, v);
    m.int(2, t as u64);
    m.0
}

fn label(name: &str, value: &str) -> Vec<u8> {
    let mut m = Message::default();
    m.bytes(1, name.as_bytes());
    m.bytes(2, value.as_bytes());
    m.0
}

/// `prometheus.WriteRequest`.
fn encode_1(entries: &[Entry]) -> Vec<u8> {
    let mut request = Message::default();
    for entry in entries {
        let mut m = Message::default();
        entry.labels.iter().for_each(|(n, v)| m.bytes(1, &label(n, v)));
        entry.floats.iter().for_each(|(t, v)| m.bytes(2, &sample(*t, *v)));
        for (t, v, trace) in &entry.exemplars {
            let mut exemplar = Message::default();
            exemplar.bytes(1, &label("trace_id", trace));
            exemplar.double(2, *v);
            exemplar.int(3, *t as u64);
            m.bytes(3, &exemplar.0);
        }
        entry.histograms.iter().for_each(|(t, h)| m.bytes(4, &h.encode(*t)));
        request.bytes(1, &m.0);
    }
    request.0
}

/// `io.prometheus.write.v2.Request`.
fn encode_2(entries: &[Entry]) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut symbol = |text: &str| match symbols.iter().position(|s| s == text) {
        Some(at) => at as u64,
        None => {
            symbols.push(text.to_owned());
            symbols.len() as u64 - 1
        }
    };
    let mut series = Vec::new();
    for entry in entries {
        let mut m = Message::default();
        let references: Vec<u64> = entry.labels.iter().flat_map(|(n, v)| [symbol(n), symbol(v)]).collect();
        m.packed(1, references.into_iter());
        entry.floats.iter().for_each(|(t, v)| m.bytes(2, &sample(*t, *v)));
        entry.histograms.iter().for_each(|(t, h)| m.bytes(3, &h.encode(*t)));
        for (t, v, trace) in &entry.exemplars {
            let mut exemplar = Message::default();
            exemplar.packed(1, [symbol("trace_id"), symbol(trace)].into_iter());
            exemplar.double(2, *v);
            exemplar.int(3, *t as u64);
            m.bytes(4, &exemplar.0);
        }
        series.push(m.0);
    }
    let mut request = Message::default();
    symbols.iter().for_each(|s| request.bytes(4, s.as_bytes()));
    series.iter().for_each(|s| request.bytes(5, s));
    request.0
}

/// Encodes, compresses and posts to `/api/v1/write`.
pub fn post(connection: &mut Connection, version: Version, entries: &[Entry]) -> std::io::Result<Reply> {
    let (body, kind, number) = match version {
        Version::One => (encode_1(entries), "", "0.1.0"),
        Version::Two => (encode_2(entries), ";proto=io.prometheus.write.v2.Request", "2.0.0"),
    };
    let body = snap::raw::Encoder::new().compress_vec(&body).map_err(std::io::Error::other)?;
    let headers = format!(
        "Content-Type: application/x-protobuf{kind}\r\nContent-Encoding: snappy\r\n\
         X-Prometheus-Remote-Write-Version: {number}\r\nUser-Agent: e2e\r\n"
    );
    connection.post("/api/v1/write", &headers, &body)
}
