//! Scrape sections as files write them.

use crate::scrape::config::{Globals, Job, ScrapeConfig};
use model::relabel::NameValidation;
use wire::exposition::negotiate::{Escaping, ScrapeProtocol};

fn read(text: &str) -> Result<ScrapeConfig, String> {
    yaml::from_str(text).map_err(|e| e.to_string())
}

fn resolve(text: &str, globals: &Globals) -> Result<Job, String> {
    read(text)?.resolve(globals).map_err(|e| e.to_string())
}

#[track_caller]
fn check_error(text: &str, want: &str) {
    let got = resolve(text, &Globals::default()).unwrap_err();
    assert!(got.contains(want), "{text}: {got}");
}

#[test]
fn defaults_come_from_upstream_and_the_global_section() {
    let globals =
        Globals { sample_limit: 5, scrape_interval: model::duration::DurationMs(7000), ..Globals::default() };
    let job = resolve("job_name: a\n", &globals).unwrap();
    assert_eq!((job.interval.0, job.timeout.0, job.sample_limit), (7000, 7000, 5));
    assert_eq!((job.metrics_path.as_str(), job.scheme.as_str()), ("/metrics", "http"));
    assert!(job.honor_timestamps && job.enable_compression && !job.honor_labels);
    assert_eq!(job.protocols[0], ScrapeProtocol::OpenMetricsText1_0_0);
    assert_eq!(job.escaping, Escaping::AllowUtf8);
    let job = resolve("job_name: a\nscrape_native_histograms: true\n", &globals).unwrap();
    assert_eq!(job.protocols[0], ScrapeProtocol::PrometheusProto);
    let job = resolve("job_name: a\nmetric_name_validation_scheme: legacy\n", &globals).unwrap();
    assert_eq!((job.validation, job.escaping), (NameValidation::Legacy, Escaping::Underscores));
}

#[test]
fn inlined_sections_and_all_fields_are_read() {
    let text = "
job_name: pods
scrape_interval: 5s
scrape_timeout: 2s
honor_labels: true
body_size_limit: 10MB
params: {module: [http_2xx]}
basic_auth: {username: 007, password: 0123}
tls_config: {insecure_skip_verify: true}
static_configs:
  - targets: ['a:1', 'b:2']
    labels: {shard: 0}
relabel_configs:
  - source_labels: [__address__]
    target_label: x
metric_relabel_configs:
  - {regex: tmp_.*, action: labeldrop}
scrape_protocols: [PrometheusText0.0.4]
fallback_scrape_protocol: PrometheusText1.0.0
keep_dropped_targets: 3
extra_scrape_metrics: true
";
    let config = read(text).unwrap();
    assert_eq!(config.sd.static_configs[0].targets, ["a:1", "b:2"]);
    assert_eq!(config.sd.static_configs[0].labels["shard"], "0");
    let job = config.resolve(&Globals::default()).unwrap();
    assert_eq!((job.interval.0, job.timeout.0, job.body_size_limit), (5000, 2000, 10 << 20));
    assert_eq!(job.http.basic_auth.as_ref().unwrap().username, "007");
    assert_eq!(job.protocols, [ScrapeProtocol::PrometheusText0_0_4]);
    assert_eq!(job.fallback, Some(ScrapeProtocol::PrometheusText1_0_0));
    assert_eq!((job.relabel.len(), job.metric_relabel.len()), (1, 1));
    // What is shown can be read again, and secrets are not in it.
    let shown = yaml::to_string(&config).unwrap();
    assert!(shown.contains("<secret>") && !shown.contains("0123"), "{shown}");
    assert_eq!(read(&shown).unwrap().sd, config.sd);
}

#[test]
fn mistakes_are_told_as_upstream_tells_them() {
    check_error("job_name: ''\n", "job_name is empty");
    check_error("job_name: a\nbogus: 1\n", "bogus");
    check_error(
        "job_name: a\nscrape_interval: 5s\nscrape_timeout: 6s\n",
        "scrape timeout greater than scrape interval for scrape config with job name \"a\"",
    );
    check_error(
        "job_name: a\nscrape_protocols: []\n",
        "scrape_protocols cannot be empty for scrape config with job name \"a\"",
    );
    check_error(
        "job_name: a\nscrape_protocols: [PrometheusProto, prometheusproto]\n",
        "duplicated protocol in scrape_protocols, got [PrometheusProto prometheusproto] for scrape config with job name \"a\"",
    );
    check_error(
        "job_name: a\nscrape_protocols: [Text]\n",
        "scrape_protocols: unknown scrape protocol Text, supported: [OpenMetricsText0.0.1 OpenMetricsText1.0.0 PrometheusProto PrometheusText0.0.4 PrometheusText1.0.0] for scrape config with job name \"a\"",
    );
    check_error(
        "job_name: a\nfallback_scrape_protocol: text\n",
        "invalid fallback_scrape_protocol for scrape config with job name \"a\": unknown scrape protocol text",
    );
    check_error(
        "job_name: a\nmetric_name_validation_scheme: legacy\nmetric_name_escaping_scheme: allow-utf-8\n",
        "utf8 metric names requested but validation scheme is not set to UTF8",
    );
    check_error(
        "job_name: a\nmetric_name_escaping_scheme: x\n",
        "unknown scrape config name escaping method specified, must be one of 'allow-utf-8', 'underscores', 'dots', or 'values', got \"x\"",
    );
    check_error(
        "job_name: a\nstatic_configs: [{targets: ['http://x']}]\n",
        "\"http://x\" is not a valid hostname",
    );
    check_error(
        "job_name: a\nrelabel_configs: [null]\n",
        "empty or null target relabeling rule in scrape config",
    );
    check_error(
        "job_name: a\nbearer_token: x\nbearer_token_file: y\n",
        "at most one of bearer_token & bearer_token_file must be configured",
    );
}
