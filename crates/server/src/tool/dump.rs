//! `tsdb dump` and `tsdb dump-openmetrics`: all samples of a data directory as text.

use super::head::{self, LogSeries};
use super::progress::Progress;
use super::{blocks, failed, many, one};
use clap::ArgMatches;
use model::float::go_string;
use model::labels::quote;
use model::{METRIC_NAME, Matcher, TimeRange};
use std::collections::HashSet;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use storage::merge::series_sets;
use storage::{SampleBuf, SelectHints, Series, SeriesSet};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{labels} value milliseconds`
    Prom,
    /// Label sets only.
    SeriesJson,
    OpenMetrics,
}

/// `tsdb dump`
pub(crate) fn dump(m: &ArgMatches) -> u8 {
    run(m, if one(m, "format") == "seriesjson" { Shape::SeriesJson } else { Shape::Prom })
}

/// `tsdb dump-openmetrics`
pub(crate) fn openmetrics(m: &ArgMatches) -> u8 {
    run(m, Shape::OpenMetrics)
}

fn run(m: &ArgMatches, shape: Shape) -> u8 {
    let bound = |name: &str| m.get_one::<i64>(name).copied().unwrap_or_default();
    let range = TimeRange::new(bound("min-time"), bound("max-time"));
    let selectors = match many(m, "match") {
        none if none.is_empty() => vec!["{__name__=~'(?s:.*)'}"],
        some => some,
    };
    let dumped = select(Path::new(one(m, "db path")), &selectors, range)
        .and_then(|mut set| write(&mut *set, range, shape));
    match dumped {
        Ok(()) => 0,
        Err(e) => failed(e),
    }
}

/// Series of blocks and log that satisfy one of the selectors, merged and sorted by labels.
fn select(dir: &Path, selectors: &[&str], range: TimeRange) -> Result<Box<dyn SeriesSet>, String> {
    let blocks = blocks::open_all(dir)?;
    let sets: Vec<Vec<Matcher>> = promql::parse_metric_selectors(selectors).map_err(|e| e.to_string())?;
    let from = blocks.iter().map(|b| b.meta().max_time).max().unwrap_or(i64::MIN);
    let log = LogSeries::read(dir, from)?.finish();
    let hints = SelectHints { sorted: true, range: Some(range), ..SelectHints::default() };
    let mut parts = Vec::new();
    // `{}` selects nothing.
    for matchers in sets.iter().filter(|set| !set.is_empty()) {
        for block in blocks.iter().filter(|b| b.range().overlaps(range)) {
            parts.push(block.querier(range).select(matchers, &hints).map_err(|e| e.to_string())?);
        }
        parts.push(head::select(&log, matchers, range).map_err(|e| e.to_string())?);
    }
    series_sets(parts).map_err(|e| e.to_string())
}

fn write(set: &mut dyn SeriesSet, range: TimeRange, shape: Shape) -> Result<(), String> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut samples = SampleBuf::default();
    let mut seen = HashSet::new();
    // Into a terminal goes the dump itself.
    let mut progress = Progress::new("dump", "series", 0).quiet(std::io::stdout().is_terminal());
    let mut done = 0;
    let told = |e: std::io::Error| e.to_string();
    while let Some(series) = set.next().map_err(|e| e.to_string())? {
        progress.at(done);
        done += 1;
        samples.clear();
        series.read(range, &mut samples).map_err(|e| e.to_string())?;
        match shape {
            Shape::Prom => prom(&*series, &samples, &mut out).map_err(told)?,
            Shape::OpenMetrics => open_metrics(&*series, &samples, &mut out).map_err(told)?,
            Shape::SeriesJson => {
                if !samples.is_empty() && seen.insert(series.labels().clone()) {
                    let pairs = series.labels().iter();
                    let pairs: Vec<String> = pairs
                        .map(|(n, v)| {
                            format!("{}:{}", super::print::json_text(n), super::print::json_text(v))
                        })
                        .collect();
                    writeln!(out, "{{{}}}", pairs.join(",")).map_err(told)?;
                }
            }
        }
    }
    if shape == Shape::OpenMetrics {
        writeln!(out, "# EOF").map_err(told)?;
    }
    out.flush().map_err(told)
}

fn prom(series: &dyn Series, samples: &SampleBuf, out: &mut impl Write) -> std::io::Result<()> {
    let labels = series.labels();
    let mut histograms = samples.histograms.iter().peekable();
    for (i, t) in samples.times.iter().enumerate() {
        match histograms.next_if(|(at, _)| *at as usize == i) {
            Some((_, h)) if h.integer => writeln!(out, "{labels} {h:#} {t}")?,
            Some((_, h)) => writeln!(out, "{labels} {h} {t}")?,
            None => writeln!(out, "{labels} {} {t}", go_string(samples.floats[i]))?,
        }
    }
    Ok(())
}

/// Up to the first native histogram, which the format cannot hold.
fn open_metrics(series: &dyn Series, samples: &SampleBuf, out: &mut impl Write) -> std::io::Result<()> {
    let labels = series.labels();
    let pairs: Vec<String> =
        labels.iter().filter(|(n, _)| *n != METRIC_NAME).map(|(n, v)| format!("{n}={}", quote(v))).collect();
    let head = format!("{}{{{}}}", labels.metric_name(), pairs.join(","));
    let until = samples.histograms.first().map_or(samples.len(), |(i, _)| *i as usize);
    for (t, v) in samples.times.iter().zip(&samples.floats).take(until) {
        let v = go_string(*v);
        let sign = if *t < 0 { "-" } else { "" };
        let (seconds, ms) = (t.unsigned_abs() / 1000, t.unsigned_abs() % 1000);
        writeln!(out, "{head} {v} {sign}{seconds}.{ms:03}")?;
    }
    Ok(())
}
