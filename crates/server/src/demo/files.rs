//! The configuration files of the demo: plain, so that they can be read and copied.

use disk::Disk;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

pub(super) fn write(disk: &Arc<dyn Disk>, path: &Path, text: &str) -> disk::Result<()> {
    disk.create(path)?.append(text.as_bytes())
}

pub(super) fn receiver() -> String {
    "# Stores what the agents push; scrapes nothing itself.\nglobal:\n  scrape_interval: 2s\n".to_owned()
}

/// `targets`: job and port on loopback.
pub(super) fn agent(cluster: &str, targets: &BTreeMap<&str, u16>, receiver: u16) -> String {
    let mut text = format!(
        "# The agent of cluster {cluster}.\n\
         global:\n  scrape_interval: 2s\n  external_labels:\n    cluster: {cluster}\n\
         scrape_configs:\n"
    );
    for (job, port) in targets {
        let _ = writeln!(
            text,
            "  - job_name: {job}\n    static_configs:\n      - targets: [\"127.0.0.1:{port}\"]"
        );
    }
    let _ = write!(
        text,
        "remote_write:\n  - url: http://127.0.0.1:{receiver}/api/v1/write\n    send_exemplars: true\n    \
         queue_config:\n      batch_send_deadline: 1s\n"
    );
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn agent_file() {
        let text = super::agent("paris", &[("agent", 1)].into(), 2);
        assert_eq!(
            text,
            "# The agent of cluster paris.\nglobal:\n  scrape_interval: 2s\n  external_labels:\n    cluster: paris\n\
             scrape_configs:\n  - job_name: agent\n    static_configs:\n      - targets: [\"127.0.0.1:1\"]\n\
             remote_write:\n  - url: http://127.0.0.1:2/api/v1/write\n    send_exemplars: true\n    \
             queue_config:\n      batch_send_deadline: 1s\n"
        );
    }
}
