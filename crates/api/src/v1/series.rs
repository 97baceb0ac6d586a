//! Series, label names, label values.

use crate::error::ApiError;
use crate::list::rows;
use crate::params::{MAX_TIME_MS, MIN_TIME_MS, parse_limit, time_param, unescape_name};
use crate::router::{Call, Outcome, Reply};
use crate::state::Api;
use crate::v1::matchers::selector_sets;
use model::labels::quote;
use model::{Labels, Matcher, TimeRange};
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::{Querier, SelectHints, StorageError};

/// Series that are taken between two looks at whether the client is still there.
const BETWEEN_LOOKS: usize = 1024;
const TRUNCATED: &str = "results truncated due to limit";

struct Lookup {
    limit: usize,
    range: TimeRange,
}

impl Lookup {
    fn read(call: &Call) -> Result<Lookup, ApiError> {
        let limit = parse_limit(call.form.get("limit")).map_err(|e| ApiError::parameter("limit", e))?;
        let min =
            time_param(&call.form, "start", MIN_TIME_MS).map_err(|e| ApiError::parameter("start", e))?;
        let max = time_param(&call.form, "end", MAX_TIME_MS).map_err(|e| ApiError::parameter("end", e))?;
        Ok(Lookup { limit, range: TimeRange { min, max } })
    }

    /// One more than asked for, so that cutting can be told.
    fn hint(&self) -> usize {
        if self.limit > 0 { self.limit.saturating_add(1) } else { 0 }
    }

    fn querier(&self, api: &Api) -> Result<Arc<dyn Querier>, ApiError> {
        Ok(api.reading()?.queryable.querier(self.range)?)
    }

    fn names(&self, mut names: Vec<String>) -> Outcome {
        let cut = self.limit > 0 && names.len() > self.limit;
        if cut {
            names.truncate(self.limit);
        }
        let reply = Reply::list(rows(names, |json, name| {
            json.text(name);
        }));
        Ok(reply.warn(cut.then(|| TRUNCATED.to_owned())))
    }
}

/// Asks once for no or one set of matchers, else once for each, and merges.
fn merged(
    sets: &[Vec<Matcher>],
    ask: impl Fn(&[Matcher]) -> Result<Vec<String>, StorageError>,
) -> Result<Vec<String>, ApiError> {
    match sets {
        [] => Ok(ask(&[])?),
        [one] => Ok(ask(one)?),
        many => {
            let mut names = BTreeSet::new();
            for set in many {
                names.extend(ask(set)?);
            }
            Ok(names.into_iter().collect())
        }
    }
}

pub(crate) fn label_names(api: &Api, call: &Call) -> Outcome {
    let lookup = Lookup::read(call)?;
    let sets = selector_sets(call.form.all("match[]")).map_err(ApiError::bad_data)?;
    let querier = lookup.querier(api)?;
    lookup.names(merged(&sets, |set| querier.label_names(set, lookup.hint()))?)
}

pub(crate) fn label_values(api: &Api, call: &Call) -> Outcome {
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(&call.name).collect();
    let name = match std::str::from_utf8(&bytes).map(unescape_name) {
        Ok(name) if !name.is_empty() => name,
        Ok(_) => return Err(ApiError::bad_data("invalid label name: \"\"")),
        Err(_) => return Err(ApiError::bad_data(format!("invalid label name: {}", quote_bytes(&bytes)))),
    };
    let lookup = Lookup::read(call)?;
    let sets = selector_sets(call.form.all("match[]")).map_err(ApiError::bad_data)?;
    let querier = lookup.querier(api)?;
    lookup.names(merged(&sets, |set| querier.label_values(&name, set, lookup.hint()))?)
}

/// Quotes as Go does: bytes that are not UTF-8 as `\xff`.
fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        out.push_str(quote(chunk.valid()).trim_matches('"'));
        out.extend(chunk.invalid().iter().map(|b| format!("\\x{b:02x}")));
    }
    out.push('"');
    out
}

pub(crate) fn series(api: &Api, call: &Call) -> Outcome {
    if let Some(fault) = call.form.fault() {
        return Err(ApiError::bad_data(format!("error parsing form values: {fault}")));
    }
    if call.form.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let lookup = Lookup::read(call)?;
    let sets = selector_sets(call.form.all("match[]")).map_err(|e| ApiError::parameter("match[]", e))?;
    let querier = lookup.querier(api)?;
    let hints = SelectHints {
        range: Some(lookup.range),
        func: "series".into(),
        limit: lookup.hint(),
        sorted: sets.len() > 1,
        stop: call.stop.clone(),
        ..SelectHints::default()
    };
    // Taken out of the store before anything is sent: a client that reads slowly keeps no view of it open.
    let mut found: Vec<Labels> = Vec::new();
    let mut warnings = Vec::new();
    for set in &sets {
        let mut series = querier.select(set, &hints)?;
        let from = found.len();
        while let Some(one) = series.next()? {
            found.push(one.labels().clone());
            if lookup.limit > 0 && found.len() - from > lookup.limit {
                break;
            }
            if found.len().is_multiple_of(BETWEEN_LOOKS) {
                call.stop.check()?;
            }
        }
        warnings.extend(series.warnings());
    }
    if sets.len() > 1 {
        found = storage::sort::until(found, &call.stop, Labels::cmp)?;
        found.dedup();
    }
    let cut = lookup.limit > 0 && found.len() > lookup.limit;
    if cut {
        found.truncate(lookup.limit);
        warnings.push(TRUNCATED.to_owned());
    }
    let mut reply = Reply::list(rows(found, |json, labels| {
        json.labels(labels);
    }));
    reply.warnings = warnings;
    Ok(reply)
}
