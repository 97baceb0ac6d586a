//! `pyrrha demo` comes up, shows both clusters and goes away.

use crate::run::pyrrha;

#[test]
fn both_clusters_show() {
    let dir = tempfile::tempdir().expect("dir");
    let dir = dir.path().join("demo");
    let got = pyrrha().args(["demo", "--duration=1s", "--dir"]).arg(&dir).output().expect("runs");
    let text = String::from_utf8_lossy(&got.stdout);
    assert_eq!(got.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&got.stderr));
    for line in ["{cluster=\"paris\"}", "{cluster=\"tokyo\"}", "receiver stopped"] {
        assert!(text.contains(line), "{text}");
    }
}
