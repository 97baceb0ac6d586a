//! A monitoring process under test that can be killed and started again on the same folder and port.

use crate::process::{Process, free_port};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ours or upstream's program, as server or as agent.
pub struct Node {
    program: PathBuf,
    args: Vec<String>,
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
        let mut node = Node { program: program.to_owned(), args, dir, address, process: None };
        node.run();
        node
    }

    /// Starts the process (again).
    #[track_caller]
    pub fn run(&mut self) {
        let mut process =
            Process::start(&self.program, &self.args, &self.address, &self.dir.path().join("log"))
                .expect("program starts");
        if let Err(why) = process.wait_ready("/-/ready") {
            panic!("{}: {why}\n{}", self.program.display(), self.log());
        }
        self.process = Some(process);
    }

    /// The next [`Node::run`] starts another program with the same arguments on the same folder.
    pub fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
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

/// How long the tests wait for something that should take a second or two; generous for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
