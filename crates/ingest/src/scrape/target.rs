//! Targets: labels before and after relabelling, the URL, and the phase within the interval.

use super::config::Job;
use model::duration::{format_duration, parse_duration};
use model::labels::quote;
use model::relabel::{Rule, apply};
use model::{Labels, LabelsBuilder};
use std::collections::BTreeMap;
use std::time::Duration;
use xxhash_rust::xxh64::xxh64;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM_PREFIX: &str = "__param_";
const META_PREFIX: &str = "__meta_";
const RESERVED_PREFIX: &str = "__";
const TO_NHCB: &str = "__convert_classic_histograms_to_nhcb__";
const ALWAYS_CLASSIC: &str = "__always_scrape_classic_histograms__";
const NATIVE: &str = "__scrape_native_histograms__";
const UNIX_SOCKET: &str = "__unix_socket__";

/// One endpoint to scrape. Immutable.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    /// What its series carry.
    pub(super) public: Labels,
    pub(super) url: String,
    /// Connect to this socket instead of the address.
    pub(super) unix_socket: Option<String>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) native_histograms: bool,
    pub(super) always_classic: bool,
    pub(super) convert_to_nhcb: bool,
    /// Of all labels and the URL: equal targets, equal identity.
    pub(super) identity: u64,
}

/// Labels of a target before relabelling: its own, those of its group, and what the job gives.
pub(super) fn discovered(job: &Job, own: &Labels, group: &Labels) -> LabelsBuilder {
    let mut labels = group.builder();
    for (name, value) in own {
        labels.set(name, value);
    }
    let given = [
        ("job", job.name.clone()),
        (INTERVAL, format_duration(job.interval.0)),
        (TIMEOUT, format_duration(job.timeout.0)),
        (METRICS_PATH, job.metrics_path.clone()),
        (SCHEME, job.scheme.clone()),
        (TO_NHCB, job.convert_to_nhcb.to_string()),
        (ALWAYS_CLASSIC, job.always_classic.to_string()),
        (NATIVE, job.native_histograms.to_string()),
    ];
    for (name, value) in &given {
        if labels.value(name).is_empty() {
            labels.set(name, value);
        }
    }
    for (name, values) in &job.params {
        let name = format!("{PARAM_PREFIX}{name}");
        if let Some(first) = values.first()
            && labels.value(&name).is_empty()
        {
            labels.set(&name, first);
        }
    }
    labels
}

/// Relabels and checks (upstream `PopulateLabels`). `None`: dropped by relabelling.
pub(super) fn populate(
    job: &Job,
    rules: &[Rule],
    own: &Labels,
    group: &Labels,
) -> Result<Option<Target>, String> {
    let mut labels = discovered(job, own, group);
    if !apply(rules, &mut labels) {
        return Ok(None);
    }
    let address = labels.value(ADDRESS).to_owned();
    if address.is_empty() {
        return Err("no address".into());
    }
    if address.contains('/') {
        return Err(format!("{} is not a valid hostname", quote(&address)));
    }
    let interval = period(&labels, INTERVAL, "interval")?;
    let timeout = period(&labels, TIMEOUT, "timeout")?;
    if timeout > interval {
        let (timeout, interval) = (quote(labels.value(TIMEOUT)), quote(labels.value(INTERVAL)));
        return Err(format!(
            "scrape timeout cannot be greater than scrape interval ({timeout} > {interval})"
        ));
    }
    let convert_to_nhcb =
        switch(&labels, TO_NHCB, "convert classic histograms to nhcb", job.convert_to_nhcb)?;
    let always_classic =
        switch(&labels, ALWAYS_CLASSIC, "always scrape classic histograms", job.always_classic)?;
    let native_histograms = switch(&labels, NATIVE, "scrape native histograms", job.native_histograms)?;
    labels.retain(|name| !name.starts_with(META_PREFIX));
    if labels.value("instance").is_empty() {
        labels.set("instance", &address);
    }
    let all = labels.finish();
    let public = all.without(|name| name.starts_with(RESERVED_PREFIX));
    if public.is_empty() {
        return Ok(None);
    }
    let url = url(&labels, &job.params);
    let identity = xxh64(url.as_bytes(), xxh64(all.packed().as_bytes(), 0));
    let unix_socket = labels.get(UNIX_SOCKET).map(str::to_owned);
    Ok(Some(Target {
        public,
        url,
        unix_socket,
        interval,
        timeout,
        native_histograms,
        always_classic,
        convert_to_nhcb,
        identity,
    }))
}

fn period(labels: &LabelsBuilder, name: &str, what: &str) -> Result<Duration, String> {
    let ms = parse_duration(labels.value(name)).map_err(|e| format!("error parsing scrape {what}: {e}"))?;
    match u64::try_from(ms) {
        Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(format!("scrape {what} cannot be 0")),
    }
}

/// A boolean label, in the spellings of Go's `ParseBool`.
fn switch(labels: &LabelsBuilder, name: &str, what: &str, default: bool) -> Result<bool, String> {
    match labels.value(name) {
        "" => Ok(default),
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        other => {
            Err(format!("error parsing {what}: strconv.ParseBool: parsing {}: invalid syntax", quote(other)))
        }
    }
}

fn url(labels: &LabelsBuilder, config: &BTreeMap<String, Vec<String>>) -> String {
    let mut params = config.clone();
    for (name, value) in labels.iter() {
        if let Some(name) = name.strip_prefix(PARAM_PREFIX) {
            let values = params.entry(name.to_owned()).or_default();
            match values.first_mut() {
                Some(first) => value.clone_into(first),
                None => values.push(value.to_owned()),
            }
        }
    }
    let mut out = format!("{}://{}", labels.value(SCHEME), labels.value(ADDRESS));
    let path = labels.value(METRICS_PATH);
    if !path.is_empty() && !path.starts_with('/') {
        out.push('/');
    }
    escape(path, b"-_.~$&+,/:;=@", false, &mut out);
    let mut first = true;
    for (name, values) in &params {
        for value in values {
            out.push(if std::mem::take(&mut first) { '?' } else { '&' });
            escape(name, b"-_.~", true, &mut out);
            out.push('=');
            escape(value, b"-_.~", true, &mut out);
        }
    }
    out
}

