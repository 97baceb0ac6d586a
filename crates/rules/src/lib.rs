//! `rules`: recording and alerting rules: their files, templates, state and one round of evaluation.
//!
//! Room: floor 4. Asks through `query`, appends through `storage`. No files, no clock, no notifications: the caller
//! gives the text of a rule file and the time of a round, and takes alerts from their rule.
#![forbid(unsafe_code)]

mod alert;
mod evaluate;
mod file;
mod group;
#[cfg(test)]
mod group_tests;
pub mod template;

pub use alert::{Alert, AlertState, AlertingRule};
pub use evaluate::{Evaluator, Produced};
pub use file::{GroupText, ReadOptions, RuleText, parse};
pub use group::{Group, GroupOptions, RecordingRule, Rule};
