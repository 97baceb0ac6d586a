//! Rules, alerts and Alertmanagers. There are none before the rules room is built, and saying so is true.

use crate::error::ApiError;
use crate::params::{parse_bool, parse_int};
use crate::router::{Call, Outcome, Reply};
use crate::state::Api;
use crate::v1::matchers::selector_sets;
use model::labels::quote;

pub(crate) fn rules(_: &Api, call: &Call) -> Outcome {
    let form = &call.form;
    selector_sets(form.all("match[]")).map_err(ApiError::bad_data)?;
    let kind = form.url("type").to_lowercase();
    if !["", "alert", "record"].contains(&kind.as_str()) {
        return Err(ApiError::parameter("type", format!("not supported value {}", quote(&kind))));
    }
    let exclude = form.url("exclude_alerts").to_lowercase();
    if !exclude.is_empty() {
        parse_bool(&exclude).map_err(|e| {
            ApiError::parameter("exclude_alerts", format!("error converting exclude_alerts: {e}"))
        })?;
    }
    let (limit, token) = (form.url("group_limit"), form.url("group_next_token"));
    if !token.is_empty() && limit.is_empty() {
        return Err(ApiError::parameter(
            "group_next_token",
            "group_limit needs to be present in order to paginate over the groups",
        ));
    }
    if !limit.is_empty() {
        let number = parse_int(limit).map_err(|e| {
            let e = e.replace("strconv.Atoi", "strconv.ParseInt");
            ApiError::parameter("group_limit", format!("group_limit needs to be a valid number: {e}"))
        })?;
        if number <= 0 {
            return Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0"));
        }
        if !token.is_empty() {
            let text = format!("invalid group_next_token '{token}'. were rule groups changed?");
            return Err(ApiError::parameter("group_next_token", text));
        }
    }
    Ok(Reply::data(|json| {
        json.raw("{\"groups\":[]}");
    }))
}

pub(crate) fn alerts(_: &Api, _: &Call) -> Outcome {
    Ok(Reply::data(|json| {
        json.raw("{\"alerts\":[]}");
    }))
}

pub(crate) fn alertmanagers(_: &Api, _: &Call) -> Outcome {
    Ok(Reply::data(|json| {
        json.raw("{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}");
    }))
}
