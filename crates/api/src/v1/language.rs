//! `format_query` and `parse_query`.

use crate::error::ApiError;
use crate::router::{Call, Outcome, Reply};
use crate::state::Api;

fn parsed(api: &Api, call: &Call) -> Result<promql::Expr, ApiError> {
    promql::parse(call.form.get("query"), api.options.language).map_err(|e| ApiError::parameter("query", e))
}

pub(crate) fn format_query(api: &Api, call: &Call) -> Outcome {
    let text = promql::prettify(&parsed(api, call)?);
    Ok(Reply::data(|json| {
        json.text(&text);
    }))
}

/// The tree as JSON, for the explain view of the UI.
pub(crate) fn parse_query(api: &Api, call: &Call) -> Outcome {
    // These stand in texts only, where upstream escapes them.
    let tree = promql::to_json(&parsed(api, call)?).to_string();
    let tree = tree.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    Ok(Reply::data(|json| {
        json.raw(&tree);
    }))
}
