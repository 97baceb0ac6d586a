//! Target groups in files, JSON or YAML by their extension.

use crate::group::{StaticConfig, TargetGroup};
use crate::metrics::SdMetrics;
use disk::small::{DEFAULT_LIMIT_BYTES, Watched};
use disk::{Disk, OsDisk};
use model::duration::DurationMs;
use model::labels::quote;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const FILEPATH: &str = "__meta_filepath";
/// How often names and times of the files are looked at; contents are read only when they differ.
const POLL: Duration = Duration::from_secs(2);

/// One entry of `file_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct FileSdConfig {
    pub files: Vec<PathBuf>,
    pub refresh_interval: DurationMs,
}

impl Default for FileSdConfig {
    fn default() -> Self {
        FileSdConfig { files: Vec::new(), refresh_interval: DurationMs(300_000) }
    }
}

impl<'de> Deserialize<'de> for FileSdConfig {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let config = Self::deserialize(d)?;
        if config.files.is_empty() {
            return Err(de::Error::custom(
                "file service discovery config must contain at least one path name",
            ));
        }
        for file in &config.files {
            let name = file.to_string_lossy();
            if !valid_pattern(&name) {
                let name = quote(&name);
                return Err(de::Error::custom(format!("path name {name} is not valid for file discovery")));
            }
        }
        Ok(config)
    }
}

impl Serialize for FileSdConfig {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, s)
    }
}

impl FileSdConfig {
    pub fn set_directory(&mut self, dir: &Path) {
        for file in &mut self.files {
            net::config::join_dir(dir, file);
        }
    }
}

/// One `*` at most, in the last part of the path, and a known extension.
fn valid_pattern(name: &str) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    if !matches!(extension, "json" | "yml" | "yaml" | "JSON" | "YML" | "YAML") {
        return false;
    }
    stem.split_once('*').is_none_or(|(_, after)| !after.contains('/'))
}

/// Whether a name matches a pattern of `*`, `?`, `[a-z]`, `[^a]`, `\\x` and literal characters.
fn matches(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=name.len()).any(|skip| matches(rest, &name[skip..])),
        (['?', rest @ ..], [_, name @ ..]) => matches(rest, name),
        (['[', class @ ..], [c, name @ ..]) => {
            let (negated, mut class) = match class {
                ['^', rest @ ..] => (true, rest),
                _ => (false, class),
            };
            let mut found = false;
            while let [low, rest @ ..] = class {
                let (high, rest) = match rest {
                    ['-', high, rest @ ..] => (high, rest),
                    _ => (low, rest),
                };
                found |= (low..=high).contains(&c);
                class = rest;
                if let [']', rest @ ..] = class {
                    return found != negated && matches(rest, name);
                }
            }
            false
        }
        (['\\', p, rest @ ..] | [p, rest @ ..], [c, name @ ..]) => p == c && matches(rest, name),
        _ => false,
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Files that match a path whose parts may hold `*`, `?` and `[a-z]`, in order of their names. Directories that
/// cannot be read hold none.
pub fn glob(disk: &dyn Disk, pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let parent = pattern.parent().filter(|d| !d.as_os_str().is_empty());
    let dirs = match parent {
        Some(dir) if is_pattern(&dir.to_string_lossy()) => glob(disk, dir),
        Some(dir) => vec![dir.to_owned()],
        None => vec![PathBuf::new()],
    };
    if !is_pattern(&name) {
        return dirs.into_iter().map(|dir| dir.join(&name)).filter(|path| disk.exists(path)).collect();
    }
    let wanted: Vec<char> = name.chars().collect();
    let mut found = Vec::new();
    for dir in dirs {
        let here = if dir.as_os_str().is_empty() { Path::new(".") } else { &dir };
        let Ok(entries) = disk.list(here) else { continue };
        let mut names: Vec<String> = entries.into_iter().map(|e| e.name).collect();
        names.retain(|name| matches(&wanted, &name.chars().collect::<Vec<_>>()));
        names.sort();
        found.extend(names.into_iter().map(|name| dir.join(name)));
    }
    found
}

/// Reads a file of targets as `check config` does.
pub fn check_file(disk: &dyn Disk, path: &Path) -> Result<Vec<TargetGroup>, String> {
    let text = disk::small::read_text(disk, path, DEFAULT_LIMIT_BYTES).map_err(|e| e.to_string())?;
    parse(path, &text)
}

