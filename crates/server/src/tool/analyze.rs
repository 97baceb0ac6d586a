//! `tsdb analyze`: what makes a block large, as promtool counts it.

use super::blocks::{self, Parts};
use super::progress::Progress;
use super::text::go_duration;
use super::{failed, one};
use block::Block;
use block::postings::intersect;
use clap::ArgMatches;
use disk::OsDisk;
use model::{METRIC_NAME, Matcher};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use storage::SampleBuf;
use ulid::Ulid;

/// The command.
pub(crate) fn analyze(m: &ArgMatches) -> u8 {
    match run(m) {
        Ok(()) => 0,
        Err(e) => failed(e),
    }
}

fn folder(m: &ArgMatches) -> Result<PathBuf, String> {
    let folders = blocks::folders(Path::new(one(m, "db path")))?;
    match one(m, "block id") {
        "" => folders.into_iter().max().map(|(_, path)| path).ok_or_else(|| "no blocks found".into()),
        id => {
            let ulid = Ulid::from_string(id).ok();
            let found = folders.into_iter().find(|(name, _)| Some(*name) == ulid);
            found.map(|(_, path)| path).ok_or_else(|| format!("invalid block ID {id}"))
        }
    }
}

fn run(m: &ArgMatches) -> Result<(), String> {
    let selector = one(m, "match");
    let matchers = match selector {
        "" => Vec::new(),
        text => promql::parse_metric_selector(text).map_err(|e| e.to_string())?,
    };
    let folder = folder(m)?;
    let parts = Parts::open(&folder)?;
    let looked_at = ids(&folder, &parts, &matchers)?;
    // A selector that names nothing, `{}`, selects no series; names, values and chunks are those of all.
    let nothing = !selector.is_empty() && matchers.is_empty();
    let ids = if nothing { &[] } else { looked_at.as_slice() };
    let span = parts.meta.max_time.saturating_sub(parts.meta.min_time);
    say!("Block ID: {}", parts.meta.ulid);
    say!("Duration: {}", go_duration(span));
    say!("Total Series: {}", parts.meta.stats.num_series);
    if !selector.is_empty() {
        say!("Matcher: {selector}");
    }
    let counts = Counts::of(&parts, ids, span)?;
    let all = if nothing { Some(Counts::of(&parts, &looked_at, span)?) } else { None };
    let labels = &all.as_ref().unwrap_or(&counts).names;
    say!("Label names: {}", labels.len());
    if !selector.is_empty() {
        say!("Matched series: {}", ids.len());
    }
    say!("Postings (unique label pairs): {}", counts.pairs.len());
    say!("Postings entries (total label pairs): {}", counts.entries);
    let limit = m.get_one::<usize>("limit").copied().unwrap_or(20);
    let share = |uncovered: u64| (uncovered as f64 / span as f64) as u64;
    let pairs = || counts.pairs.iter().map(|((n, v), pair)| (format!("{n}={v}"), pair));
    let names = || counts.names.iter();
    ranked("Label pairs most involved in churning", limit, pairs().map(|(k, p)| (k, share(p.uncovered))));
    ranked(
        "Label names most involved in churning",
        limit,
        names().map(|(n, name)| (n.clone(), share(name.uncovered))),
    );
    ranked("Most common label pairs", limit, pairs().map(|(k, p)| (k, p.series)));
    let length = |values: &BTreeSet<String>| values.iter().map(|v| v.len() as u64).sum();
    ranked(
        "Label names with highest cumulative label value length",
        limit,
        labels.iter().map(|(n, name)| (n.clone(), length(&name.values))),
    );
    ranked(
        "Highest cardinality labels",
        limit,
        labels.iter().map(|(n, name)| (n.clone(), name.values.len() as u64)),
    );
    let metrics = labels.get(METRIC_NAME).into_iter().flat_map(|name| &name.values).map(|metric| {
        let pair = counts.pairs.get(&(METRIC_NAME.to_owned(), metric.clone()));
        (metric.clone(), pair.map_or(0, |pair| pair.series))
    });
    ranked("Highest cardinality metric names", limit, metrics);
    if m.get_flag("extended") {
        compaction(&parts, &looked_at)?;
    }
    Ok(())
}

/// Ids of the series to look at, in label order.
fn ids(folder: &Path, parts: &Parts, matchers: &[Matcher]) -> Result<Vec<u32>, String> {
    let all: Vec<u32> = parts.index.all_postings().map_err(|e| e.to_string())?.iter().collect();
    if matchers.is_empty() {
        return Ok(all);
    }
    let block = Block::open(&OsDisk, folder).map_err(|e| e.to_string())?;
    let found = block.select_ids(matchers).map_err(|e| e.to_string())?;
    Ok(intersect(&all, found.as_slice()))
}

#[derive(Default)]
struct Pair {
    /// Milliseconds of the block in which its series have no samples, summed.
    uncovered: u64,
    series: u64,
}

