//! `/-/healthy`, `/-/ready`, `/version`.

use crate::json::Json;
use crate::router::BoxFuture;
use crate::state::{Api, BuildInfo};
use crate::wrap::text;
use axum::body::Body;
use axum::extract::Request;
use http::{Method, Response, StatusCode};
use std::sync::Arc;

/// What this process calls itself to clients that expect Prometheus.
pub(crate) fn app_name(api: &Api) -> &'static str {
    if api.options.agent { "Prometheus Agent" } else { "Prometheus Server" }
}

/// A line of text, or nothing at all for HEAD.
fn told(request: &Request, line: String) -> Response<Body> {
    match *request.method() {
        Method::HEAD => Response::new(Body::empty()),
        _ => text(StatusCode::OK, line),
    }
}

pub(crate) fn healthy(api: Arc<Api>, request: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async move { told(&request, format!("{} is Healthy.\n", app_name(&api))) })
}

/// Readiness itself is checked before the handler.
pub(crate) fn ready(api: Arc<Api>, request: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async move { told(&request, format!("{} is Ready.\n", app_name(&api))) })
}

pub(crate) fn write_build(build: &BuildInfo, json: &mut Json) {
    json.raw("{\"version\":").text(&build.version);
    json.raw(",\"revision\":").text(&build.revision);
    json.raw(",\"branch\":").text(&build.branch);
    json.raw(",\"buildUser\":").text(&build.build_user);
    json.raw(",\"buildDate\":").text(&build.build_date);
    json.raw(",\"goVersion\":").text(&build.go_version);
    json.raw(",\"pyrrhaVersion\":").text(&build.pyrrha);
    json.raw("}");
}

pub(crate) fn version(api: Arc<Api>, _: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async move {
        let mut json = Json::default();
        write_build(&api.options.build, &mut json);
        json.raw("\n");
        text(StatusCode::OK, json.into_bytes())
    })
}
