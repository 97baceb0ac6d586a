//! Queries on disk: `queries.active` in the data directory holds those that run, and `global.query_log_file` those
//! that have ended.

use api::query_log::{ACTIVE_ENTRY_BYTES, QueryLog};
use disk::{Disk, DiskError, File};
use meter::{Counter, Gauge, Registry};
use parking_lot::{Mutex, RwLock};
use std::path::Path;
use std::sync::Arc;

const ACTIVE: &str = "queries.active";
/// More of an old list than this is not read.
const MAX_ACTIVE_BYTES: u64 = 64 << 20;

/// The two files. A fault of either costs no query: it is logged and counted.
pub struct QueryFiles {
    disk: Arc<dyn Disk>,
    active: Option<Active>,
    /// Ended queries; appends are ordered by the lock.
    log: RwLock<Option<Mutex<Box<dyn File>>>>,
    enabled: Gauge,
    failures: Counter,
}

/// The running queries: `[`, then a slot of fixed size for each that may run.
struct Active {
    file: Box<dyn File>,
    free: Mutex<Vec<usize>>,
}

impl QueryFiles {
    /// Tells which queries did not end in the last run, and makes the list of running ones anew.
    pub fn open(disk: &Arc<dyn Disk>, dir: &Path, slots: usize, registry: &Registry) -> Self {
        let path = dir.join(ACTIVE);
        tell_unfinished(&**disk, &path);
        let active = Active::create(&**disk, &path, slots);
        if let Err(e) = &active {
            tracing::error!(component = "activeQueryTracker", err = %e, "Error opening query log file");
        }
        QueryFiles {
            disk: disk.clone(),
            active: active.ok(),
            log: RwLock::new(None),
            enabled: registry.gauge("prometheus_engine_query_log_enabled", "State of the query log."),
            failures: registry
                .counter("prometheus_engine_query_log_failures_total", "The number of query log failures."),
        }
    }

    /// Logs ended queries to `path` from now on; an empty one ends that. The file is opened again each time, so that
    /// it can be moved away.
    pub fn log_to(&self, path: &Path) -> Result<(), String> {
        let file = match path.as_os_str().is_empty() {
            true => None,
            false => {
                let file = self.disk.open_append(path);
                Some(Mutex::new(file.map_err(|e| format!("can't create json log file: {e}"))?))
            }
        };
        self.enabled.set(f64::from(u8::from(file.is_some())));
        *self.log.write() = file;
        Ok(())
    }
}

impl Active {
    fn create(disk: &dyn Disk, path: &Path, slots: usize) -> Result<Self, DiskError> {
        let file = disk.create(path)?;
        file.append(b"[")?;
        let zeros = vec![0; ACTIVE_ENTRY_BYTES];
        (0..slots).try_for_each(|_| file.append(&zeros))?;
        Ok(Active { file, free: Mutex::new((0..slots).rev().collect()) })
    }

    fn put(&self, slot: usize, entry: &[u8]) -> Result<(), DiskError> {
        self.file.write_at((1 + slot * ACTIVE_ENTRY_BYTES) as u64, entry)
    }
}

/// Says in the log which queries ran when the process ended.
fn tell_unfinished(disk: &dyn Disk, path: &Path) {
    let bytes = match disk.read(path, MAX_ACTIVE_BYTES) {
        Ok(bytes) => bytes,
        Err(e) if e.is_not_found() => return,
        Err(e) => {
            return tracing::error!(component = "activeQueryTracker", err = %e, "Failed to read query log file");
        }
    };
    if let Some(queries) = unfinished(&bytes) {
        tracing::info!(
            component = "activeQueryTracker",
            queries,
            "These queries didn't finish in prometheus' last run:"
        );
    }
}

/// The list as JSON, if there is anything in it.
fn unfinished(bytes: &[u8]) -> Option<String> {
    let written: Vec<u8> = bytes.iter().copied().filter(|b| *b != 0).collect();
    let text = String::from_utf8_lossy(&written);
    let mut text = text.strip_suffix(',').unwrap_or(&text).to_owned();
    if text.len() <= 1 {
        return None;
    }
    text.push(']');
    Some(text)
}

impl QueryLog for QueryFiles {
    fn begin(&self, entry: &[u8]) -> Option<usize> {
        let active = self.active.as_ref()?;
        let slot = active.free.lock().pop()?;
        let mut bytes = entry.to_vec();
        bytes.resize(ACTIVE_ENTRY_BYTES - 1, 0);
        bytes.push(b',');
        if let Err(e) = active.put(slot, &bytes) {
            tracing::debug!(component = "activeQueryTracker", err = %e, "Cannot note a query");
        }
        Some(slot)
    }

    fn end(&self, place: usize) {
        let Some(active) = &self.active else { return };
        if let Err(e) = active.put(place, &[0; ACTIVE_ENTRY_BYTES]) {
            tracing::debug!(component = "activeQueryTracker", err = %e, "Cannot cross out a query");
        }
        active.free.lock().push(place);
    }

    fn wants_ended(&self) -> bool {
        self.log.read().is_some()
    }

    fn ended(&self, line: &[u8]) {
        let log = self.log.read();
        let Some(file) = &*log else { return };
        if let Err(e) = file.lock().append(line) {
            self.failures.inc();
            tracing::error!(component = "query engine", err = %e, "can't log query");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::query_log::active_entry;

    fn files(dir: &Path) -> QueryFiles {
        QueryFiles::open(&disk::OsDisk::shared(), dir, 2, &Registry::new())
    }

    fn listed(dir: &Path) -> Option<String> {
        unfinished(&std::fs::read(dir.join(ACTIVE)).unwrap())
    }

    #[test]
    fn running_queries_are_listed_until_they_end() {
        let dir = tempfile::tempdir().unwrap();
        let queries = files(dir.path());
        assert_eq!(std::fs::metadata(dir.path().join(ACTIVE)).unwrap().len(), 1 + 2 * 1000);
        assert_eq!(listed(dir.path()), None);
        let (a, b) = (queries.begin(&active_entry("up")), queries.begin(&active_entry("down")));
        assert_eq!((a, b, queries.begin(b"{}")), (Some(0), Some(1), None));
        let both = listed(dir.path()).unwrap();
        assert!(both.starts_with("[{\"query\":\"up\",") && both.contains("},{\"query\":\"down\","), "{both}");
        queries.end(0);
        assert!(listed(dir.path()).unwrap().starts_with("[{\"query\":\"down\","));
        queries.end(1);
        assert_eq!(listed(dir.path()), None);
        // A new start forgets what was left.
        queries.begin(b"{\"query\":\"left\"}");
        files(dir.path());
        assert_eq!(listed(dir.path()), None);
    }

    #[test]
    fn ended_queries_go_to_the_file_that_is_configured() {
        let dir = tempfile::tempdir().unwrap();
        let queries = files(dir.path());
        let path = dir.path().join("q.log");
        assert!(!queries.wants_ended());
        queries.log_to(&path).unwrap();
        assert!(queries.wants_ended());
        queries.ended(b"one\n");
        std::fs::rename(&path, dir.path().join("old.log")).unwrap();
        queries.log_to(&path).unwrap();
        queries.ended(b"two\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        queries.log_to(Path::new("")).unwrap();
        assert!(!queries.wants_ended());
        let nowhere = dir.path().join("missing/q.log");
        assert!(queries.log_to(&nowhere).unwrap_err().starts_with("can't create json log file: "));
    }
}