pub(crate) struct FileProvider {
    config: FileSdConfig,
    metrics: Arc<SdMetrics>,
    disk: Arc<dyn Disk>,
    /// Files seen, with the number of groups each gave.
    seen: BTreeMap<PathBuf, (Watched, usize)>,
}

impl FileProvider {
    pub(crate) fn new(config: FileSdConfig, metrics: Arc<SdMetrics>) -> Self {
        FileProvider { config, metrics, disk: OsDisk::shared(), seen: BTreeMap::new() }
    }

    pub(crate) async fn run(mut self, updates: mpsc::Sender<Vec<TargetGroup>>, stop: CancellationToken) {
        let interval = self.config.refresh_interval.std().max(Duration::from_millis(100));
        let mut forced = Instant::now();
        loop {
            if forced.elapsed() >= interval {
                forced = Instant::now();
                // Looks at contents again whatever the times say.
                for (path, (watched, _)) in &mut self.seen {
                    *watched = Watched::new(Arc::clone(&self.disk), path, DEFAULT_LIMIT_BYTES);
                }
            }
            let groups = self.refresh();
            if !groups.is_empty() && updates.send(groups).await.is_err() {
                break;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(POLL.min(interval)) => {}
            }
        }
        for path in self.seen.keys() {
            self.metrics.file_mtime.remove(&[&path.to_string_lossy()]);
        }
    }

    /// The groups of files that are new or changed, and empty ones for those that are gone.
    fn refresh(&mut self) -> Vec<TargetGroup> {
        let began = Instant::now();
        let mut groups = Vec::new();
        let mut present: Vec<PathBuf> = Vec::new();
        for pattern in &self.config.files {
            present.extend(glob(&*self.disk, pattern));
        }
        for path in &present {
            let disk = &self.disk;
            let (watched, count) = self
                .seen
                .entry(path.clone())
                .or_insert_with(|| (Watched::new(Arc::clone(disk), path, DEFAULT_LIMIT_BYTES), 0));
            let read = match watched.changed() {
                Ok(None) => continue,
                Ok(Some(text)) => parse(path, &text),
                Err(e) => Err(e.to_string()),
            };
            match read {
                Ok(read) => {
                    // Groups that the file no longer has are taken back.
                    let gone = (read.len()..*count).map(|i| empty(path, i));
                    groups.extend(gone);
                    *count = read.len();
                    groups.extend(read);
                    self.note_mtime(path);
                }
                Err(error) => {
                    self.metrics.file_read_errors.inc();
                    let path = path.display();
                    tracing::error!(component = "discovery manager", discovery = "file", %path, err = %error, "Error reading file");
                }
            }
        }
        let gone: Vec<PathBuf> = self.seen.keys().filter(|p| !present.contains(p)).cloned().collect();
        for path in gone {
            if let Some((_, count)) = self.seen.remove(&path) {
                groups.extend((0..count).map(|i| empty(&path, i)));
            }
            self.metrics.file_mtime.remove(&[&path.to_string_lossy()]);
        }
        self.metrics.file_scan_duration.observe(began.elapsed().as_secs_f64());
        groups
    }

    fn note_mtime(&self, path: &Path) {
        let modified = self.disk.meta(path).ok().and_then(|m| m.modified);
        if let Some(since) = modified.and_then(|m| m.duration_since(UNIX_EPOCH).ok()) {
            self.metrics.file_mtime.with(&[&path.to_string_lossy()]).set(since.as_secs_f64());
        }
    }
}

fn source(path: &Path, i: usize) -> String {
    format!("{}:{i}", path.display())
}

fn empty(path: &Path, i: usize) -> TargetGroup {
    TargetGroup { source: source(path, i), ..TargetGroup::default() }
}

fn parse(path: &Path, text: &str) -> Result<Vec<TargetGroup>, String> {
    let json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let groups: Option<Vec<Option<StaticConfig>>> = if json {
        serde_json::from_str(text).map_err(|e| e.to_string())?
    } else {
        yaml::from_str(text).map_err(|e| e.to_string())?
    };
    let name = path.to_string_lossy();
    let numbered = groups.unwrap_or_default().into_iter().enumerate();
    numbered
        .map(|(i, group)| match group {
            Some(group) => Ok(group.group(source(path, i), Some((FILEPATH, &name)))),
            None => Err("nil target group item found".to_owned()),
        })
        .collect()
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
