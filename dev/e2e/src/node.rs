//! A monitoring process under test that can be killed and started again on the same folder and port.

use crate::process::{Process, free_port};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ours or upstream's program, as server or as agent.
pub struct Node {
    program: PathBuf,
    args: Vec<String>,
    /// Arguments of the present program alone.
    own: Vec<String>,
    dir: tempfile::TempDir,
    pub address: String,
    process: Option<Process>,
}

/// Which store a node runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    Agent,
}

impl Node {
    /// Writes `config` to a fresh folder and starts `program` on a free port; waits until it is ready.
    #[track_caller]
    pub fn start(program: &Path, role: Role, config: &str, extra: &[&str]) -> Self {
        let mut node = Node::prepare(program, role, config, extra);
        node.run();
        node
    }

    /// As [`Node::start`], but [`Node::run`] is left to the caller.
    pub fn prepare(program: &Path, role: Role, config: &str, extra: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        std::fs::write(dir.path().join("prometheus.yml"), config).expect("config written");
        let address = format!("127.0.0.1:{}", free_port());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut args = vec![
            format!("--config.file={}", path("prometheus.yml")),
            format!("--web.listen-address={address}"),
        ];
        match role {
            Role::Server => args.push(format!("--storage.tsdb.path={}", path("data"))),
            Role::Agent => args.extend(["--agent".into(), format!("--storage.agent.path={}", path("data"))]),
        }
        args.extend(extra.iter().map(|a| (*a).to_owned()));
        Node { program: program.to_owned(), args, own: Vec::new(), dir, address, process: None }
    }

    /// Starts the process (again).
    #[track_caller]
    pub fn run(&mut self) {
        let log = self.dir.path().join("log");
        let mut process =
            Process::start(&self.program, &[&self.args[..], &self.own].concat(), &self.address, &log)
                .expect("program starts");
        if let Err(why) = process.wait_ready("/-/ready") {
            panic!("{}: {why}\n{}", self.program.display(), self.log());
        }
        self.process = Some(process);
    }

    /// The next [`Node::run`] starts another program on the same folder: with the same arguments and those that
    /// it alone gets.
    pub fn set_program(&mut self, program: &Path, own: &[&str]) {
        program.clone_into(&mut self.program);
        self.own = own.iter().map(|a| (*a).to_owned()).collect();
    }

    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM and wait.
    pub fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.terminate();
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Fails the test when the log holds a line of level ERROR, or WARN that `expected` does not name.
    #[track_caller]
    pub fn assert_quiet(&self, expected: &[&str]) {
        for line in self.log().lines() {
            let loud =
                line.contains("level=ERROR") || line.contains("level=WARN") || line.contains("panicked");
            assert!(!loud || expected.iter().any(|e| line.contains(e)), "unexpected log line: {line}");
        }
    }
}

impl Drop for Node {
    /// Of a failed test the end of the log is shown.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}:\n{}", self.program.display(), lines[lines.len().saturating_sub(25)..].join("\n"));
        }
    }
}

/// How long the tests wait for something that should take a second or two; generous for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
