//! The PromQL test scripts over the real store: in the head, late, after a restart, and in blocks.
//!
//! `PROMQL_CORPUS` names folders of further scripts, separated by `:`.

use disk::OsDisk;
use meter::Registry;
use model::Sample;
use query::{Engine, EngineOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{Batch, BatchSeries, HistogramRow, Queryable, SeriesId, WriteOutcome, WriterSource, key};
use testkit::promqltest::{self, Row, RowValue, ScriptStore};
use tsdb::{Db, Options, ReplayHandle, Running};

/// Scripts go back to 1970 at will.
const WINDOW: i64 = 100 * 365 * 24 * 3_600_000;
const MINUTE: i64 = 60_000;

/// How samples come into the store, and where they lie when they are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// In order of time, as scrapes bring them.
    Head,
    /// From the newest to the oldest: nearly all are late.
    Late,
    /// In order, with housekeeping every few minutes into blocks of one minute and more, then a restart.
    Blocks,
}

struct Store {
    way: Way,
    dir: tempfile::TempDir,
    db: Option<Db>,
    /// Most blocks that there were at once.
    blocks: usize,
}

impl Store {
    fn new(way: Way) -> Self {
        let mut store = Store { way, dir: tempfile::tempdir().expect("folder"), db: None, blocks: 0 };
        store.open();
        store
    }

    fn open(&mut self) {
        self.db = None;
        let running = Running {
            out_of_order_window_ms: WINDOW,
            floats_xor2: true,
            retention_time_ms: 0,
            ..Running::default()
        };
        let mut options =
            Options { store_starts: true, histogram_starts: true, running, ..Options::default() };
        if self.way == Way::Blocks {
            options.min_block_duration_ms = MINUTE;
            options.max_block_duration_ms = 9 * MINUTE;
            options.compaction_chunk_samples = 0;
        }
        let disk = Arc::new(OsDisk);
        let opened = Db::open(disk, self.dir.path(), options, &Registry::new(), ReplayHandle::default());
        self.db = Some(opened.expect("opens"));
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("open")
    }

    /// Writes rows of one time, or of any times, as one batch.
    fn write(&self, rows: &[Row]) -> Result<(), String> {
        let keys: Vec<Vec<u8>> = rows.iter().map(|row| key::of_labels(&row.labels)).collect();
        let mut batch = Batch::default();
        for (row, key) in rows.iter().zip(&keys) {
            let (s, h) = (batch.samples.len() as u32, batch.histograms.len() as u32);
            let (mut samples, mut histograms) = (s..s, h..h);
            match &row.value {
                RowValue::Float(v) => {
                    batch.samples.push(Sample { t: row.t, v: *v });
                    batch.starts.push(row.start);
                    samples.end += 1;
                }
                RowValue::Histogram(h) => {
                    let histogram = Arc::new(h.clone());
                    batch.histograms.push(HistogramRow { t: row.t, start: row.start, histogram });
                    histograms.end += 1;
                }
            }
            batch.series.push(BatchSeries { id: SeriesId::Key(key), samples, histograms, exemplars: 0..0 });
        }
        let mut outcome = WriteOutcome::default();
        self.db().writer().write(&batch, &mut outcome).map_err(|e| e.to_string())?;
        match outcome.rejected.first() {
            Some(rejection) => Err(format!("{:?}: {:?}", rows[rejection.series as usize], rejection.reason)),
            None => Ok(()),
        }
    }

    fn maintain(&mut self) -> Result<(), String> {
        self.db().maintain(None).map_err(|e| e.to_string())?;
        self.blocks = self.blocks.max(storage::admin::Admin::blocks(self.db()).len());
        Ok(())
    }
}

impl ScriptStore for Store {
    fn clear(&mut self) {
        self.db = None;
        self.dir = tempfile::tempdir().expect("folder");
        self.open();
    }

