//! The programs under test and how each is started as a receiver.

use e2e::peers::version_of;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Pyrrha,
    Prometheus,
    VictoriaMetrics,
}

pub struct Peer {
    pub kind: Kind,
    pub name: String,
    pub program: PathBuf,
}

impl Peer {
    pub fn ready_path(&self) -> &'static str {
        match self.kind {
            Kind::VictoriaMetrics => "/health",
            _ => "/-/ready",
        }
    }

    pub fn wal_dir(&self, data: &Path) -> PathBuf {
        match self.kind {
            Kind::VictoriaMetrics => data.join("data"),
            _ => data.join("wal"),
        }
    }

    pub fn args(&self, data: &Path, address: &str) -> Vec<String> {
        let data = data.display();
        match self.kind {
            Kind::VictoriaMetrics => vec![
                format!("-storageDataPath={data}"),
                format!("-httpListenAddr={address}"),
                "-retentionPeriod=10y".into(),
                "-search.disableCache".into(),
            ],
            _ => vec![
                format!("--config.file={data}.yml"),
                format!("--storage.tsdb.path={data}"),
                format!("--web.listen-address={address}"),
                "--web.enable-remote-write-receiver".into(),
                "--log.level=warn".into(),
            ],
        }
    }
}

/// Ours and every peer at hand; absent ones are named on standard error.
pub fn at_hand(pyrrha: PathBuf) -> Vec<Peer> {
    let mut peers = vec![Peer { kind: Kind::Pyrrha, name: "pyrrha".into(), program: pyrrha }];
    for (kind, peer, label) in [
        (Kind::Prometheus, e2e::peers::Peer::Prometheus, "Prometheus"),
        (Kind::VictoriaMetrics, e2e::peers::Peer::VictoriaMetrics, "VictoriaMetrics"),
    ] {
        match peer.find() {
            Some(program) => {
                peers.push(Peer { kind, name: format!("{label} {}", version_of(&program)), program });
            }
            None => eprintln!("bench: {label} not found (put it on PATH or set PYRRHA_PEERS): skipped"),
        }
    }
    peers
}

/// As [`at_hand`], with vmagent in the place of the database.
pub fn agents_at_hand(pyrrha: PathBuf) -> Vec<Peer> {
    let mut peers = at_hand(pyrrha);
    for peer in peers.iter_mut().filter(|p| p.kind == Kind::VictoriaMetrics) {
        peer.program = peer.program.with_file_name("vmagent");
        peer.name = format!("vmagent {}", version_of(&peer.program));
    }
    peers.retain(|p| p.program.is_file());
    peers
}
