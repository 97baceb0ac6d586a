//! `query_exemplars`.

use crate::error::ApiError;
use crate::list::rows;
use crate::params::{MAX_TIME_MS, MIN_TIME_MS, time_param};
use crate::router::{Call, Outcome, Reply};
use crate::state::Api;
use model::TimeRange;

pub(crate) fn query(api: &Api, call: &Call) -> Outcome {
    let min = time_param(&call.form, "start", MIN_TIME_MS).map_err(|e| ApiError::parameter("start", e))?;
    let max = time_param(&call.form, "end", MAX_TIME_MS).map_err(|e| ApiError::parameter("end", e))?;
    if max < min {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let expr = promql::parse(call.form.get("query"), api.options.language)
        .map_err(|e| ApiError::bad_data(e.to_string()))?;
    let sets: Vec<_> = expr.matcher_sets().into_iter().map(<[_]>::to_vec).collect();
    if sets.is_empty() {
        return Ok(Reply::no_content());
    }
    let found = api.reading()?.exemplars.select(TimeRange { min, max }, &sets)?;
    Ok(Reply::list(rows(found, |json, series| {
        json.raw("{\"seriesLabels\":").labels(&series.series);
        json.raw(",\"exemplars\":[");
        let mut first = true;
        for exemplar in &series.exemplars {
            json.comma(&mut first).raw("{\"labels\":").labels(&exemplar.labels);
            json.raw(",\"value\":").value(exemplar.value);
            json.raw(",\"timestamp\":").timestamp(exemplar.t.unwrap_or(0)).raw("}");
        }
        json.raw("]}");
    })))
}
