//! The list of routes and what stands around each handler: metrics, readiness, CORS, compression.

use crate::clean::{Known, cleaned};
use crate::error::ApiError;
use crate::instrument::HandlerMetrics;
use crate::json::Json;
use crate::list::{ListText, Rows};
use crate::params::{Form, MAX_FORM_BYTES};
use crate::query_log::Origin;
use crate::state::{Api, Ready};
use crate::wrap::{Encoding, body_of, go_error, text};
use crate::{health, home, lifecycle, multipart, own_metrics, stream, v1};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use storage::select::Stop;

/// What an endpoint that runs itself comes to.
pub(crate) type Answer = Result<Response<Body>, ApiError>;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A request to the JSON API, read as far as all handlers need it.
pub(crate) struct Call {
    pub(crate) form: Form,
    /// The variable part of the path, percent-encoded.
    pub(crate) name: String,
    pub(crate) encoding: Encoding,
    pub(crate) origin: Origin,
    /// Says so when the client has gone.
    pub(crate) stop: Stop,
}

/// What a successful answer says.
enum Content {
    /// `data` already written, but for what follows it.
    Text(Json),
    /// `data` is a list that is written while it is sent.
    List(Rows),
    /// Nothing at all (204).
    Nothing,
}

/// A successful answer.
pub(crate) struct Reply {
    content: Content,
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

pub(crate) type Outcome = Result<Reply, ApiError>;

impl Reply {
    /// `write` writes the value of `data`.
    pub(crate) fn data(write: impl FnOnce(&mut Json)) -> Reply {
        let mut json = Json::with_capacity(1024);
        json.raw("{\"status\":\"success\",\"data\":");
        write(&mut json);
        Self::of(Content::Text(json))
    }

    /// A list of any length as `data`.
    pub(crate) fn list(rows: Rows) -> Reply {
        Self::of(Content::List(rows))
    }

    pub(crate) fn no_content() -> Reply {
        Self::of(Content::Nothing)
    }

    fn of(content: Content) -> Reply {
        Reply { content, warnings: Vec::new(), infos: Vec::new() }
    }

    pub(crate) fn warn(mut self, warning: Option<String>) -> Reply {
        self.warnings.extend(warning);
        self
    }

