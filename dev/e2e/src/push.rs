//! A remote-write 1.0 sender in a few lines, written from the specification, independent of ours.

use crate::http::{Connection, Reply};

/// One series with its samples `(ms, value)`.
pub struct Series<'a> {
    pub labels: &'a [(&'a str, &'a str)],
    pub samples: &'a [(i64, f64)],
}

pub(crate) fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(crate) fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The protobuf message, not compressed.
pub fn encode(series: &[Series<'_>]) -> Vec<u8> {
    let mut request = Vec::new();
    for one in series {
        let mut body = Vec::new();
        for (name, value) in one.labels {
            let mut label = Vec::new();
            field(&mut label, 0x0a, name.as_bytes());
            field(&mut label, 0x12, value.as_bytes());
            field(&mut body, 0x0a, &label);
        }
        for (t, v) in one.samples {
            let mut sample = vec![0x09];
            sample.extend_from_slice(&v.to_le_bytes());
            sample.push(0x10);
            varint(&mut sample, *t as u64);
            field(&mut body, 0x12, &sample);
        }
        field(&mut request, 0x0a, &body);
    }
    request
}

/// Headers of a well-formed remote-write 1.0 request.
pub const HEADERS: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                           X-Prometheus-Remote-Write-Version: 0.1.0\r\nUser-Agent: e2e\r\n";

/// Compresses and posts.
pub fn post(connection: &mut Connection, series: &[Series<'_>]) -> std::io::Result<Reply> {
    let body = snap::raw::Encoder::new().compress_vec(&encode(series)).map_err(std::io::Error::other)?;
    connection.post("/api/v1/write", HEADERS, &body)
}
