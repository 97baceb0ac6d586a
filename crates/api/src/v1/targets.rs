//! Targets, scrape pools, and metadata of metrics.

use crate::error::ApiError;
use crate::json::Json;
use crate::params::parse_int;
use crate::router::{Call, Outcome, Reply};
use crate::state::{Api, PoolConfig};
use crate::v1::matchers::selector;
use ingest::status::{ActiveTarget, DroppedTarget, PoolStatus};
use model::Labels;
use model::labels::quote;
use model::relabel::{RelabelConfig, apply, compile};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) fn scrape_pools(api: &Api, _: &Call) -> Outcome {
    let names = api.scrape().map(|s| s.pool_names()).unwrap_or_default();
    Ok(Reply::data(|json| {
        json.raw("{\"scrapePools\":").texts(names.iter().map(String::as_str)).raw("}");
    }))
}

/// What the configuration says of the pool that is asked for.
fn known_pool(api: &Api, name: &str) -> Result<PoolConfig, ApiError> {
    api.running().pools.get(name).cloned().ok_or_else(|| {
        let why = format!("error retrieving scrape config: scrape pool {} not found", quote(name));
        ApiError::bad_data(why)
    })
}

fn pool_param(call: &Call) -> Result<&str, ApiError> {
    match call.form.get("scrapePool") {
        "" => Err(ApiError::bad_data("no scrapePool parameter provided")),
        name => Ok(name),
    }
}

pub(crate) fn scrape_pool_config(api: &Api, call: &Call) -> Outcome {
    let pool = known_pool(api, pool_param(call)?)?;
    Ok(Reply::data(|json| {
        json.raw("{\"yaml\":").text(&pool.yaml).raw("}");
    }))
}

/// What each relabelling rule of a pool makes of given labels; rules behind one that drops are not run.
pub(crate) fn relabel_steps(api: &Api, call: &Call) -> Outcome {
    let name = pool_param(call)?;
    let labels = match call.form.get("labels") {
        "" => return Err(ApiError::bad_data("no labels parameter provided")),
        text => serde_json::from_str::<BTreeMap<String, String>>(text)
            .map_err(|e| ApiError::bad_data(format!("error parsing labels: {e}")))?,
    };
    let pool = known_pool(api, name)?;
    let rules = compile(&pool.relabel, pool.scheme).map_err(|e| ApiError::internal(e.to_string()))?;
    let mut labels = Labels::from_pairs(&labels).builder();
    let mut keep = true;
    Ok(Reply::data(|json| {
        json.raw("{\"steps\":[");
        let mut first = true;
        for (config, rule) in pool.relabel.iter().zip(&rules) {
            keep = keep && apply(std::slice::from_ref(rule), &mut labels);
            json.comma(&mut first).raw("{\"rule\":");
            write_rule(json, config);
            let output = if keep { labels.finish() } else { Labels::empty() };
            json.raw(",\"output\":").labels(&output).raw(",\"keep\":").bool(keep).raw("}");
        }
        json.raw("]}");
    }))
}

fn write_rule(json: &mut Json, config: &RelabelConfig) {
    json.raw("{");
    if let Some(sources) = config.source_labels.as_ref().filter(|s| !s.is_empty()) {
        json.raw("\"source_labels\":").texts(sources.iter().map(String::as_str)).raw(",");
    }
    json.raw("\"separator\":").text(&config.separator);
    json.raw(",\"regex\":").text(config.regex.as_deref().unwrap_or("(.*)"));
    if config.modulus != 0 {
        json.raw(",\"modulus\":").uint(config.modulus);
    }
    if !config.target_label.is_empty() {
        json.raw(",\"target_label\":").text(&config.target_label);
    }
    json.raw(",\"replacement\":").text(&config.replacement);
    json.raw(",\"action\":").text(config.action.as_str()).raw("}");
}

pub(crate) fn targets(api: &Api, call: &Call) -> Outcome {
    let pools = api.scrape().map(|s| s.pools()).unwrap_or_default();
    let wanted = call.form.url("scrapePool");
    let state = call.form.url("state").to_lowercase();
    let shows = |what: &str| state.is_empty() || state == "any" || state == what;
    let chosen = || pools.iter().filter(|p| wanted.is_empty() || p.name == wanted);
    Ok(Reply::data(|json| {
        json.raw("{\"activeTargets\":[");
        let mut first = true;
        if shows("active") {
            for target in chosen().flat_map(|p| &p.active) {
                json.comma(&mut first);
                write_active(json, target, api);
                json.pause();
            }
        }
        json.raw("],\"droppedTargets\":[");
        let mut first = true;
        if shows("dropped") {
            for target in chosen().flat_map(|p| &p.dropped) {
                json.comma(&mut first);
                write_dropped(json, target);
                json.pause();
            }
        }
        json.raw("],\"droppedTargetCounts\":");
        if shows("dropped") {
            write_counts(json, &pools);
        } else {
            json.raw("null");
        }
        json.raw("}");
    }))
}

fn write_active(json: &mut Json, target: &ActiveTarget, api: &Api) {
    let (global, problem) = global_url(&target.scrape_url, api);
    let error = match problem {
        None => target.last_error.clone(),
        Some(problem) => format!("{}: {problem}", target.last_error),
    };
    json.raw("{\"discoveredLabels\":").labels(&target.discovered_labels);
    json.raw(",\"labels\":").labels(&target.labels);
    json.raw(",\"scrapePool\":").text(&target.scrape_pool);
    json.raw(",\"scrapeUrl\":").text(&target.scrape_url);
    json.raw(",\"globalUrl\":").text(&global);
    json.raw(",\"lastError\":").text(&error);
    json.raw(",\"lastScrape\":").text(&time_text(target.last_scrape_ms));
    json.raw(",\"lastScrapeDuration\":").number(target.last_scrape_duration_seconds);
    json.raw(",\"health\":").text(target.health.as_str());
    json.raw(",\"scrapeInterval\":").text(&target.scrape_interval);
    json.raw(",\"scrapeTimeout\":").text(&target.scrape_timeout).raw("}");
}

