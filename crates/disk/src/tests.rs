//! Tests on the real disk.

use super::*;
use std::io::ErrorKind;
use std::sync::Arc;

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn appends_reads_and_truncates() {
    let dir = temp();
    let path = dir.path().join("f");
    for create in [true, false] {
        let file = if create { OsDisk.create(&path) } else { OsDisk.open_append(&path) }.expect("opens");
        file.truncate(0).expect("truncates");
        file.append(b"hello ").expect("appends");
        file.append(b"world").expect("appends");
        file.truncate(5).expect("truncates");
        file.append(b"!").expect("appends at the new end");
        let mut got = [0; 10];
        assert_eq!(file.read_at(1, &mut got).expect("reads"), 5);
        assert_eq!(&got[..5], b"ello!");
        assert_eq!(file.read_at(99, &mut got).expect("reads"), 0);
        assert_eq!(file.len().expect("has a length"), 6);
        file.sync().expect("syncs");
    }
    let file = OsDisk.create(&path).expect("opens");
    file.append(b"abcdef").expect("appends");
    file.write_at(2, b"XY").expect("writes");
    file.append(b"g").expect("appends");
    assert_eq!(OsDisk.read(&path, 100).expect("reads"), b"abXYefg");
    assert!(OsDisk.read(&path, 6).expect_err("too long").to_string().contains("at most 6"));
}

#[test]
fn errors_name_operation_and_path() {
    let dir = temp();
    let path = dir.path().join("absent");
    let error = OsDisk.open(&path).expect_err("is absent");
    assert!(error.is_not_found());
    assert!(error.to_string().starts_with(&format!("open {}: ", path.display())), "{error}");
    OsDisk.remove_dir_all(&path).expect("absent is fine");
}

#[test]
fn atomic_write_replaces_and_leaves_nothing() {
    let dir = temp();
    let path = dir.path().join("f");
    atomic::write(&OsDisk, &path, b"one").expect("writes");
    let map = OsDisk.map(&path).expect("maps");
    atomic::write(&OsDisk, &path, b"other").expect("writes");
    assert_eq!(&map[..], b"one", "an old map stays");
    assert_eq!(&OsDisk.map(&path).expect("maps")[..], b"other");
    assert_eq!(OsDisk.list(dir.path()).expect("lists").len(), 1);

    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    for dir in [&from, &to] {
        OsDisk.create_dir_all(dir).expect("makes");
    }
    atomic::write(&OsDisk, &to.join("old"), b"").expect("writes");
    atomic::replace(&OsDisk, &from, &to).expect("replaces");
    assert!(OsDisk.list(&to).expect("lists").is_empty() && !OsDisk.exists(&from));
}

#[test]
fn empty_files_can_be_mapped() {
    let dir = temp();
    let path = dir.path().join("f");
    OsDisk.create(&path).expect("makes");
    let map = OsDisk.map(&path).expect("maps");
    map.advise(Access::Sequential);
    assert!(map.is_empty());
}

#[test]
fn one_holder_per_directory() {
    let dir = temp();
    let disk = OsDisk::shared();
    let held = DirLock::acquire(disk.clone(), dir.path()).expect("locks");
    assert!(!held.replaced());
    let second = DirLock::acquire(disk.clone(), dir.path()).expect_err("is held");
    assert!(second.to_string().starts_with("lock DB directory: "), "{second}");
    drop(held);
    assert!(!disk.exists(&dir.path().join("lock")));
    atomic::write(&*disk, &dir.path().join("lock"), b"").expect("writes");
    assert!(DirLock::acquire(disk, dir.path()).expect("locks").replaced());
}

#[test]
fn scans_numbers_among_strangers() {
    let dir = temp();
    for name in ["00000002", "00000010", "lost+found", "00000003.tmp", "checkpoint.00000001"] {
        atomic::write(&OsDisk, &dir.path().join(name), b"x").expect("writes");
    }
    let numbers = |prefix| {
        let found = scan::numbered(&OsDisk, dir.path(), prefix).expect("scans");
        found.iter().map(|n| n.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(""), [2, 10]);
    assert_eq!(numbers("checkpoint."), [1]);
    assert!(scan::numbered(&OsDisk, &dir.path().join("absent"), "").expect("scans").is_empty());
}

#[test]
fn small_files_are_capped_and_watched() {
    let dir = temp();
    let path = dir.path().join("f");
    atomic::write(&OsDisk, &path, "grün".as_bytes()).expect("writes");
    assert_eq!(small::read_text(&OsDisk, &path, 5).expect("reads"), "grün");
    assert!(small::read_text(&OsDisk, &path, 4).is_err());
    let mut watched = small::Watched::new(Arc::new(OsDisk), &path, 100);
    assert_eq!(watched.changed().expect("reads").as_deref(), Some("grün"));
    assert_eq!(watched.changed().expect("reads"), None);
    atomic::write(&OsDisk, &path, b"blau!").expect("writes");
    assert_eq!(watched.changed().expect("reads").as_deref(), Some("blau!"));
    OsDisk.remove_file(&path).expect("removes");
    assert_eq!(watched.changed().expect_err("is gone").kind(), ErrorKind::NotFound);
    atomic::write(&OsDisk, &path, &[0xff]).expect("writes");
    assert!(watched.changed().is_err());
}

#[test]
fn buffered_writes_count_positions() {
    let dir = temp();
    let path = dir.path().join("f");
    let mut out = Buffered::new(OsDisk.create(&path).expect("makes"), 8).expect("wraps");
    for (piece, position) in [(&b"abc"[..], 3), (b"defgh", 8), (b"i", 9), (b"0123456789", 19)] {
        out.write(piece).expect("writes");
        assert_eq!(out.position(), position);
    }
    out.write(b"z").expect("writes");
    assert_eq!(out.file().len().expect("has a length"), 19);
    out.sync().expect("syncs");
    assert_eq!(OsDisk.read(&path, 100).expect("reads"), b"abcdefghi0123456789z");
}

#[test]
fn space_is_known() {
    let space = OsDisk.space(std::path::Path::new("/")).expect("asks");
    assert!(space.total > 0 && space.free <= space.total);
}
