//! Blocks joined at random beside a plain map: overlaps, deletions, histograms, joined chunks.

use crate::{matcher, open};
use block::compact::{Rechunk, WriteRules};
use block::{Block, BlockMeta};
use disk::{Disk, OsDisk};
use model::{FloatHistogram, Labels, MatchOp, TimeRange};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use storage::select::{EncodedChunk, ListSeriesSet};
use storage::{SampleBuf, SelectHints, Series, StorageError};
use ulid::Ulid;

/// A value or a histogram's count.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Float(f64),
    Histogram(f64),
}

type Samples = BTreeMap<i64, Value>;
type Truth = BTreeMap<Labels, Samples>;

struct Fixed(Labels, Samples);

impl Series for Fixed {
    fn labels(&self) -> &Labels {
        &self.0
    }
    fn read(&self, range: TimeRange, out: &mut SampleBuf) -> Result<(), StorageError> {
        for (t, v) in self.1.iter().filter(|(t, _)| range.contains(**t)) {
            match v {
                Value::Float(v) => out.push_float(*t, *v),
                Value::Histogram(count) => {
                    out.histograms.push((out.times.len() as u32, Arc::new(histogram(*count))));
                    out.push_float(*t, 0.0);
                }
            }
        }
        Ok(())
    }
    fn chunks(&self, range: TimeRange) -> Result<Vec<EncodedChunk>, StorageError> {
        let mut samples = SampleBuf::default();
        self.read(range, &mut samples)?;
        storage::encode::chunks(&samples)
    }
}

fn histogram(count: f64) -> FloatHistogram {
    FloatHistogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count: count,
        count,
        sum: count * 2.0,
        ..FloatHistogram::default()
    }
}

fn labels(n: u8) -> Labels {
    Labels::from_pairs([
        ("__name__", "m".to_owned()),
        ("n", n.to_string()),
        ("odd", if n % 2 == 1 { "yes".into() } else { String::new() }),
    ])
}

fn write(disk: &Arc<dyn Disk>, parent: &Path, ulid: Ulid, truth: &Truth) -> Option<Arc<Block>> {
    let times = || truth.values().flat_map(|s| s.keys().copied());
    let meta = BlockMeta::level_1(ulid, times().min()?, times().max()? + 1);
    let symbols: BTreeSet<&str> = truth.keys().flat_map(|l| l.iter()).flat_map(|(n, v)| [n, v]).collect();
    let list = truth.iter().map(|(l, s)| Arc::new(Fixed(l.clone(), s.clone())) as Arc<dyn Series>).collect();
    let rules = WriteRules { segment_bytes: 1 << 20, rechunk: Rechunk { shrink: true, join_samples: 0 } };
    let dir =
        block::compact::write(disk, parent, meta, symbols, &mut ListSeriesSet::new(list), rules, &mut ());
    Some(open(disk, &dir.expect("writes")?))
}

fn read(block: &Arc<Block>) -> Truth {
    let mut set = block.querier(TimeRange::ALL).select(&[], &SelectHints::default()).expect("selects");
    let mut found = Truth::new();
    while let Some(series) = set.next().expect("reads") {
        let mut samples = SampleBuf::default();
        series.read(TimeRange::ALL, &mut samples).expect("decodes");
        let mut values: Vec<Value> = samples.floats.iter().map(|v| Value::Float(*v)).collect();
        for (at, h) in &samples.histograms {
            values[*at as usize] = Value::Histogram(h.count);
        }
        assert!(samples.times.windows(2).all(|w| w[0] < w[1]), "sorted, nothing twice");
        let before = found.insert(series.labels().clone(), samples.times.into_iter().zip(values).collect());
        assert!(before.is_none(), "a series comes once");
    }
    found.retain(|_, samples| !samples.is_empty());
    found
}

/// One block: runs of samples, and what is deleted from it.
#[derive(Clone, Debug)]
struct Plan {
    /// Series, first time, step, number, whether histograms.
    runs: Vec<(u8, i64, i64, usize, bool)>,
    deleted: Vec<(u8, i64, i64)>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let run = (0u8..6, 0i64..3000, 1i64..8, 1usize..300, prop::bool::weighted(0.2));
    let deleted = (0u8..6, 0i64..4000, 0i64..1500);
    (prop::collection::vec(run, 1..6), prop::collection::vec(deleted, 0..3))
        .prop_map(|(runs, deleted)| Plan { runs, deleted })
}

fn built(disk: &Arc<dyn Disk>, parent: &Path, number: u64, plan: &Plan) -> Option<(Arc<Block>, Truth)> {
    let mut truth = Truth::new();
    for (series, from, step, count, histograms) in &plan.runs {
        let samples = truth.entry(labels(*series)).or_default();
        for i in 0..*count as i64 {
            let v = (number * 100_000) as f64 + i as f64;
            samples.insert(from + i * step, if *histograms { Value::Histogram(v) } else { Value::Float(v) });
        }
    }
    let block = write(disk, parent, Ulid::from_parts(number, 1), &truth)?;
    for (series, from, len) in &plan.deleted {
        let range = TimeRange::new(*from, from + len);
        block.delete(&**disk, range, &[matcher(MatchOp::Equal, "n", &series.to_string())]).expect("deletes");
        if let Some(samples) = truth.get_mut(&labels(*series)) {
            samples.retain(|t, _| !range.contains(*t));
        }
    }
    truth.retain(|_, samples| !samples.is_empty());
    assert_eq!(read(&block), truth);
    Some((block, truth))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_joined_block_holds_what_its_parents_held(plans in prop::collection::vec(plan(), 1..4), join in prop::sample::select(vec![0usize, 240, 480])) {
        let dir = tempfile::tempdir().expect("folder");
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let built: Vec<_> = (1..).zip(&plans).filter_map(|(n, p)| built(&disk, dir.path(), n, p)).collect();
        let mut sorted: Vec<usize> = (0..built.len()).collect();
        sorted.sort_by_key(|i| built[*i].0.meta().min_time);
        let mut want = Truth::new();
        for i in &sorted {
            for (labels, samples) in &built[*i].1 {
                want.entry(labels.clone()).or_default().extend(samples.iter().map(|(t, v)| (*t, *v)));
            }
        }
        let blocks: Vec<Arc<Block>> = sorted.iter().map(|i| built[*i].0.clone()).collect();
        let rules = WriteRules { segment_bytes: 1 << 16, rechunk: Rechunk { shrink: join == 240, join_samples: join } };
        let merged = block::compact::merge(&disk, dir.path(), &blocks, Ulid::from_parts(99, 1), rules, &mut ());
        match merged.expect("merges") {
            None => prop_assert!(want.is_empty()),
            Some(folder) => {
                let block = open(&disk, &folder);
                prop_assert_eq!(block.meta().stats.num_samples, want.values().map(|s| s.len() as u64).sum::<u64>());
                prop_assert_eq!(block.meta().stats.num_series, want.len() as u64);
                prop_assert_eq!(read(&block), want);
            }
        }
    }
}
