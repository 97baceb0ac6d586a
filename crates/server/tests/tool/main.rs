//! The tools: output and exit codes of the binaries.

mod checks;
mod directory;
mod rules;
mod run;
mod servers;
