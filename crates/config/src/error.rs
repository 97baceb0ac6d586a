//! What is wrong with a configuration, and what is merely strange.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file that cannot be read or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read; in Go's words: `open x.yml: no such file or directory`.
    #[error("{0}")]
    Read(String),
    /// Not YAML, unknown fields, wrong types, or contradictions, each with line and path.
    #[error("parsing YAML file {}: {error}", file.display())]
    Yaml { file: PathBuf, error: yaml::Error },
    /// A contradiction without a place.
    #[error("{0}")]
    Text(String),
}

impl ConfigError {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        ConfigError::Text(text.into())
    }

    pub(crate) fn read(error: &disk::DiskError) -> Self {
        let shown = error.source.to_string();
        let shown = shown.split(" (os error").next().unwrap_or("").to_lowercase();
        ConfigError::Read(format!("{} {}: {shown}", error.op, error.path.display()))
    }

    pub(crate) fn at(file: &Path, problem: yaml::Problem) -> Self {
        ConfigError::Yaml { file: file.to_owned(), error: yaml::Error(vec![problem]) }
    }
}

/// Something that was read and that somebody should know about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub file: PathBuf,
    /// Counted from 1.
    pub line: u32,
    /// `alerting.alertmanagers`
    pub path: String,
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: line {}: {}: {}", self.file.display(), self.line, self.path, self.text)
    }
}
