//! Running a binary with arguments and standard input.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a command line printed and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn run(program: &str, dir: &Path, args: &[&str], input: &str) -> Got {
    let mut child = Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let out = child.wait_with_output().expect("ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Got { code: out.status.code(), stdout: text(out.stdout), stderr: text(out.stderr) }
}

/// The binary `promtool`.
pub(crate) fn tool(dir: &Path, args: &[&str], input: &str) -> Got {
    run(env!("CARGO_BIN_EXE_promtool"), dir, args, input)
}

/// The binary `pyrrha`.
pub(crate) fn pyrrha(dir: &Path, args: &[&str]) -> Got {
    run(env!("CARGO_BIN_EXE_pyrrha"), dir, args, "")
}

#[track_caller]
pub(crate) fn check(dir: &Path, args: &[&str], input: &str, want: (i32, &str, &str)) {
    let got = tool(dir, args, input);
    let want = Got { code: Some(want.0), stdout: want.1.to_owned(), stderr: want.2.to_owned() };
    assert_eq!(got, want, "{args:?}");
}
