//! Blocks written and read back through the real file system.

mod random;

use block::compact::{Rechunk, WriteRules};
use block::{Block, BlockBuilder, BlockMeta, ChunkData};
use disk::{Disk, OsDisk};
use model::{Labels, MatchOp, Matcher, TimeRange};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{SampleBuf, SelectHints};

const SERIES: usize = 500;
const CHUNKS: i64 = 3;

fn labels(i: usize) -> Labels {
    let labels = [
        ("__name__", format!("metric_{}", i % 10)),
        ("instance", format!("host-{:03}", i / 10)),
        ("parity", if i.is_multiple_of(2) { "even".into() } else { String::new() }),
    ];
    Labels::from_pairs(labels)
}

/// Three chunks of 100 samples, a sample each second.
fn chunks(i: usize) -> Vec<(TimeRange, Vec<u8>)> {
    (0..CHUNKS)
        .map(|c| {
            let mut chunk = chunk::XorChunk::new();
            for n in 0..100 {
                chunk.push((c * 100 + n) * 1000, (i as i64 * 1000 + c * 100 + n) as f64);
            }
            (TimeRange::new(c * 100_000, c * 100_000 + 99_000), chunk.data().to_vec())
        })
        .collect()
}

fn write(disk: &Arc<dyn Disk>, parent: &Path, segment_bytes: u64) -> PathBuf {
    let mut all: Vec<(Labels, usize)> = (0..SERIES).map(|i| (labels(i), i)).collect();
    all.sort();
    let texts = all.iter().flat_map(|(l, _)| l.iter().flat_map(|(n, v)| [n, v])).map(Box::from);
    let symbols: BTreeSet<Box<str>> = texts.collect();
    let meta = BlockMeta::level_1("01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().expect("a ULID"), 0, 300_000);
    let mut builder =
        BlockBuilder::create(disk.clone(), parent, meta, symbols, segment_bytes).expect("created");
    for (labels, i) in &all {
        let chunks = chunks(*i);
        let data: Vec<ChunkData<'_>> =
            chunks.iter().map(|(range, data)| ChunkData { range: *range, encoding: 1, data }).collect();
        builder.add_series(labels, &data).expect("added");
    }
    builder.finish().expect("finished").expect("not empty")
}

fn open(disk: &Arc<dyn Disk>, dir: &Path) -> Arc<Block> {
    Arc::new(Block::open(&**disk, dir).expect("opens"))
}

/// `(labels, number of samples, first value)` of all selected series.
fn select(block: &Arc<Block>, range: TimeRange, matchers: &[Matcher]) -> Vec<(Labels, usize, f64)> {
    let querier = block.querier(range);
    let mut set = querier.select(matchers, &SelectHints::default()).expect("selects");
    let mut found = Vec::new();
    while let Some(series) = set.next().expect("reads") {
        let mut samples = SampleBuf::default();
        series.read(range, &mut samples).expect("decodes");
        found.push((series.labels().clone(), samples.len(), samples.floats.first().copied().unwrap_or(-1.0)));
    }
    found
}

fn matcher(op: MatchOp, name: &str, value: &str) -> Matcher {
    Matcher::new(op, name, value).expect("valid")
}

#[test]
fn what_is_written_is_read_through_every_matcher() {
    let dir = tempfile::tempdir().expect("folder");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let block = open(&disk, &write(&disk, dir.path(), 20_000));
    assert_eq!(block.meta().stats.num_samples, (SERIES * 300) as u64);
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    for (op, name, value) in [
        (Equal, "__name__", "metric_3"),
        (Equal, "__name__", "absent"),
        (Equal, "parity", ""),
        (NotEqual, "parity", "even"),
        (NotEqual, "__name__", "metric_3"),
        (NotEqual, "__name__", ""),
        (Regex, "__name__", ".+"),
        (Regex, "parity", ".+"),
        (NotRegex, "parity", ".+"),
        (Regex, "instance", ".*"),
        (NotRegex, "instance", ".*"),
        (NotRegex, "instance", "host-0(01|02|49)"),
        (NotRegex, "parity", "|odd"),
        (Regex, "instance", "host-0[0-3].*"),
        (Regex, "instance", "host-03.*"),
        (Regex, "instance", ".*3"),
        (NotRegex, "instance", ".*3|"),
        (NotEqual, "no_such_label", "x"),
        (Regex, "no_such_label", ".+"),
        (Regex, "instance", "host-0(01|02|49)"),
        (Regex, "parity", "even|"),
        (NotRegex, "instance", "host-00.*"),
        (Equal, "no_such_label", ""),
        (Equal, "no_such_label", "x"),
    ] {
        let m = [matcher(op, name, value), matcher(NotEqual, "__name__", "metric_9")];
        let mut want: Vec<(Labels, usize)> = (0..SERIES).map(|i| (labels(i), i)).collect();
        want.retain(|(l, _)| m.iter().all(|m| m.matches_labels(l)));
        want.sort();
        let got = select(&block, TimeRange::new(50_500, 250_000), &m);
        let want: Vec<_> = want.into_iter().map(|(l, i)| (l, 200, i as f64 * 1000.0 + 51.0)).collect();
        assert_eq!(got, want, "{name}{}{value}", op.as_str());
    }
    let querier = block.querier(TimeRange::ALL);
    assert_eq!(querier.label_names(&[], 0).expect("reads"), ["__name__", "instance", "parity"]);
    assert_eq!(querier.label_values("instance", &[], 0).expect("reads").len(), 50);
    let odd = [matcher(Equal, "parity", ""), matcher(Equal, "instance", "host-007")];
    let names = |m: &[Matcher], limit| querier.label_names(m, limit).expect("reads");
    assert_eq!(names(&odd, 0), ["__name__", "instance"]);
    assert_eq!(names(&[matcher(Equal, "parity", "even")], 2), ["__name__", "instance"]);
    let values = |m: &[Matcher], limit| querier.label_values("instance", m, limit).expect("reads");
    let own = [matcher(Regex, "instance", "host-00[3-6]"), matcher(NotEqual, "instance", "host-004")];
    assert_eq!(values(&own, 0), ["host-003", "host-005", "host-006"]);
    assert_eq!(values(&own, 2), ["host-003", "host-005"]);
    // Few and many series are looked up in different ways.
    let mixed = [own[0].clone(), matcher(Equal, "__name__", "metric_3")];
    assert_eq!(values(&mixed, 0).len(), 4);
    assert_eq!(values(&[own[0].clone(), matcher(NotEqual, "__name__", "metric_3")], 0).len(), 4);
    assert_eq!(values(&[matcher(NotEqual, "parity", "even")], 0).len(), 50);
    assert_eq!(values(&[matcher(Equal, "__name__", "absent")], 0).len(), 0);
    assert_eq!(querier.label_values("__name__", &odd, 2).expect("reads"), ["metric_1", "metric_3"]);
}

#[test]
fn deleted_ranges_disappear_and_stay_so() {
    let dir = tempfile::tempdir().expect("folder");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let path = write(&disk, dir.path(), 512 << 20);
    let block = open(&disk, &path);
    let m = [matcher(MatchOp::Equal, "instance", "host-001")];
    block.delete(&*disk, TimeRange::new(10_000, 19_000), &m).expect("deletes");
    for block in [block, open(&disk, &path)] {
        assert!(select(&block, TimeRange::ALL, &m).iter().all(|s| s.1 == 290));
        assert_eq!(block.tombstones().count(), 10);
    }
}

#[test]
fn damage_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("folder");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let path = write(&disk, dir.path(), 512 << 20);
    let index = std::fs::read(path.join("index")).expect("reads");
    for cut in [0, 4, 5, 100, index.len() / 2, index.len() - 1] {
        std::fs::write(path.join("index"), &index[..cut]).expect("writes");
        let error = Block::open(&*disk, &path).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("index"), "cut at {cut}: {error:?}");
    }
    // A flipped bit anywhere either fails at open or when the series is read; it never panics.
    for at in (0..index.len()).step_by(97) {
        let mut damaged = index.clone();
        damaged[at] ^= 0x10;
        std::fs::write(path.join("index"), &damaged).expect("writes");
        let Ok(block) = Block::open(&*disk, &path).map(Arc::new) else { continue };
        let Ok(mut set) = block.querier(TimeRange::ALL).select(&[], &SelectHints::default()) else {
            continue;
        };
        while let Ok(Some(series)) = set.next() {
            let _ = series.read(TimeRange::ALL, &mut SampleBuf::default());
        }
    }
}

