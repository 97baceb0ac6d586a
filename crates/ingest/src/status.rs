//! What the API shows of scraping: active and dropped targets, pools, metadata of targets.

use model::{Labels, MetricType};

/// Health of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    Up,
    Down,
}

impl Health {
    pub const fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// A target that is being scraped.
#[derive(Clone, Debug)]
pub struct ActiveTarget {
    /// Labels before relabelling, with `__` labels.
    pub discovered_labels: Labels,
    /// Labels that its series carry.
    pub labels: Labels,
    pub scrape_pool: String,
    pub scrape_url: String,
    pub last_error: String,
    /// Milliseconds since the Unix epoch; `None` before the first scrape.
    pub last_scrape_ms: Option<i64>,
    pub last_scrape_duration_seconds: f64,
    pub health: Health,
    /// Durations as the API writes them: `15s`.
    pub scrape_interval: String,
    pub scrape_timeout: String,
}

/// A target that relabelling dropped.
#[derive(Clone, Debug)]
pub struct DroppedTarget {
    pub discovered_labels: Labels,
    pub scrape_pool: String,
}

/// One pool with its targets.
#[derive(Clone, Debug, Default)]
pub struct PoolStatus {
    pub name: String,
    /// Sorted by URL.
    pub active: Vec<ActiveTarget>,
    /// At most `keep_dropped_targets`.
    pub dropped: Vec<DroppedTarget>,
    /// All of them, also those that are not kept.
    pub dropped_count: usize,
}

/// Metadata of one family at one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetMetadata {
    pub family: String,
    pub kind: MetricType,
    pub unit: String,
    pub help: String,
}

/// Metadata of all families of a target.
#[derive(Clone, Debug)]
pub struct MetadataOfTarget {
    pub scrape_pool: String,
    pub labels: Labels,
    pub families: Vec<TargetMetadata>,
}

/// What the API asks of scraping. Implemented by `scrape::Supervisor`'s handle; cheap enough for each request.
pub trait ScrapeStatus: Send + Sync {
    /// All pools, sorted by name.
    fn pools(&self) -> Vec<PoolStatus>;

    /// Names of all pools, sorted.
    fn pool_names(&self) -> Vec<String>;

    /// Metadata by active target.
    fn metadata(&self) -> Vec<MetadataOfTarget>;
}
