//! A peer as a child process: start, readiness, CPU and memory from /proc, kill.

use crate::http::Connection;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Process {
    child: Child,
    pub address: String,
}

#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub rss_bytes: u64,
    pub peak_bytes: u64,
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map(|a| a.port()).unwrap_or(0)
}

impl Process {
    /// Starts `program`; its output goes to `log`.
    pub fn start(program: &Path, args: &[String], address: &str, log: &Path) -> std::io::Result<Self> {
        let out = fs::File::options().create(true).append(true).open(log)?;
        let child = Command::new(program)
            .args(args)
            .stdout(Stdio::from(out.try_clone()?))
            .stderr(Stdio::from(out))
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Process { child, address: address.to_owned() })
    }

    /// Waits until `path` answers 200; gives how long that took.
    pub fn wait_ready(&mut self, path: &str) -> Result<Duration, String> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(180) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("exited with {status} before it was ready"));
            }
            if let Ok(reply) = Connection::open(&self.address).and_then(|mut c| c.get(path))
                && reply.status == 200
            {
                return Ok(start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("{} not ready after three minutes", self.address))
    }

    /// From here on the peak of memory is counted anew, where the system can do that.
    pub fn forget_peak(&self) {
        let _ = fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }

    /// CPU time of all threads so far, in ns, where the system tells it; threads that have ended count no more, nor does
    /// the one that gives memory back to the system, a second later.
    pub fn cpu_ns(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let of = |task: fs::DirEntry| {
            if fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("jemalloc")) {
                return None;
            }
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        tasks.map_or(0, |tasks| tasks.flatten().filter_map(of).sum())
    }

    pub fn usage(&self) -> Usage {
        let pid = self.child.id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kb = |key: &str| {
            status
                .lines()
                .find_map(|l| l.strip_prefix(key))
                .and_then(|l| l.split_whitespace().next())
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0)
                * 1024
        };
        Usage {
            cpu_seconds: (ticks(11) + ticks(12)) / 100.0,
            rss_bytes: kb("VmRSS:"),
            peak_bytes: kb("VmHWM:"),
        }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, then waits for the end.
    pub fn terminate(mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes of all files below a folder.
pub fn dir_bytes(dir: &Path) -> u64 {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| {
            let path: PathBuf = e.path();
            if path.is_dir() { dir_bytes(&path) } else { e.metadata().map_or(0, |m| m.len()) }
        })
        .sum()
}
