//! How much memory this process may use, and what part of it one query may take.

use crate::flags::Settings;
use crate::process::{proc_text, status_kib};
use disk::Disk;
use parking_lot::Mutex;
use query::ProcessMemory;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A query that would take more than this part of the process' memory is refused, so that ingestion goes on…
const QUERY_PART: f64 = 0.25;
/// …as is one that would make all queries together take more than this…
const ALL_QUERIES_PART: f64 = 0.5;
/// …and no query is begun while the process uses more than this.
const CEILING_PART: f64 = 0.95;

/// How long a reading of the process' memory stands. Maps of files do not count: the system takes them back.
const FRESH: Duration = Duration::from_millis(100);

/// What queries may hold, bytes; 0 stands for no limit.
#[derive(Default)]
pub(crate) struct QueryMemory {
    pub(crate) of_one: usize,
    pub(crate) of_all: usize,
    pub(crate) process: Option<ProcessMemory>,
}

pub(crate) fn query_memory(settings: &Settings, disk: &Arc<dyn Disk>) -> QueryMemory {
    let (Some(ratio), Some(limit)) = (settings.memory_ratio, limit_bytes(&**disk)) else {
        return QueryMemory::default();
    };
    let part = |part: f64| (limit as f64 * ratio * part) as usize;
    let (disk, known) = (disk.clone(), Mutex::new(None));
    let used = Arc::new(move || {
        // Asked before every query, and not for nothing.
        let mut known = known.lock();
        match *known {
            Some((at, bytes)) if Instant::elapsed(&at) < FRESH => bytes,
            _ => {
                let bytes = status_kib(&*disk, "RssAnon:").unwrap_or(0.0) as usize;
                *known = Some((Instant::now(), bytes));
                bytes
            }
        }
    });
    QueryMemory {
        of_one: part(QUERY_PART),
        of_all: part(ALL_QUERIES_PART),
        process: Some(ProcessMemory { used, ceiling: part(CEILING_PART) }),
    }
}

/// The smallest of the control group's limit (version 2, then 1) and the memory of this host.
fn limit_bytes(disk: &dyn Disk) -> Option<u64> {
    let number = |path: &str| proc_text(disk, path)?.trim().parse::<u64>().ok();
    let host = proc_text(disk, "/proc/meminfo").and_then(|text| host_bytes(&text));
    let group =
        number("/sys/fs/cgroup/memory.max").or_else(|| number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    group.into_iter().chain(host).min()
}

fn host_bytes(meminfo: &str) -> Option<u64> {
    let kib = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    kib.split_whitespace().next()?.parse::<u64>().ok().map(|n| n * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_host_tells_its_memory() {
        assert_eq!(
            super::host_bytes("MemTotal:       24609272 kB\nMemFree: 1 kB\n"),
            Some(24_609_272 * 1024)
        );
        assert_eq!(super::host_bytes("nothing"), None);
    }
}
