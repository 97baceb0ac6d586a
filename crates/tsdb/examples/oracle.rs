//! Cross-checks data directories with Prometheus: writes one, or prints every sample of one.
//!
//! `oracle write <dir> <end ms>` | `oracle dump <dir>` (one line `labels<TAB>t<TAB>v` for each sample)

use disk::{Disk, OsDisk};
use model::{Sample, TimeRange};
use std::io::Write;
use std::sync::Arc;
use storage::{
    Batch, BatchSeries, Queryable, SelectHints, SeriesId, StorageError, WriteOutcome, WriterSource, key,
};
use tsdb::{Db, Options, ReplayHandle, Running, read_all};

fn open(dir: &str) -> Db {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let running = Running { out_of_order_window_ms: 3_600_000, ..Running::default() };
    let options = Options { running, no_lockfile: true, ..Options::default() };
    Db::open(disk, dir.as_ref(), options, &meter::Registry::new(), ReplayHandle::default())
        .unwrap_or_else(|e| panic!("{e}"))
}

/// Four hours of 20 series every 15 s, one with gaps that are filled late, one that is stale in the end.
fn write(dir: &str, end: i64) {
    let db = open(dir);
    let mut writer = db.writer();
    let keys: Vec<Vec<u8>> = (0..20)
        .map(|i| {
            let mut key = Vec::new();
            key::push_label(&mut key, "__name__", if i % 2 == 0 { "even_total" } else { "odd" });
            key::push_label(&mut key, "instance", &format!("host-{i}:9100"));
            key::push_label(&mut key, "unicode", "Grüße \"x\"\n");
            key
        })
        .collect();
    let mut outcome = WriteOutcome::default();
    let mut send = |rows: &[(usize, i64, f64)]| {
        let mut batch = Batch::default();
        for (series, t, v) in rows {
            let at = batch.samples.len() as u32;
            batch.samples.push(Sample { t: *t, v: *v });
            let id = SeriesId::Key(&keys[*series]);
            batch.series.push(BatchSeries { id, samples: at..at + 1, histograms: 0..0, exemplars: 0..0 });
        }
        writer.write(&batch, &mut outcome).unwrap_or_else(|e| panic!("{e}"));
        assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected);
    };
    for step in 0..960i64 {
        let t = end - (959 - step) * 15_000;
        let value = |series: usize| match series {
            0 => f64::INFINITY,
            1 => -0.0,
            2 if step == 959 => model::stale_nan(),
            n if n % 3 == 0 => (step * n as i64) as f64,
            n => ((step * 7919 + n as i64) % 1000) as f64 / 7.0,
        };
        // Series 19 misses every other sample; they come 100 samples later.
        let due = |series: &usize| *series != 19 || step % 2 == 0;
        let mut rows: Vec<_> = (0..20).filter(due).map(|n| (n, t, value(n))).collect();
        if step >= 100 && step % 2 == 1 {
            rows.push((19, t - 100 * 15_000, step as f64));
        }
        send(&rows);
    }
}

fn dump(dir: &str) -> Result<(), StorageError> {
    let db = open(dir);
    let hints = SelectHints { sorted: true, ..SelectHints::default() };
    let mut set = db.querier(TimeRange::ALL)?.select(&[], &hints)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    while let Some(series) = set.next()? {
        let buf = read_all(&*series)?;
        for (t, v) in buf.times.iter().zip(&buf.floats) {
            if !model::is_stale_nan(*v) {
                let line = format!("{}\t{t}\t{}", series.labels(), model::float::plain_string(*v));
                writeln!(out, "{line}").map_err(|e| StorageError::Other(e.to_string()))?;
            }
        }
    }
    Ok(())
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["write", dir, end] => write(dir, end.parse().unwrap_or(0)),
        ["dump", dir] => dump(dir).unwrap_or_else(|e| panic!("{e}")),
        _ => panic!("oracle write <dir> <end ms> | oracle dump <dir>"),
    }
}
