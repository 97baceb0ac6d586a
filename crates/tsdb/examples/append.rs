//! Measures the head alone: samples per CPU second, bytes per series, new series, replay.
//!
//! `cargo run --release -p tsdb --example append -- <series> <rounds> [order: same|shuffled] [dir]`

use disk::{Disk, OsDisk};
use model::Sample;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{Batch, BatchSeries, SeriesId, WriteOutcome, WriterSource, key};
use tsdb::{Db, Options, ReplayHandle};

const BATCH: usize = 2000;

fn status(field: &str) -> f64 {
    let text = disk_read("/proc/self/status");
    let line = text.lines().find(|l| l.starts_with(field)).unwrap_or("0");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

fn disk_read(path: &str) -> String {
    OsDisk
        .open(path.as_ref())
        .and_then(|f| {
            let mut bytes = vec![0; 65536];
            let got = f.read_at(0, &mut bytes)?;
            bytes.truncate(got);
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })
        .unwrap_or_default()
}

/// User and system CPU seconds of this process.
fn cpu() -> f64 {
    let text = disk_read("/proc/self/stat");
    let fields: Vec<f64> =
        text.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|f| f.parse().ok()).collect();
    // utime and stime are fields 14 and 15; the state before them is no number.
    (fields[10] + fields[11]) / 100.0
}

/// Keys of `n` series as a node exporter and containers would have them: about 12 labels, 345 bytes.
fn keys(n: usize) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), vec![0]);
    for i in 0..n {
        let (metric, target) = (i % 500, i / 500);
        let labels = [
            ("__name__", format!("container_network_transmit_bytes_{metric:04}_total")),
            ("cluster", format!("cluster-{:02}", target % 20)),
            ("container", format!("container-{}", target % 30)),
            ("endpoint", "https-metrics".into()),
            ("id", format!("/kubepods/burstable/pod{:08x}-{:04x}", target as u32 * 2_654_435_761u32, target)),
            ("image", format!("registry.example.org/team/service:{}", target % 50)),
            ("instance", format!("10.1.{}.{}:10250", target / 250 % 250, target % 250)),
            ("interface", format!("eth{}", metric % 4)),
            ("job", "kubelet".into()),
            ("namespace", format!("namespace-{}", target % 40)),
            (
                "node",
                format!("ip-10-1-{}-{}.eu-central-1.compute.internal", target / 250 % 250, target % 250),
            ),
            ("pod", format!("service-{}-{:08x}", target % 40, target as u32 * 2_246_822_519u32)),
        ];
        for (name, value) in &labels {
            key::push_label(&mut bytes, name, value);
        }
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let series: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let rounds: i64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(20);
    let shuffled = args.next().is_some_and(|order| order == "shuffled");
    let dir = args.next().unwrap_or_else(|| "/tmp/tsdb-append".into());
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    disk.remove_dir_all(dir.as_ref()).ok();
    let (bytes, ends) = keys(series);
    println!("key bytes per series: {}", bytes.len() / series);
    let idle = status("VmRSS:");
    let open = || {
        Db::open(
            disk.clone(),
            dir.as_ref(),
            Options::default(),
            &meter::Registry::new(),
            ReplayHandle::default(),
        )
        .unwrap_or_else(|e| panic!("{e}"))
    };
    let db = open();
    let mut writer = db.writer();
    let mut order: Vec<u32> = (0..series as u32).collect();
    let mut outcome = WriteOutcome::default();
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut values = vec![0f64; series];
    let (mut known_cpu, mut known) = (0.0, 0u64);
    for round in 0..rounds {
        if shuffled && round > 0 {
            for i in (1..order.len()).rev() {
                order.swap(i, (next() % (i as u64 + 1)) as usize);
            }
        }
        for (i, v) in values.iter_mut().enumerate() {
            // Half never changes, four in ten count, one in ten is a noisy gauge.
            *v += match i % 10 {
                0..=4 => 0.0,
                5..=8 => (next() % 1000) as f64,
                _ => (next() % 10_000) as f64 / 100.0 - 50.0,
            };
        }
        let (mut took, mut used) = (Duration::ZERO, 0.0);
        // Bodies are laid out beside the clock, as a receiver finds them in memory.
        for group in order.chunks(BATCH * 50) {
            let bodies: Vec<Vec<u8>> = group
                .chunks(BATCH)
                .map(|part| {
                    part.iter()
                        .flat_map(|id| bytes[ends[*id as usize]..ends[*id as usize + 1]].iter().copied())
                        .collect()
                })
                .collect();
            let (begun, before) = (Instant::now(), cpu());
            for (part, body) in group.chunks(BATCH).zip(&bodies) {
                let mut batch = Batch::default();
                let mut from = 0;
                for id in part {
                    let id = *id as usize;
                    let at = batch.samples.len() as u32;
                    batch.samples.push(Sample { t: 1_700_000_000_000 + round * 15_000, v: values[id] });
                    let to = from + ends[id + 1] - ends[id];
                    let id = SeriesId::Key(&body[from..to]);
                    from = to;
                    batch.series.push(BatchSeries {
                        id,
                        samples: at..at + 1,
                        histograms: 0..0,
                        exemplars: 0..0,
                    });
                }
                writer.write(&batch, &mut outcome).unwrap_or_else(|e| panic!("{e}"));
                assert!(outcome.rejected.is_empty());
            }
            took += begun.elapsed();
            used += cpu() - before;
        }
        if round == 0 {
            println!(
                "new series: {:.2} us wall, {:.2} us cpu each",
                took.as_secs_f64() * 1e6 / series as f64,
                used * 1e6 / series as f64
            );
        } else {
            known_cpu += used;
            known += series as u64;
        }
        if round == 4 || round == rounds - 1 {
            println!(
                "round {round}: {:.1} ns wall per sample, {:.4} cpu-s per million so far, rss per series {:.0}",
                took.as_secs_f64() * 1e9 / series as f64,
                known_cpu * 1e6 / known as f64,
                (status("VmRSS:") - idle) / series as f64
            );
        }
    }
    let l = db.ledger();
    let per = |n: usize| n as f64 / l.series as f64;
    println!(
        "ledger per series: entries {:.1} pairs {:.1} chunks {:.1} texts {:.1} postings {:.1} table {:.1}",
        per(l.entries),
        per(l.pairs),
        per(l.chunks),
        per(l.texts),
        per(l.postings),
        per(l.table)
    );
    drop((writer, db));
    let (begun, used) = (Instant::now(), cpu());
    let db = open();
    println!("replay: {:?} wall, {:.2} s cpu, {} series", begun.elapsed(), cpu() - used, db.series_count());
}