#[test]
fn merged_blocks_hold_what_their_parents_held() {
    let dir = tempfile::tempdir().expect("folder");
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let first = open(&disk, &write(&disk, dir.path(), 512 << 20));
    let m = [matcher(MatchOp::Equal, "instance", "host-002")];
    first.delete(&*disk, TimeRange::new(0, 9_000), &m).expect("deletes");
    // The same samples again in a second folder overlap completely: nothing may double.
    let other = dir.path().join("other");
    disk.create_dir_all(&other).expect("folder");
    let second = open(&disk, &write(&disk, &other, 512 << 20));
    let ulid = "01BX5ZZKBKACTAV9WEVGEMMVRZ".parse().expect("a ULID");
    let merge = |blocks: &[Arc<Block>]| {
        let rules = WriteRules { segment_bytes: 512 << 20, rechunk: Rechunk::default() };
        let path = block::compact::merge(&disk, dir.path(), blocks, ulid, rules, &mut ());
        open(&disk, &path.expect("merges").expect("not empty"))
    };
    let alone = merge(std::slice::from_ref(&first));
    assert_eq!(select(&alone, TimeRange::ALL, &[]), select(&first, TimeRange::ALL, &[]));
    assert!(alone.tombstones().is_empty());
    let both = merge(&[first, second.clone()]);
    assert_eq!(select(&both, TimeRange::ALL, &[]), select(&second, TimeRange::ALL, &[]));
    assert_eq!(both.meta().compaction.level, 2);
    assert_eq!(both.meta().compaction.parents.len(), 2);
}
