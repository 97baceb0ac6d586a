//! A small file system of its own (tmpfs, for which the test must be root) that fills up, or is read-only.

use e2e::http::Connection;
use e2e::node::{Node, PATIENCE, Role};
use e2e::push::{self, Series};
use e2e::query::{self, eventually};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

const ARGS: [&str; 1] = ["--web.enable-remote-write-receiver"];
const BATCH: usize = 500;

/// A mounted tmpfs, taken down at the end.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(test: &str, at: &Path, size: &str) -> Option<Tmpfs> {
        std::fs::create_dir_all(at).expect("folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success());
        if !mounted {
            eprintln!("{test}: SKIPPED, a tmpfs cannot be mounted here");
        }
        mounted.then(|| Tmpfs(at.to_owned()))
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(done.is_ok_and(|s| s.success()), "remount {options}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// Sends one sample of many series; gives status and body.
fn send(node: &Node, t: i64, round: u64) -> (u16, String) {
    let names: Vec<String> = (0..BATCH).map(|n| format!("{n:04}")).collect();
    let labels: Vec<[(&str, &str); 2]> = names.iter().map(|n| [("__name__", "filling"), ("n", n)]).collect();
    // Values that do not compress.
    let samples: Vec<[(i64, f64); 1]> = (0..BATCH as u64)
        .map(|n| [(t, ((round * 7919 + n) * 2_654_435_761 % 1_000_003) as f64 / 7.0)])
        .collect();
    let series: Vec<Series<'_>> =
        labels.iter().zip(&samples).map(|(labels, samples)| Series { labels, samples }).collect();
    let mut connection = Connection::open(&node.address).expect("connects");
    let reply = push::post(&mut connection, &series).expect("an answer");
    (reply.status, String::from_utf8_lossy(&reply.body).into_owned())
}

/// Samples that are found.
fn count(node: &Node) -> usize {
    query::raw(&node.address, "filling[1h]").len()
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let mut node = Node::prepare(&e2e::pyrrha(), Role::Server, "global: {}\n", &ARGS);
    let data = node.dir().join("data");
    let Some(_mount) = Tmpfs::mount("a_full_disk_refuses_and_recovers", &data, "16m") else { return };
    node.run();
    let start = now_ms() - 1_000_000;
    let mut acknowledged = 0;
    let mut round = 0;
    let mut push = |node: &Node| {
        round += 1;
        let (status, body) = send(node, start + round as i64 * 1000, round);
        acknowledged += if status == 204 { BATCH } else { 0 };
        (status, body, acknowledged)
    };
    assert_eq!(push(&node).0, 204);
    // Room for a few requests more.
    std::fs::write(data.join("filler"), vec![0u8; (16 << 20) - (400 << 10)]).expect("fills");
    let refused =
        (0..400).map(|_| push(&node)).find(|(status, ..)| *status != 204).expect("the disk gets full");
    assert_eq!(refused.0, 503, "{}", refused.1);
    assert!(refused.1.contains("no space left on device"), "{}", refused.1);
    // Queries go on, and nothing that was acknowledged is missing.
    assert_eq!(count(&node), refused.2);
    std::fs::remove_file(data.join("filler")).expect("frees");
    let (status, body, sent) = push(&node);
    assert_eq!(status, 204, "{body}");
    assert_eq!(count(&node), sent);
    node.kill();
    node.run();
    assert_eq!(count(&node), sent, "after kill -9");
    // A start on a disk without any room: what can be read is read, and it recovers as well.
    node.kill();
    let full = std::fs::write(data.join("filler"), vec![0u8; 32 << 20]);
    assert!(full.is_err(), "the filler takes all there is");
    node.run();
    assert_eq!(count(&node), sent, "on a full disk");
    assert_eq!(push(&node).0, 503);
    std::fs::remove_file(data.join("filler")).expect("frees");
    let sent = eventually("writing goes on", PATIENCE, || match push(&node) {
        (204, _, sent) => Ok(sent),
        (status, body, _) => Err(format!("{status} {body}")),
    });
    assert_eq!(count(&node), sent);
}

#[test]
fn a_read_only_directory_is_refused_by_name() {
    let node = Node::prepare(&e2e::pyrrha(), Role::Server, "global: {}\n", &ARGS);
    let data = node.dir().join("data");
    let Some(mount) = Tmpfs::mount("a_read_only_directory_is_refused_by_name", &data, "1m") else { return };
    mount.remount("ro");
    let out = Command::new(e2e::pyrrha())
        .arg(format!("--config.file={}", node.dir().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{text}");
    let lock = data.join("lock");
    assert!(text.contains(&format!("open {}: read-only file system", lock.display())), "{text}");
}
