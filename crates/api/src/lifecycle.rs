//! `/-/reload` and `/-/quit`.

use crate::router::BoxFuture;
use crate::state::{Api, Command};
use crate::wrap::{go_error, text};
use axum::body::Body;
use axum::extract::Request;
use http::{Response, StatusCode};
use std::sync::Arc;
use tokio::sync::oneshot;

fn forbidden() -> Response<Body> {
    text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.")
}

pub(crate) fn wrong_method(_: Arc<Api>, _: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async { text(StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed") })
}

pub(crate) fn reload(api: Arc<Api>, _: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async move {
        if !api.options.enable_lifecycle {
            return forbidden();
        }
        let (answer, answered) = oneshot::channel();
        let sent = api.commands.send(Command::Reload(answer)).await.is_ok();
        let result = match sent {
            true => answered.await.unwrap_or_else(|_| Err("shutting down".into())),
            false => Err("shutting down".into()),
        };
        match result {
            Ok(()) => Response::new(Body::empty()),
            Err(e) => go_error(StatusCode::INTERNAL_SERVER_ERROR, &format!("failed to reload config: {e}")),
        }
    })
}

pub(crate) fn quit(api: Arc<Api>, _: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async move {
        if !api.options.enable_lifecycle {
            return forbidden();
        }
        if api.ask_quit() && api.commands.send(Command::Quit).await.is_ok() {
            text(StatusCode::OK, "Requesting termination... Goodbye!")
        } else {
            text(StatusCode::OK, "Termination already in progress.")
        }
    })
}
