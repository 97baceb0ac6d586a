//! `/write`, and the pushed formats that are not built yet.

use crate::router::BoxFuture;
use crate::state::Api;
use crate::wrap::{go_error, text};
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use ingest::receive::{Receiver, ReceiverOptions, RequestHead, Session, WriteReply};
use meter::Registry;
use net::listen::Peer;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use storage::WriterSource;

/// Sessions that are kept for senders that may come again; the oldest make room.
const MAX_SESSIONS: usize = 2048;

/// The receiver and the sessions of its senders. A session learns the order in which its sender names
/// series, so it stays with the connection, which is known by the sender's address and port.
pub(crate) struct Sessions {
    receiver: Receiver,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    clock: u64,
    by_sender: HashMap<Option<SocketAddr>, (u64, Session)>,
}

impl Sessions {
    pub(crate) fn new(options: ReceiverOptions, writers: Arc<dyn WriterSource>, registry: &Registry) -> Self {
        Sessions { receiver: Receiver::new(writers, registry, options), idle: Mutex::default() }
    }

    fn take(&self, sender: Option<SocketAddr>) -> Session {
        let found = self.idle.lock().by_sender.remove(&sender);
        found.map_or_else(|| self.receiver.session(), |(_, session)| session)
    }

    fn put(&self, sender: Option<SocketAddr>, session: Session) {
        let mut idle = self.idle.lock();
        idle.clock += 1;
        let now = idle.clock;
        idle.by_sender.insert(sender, (now, session));
        if idle.by_sender.len() > MAX_SESSIONS {
            // Half goes at once, so that this costs little on average.
            let mut ages: Vec<u64> = idle.by_sender.values().map(|(age, _)| *age).collect();
            ages.sort_unstable();
            let limit = ages[ages.len() / 2];
            idle.by_sender.retain(|_, (age, _)| *age > limit);
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

fn request_head(parts: &Parts) -> RequestHead<'_> {
    let value = |name: HeaderName| parts.headers.get(name).and_then(|v| v.to_str().ok());
    RequestHead {
        content_type: value(header::CONTENT_TYPE),
        content_encoding: value(header::CONTENT_ENCODING),
    }
}

fn reply(outcome: WriteReply) -> Response<Body> {
    let headers = outcome.headers();
    let mut response = Response::new(Body::from(outcome.body));
    *response.status_mut() =
        StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

pub(crate) fn write(api: Arc<Api>, request: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async move {
        let Some(sessions) = api.receiver.get() else {
            let text = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver";
            return go_error(StatusCode::NOT_FOUND, text);
        };
        let (parts, body) = request.into_parts();
        if let Err(refused) = sessions.receiver.negotiate(&request_head(&parts)) {
            return reply(refused);
        }
        let limit = sessions.receiver.options().max_body_bytes;
        if body.size_hint().lower() > limit as u64 {
            return too_large(limit);
        }
        let body = match axum::body::to_bytes(body, limit).await {
            Ok(body) => body,
            Err(e) if is_limit(&e) => return too_large(limit),
            Err(e) => return go_error(StatusCode::BAD_REQUEST, &e.to_string()),
        };
        let sender = parts.extensions.get::<Peer>().map(|peer| peer.address);
        let task = {
            let api = api.clone();
            move || {
                let sessions = api.receiver.get()?;
                let mut session = sessions.take(sender);
                let outcome = sessions.receiver.receive(&mut session, &request_head(&parts), &body, now_ms());
                sessions.put(sender, session);
                Some(outcome)
            }
        };
        match tokio::task::spawn_blocking(task).await {
            Ok(Some(outcome)) => reply(outcome),
            Ok(None) => go_error(StatusCode::NOT_FOUND, "404 page not found"),
            Err(e) => {
                tracing::error!(component = "web", err = %e, "Remote write request failed");
                go_error(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
            }
        }
    })
}

fn is_limit(e: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(e) = cause {
        if e.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = e.source();
    }
    false
}

fn too_large(limit: usize) -> Response<Body> {
    go_error(StatusCode::PAYLOAD_TOO_LARGE, &format!("request body exceeds the limit of {limit} bytes"))
}

pub(crate) fn otlp(api: Arc<Api>, _: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async move {
        if api.options.flags.get("web.enable-otlp-receiver").is_some_and(|on| on == "true") {
            return go_error(StatusCode::NOT_IMPLEMENTED, "the OTLP receiver is not built into this version");
        }
        let text = "otlp write receiver needs to be enabled with --web.enable-otlp-receiver";
        go_error(StatusCode::NOT_FOUND, text)
    })
}

pub(crate) fn read(_: Arc<Api>, _: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async { text(StatusCode::NOT_IMPLEMENTED, "remote read is not built into this version\n") })
}
