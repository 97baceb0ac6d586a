//! Commands that need neither a server nor data.

use crate::run::{check, pyrrha, tool};
use std::path::Path;

const CONFIG: &str = "scrape_configs:\n  - job_name: a\n    scrape_interval: 6m\n    static_configs:\n      - targets: [\"x:1\"]\n";

#[test]
fn configurations() {
    let dir = tempfile::tempdir().expect("dir");
    let dir = dir.path();
    std::fs::write(dir.join("ok.yml"), CONFIG).expect("written");
    std::fs::write(dir.join("bad.yml"), "nope: 1\n").expect("written");
    std::fs::write(dir.join("rules.yml"), "rule_files: [gone.yml]\n").expect("written");
    let good = "Checking ok.yml\n SUCCESS: ok.yml is valid prometheus config file syntax\n\n";
    let long = "  FAILED: too long scrape interval found, data point will be marked as stale - job: a, interval: 6m\n";
    check(dir, &["check", "config", "ok.yml"], "", (0, good, ""));
    check(dir, &["check", "config", "--agent", "--syntax-only", "ok.yml"], "", (0, good, ""));
    check(dir, &["check", "config", "--lint=all", "ok.yml"], "", (0, good, long));
    check(dir, &["check", "config", "--lint=all", "--lint-fatal", "ok.yml"], "", (3, good, long));
    check(dir, &["check", "config", "--lint=all,none", "--lint-fatal", "ok.yml"], "", (0, good, ""));
    let odd = format!("WARNING: unknown lint option: \"x\"\n{good}");
    check(dir, &["check", "config", "--lint=x", "ok.yml"], "", (0, &odd, ""));
    let bad = tool(dir, &["check", "config", "ok.yml", "bad.yml"], "");
    assert_eq!((bad.code, bad.stdout), (Some(1), format!("{good}Checking bad.yml\n\n")));
    assert!(bad.stderr.contains("  FAILED: parsing YAML file bad.yml: "), "{}", bad.stderr);
    let gone = tool(dir, &["check", "config", "rules.yml"], "");
    assert_eq!(gone.code, Some(1));
    assert_eq!(gone.stderr, "  FAILED: \"gone.yml\" does not point to an existing file\n");
    check(
        dir,
        &["check", "config", "gone.yml"],
        "",
        (1, "", "promtool: error: path 'gone.yml' does not exist, try --help\n"),
    );
    std::fs::write(dir.join("web.yml"), "basic_auth_users: {}\n").expect("written");
    check(dir, &["check", "web-config", "web.yml"], "", (0, "", "web.yml SUCCESS\n"));
    let bad = tool(dir, &["check", "web-config", "bad.yml", "web.yml"], "");
    assert_eq!(bad.code, Some(1));
    assert!(bad.stderr.starts_with("bad.yml FAILED: ") && bad.stderr.ends_with("web.yml SUCCESS\n"));
}

#[test]
fn expositions() {
    let here = Path::new(".");
    let good = "# HELP a_total x\n# TYPE a_total counter\na_total 1\na_total{x=\"y\"} 3\n";
    check(here, &["check", "metrics"], good, (0, "", ""));
    let table = "Metric     Cardinality    Percentage    \n\
                 a_total    2              100.00%       \n\
                 Total      2              100%          \n";
    check(here, &["check", "metrics", "--extended"], good, (0, table, ""));
    let lints = "a_b counter metrics should have \"_total\" suffix\n\
                 a_b metric names should not contain abbreviated units\n\
                 a_b no help text\n\
                 fooBar_ms label names should be written in 'snake_case' not 'camelCase'\n\
                 fooBar_ms metric names should be written in 'snake_case' not 'camelCase'\n\
                 fooBar_ms metric names should not contain abbreviated units\n\
                 fooBar_ms no help text\n\
                 g_minutes metric not unique\n\
                 g_minutes non-histogram metrics should not have \"le\" label\n\
                 g_minutes non-histogram metrics should not have \"le\" label\n\
                 g_minutes use base unit \"seconds\" instead of \"minutes\"\n";
    let bad = "# TYPE a_b counter\na_b 1\nfooBar_ms{leB=\"x\"} 2\n# HELP g_minutes x\n# TYPE g_minutes gauge\n\
               g_minutes{le=\"1\"} 2\ng_minutes{le=\"1\"} 2\n";
    check(here, &["check", "metrics"], bad, (3, "", lints));
    let broken = tool(here, &["check", "metrics"], "a 1\nb{ 1\n");
    assert_eq!(broken.code, Some(1));
    assert!(
        broken.stderr.starts_with("error while linting: text format parsing error in line 2: "),
        "{}",
        broken.stderr
    );
    let cut = "error while linting: text format parsing error in line 1: unexpected end of input stream\n";
    check(here, &["check", "metrics"], "a 1", (1, "", cut));
}

