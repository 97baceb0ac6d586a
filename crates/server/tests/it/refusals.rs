//! Command lines that are refused, with upstream's words and exit codes.

use crate::run::output;

#[track_caller]
fn refused(args: &[&str], code: i32, stderr: &str) {
    let got = output(args);
    let text = String::from_utf8_lossy(&got.stderr).into_owned();
    assert_eq!((got.status.code(), text.as_str()), (Some(code), stderr), "{args:?}");
}

#[test]
fn exit_codes() {
    refused(
        &["--nope"],
        1,
        "Error parsing command line arguments: unknown long flag '--nope'\n\
         pyrrha: error: unknown long flag '--nope'\n",
    );
    refused(
        &["--query.timeout=5x"],
        2,
        "Error parsing command line arguments: unknown unit \"x\" in duration \"5x\"\n",
    );
    refused(
        &["--agent", "--storage.tsdb.path=x"],
        3,
        "The following flag(s) can not be used in agent mode: [\"--storage.tsdb.path\"]\n",
    );
    refused(
        &["--storage.agent.path=x"],
        3,
        "The following flag(s) can only be used in agent mode: [\"--storage.agent.path\"]\n",
    );
    refused(
        &["--web.cors.origin=("],
        2,
        "could not compile CORS regex string \"(\": error parsing regexp: missing closing ): `^(?s:()$`\n",
    );
    let missing = output(&["--config.file=/nope/x.yml"]);
    assert_eq!(missing.status.code(), Some(2));
    let text = String::from_utf8_lossy(&missing.stderr);
    assert!(
        text.contains("msg=\"Error loading config (--config.file=/nope/x.yml)\" file=/nope/x.yml err=\"open /nope/x.yml: no such file or directory\""),
        "{text}"
    );
}

#[test]
fn help_and_version() {
    let help = output(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("--web.enable-remote-write-receiver"));
    let version = output(&["--version"]);
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("prometheus, version 3.14.0 (branch:"));
}
