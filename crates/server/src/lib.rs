//! `server`: the frame. Flags, assembly of the rooms, reload, shutdown, logs, the demo and the binaries.
//!
//! Room: floor 6. Names every other room and is named by none. All tasks of the process are started here and
//! awaited here.
#![forbid(unsafe_code)]

pub mod features;
pub mod flags;
pub mod telemetry;
pub mod version;
