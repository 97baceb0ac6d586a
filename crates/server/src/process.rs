//! `process_*` metrics of ourselves, `prometheus_build_info`, and the few `go_*` ones that dashboards look for.

use crate::version;
use disk::Disk;
use disk::small::read_text;
use meter::{FamilyKind, Point, Registry};
use std::path::Path;
use std::sync::Arc;

/// Ticks a second in `/proc/<pid>/stat`: fixed by the kernel's interface on every platform that we build for.
const TICKS: f64 = 100.0;
const MAX_TEXT: u64 = 1 << 20;

/// Registers the families. Figures are read from `/proc` when they are asked for; where there is none, they
/// are absent.
pub fn register(registry: &Registry, disk: &Arc<dyn Disk>) {
    type Read = fn(&dyn Disk) -> Option<f64>;
    let families: [(&str, &str, FamilyKind, Read); 7] = [
        (
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            FamilyKind::Counter,
            cpu_seconds,
        ),
        ("process_max_fds", "Maximum number of open file descriptors.", FamilyKind::Gauge, |disk| {
            limit(disk, "Max open files")
        }),
        ("process_open_fds", "Number of open file descriptors.", FamilyKind::Gauge, open_files),
        ("process_resident_memory_bytes", "Resident memory size in bytes.", FamilyKind::Gauge, |disk| {
            status_kib(disk, "VmRSS:")
        }),
        (
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            FamilyKind::Gauge,
            start_time,
        ),
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", FamilyKind::Gauge, |disk| {
            status_kib(disk, "VmSize:")
        }),
        (
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            FamilyKind::Gauge,
            |disk| limit(disk, "Max address space"),
        ),
    ];
    for (name, help, kind, read) in families {
        let disk = disk.clone();
        registry.collect(name, help, kind, move |out| {
            if let Some(value) = read(&*disk) {
                out.push(Point { suffix: "", labels: Vec::new(), value });
            }
        });
    }
    registry
        .gauge_vec(
            "prometheus_build_info",
            "A metric with a constant '1' value labeled by version, revision, branch, goversion from which \
             prometheus was built, and the goos and goarch for the build.",
            &["branch", "goarch", "goos", "goversion", "pyrrha", "revision", "tags", "version"],
        )
        .with(&[
            version::BRANCH,
            version::platform(),
            std::env::consts::OS,
            "",
            version::VERSION,
            version::REVISION,
            "",
            version::PROMETHEUS_LEVEL,
        ])
        .set(1.0);
    let disk = disk.clone();
    registry.collect("go_threads", "Number of OS threads created.", FamilyKind::Gauge, move |out| {
        if let Some(value) = status_number(&*disk, "Threads:") {
            out.push(Point { suffix: "", labels: Vec::new(), value });
        }
    });
}

pub(crate) fn proc_text(disk: &dyn Disk, name: &str) -> Option<String> {
    read_text(disk, Path::new(name), MAX_TEXT).ok()
}

/// Fields of `/proc/self/stat` from the third on; the second may hold blanks.
fn stat_fields(text: &str) -> Vec<&str> {
    text.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect())
}

fn stat_field(disk: &dyn Disk, number: usize) -> Option<f64> {
    let text = proc_text(disk, "/proc/self/stat")?;
    stat_fields(&text).get(number - 3)?.parse().ok()
}

fn cpu_seconds(disk: &dyn Disk) -> Option<f64> {
    Some((stat_field(disk, 14)? + stat_field(disk, 15)?) / TICKS)
}

fn start_time(disk: &dyn Disk) -> Option<f64> {
    let text = proc_text(disk, "/proc/stat")?;
    let boot: f64 = text.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat_field(disk, 22)? / TICKS)
}

fn status_number(disk: &dyn Disk, key: &str) -> Option<f64> {
    let text = proc_text(disk, "/proc/self/status")?;
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

pub(crate) fn status_kib(disk: &dyn Disk, key: &str) -> Option<f64> {
    Some(status_number(disk, key)? * 1024.0)
}

fn open_files(disk: &dyn Disk) -> Option<f64> {
    disk.list(Path::new("/proc/self/fd")).ok().map(|list| list.len() as f64)
}

fn limit(disk: &dyn Disk, key: &str) -> Option<f64> {
    let text = proc_text(disk, "/proc/self/limits")?;
    let soft = text.lines().find_map(|l| l.strip_prefix(key))?.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX as f64) } else { soft.parse().ok() }
}

/// `(soft=1024, hard=4096)`, as upstream logs limits.
pub fn limits_text(disk: &dyn Disk, key: &str) -> String {
    let text = proc_text(disk, "/proc/self/limits").unwrap_or_default();
    let mut words = text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or("").split_whitespace();
    let (soft, hard) = (words.next().unwrap_or("unknown"), words.next().unwrap_or("unknown"));
    format!("(soft={soft}, hard={hard})")
}

/// Name of this host.
pub fn hostname(disk: &dyn Disk) -> String {
    let text = proc_text(disk, "/proc/sys/kernel/hostname").unwrap_or_default();
    match text.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_figures() {
        let registry = Registry::new();
        let disk: Arc<dyn Disk> = Arc::new(disk::OsDisk);
        register(&registry, &disk);
        let value = |name: &str| {
            registry.snapshot().iter().find(|f| f.name == name).map_or(0.0, |f| f.points[0].value)
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_start_time_seconds") > 1e9);
        assert!(value("go_threads") >= 1.0);
        assert_eq!(value("prometheus_build_info"), 1.0);
    }

    #[test]
    fn a_name_with_blanks_does_not_shift_fields() {
        assert_eq!(stat_fields("1 (a b) c) S 2 3"), ["S", "2", "3"]);
    }
}
