//! Sending remote-write 1.0 requests over one connection.

use e2e::http::Connection;
use std::time::{Duration, Instant};

const HEADERS: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                       X-Prometheus-Remote-Write-Version: 0.1.0\r\nUser-Agent: bench\r\n";

pub struct Poster {
    connection: Connection,
    snappy: snap::raw::Encoder,
    packed: Vec<u8>,
}

impl Poster {
    pub fn open(address: &str) -> Result<Poster, String> {
        let connection = Connection::open(address).map_err(|e| e.to_string())?;
        Ok(Poster { connection, snappy: snap::raw::Encoder::new(), packed: Vec::new() })
    }

    /// Sends an encoded request; gives the time until the answer.
    pub fn post(&mut self, plain: &[u8]) -> Result<Duration, String> {
        self.packed.resize(snap::raw::max_compress_len(plain.len()), 0);
        let len = self.snappy.compress(plain, &mut self.packed).map_err(|e| e.to_string())?;
        let begun = Instant::now();
        let reply =
            self.connection.post("/api/v1/write", HEADERS, &self.packed[..len]).map_err(|e| e.to_string())?;
        if reply.status / 100 != 2 {
            return Err(format!("status {}: {}", reply.status, String::from_utf8_lossy(&reply.body)));
        }
        Ok(begun.elapsed())
    }
}

/// The sum of a metric of ours or upstream's over all its labels; `None` when it is absent.
pub fn metric(connection: &mut Connection, name: &str) -> Option<f64> {
    let body = connection.get("/metrics").ok()?.body;
    let text = String::from_utf8_lossy(&body);
    let values: Vec<f64> = text
        .lines()
        .filter(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
        .filter_map(|l| l.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}
