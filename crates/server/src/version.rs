//! Who we are: our version, and the level of Prometheus that we speak.

/// The Prometheus release whose behaviour is implemented; clients gate on it.
pub const PROMETHEUS_LEVEL: &str = "3.14.0";
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Set by release builds.
pub const REVISION: &str = match option_env!("PYRRHA_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
pub const BRANCH: &str = match option_env!("PYRRHA_BRANCH") {
    Some(branch) => branch,
    None => "",
};
pub const BUILD_DATE: &str = match option_env!("PYRRHA_BUILD_DATE") {
    Some(date) => date,
    None => "",
};

/// What `--version` prints, laid out as upstream's.
pub fn text() -> String {
    format!(
        "prometheus, version {PROMETHEUS_LEVEL} (branch: {BRANCH}, revision: {REVISION})\n  \
         implemented by:   Pyrrha {VERSION}\n  \
         build date:       {BUILD_DATE}\n  \
         platform:         {}/{}\n",
        std::env::consts::OS,
        platform()
    )
}

/// The processor in Go's words, as dashboards know it.
pub fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// How we name ourselves to the servers that we ask.
pub fn user_agent() -> String {
    format!("Pyrrha/{VERSION}")
}
