//! The programs under test and how each is started as a receiver.

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

fn version_of(program: &Path) -> String {
    let text = std::process::Command::new(program)
        .arg("--version")
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned() + &String::from_utf8_lossy(&o.stderr))
        .unwrap_or_default();
    let word = |after: &str| {
        text.split(after).nth(1).and_then(|r| r.split([' ', ',', '\n']).next()).map(str::to_owned)
    };
    word("version ").or_else(|| word("-v")).unwrap_or_else(|| "?".into())
}

/// A program by environment variable, in `$PYRRHA_PEERS` (a folder of unpacked packages) or on PATH.
fn find(variable: &str, package: &str, program: &str) -> Option<PathBuf> {
    let by_variable = std::env::var_os(variable).map(PathBuf::from);
    let by_folder = std::env::var_os("PYRRHA_PEERS")
        .map(|dir| Path::new(&dir).join(package).join("usr/bin").join(program));
    let by_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|p| std::env::split_paths(&p).map(|d| d.join(program)).collect::<Vec<_>>());
    by_variable.into_iter().chain(by_folder).chain(by_path).find(|p| p.is_file())
}

/// Ours and every peer at hand; absent ones are named on standard error.
pub fn at_hand(pyrrha: PathBuf) -> Vec<Peer> {
    let mut peers = vec![Peer { kind: Kind::Pyrrha, name: "pyrrha".into(), program: pyrrha }];
    for (kind, variable, package, program, label) in [
        (Kind::Prometheus, "PYRRHA_PROMETHEUS", "prometheus", "prometheus", "Prometheus"),
        (
            Kind::VictoriaMetrics,
            "PYRRHA_VICTORIA_METRICS",
            "victoria-metrics",
            "victoria-metrics",
            "VictoriaMetrics",
        ),
    ] {
        match find(variable, package, program) {
            Some(found) => {
                peers.push(Peer { kind, name: format!("{label} {}", version_of(&found)), program: found });
            }
            None => eprintln!("bench: {label} not found (set {variable} or PYRRHA_PEERS): skipped"),
        }
    }
    peers
}