    /// The whole HTTP reply, compressed.
    pub(crate) fn into_response(self, encoding: Encoding) -> Response<Body> {
        let mut json = match self.content {
            Content::Text(json) => json,
            Content::List(rows) => {
                return stream::response(ListText::new(rows, &self.warnings, &self.infos), encoding);
            }
            Content::Nothing => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                return response;
            }
        };
        json.notes(&self.warnings, &self.infos).raw("}");
        let mut response = Response::new(body_of(encoding.encode(json.into_pieces())));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// How a handler is run.
pub(crate) enum Run {
    /// Quick and without locks that could be held long: on the runtime's thread.
    Inline(fn(&Api, &Call) -> Outcome),
    /// Reads the store: on a thread for blocking work.
    Blocking(fn(&Api, &Call) -> Outcome),
    /// Runs itself, e.g. to be cancelled with the request.
    Async(fn(Arc<Api>, Call) -> BoxFuture<Answer>),
    /// Not JSON: answers the raw request.
    Raw(fn(Arc<Api>, Request) -> BoxFuture<Response<Body>>),
}

/// Where a handler answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// Also while starting and stopping.
    Always,
    Ready,
    /// Ready servers; agents answer 422.
    ServerReady,
}

struct Route {
    methods: &'static [Method],
    /// Upstream's name, as metrics show it: `/label/:name/values`.
    path: &'static str,
    at: Where,
    run: Run,
}

const GET: &[Method] = &[Method::GET];
const GET_HEAD: &[Method] = &[Method::GET, Method::HEAD];
const GET_POST: &[Method] = &[Method::GET, Method::POST];
const POST: &[Method] = &[Method::POST];
const POST_PUT: &[Method] = &[Method::POST, Method::PUT];

use Run::{Async, Blocking, Inline, Raw};
use Where::{Always, ServerReady};

fn api_routes() -> Vec<Route> {
    let route = |methods, path, at, run| Route { methods, path, at, run };
    vec![
        route(POST_PUT, "/admin/tsdb/clean_tombstones", ServerReady, Blocking(v1::admin::clean_tombstones)),
        route(POST_PUT, "/admin/tsdb/delete_series", ServerReady, Blocking(v1::admin::delete_series)),
        route(POST_PUT, "/admin/tsdb/snapshot", ServerReady, Blocking(v1::admin::snapshot)),
        route(GET, "/alertmanagers", ServerReady, Inline(v1::rules::alertmanagers)),
        route(GET, "/alerts", ServerReady, Inline(v1::rules::alerts)),
        route(GET, "/features", Where::Ready, Inline(v1::status::features)),
        route(GET_POST, "/format_query", ServerReady, Inline(v1::language::format_query)),
        route(GET, "/label/:name/values", ServerReady, Blocking(v1::series::label_values)),
        route(GET_POST, "/labels", ServerReady, Blocking(v1::series::label_names)),
        route(GET, "/metadata", Where::Ready, Blocking(v1::targets::metadata)),
        route(GET, "/notifications", Always, Inline(v1::status::notifications)),
        route(GET, "/notifications/live", Always, Inline(v1::status::notifications_live)),
        route(GET, "/openapi.yaml", Where::Ready, Inline(v1::status::openapi)),
        route(POST, "/otlp/v1/metrics", Where::Ready, Raw(v1::write::otlp)),
        route(GET_POST, "/parse_query", ServerReady, Inline(v1::language::parse_query)),
        route(GET_POST, "/explain", ServerReady, Async(v1::query::explain)),
        route(GET_POST, "/query", ServerReady, Async(v1::query::instant)),
        route(GET_POST, "/query_exemplars", ServerReady, Blocking(v1::exemplars::query)),
        route(GET_POST, "/query_range", ServerReady, Async(v1::query::range)),
        route(POST, "/read", Where::Ready, Raw(v1::write::read)),
        route(GET, "/rules", ServerReady, Inline(v1::rules::rules)),
        route(GET, "/scrape_pools", Where::Ready, Inline(v1::targets::scrape_pools)),
        route(GET, "/scrape_pools/config", Where::Ready, Inline(v1::targets::scrape_pool_config)),
        route(GET_POST, "/search/label_names", Where::Ready, Inline(v1::status::search)),
        route(GET_POST, "/search/label_values", Where::Ready, Inline(v1::status::search)),
        route(GET_POST, "/search/metric_names", Where::Ready, Inline(v1::status::search)),
        route(GET_POST, "/series", ServerReady, Blocking(v1::series::series)),
        route(GET, "/status/buildinfo", Where::Ready, Inline(v1::status::buildinfo)),
        route(GET, "/status/config", Where::Ready, Inline(v1::status::config)),
        route(GET, "/status/flags", Where::Ready, Inline(v1::status::flags)),
        route(GET, "/status/runtimeinfo", Where::Ready, Inline(v1::status::runtimeinfo)),
        route(GET, "/status/self_metrics", Where::Ready, Inline(v1::status::self_metrics)),
        route(GET, "/status/tsdb", ServerReady, Blocking(v1::status::tsdb)),
        route(GET, "/status/tsdb/blocks", ServerReady, Blocking(v1::status::blocks)),
        route(GET, "/status/walreplay", Always, Inline(v1::status::walreplay)),
        route(GET, "/targets", Where::Ready, Blocking(v1::targets::targets)),
        route(GET, "/targets/metadata", Where::Ready, Blocking(v1::targets::target_metadata)),
        route(GET, "/targets/relabel_steps", Where::Ready, Inline(v1::targets::relabel_steps)),
        route(POST, "/write", Where::Ready, Raw(v1::write::write)),
    ]
}

fn page_routes(agent: bool) -> Vec<Route> {
    let route = |methods, path, at, run| Route { methods, path, at, run };
    let mut routes = vec![
        route(GET_HEAD, "/-/healthy", Always, Raw(health::healthy)),
        route(POST_PUT, "/-/quit", Always, Raw(lifecycle::quit)),
        route(GET, "/-/quit", Always, Raw(lifecycle::wrong_method)),
        route(GET_HEAD, "/-/ready", Where::Ready, Raw(health::ready)),
        route(POST_PUT, "/-/reload", Always, Raw(lifecycle::reload)),
        route(GET, "/-/reload", Always, Raw(lifecycle::wrong_method)),
        route(GET, "/federate", Where::Ready, Raw(home::federate)),
        route(GET, "/metrics", Always, Raw(own_metrics::metrics)),
        route(GET, "/version", Always, Raw(health::version)),
        route(GET, "/", Always, Raw(home::redirect)),
        route(GET, "/graph", Always, Raw(home::graph)),
    ];
    let both = ["/alertmanager-discovery", "/config", "/flags", "/service-discovery", "/status", "/targets"];
    let own: &[&'static str] = match agent {
        true => &["/agent"],
        false => &["/alerts", "/query", "/rules", "/tsdb-status"],
    };
    routes.extend(both.iter().chain(own).map(|path| route(GET, path, Always, Raw(home::page))));
    routes
}

/// A route in service.
struct Served {
    route: Route,
    metrics: HandlerMetrics,
}

/// All endpoints below the route prefix.
pub fn router(api: &Arc<Api>) -> Router {
    let mut paths = BTreeMap::<String, Vec<Served>>::new();
    let prefix = api.options.route_prefix.trim_end_matches('/').to_owned();
    for (base, routes) in [("/api/v1", api_routes()), ("", page_routes(api.options.agent))] {
        for route in routes {
            let name = format!("{base}{}", route.path);
            let metrics = api.http.handler(&name);
            let path = format!("{}{}", literal(&prefix), name.replace(":name", "{name}"));
            paths.entry(path).or_default().push(Served { route, metrics });
        }
    }
    // A prefix may hold what the router would take for variables of its former notation.
    let mut router = Router::new().without_v07_checks();
    let mut known = Known::default();
    for (path, served) in paths {
        known.add(path.clone(), served.iter().flat_map(|s| s.route.methods).collect());
        let (api, served) = (api.clone(), Arc::new(served));
        // Methods are told apart here: axum would add HEAD to each GET, which upstream does not have.
        let at = path.split('/').position(|part| part == "{name}");
        let serve = move |request: Request| {
            let name = at.and_then(|at| request.uri().path().split('/').nth(at)).unwrap_or("").to_owned();
            dispatch(api.clone(), served.clone(), name, request)
        };
        router = router.route(&path, axum::routing::any(serve));
    }
    if !prefix.is_empty() {
        let to = api.options.route_prefix.clone();
        router = router.route("/", axum::routing::get(move || async move { home::found(&to) }));
        let to = format!("{prefix}/");
        router = router.route(&literal(&prefix), axum::routing::get(move || async move { home::moved(&to) }));
    }
    let (api, known) = (api.clone(), Arc::new(known));
    let below = format!("{prefix}/api/v1");
    router.fallback(move |request: Request| async move {
        let (method, path, query) = (request.method(), request.uri().path(), request.uri().query());
        if let Some(clean) = cleaned(path) {
            return home::corrected(method, &clean, query, false);
        }
        if path == below {
            return home::corrected(method, &format!("{path}/"), query, false);
        }
        match known.meant(method, path) {
            Some(meant) => home::corrected(method, &meant, query, true),
            None => not_found(&api, method, path, request.headers()),
        }
    })
}

/// A path that the router takes as it is.
fn literal(path: &str) -> String {
    path.replace('{', "{{").replace('}', "}}")
}

async fn dispatch(api: Arc<Api>, served: Arc<Vec<Served>>, name: String, request: Request) -> Response<Body> {
    let (method, uri) = (request.method(), request.uri());
    if let Some(clean) = cleaned(uri.path()) {
        return home::corrected(method, &clean, uri.query(), false);
    }
    if name.to_ascii_lowercase().contains("%2f") {
        return not_found(&api, method, uri.path(), request.headers());
    }
    let found = served.iter().find(|s| s.route.methods.contains(request.method()));
    match found {
        Some(Served { route, metrics }) => {
            let start = Instant::now();
            let response = handle(api, route, name, request).await;
            metrics.observe(start, response)
        }
        None if request.method() == Method::OPTIONS => {
            if below_api(&api, request.uri().path()) {
                return not_found(&api, request.method(), request.uri().path(), request.headers());
            }
            let mut response = Response::new(Body::empty());
            allow(served.iter().flat_map(|s| s.route.methods), response.headers_mut());
            response
        }
        None => wrong_method(served.iter().flat_map(|s| s.route.methods)),
    }
}

async fn handle(api: Arc<Api>, route: &Route, name: String, request: Request) -> Response<Body> {
    if route.at != Always && api.ready() != Ready::Ready {
        return not_ready(&api);
    }
    if let Raw(run) = route.run {
        return run(api, request).await;
    }
    let (parts, body) = request.into_parts();
    // What answers at all times answers plainly, as upstream.
    let encoding = match route.at {
        Always => Encoding::Identity,
        _ => Encoding::negotiate(&parts.headers),
    };
    let mut response = if route.at == ServerReady && api.options.agent {
        ApiError::new(crate::ErrorKind::Execution, "unavailable with Prometheus Agent")
            .into_response(encoding)
    } else {
        match read_call(&parts, body, name, encoding).await {
            Ok(call) => match run_call(&api, &route.run, call).await {
                Ok(response) => response,
                Err(e) => e.into_response(encoding),
            },
            Err(e) => e.into_response(encoding),
        }
    };
    if route.at != Always {
        encoding.mark(response.headers_mut());
    }
    api.options.cors.apply(&parts.headers, response.headers_mut());
    response
}

async fn run_call(api: &Arc<Api>, run: &Run, call: Call) -> Result<Response<Body>, ApiError> {
    match run {
        Inline(f) => f(api, &call).map(|reply| reply.into_response(call.encoding)),
        Blocking(f) => {
            let (api, f) = (api.clone(), *f);
            on_a_thread(call, move |call| f(&api, call).map(|reply| reply.into_response(call.encoding))).await
        }
        Async(f) => f(api.clone(), call).await,
        Raw(_) => Err(ApiError::internal("not a JSON endpoint")),
    }
}

/// Raises its flag when the request is dropped: the client has gone.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn on_a_thread(mut call: Call, run: impl FnOnce(&Call) -> Answer + Send + 'static) -> Answer {
    let gone = Gone(Arc::default());
    let flag = gone.0.clone();
    call.stop = Stop::when(move || flag.load(Ordering::Relaxed));
    match tokio::task::spawn_blocking(move || run(&call)).await {
        Ok(result) => result,
        Err(e) => Err(ApiError::internal(format!("handler failed: {e}"))),
    }
}

