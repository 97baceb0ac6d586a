//! From the file to a checked [`Config`].

use crate::error::{ConfigError, Warning};
use crate::expand::{Environment, expand};
use crate::files::{self, ScrapeConfigFile};
use crate::{Config, Otlp, Runtime};
use ingest::scrape::config::{Globals, ScrapeConfig, proto_first};
use model::labels::quote;
use model::relabel::NameValidation;
use std::collections::BTreeMap;
use std::path::Path;
use yaml::{Node, Problem};

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The process runs as an agent.
    pub agent: bool,
    /// Upstream's errors instead of warnings.
    pub strict: bool,
    /// Where the file does not say, targets are asked for protobuf first (feature `st-storage`).
    pub proto_first: bool,
    pub environment: Environment,
}

pub(crate) fn load(path: &Path, options: &LoadOptions) -> Result<Config, ConfigError> {
    parse(&files::read(path)?, path, options)
}

pub(crate) fn parse(text: &str, path: &Path, options: &LoadOptions) -> Result<Config, ConfigError> {
    let read = yaml::parse(text).and_then(|node| yaml::from_node::<Option<Config>>(&node).map(|c| (node, c)));
    let (node, config) = read.map_err(|error| ConfigError::Yaml { file: path.to_owned(), error })?;
    let mut loading = Loading { config: config.unwrap_or_default(), node: &node, path, options };
    loading.ask_for_protobuf();
    loading.check_patterns()?;
    // Before jobs inherit: what they take over is then already absolute.
    loading.set_directory();
    loading.check()?;
    loading.expand_labels();
    loading.tell_unbuilt()?;
    loading.read_scrape_files()?;
    Ok(loading.config)
}

struct Loading<'a> {
    config: Config,
    node: &'a Node,
    path: &'a Path,
    options: &'a LoadOptions,
}

