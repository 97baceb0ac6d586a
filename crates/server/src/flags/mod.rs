//! Flags of the command line: the table, its parser, the help text and the typed settings that come of them.

mod help;
mod parse;
mod settings;
mod table;
mod value;

pub use help::{markdown, usage};
pub use parse::{Parsed, UsageError, parse};
pub use settings::{FlagError, Settings};
pub use table::{FLAGS, Flag, Group, Kind, Mode, State, WRITE_MESSAGES};