#[test]
fn queries_are_edited() {
    let here = Path::new(".");
    let gate = "This command is experimental and requires the --experimental flag to be set.\n";
    check(here, &["promql", "format", "up"], "", (1, "", gate));
    let on = |rest: &[&'static str]| [&["--experimental", "promql"], rest].concat();
    check(here, &on(&["format", "sum  (up )"]), "", (0, "sum(up)\n", ""));
    check(here, &on(&["format", "sum(up"]), "", (1, "", "1:7: parse error: unclosed left parenthesis\n"));
    let set = on(&["label-matchers", "set", "-t", "=~", "sum(up{a=\"b\"}) + rate(x[5m])", "a", "c.*"]);
    check(here, &set, "", (0, "sum(up{a=~\"c.*\"}) + rate(x{a=~\"c.*\"}[5m])\n", ""));
    let delete = on(&["label-matchers", "delete", "sum(up{a=\"b\"}) + x", "a"]);
    check(here, &delete, "", (0, "sum(up) + x\n", ""));
}

#[test]
fn a_link_named_promtool_is_promtool() {
    let dir = tempfile::tempdir().expect("folder");
    let link = dir.path().join("promtool");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pyrrha"), &link).expect("linked");
    let out = std::process::Command::new(&link)
        .args([
            "--enable-feature=promql-experimental-functions",
            "--experimental",
            "promql",
            "format",
            "limitk(1,up)",
        ])
        .output()
        .expect("runs");
    assert_eq!(
        (out.status.code(), String::from_utf8_lossy(&out.stdout).as_ref()),
        (Some(0), "limitk(1, up)\n")
    );
    let out = std::process::Command::new(&link).arg("--nope").output().expect("runs");
    let text = "promtool: error: unknown long flag '--nope', try --help\n";
    assert_eq!((out.status.code(), String::from_utf8_lossy(&out.stderr).as_ref()), (Some(1), text));
}

#[test]
fn command_lines() {
    let here = Path::new(".");
    for (args, text) in [
        (&["nope"][..], "expected command but got \"nope\""),
        (&["--nope"], "unknown long flag '--nope'"),
        (&["tsdb"], "must select a subcommand of 'tsdb'"),
        (&["query", "instant"], "required argument 'server' not provided"),
        (&["query", "series", "x"], "required flag(s) '--match' not provided"),
        (&["query", "range", "x", "up", "--step", "-5s"], "expected argument for flag '--step'"),
        (&["query", "instant", "-5", "up"], "unknown short flag '-5'"),
        (
            &["query", "instant", "http://%zz", "up"],
            "invalid URL: parse \"http://%zz\": invalid URL escape \"%zz\"",
        ),
        (&["query", "-o", "x", "instant", "a", "b"], "enum value must be one of promql,json, got 'x'"),
    ] {
        check(here, args, "", (1, "", &format!("promtool: error: {text}, try --help\n")));
    }
    check(
        here,
        &["query", "analyze", "--server=x", "--type=y", "--match=z"],
        "",
        (1, "", "analyze type is y, must be 'histogram'\n"),
    );
    check(here, &["debug", "all", "x"], "", (1, "", "debug all: not built in this version\n"));
    for help in [&["--help"][..], &["help"]] {
        let got = pyrrha(here, help);
        assert_eq!(got.code, Some(0));
        assert!(got.stdout.contains("\n  tsdb    list, analyze, dump"), "{}", got.stdout);
    }
    let tsdb = pyrrha(here, &["help", "tsdb"]);
    assert!(tsdb.code == Some(0) && tsdb.stdout.contains("verify"), "{tsdb:?}");
}
