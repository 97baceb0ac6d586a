//! Finding the real peers: by environment variable, in a folder of unpacked packages, or on PATH.

use std::path::{Path, PathBuf};

/// A peer program and where to look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Prometheus,
    VictoriaMetrics,
    NodeExporter,
    Nginx,
    OpenSsl,
}

impl Peer {
    const fn names(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Peer::Prometheus => ("PYRRHA_PROMETHEUS", "prometheus", &["prometheus"]),
            Peer::VictoriaMetrics => ("PYRRHA_VICTORIA_METRICS", "victoria-metrics", &["victoria-metrics"]),
            Peer::NodeExporter => (
                "PYRRHA_NODE_EXPORTER",
                "prometheus-node-exporter",
                &["prometheus-node-exporter", "node_exporter"],
            ),
            Peer::Nginx => ("PYRRHA_NGINX", "nginx", &["nginx"]),
            Peer::OpenSsl => ("PYRRHA_OPENSSL", "openssl", &["openssl"]),
        }
    }

    /// The newest at hand: `$PYRRHA_<NAME>`, then `$PYRRHA_PEERS/<package>/usr/bin`, then PATH.
    pub fn find(self) -> Option<PathBuf> {
        self.places().into_iter().next()
    }

    /// Where the program is found, first choice first.
    fn places(self) -> Vec<PathBuf> {
        let (variable, package, programs) = self.names();
        if let Some(path) = std::env::var_os(variable) {
            return vec![path.into()];
        }
        let folders = std::env::var_os("PYRRHA_PEERS")
            .map(|dir| Path::new(&dir).join(package).join("usr/bin"))
            .into_iter()
            .chain(
                std::env::var_os("PATH")
                    .into_iter()
                    .flat_map(|p| std::env::split_paths(&p).collect::<Vec<_>>()),
            )
            .chain([PathBuf::from("/usr/sbin")]);
        folders.flat_map(|dir| programs.iter().map(move |p| dir.join(p))).filter(|p| p.is_file()).collect()
    }

    /// One program of each version at hand, with its version; says on standard error which they are, or that the
    /// test is skipped.
    pub fn find_all_for(self, test: &str) -> Vec<(PathBuf, String)> {
        let mut found: Vec<(PathBuf, String)> = Vec::new();
        for path in self.places() {
            let version = version_of(&path);
            if found.iter().all(|(_, known)| *known != version) {
                eprintln!("{test}: uses {} ({version})", path.display());
                found.push((path, version));
            }
        }
        if found.is_empty() {
            eprintln!("{test}: SKIPPED, {self:?} is not installed (set {} or PYRRHA_PEERS)", self.names().0);
        }
        found
    }

    /// As [`Peer::find`]; says on standard error which program a test uses, or that it is skipped.
    pub fn find_for(self, test: &str) -> Option<PathBuf> {
        let found = self.find();
        match &found {
            Some(path) => eprintln!("{test}: uses {} ({})", path.display(), version_of(path)),
            None => eprintln!(
                "{test}: SKIPPED, {self:?} is not installed (set {} or PYRRHA_PEERS)",
                self.names().0
            ),
        }
        found
    }
}

/// What a program says of its version; `?` when it says nothing that is understood.
pub fn version_of(program: &Path) -> String {
    for flag in ["--version", "-version", "-v", "version"] {
        let Ok(output) = std::process::Command::new(program).arg(flag).output() else { continue };
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let is_version = |w: &&str| {
            let w = w.trim_start_matches('v');
            w.contains('.') && w.starts_with(|c: char| c.is_ascii_digit())
        };
        let mut words = text.split([' ', ',', '/', '-', '\n', '(', ')', '+', '~']);
        if output.status.success()
            && let Some(version) = words.find(is_version)
        {
            return version.trim_start_matches('v').to_owned();
        }
    }
    "?".into()
}
