//! Harness for tests and benchmarks with real processes: finding peers, starting them, asking them.
//!
//! Nothing of ours is linked here: our binary is started as a stranger would start it.
#![forbid(unsafe_code)]

pub mod differential;
pub mod http;
pub mod node;
pub mod peers;
pub mod process;
pub mod push;
pub mod query;
pub mod target;
pub mod write;

use std::path::PathBuf;

/// Our binary: `$PYRRHA_BIN`, or the one that was built beside the running test.
pub fn pyrrha() -> PathBuf {
    if let Some(path) = std::env::var_os("PYRRHA_BIN") {
        return path.into();
    }
    let mut dir = std::env::current_exe().unwrap_or_default();
    while dir.pop() {
        let candidate = dir.join("pyrrha");
        if candidate.is_file() {
            return candidate;
        }
    }
    panic!("the pyrrha binary is missing: run `cargo build -p server` first, or set PYRRHA_BIN")
}
