//! `tsdb create-blocks-from openmetrics`: blocks out of a text, one time window after the other, so that no more
//! than one window stands in memory.

use super::lint::read_stdin;
use super::progress::Progress;
use super::{blocks, failed, one};
use block::chunks::DEFAULT_SEGMENT_BYTES;
use block::{BlockBuilder, BlockMeta, ChunkData};
use clap::ArgMatches;
use disk::{Disk, Map, OsDisk};
use model::{Labels, LabelsBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use storage::SampleBuf;
use ulid::Ulid;
use wire::exposition::{Entry, LabelBuf, ParserOptions, TextParser};

const BLOCK_MS: i64 = 2 * 3_600_000;

/// Ranges that blocks are compacted to: 2 h, 20 h, 200 h.
pub(crate) fn block_duration(max_ms: i64) -> i64 {
    let ranges = [BLOCK_MS, 10 * BLOCK_MS, 100 * BLOCK_MS];
    ranges.into_iter().rev().find(|r| *r <= max_ms).unwrap_or(BLOCK_MS)
}

struct Import<'a> {
    text: &'a [u8],
    labels: Vec<(&'a str, &'a str)>,
    out: &'a Path,
    duration: i64,
}

/// The command.
pub(crate) fn openmetrics(m: &ArgMatches) -> u8 {
    match run(m) {
        Ok(()) => 0,
        Err(e) => failed(e),
    }
}

fn run(m: &ArgMatches) -> Result<(), String> {
    let path = Path::new(one(m, "input file"));
    let map = input(path)?;
    let out = Path::new(one(m, "output directory"));
    OsDisk.create_dir_all(out).map_err(|e| format!("create output dir: {e}"))?;
    let pairs = m.get_many::<(String, String)>("label").into_iter().flatten();
    let import = Import {
        text: &map,
        labels: pairs.map(|(n, v)| (n.as_str(), v.as_str())).collect(),
        out,
        duration: block_duration(m.get_one::<i64>("max-block-duration").copied().unwrap_or(0)),
    };
    let windows = import.windows().map_err(|e| format!("getting min and max timestamp: {e}"))?;
    let readable = m.get_flag("human-readable");
    let mut progress = Progress::new("Writing", "blocks", windows.len());
    let mut header = true;
    for (done, start) in windows.iter().enumerate() {
        let written = import.block(*start).map_err(|e| format!("block creation: process blocks: {e}"))?;
        progress.at(done + 1);
        if let Some(row) = written.filter(|_| !m.get_flag("quiet")) {
            put!("{}", blocks::rows(&[row], header, readable));
            header = false;
        }
    }
    Ok(())
}

fn input(path: &Path) -> Result<Arc<Map>, String> {
    let shown = path.display();
    let missing = |_| format!("stat {shown}: no such file or directory");
    // A pipe cannot be mapped.
    if matches!(path.to_str(), Some("-" | "/dev/stdin")) {
        return read_stdin().map(|bytes| Arc::new(Map::of_bytes(bytes)));
    }
    OsDisk.meta(path).map_err(missing)?;
    OsDisk.map(path).map_err(|e| e.to_string())
}

