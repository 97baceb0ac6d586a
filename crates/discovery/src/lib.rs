//! `discovery`: who is there to be scraped.
//!
//! Room: floor 2. Providers find target groups (a list in the configuration, files, an HTTP endpoint); the
//! supervisor runs them, keeps those that a reload leaves unchanged, and hands whole sets of groups per job
//! to whoever listens. Relabelling and scraping are not done here.
#![forbid(unsafe_code)]

mod config;
mod file;
mod group;
mod http_sd;
mod metrics;
mod supervisor;

pub use config::{SECTIONS, SdConfigs};
pub use file::{FileSdConfig, check_file, glob};
pub use group::{StaticConfig, TargetGroup};
pub use http_sd::HttpSdConfig;
pub use metrics::SdMetrics;
pub use supervisor::{Supervisor, SupervisorOptions, TargetSets};
