//! Tests of loading: inheritance, refusals with line and path, warnings, the shown form.

use super::*;

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/p/prometheus.yml"), &LoadOptions::default())
}

#[track_caller]
fn loads(text: &str) -> Config {
    load(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[track_caller]
fn fails(text: &str, want: &str) {
    let got = load(text).err().map(|e| e.to_string()).unwrap_or_default();
    assert_eq!(got, format!("parsing YAML file /etc/p/prometheus.yml: {want}"), "{text}");
}

#[test]
fn an_empty_file_is_all_defaults() {
    for text in ["", "# nothing\n", "global:\nruntime:\nscrape_configs:\nremote_write:\nstorage:\n"] {
        let config = loads(text);
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        let want = "global:
  scrape_interval: 1m
  scrape_timeout: 10s
  evaluation_interval: 1m
";
        assert!(config.to_yaml().starts_with(want), "{}", config.to_yaml());
    }
}

#[test]
fn jobs_inherit_and_resolve() {
    let config = loads(
        "global: {scrape_interval: 5s, sample_limit: 7, external_labels: {cluster: a}}
scrape_configs:
- job_name: one
  static_configs: [{targets: [a:1]}]
  basic_auth: {username: u, password_file: pw}
- job_name: two
  scrape_interval: 30s
  sample_limit: 9
",
    );
    let jobs = config.jobs().expect("resolves");
    let seen: Vec<_> =
        jobs.iter().map(|j| (j.name.as_str(), j.interval.0, j.timeout.0, j.sample_limit)).collect();
    assert_eq!(seen, [("one", 5000, 5000, 7), ("two", 30_000, 5000, 9)]);
    let basic = jobs[0].http.basic_auth.as_ref().expect("basic");
    assert_eq!(basic.password_file, Path::new("/etc/p/pw"));
    assert_eq!(config.discovery().len(), 2);
}

#[test]
fn refusals_name_line_and_path() {
    fails("global:\n  nope: 1", "line 2: global: field nope not found in type Global");
    fails(
        "nope: 1\nalso: 2",
        "line 1: field nope not found in type Config\n  line 2: field also not found in type Config",
    );
    fails(
        "scrape_configs:\n- job_name: a\n  scrape_timeout: 2m",
        "line 2: scrape_configs[0]: scrape timeout greater than scrape interval for scrape config with job name \"a\"",
    );
    fails(
        "global:\n  scrape_interval: 5s\n  scrape_timeout: 10s",
        "line 1: global: global scrape timeout greater than scrape interval",
    );
    fails(
        "scrape_configs:\n- job_name: a\n- job_name: a",
        "line 3: scrape_configs[1]: found multiple scrape configs with job name \"a\"",
    );
    fails("scrape_configs:\n- honor_labels: yes", "line 2: scrape_configs[0]: job_name is empty");
    fails(
        "scrape_configs:\n- job_name: a\n  kubernetes_sd_configs:\n  - role: pod",
        "line 3: scrape_configs[0].kubernetes_sd_configs: kubernetes_sd_configs is not built in this version",
    );
    fails(
        "scrape_configs:\n- job_name: a\n  basic_auth: {username: u}\n  bearer_token: x",
        "line 2: scrape_configs[0]: at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
    );
    fails("rule_files: ['a/*/b.yml']", "line 1: rule_files[0]: invalid rule file path \"a/*/b.yml\"");
    let two = "remote_write:\n- {url: 'http://a', name: x}\n- {url: 'http://b', name: x}";
    fails(two, "line 3: remote_write[1]: found multiple remote write configs with job name \"x\"");
    fails(
        "global: {scrape_interval: 5}",
        "line 1: global.scrape_interval: not a valid duration string: \"5\"",
    );
    fails(
        "global: {metric_name_validation_scheme: legacy, external_labels: {'a.b': c}}",
        "line 1: global: \"a.b\" is not a valid label name",
    );
    fails(
        "global: {metric_name_validation_scheme: legacy}\notlp: {translation_strategy: NoTranslation}",
        "line 2: otlp: OTLP translation strategy \"NoTranslation\" is not allowed when UTF8 is disabled",
    );
}

#[test]
fn a_missing_file_reads_as_in_go() {
    let got = Config::load(Path::new("/none/x.yml"), &LoadOptions::default()).expect_err("fails");
    assert_eq!(got.to_string(), "open /none/x.yml: no such file or directory");
}

#[test]
fn labels_are_expanded() {
    let vars = BTreeMap::from([("CLUSTER".to_owned(), "a".to_owned())]);
    let options = LoadOptions { environment: Environment::Given(vars), ..LoadOptions::default() };
    let text = "global:\n  external_labels: {c: '${CLUSTER}-$CLUSTER', d: $$x, e: '$NONE'}";
    let config = Config::parse(text, Path::new("p.yml"), &options).expect("loads");
    let labels: Vec<_> = config.global.external_labels.values().cloned().collect();
    assert_eq!(labels, ["a-a", "$x", ""]);
    let warning = config.warnings[0].to_string();
    assert_eq!(warning, "p.yml: line 1: global.external_labels: empty environment variable NONE");
}

const SERVER_ONLY: &str = "rule_files: [r.yml]
alerting:
  alertmanagers:
  - static_configs: [{targets: [am:9093]}]
    basic_auth: {username: u, password: hush}
    kubernetes_sd_configs: [{role: pod, basic_auth: {username: u, password: hush}}]
remote_read:
- url: http://u:hush@x/read
";

#[test]
fn what_is_not_built_is_told() {
    let config = loads(SERVER_ONLY);
    let told: Vec<String> =
        config.warnings.iter().map(|w| format!("{} {} {}", w.line, w.path, w.text)).collect();
    let want = [
        "2 alerting no alerts are sent in this version",
        "1 rule_files rules are not evaluated in this version",
        "7 remote_read remote read is not built in this version",
    ];
    assert_eq!(told, want);
    let shown = config.to_yaml();
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("- role: pod\n") || shown.contains("role: pod\n"), "{shown}");
    assert!(shown.contains("url: http://u:xxxxx@x/read\n"), "{shown}");
    assert!(shown.contains("- /etc/p/r.yml\n"), "{shown}");
}

#[test]
fn sections_without_effect_are_told() {
    let config = loads(
        "otlp: {promote_resource_attributes: [a]}\ntracing: {endpoint: 'x:4317'}\nruntime: {gogc: 50}\nglobal: {rule_query_offset: 1m}\n",
    );
    let told: Vec<String> =
        config.warnings.iter().map(|w| format!("{} {} {}", w.line, w.path, w.text)).collect();
    let want = [
        "1 otlp OTLP is not built in this version",
        "2 tracing traces are not sent in this version",
        "3 runtime.gogc has no effect: there is no garbage collector",
    ];
    assert_eq!(told, want);
    assert!(config.to_yaml().contains("rule_query_offset: 1m"), "{}", config.to_yaml());
}

#[test]
fn agents_warn_or_refuse() {
    let mut options = LoadOptions { agent: true, ..LoadOptions::default() };
    let path = Path::new("p.yml");
    let config = Config::parse(SERVER_ONLY, path, &options).expect("loads");
    assert_eq!(config.warnings[0].text, "field alerting is not allowed in agent mode and has no effect");
    options.strict = true;
    let error = Config::parse(SERVER_ONLY, path, &options).expect_err("refuses");
    assert_eq!(error.to_string(), "field alerting is not allowed in agent mode");
}

fn write(path: &Path, text: &str) {
    disk::atomic::write(&disk::OsDisk, path, text.as_bytes()).expect("writes");
}

#[test]
fn scrape_files_add_jobs_and_count_for_the_checksum() {
    let dir = tempfile::tempdir().expect("dir");
    let (main, more) = (dir.path().join("p.yml"), dir.path().join("more.yml"));
    write(&main, "scrape_configs: [{job_name: a}]\nscrape_config_files: ['m*.yml']\nrule_files: [r.yml]\n");
    write(&more, "scrape_configs:\n- job_name: b\n  tls_config: {ca_file: ca.pem}\n");
    let config = Config::load(&main, &LoadOptions::default()).expect("loads");
    let names: Vec<_> = config.all_scrape_configs().map(|j| j.job_name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let first = Config::hash_of_files(&main).expect("hash");
    assert_eq!(first, Config::hash_of_files(&main).expect("hash"));
    write(&dir.path().join("r.yml"), "groups: []");
    let second = Config::hash_of_files(&main).expect("hash");
    assert_ne!(first, second);
    write(&more, "scrape_configs:\n- job_name: c\n- job_name: a\n");
    assert_ne!(second, Config::hash_of_files(&main).expect("hash"));
    let error = Config::load(&main, &LoadOptions::default()).expect_err("duplicate").to_string();
    let want = format!(
        "parsing YAML file {}: line 3: scrape_configs[1]: found multiple scrape configs with job name \"a\", first found in main config file",
        more.display()
    );
    assert_eq!(error, want);
}

/// The configurations of the four deployments, without their Kubernetes discovery.
#[test]
fn deployments_load() {
    for (name, text) in [
        ("aggregate", include_str!("../testdata/deployment-aggregate.yml")),
        ("agent", include_str!("../testdata/deployment-agent.yml")),
        ("receiver", include_str!("../testdata/deployment-receiver.yml")),
        ("cluster", include_str!("../testdata/deployment-cluster.yml")),
    ] {
        let config = load(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let shown = config.to_yaml();
        // What is shown loads again and shows the same.
        assert_eq!(loads(&shown).to_yaml(), shown, "{name}");
    }
}