    fn load(&mut self, mut rows: Vec<Row>) -> Result<(), String> {
        // Series of one time stay in the order of the script: errors name those that were there first.
        rows.sort_by_key(|row| if self.way == Way::Late { -row.t } else { row.t });
        let mut maintained = i64::MIN;
        for batch in rows.chunk_by(|a, b| a.t == b.t) {
            self.write(batch)?;
            if self.way == Way::Blocks && batch[0].t >= maintained.saturating_add(3 * MINUTE) {
                maintained = batch[0].t;
                self.maintain()?;
            }
        }
        if self.way == Way::Blocks {
            self.maintain()?;
            self.open();
        }
        Ok(())
    }

    fn queryable(&self) -> &dyn Queryable {
        self.db()
    }
}

/// Evaluations that wait for the note that a histogram is no reset: neither the first one of a chunk nor a late one
/// has it, and chunks end where blocks do.
fn hangs_on_chunks(way: Way, eval: &str) -> Option<String> {
    let hangs = way != Way::Head && eval.contains("counter_reset_hint:not_reset");
    hangs.then(|| "counter reset hints".to_owned())
}

/// Evaluations that take some of the series they find, or name the first two. The answers were recorded over a block,
/// which gives its series in the order of their labels; the head gives them in the order of their creation.
fn hangs_on_order(way: Way, eval: &str) -> Option<String> {
    let hangs = eval.contains("limitk") || eval.contains("fail msg: found duplicate series");
    (way != Way::Blocks && hangs).then(|| "order of series".to_owned())
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../query/testdata")
}

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "test"));
    paths.sort();
    paths
}

/// What became of the scripts that ran so far.
#[derive(Default)]
struct Total {
    failures: String,
    files: usize,
    evals: usize,
    skipped: usize,
    blocks: usize,
}

impl Total {
    fn run(&mut self, way: Way, path: &Path, engine: &Engine, skip: fn(Way, &str) -> Option<String>) {
        let script = std::fs::read_to_string(path).expect("reads");
        let mut store = Store::new(way);
        let report = promqltest::run_over(&mut store, &script, engine, |eval| skip(way, eval));
        let name = path.display();
        println!("{way:?} {name}: {} evaluations, at most {} blocks", report.evals, store.blocks);
        report.skipped.iter().for_each(|(line, why)| println!("{name}:{line}: left out: {why}"));
        self.failures.extend(report.failures.iter().map(|(line, text)| format!("{name}:{line}: {text}\n")));
        self.files += 1;
        self.evals += report.evals;
        self.skipped += report.skipped.len();
        self.blocks = self.blocks.max(store.blocks);
    }
}

/// Runs all scripts of all folders.
fn run(way: Way) {
    let mut total = Total::default();
    let corpus = std::env::var_os("PROMQL_CORPUS").unwrap_or_default();
    let corpus = std::env::split_paths(&corpus).filter(|p| !p.as_os_str().is_empty());
    for path in std::iter::once(testdata()).chain(corpus).flat_map(|folder| scripts(&folder)) {
        total.run(way, &path, &promqltest::engine(), hangs_on_chunks);
    }
    // These have answers as without feature flags.
    let immediate = Engine::new(EngineOptions {
        experimental_functions: true,
        extended_range_selectors: true,
        binop_fill_modifiers: true,
        ..EngineOptions::default()
    });
    for path in scripts(&testdata().join("immediate")) {
        total.run(way, &path, &immediate, hangs_on_order);
    }
    let Total { failures, files, evals, skipped, blocks } = total;
    println!("{way:?}: {files} scripts, {evals} evaluations, {skipped} left out");
    assert!(failures.is_empty(), "{failures}");
    assert!(way != Way::Blocks || blocks > 1, "nothing was written to blocks");
}

#[test]
fn scripts_over_the_head() {
    run(Way::Head);
}

#[test]
fn scripts_over_late_samples() {
    run(Way::Late);
}

#[test]
fn scripts_over_blocks() {
    run(Way::Blocks);
}
