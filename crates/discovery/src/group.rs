//! Target groups: what discovery hands on.

use model::Labels;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::collections::BTreeMap;

/// The label with a target's address.
pub const ADDRESS: &str = "__address__";

/// Targets that share labels. A provider replaces a group by sending one with the same `source`, and takes it
/// back by sending it without targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Unique within its provider.
    pub source: String,
    /// Each with at least `__address__`.
    pub targets: Vec<Labels>,
    /// Apply to each target that does not have the label itself.
    pub labels: Labels,
}

/// A group as `static_configs`, target files and HTTP endpoints write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StaticConfig {
    #[serde(deserialize_with = "null_is_empty")]
    pub targets: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(d)?.unwrap_or_default())
}

fn labels<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    let labels = Option::<BTreeMap<String, String>>::deserialize(d)?.unwrap_or_default();
    if labels.contains_key("") {
        return Err(de::Error::custom("\"\" is not a valid label name"));
    }
    Ok(labels)
}

impl StaticConfig {
    /// The group, with one more label when a provider adds one.
    pub fn group(&self, source: String, more: Option<(&str, &str)>) -> TargetGroup {
        let own = self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        TargetGroup {
            source,
            targets: self.targets.iter().map(|t| Labels::from_pairs([(ADDRESS, t.as_str())])).collect(),
            labels: Labels::from_pairs(own.chain(more)),
        }
    }
}