#[derive(Default)]
struct Name {
    uncovered: u64,
    values: BTreeSet<String>,
}

struct Counts {
    pairs: BTreeMap<(String, String), Pair>,
    names: BTreeMap<String, Name>,
    entries: u64,
}

impl Counts {
    fn of(parts: &Parts, ids: &[u32], span: i64) -> Result<Counts, String> {
        let mut counts = Counts { pairs: BTreeMap::new(), names: BTreeMap::new(), entries: 0 };
        let mut progress = Progress::new("Reading the index", "series", ids.len());
        for (done, id) in ids.iter().enumerate() {
            progress.at(done);
            let (labels, chunks) = parts.index.series(*id).map_err(|e| e.to_string())?;
            let covered = match (chunks.first(), chunks.last()) {
                (Some(first), Some(last)) => last.range.max.saturating_sub(first.range.min),
                _ => 0,
            };
            let uncovered = u64::try_from(span.saturating_sub(covered)).unwrap_or(0);
            for (name, value) in &labels {
                let pair = counts.pairs.entry((name.to_owned(), value.to_owned())).or_default();
                pair.uncovered += uncovered;
                pair.series += 1;
                let of_name = counts.names.entry(name.to_owned()).or_default();
                of_name.uncovered += uncovered;
                of_name.values.insert(value.to_owned());
                counts.entries += 1;
            }
        }
        Ok(counts)
    }
}

/// The largest first; what is equal in the order of its text.
fn ranked(title: &str, limit: usize, items: impl Iterator<Item = (String, u64)>) {
    let mut items: Vec<(String, u64)> = items.collect();
    items.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    say!("\n{title}:");
    for (text, n) in items.iter().take(limit) {
        say!("{n} {text}");
    }
}

/// How full chunks are.
fn compaction(parts: &Parts, ids: &[u32]) -> Result<(), String> {
    let (mut float_samples, mut float_bytes) = (Vec::new(), Vec::new());
    let (mut histogram_samples, mut histogram_bytes, mut buckets) = (Vec::new(), Vec::new(), Vec::new());
    let mut total = 0;
    let mut progress = Progress::new("Reading chunks", "series", ids.len());
    for (done, id) in ids.iter().enumerate() {
        progress.at(done);
        let (labels, metas) = parts.index.series(*id).map_err(|e| e.to_string())?;
        for meta in metas {
            let (encoding, data) = parts.chunks.chunk(meta.reference).map_err(|e| e.to_string())?;
            let samples = usize::from(chunk::sample_count(encoding, data).map_err(|e| e.to_string())?);
            total += 1;
            if matches!(
                chunk::Encoding::from_number(encoding),
                Some(chunk::Encoding::Xor | chunk::Encoding::Xor2)
            ) {
                float_samples.push(samples);
                float_bytes.push(data.len());
                continue;
            }
            let mut rows = SampleBuf::default();
            chunk::decode(encoding, data, &mut rows.columns())
                .map_err(|e| format!("chunk of {labels}: {e}"))?;
            histogram_samples.push(samples);
            histogram_bytes.push(data.len());
            buckets.push(
                rows.histograms
                    .iter()
                    .map(|(_, h)| h.positive_buckets.len() + h.negative_buckets.len())
                    .sum(),
            );
        }
    }
    drop(progress);
    say!("\nCompaction analysis:\n");
    distribution("samples per float chunk", float_samples, total);
    distribution("bytes per float chunk", float_bytes, total);
    distribution("samples per histogram chunk", histogram_samples, total);
    distribution("bytes per histogram chunk", histogram_bytes, total);
    distribution("buckets per histogram chunk", buckets, total);
    Ok(())
}

fn distribution(what: &str, mut data: Vec<usize>, total: usize) {
    data.sort_unstable();
    let (Some(min), Some(max)) = (data.first().copied(), data.last().copied()) else {
        say!("{what}: N/A\n");
        return;
    };
    let mut step = 10;
    while step < (max - min) / 10 && step <= 10_000 {
        step *= 10;
    }
    let (start, end) = (min - min % step, max - max % step + step);
    let mut counts = vec![0usize; (end - start) / step + 1];
    data.iter().for_each(|n| counts[(n - start) / step] += 1);
    let average = data.iter().sum::<usize>() / data.len();
    say!("{what} (min/avg/max): {min}/{average}/{max}");
    let digits = |n: usize| n.to_string().len();
    let (left, right) = (digits(end), digits(end + step));
    let width = digits(counts.iter().copied().max().unwrap_or(0));
    for (i, count) in counts.iter().enumerate() {
        let (from, to) = (i * step + start + 1, (i + 1) * step + start);
        say!("[{from:left$}, {to:right$}]: {count:width$} {}", "#".repeat(100 * count / total.max(1)));
    }
    say!();
}