/// Percent-escapes as Go's `net/url` does; in queries a blank becomes `+`.
fn escape(text: &str, kept: &[u8], query: bool, out: &mut String) {
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || kept.contains(&b) {
            out.push(char::from(b));
        } else if query && b == b' ' {
            out.push('+');
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
}

impl Target {
    /// Time until the next scrape: a phase within the interval that depends on the target and the server
    /// alone, so that restarts keep it and many targets and servers spread.
    pub(super) fn offset(&self, now_ns: i64, seed: u64) -> Duration {
        let interval = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let to_boundary = interval - now_ns.unsigned_abs() % interval;
        let phase = (self.identity ^ seed) % interval;
        let mut next = to_boundary.saturating_add(phase);
        if next > interval {
            next -= interval;
        }
        Duration::from_nanos(next)
    }
}

/// The seed of a server: its host name and external labels, so that a pair of servers with the same targets
/// scrapes them at different times.
pub fn offset_seed(host: &str, external_labels: &Labels) -> u64 {
    xxh64(host.as_bytes(), xxh64(external_labels.packed().as_bytes(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::config::{Globals, ScrapeConfig};
    use model::relabel::{NameValidation, RelabelConfig, compile};

    fn job(edit: impl FnOnce(&mut ScrapeConfig)) -> Job {
        let mut config = ScrapeConfig { job_name: "j".into(), ..ScrapeConfig::default() };
        edit(&mut config);
        config.resolve(&Globals::default()).unwrap()
    }

    fn run(job: &Job, own: &[(&str, &str)], group: &[(&str, &str)]) -> Result<Option<Target>, String> {
        let rules = compile(&job.relabel, NameValidation::Utf8).unwrap();
        let (own, group) =
            (Labels::from_pairs(own.iter().copied()), Labels::from_pairs(group.iter().copied()));
        populate(job, &rules, &own, &group)
    }

    #[test]
    fn labels_and_url_of_a_plain_target() {
        let target = run(&job(|_| ()), &[("__address__", "h:1")], &[("env", "x"), ("__meta_a", "b")]);
        let target = target.unwrap().unwrap();
        assert_eq!(target.public.to_string(), r#"{env="x", instance="h:1", job="j"}"#);
        assert_eq!(target.url, "http://h:1/metrics");
        assert_eq!((target.interval.as_secs(), target.timeout.as_secs()), (60, 10));
    }

    #[test]
    fn params_paths_and_own_labels_shape_the_url() {
        let job = job(|c| {
            c.params.insert("match[]".into(), vec!["{a=\"b c\"}".into(), "up".into()]);
            c.metrics_path = "/a b?c".into();
            c.scheme = "https".into();
        });
        let target = run(&job, &[("__address__", "h"), ("__param_x", "1&2"), ("instance", "i")], &[]);
        let target = target.unwrap().unwrap();
        assert_eq!(target.url, "https://h/a%20b%3Fc?match%5B%5D=%7Ba%3D%22b+c%22%7D&match%5B%5D=up&x=1%262");
        assert_eq!(target.public.value("instance"), "i");
    }

    #[test]
    fn relabelling_may_drop_or_change_interval() {
        let rule = |source: &str, regex: &str, target: &str, replacement: &str, action| RelabelConfig {
            source_labels: Some(vec![source.into()]),
            regex: Some(regex.into()),
            target_label: target.into(),
            replacement: replacement.into(),
            action,
            ..RelabelConfig::default()
        };
        use model::relabel::Action;
        let job = job(|c| {
            c.relabel_configs = vec![
                rule("env", "drop", "", "$1", Action::Drop),
                rule("env", "slow", "__scrape_interval__", "5m", Action::Replace),
                rule("env", "bad", "__scrape_timeout__", "10m", Action::Replace),
            ];
        });
        let with = |env: &str| run(&job, &[("__address__", "h:1"), ("env", env)], &[]);
        assert_eq!(with("drop"), Ok(None));
        assert_eq!(with("slow").unwrap().unwrap().interval.as_secs(), 300);
        assert_eq!(
            with("bad").unwrap_err(),
            "scrape timeout cannot be greater than scrape interval (\"10m\" > \"1m\")"
        );
    }

    #[test]
    fn bad_targets_are_named() {
        assert_eq!(run(&job(|_| ()), &[("a", "b")], &[]).unwrap_err(), "no address");
        assert_eq!(
            run(&job(|_| ()), &[("__address__", "http://h")], &[]).unwrap_err(),
            "\"http://h\" is not a valid hostname"
        );
        assert!(
            run(&job(|_| ()), &[("__address__", "h"), ("__scrape_interval__", "0")], &[])
                .unwrap_err()
                .contains("cannot be 0")
        );
    }

    #[test]
    fn offset_is_a_phase_of_the_interval() {
        let target = run(&job(|_| ()), &[("__address__", "h:1")], &[]).unwrap().unwrap();
        let interval = target.interval.as_nanos() as i64;
        let due = |now: i64| (now + target.offset(now, 7).as_nanos() as i64) % interval;
        assert_eq!(due(1_000_000_000), due(123_456_789_012));
        assert!(target.offset(5, 7).as_nanos() as i64 <= interval);
        assert_ne!(target.offset(5, 7), target.offset(5, 8));
    }
}
