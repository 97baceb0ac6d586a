//! How much memory this process may use, and what part of it one query may take.

use crate::flags::Settings;
use crate::process::proc_text;
use disk::Disk;

/// A query that would take more than this part of the process' memory is refused, so that ingestion goes on.
const QUERY_PART: u64 = 4;

/// Bytes that one query may hold; 0 without a limit.
pub(crate) fn query_budget_bytes(settings: &Settings, disk: &dyn Disk) -> usize {
    let Some(ratio) = settings.memory_ratio else { return 0 };
    let limit = limit_bytes(disk).unwrap_or(0);
    usize::try_from((limit as f64 * ratio) as u64 / QUERY_PART).unwrap_or(usize::MAX)
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
