//! Pages for people until the web UI is built: where things are, and a box for queries.

use crate::router::BoxFuture;
use crate::state::Api;
use crate::wrap::{go_error, text};
use axum::body::Body;
use axum::extract::Request;
use http::{HeaderValue, Method, Response, StatusCode, header};
use std::sync::Arc;

/// Go's redirect: 302 with a line of HTML.
pub(crate) fn found(to: &str) -> Response<Body> {
    redirect_to(to, StatusCode::FOUND, "Found")
}

/// The same for good.
pub(crate) fn moved(to: &str) -> Response<Body> {
    redirect_to(to, StatusCode::MOVED_PERMANENTLY, "Moved Permanently")
}

/// The same for a path that is nearly right: for now, or (`GET` only) for good.
pub(crate) fn corrected(method: &Method, to: &str, query: Option<&str>, good: bool) -> Response<Body> {
    let to = match query {
        Some(query) => format!("{to}?{query}"),
        None => to.to_owned(),
    };
    let mut response = match good && method == Method::GET {
        true => moved(&to),
        false => redirect_to(&to, StatusCode::TEMPORARY_REDIRECT, "Temporary Redirect"),
    };
    if method != Method::GET {
        *response.body_mut() = Body::empty();
        if method != Method::HEAD {
            response.headers_mut().remove(header::CONTENT_TYPE);
        }
    }
    response
}

fn redirect_to(to: &str, status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("<a href=\"{}\">{text}</a>.\n\n", escape(to))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(to) = HeaderValue::from_str(to) {
        headers.insert(header::LOCATION, to);
    }
    response
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}

pub(crate) fn redirect(api: Arc<Api>, _: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async move {
        let page = if api.options.agent { "/agent" } else { "/query" };
        found(&format!("{}{page}", api.options.external_path))
    })
}

/// Old bookmarks.
pub(crate) fn graph(api: Arc<Api>, request: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async move {
        let query = request.uri().query().unwrap_or("");
        found(&format!("{}/query?{query}", api.options.external_path))
    })
}

pub(crate) fn federate(_: Arc<Api>, _: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async { go_error(StatusCode::NOT_IMPLEMENTED, "federation is not built into this version") })
}

pub(crate) fn page(api: Arc<Api>, _: Request) -> BoxFuture<Response<Body>> {
    Box::pin(async move {
        let options = &api.options;
        let name = if options.agent { "Prometheus Agent" } else { "Prometheus" };
        let (query, mode) = match options.agent {
            true => (
                "",
                "This is an agent: it scrapes, buffers and forwards. Queries are answered by its receiver.",
            ),
            false => (QUERY_BOX, "This server answers queries."),
        };
        let html = PAGE
            .replace("{{title}}", &escape(&options.page_title))
            .replace("{{name}}", name)
            .replace("{{version}}", &escape(&options.build.pyrrha))
            .replace("{{level}}", &escape(&options.build.version))
            .replace("{{mode}}", mode)
            .replace("{{query}}", query)
            .replace("{{base}}", &escape(&options.external_path));
        let mut response = text(StatusCode::OK, html);
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    })
}

const PAGE: &str = include_str!("home.html");
const QUERY_BOX: &str = include_str!("query.html");
