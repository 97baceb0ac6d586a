//! `server`: the frame. Flags, assembly of the rooms, reload, shutdown, logs, the demo and the binaries.
//!
//! Room: floor 6. Names every other room and is named by none. All tasks of the process are started here and
//! awaited here.
#![forbid(unsafe_code)]

mod assemble;
mod demo;
pub mod features;
mod features_shown;
pub mod flags;
mod house;
mod main_line;
mod memory;
mod modes;
mod process;
mod query_log;
mod reload;
mod signals;
pub mod telemetry;
mod tool;
pub mod version;

pub use main_line::run;
pub use tool::promtool;
