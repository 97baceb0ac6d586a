//! A process of the demo: started, watched, its log kept, stopped when we stop or die.
//!
//! Our own processes read their standard input and stop when it ends, so they end with us however we end.
//! A foreign one is started through `setpriv --pdeathsig`, where that is installed.

use disk::{Disk, File};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{ChildStdin, Command};

/// Lines of a log that are shown when the process fails.
const SHOWN: usize = 12;
/// How long a process may take to stop by itself.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Set for our own processes: stop when standard input ends.
pub const STOP_WITH_STDIN: &str = "PYRRHA_STOP_WITH_STDIN";

pub(super) struct Child {
    name: String,
    process: tokio::process::Child,
    /// Closing it stops the process. `None` for foreign programs.
    stdin: Option<ChildStdin>,
    tail: Arc<Mutex<VecDeque<String>>>,
}

impl Child {
    pub(super) fn start(
        name: &str,
        program: &Path,
        args: Vec<String>,
        disk: &Arc<dyn Disk>,
        dir: &Path,
    ) -> anyhow::Result<Child> {
        let mut command = Command::new(program);
        command.args(args).env(STOP_WITH_STDIN, "1").stdin(Stdio::piped());
        let mut child = Self::spawn(name, command, disk, dir)?;
        child.stdin = child.process.stdin.take();
        Ok(child)
    }

    pub(super) fn start_foreign(
        name: &str,
        program: &Path,
        args: Vec<String>,
        disk: &Arc<dyn Disk>,
        dir: &Path,
    ) -> anyhow::Result<Child> {
        let mut command = match find(&["setpriv"], disk) {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(args).stdin(Stdio::null());
        Self::spawn(name, command, disk, dir)
    }

    fn spawn(name: &str, mut command: Command, disk: &Arc<dyn Disk>, dir: &Path) -> anyhow::Result<Child> {
        // A group of its own: Ctrl-C reaches only us, and we stop the others in order.
        command.process_group(0).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|e| anyhow::anyhow!("cannot start {name}: {e}"))?;
        let log: Arc<dyn File> = Arc::from(disk.create(&dir.join(format!("{name}.log")))?);
        let tail = Arc::<Mutex<VecDeque<String>>>::default();
        if let Some(out) = process.stdout.take() {
            tokio::spawn(keep_log(out, log.clone(), tail.clone()));
        }
        if let Some(err) = process.stderr.take() {
            tokio::spawn(keep_log(err, log, tail.clone()));
        }
        Ok(Child { name: name.to_owned(), process, stdin: None, tail })
    }

    /// Why it is no longer running, with the end of its log.
    pub(super) fn exited(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok()??;
        Some(self.obituary(&status.to_string()))
    }

    fn obituary(&self, status: &str) -> String {
        let tail: Vec<String> = self.tail.lock().iter().map(|line| format!("    {line}")).collect();
        format!("{} ended: {status}\n{}", self.name, tail.join("\n"))
    }

    pub(super) async fn stop(mut self) {
        match self.stdin.take() {
            Some(stdin) => drop(stdin),
            None => drop(self.process.start_kill()),
        }
        if tokio::time::timeout(STOP_WITHIN, self.process.wait()).await.is_err() {
            println!("  {} does not stop; killing it", self.name);
            let _ = self.process.kill().await;
        } else {
            println!("  {} stopped", self.name);
        }
    }
}

/// Waits until a process ends by itself, which none should.
pub(super) async fn first_exit(children: &mut VecDeque<Child>) -> anyhow::Error {
    loop {
        if let Some(why) = children.iter_mut().find_map(Child::exited) {
            return anyhow::anyhow!(why);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn keep_log(from: impl AsyncRead + Unpin, log: Arc<dyn File>, tail: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // A full disk loses lines of a log, not the demo.
        let _ = log.append(format!("{line}\n").as_bytes());
        let mut tail = tail.lock();
        if tail.len() == SHOWN {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

/// The first of some programs that stands on `PATH`.
pub(super) fn find(names: &[&str], disk: &Arc<dyn Disk>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let candidates = names.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    candidates.into_iter().find(|path| disk.meta(path).is_ok_and(|meta| !meta.is_dir))
}
