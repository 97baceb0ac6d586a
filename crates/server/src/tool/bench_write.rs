//! `tsdb bench write`: how fast the store takes samples, as promtool measures its own.

use super::{failed, one};
use clap::ArgMatches;
use disk::{Disk, OsDisk};
use meter::Registry;
use model::{Labels, LabelsBuilder, Sample};
use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use storage::{Batch, BatchSeries, SeriesId, SeriesRef, WriteOutcome, WriterSource, key};
use tsdb::{Db, Options, ReplayHandle};

/// Milliseconds between scrapes.
const SCRAPE_MS: i64 = 30_000;
/// Scrapes that one thread does of its series in a row.
const ROUND: usize = 100;
/// Series of one scrape.
const TARGET: usize = 1000;
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The command.
pub(crate) fn write(m: &ArgMatches) -> u8 {
    match run(m) {
        Ok(()) => 0,
        Err(e) => failed(e),
    }
}

fn run(m: &ArgMatches) -> Result<(), String> {
    let number = |name: &str| m.get_one::<usize>(name).copied().unwrap_or(0);
    let out = Path::new(one(m, "out"));
    clear(out)?;
    let dir = out.join("storage");
    let db = Db::open(OsDisk::shared(), &dir, Options::default(), &Registry::new(), ReplayHandle::default())
        .map_err(|e| e.to_string())?;
    let (series, _) = measured("readData", || match one(m, "file") {
        "" => Ok(made_up(number("metrics"))),
        file => read(Path::new(file), number("metrics")),
    })?;
    let (total, took) = measured("ingestScrapes", || ingest(&db, &series, number("scrapes")))?;
    say!(" > total samples: {total}");
    say!(" > samples/sec: {}", total as f64 / took.as_secs_f64());
    measured("stopStorage", || db.close().map_err(|e| e.to_string()))?;
    Ok(())
}

/// Removes what an earlier run left. Anything else in the folder is somebody's.
fn clear(out: &Path) -> Result<(), String> {
    let entries = match OsDisk.list(out) {
        Err(e) if e.is_not_found() => Vec::new(),
        other => other.map_err(|e| e.to_string())?,
    };
    if let Some(stranger) = entries.iter().find(|e| e.name != "storage" && !e.name.ends_with(".prof")) {
        let out = out.display();
        return Err(format!("{out} is not the output of a benchmark: it holds {}", stranger.name));
    }
    OsDisk.remove_dir_all(&out.join("storage")).map_err(|e| e.to_string())
}

fn measured<T>(stage: &str, work: impl FnOnce() -> Result<T, String>) -> Result<(T, Duration), String> {
    say!(">> start stage={stage}");
    let begun = Instant::now();
    let done = work()?;
    let took = begun.elapsed();
    say!(">> completed stage={stage} duration={took:?}");
    Ok((done, took))
}

/// One label set a line, as JSON; repeated ones once.
fn read(file: &Path, most: usize) -> Result<Vec<Labels>, String> {
    let bytes = OsDisk.read(file, MAX_FILE_BYTES).map_err(|e| e.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{}: not valid UTF-8", file.display()))?;
    let (mut series, mut seen) = (Vec::new(), HashSet::new());
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if series.len() == most {
            break;
        }
        let pairs: std::collections::BTreeMap<String, String> =
            serde_json::from_str(line).map_err(|e| format!("{}:{}: {e}", file.display(), n + 1))?;
        let mut builder = LabelsBuilder::new();
        for (name, value) in &pairs {
            builder.set(name, value);
        }
        let labels = builder.finish();
        if seen.insert(labels.clone()) {
            series.push(labels);
        }
    }
    Ok(series)
}

/// Series that look like those of a node and its applications.
fn made_up(count: usize) -> Vec<Labels> {
    (0..count)
        .map(|n| {
            Labels::from_pairs([
                ("__name__", format!("bench_metric_{}_total", n % 200)),
                ("instance", format!("host-{}:9100", n / 1000)),
                ("job", "bench".to_owned()),
                ("path", format!("/api/v1/resource/{}", n / 200 % 50)),
                ("n", n.to_string()),
            ])
        })
        .collect()
}

/// As many threads as cores take targets in turn; every target is scraped [`ROUND`] times in a row.
fn ingest(db: &Db, series: &[Labels], scrapes: usize) -> Result<u64, String> {
    let targets: Vec<&[Labels]> = series.chunks(TARGET).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut total = 0;
    for round in 0..scrapes.div_ceil(ROUND) {
        let next = AtomicUsize::new(0);
        let base = (round * ROUND) as i64 * SCRAPE_MS;
        let worker = || -> Result<u64, String> {
            let mut sent = 0;
            while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                sent += scrape(db, target, base)?;
            }
            Ok(sent)
        };
        total += std::thread::scope(|scope| {
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
            let done = workers.into_iter().map(|w| w.join().map_err(|_| "a thread panicked".to_owned())?);
            done.sum::<Result<u64, String>>()
        })?;
    }
    say!("ingestion completed");
    Ok(total)
}

fn scrape(db: &Db, target: &[Labels], base: i64) -> Result<u64, String> {
    let keys: Vec<Vec<u8>> = target.iter().map(key::of_labels).collect();
    let mut writer = db.writer();
    let mut refs: Vec<SeriesRef> = Vec::new();
    let (mut outcome, mut sent) = (WriteOutcome::default(), 0);
    for n in 1..=ROUND as i64 {
        let mut batch = Batch::default();
        for (at, key) in keys.iter().enumerate() {
            let id = refs.get(at).map_or(SeriesId::Key(key), |series| SeriesId::Ref(*series));
            let row = at as u32;
            batch.samples.push(Sample { t: base + n * SCRAPE_MS, v: 123_456_789.0 + 1000.0 * n as f64 });
            batch.series.push(BatchSeries { id, samples: row..row + 1, histograms: 0..0, exemplars: 0..0 });
        }
        writer.write(&batch, &mut outcome).map_err(|e| e.to_string())?;
        if let Some(refused) = outcome.rejected.first() {
            return Err(refused.reason.to_string());
        }
        refs.clone_from(&outcome.refs);
        sent += outcome.samples;
    }
    Ok(sent)
}
