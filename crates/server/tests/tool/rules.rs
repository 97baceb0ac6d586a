//! `test rules` and `check rules`. The texts in `rules/*.want` are promtool's 3.14.

use crate::run::{check, tool};
use std::path::Path;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tool/rules")
}

#[test]
fn test_files_have_promtools_output() {
    let dir = folder();
    let mut count = 0;
    let entries = std::fs::read_dir(&dir).expect("folder");
    for path in
        entries.map(|e| e.expect("entry").path()).filter(|p| p.extension().is_some_and(|e| e == "want"))
    {
        let want = std::fs::read_to_string(&path).expect("reads");
        let stem = path.file_stem().expect("named").to_string_lossy().into_owned();
        let got = tool(&dir, &["test", "rules", &format!("{stem}.yml")], "");
        let code = got.code.unwrap_or(-1);
        let got = format!("--- exit {code}\n--- stdout\n{}--- stderr\n{}", got.stdout, got.stderr);
        assert_eq!(got, want, "{stem}");
        count += 1;
    }
    assert!(count >= 20, "{count} files");
}

#[test]
fn flags_of_test_rules() {
    let dir = folder();
    let out = tempfile::tempdir().expect("dir");
    let junit = out.path().join("out.xml");
    let junit = junit.to_str().expect("UTF-8");
    let good = (0, "  SUCCESS\n\n", "");
    check(&dir, &["test", "rules", "--junit", junit, "good.yml"], "", good);
    let xml = std::fs::read_to_string(junit).expect("written");
    let head = "<testsuites><testsuite name=\"good.yml\" tests=\"1\" failures=\"0\" errors=\"0\" skipped=\"0\" timestamp=\"";
    assert!(xml.starts_with(head), "{xml}");
    assert!(
        xml.ends_with("\"><testcase name=\"a job that goes down\"></testcase></testsuite></testsuites>"),
        "{xml}"
    );
    // Only the first of its tests.
    check(&dir, &["test", "rules", "--run", "^on", "named.yml"], "", good);
    check(&dir, &["test", "rules", "--run=nope", "--run=neither", "named.yml"], "", good);
    let diff = tool(&dir, &["test", "rules", "--diff", "first.yml"], "");
    assert!(
        diff.stderr.contains("\"Labels\": {\n                        \"alertname\": \"Down\",\n                        \u{1b}[0;32m\"instance\": \"1\"\u{1b}[0m,"),
        "{}",
        diff.stderr
    );
    let debug = tool(&dir, &["test", "rules", "--debug", "good.yml"], "");
    assert!(debug.stderr.starts_with("DEBUG: Starting test a job that goes down\nDEBUG: Dump of all data (input_series and rules) at 4m1s:\n"), "{}", debug.stderr);
    assert!(debug.stderr.contains("{__name__=\"ALERTS\", alertname=\"Down\", alertstate=\"firing\", instance=\"1\", job=\"a\", severity=\"page\", v=\"0\"} =>\n1 @[240000]\n"), "{}", debug.stderr);
    // Every file is run.
    let two = tool(&dir, &["test", "rules", "named.yml", "good.yml"], "");
    assert_eq!((two.code, two.stdout.ends_with("\n  SUCCESS\n\n")), (Some(1), true), "{}", two.stdout);
}

#[test]
fn rule_files_are_checked() {
    let dir = folder();
    check(&dir, &["check", "rules", "ts.yml"], "", (0, "Checking ts.yml\n  SUCCESS: 5 rules found\n\n", ""));
    let bad = tool(&dir, &["check", "rules", "badtmpl.yml", "ts.yml"], "");
    assert_eq!(bad.code, Some(1));
    assert_eq!(bad.stdout, "Checking badtmpl.yml\nChecking ts.yml\n  SUCCESS: 5 rules found\n\n");
    assert!(
        bad.stderr.starts_with(
            "  FAILED:\nbadtmpl.yml: group \"g\", rule 1, \"A000\": annotation \"a\": template: "
        )
    );
    let twice = "groups:\n- name: g\n  labels: {x: y}\n  rules:\n  - {record: a, expr: b}\n  - {record: a, expr: c}\n";
    let found = "  FAILED:\nlint error 1 duplicate rule(s) found.\nMetric: a\nLabel(s):\n\tx: y\n\
                 Might cause inconsistency while recording expressions\n";
    let head = "Checking standard input\n\n";
    check(&dir, &["check", "rules"], twice, (0, head, found));
    check(&dir, &["check", "rules", "--lint-fatal"], twice, (3, head, found));
    let clean = "Checking standard input\n  SUCCESS: 2 rules found\n\n";
    check(&dir, &["check", "rules", "--lint=none", "--lint-fatal"], twice, (0, clean, ""));
}