impl Loading<'_> {
    fn ask_for_protobuf(&mut self) {
        if self.options.proto_first {
            self.config.global.scrape_protocols.get_or_insert_with(proto_first);
        }
    }

    /// The line of a section's element, or of the section.
    fn line(&self, section: &str, at: Option<usize>) -> u32 {
        let Some((key, value)) = self.node.entry(section) else { return 0 };
        at.and_then(|i| value.items().get(i)).map_or(key.line, |n| n.line)
    }

    fn fault(&self, section: &str, at: Option<usize>, text: impl Into<String>) -> ConfigError {
        let line = self.line(section, at);
        let path = at.map_or_else(|| section.to_owned(), |i| format!("{section}[{i}]"));
        ConfigError::at(self.path, Problem { line, path, text: text.into() })
    }

    fn warn(&mut self, section: &str, path: &str, text: impl Into<String>) {
        let line = self.line(section, None);
        self.config.warnings.push(Warning {
            file: self.path.to_owned(),
            line,
            path: path.to_owned(),
            text: text.into(),
        });
    }

    fn check_patterns(&self) -> Result<(), ConfigError> {
        let patterns = [
            ("rule_files", "rule", &self.config.rule_files),
            ("scrape_config_files", "scrape config", &self.config.scrape_config_files),
        ];
        for (section, what, list) in patterns {
            if let Some(i) = list.iter().position(|p| !files::valid_pattern(p)) {
                let text = format!("invalid {what} file path {}", quote(&list[i].to_string_lossy()));
                return Err(self.fault(section, Some(i), text));
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), ConfigError> {
        self.check_jobs()?;
        let scheme = self.config.global.metric_name_validation_scheme;
        let alerting = self.config.alerting.validate(scheme);
        alerting.map_err(|e| self.fault("alerting", None, e.to_string()))?;
        for (i, remote) in self.config.remote_write.iter().enumerate() {
            let before = &self.config.remote_write[..i];
            if !remote.name.is_empty() && before.iter().any(|r| r.name == remote.name) {
                let text =
                    format!("found multiple remote write configs with job name {}", quote(&remote.name));
                return Err(self.fault("remote_write", Some(i), text));
            }
            if let Err(e) = remote.validate_rules(scheme) {
                return Err(self.fault("remote_write", Some(i), e.to_string()));
            }
        }
        // Destinations without a name that are the same in everything that makes them.
        let all = remote::config::validate_all(&self.config.remote_write);
        all.map_err(|e| self.fault("remote_write", None, e.to_string()))?;
        for (i, peer) in self.config.remote_read.iter().enumerate() {
            let before = &self.config.remote_read[..i];
            if !peer.name.is_empty() && before.iter().any(|r| r.name == peer.name) {
                let text = format!("found multiple remote read configs with job name {}", quote(&peer.name));
                return Err(self.fault("remote_read", Some(i), text));
            }
        }
        let legacy = scheme == NameValidation::Legacy;
        let strategy = self.config.otlp.check_strategy(legacy);
        strategy.map_err(|e| self.fault("otlp", None, e))
    }

    fn check_jobs(&mut self) -> Result<(), ConfigError> {
        let globals = self.config.global.for_jobs();
        for i in 0..self.config.scrape_configs.len() {
            let job = &mut self.config.scrape_configs[i];
            if let Err(e) = job.fill(&globals) {
                return Err(self.fault("scrape_configs", Some(i), e.to_string()));
            }
            let (before, rest) = self.config.scrape_configs.split_at(i);
            let name = &rest[0].job_name;
            if before.iter().any(|other| other.job_name == *name) {
                let text = format!("found multiple scrape configs with job name {}", quote(name));
                return Err(self.fault("scrape_configs", Some(i), text));
            }
        }
        Ok(())
    }

    fn expand_labels(&mut self) {
        let mut empty = Vec::new();
        for value in self.config.global.external_labels.values_mut() {
            *value = expand(value, &self.options.environment, &mut empty);
        }
        for name in empty {
            let text = format!("empty environment variable {name}");
            self.warn("global", "global.external_labels", text);
        }
    }

    /// Warnings for what has no effect; errors where an agent is to be as strict as upstream.
    fn tell_unbuilt(&mut self) -> Result<(), ConfigError> {
        let config = &self.config;
        let present = [
            ("alerting", !config.alerting.is_empty()),
            ("rule_files", !config.rule_files.is_empty()),
            ("remote_read", !config.remote_read.is_empty()),
        ];
        let unbuilt = [
            "no alerts are sent in this version",
            "rules are not evaluated in this version",
            "remote read is not built in this version",
        ];
        for ((section, present), text) in present.into_iter().zip(unbuilt) {
            if !present {
                continue;
            }
            if !self.options.agent {
                self.warn(section, section, text);
                continue;
            }
            let text = format!("field {section} is not allowed in agent mode");
            if self.options.strict {
                return Err(ConfigError::Text(text));
            }
            self.warn(section, section, format!("{text} and has no effect"));
        }
        if self.config.otlp != Otlp::default() {
            self.warn("otlp", "otlp", "OTLP is not built in this version");
        }
        if self.config.tracing.is_some() {
            self.warn("tracing", "tracing", "traces are not sent in this version");
        }
        if self.config.runtime != Runtime::default() {
            self.warn("runtime", "runtime.gogc", "has no effect: there is no garbage collector");
        }
        Ok(())
    }

    fn set_directory(&mut self) {
        let dir = files::dir_of(self.path);
        let config = &mut self.config;
        config.global.set_directory(dir);
        config.alerting.set_directory(dir);
        if let Some(tracing) = &mut config.tracing {
            tracing.tls_config.set_directory(dir);
        }
        for file in config.rule_files.iter_mut().chain(&mut config.scrape_config_files) {
            net::config::join_dir(dir, file);
        }
        for job in &mut config.scrape_configs {
            job.set_directory(dir);
        }
        for remote in &mut config.remote_write {
            remote.set_directory(dir);
        }
        for peer in &mut config.remote_read {
            peer.set_directory(dir);
        }
    }

    fn read_scrape_files(&mut self) -> Result<(), ConfigError> {
        let globals = self.config.global.for_jobs();
        let main = self.config.scrape_configs.iter();
        let mut names: BTreeMap<String, String> =
            main.map(|job| (job.job_name.clone(), "main config file".to_owned())).collect();
        let mut jobs = Vec::new();
        for pattern in &self.config.scrape_config_files {
            for file in files::matching(pattern) {
                jobs.extend(scrape_file(&file, &globals, &mut names)?);
            }
        }
        self.config.file_jobs = jobs;
        Ok(())
    }
}

fn scrape_file(
    file: &Path,
    globals: &Globals,
    names: &mut BTreeMap<String, String>,
) -> Result<Vec<ScrapeConfig>, ConfigError> {
    let wrong = |error| ConfigError::Yaml { file: file.to_owned(), error };
    let node = yaml::parse(&files::read(file)?).map_err(wrong)?;
    let read: Option<ScrapeConfigFile> = yaml::from_node(&node).map_err(wrong)?;
    let mut jobs = read.unwrap_or_default().scrape_configs;
    for (i, job) in jobs.iter_mut().enumerate() {
        let fault = |text: String| {
            let line = node.get("scrape_configs").and_then(|s| s.items().get(i)).map_or(0, |n| n.line);
            ConfigError::at(file, Problem { line, path: format!("scrape_configs[{i}]"), text })
        };
        job.set_directory(files::dir_of(file));
        job.fill(globals).map_err(|e| fault(e.to_string()))?;
        if let Some(first) = names.get(&job.job_name) {
            let name = quote(&job.job_name);
            return Err(fault(format!(
                "found multiple scrape configs with job name {name}, first found in {first}"
            )));
        }
        names.insert(job.job_name.clone(), quote(&file.to_string_lossy()));
    }
    Ok(jobs)
}
