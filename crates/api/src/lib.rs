//! `api`: the windows. The HTTP API of Prometheus over the rooms' doors.
//!
//! Room: floor 5. The only user of axum and the only writer of result JSON. Reads through `storage`, asks
//! `query`, hands bodies to `ingest`; knows neither `tsdb` nor the configuration file.
#![forbid(unsafe_code)]

mod clean;
mod error;
mod health;
mod home;
mod instrument;
mod json;
mod lifecycle;
mod list;
mod multipart;
mod own_metrics;
mod params;
pub mod query_log;
mod router;
mod state;
mod stream;
mod v1;
mod wrap;

pub use error::{ApiError, ErrorKind};
pub use json::Json;
pub use params::Form;
pub use router::router;
pub use state::{Api, BuildInfo, Command, Doors, Options, PoolConfig, Reading, Ready, Running};
pub use wrap::{Cors, Encoding};
