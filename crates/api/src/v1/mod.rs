//! `/api/v1`: one file per family of endpoints.

pub(crate) mod admin;
pub(crate) mod answer;
pub(crate) mod exemplars;
pub(crate) mod explain;
pub(crate) mod language;
pub(crate) mod matchers;
pub(crate) mod query;
pub(crate) mod rules;
pub(crate) mod series;
pub(crate) mod status;
pub(crate) mod targets;
pub(crate) mod write;
