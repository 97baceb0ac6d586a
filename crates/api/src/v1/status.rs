//! `/status/*`, features, and the endpoints of parts that are not built.

use crate::error::{ApiError, ErrorKind};
use crate::health::write_build;
use crate::json::Json;
use crate::params::parse_int;
use crate::router::{Call, Outcome, Reply};
use crate::state::Api;
use std::collections::BTreeMap;
use storage::admin::NameCount;

pub(crate) fn buildinfo(api: &Api, _: &Call) -> Outcome {
    Ok(Reply::data(|json| write_build(&api.options.build, json)))
}

pub(crate) fn config(api: &Api, _: &Call) -> Outcome {
    let running = api.running();
    Ok(Reply::data(|json| {
        json.raw("{\"yaml\":").text(&running.yaml).raw("}");
    }))
}

pub(crate) fn flags(api: &Api, _: &Call) -> Outcome {
    Ok(Reply::data(|json| {
        json.raw("{");
        let mut first = true;
        for (name, value) in &api.options.flags {
            json.comma(&mut first).key(name).text(value);
        }
        json.raw("}");
    }))
}

fn nanos_text(ns: i128) -> String {
    jiff::Timestamp::from_nanosecond(ns).map(|t| t.to_string()).unwrap_or_default()
}

pub(crate) fn runtimeinfo(api: &Api, _: &Call) -> Outcome {
    let options = &api.options;
    let running = api.running();
    let corruptions: f64 = api
        .registry
        .snapshot()
        .iter()
        .filter(|f| f.name == "prometheus_tsdb_wal_corruptions_total")
        .flat_map(|f| f.points.iter().map(|p| p.value))
        .sum();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let reloaded = jiff::Timestamp::from_second(running.last_reload_at).unwrap_or_default();
    Ok(Reply::data(|json| {
        json.raw("{\"startTime\":").text(&nanos_text(options.started_ns));
        json.raw(",\"CWD\":").text(&options.cwd);
        json.raw(",\"hostname\":").text(&options.hostname);
        json.raw(",\"serverTime\":").text(&jiff::Timestamp::now().to_string());
        json.raw(",\"reloadConfigSuccess\":").bool(running.last_reload_ok);
        json.raw(",\"lastConfigTime\":").text(&reloaded.to_string());
        json.raw(",\"corruptionCount\":").int(corruptions as i64);
        // There are no goroutines here; tasks of the runtime come nearest.
        let tasks = tokio::runtime::Handle::try_current().map_or(0, |h| h.metrics().num_alive_tasks());
        json.raw(",\"goroutineCount\":").uint(tasks as u64);
        json.raw(",\"GOMAXPROCS\":").uint(cores as u64);
        json.raw(",\"GOMEMLIMIT\":").int(i64::MAX);
        json.raw(",\"GOGC\":\"\",\"GODEBUG\":\"\",\"storageRetention\":").text(&running.retention).raw("}");
    }))
}

pub(crate) fn features(api: &Api, _: &Call) -> Outcome {
    Ok(Reply::data(|json| write_features(&api.options.features, json)))
}

fn write_features(features: &BTreeMap<String, BTreeMap<String, bool>>, json: &mut Json) {
    json.raw("{");
    let mut first = true;
    for (category, names) in features {
        json.comma(&mut first).label_text(category).raw(":{");
        let mut first = true;
        for (name, on) in names {
            // Operators such as `>=` stand here unescaped.
            json.comma(&mut first).label_text(name).raw(":").bool(*on);
        }
        json.raw("}");
    }
    json.raw("}");
}

fn write_counts(json: &mut Json, key: &str, list: &[NameCount]) {
    json.raw(",").key(key).raw("[");
    let mut first = true;
    for one in list {
        json.comma(&mut first).raw("{\"name\":").text(&one.name);
        json.raw(",\"value\":").uint(one.value).raw("}");
    }
    json.raw("]");
}

pub(crate) fn tsdb(api: &Api, call: &Call) -> Outcome {
    const MAX: usize = 10_000;
    let limit = match call.form.get("limit") {
        "" => 10,
        text => parse_int(text)
            .ok()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n > 0)
            .ok_or_else(|| ApiError::bad_data("limit must be a positive number"))?,
    };
    if limit > MAX {
        return Err(ApiError::bad_data(format!("limit must not exceed {MAX}")));
    }
    let stats = api.reading()?.admin.head_stats(limit).map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(Reply::data(|json| {
        json.raw("{\"headStats\":{\"numSeries\":").uint(stats.num_series);
        json.raw(",\"numLabelPairs\":").uint(stats.num_label_pairs);
        json.raw(",\"chunkCount\":").uint(stats.chunk_count);
        json.raw(",\"minTime\":").int(stats.min_time);
        json.raw(",\"maxTime\":").int(stats.max_time).raw("}");
        write_counts(json, "seriesCountByMetricName", &stats.series_by_metric);
        write_counts(json, "labelValueCountByLabelName", &stats.label_values_by_label);
        write_counts(json, "memoryInBytesByLabelName", &stats.memory_by_label);
        write_counts(json, "seriesCountByLabelValuePair", &stats.series_by_label_pair);
        json.raw("}");
    }))
}

pub(crate) fn blocks(api: &Api, _: &Call) -> Outcome {
    let blocks = api.reading()?.admin.blocks();
    Ok(Reply::data(|json| {
        json.raw("{\"blocks\":[");
        let mut first = true;
        for block in &blocks {
            // What stands on disk is indented; a reply is not.
            let meta: Result<Box<serde_json::value::RawValue>, _> = serde_json::from_str(&block.meta_json);
            if let Ok(meta) = meta {
                json.comma(&mut first).raw(&compact(meta.get()));
            }
        }
        json.raw("]}");
    }))
}

/// Takes blanks between tokens out of a valid JSON text.
fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        if quoted || !c.is_ascii_whitespace() {
            out.push(c);
        }
        match c {
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    out
}

pub(crate) fn walreplay(api: &Api, _: &Call) -> Outcome {
    let status = api.replay();
    Ok(Reply::data(|json| {
        json.raw("{\"min\":").uint(status.min).raw(",\"max\":").uint(status.max);
        json.raw(",\"current\":").uint(status.current).raw("}");
    }))
}

/// No notifications are ever raised before that part is built.
pub(crate) fn notifications(_: &Api, _: &Call) -> Outcome {
    Ok(Reply::data(|json| {
        json.raw("[]");
    }))
}

pub(crate) fn notifications_live(_: &Api, _: &Call) -> Outcome {
    // Upstream's answer when no more subscribers are taken: the UI then does without.
    Ok(Reply::no_content())
}

pub(crate) fn openapi(_: &Api, _: &Call) -> Outcome {
    Err(ApiError::not_built("the OpenAPI document"))
}

pub(crate) fn self_metrics(_: &Api, _: &Call) -> Outcome {
    Err(ApiError::not_built("own metrics as JSON (see /metrics)"))
}

pub(crate) fn search(_: &Api, _: &Call) -> Outcome {
    Err(ApiError::new(ErrorKind::Unavailable, "search API disabled"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn compact_keeps_texts() {
        assert_eq!(super::compact("{ \"a b\" : [ 1,\n\t\"\\\" c\" ] }"), "{\"a b\":[1,\"\\\" c\"]}");
    }
}