async fn read_call(parts: &Parts, body: Body, name: String, encoding: Encoding) -> Result<Call, ApiError> {
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let is_form =
        kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/x-www-form-urlencoded");
    let has_form = is_form && matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    // Go reads these whatever the method.
    let boundary = multipart::boundary(kind);
    let body = match has_form || boundary.is_some() {
        true => axum::body::to_bytes(body, MAX_FORM_BYTES)
            .await
            .map_err(|e| ApiError::bad_data(format!("error parsing form values: {e}")))?,
        false => bytes::Bytes::new(),
    };
    let query = parts.uri.query().unwrap_or("");
    let form = match boundary {
        None => Form::parse(&body, query),
        Some(boundary) => {
            let mut form = Form::parse(b"", query);
            form.add_multipart(&body, &boundary);
            form
        }
    };
    let peer = parts.extensions.get::<net::listen::Peer>();
    let origin = Origin {
        client: peer.map_or_else(String::new, |peer| peer.address.ip().to_string()),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
    };
    Ok(Call { form, name, encoding, origin, stop: Stop::default() })
}

pub(crate) fn not_ready(api: &Api) -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
    let stopping = if api.ready() == Ready::Stopping { "true" } else { "false" };
    response.headers_mut().insert("x-prometheus-stopping", HeaderValue::from_static(stopping));
    response
}

/// 405 with the methods that would do.
fn wrong_method<'a>(methods: impl Iterator<Item = &'a Method>) -> Response<Body> {
    let mut response = go_error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    allow(methods, response.headers_mut());
    response
}

fn allow<'a>(methods: impl Iterator<Item = &'a Method>, reply: &mut HeaderMap) {
    let mut names: Vec<&str> = methods.map(Method::as_str).chain(["OPTIONS"]).collect();
    names.sort_unstable();
    if let Ok(allow) = HeaderValue::from_str(&names.join(", ")) {
        reply.insert(header::ALLOW, allow);
    }
}

fn below_api(api: &Api, path: &str) -> bool {
    let rest = path.strip_prefix(api.options.route_prefix.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.starts_with("/api/v1/"))
}

/// A preflight below the API, or 404 as Go writes it.
fn not_found(api: &Api, method: &Method, path: &str, headers: &HeaderMap) -> Response<Body> {
    if method != Method::OPTIONS || !below_api(api, path) {
        return go_error(StatusCode::NOT_FOUND, "404 page not found");
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Encoding::Identity.mark(response.headers_mut());
    api.options.cors.apply(headers, response.headers_mut());
    response
}
