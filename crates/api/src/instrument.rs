//! Metrics of the HTTP server: requests, latencies and sizes by handler.

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame};
use meter::{Counter, Histogram, Registry, Vector};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

/// The three families of upstream's web handler.
pub(crate) struct HttpMetrics {
    requests: Vector<Counter>,
    durations: Vector<Histogram>,
    sizes: Vector<Histogram>,
}

/// Metrics of one handler.
#[derive(Clone)]
pub(crate) struct HandlerMetrics {
    name: String,
    requests: Vector<Counter>,
    duration: Histogram,
    size: Histogram,
}

impl HttpMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        HttpMetrics {
            requests: registry.counter_vec(
                "prometheus_http_requests_total",
                "Counter of HTTP requests.",
                &["code", "handler"],
            ),
            durations: registry.histogram_vec(
                "prometheus_http_request_duration_seconds",
                "Histogram of latencies for HTTP requests.",
                &[0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0],
                &["handler"],
            ),
            sizes: registry.histogram_vec(
                "prometheus_http_response_size_bytes",
                "Histogram of response size for HTTP requests.",
                &[1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9],
                &["handler"],
            ),
        }
    }

    /// Upstream shows every handler from the start, with no request yet.
    pub(crate) fn handler(&self, name: &str) -> HandlerMetrics {
        let _ = self.requests.with(&["200", name]);
        HandlerMetrics {
            name: name.to_owned(),
            requests: self.requests.clone(),
            duration: self.durations.with(&[name]),
            size: self.sizes.with(&[name]),
        }
    }
}

impl HandlerMetrics {
    /// Notes a reply; one of unknown length when it has been sent or given up.
    pub(crate) fn observe(&self, since: Instant, response: Response<Body>) -> Response<Body> {
        self.requests.with(&[response.status().as_str(), &self.name]).inc();
        let (duration, size) = (self.duration.clone(), self.size.clone());
        let mut sent = Sent { since, bytes: 0, duration, size };
        match response.body().size_hint().exact() {
            Some(bytes) => {
                sent.bytes = bytes;
                response
            }
            None => response.map(|body| Body::new(Counted { body, sent })),
        }
    }
}

/// A reply that is counted when it is dropped.
struct Sent {
    since: Instant,
    bytes: u64,
    duration: Histogram,
    size: Histogram,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.duration.observe(self.since.elapsed().as_secs_f64());
        self.size.observe(self.bytes as f64);
    }
}

struct Counted {
    body: Body,
    sent: Sent,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.sent.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }
}