fn write_dropped(json: &mut Json, target: &DroppedTarget) {
    json.raw("{\"discoveredLabels\":").labels(&target.discovered_labels);
    json.raw(",\"scrapePool\":").text(&target.scrape_pool).raw("}");
}

fn write_counts(json: &mut Json, pools: &[PoolStatus]) {
    json.raw("{");
    let mut first = true;
    for pool in pools {
        json.comma(&mut first).key(&pool.name).uint(pool.dropped_count as u64);
    }
    json.raw("}");
}

/// RFC 3339 with the decimals that are needed; Go's zero time when there is none.
pub(crate) fn time_text(ms: Option<i64>) -> String {
    let time = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |t| t.to_string())
}

/// A loopback address means nothing elsewhere: the host is replaced by that of the external URL, and for
/// ourselves scheme and port as well.
fn global_url(url: &str, api: &Api) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = split_port(authority);
    if !["127.0.0.1", "localhost", "::1"].contains(&host) {
        return (url.to_owned(), None);
    }
    let options = &api.options;
    let Some((_, own_port)) = options.listen_address.rsplit_once(':') else {
        return (
            url.to_owned(),
            Some(format!("address {}: missing port in address", options.listen_address)),
        );
    };
    if port == Some(own_port) {
        return (format!("{}://{}{path}", options.external_scheme, options.external_host), None);
    }
    let (own_host, _) = split_port(&options.external_host);
    let host = if own_host.contains(':') { format!("[{own_host}]") } else { own_host.to_owned() };
    match port {
        Some(port) => (format!("{scheme}://{host}:{port}{path}"), None),
        None => (format!("{scheme}://{own_host}{path}"), None),
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    if let Some(v6) = authority.strip_prefix('[')
        && let Some((host, rest)) = v6.split_once(']')
    {
        return (host, rest.strip_prefix(':'));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn number(text: &str, name: &str) -> Result<i64, ApiError> {
    match text {
        "" => Ok(-1),
        text => parse_int(text).map_err(|_| ApiError::bad_data(format!("{name} must be a number"))),
    }
}

pub(crate) fn target_metadata(api: &Api, call: &Call) -> Outcome {
    let limit = number(call.form.get("limit"), "limit")?;
    let matchers = match call.form.get("match_target") {
        "" => Vec::new(),
        text => selector(text).map_err(|e| ApiError::parameter("match_target", e))?,
    };
    let metric = call.form.get("metric");
    let targets = api.scrape().map(|s| s.metadata()).unwrap_or_default();
    Ok(Reply::data(|json| {
        json.raw("[");
        let (mut first, mut shown) = (true, 0);
        for target in &targets {
            if limit >= 0 && shown >= limit {
                break;
            }
            if !matchers.iter().all(|m| m.matches_labels(&target.labels)) {
                continue;
            }
            for family in target.families.iter().filter(|f| metric.is_empty() || f.family == metric) {
                json.comma(&mut first).raw("{\"target\":").labels(&target.labels);
                if metric.is_empty() {
                    json.raw(",\"metric\":").text(&family.family);
                }
                json.raw(",\"type\":").text(family.kind.as_str());
                json.raw(",\"help\":").text(&family.help).raw(",\"unit\":").text(&family.unit).raw("}");
                json.pause();
                shown += 1;
            }
        }
        json.raw("]");
    }))
}

/// Metadata of scraped metrics, and of pushed ones, of which upstream knows nothing.
pub(crate) fn metadata(api: &Api, call: &Call) -> Outcome {
    let limit = number(call.form.get("limit"), "limit")?;
    let per_metric = number(call.form.get("limit_per_metric"), "limit_per_metric")?;
    let metric = call.form.get("metric");
    let mut all = BTreeMap::<String, BTreeSet<(&'static str, String, String)>>::new();
    let mut add = |name: &str, entry: (&'static str, String, String)| {
        let set = all.entry(name.to_owned()).or_default();
        if per_metric <= 0 || (set.len() as i64) < per_metric {
            set.insert(entry);
        }
    };
    for target in api.scrape().map(|s| s.metadata()).unwrap_or_default() {
        for f in target.families.into_iter().filter(|f| metric.is_empty() || f.family == metric) {
            add(&f.family, (f.kind.as_str(), f.unit, f.help));
        }
    }
    if let Some(pushed) = api.doors().and_then(|doors| doors.metadata.as_ref()) {
        for (name, m) in pushed.metadata((!metric.is_empty()).then_some(metric)) {
            add(&name, (m.kind.as_str(), m.unit.clone(), m.help.clone()));
        }
    }
    Ok(Reply::data(|json| {
        json.raw("{");
        let mut first = true;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        for (name, set) in all.iter().take(wanted) {
            json.comma(&mut first).key(name).raw("[");
            let mut first = true;
            for (kind, unit, help) in set {
                json.comma(&mut first).raw("{\"type\":").text(kind);
                json.raw(",\"unit\":").text(unit).raw(",\"help\":").text(help).raw("}");
            }
            json.raw("]");
            json.pause();
        }
        json.raw("}");
    }))
}
