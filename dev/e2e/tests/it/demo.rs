//! `pyrrha demo` does what the README promises.

use std::process::Command;

#[test]
fn demo_answers_its_query_and_stops() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let output = Command::new(e2e::pyrrha())
        .arg("demo")
        .arg(format!("--dir={}", dir.path().display()))
        .arg("--duration=1s")
        .output()
        .expect("demo runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("sum(up) by (cluster)"), "the query to try is shown: {text}");
    assert!(
        text.contains("http://127.0.0.1:") || text.contains("http://localhost:"),
        "the URL is shown: {text}"
    );
}
