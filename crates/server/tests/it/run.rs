//! Starting the binary and asking it over HTTP.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn pyrrha() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pyrrha"))
}

pub(crate) fn output(args: &[&str]) -> Output {
    pyrrha().args(args).output().expect("runs")
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("loopback").port()
}

/// A running server; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts with these flags and waits until it is ready.
    pub(crate) fn start(args: &[String]) -> Running {
        let port = free_port();
        let child = pyrrha()
            .args(args)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut running = Running { child, port };
        let begin = Instant::now();
        while running.ask("GET", "/-/ready").is_none_or(|(status, _)| status != 200) {
            assert!(running.child.try_wait().expect("status").is_none(), "ended before it was ready");
            assert!(begin.elapsed() < Duration::from_secs(60), "not ready in time");
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    /// Status and body; `None` without a connection.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        let (head, body) = reply.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// Waits for the process to end by itself.
    pub(crate) fn exit_code(mut self) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("status") {
                return status.code();
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
