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

/// Every file that may be damaged: named, with promtool's exit code.
#[test]
fn damaged_blocks_are_named() {
    let dir = tempfile::tempdir().expect("dir");
    let dir = dir.path();
    filled(dir);
    let block =
        std::fs::read_dir(dir.join("data")).expect("list").next().expect("block").expect("entry").path();
    let id = block.file_name().expect("name").to_string_lossy().into_owned();
    let cases = [
        ("meta.json", b"{" as &[u8], 0, format!("skipping block {id}: ")),
        ("index", b"short", 1, format!("corrupted block {id}: ")),
        ("chunks/000001", b"", 1, String::new()),
    ];
    for (file, content, code, text) in cases {
        let whole = std::fs::read(block.join(file)).expect("read");
        std::fs::write(block.join(file), content).expect("written");
        let got = tool(dir, &["tsdb", "dump", "data"], "");
        assert_eq!(got.code, Some(code), "{file}: {got:?}");
        assert!(got.stderr.starts_with(&text) && got.stderr.contains(&id), "{file}: {got:?}");
        std::fs::write(block.join(file), whole).expect("written");
    }
    std::fs::rename(block.join("chunks"), block.join("away")).expect("renamed");
    let gone = format!("corrupted block {id}: open data/{id}/chunks: no such file or directory\n");
    check(dir, &["tsdb", "list", "data"], "", (1, "", &gone));
}

#[test]
fn a_bench_writes_what_it_says() {
    let dir = tempfile::tempdir().expect("dir");
    let dir = dir.path();
    let series = "{\"__name__\":\"a\",\"x\":\"1\"}\n{\"x\":\"2\",\"__name__\":\"a\"}\n{\"__name__\":\"a\",\"x\":\"1\"}\n";
    std::fs::write(dir.join("series.json"), series).expect("written");
    let args = ["tsdb", "bench", "write", "--out=out", "--scrapes=150", "series.json"];
    for _ in 0..2 {
        let got = tool(dir, &args, "");
        assert_eq!(got.code, Some(0), "{got:?}");
        // Two series; scrapes come in hundreds, as promtool's.
        assert!(got.stdout.contains("\n > total samples: 400\n"), "{}", got.stdout);
    }
    let dump = tool(dir, &["tsdb", "dump", "out/storage"], "").stdout;
    assert_eq!(dump.lines().count(), 400);
    std::fs::write(dir.join("out/mine"), "").expect("written");
    let kept = "out is not the output of a benchmark: it holds mine\n";
    check(dir, &args, "", (1, "", kept));
}
