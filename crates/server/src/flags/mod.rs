//! Flags of the command line: the table, its parser, the help text and the typed settings that come of them.

mod help;
mod parse;
mod settings;
mod table;
mod value;

pub use help::{markdown, usage};
pub use parse::{Parsed, UsageError, parse};
pub use settings::{ExternalUrl, FlagError, Settings, WalCompression};
pub use table::{FLAGS, Flag, Group, Kind, Mode, State, WRITE_MESSAGES};

pub(crate) use value::go_duration_ns;

/// Bytes as upstream shows sizes: `1GiB512MiB`.
pub fn size_text(bytes: u64) -> String {
    value::format_size(i64::try_from(bytes).unwrap_or(i64::MAX))
}