impl Import<'_> {
    /// Calls `each` with every sample: its time, its value, and its labels when it asks for them.
    fn samples(
        &self,
        mut each: impl FnMut(i64, f64, &dyn Fn(&mut LabelBuf) -> Result<(), String>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut parser = TextParser::openmetrics(self.text, ParserOptions::default());
        while let Some(entry) = parser.next_entry().map_err(|e| e.to_string())? {
            let Entry::Series(series) = entry else { continue };
            let Some(t) = series.t else {
                let raw = String::from_utf8_lossy(series.raw).into_owned();
                return Err(format!("expected timestamp for series {raw}, got none"));
            };
            let labels = |into: &mut LabelBuf| series.labels(into).map_err(|e| e.to_string());
            each(t, series.value, &labels)?;
        }
        Ok(())
    }

    /// Starts of the windows that have samples.
    fn windows(&self) -> Result<BTreeSet<i64>, String> {
        let mut windows = BTreeSet::new();
        let mut last = None;
        self.samples(|t, _, _| {
            let start = t - t.rem_euclid(self.duration);
            if last.replace(start) != Some(start) {
                windows.insert(start);
            }
            Ok(())
        })
        .map_err(|e| format!("next: {e}"))?;
        Ok(windows)
    }

    /// Writes the block of one window.
    fn block(&self, start: i64) -> Result<Option<(BlockMeta, PathBuf)>, String> {
        write_block(self.out, &self.series(start)?)
    }

    /// All samples of one window, in order of labels and time.
    fn series(&self, start: i64) -> Result<BTreeMap<Labels, SampleBuf>, String> {
        let end = start.saturating_add(self.duration);
        let mut series: BTreeMap<Labels, SampleBuf> = BTreeMap::new();
        let (mut buf, mut builder) = (LabelBuf::default(), LabelsBuilder::new());
        self.samples(|t, v, labels| {
            if !(start..end).contains(&t) {
                return Ok(());
            }
            labels(&mut buf)?;
            builder.clear();
            for (name, value) in buf.iter().chain(self.labels.iter().copied()) {
                builder.set(name, value);
            }
            series.entry(builder.finish()).or_default().push_float(t, v);
            Ok(())
        })
        .map_err(|e| format!("parse: {e}"))?;
        for (labels, samples) in &mut series {
            sort(samples).map_err(|t| {
                format!("add sample: duplicate sample for timestamp {t} of {labels} with another value")
            })?;
        }
        Ok(series)
    }
}

/// Writes one block; `None` when there are no samples. Makes the directory.
pub(crate) fn write_block(
    out: &Path,
    series: &BTreeMap<Labels, SampleBuf>,
) -> Result<Option<(BlockMeta, PathBuf)>, String> {
    let ends = |f: fn(&SampleBuf) -> Option<&i64>| series.values().filter_map(f).copied();
    let (Some(first), Some(last)) = (ends(|s| s.times.first()).min(), ends(|s| s.times.last()).max()) else {
        return Ok(None);
    };
    let symbols: BTreeSet<Box<str>> =
        series.keys().flat_map(|l| l.iter().flat_map(|(n, v)| [n, v])).map(Box::from).collect();
    let meta = BlockMeta::level_1(fresh_ulid(), first, last + 1);
    let disk = OsDisk::shared();
    disk.create_dir_all(out).map_err(|e| format!("create output dir: {e}"))?;
    let wrong = |e: block::BlockError| format!("flush: {e}");
    let mut builder = BlockBuilder::create(disk, out, meta, symbols, DEFAULT_SEGMENT_BYTES).map_err(wrong)?;
    for (labels, samples) in series.iter().filter(|(_, samples)| !samples.is_empty()) {
        let chunks = storage::encode::chunks(samples).map_err(|e| format!("flush: {e}"))?;
        let data: Vec<ChunkData<'_>> = chunks
            .iter()
            .map(|c| ChunkData { range: c.range, encoding: c.encoding, data: &c.data })
            .collect();
        builder.add_series(labels, &data).map_err(wrong)?;
    }
    let Some(folder) = builder.finish().map_err(wrong)? else { return Ok(None) };
    let meta = BlockMeta::read(&OsDisk, &folder).map_err(wrong)?;
    Ok(Some((meta, folder)))
}

/// By time. A repeated sample is taken once; two values for one time are refused.
fn sort(samples: &mut SampleBuf) -> Result<(), i64> {
    if samples.times.windows(2).all(|w| w[0] < w[1]) {
        return Ok(());
    }
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by_key(|i| samples.times[*i]);
    for pair in order.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if samples.times[a] == samples.times[b] && samples.floats[a].to_bits() != samples.floats[b].to_bits()
        {
            return Err(samples.times[a]);
        }
    }
    order.dedup_by_key(|i| samples.times[*i]);
    samples.pick_from(0, &order);
    Ok(())
}

fn fresh_ulid() -> Ulid {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    Ulid::from_parts(now, rand::random())
}
