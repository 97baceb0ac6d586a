//! `tsdb verify`: reads everything that blocks hold and says what is wrong. Nothing of promtool does this.

use super::blocks::{self, Parts};
use super::progress::Progress;
use super::{FAILED, failed, one};
use block::postings::List as _;
use block::tombstone::Tombstones;
use clap::ArgMatches;
use disk::OsDisk;
use model::{Labels, TimeRange};
use std::path::Path;
use storage::SampleBuf;

/// Faults of one block that are told; more are counted.
const TOLD: usize = 20;

struct Report {
    name: String,
    faults: usize,
}

impl Report {
    fn fault(&mut self, text: impl std::fmt::Display) {
        self.faults += 1;
        if self.faults <= TOLD {
            eprintln!("{}: {text}", self.name);
        }
    }
}

/// Counts that `meta.json` has, too.
#[derive(Default)]
struct Seen {
    series: u64,
    chunks: u64,
    samples: u64,
    bytes: u64,
}

/// The command: exit code 1 when a block has a fault.
pub(crate) fn verify(m: &ArgMatches) -> u8 {
    let folders = match blocks::folders(Path::new(one(m, "db path"))) {
        Ok(folders) => folders,
        Err(e) => return failed(e),
    };
    let mut broken = 0;
    for (i, (ulid, folder)) in folders.iter().enumerate() {
        let mut report = Report { name: ulid.to_string(), faults: 0 };
        let what = format!("block {} of {}", i + 1, folders.len());
        let quiet = m.get_flag("quiet");
        let seen = match Parts::open(folder) {
            Ok(parts) => {
                if parts.meta.ulid != *ulid {
                    report.fault(format_args!("meta.json names block {}", parts.meta.ulid));
                }
                if let Err(e) = Tombstones::read(&OsDisk, folder) {
                    report.fault(e);
                }
                block(&parts, &mut report, what, quiet)
            }
            Err(e) => {
                report.fault(e);
                Seen::default()
            }
        };
        let Seen { series, chunks, samples, bytes } = seen;
        match report.faults {
            0 => say!(
                "{ulid} OK: {series} series, {chunks} chunks, {samples} samples, {bytes} bytes of chunks"
            ),
            n => {
                say!("{ulid} FAILED: {n} faults");
                broken += 1;
            }
        }
    }
    if broken == 0 { 0 } else { FAILED }
}

fn block(parts: &Parts, report: &mut Report, what: String, quiet: bool) -> Seen {
    let mut seen = Seen::default();
    let ids: Vec<u32> = match parts.index.all_postings() {
        Ok(ids) => ids.iter().collect(),
        Err(e) => {
            report.fault(e);
            return seen;
        }
    };
    if !ids.is_sorted_by(|a, b| a < b) {
        report.fault("list of all series is not sorted");
    }
    postings(parts, &ids, report);
    let mut before = None::<Labels>;
    let mut progress = Progress::new(what, "series", ids.len()).quiet(quiet);
    for (done, id) in ids.iter().enumerate() {
        progress.at(done);
        match parts.index.series(*id) {
            Ok((labels, chunks)) => {
                if before.as_ref().is_some_and(|b| *b >= labels) {
                    report.fault(format_args!("series {labels} is out of order"));
                }
                seen.series += 1;
                series(parts, &labels, &chunks, &mut seen, report);
                before = Some(labels);
            }
            Err(e) => report.fault(e),
        }
    }
    let stats = &parts.meta.stats;
    let counts = [
        ("series", stats.num_series, seen.series),
        ("chunks", stats.num_chunks, seen.chunks),
        ("samples", stats.num_samples, seen.samples),
    ];
    for (what, announced, found) in counts.into_iter().filter(|(_, a, b)| a != b) {
        report.fault(format_args!("meta.json announces {announced} {what}, found {found}"));
    }
    seen
}

/// Lists of all label pairs: sorted, of known series, and together one entry for each label of each series.
fn postings(parts: &Parts, all: &[u32], report: &mut Report) {
    let names: Vec<String> = parts.index.names().map(str::to_owned).collect();
    for name in &names {
        let mut lists = Vec::new();
        let read = parts.index.values(name, |value, at| {
            lists.push((value.to_owned(), at));
            true
        });
        if let Err(e) = read {
            report.fault(e);
        }
        if !lists.is_sorted_by(|a, b| a.0 < b.0) {
            report.fault(format_args!("values of label {name} are not sorted"));
        }
        for (value, at) in lists {
            match parts.index.postings_at(at) {
                Ok(ids) if !ids.iter().is_sorted_by(|a, b| a < b) => {
                    report.fault(format_args!("postings of {name}={value} are not sorted"));
                }
                Ok(ids) => {
                    if let Some(id) = ids.iter().find(|id| all.binary_search(id).is_err()) {
                        report.fault(format_args!("postings of {name}={value} name the unknown series {id}"));
                    }
                }
                Err(e) => report.fault(e),
            }
        }
    }
}

fn series(
    parts: &Parts,
    labels: &Labels,
    chunks: &[block::index::ChunkMeta],
    seen: &mut Seen,
    report: &mut Report,
) {
    for (name, value) in labels {
        // Sampled by the series rather than by the list: a series must be found by each of its labels.
        if parts.index.postings(name, value).is_ok_and(|ids| ids.is_none_or(|ids| ids.is_empty())) {
            report.fault(format_args!("series {labels}: no postings of {name}"));
        }
    }
    let whole = TimeRange::new(parts.meta.min_time, parts.meta.max_time - 1);
    let mut last = None::<i64>;
    for meta in chunks {
        seen.chunks += 1;
        let at = format_args!("series {labels}, chunk at {}", meta.range.min).to_string();
        if meta.range.min < whole.min || meta.range.max > whole.max {
            report.fault(format_args!("{at}: reaches out of the block"));
        }
        if last.is_some_and(|l| l >= meta.range.min) {
            report.fault(format_args!("{at}: overlaps the chunk before"));
        }
        last = Some(meta.range.max);
        let (encoding, data) = match parts.chunks.chunk(meta.reference) {
            Ok(found) => found,
            Err(e) => {
                report.fault(format_args!("{at}: {e}"));
                continue;
            }
        };
        let mut rows = SampleBuf::default();
        if let Err(e) = chunk::decode(encoding, data, &mut rows.columns()) {
            report.fault(format_args!("{at}: {e}"));
            continue;
        }
        seen.bytes += data.len() as u64;
        let times = &rows.times;
        seen.samples += times.len() as u64;
        if !times.is_sorted_by(|a, b| a < b) {
            report.fault(format_args!("{at}: samples are out of order"));
        }
        if times.first() != Some(&meta.range.min) || times.last() != Some(&meta.range.max) {
            report.fault(format_args!("{at}: the index announces another time range"));
        }
    }
}
