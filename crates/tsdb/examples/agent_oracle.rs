//! Writes or reads an agent directory, beside the real thing.
use meter::Registry;
use std::collections::BTreeMap;
use std::time::Duration;
use storage::{Batch, BatchSeries, SeriesId, WriteOutcome, WriterSource, key};
use tsdb::agent::{AgentOptions, AgentStore};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let registry = Registry::new();
    let store = AgentStore::open(disk::OsDisk::shared(), args[2].as_ref(), AgentOptions::default(), &registry, &Default::default()).expect("opens");
    println!("series after open {}", store.series_count());
    if args[1] == "write" {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
        let keys: Vec<Vec<u8>> = (0..5000).map(|n| key::of_labels(&model::Labels::from_pairs([("__name__", "ours".to_owned()), ("n", n.to_string())]))).collect();
        let mut w = store.writer();
        let mut out = WriteOutcome::default();
        for round in 0..20 {
            let mut b = Batch::default();
            for (i, k) in keys.iter().enumerate() {
                b.samples.push(model::Sample { t: now - 20_000 + round * 1000, v: round as f64 });
                let r = i as u32..i as u32 + 1;
                b.series.push(BatchSeries { id: SeriesId::Key(k), samples: r, histograms: 0..0, exemplars: 0..0 });
            }
            w.write(&b, &mut out).expect("writes");
        }
        println!("wrote, last outcome {} samples {} rejected", out.samples, out.rejected.len());
        store.truncate(now).expect("truncates");
    } else {
        let mut r = store.feed().open(Some(Default::default())).unwrap();
        let mut b = Default::default();
        let (mut series, mut samples, mut hist, mut ex) = (BTreeMap::new(), 0, 0, 0);
        let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
        while r.next(Duration::ZERO, &mut b).unwrap() {
            series.extend(b.series.drain(..));
            samples += b.samples.len();
            hist += b.histograms.len();
            ex += b.exemplars.len();
            for s in &b.samples {
                let l: &model::Labels = &series[&s.series];
                *by_name.entry(l.metric_name().to_owned()).or_default() += 1;
            }
        }
        println!("series {} samples {samples} histograms {hist} exemplars {ex} names {}", series.len(), by_name.len());
        println!("ours {:?} up {:?}", by_name.get("ours"), by_name.get("up"));
    }
    for f in registry.snapshot() {
        if f.name.starts_with("prometheus_agent") || f.name.contains("wal_") { for p in f.points { println!("{}{:?} {}", f.name, p.labels, p.value); } }
    }
    store.close().expect("closes");
}
