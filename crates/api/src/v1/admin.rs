//! Deletion, tombstones, snapshots.

use crate::error::{ApiError, ErrorKind};
use crate::params::{MAX_TIME_MS, MIN_TIME_MS, parse_bool, time_param};
use crate::router::{Call, Outcome, Reply};
use crate::state::Api;
use crate::v1::matchers::selector;
use model::TimeRange;

fn allowed(api: &Api) -> Result<(), ApiError> {
    match api.options.enable_admin {
        true => Ok(()),
        false => Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled")),
    }
}

pub(crate) fn delete_series(api: &Api, call: &Call) -> Outcome {
    allowed(api)?;
    if call.form.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let min = time_param(&call.form, "start", MIN_TIME_MS).map_err(|e| ApiError::parameter("start", e))?;
    let max = time_param(&call.form, "end", MAX_TIME_MS).map_err(|e| ApiError::parameter("end", e))?;
    let sets: Result<Vec<_>, _> = call.form.all("match[]").map(selector).collect();
    let mut sets = sets.map_err(|e| ApiError::parameter("match[]", e))?;
    // As upstream, `{}` means nothing here: never the whole store.
    sets.retain(|set| !set.is_empty());
    let admin = &api.reading()?.admin;
    admin.delete_series(TimeRange { min, max }, &sets).map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(Reply::no_content())
}

pub(crate) fn clean_tombstones(api: &Api, _: &Call) -> Outcome {
    allowed(api)?;
    api.reading()?.admin.clean_tombstones().map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(Reply::no_content())
}

pub(crate) fn snapshot(api: &Api, call: &Call) -> Outcome {
    allowed(api)?;
    let skip_head = match call.form.get("skip_head") {
        "" => false,
        text => parse_bool(text)
            .map_err(|e| ApiError::parameter("skip_head", format!("unable to parse boolean: {e}")))?,
    };
    let name = api.reading()?.admin.snapshot(skip_head);
    let name = name.map_err(|e| ApiError::internal(format!("create snapshot: {e}")))?;
    Ok(Reply::data(|json| {
        json.raw("{\"name\":").text(&name).raw("}");
    }))
}
