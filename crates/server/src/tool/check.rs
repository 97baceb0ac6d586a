//! `check config`, `check web-config`, `check healthy`, `check ready`.

use super::check_rules::{Checker, Findings};
use super::client::{Client, join, server_url};
use super::{FAILED, LINT, failed, many, one};
use ::config::{Config, Environment, LoadOptions};
use clap::ArgMatches;
use disk::{Disk, OsDisk};
use http::Method;
use ingest::scrape::config::ScrapeConfig;
use model::duration::format_duration;
use model::labels::quote;
use net::config::{HttpClientConfig, TlsConfig};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SERVER_TIMEOUT: Duration = Duration::from_secs(10);

/// What `--lint` asks for.
struct Lint {
    duplicate_rules: bool,
    /// Scrape intervals from here on are too long, in ms.
    lookback_ms: Option<i64>,
}

impl Lint {
    fn of(m: &ArgMatches) -> Lint {
        let options: Vec<&str> = one(m, "lint").split(',').collect();
        if options.contains(&"none") {
            return Lint { duplicate_rules: false, lookback_ms: None };
        }
        let mut lint = Lint { duplicate_rules: false, lookback_ms: None };
        for option in options {
            match option {
                "all" | "too-long-scrape-interval" => {
                    lint.duplicate_rules |= option == "all";
                    lint.lookback_ms = m.get_one::<i64>("query.lookback-delta").copied();
                }
                "duplicate-rules" => lint.duplicate_rules = true,
                "" => {}
                other => say!("WARNING: unknown lint option: {}", quote(other)),
            }
        }
        lint
    }

    /// Whether something was found; the first is told.
    fn told<'a>(&self, mut jobs: impl Iterator<Item = &'a ScrapeConfig>) -> bool {
        let Some(lookback) = self.lookback_ms.filter(|ms| *ms > 0) else { return false };
        let Some(job) = jobs.find(|job| job.scrape_interval.0 >= lookback) else { return false };
        let (name, interval) = (&job.job_name, format_duration(job.scrape_interval.0));
        eprintln!(
            "  FAILED: too long scrape interval found, data point will be marked as stale - job: {name}, interval: {interval}"
        );
        true
    }
}

/// `check config`: exit code 1 for files that cannot be used, 3 for lints when they are fatal.
pub(crate) fn config(m: &ArgMatches) -> u8 {
    let lint = Lint::of(m);
    let syntax_only = m.get_flag("syntax-only");
    let (mut errors, mut lints) = (false, false);
    let checker = Checker::of(m, lint.duplicate_rules);
    for file in many(m, "config-files") {
        say!("Checking {file}");
        match check_file(Path::new(file), m.get_flag("agent"), syntax_only) {
            Ok(checked) => {
                if !checked.rule_files.is_empty() {
                    say!("  SUCCESS: {} rule files found", checked.rule_files.len());
                }
                say!(" SUCCESS: {file} is valid prometheus config file syntax\n");
                if !syntax_only {
                    lints |= lint.told(checked.config.all_scrape_configs());
                }
                let mut findings = Findings::default();
                for rules in &checked.rule_files {
                    checker.file(&rules.to_string_lossy(), &mut findings);
                }
                errors |= findings.errors;
                lints |= findings.failed;
            }
            Err(e) => {
                eprintln!("  FAILED: {e}");
                say!();
                errors = true;
            }
        }
    }
    match (errors, lints && m.get_flag("lint-fatal")) {
        (true, _) => FAILED,
        (false, true) => LINT,
        (false, false) => 0,
    }
}

struct Checked {
    config: Config,
    rule_files: Vec<PathBuf>,
}

fn check_file(file: &Path, agent: bool, syntax_only: bool) -> Result<Checked, String> {
    let options = LoadOptions { agent, environment: Environment::Process, ..LoadOptions::default() };
    let config = Config::load(file, &options).map_err(|e| e.to_string())?;
    for warning in &config.warnings {
        say!("  WARNING: {warning}");
    }
    let mut rule_files = Vec::new();
    for pattern in config.rule_files.iter().filter(|_| !syntax_only) {
        let found = discovery::glob(&OsDisk, pattern);
        let text = pattern.to_string_lossy();
        if found.is_empty() && !text.contains('*') {
            return Err(format!("{} does not point to an existing file", quote(&text)));
        }
        rule_files.extend(found);
    }
    for job in config.all_scrape_configs() {
        check_http(&job.http, syntax_only)?;
        for pattern in job.sd.file_sd_configs.iter().flat_map(|sd| &sd.files).filter(|_| !syntax_only) {
            let found = discovery::glob(&OsDisk, pattern);
            if found.is_empty() {
                let (file, job) = (quote(&pattern.to_string_lossy()), quote(&job.job_name));
                say!("  WARNING: file {file} for file_sd in scrape job {job} does not exist");
            }
            for file in found {
                discovery::check_file(&OsDisk, &file)
                    .map_err(|e| format!("checking SD file {}: {e}", quote(&pattern.to_string_lossy())))?;
            }
        }
    }
    Ok(Checked { config, rule_files })
}

fn exists(path: &Path, what: &str) -> Result<(), String> {
    if path.as_os_str().is_empty() || OsDisk.exists(path) {
        return Ok(());
    }
    let shown = path.display();
    Err(format!(
        "error checking {what} {}: stat {shown}: no such file or directory",
        quote(&path.to_string_lossy())
    ))
}

fn check_http(http: &HttpClientConfig, syntax_only: bool) -> Result<(), String> {
    if let Some(authorization) = http.authorization.as_ref().filter(|_| !syntax_only) {
        exists(&authorization.credentials_file, "authorization credentials or bearer token file")?;
    }
    let TlsConfig { cert_file, key_file, .. } = &http.tls_config;
    let given = |path: &Path| !path.as_os_str().is_empty();
    let name = |path: &Path| quote(&path.to_string_lossy());
    match (given(cert_file), given(key_file)) {
        (true, false) => {
            return Err(format!("client cert file {} specified without client key file", name(cert_file)));
        }
        (false, true) => {
            return Err(format!("client key file {} specified without client cert file", name(key_file)));
        }
        _ => {}
    }
    if syntax_only {
        return Ok(());
    }
    exists(cert_file, "client cert file")?;
    exists(key_file, "client key file")
}

/// `check web-config`
pub(crate) fn web_config(m: &ArgMatches) -> u8 {
    let mut code = 0;
    for file in many(m, "web-config-files") {
        match net::web::check_file(Path::new(file)) {
            Ok(()) => eprintln!("{file} SUCCESS"),
            Err(e) => {
                eprintln!("{file} FAILED: {e}");
                code = FAILED;
            }
        }
    }
    code
}

/// `check healthy` and `check ready`
pub(crate) fn server(m: &ArgMatches, path: &str) -> u8 {
    let asked = || -> Result<String, String> {
        let url = server_url(one(m, "url"))?;
        let client = Client::new(m, Some(&url))?;
        let answer = client
            .send(Method::GET, &join(&url, path), &[], Vec::new(), SERVER_TIMEOUT)
            .map_err(|e| e.to_string())?;
        if answer.status != 200 {
            let shown = url.as_str().trim_end_matches('/');
            return Err(format!("check failed: URL={shown}, status={}", answer.status));
        }
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    };
    match asked() {
        Ok(text) => {
            eprintln!("  SUCCESS:  {text}");
            0
        }
        Err(e) => failed(e),
    }
}
