//! Reading metadata of metrics that were pushed.

use model::Metadata;

pub trait MetadataSource: Send + Sync {
    /// Metadata by metric family, sorted by name; only `metric` when given.
    fn metadata(&self, metric: Option<&str>) -> Vec<(String, Metadata)>;
}
