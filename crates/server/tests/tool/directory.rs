//! Commands on data directories.

use crate::run::{check, tool};
use std::path::Path;

const INPUT: &str =
    "# TYPE a gauge\na{x=\"1\"} 1 1700000000\na{x=\"1\"} 2.5 1700000060\nb 1e9 1700010000.25\n# EOF\n";
const DUMP: &str = "{__name__=\"a\", env=\"t\", x=\"1\"} 1 1700000000000\n\
                    {__name__=\"a\", env=\"t\", x=\"1\"} 2.5 1700000060000\n\
                    {__name__=\"b\", env=\"t\"} 1e+09 1700010000250\n";

/// A directory with two blocks.
fn filled(dir: &Path) {
    let args = ["tsdb", "create-blocks-from", "-q", "openmetrics", "--label=env=t", "-", "data"];
    check(dir, &args, INPUT, (0, "", ""));
}

#[test]
fn import_and_dump() {
    let dir = tempfile::tempdir().expect("dir");
    let dir = dir.path();
    filled(dir);
    check(dir, &["tsdb", "dump", "data"], "", (0, DUMP, ""));
    let late = "{__name__=\"b\", env=\"t\"} 1e+09 1700010000250\n";
    check(dir, &["tsdb", "dump", "--min-time=1700000060001", "data"], "", (0, late, ""));
    check(dir, &["tsdb", "dump", "--match=b", "data"], "", (0, late, ""));
    let labels = "{\"__name__\":\"a\",\"env\":\"t\",\"x\":\"1\"}\n{\"__name__\":\"b\",\"env\":\"t\"}\n";
    check(dir, &["tsdb", "dump", "--format=seriesjson", "data"], "", (0, labels, ""));
    let text = "a{env=\"t\",x=\"1\"} 1 1700000000.000\na{env=\"t\",x=\"1\"} 2.5 1700000060.000\n\
                b{env=\"t\"} 1e+09 1700010000.250\n# EOF\n";
    check(dir, &["tsdb", "dump-openmetrics", "data"], "", (0, text, ""));
    let list = tool(dir, &["tsdb", "list", "-r", "data"], "");
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("BLOCK ULID  "), "{}", list.stdout);
    assert!(lines[1].contains("2023-11-14 22:13:20 +0000 UTC  2023-11-14 22:14:20 +0000 UTC  1m0.001s"));
    let analyzed = tool(dir, &["tsdb", "analyze", "data"], "").stdout;
    assert!(analyzed.contains("\nTotal Series: 1\nLabel names: "), "{analyzed}");
    let gone = "opening the db dir: stat nodir: no such file or directory\n";
    check(dir, &["tsdb", "list", "nodir"], "", (1, "", gone));
}

#[test]
fn imports_that_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let args = ["tsdb", "create-blocks-from", "openmetrics", "-", "data"];
    for (input, text) in [
        ("a 1\n# EOF\n", "getting min and max timestamp: next: expected timestamp for series a, got none\n"),
        (
            "a 1 1\na 2 1\n# EOF\n",
            "block creation: process blocks: add sample: duplicate sample for timestamp 1000 of {__name__=\"a\"} with another value\n",
        ),
    ] {
        let got = tool(dir.path(), &args, input);
        assert_eq!((got.code, got.stderr.as_str()), (Some(1), text));
    }
}

#[test]
fn verify_finds_flipped_bits() {
    let dir = tempfile::tempdir().expect("dir");
    let dir = dir.path();
    filled(dir);
    let good = tool(dir, &["tsdb", "verify", "data"], "");
    assert_eq!(good.code, Some(0), "{good:?}");
    assert_eq!(good.stdout.matches(" OK: 1 series, 1 chunks, ").count(), 2, "{}", good.stdout);
    let block =
        std::fs::read_dir(dir.join("data")).expect("list").next().expect("block").expect("entry").path();
    for (file, at) in [("chunks/000001", 12), ("index", 8)] {
        let path = block.join(file);
        let whole = std::fs::read(&path).expect("read");
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        let bad = tool(dir, &["tsdb", "verify", "data"], "");
        assert_eq!(bad.code, Some(1), "{bad:?}");
        assert!(bad.stdout.contains(" FAILED: ") && bad.stdout.contains(" OK: "), "{}", bad.stdout);
        std::fs::write(&path, whole).expect("written");
    }
}
